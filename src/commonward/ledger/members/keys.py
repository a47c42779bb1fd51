"""Members' keys: registered by purpose, with validity; rotated by adding one and revoking the other. And the list of
staff certificates that were revoked before their end.
"""

from dataclasses import dataclass
from typing import ClassVar

from commonward.ledger.dues import DueKind, Dues
from commonward.ledger.encoding import Digest, encode
from commonward.ledger.ids import Algorithm, BlockTime, KeyId, LedgerId, MemberId, Purpose, key_id, parse_key_id
from commonward.ledger.members.roll import ALGORITHMS, MAX_KEYS, Key, Roll
from commonward.ledger.parameters import Parameter, Parameters
from commonward.ledger.possession import check_member_possession
from commonward.ledger.refusals import Refusal
from commonward.ledger.rules import Cells, Header, MemberSigner
from commonward.ledger.wire import DIGEST, TIME, Payload, choice, octets, parsed, struct, wire


@dataclass(eq=False)
class KeyTaken(Refusal):
    code: ClassVar[int] = 201
    key: bytes

    def __str__(self) -> str:
        return f"key {self.key.hex()} is registered already: make a new one"


@dataclass(eq=False)
class KeyNotAllowed(Refusal):
    """A key that this purpose, this member or this validity does not allow."""

    code: ClassVar[int] = 202
    what: str

    def __str__(self) -> str:
        return f"this key cannot be registered: {self.what}"


@dataclass(eq=False)
class NotYourKey(Refusal):
    code: ClassVar[int] = 203
    key: bytes
    member: str

    def __str__(self) -> str:
        return f"{self.member} has no live key {self.key.hex()}"


@dataclass(eq=False)
class LastOperateKey(Refusal):
    """A member without one could neither act nor register another."""

    code: ClassVar[int] = 204
    key: bytes

    def __str__(self) -> str:
        return f"key {self.key.hex()} is the last operate key: register another first"


@dataclass(eq=False)
class StaffAlreadyRevoked(Refusal):
    code: ClassVar[int] = 205
    certificate: bytes

    def __str__(self) -> str:
        return f"staff certificate {self.certificate.hex()} is revoked already"


@dataclass(eq=False)
class RevocationOutOfBounds(Refusal):
    code: ClassVar[int] = 206
    end: int
    now: int
    latest: int

    def __str__(self) -> str:
        return f"a revocation made at {self.now} ms ends after that and by {self.latest} ms, not at {self.end} ms"


@struct
class AddKey(Payload):
    """Registers a key of the signer's own. `possession`: its signature over `possession_digest`, b"" for X25519."""

    KIND: ClassVar[int] = 3
    SECOND_SIGNATURES: ClassVar[int] = 1
    purpose: Purpose = wire(1, choice(Purpose))
    algorithm: Algorithm = wire(2, choice(Algorithm))
    public: bytes = wire(3, octets(32, 64))
    starts: BlockTime = wire(4, TIME)
    ends: BlockTime = wire(5, TIME)
    possession: bytes = wire(6, octets(0, 64))


@struct
class RevokeKey(Payload):
    """Ends a key of the signer's own now, before its time. `reason`: commitment."""

    KIND: ClassVar[int] = 4
    key: KeyId = wire(1, parsed(parse_key_id))
    reason: Digest = wire(2, DIGEST)


@struct
class RevokeStaff(Payload):
    """Ends a staff certificate: its digest (`records.certificates` says of what), and when it would have ended."""

    KIND: ClassVar[int] = 5
    certificate: Digest = wire(1, DIGEST)
    end: BlockTime = wire(2, TIME)
    reason: Digest = wire(3, DIGEST)


def register_key(
    ledger: LedgerId,
    member: MemberId,
    asked: AddKey,
    now: int,
    *,
    roll: Roll,
    dues: Dues,
    parameters: Parameters,
    operator: MemberId,
) -> KeyId:
    """The checks that admission and `AddKey` share. Raises KeyTaken, KeyNotAllowed, BadPossession."""
    name = key_id(asked.algorithm, asked.public)
    if asked.algorithm not in ALGORITHMS[asked.purpose]:
        raise KeyNotAllowed(f"{asked.algorithm.name} is no algorithm for {asked.purpose.name} keys")
    if asked.purpose == Purpose.SEQUENCE and member != operator:
        raise KeyNotAllowed(f"only {operator} runs the sequencer")
    longest = parameters[Parameter.KEY_LASTS]
    if not (
        asked.starts < asked.ends and now < asked.ends <= asked.starts + longest and asked.ends <= now + 2 * longest
    ):
        raise KeyNotAllowed(f"expected an end after {now} ms and at most {longest} ms after its start")
    if len(roll.must(member).keys) >= MAX_KEYS:
        raise KeyNotAllowed(f"{member} has {MAX_KEYS} keys: wait until old ones have ended")
    if roll.key(name) is not None:
        raise KeyTaken(name)
    check_member_possession(ledger, member, asked.purpose, asked.algorithm, asked.public, asked.possession)
    roll.put_key(Key(member, asked.purpose, asked.algorithm, asked.public, asked.starts, asked.ends))
    dues.add(asked.ends, DueKind.KEY_ENDS, name)
    return name


def add_key(
    asked: AddKey,
    signer: MemberSigner,
    header: Header,
    *,
    ledger: LedgerId,
    roll: Roll,
    dues: Dues,
    parameters: Parameters,
    operator: MemberId,
) -> None:
    register_key(
        ledger, signer.member, asked, header.time, roll=roll, dues=dues, parameters=parameters, operator=operator
    )


def revoke_key(asked: RevokeKey, signer: MemberSigner, header: Header, *, roll: Roll) -> None:
    key = roll.key(asked.key)
    if key is None or key.member != signer.member or key.revoked is not None:
        raise NotYourKey(asked.key, signer.member)
    if key.purpose == Purpose.OPERATE:
        others = [each for each in roll.live(signer.member, Purpose.OPERATE, header.time) if each.id != asked.key]
        if not others:
            raise LastOperateKey(asked.key)
    roll.put_key(Key(key.member, key.purpose, key.algorithm, key.public, key.starts, key.ends, header.time))


def key_ends(key: bytes, now: int, *, roll: Roll) -> None:
    """Due: a key past its validity leaves the state."""
    found = roll.key(key)
    if found is not None and found.ends <= now:
        roll.drop_key(key)


def revoked_staff_key(member: str, certificate: bytes) -> bytes:
    """Named by member as well, so that nobody can occupy the place of another's certificate."""
    return b"staff/" + member.encode() + b"\0" + certificate


class RevokedStaff:
    """The slice: `staff/` member 00 digest -> {1: end, 2: revoked at}."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def is_revoked(self, member: str, certificate: bytes) -> bool:
        return self._cells.get(revoked_staff_key(member, certificate)) is not None

    def add(self, member: str, certificate: bytes, end: int, now: int) -> None:
        self._cells.put(revoked_staff_key(member, certificate), encode({1: end, 2: now}))

    def drop(self, ref: bytes) -> None:
        self._cells.delete(b"staff/" + ref)


def revoke_staff(
    asked: RevokeStaff, signer: MemberSigner, header: Header, *, staff: RevokedStaff, dues: Dues, parameters: Parameters
) -> None:
    latest = header.time + parameters[Parameter.STAFF_LASTS]
    if not header.time < asked.end <= latest:
        raise RevocationOutOfBounds(asked.end, header.time, latest)
    if staff.is_revoked(signer.member, asked.certificate):
        raise StaffAlreadyRevoked(asked.certificate)
    staff.add(signer.member, asked.certificate, asked.end, header.time)
    dues.add(asked.end, DueKind.STAFF_REVOCATION_ENDS, signer.member.encode() + b"\0" + asked.certificate)
