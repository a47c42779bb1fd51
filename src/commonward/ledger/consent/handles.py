"""Handles: a patient as the ledger knows one, with the passkeys that may speak for it.

The first binding of a passkey to a handle rests on a member's identity check; from then on only its own keys change
it, but for recovery, which takes two members, a wait, and no veto of any key the handle had. A representative (parent,
guardian, proxy) holds a passkey of its own under a mandate that ends.

One passkey serves one handle: a second would tell every reader that two handles are one person.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final

from commonward.ledger.ids import (
    Algorithm,
    BlockTime,
    ConsentId,
    Digest,
    Handle,
    MemberId,
    parse_consent_id,
    parse_digest,
    parse_handle,
    parse_member_id,
)
from commonward.ledger.refusals import Refusal
from commonward.ledger.rules import Cells, Role
from commonward.ledger.wire import DIGEST, TIME, Struct, choice, items, nested, octets, parsed, struct, wire

MAX_OWN: Final = 8
"""Passkeys of its own that a handle may have at once: a telephone, a key in a drawer."""

MAX_MANDATES: Final = 4


@dataclass(eq=False)
class HandleTaken(Refusal):
    code: ClassVar[int] = 401
    handle: bytes

    def __str__(self) -> str:
        return f"handle {self.handle.hex()} is enrolled, or was first used by another member"


@dataclass(eq=False)
class HandleUnknown(Refusal):
    code: ClassVar[int] = 402
    handle: bytes

    def __str__(self) -> str:
        return f"handle {self.handle.hex()} is not enrolled"


@dataclass(eq=False)
class CredentialTaken(Refusal):
    code: ClassVar[int] = 403
    author: bytes

    def __str__(self) -> str:
        return f"passkey {self.author.hex()} speaks for a handle already: make a new one"


@dataclass(eq=False)
class NotItsHandle(Refusal):
    code: ClassVar[int] = 404
    handle: bytes

    def __str__(self) -> str:
        return f"this passkey does not speak for handle {self.handle.hex()}"


@dataclass(eq=False)
class TooManyKeys(Refusal):
    code: ClassVar[int] = 405
    most: int

    def __str__(self) -> str:
        return f"a handle has at most {self.most} of these: end one first"


@struct
class Credential(Struct):
    """A passkey that speaks for a handle. `ends`: of a representative's mandate. `member`: who registered it."""

    handle: Handle = wire(1, parsed(parse_handle))
    role: Role = wire(2, choice(Role))
    algorithm: Algorithm = wire(3, choice(Algorithm))
    public: bytes = wire(4, octets(32, 64))
    member: MemberId = wire(5, parsed(parse_member_id))
    ends: BlockTime | None = wire(6, TIME, default=None)
    sealing: bytes | None = wire(7, octets(32), default=None)

    def live(self, at: int) -> bool:
        return self.role != Role.PENDING and (self.ends is None or at < self.ends)


@struct
class Recovery(Struct):
    """A recovery under way: at `at` this passkey takes the place of all the handle's own."""

    author: Digest = wire(1, DIGEST)
    at: BlockTime = wire(2, TIME)
    member: MemberId = wire(3, parsed(parse_member_id))
    second: MemberId | None = wire(4, parsed(parse_member_id), default=None)


@struct
class HandleRecord(Struct):
    """`own`, `mandates`: authors of passkeys. `holds`: open safety holds; while there is one, nothing is released.

    `member`: who enrolled it, or who first used it in a witnessed consent (then `own` may be empty for good).
    `sealing`: the patient's X25519 key, to which openings and notices are sealed. `research`: its research consent
    while that is open: the only one that it then has.
    """

    member: MemberId = wire(1, parsed(parse_member_id))
    own: tuple[Digest, ...] = wire(2, items(parsed(parse_digest), MAX_OWN))
    mandates: tuple[Digest, ...] = wire(3, items(parsed(parse_digest), MAX_MANDATES))
    holds: tuple[ConsentId, ...] = wire(4, items(parsed(parse_consent_id), 64))
    sealing: bytes | None = wire(5, octets(32), default=None)
    recovery: Recovery | None = wire(6, nested(Recovery), default=None)
    research: ConsentId | None = wire(7, parsed(parse_consent_id), default=None)

    def but(self, **changes: object) -> "HandleRecord":
        """This record with some fields changed."""
        return HandleRecord(**{**{each.name: getattr(self, each.name) for each in self.FIELDS}, **changes})


_credential = lru_cache(maxsize=4096)(Credential.parse)


def handle_key(handle: bytes) -> bytes:
    return b"handle/" + handle


def credential_key(author: bytes) -> bytes:
    return b"credential/" + author


class Handles:
    """The slice: `handle/` handle -> HandleRecord; `credential/` author -> Credential."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def get(self, handle: bytes) -> HandleRecord | None:
        data = self._cells.get(handle_key(handle))
        return None if data is None else HandleRecord.parse(data)

    def enrolled(self, handle: bytes) -> HandleRecord:
        """Raises HandleUnknown unless it has a passkey of its own."""
        found = self.get(handle)
        if found is None or not found.own:
            raise HandleUnknown(handle)
        return found

    def put(self, handle: Handle, record: HandleRecord) -> None:
        self._cells.put(handle_key(handle), record.to_bytes())

    def credential(self, author: bytes) -> Credential | None:
        data = self._cells.get(credential_key(author))
        return None if data is None else _credential(data)

    def add_credential(self, author: Digest, value: Credential) -> None:
        """Raises CredentialTaken."""
        if self._cells.get(credential_key(author)) is not None:
            raise CredentialTaken(author)
        self._cells.put(credential_key(author), value.to_bytes())

    def drop_credential(self, author: bytes) -> None:
        self._cells.delete(credential_key(author))

    def live_mandates(self, record: HandleRecord, at: int) -> Sequence[Digest]:
        found = ((author, self.credential(author)) for author in record.mandates)
        return [author for author, each in found if each is not None and each.live(at)]
