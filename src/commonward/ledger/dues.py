"""What falls due: times at which the ledger itself does something, whether or not anybody asks.

A binary heap of distinct times in the state (one cell a node), and for each time a list of what is due then. So the
next due time is one read, adding costs few cells, and thousands of consents that end on the same day share one node.
Times are rounded up to a whole second. Nothing is ever taken out early: who is swept looks whether it is still due.
"""

from enum import IntEnum
from typing import Final, NamedTuple

from commonward.ledger.encoding import Value, decode, encode
from commonward.ledger.ids import BlockTime
from commonward.ledger.rules import Cells

_SIZE: Final = b"due/size"
_PAGE: Final = 32  # what one cell lists; more is moved to numbered pages


class DueKind(IntEnum):
    KEY_ENDS = 1  # ref: key id
    STAFF_REVOCATION_ENDS = 2  # ref: member, 00, digest of certificate
    PROPOSAL_CLOSES = 3  # ref: proposal id
    RECOVERY_TAKES_EFFECT = 4  # ref: handle
    MANDATE_ENDS = 5  # ref: author
    CONSENT_ENDS = 6  # ref: consent id
    REVIEW_OVERDUE = 7  # ref: tag


class Due(NamedTuple):
    kind: DueKind
    ref: bytes


def _node(index: int) -> bytes:
    return b"due/node/" + index.to_bytes(4, "big")


def _at(time: int) -> bytes:
    return b"due/at/" + time.to_bytes(8, "big")


def _entries(value: Value) -> list[tuple[int, bytes]]:
    assert isinstance(value, list)
    entries = []
    for each in value:
        match each:
            case [int(kind), bytes(ref)]:
                entries.append((kind, ref))
    return entries


class Dues:
    """The slice."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def next_due(self) -> BlockTime | None:
        """The earliest time at which something is due, or None."""
        data = self._cells.get(_node(0))
        return None if data is None else BlockTime(int.from_bytes(data, "big"))

    def add(self, at: int, kind: DueKind, ref: bytes) -> None:
        time = -(-at // 1000) * 1000
        pages, last = self._read(time)
        if not pages and not last:
            self._push(time)
        if len(last) == _PAGE:
            self._cells.put(_at(time) + pages.to_bytes(4, "big"), encode(last))
            pages, last = pages + 1, []
        self._write(time, pages, [*last, (int(kind), ref)])

    def take(self, now: int, most: int) -> list[Due]:
        """Removes and returns what is due at `now`, earliest first, at most so many."""
        taken: list[Due] = []
        while len(taken) < most:
            time = self.next_due()
            if time is None or time > now:
                break
            pages, last = self._read(time)
            while last and len(taken) < most:
                kind, ref = last.pop()
                taken.append(Due(DueKind(kind), ref))
            if not last and pages:
                pages -= 1
                key = _at(time) + pages.to_bytes(4, "big")
                last = _entries(decode(self._cells.get(key) or b""))
                self._cells.delete(key)
            if last:
                self._write(time, pages, last)
            else:
                self._cells.delete(_at(time))
                self._pop()
        return taken

    def _read(self, time: int) -> tuple[int, list[tuple[int, bytes]]]:
        data = self._cells.get(_at(time))
        if data is None:
            return 0, []
        match decode(data):
            case [int(pages), list(last)]:
                return pages, _entries(last)
        raise ValueError(f"expected what is due at {time} as [pages, entries]")

    def _write(self, time: int, pages: int, last: list[tuple[int, bytes]]) -> None:
        self._cells.put(_at(time), encode([pages, last]))

    def _size(self) -> int:
        return int.from_bytes(self._cells.get(_SIZE) or b"", "big")

    def _time(self, index: int) -> bytes:
        data = self._cells.get(_node(index))
        assert data is not None
        return data

    def _resize(self, size: int) -> None:
        if size:
            self._cells.put(_SIZE, size.to_bytes(4, "big"))
        else:
            self._cells.delete(_SIZE)

    def _push(self, time: int) -> None:
        """Eight bytes, big-endian, compare as the times do."""
        index, new = self._size(), time.to_bytes(8, "big")
        self._resize(index + 1)
        while index:
            parent = (index - 1) >> 1
            above = self._time(parent)
            if above <= new:
                break
            self._cells.put(_node(index), above)
            index = parent
        self._cells.put(_node(index), new)

    def _pop(self) -> None:
        size = self._size() - 1
        moved = self._time(size)
        self._cells.delete(_node(size))
        self._resize(size)
        if not size:
            return
        index = 0
        while (child := 2 * index + 1) < size:
            below = self._time(child)
            if child + 1 < size and (other := self._time(child + 1)) < below:
                child, below = child + 1, other
            if below >= moved:
                break
            self._cells.put(_node(index), below)
            index = child
        self._cells.put(_node(index), moved)
