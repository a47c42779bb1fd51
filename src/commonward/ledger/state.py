"""The state: cells of bytes, joined from the slices of the capabilities, changed a block at a time.

`Store` is the one port: it keeps what the machine gives it, under keys whose first byte names the space:

    s  cells of the state       b, r  the authenticated map's records      m  where this node stands
    x  digests of transactions not yet expired      c  recent checkpoints and what to forget with them
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from commonward.ledger.audit import Glasses
from commonward.ledger.consent import Consents, Handles
from commonward.ledger.dues import Dues
from commonward.ledger.members import Adopted, Authorities, Governance, Majorities, RevokedStaff, Roll, Weights
from commonward.ledger.parameters import Parameters
from commonward.ledger.registry import Registry
from commonward.ledger.rounds.study import Rounds


class Store(Protocol):
    """Bytes under keys. `write` makes all its changes (None deletes) or none, and returns once they are durable.

    Trusted: it is this node's own. What it loses or alters shows as a root that the other members do not have.
    """

    def get(self, key: bytes) -> bytes | None: ...

    def write(self, changes: Mapping[bytes, bytes | None]) -> None: ...


class MemoryStore:
    """Keeps everything in a dictionary: for tests, and for whoever replays a ledger to check it."""

    def __init__(self) -> None:
        self.cells: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.cells.get(key)

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self.cells.pop(key, None)
            else:
                self.cells[key] = value


class _Absent:
    """Marks a cell that the overlay did not hold."""


_ABSENT: Final = _Absent()


class State:
    """What a block sees and changes: an overlay over the last committed state, and the slices over it.

    A transaction that is refused leaves nothing behind: `savepoint` before it, `rollback` after.
    """

    def __init__(self, read: Callable[[bytes], bytes | None]) -> None:
        self._read = read
        self._changes: dict[bytes, bytes | None] = {}
        self._journal: list[tuple[bytes, bytes | _Absent | None]] = []
        self.roll = Roll(self)
        self.staff = RevokedStaff(self)
        self.governance = Governance(self)
        self.majorities = Majorities(self)
        self.adopted = Adopted(self)
        self.authorities = Authorities(self)
        self.weights = Weights(self)
        self.parameters = Parameters(self)
        self.registry = Registry(self)
        self.handles = Handles(self)
        self.consents = Consents(self)
        self.glasses = Glasses(self)
        self.rounds = Rounds(self)
        self.dues = Dues(self)

    def get(self, key: bytes) -> bytes | None:
        if key in self._changes:
            return self._changes[key]
        return self._read(key)

    def put(self, key: bytes, value: bytes) -> None:
        self._journal.append((key, self._changes.get(key, _ABSENT)))
        self._changes[key] = value

    def delete(self, key: bytes) -> None:
        self._journal.append((key, self._changes.get(key, _ABSENT)))
        self._changes[key] = None

    def savepoint(self) -> None:
        """From here on, `rollback` undoes."""
        self._journal.clear()

    def rollback(self) -> None:
        for key, before in reversed(self._journal):
            if isinstance(before, _Absent):
                del self._changes[key]
            else:
                self._changes[key] = before
        self._journal.clear()

    def touched(self, prefix: bytes) -> bool:
        return any(key.startswith(prefix) for key in self._changes)

    def changes(self) -> dict[bytes, bytes | None]:
        """What differs from the committed state."""
        return {key: value for key, value in self._changes.items() if self._read(key) != value}
