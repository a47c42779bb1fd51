"""An authenticated map laid down all at once, a subtree at a time, each checked before it is kept.

    load = BulkLoad(bits)
    part = load.fold(depth, prefix, entries)     type and hash of that subtree: compare them with what they must be
    store.write(load.keep(part))                 its records; subtrees come from left to right
    store.write(load.finish())                   the rest: the row that `AuthenticatedMap` reads when it is opened

The same records as the map itself would have written, at a tenth of the price: entries come sorted, so each record is
made once.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from commonward.ledger.merkle.buckets import NOTHING, Buckets, Entries, Heap, fold, join
from commonward.ledger.merkle.map import ROW_TILE, bucket_key, row_key
from commonward.ledger.merkle.map_proof import EMPTY

__all__ = ["BulkLoad", "Folded", "Subtree", "fold_entries", "fold_subtrees"]


class Subtree(NamedTuple):
    """All entries whose key hash begins with the `depth` bits of `prefix`: nothing, one leaf, or an inner node."""

    depth: int
    prefix: int
    type: int
    hash: bytes

    @property
    def first(self) -> int:
        """Where it begins among 64-bit prefixes."""
        return self.prefix << (64 - self.depth)

    @property
    def end(self) -> int:
        return (self.prefix + 1) << (64 - self.depth)

    def holds(self, entry: bytes) -> bool:
        return self.first <= int.from_bytes(entry[:8], "big") < self.end


def fold_entries(entries: Entries, depth: int) -> tuple[int, bytes]:
    """Type and hash of the subtree at `depth` with these entries, which are sorted."""
    return min(len(entries), 2), fold(entries, 0, len(entries), depth)


def fold_subtrees(subtrees: Iterable[Subtree]) -> tuple[int, bytes]:
    """Type and hash of the map that subtrees make up, from left to right. Raises ValueError where one is missing."""
    stack: list[Subtree] = []
    end = 0
    for subtree in subtrees:
        if subtree.first != end:
            raise ValueError(f"expected a subtree from prefix {end:016x} on, got one from {subtree.first:016x}")
        end = subtree.end
        node = subtree
        while stack and stack[-1].depth == node.depth and node.prefix & 1:
            left = stack.pop()
            node = Subtree(node.depth - 1, node.prefix >> 1, *join(left.type, left.hash, node.type, node.hash))
        stack.append(node)
    if end != 1 << 64 or len(stack) != 1:
        raise ValueError(f"expected subtrees up to the last prefix, got none from {end:016x} on")
    return stack[0].type, stack[0].hash


class Folded(NamedTuple):
    """A subtree that was folded and not kept."""

    subtree: Subtree
    entries: Entries  # of a part of one place; kept until the place is complete
    places: tuple[tuple[int, int, bytes], ...]  # place, type, hash
    writes: dict[bytes, bytes | None]


class BulkLoad:
    """Into an empty store. Holds the row at depth `bits` (as `AuthenticatedMap`), and one place's entries."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._heap = Heap(bits)
        self._buckets = Buckets(lambda _key: None)
        self._place = -1
        self._waiting: Entries = []

    def fold(self, depth: int, prefix: int, entries: Entries) -> Folded:
        """Folds the entries (sorted, each below this prefix). Nothing is kept."""
        if depth > self._bits:
            return Folded(Subtree(depth, prefix, *fold_entries(entries, depth)), entries, (), {})
        writes: dict[bytes, bytes | None] = {}
        places = tuple(self._lay(entries, writes))
        below, first = self._bits - depth, prefix << (self._bits - depth)
        row = {place - first: (type_, hash_) for place, type_, hash_ in places}
        for _ in range(below):
            above: dict[int, tuple[int, bytes]] = {}
            for at in dict.fromkeys(index >> 1 for index in row):
                above[at] = join(*row.get(2 * at, _NONE), *row.get(2 * at + 1, _NONE))
            row = above
        return Folded(Subtree(depth, prefix, *row.get(0, _NONE)), [], places, writes)

    def _lay(self, entries: Entries, writes: dict[bytes, bytes | None]) -> Iterator[tuple[int, int, bytes]]:
        """Each place's entries as records: (place, type, hash)."""
        shift = 32 - self._bits
        at, count = 0, len(entries)
        while at < count:
            place, end = int.from_bytes(entries[at][:4], "big") >> shift, at + 1
            while end < count and int.from_bytes(entries[end][:4], "big") >> shift == place:
                end += 1
            yield place, *self._buckets.lay(bucket_key(place), self._bits, entries[at:end], writes)
            at = end

    def keep(self, folded: Folded) -> dict[bytes, bytes | None]:
        """The records to write for a folded subtree that is as it must be."""
        subtree = folded.subtree
        writes: dict[bytes, bytes | None] = {}
        if subtree.depth > self._bits:
            place = subtree.prefix >> (subtree.depth - self._bits)
            if place != self._place:
                writes = self._complete()
                self._place = place
            self._waiting += folded.entries
            return writes
        writes = self._complete()
        writes.update(folded.writes)
        for place, type_, hash_ in folded.places:
            self._heap.set(place, type_, hash_)
        return writes

    def _complete(self) -> dict[bytes, bytes | None]:
        """The place whose parts came one by one."""
        writes: dict[bytes, bytes | None] = {}
        if self._waiting:
            self._heap.set(self._place, *self._buckets.lay(bucket_key(self._place), self._bits, self._waiting, writes))
            self._waiting = []
        return writes

    def finish(self) -> dict[bytes, bytes | None]:
        """The last records: to be written when every subtree is."""
        writes = self._complete()
        heap, places = self._heap, 1 << self._bits
        for tile in range(places // ROW_TILE):
            first = places + ROW_TILE * tile
            types = heap.types[first : first + ROW_TILE]
            if any(types):
                writes[row_key(tile)] = bytes(types + heap.hashes[32 * first : 32 * (first + ROW_TILE)])
        return writes


_NONE = (NOTHING, EMPTY)
