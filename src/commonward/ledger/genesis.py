"""Genesis: what the members agreed on before the first block. The ledger id is the digest of it.

`Genesis` is the hashed part. The file (`SignedGenesis`) adds what cannot be inside its own hash: each key's proof of
possession and each member's signature over the ledger id. Whoever has the ledger id can tell the true genesis from
any other; the signatures show that the members named in it took part.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from commonward.ledger.audit import BreakGlass, Review
from commonward.ledger.consent import Consent, Enrol, Mandate, StartRecovery, Withdraw
from commonward.ledger.dues import DueKind, Dues
from commonward.ledger.encoding import Digest, decode, digest, encode
from commonward.ledger.ids import (
    Algorithm,
    BlockTime,
    Height,
    KeyId,
    LedgerId,
    MemberId,
    MemberKind,
    Purpose,
    key_id,
    parse_ledger_id,
    parse_member_id,
    parse_operator,
)
from commonward.ledger.members.adopted import Adopted
from commonward.ledger.members.changes import STANDS_FOR, ChangeKind
from commonward.ledger.members.majorities import Constitution, Majority
from commonward.ledger.members.roll import (
    ALGORITHMS,
    MAX_CERTIFICATE,
    MAX_KEYS,
    MAX_WEIGHT,
    Key,
    Member,
    Roll,
    certificate_digest,
)
from commonward.ledger.members.validators import write_validators
from commonward.ledger.members.weights import write_authority
from commonward.ledger.parameters import Parameter, Parameters, check_parameter, defaults
from commonward.ledger.possession import check_member_possession, possession_digest
from commonward.ledger.proofs import verify
from commonward.ledger.refusals import Refusal
from commonward.ledger.registry import PublicType
from commonward.ledger.rounds.budget import PrivacyBudget
from commonward.ledger.rounds.study import Rounds
from commonward.ledger.rules import Cells
from commonward.ledger.wire import (
    DIGEST,
    FLAG,
    TIME,
    Shape,
    Struct,
    choice,
    items,
    nested,
    number,
    octets,
    parsed,
    struct,
    text,
    wire,
)

SUITE: Final = 1
"""SHA-256, Ed25519, P-256, AES-256-GCM, X25519."""

PROTOCOL: Final = 1


class GenesisError(ValueError):
    """A genesis that no ledger can start from. Says what was expected, and where."""


def _mapping(key: Shape, value: Shape) -> Shape:
    """A map from numbers, on the wire and here."""

    def read(raw: Any) -> dict[Any, Any]:
        if type(raw) is not dict:
            raise ValueError(f"expected a map, got {type(raw).__name__}")
        return {key.read(k): value.read(v) for k, v in raw.items()}

    return Shape(
        read, lambda mapping: {int(k): v if value.write is None else value.write(v) for k, v in mapping.items()}
    )


def _read_majority(value: Any) -> Majority:
    match value:
        case [int(numerator), int(denominator)] if denominator <= 1000 and Majority(numerator, denominator).sound:
            return Majority(numerator, denominator)
    raise ValueError(f"expected [numerator, denominator] of at least a half and less than one, got {value!r:.40}")


@struct
class GenesisKey(Struct):
    purpose: Purpose = wire(1, choice(Purpose))
    algorithm: Algorithm = wire(2, choice(Algorithm))
    public: bytes = wire(3, octets(32, 64))
    starts: BlockTime = wire(4, TIME)
    ends: BlockTime = wire(5, TIME)

    @property
    def id(self) -> KeyId:
        return key_id(self.algorithm, self.public)


@struct
class GenesisMember(Struct):
    """`certificate`: its CA certificate (DER) as opaque bytes. `origin`: of its signing page, exactly."""

    id: MemberId = wire(1, parsed(parse_member_id))
    name: str = wire(2, text(200))
    kind: MemberKind = wire(3, choice(MemberKind))
    tier: int = wire(4, number(0, 3))
    certificate: bytes = wire(5, octets(1, MAX_CERTIFICATE))
    weight: int = wire(6, number(0, MAX_WEIGHT))
    origin: str = wire(7, text(200))
    keys: tuple[GenesisKey, ...] = wire(8, items(nested(GenesisKey), MAX_KEYS, 1))


@struct
class Table(Struct):
    """A table that all members judge by (jurisdictions, sensitive codes), by digest."""

    name: str = wire(1, text(64))
    digest: Digest = wire(2, DIGEST)


@struct
class Imported(Struct):
    """The ledger that this one goes on from: its id, its last checkpoint and block, and the first ledger of the line
    (its own id, if it went on from none itself). See `importing`."""

    ledger: LedgerId = wire(1, parsed(parse_ledger_id))
    size: int = wire(2, number(1))
    root: Digest = wire(3, DIGEST)
    height: int = wire(4, number())
    line: LedgerId = wire(5, parsed(parse_ledger_id))


_KINDS: Final = items(choice(MemberKind), 16)


@struct
class Genesis(Struct):
    """`members` in ascending order of id. `roles`: kind of transaction -> kinds of member that may sign it with an
    operate key; a kind that is not named is open to all, a study's to `rulebook.STUDY_ROLES`. `operator`: who runs the
    sequencer; "" where the members agree on each block by consensus. `privacy`: what learning may cost each member's
    patients, over all studies; absent: `budget.USUAL`. Build one with `make_genesis`."""

    name: str = wire(1, text(200))
    created: BlockTime = wire(2, TIME)
    protocol: int = wire(3, number(1, 1))
    suite: int = wire(4, number(SUITE, SUITE))
    pilot: bool = wire(5, FLAG)
    rp_id: str = wire(6, text(200))
    operator: MemberId = wire(7, parsed(parse_operator))
    members: tuple[GenesisMember, ...] = wire(8, items(nested(GenesisMember), 1024, 1))
    parameters: Mapping[Parameter, int] = wire(9, _mapping(choice(Parameter), number()))
    majorities: Mapping[ChangeKind, Majority] = wire(10, _mapping(choice(ChangeKind), Shape(_read_majority, tuple)))
    proposers: Mapping[ChangeKind, tuple[MemberKind, ...]] = wire(11, _mapping(choice(ChangeKind), _KINDS))
    roles: Mapping[int, tuple[MemberKind, ...]] = wire(12, _mapping(number(0, 255), _KINDS))
    publishers: Mapping[PublicType, tuple[MemberKind, ...]] = wire(13, _mapping(choice(PublicType), _KINDS))
    tables: tuple[Table, ...] = wire(14, items(nested(Table), 64))
    imported: Imported | None = wire(15, nested(Imported), default=None)
    privacy: PrivacyBudget | None = wire(16, nested(PrivacyBudget), default=None)

    @property
    def ledger_id(self) -> LedgerId:
        return LedgerId(digest("commonward genesis v1", self.to_bytes()))

    @classmethod
    def parse(cls, data: bytes) -> "Genesis":
        """Raises GenesisError."""
        try:
            found = cls.from_value(decode(data))
        except ValueError as cause:
            raise GenesisError(str(cause)) from cause
        found.check()
        return found

    @property
    def consensus(self) -> bool:
        """Whether nobody orders alone."""
        return not self.operator

    @property
    def height(self) -> Height:
        """Where genesis itself stands: at 0, or behind the last block of the ledger that it goes on from."""
        return Height(0 if self.imported is None else self.imported.height + 1)

    @property
    def line(self) -> LedgerId:
        """The first of the ledgers that led to this one; itself, if it goes on from none. What people and members seal
        and sign for each other is bound to it, so that a change of engine leaves it good."""
        return self.ledger_id if self.imported is None else self.imported.line

    @property
    def constitution(self) -> Constitution:
        return Constitution(dict(self.majorities), dict(self.proposers), self.operator, self.pilot)

    def member(self, member: str) -> GenesisMember:
        return next(each for each in self.members if each.id == member)

    def check(self) -> None:
        """Raises GenesisError, naming the first thing that a ledger could not start from."""
        ids = [each.id for each in self.members]
        _expect(ids == sorted(set(ids)), "each member once, in ascending order of id")
        _expect(self.consensus or self.operator in ids, f"the operator {self.operator} among the members")
        origins = [each.origin for each in self.members]
        _expect(len(set(origins)) == len(origins), "a signing page of its own for each member")
        keys = [key.id for member in self.members for key in member.keys]
        _expect(len(set(keys)) == len(keys), "each key once")
        for member in self.members:
            self._check_member(member)
        _expect(set(self.parameters) == set(Parameter), "a value for every parameter")
        for parameter, value in self.parameters.items():
            try:
                check_parameter(parameter, value)
            except ValueError as cause:
                raise GenesisError(str(cause)) from cause
        _expect(set(self.majorities) >= set(ChangeKind) - set(STANDS_FOR), "a majority for every kind of change")
        names = [table.name for table in self.tables]
        _expect(names == sorted(set(names)), "each table once, in ascending order of name")
        weights = [each.weight for each in self.members if each.weight]
        _expect(len(weights) > 0, "a member with weight")
        _expect(self.imported is None or self.consensus, "that only a ledger without an operator goes on from another")
        if not self.pilot:
            _expect(len(weights) >= 4, "four members with weight, or the word pilot")
            _expect(all(3 * each < sum(weights) for each in weights), "no member with a third of the weight, or pilot")

    def _check_member(self, member: GenesisMember) -> None:
        where = f"at {member.id}"
        _expect(
            (member.tier in (1, 2, 3)) == (member.kind == MemberKind.HOSPITAL), f"a tier for hospitals alone {where}"
        )
        host = member.origin.removeprefix("https://").partition(":")[0]
        _expect(
            member.origin.startswith("https://")
            and not set('"\\/?#@ ') & set(member.origin[len("https://") :])
            and (host == self.rp_id or host.endswith("." + self.rp_id)),
            f"a signing page https://SUBDOMAIN.{self.rp_id} without a path {where}, got {member.origin}",
        )
        purposes = {key.purpose for key in member.keys}
        _expect(Purpose.OPERATE in purposes, f"an operate key {where}")
        _expect(not member.weight or Purpose.COSIGN in purposes, f"a cosigning key {where}, which has weight")
        _expect(
            (Purpose.SEQUENCE in purposes) == (member.id == self.operator),
            f"a sequencer key for the operator alone {where}",
        )
        if self.consensus:
            _expect(Purpose.NODE in purposes, f"a node key {where}")
            _expect(not member.weight or Purpose.VALIDATE in purposes, f"a validator key {where}, which has weight")
        for key in member.keys:
            _expect(key.algorithm in ALGORITHMS[key.purpose], f"another algorithm for a {key.purpose.name} key {where}")
            lasts = self.parameters.get(Parameter.KEY_LASTS, 0)
            _expect(
                key.starts <= self.created < key.ends <= key.starts + lasts,
                f"a {key.purpose.name} key that is valid at {self.created} ms and at most {lasts} ms {where}",
            )


def _expect(truth: bool, what: str) -> None:
    if not truth:
        raise GenesisError(f"expected {what}")


_ALL: Final = tuple(MemberKind)
_HOSPITALS: Final = (MemberKind.HOSPITAL,)


def default_roles() -> dict[int, tuple[MemberKind, ...]]:
    """Who meets patients enrols them and witnesses their consents; who treats them breaks the glass."""
    meets_patients = (MemberKind.HOSPITAL, MemberKind.AUTHORITY)
    return {
        Enrol.KIND: meets_patients,
        StartRecovery.KIND: meets_patients,
        Mandate.KIND: meets_patients,
        Consent.KIND: meets_patients,
        Withdraw.KIND: meets_patients,
        BreakGlass.KIND: _HOSPITALS,
        Review.KIND: _HOSPITALS,
    }


def default_majorities() -> dict[ChangeKind, Majority]:
    """A half for what is reversed easily, two thirds for who belongs and what binds; others as what they stand for."""
    half, two_thirds = Majority(1, 2), Majority(2, 3)
    named = [kind for kind in ChangeKind if kind not in STANDS_FOR]
    return {kind: half if kind in (ChangeKind.TABLE, ChangeKind.CERTIFICATE) else two_thirds for kind in named}


def default_proposers() -> dict[ChangeKind, tuple[MemberKind, ...]]:
    return {kind: _ALL for kind in ChangeKind if kind not in STANDS_FOR}


def default_publishers() -> dict[PublicType, tuple[MemberKind, ...]]:
    return {
        PublicType.BULLETIN: (MemberKind.AUTHORITY,),
        PublicType.CODE_MAP: (MemberKind.HOSPITAL, MemberKind.INSURER, MemberKind.AUTHORITY),
        PublicType.MODEL_CARD: (MemberKind.HOSPITAL, MemberKind.RESEARCH),
        PublicType.SIGNING_PAGE: _ALL,
    }


def make_genesis(
    *,
    name: str,
    created: BlockTime,
    members: tuple[GenesisMember, ...],
    operator: MemberId | str,
    rp_id: str,
    pilot: bool = False,
    parameters: Mapping[Parameter, int] | None = None,
    tables: Mapping[str, Digest] | None = None,
    majorities: Mapping[ChangeKind, Majority] | None = None,
    proposers: Mapping[ChangeKind, tuple[MemberKind, ...]] | None = None,
    roles: Mapping[int, tuple[MemberKind, ...]] | None = None,
    publishers: Mapping[PublicType, tuple[MemberKind, ...]] | None = None,
    imported: Imported | None = None,
    privacy: PrivacyBudget | None = None,
) -> Genesis:
    """A genesis with the usual constitution but for what is given; `parameters` changes single ones.

    Raises GenesisError.
    """
    made = Genesis(
        name,
        created,
        PROTOCOL,
        SUITE,
        pilot,
        rp_id,
        MemberId(operator),
        tuple(sorted(members, key=lambda member: member.id)),
        {**defaults(), **(parameters or {})},
        majorities or default_majorities(),
        proposers or default_proposers(),
        default_roles() if roles is None else roles,
        publishers or default_publishers(),
        tuple(Table(each, (tables or {})[each]) for each in sorted(tables or {})),
        imported,
        privacy,
    )
    made.check()
    return made


def genesis_signature_digest(ledger: LedgerId) -> Digest:
    """What each member's first operate key signs."""
    return digest("commonward genesis signature v1", ledger)


@dataclass(frozen=True, slots=True)
class SignedGenesis:
    """The file. `possessions`: key id -> signature over `possession_digest` (X25519 keys have none);
    `signatures`: member -> signature of its first operate key over `genesis_signature_digest`; `before`: where genesis
    goes on from another ledger, what shows that ledger's members wanted it (`records.succession`), opaque here."""

    genesis: Genesis
    possessions: Mapping[KeyId, bytes] = field(hash=False)
    signatures: Mapping[MemberId, bytes] = field(hash=False)
    before: bytes = b""

    def to_bytes(self) -> bytes:
        return encode(
            [
                self.genesis.to_bytes(),
                [self.possessions.get(key.id, b"") for member in self.genesis.members for key in member.keys],
                [self.signatures.get(member.id, b"") for member in self.genesis.members],
                *([self.before] if self.before else []),
            ]
        )

    @classmethod
    def parse(cls, data: bytes) -> "SignedGenesis":
        """Raises GenesisError for a form that is not ours, and for a possession or signature that does not hold."""
        try:
            value = decode(data)
        except ValueError as cause:
            raise GenesisError(str(cause)) from cause
        match value:
            case [bytes(content), list(possessions), list(signatures), *more]:
                genesis = Genesis.parse(content)
                before = _before(genesis, more)
                keys = [key.id for member in genesis.members for key in member.keys]
                if len(possessions) == len(keys) and len(signatures) == len(genesis.members):
                    found = cls(
                        genesis,
                        {
                            key: each
                            for key, each in zip(keys, possessions, strict=True)
                            if type(each) is bytes and each
                        },
                        {
                            m.id: each
                            for m, each in zip(genesis.members, signatures, strict=True)
                            if type(each) is bytes
                        },
                        before,
                    )
                    found.check()
                    return found
        raise GenesisError("expected [genesis, possessions, signatures], one of each for every key and member")

    def check(self) -> None:
        """Raises GenesisError unless every key proves possession and every member signed."""
        ledger = self.genesis.ledger_id
        wanted = genesis_signature_digest(ledger)
        for member in self.genesis.members:
            for key in member.keys:
                possession = self.possessions.get(key.id, b"")
                try:
                    check_member_possession(ledger, member.id, key.purpose, key.algorithm, key.public, possession)
                except Refusal as cause:
                    raise GenesisError(f"{key.purpose.name} key of {member.id}: {cause}") from cause
            first = next(key for key in member.keys if key.purpose == Purpose.OPERATE)
            if not verify(first.algorithm, first.public, wanted, self.signatures.get(member.id, b"")):
                raise GenesisError(f"expected the signature of {member.id} over ledger {ledger.hex()}")


def _before(genesis: Genesis, more: list[Any]) -> bytes:
    match genesis.imported, more:
        case None, []:
            return b""
        case Imported(), [bytes(before)] if before:
            return before
    raise GenesisError("expected what stands before genesis where it goes on from another ledger, and only there")


def key_possession(genesis: Genesis, member: MemberId, key: GenesisKey) -> Digest:
    """What a key of genesis signs as its possession."""
    return possession_digest(genesis.ledger_id, member.encode(), key.purpose, key.algorithm, key.public)


def write_genesis(genesis: Genesis, cells: Cells) -> None:
    """The state at height 0."""
    roll, dues, adopted, parameters = Roll(cells), Dues(cells), Adopted(cells), Parameters(cells)
    parameters.write(genesis.parameters)
    for each in genesis.members:
        roll.add(
            each.id,
            Member(
                each.kind, each.tier, each.name, certificate_digest(each.certificate), True, each.weight, each.origin,
                (),
            ),
            each.certificate,
        )  # fmt: skip
        for key in each.keys:
            name = roll.put_key(Key(each.id, key.purpose, key.algorithm, key.public, key.starts, key.ends))
            dues.add(key.ends, DueKind.KEY_ENDS, name)
    for table in genesis.tables:
        adopted.adopt(table.name, table.digest)
    adopted.schedule(0, genesis.protocol)
    if genesis.privacy is not None:
        Rounds(cells).put_cap(genesis.privacy)
    write_authority(cells, roll, genesis.operator, pilot=genesis.pilot)
    if genesis.consensus:
        write_validators(cells, roll, genesis.created)
