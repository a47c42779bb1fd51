"""Where the leaves of the authenticated map rest: records that hold a few entries each, and split when they fill.

Below the inner hashes that `map` keeps in memory, each subtree is one record: a *bucket* of its entries (key hash,
value hash), sorted; or, when there are more than `SPLIT_ABOVE`, a *branch* of sixteen records one nibble deeper.
Whoever grinds keys with a common prefix fills one bucket, and then sixteen times the work buys one level: the cost of
a change stays bounded. How entries are spread over records never enters the root.

    bucket = 00 | (key hash 32 | value hash 32)*
    branch = 01 | number of entries 4 | type of each child 16 | hash of each child 16 * 32
"""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Mapping, MutableMapping
from typing import Final, NamedTuple, TypeAlias

from commonward.ledger.merkle.map_proof import EMPTY

SPLIT_ABOVE: Final = 32  # 64 took 110 us a change where most buckets are nearly full, 32 takes half
JOIN_AT: Final = 12  # well below, so that a key that comes and goes does not split and join each time
_NIBBLE: Final = 4
_DEEPEST: Final = 240

NOTHING, LEAF, INNER = 0, 1, 2
"""What a subtree is: without a leaf, one leaf that floats, or an inner node."""

Get: TypeAlias = Callable[[bytes], "bytes | None"]
Entries: TypeAlias = list[bytes]  # each of 64 bytes, key hash and value hash; sorted, each key hash once
Writes: TypeAlias = MutableMapping[bytes, "bytes | None"]  # record key -> record, None to delete

_sha256 = hashlib.sha256


class Subtree(NamedTuple):
    """What a record came to be, and how many entries more it holds than before."""

    type: int
    hash: bytes
    grown: int


class Heap:
    """A complete binary tree of 2^bits places in one flat array: node j has the children 2j and 2j + 1, 1 is the root.

    Children lie side by side, so that hashing a node is one slice.
    """

    __slots__ = ("bits", "hashes", "types")

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.types = bytearray(2 << bits)
        self.hashes = bytearray(64 << bits)

    def fold(self, node: int) -> None:
        types, hashes = self.types, self.hashes
        left, right = types[2 * node], types[2 * node + 1]
        at, children = 32 * node, 64 * node
        if left + right > 1:  # two leaves at least
            types[node] = INNER
            hashes[at : at + 32] = _sha256(b"\1" + hashes[children : children + 64]).digest()
        elif left:  # a lone leaf floats up
            types[node] = LEAF
            hashes[at : at + 32] = hashes[children : children + 32]
        else:
            types[node] = right
            hashes[at : at + 32] = hashes[children + 32 : children + 64]

    def fold_all(self) -> None:
        for node in range((1 << self.bits) - 1, 0, -1):
            self.fold(node)

    def set(self, place: int, type_: int, hash_: bytes) -> None:
        node = place + (1 << self.bits)
        self.types[node] = type_
        self.hashes[32 * node : 32 * node + 32] = hash_

    def hash_of(self, node: int) -> bytes:
        return bytes(self.hashes[32 * node : 32 * node + 32])

    def climb(self, place: int, siblings: list[bytes]) -> int | None:
        """Adds the siblings on the way up from a place. Returns the place of the lone leaf that floats over it, if one.

        Only an inner node has siblings below it. Where it has not, and the other side holds a leaf, that leaf is what
        the path ends at.
        """
        node, beside = place + (1 << self.bits), None
        while node > 1:
            if self.types[node >> 1] == INNER:
                siblings.append(self.hash_of(node ^ 1))
            elif self.types[node ^ 1] == LEAF:
                beside = self._lone(node ^ 1)
            node >>= 1
        return beside

    def _lone(self, node: int) -> int:
        """The place of the one leaf under this node."""
        places = 1 << self.bits
        while node < places:
            node = 2 * node if self.types[2 * node] else 2 * node + 1
        return node - places


def nibble(kh: bytes, depth: int) -> int:
    """Four bits of a key hash (or of an entry, which starts with one) from bit `depth` on."""
    at = depth >> 3
    return (kh[at] << 8 | kh[at + 1]) >> (12 - (depth & 7)) & 15


def fold(entries: Entries, low: int, high: int, depth: int) -> bytes:
    """The hash of the subtree at `depth` that holds entries[low:high]."""
    if high - low < 2:
        return _sha256(b"\0" + entries[low]).digest() if high > low else EMPTY
    at, mask = depth >> 3, 0x80 >> (depth & 7)
    middle = low
    while middle < high and not entries[middle][at] & mask:
        middle += 1
    depth += 1
    return _sha256(b"\1" + fold(entries, low, middle, depth) + fold(entries, middle, high, depth)).digest()


def change_entries(entries: Entries, changes: Mapping[bytes, bytes | None]) -> None:
    """Sets or deletes (None) value hashes in place."""
    for kh, vh in changes.items():
        at = bisect_left(entries, kh)  # an entry starts with its key hash, so it sorts just after it
        there = at < len(entries) and entries[at].startswith(kh)
        if vh is None:
            if there:
                del entries[at]
        elif there:
            entries[at] = kh + vh
        else:
            entries.insert(at, kh + vh)


class Buckets:
    """Reads records through `get` and puts changed ones into `writes` (None deletes). Keeps nothing itself."""

    def __init__(self, get: Get) -> None:
        self._get = get

    def change(self, place: bytes, depth: int, changes: Mapping[bytes, bytes | None], writes: Writes) -> Subtree:
        """Applies changes (key hash -> value hash, or None to delete) to the record at `place`, `depth` bits down."""
        record = self._get(place)
        if record is None or record[0] == 0:
            entries = _parse_bucket(place, record)
            before = len(entries)
            change_entries(entries, changes)
            type_, hash_ = self.lay(place, depth, entries, writes)
            return Subtree(type_, hash_, len(entries) - before)
        count, types, hashes = _parse_branch(place, record)
        before = count
        for child, part in _by_nibble(changes, depth).items():
            below = self.change(place + bytes((child,)), depth + _NIBBLE, part, writes)
            types[child], hashes[child] = below.type, below.hash
            count += below.grown
        if count <= JOIN_AT:
            type_, hash_ = self.lay(place, depth, self._gather(place, record, writes), writes)
        else:
            type_, hash_ = _write_branch(place, count, types, hashes, writes)
        return Subtree(type_, hash_, count - before)

    def lay(self, place: bytes, depth: int, entries: Entries, writes: Writes) -> tuple[int, bytes]:
        """Lays entries down where nothing is: as a bucket, or split over sixteen."""
        count = len(entries)
        if count <= SPLIT_ABOVE or depth > _DEEPEST:
            writes[place] = b"\0" + b"".join(entries) if entries else None
            return min(count, INNER), fold(entries, 0, count, depth)
        parts: list[Entries] = [[] for _ in range(16)]
        for entry in entries:
            parts[nibble(entry, depth)].append(entry)
        below = [
            self.lay(place + bytes((child,)), depth + _NIBBLE, part, writes) if part else (NOTHING, EMPTY)
            for child, part in enumerate(parts)
        ]
        return _write_branch(place, count, bytearray(t for t, _ in below), [h for _, h in below], writes)

    def _gather(self, place: bytes, record: bytes, writes: Writes) -> Entries:
        """Takes a branch that has become small apart: its entries, in order, and nothing left below it."""
        entries: Entries = []
        if record[0] == 0:
            return _parse_bucket(place, record)
        for child in range(16):
            at = place + bytes((child,))
            below = writes[at] if at in writes else self._get(at)
            if below is not None:
                entries += self._gather(at, below, writes)
                writes[at] = None
        return entries

    def walk(self, place: bytes, depth: int, kh: bytes, siblings: list[bytes]) -> bytes | None:
        """Adds the siblings below `depth`, deepest first. Returns the entry that the path ends at."""
        record = self._get(place)
        if record is None:
            return None
        if record[0] == 0:
            return _descend(_parse_bucket(place, record), depth, kh, siblings)
        _, types, hashes = _parse_branch(place, record)
        heap = Heap(_NIBBLE)
        heap.types[16:], heap.hashes[16 * 32 :] = types, b"".join(hashes)
        heap.fold_all()
        child = nibble(kh, depth)
        found = self.walk(place + bytes((child,)), depth + _NIBBLE, kh, siblings)
        beside = heap.climb(child, siblings)
        return found if beside is None else self.lone(place + bytes((beside,)))

    def lone(self, place: bytes) -> bytes:
        """The one entry of a record that holds no other."""
        record = self._get(place)
        if record is None or len(record) != 65 or record[0] != 0:
            raise DamagedMap(place, "expected a bucket of one entry")
        return record[1:]


class DamagedMap(ValueError):
    """The store returned a record that the map did not write."""

    def __init__(self, place: bytes, what: str) -> None:
        super().__init__(f"record {place.hex()} of the authenticated map: {what}. Restore the state from the log.")


def _by_nibble(changes: Mapping[bytes, bytes | None], depth: int) -> dict[int, dict[bytes, bytes | None]]:
    parts: dict[int, dict[bytes, bytes | None]] = {}
    for kh, vh in changes.items():
        parts.setdefault(nibble(kh, depth), {})[kh] = vh
    return parts


def _parse_bucket(place: bytes, record: bytes | None) -> Entries:
    if record is None:
        return []
    if len(record) % 64 != 1 or record[0] != 0:
        raise DamagedMap(place, f"expected a bucket of 1 + 64 n bytes, got {len(record)}")
    return [record[at : at + 64] for at in range(1, len(record), 64)]


def _parse_branch(place: bytes, record: bytes) -> tuple[int, bytearray, list[bytes]]:
    """Number of entries, and type and hash of each child."""
    if len(record) != 533 or record[0] != 1:
        raise DamagedMap(place, f"expected a branch of 533 bytes, got {len(record)}")
    hashes = [record[at : at + 32] for at in range(21, 533, 32)]
    return int.from_bytes(record[1:5], "big"), bytearray(record[5:21]), hashes


def _write_branch(place: bytes, count: int, types: bytearray, hashes: list[bytes], writes: Writes) -> tuple[int, bytes]:
    writes[place] = b"".join((b"\1", count.to_bytes(4, "big"), types, *hashes))
    row = list(zip(types, hashes, strict=True))
    while len(row) > 1:
        row = [join(*left, *right) for left, right in zip(row[::2], row[1::2], strict=True)]
    return row[0]


def join(left_type: int, left: bytes, right_type: int, right: bytes) -> tuple[int, bytes]:
    if left_type + right_type > 1:
        return INNER, _sha256(b"\1" + left + right).digest()
    return (LEAF, left) if left_type else (right_type, right)


def _descend(entries: Entries, depth: int, kh: bytes, siblings: list[bytes]) -> bytes | None:
    """Follows the key through a bucket."""
    found: list[bytes] = []
    low, high = 0, len(entries)
    while high - low > 1:
        at, mask = depth >> 3, 0x80 >> (depth & 7)
        middle = low
        while middle < high and not entries[middle][at] & mask:
            middle += 1
        depth += 1
        if kh[at] & mask:
            found.append(fold(entries, low, middle, depth))
            low = middle
        else:
            found.append(fold(entries, middle, high, depth))
            high = middle
    siblings.extend(reversed(found))
    return entries[low] if high > low else None
