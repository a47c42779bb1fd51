"""Who decides: proposals and votes, one member one vote, with a majority by kind of change that genesis fixed.

Validating weight is another matter (`weights`): it says who cosigns, not who decides, so that an insurer without a
node that cosigns still has its say. A change takes effect within the vote that completes its majority. If it cannot
(the ledger has moved on since), that vote is refused and the proposal stays open until it closes.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Final, NamedTuple

from commonward.ledger.dues import DueKind, Dues
from commonward.ledger.encoding import Digest, Encodable, decode, encode
from commonward.ledger.ids import (
    BlockTime,
    Height,
    LedgerId,
    MemberId,
    MemberKind,
    ProposalId,
    Purpose,
    parse_member_id,
    parse_proposal_id,
)
from commonward.ledger.members.keys import AddKey, register_key
from commonward.ledger.members.roll import MAX_CERTIFICATE, MAX_WEIGHT, Member, Roll, certificate_digest
from commonward.ledger.members.weights import check_weights
from commonward.ledger.parameters import Parameter, Parameters, check_parameter
from commonward.ledger.possession import check_member_possession
from commonward.ledger.refusals import Refusal
from commonward.ledger.rules import Cells, Header, MemberSigner
from commonward.ledger.wire import (
    DIGEST,
    FLAG,
    TIME,
    Payload,
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

# ------------------------------------------------------------------------------------------------------------ refusals


@dataclass(eq=False)
class MayNotPropose(Refusal):
    code: ClassVar[int] = 211
    member: str
    change: str

    def __str__(self) -> str:
        return f"genesis does not let {self.member}'s kind of member propose {self.change}"


@dataclass(eq=False)
class ChangeNotPossible(Refusal):
    code: ClassVar[int] = 212
    what: str

    def __str__(self) -> str:
        return f"this change is not possible: {self.what}"


@dataclass(eq=False)
class ProposalTaken(Refusal):
    code: ClassVar[int] = 213
    proposal: bytes

    def __str__(self) -> str:
        return f"proposal {self.proposal.hex()} is open already: take a new id"


@dataclass(eq=False)
class ProposalClosed(Refusal):
    code: ClassVar[int] = 214
    proposal: bytes

    def __str__(self) -> str:
        return f"no proposal {self.proposal.hex()} is open"


@dataclass(eq=False)
class AlreadyVoted(Refusal):
    code: ClassVar[int] = 215
    proposal: bytes
    member: str

    def __str__(self) -> str:
        return f"{self.member} has voted on proposal {self.proposal.hex()}"


@dataclass(eq=False)
class CloseOutOfBounds(Refusal):
    code: ClassVar[int] = 216
    close: int
    now: int
    latest: int

    def __str__(self) -> str:
        return f"a proposal made at {self.now} ms closes after that and by {self.latest} ms, not at {self.close} ms"


# ------------------------------------------------------------------------------------------------------------- changes


class ChangeKind(IntEnum):
    ADMIT = 1
    SUSPEND = 2
    RESUME = 3
    PARAMETER = 4
    WEIGHT = 5
    TABLE = 6
    PROTOCOL = 7
    CERTIFICATE = 8


@struct
class Admit(Struct):
    """A new member with all its keys; each proves possession to this ledger, under the new id."""

    CHANGE: ClassVar[ChangeKind] = ChangeKind.ADMIT
    member: MemberId = wire(1, parsed(parse_member_id))
    kind: MemberKind = wire(2, choice(MemberKind))
    tier: int = wire(3, number(0, 3))
    name: str = wire(4, text(200))
    certificate: bytes = wire(5, octets(1, MAX_CERTIFICATE))
    weight: int = wire(6, number(0, MAX_WEIGHT))
    origin: str = wire(7, text(200))
    keys: tuple[AddKey, ...] = wire(8, items(nested(AddKey), 16, 1))


@struct
class Suspend(Struct):
    """Its transactions are refused and its weight is out, until resumed."""

    CHANGE: ClassVar[ChangeKind] = ChangeKind.SUSPEND
    member: MemberId = wire(1, parsed(parse_member_id))


@struct
class Resume(Struct):
    CHANGE: ClassVar[ChangeKind] = ChangeKind.RESUME
    member: MemberId = wire(1, parsed(parse_member_id))


@struct
class SetParameter(Struct):
    CHANGE: ClassVar[ChangeKind] = ChangeKind.PARAMETER
    parameter: Parameter = wire(1, choice(Parameter))
    value: int = wire(2, number())


@struct
class SetWeight(Struct):
    CHANGE: ClassVar[ChangeKind] = ChangeKind.WEIGHT
    member: MemberId = wire(1, parsed(parse_member_id))
    weight: int = wire(2, number(0, MAX_WEIGHT))


@struct
class AdoptTable(Struct):
    """The digest of a table (jurisdictions, sensitive codes) that all members judge by from now on."""

    CHANGE: ClassVar[ChangeKind] = ChangeKind.TABLE
    table: str = wire(1, text(64))
    digest: Digest = wire(2, DIGEST)


@struct
class SetProtocol(Struct):
    """From this height on, blocks follow this version of the rules."""

    CHANGE: ClassVar[ChangeKind] = ChangeKind.PROTOCOL
    version: int = wire(1, number(1, 1 << 16))
    height: Height = wire(2, number())


@struct
class RenewCertificate(Struct):
    """A member's next CA certificate, as opaque bytes."""

    CHANGE: ClassVar[ChangeKind] = ChangeKind.CERTIFICATE
    member: MemberId = wire(1, parsed(parse_member_id))
    certificate: bytes = wire(2, octets(1, MAX_CERTIFICATE))


Change = Admit | Suspend | Resume | SetParameter | SetWeight | AdoptTable | SetProtocol | RenewCertificate

CHANGES: Final[dict[int, type[Change]]] = {
    int(each.CHANGE): each
    for each in (Admit, Suspend, Resume, SetParameter, SetWeight, AdoptTable, SetProtocol, RenewCertificate)
}


def _read_change(value: Any) -> Change:
    match value:
        case [int(kind), dict(fields)] if kind in CHANGES:
            return CHANGES[kind].from_value(fields)
    raise ValueError(f"expected [kind of change, its fields], got {value!r:.60}")


def _write_change(change: Change) -> Encodable:
    return [int(change.CHANGE), change.to_value()]


CHANGE: Final = Shape(_read_change, _write_change)


@struct
class Propose(Payload):
    """Puts a change to the vote until `close` (ms). `grounds`: commitment."""

    KIND: ClassVar[int] = 1
    SECOND_SIGNATURES: ClassVar[int] = 16
    proposal: ProposalId = wire(1, parsed(parse_proposal_id))
    change: Change = wire(2, CHANGE)
    close: BlockTime = wire(3, TIME)
    grounds: Digest = wire(4, DIGEST)


@struct
class Vote(Payload):
    KIND: ClassVar[int] = 2
    SECOND_SIGNATURES: ClassVar[int] = 16
    proposal: ProposalId = wire(1, parsed(parse_proposal_id))
    choice: bool = wire(2, FLAG)


# ----------------------------------------------------------------------------------------------------------- the slice


@struct
class Proposal(Struct):
    """An open one."""

    proposer: MemberId = wire(1, parsed(parse_member_id))
    change: Change = wire(2, CHANGE)
    close: BlockTime = wire(3, TIME)
    ayes: tuple[MemberId, ...] = wire(4, items(parsed(parse_member_id), 4096))
    noes: tuple[MemberId, ...] = wire(5, items(parsed(parse_member_id), 4096))


TABLES_KEY: Final = b"tables"
PROTOCOL_KEY: Final = b"protocol"
PROPOSALS_KEY: Final = b"proposals"


def proposal_key(proposal: bytes) -> bytes:
    return b"proposal/" + proposal


class Governance:
    """The slice: `proposal/` id -> Proposal; `proposals` -> open ids; `tables` -> [[name, digest]...]; `protocol` ->
    [[height, version]...]."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def get(self, proposal: bytes) -> Proposal | None:
        data = self._cells.get(proposal_key(proposal))
        return None if data is None else Proposal.parse(data)

    def open(self) -> tuple[ProposalId, ...]:
        value = decode(self._cells.get(PROPOSALS_KEY) or b"\x80")
        assert isinstance(value, list)
        return tuple(ProposalId(each) for each in value if isinstance(each, bytes))

    def put(self, proposal: ProposalId, value: Proposal) -> None:
        if self.get(proposal) is None:
            self._cells.put(PROPOSALS_KEY, encode([*self.open(), proposal]))
        self._cells.put(proposal_key(proposal), value.to_bytes())

    def drop(self, proposal: bytes) -> None:
        self._cells.delete(proposal_key(proposal))
        self._cells.put(PROPOSALS_KEY, encode([each for each in self.open() if each != proposal]))

    def tables(self) -> dict[str, Digest]:
        """Name -> digest of each adopted table."""
        value = decode(self._cells.get(TABLES_KEY) or b"\x80")
        assert isinstance(value, list)
        tables = {}
        for each in value:
            match each:
                case [str(name), bytes(digest)]:
                    tables[name] = Digest(digest)
        return tables

    def adopt(self, table: str, digest: Digest) -> None:
        tables = {**self.tables(), table: digest}
        self._cells.put(TABLES_KEY, encode([[name, tables[name]] for name in sorted(tables)]))

    def versions(self) -> tuple[tuple[int, int], ...]:
        """(height, version), ascending: each version rules from its height on."""
        value = decode(self._cells.get(PROTOCOL_KEY) or b"\x80")
        assert isinstance(value, list)
        versions = []
        for each in value:
            match each:
                case [int(height), int(version)]:
                    versions.append((height, version))
        return tuple(versions)

    def version_at(self, height: int) -> int:
        return max(((h, version) for h, version in self.versions() if h <= height), default=(0, 0))[1]

    def schedule(self, height: int, version: int) -> None:
        self._cells.put(PROTOCOL_KEY, encode([*self.versions(), (height, version)]))


class Majority(NamedTuple):
    """More than this fraction of the active members."""

    numerator: int
    denominator: int

    def reached(self, ayes: int, members: int) -> bool:
        return ayes * self.denominator > members * self.numerator


class Constitution(NamedTuple):
    """What genesis fixes about deciding."""

    majorities: dict[ChangeKind, Majority]
    proposers: dict[ChangeKind, tuple[MemberKind, ...]]
    operator: MemberId
    pilot: bool


# --------------------------------------------------------------------------------------------------------------- rules


def propose(
    asked: Propose,
    signer: MemberSigner,
    header: Header,
    *,
    ledger: LedgerId,
    constitution: Constitution,
    governance: Governance,
    roll: Roll,
    dues: Dues,
    parameters: Parameters,
) -> None:
    kind = asked.change.CHANGE
    if signer.kind not in constitution.proposers.get(kind, ()):
        raise MayNotPropose(signer.member, kind.name)
    latest = header.time + parameters[Parameter.PROPOSAL_OPEN]
    if not header.time < asked.close <= latest:
        raise CloseOutOfBounds(asked.close, header.time, latest)
    if governance.get(asked.proposal) is not None:
        raise ProposalTaken(asked.proposal)
    if len(governance.open()) >= 256:
        raise ChangeNotPossible("256 proposals are open: vote on those first")
    check_change(asked.change, header, constitution=constitution, governance=governance, roll=roll)
    if isinstance(asked.change, Admit):  # so that nobody votes in vain
        for key in asked.change.keys:
            check_member_possession(ledger, asked.change.member, key.purpose, key.algorithm, key.public, key.possession)
    governance.put(asked.proposal, Proposal(signer.member, asked.change, asked.close, (), ()))
    dues.add(asked.close, DueKind.PROPOSAL_CLOSES, asked.proposal)


def vote(
    asked: Vote,
    signer: MemberSigner,
    header: Header,
    *,
    ledger: LedgerId,
    constitution: Constitution,
    governance: Governance,
    roll: Roll,
    dues: Dues,
    parameters: Parameters,
) -> None:
    proposal = governance.get(asked.proposal)
    if proposal is None or proposal.close <= header.time:
        raise ProposalClosed(asked.proposal)
    if signer.member in proposal.ayes or signer.member in proposal.noes:
        raise AlreadyVoted(asked.proposal, signer.member)
    ayes, noes = proposal.ayes, proposal.noes
    if asked.choice:
        ayes = (*ayes, signer.member)
    else:
        noes = (*noes, signer.member)
    active = roll.active()
    counted = sum(member in active for member in ayes)  # a member suspended since it voted does not count
    if constitution.majorities[proposal.change.CHANGE].reached(counted, len(active)):
        check_change(proposal.change, header, constitution=constitution, governance=governance, roll=roll)
        _apply(
            proposal.change, header, ledger=ledger, constitution=constitution, governance=governance, roll=roll,
            dues=dues, parameters=parameters,
        )  # fmt: skip
        governance.drop(asked.proposal)
    else:
        governance.put(asked.proposal, Proposal(proposal.proposer, proposal.change, proposal.close, ayes, noes))


def proposal_closes(proposal: bytes, now: int, *, governance: Governance) -> None:
    """Due: what has not found its majority is gone."""
    found = governance.get(proposal)
    if found is not None and found.close <= now:
        governance.drop(proposal)


def check_change(
    change: Change, header: Header, *, constitution: Constitution, governance: Governance, roll: Roll
) -> None:
    """Raises ChangeNotPossible or ThirdOfWeight. Asked when proposed and again when the majority is there."""
    if isinstance(change, Admit | Suspend | Resume | SetWeight | RenewCertificate):
        member = roll.get(change.member)
        if isinstance(change, Admit):
            if member is not None:
                raise ChangeNotPossible(f"{change.member} is a member already")
            if not any(key.purpose == Purpose.OPERATE for key in change.keys):
                raise ChangeNotPossible(f"{change.member} would have no operate key")
            if any(roll.must(each).origin == change.origin for each in roll.ids()):
                raise ChangeNotPossible(f"{change.origin} is the signing page of another member")
            check_weights(roll, change.member, change.weight, pilot=constitution.pilot)
            return
        if member is None:
            raise ChangeNotPossible(f"{change.member} is not a member")
        if isinstance(change, Suspend) and not member.active:
            raise ChangeNotPossible(f"{change.member} is suspended already")
        if isinstance(change, Resume):
            if member.active:
                raise ChangeNotPossible(f"{change.member} is not suspended")
            check_weights(roll, change.member, member.weight, pilot=constitution.pilot)
        if isinstance(change, SetWeight):
            check_weights(roll, change.member, change.weight, pilot=constitution.pilot)
    elif isinstance(change, SetParameter):
        try:
            check_parameter(change.parameter, change.value)
        except ValueError as cause:
            raise ChangeNotPossible(str(cause)) from cause
    elif isinstance(change, SetProtocol):
        last = max(governance.versions())
        if change.height <= header.height or change.height <= last[0] or change.version <= last[1]:
            raise ChangeNotPossible(
                f"expected a height and a version after {max(header.height, last[0])} and {last[1]}"
            )


def _apply(
    change: Change,
    header: Header,
    *,
    ledger: LedgerId,
    constitution: Constitution,
    governance: Governance,
    roll: Roll,
    dues: Dues,
    parameters: Parameters,
) -> None:
    match change:
        case Admit():
            roll.add(
                change.member,
                Member(
                    change.kind, change.tier, change.name, certificate_digest(change.certificate), True, change.weight,
                    change.origin, (),
                ),
                change.certificate,
            )  # fmt: skip
            for key in change.keys:
                register_key(
                    ledger, change.member, key, header.time, roll=roll, dues=dues, parameters=parameters,
                    operator=constitution.operator,
                )  # fmt: skip
        case Suspend():
            # Not judged by `check_weights`: a rogue must go even if the others' shares then reach a third. More than
            # two thirds of what remains is then needed, so nothing false can be made binding; it may only take longer.
            roll.put(change.member, roll.must(change.member).but(active=False))
        case Resume():
            roll.put(change.member, roll.must(change.member).but(active=True))
        case SetWeight():
            roll.put(change.member, roll.must(change.member).but(weight=change.weight))
        case RenewCertificate():
            roll.put(change.member, roll.must(change.member).but(ca=certificate_digest(change.certificate)))
            roll.put_certificate(change.member, change.certificate)
        case SetParameter():
            parameters.change(change.parameter, change.value)
        case AdoptTable():
            governance.adopt(change.table, change.digest)
        case SetProtocol():
            governance.schedule(change.height, change.version)
