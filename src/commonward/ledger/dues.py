"""What falls due: times at which the ledger itself does something, whether or not anybody asks.

A binary heap of distinct times in the state (one cell a node), and for each time a list of what is due then. So the
next due time is one read, adding costs few cells, and thousands of consents that end on the same day share one node.
Times are rounded up to a whole second. Nothing is ever taken out early: who is swept looks whether it is still due.
"""

from enum import IntEnum
from typing import Final, NamedTuple

from commonward.ledger.ids import BlockTime
from commonward.ledger.rules import Cells

_SIZE: Final = b"due/size"
_PAGE: Final = 32  # what one cell lists; more is moved to numbered pages
_HEAD: Final = 5  # of that cell: how many pages, 4 bytes; how many entries follow, 1


class DueKind(IntEnum):
    KEY_ENDS = 1  # ref: key id
    STAFF_REVOCATION_ENDS = 2  # ref: member, 00, digest of certificate
    PROPOSAL_CLOSES = 3  # ref: proposal id
    RECOVERY_TAKES_EFFECT = 4  # ref: handle
    MANDATE_ENDS = 5  # ref: author
    CONSENT_ENDS = 6  # ref: consent id
    REVIEW_OVERDUE = 7  # ref: member, 00, tag
    STUDY_VOTES_CLOSE = 8  # ref: study id
    STUDY_SITES_AWAITED = 9  # ref: study id
    ROUND_DEADLINE = 10  # ref: study id, round (4 bytes), attempt (1)
    ROUND_SIGN_BY = 11  # ref: as ROUND_DEADLINE
    STUDY_ENDS = 12  # ref: study id
    STUDY_SETTLES = 13  # ref: study id


class Due(NamedTuple):
    kind: DueKind
    ref: bytes


def _node(index: int) -> bytes:
    return b"due/node/" + index.to_bytes(4, "big")


def _at(time: int) -> bytes:
    return b"due/at/" + time.to_bytes(8, "big")


def _entry(kind: DueKind, ref: bytes) -> bytes:
    return bytes((kind, len(ref))) + ref


def _entries(data: bytes) -> list[Due]:
    """Entries stand one behind another: kind, length, reference. Appending one costs no decoding."""
    found = []
    at = 0
    while at < len(data):
        end = at + 2 + data[at + 1]
        found.append(Due(DueKind(data[at]), data[at + 2 : end]))
        at = end
    return found


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
        key = _at(time)
        data = self._cells.get(key)
        if data is None:
            self._push(time)
            data = bytes(_HEAD)
        pages, count, last = int.from_bytes(data[:4], "big"), data[4], data[_HEAD:]
        if count == _PAGE:
            self._cells.put(key + data[:4], last)
            pages, count, last = pages + 1, 0, b""
        self._cells.put(key, pages.to_bytes(4, "big") + bytes((count + 1,)) + last + _entry(kind, ref))

    def take(self, now: int, most: int) -> list[Due]:
        """Removes and returns what is due at `now`, earliest first, at most so many."""
        taken: list[Due] = []
        while len(taken) < most:
            time = self.next_due()
            if time is None or time > now:
                break
            key = _at(time)
            data = self._cells.get(key)
            assert data is not None
            pages, last = int.from_bytes(data[:4], "big"), _entries(data[_HEAD:])
            while last and len(taken) < most:
                taken.append(last.pop())
            if not last and pages:
                pages -= 1
                page = key + pages.to_bytes(4, "big")
                last = _entries(self._cells.get(page) or b"")
                self._cells.delete(page)
            if last:
                rest = b"".join(_entry(*each) for each in last)
                self._cells.put(key, pages.to_bytes(4, "big") + bytes((len(last),)) + rest)
            else:
                self._cells.delete(key)
                self._pop()
        return taken

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
