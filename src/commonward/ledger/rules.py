"""What every rule is given: the block it runs in, who signed, and the cells that its slice reads and writes.

A rule takes a payload, a signer, the header and the slices it needs as arguments, changes the slices or raises a
`Refusal`, and knows nothing else: no clock, no disk, no other capability's cells.
"""

from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from commonward.ledger.encoding import Digest, digest
from commonward.ledger.ids import BlockTime, CredentialId, Handle, Height, KeyId, MemberId, MemberKind

DAY: Final = 86_400_000
"""Milliseconds."""


class Header(NamedTuple):
    """Of a block: heights count by one, times (ms) grow."""

    height: Height
    time: BlockTime


class Cells(Protocol):
    """The state as a slice sees it: bytes under keys. Keys begin with a word of the slice's own."""

    def get(self, key: bytes) -> bytes | None: ...

    def put(self, key: bytes, value: bytes) -> None: ...

    def delete(self, key: bytes) -> None: ...


class Seen(NamedTuple):
    """The checkpoint that a body names as recent, by log size and header time (ms): its author had seen all of it."""

    size: int
    time: BlockTime


class MemberSigner(NamedTuple):
    """An active member, by one of its operate keys that is valid now."""

    member: MemberId
    kind: MemberKind
    key: KeyId
    seen: Seen


class Role(IntEnum):
    """Of a passkey on its handle."""

    OWN = 1
    REPRESENTATIVE = 2
    PENDING = 3  # named by a recovery that has not taken effect; signs nothing


class PasskeySigner(NamedTuple):
    """A passkey that is live now, and the handle it speaks for."""

    handle: Handle
    author: Digest
    role: Role


def author_of_passkey(credential: CredentialId) -> Digest:
    """How a body, and the state, names a passkey."""
    return digest("commonward credential v1", credential)
