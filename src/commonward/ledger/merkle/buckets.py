"""Where the leaves of the authenticated map rest: records that hold a few entries each, and split when they fill.

Below the inner hashes that `map` keeps in memory, each subtree is one record: a *bucket* of its entries (key hash,
value hash), sorted; or, when there are more than `SPLIT_ABOVE`, a *branch* of sixteen records one nibble deeper.
Whoever grinds keys with a common prefix fills one bucket, and then sixteen times the work buys one level: the cost of
a change stays bounded. How entries are spread over records never enters the root.

    bucket = 00 | (key hash 32 | value hash 32)*
    branch = 01 | number of entries 4 | type of each child 16 | hash of each child 16 * 32
"""

import hashlib
from collections.abc import Callable, Mapping, MutableMapping
from typing import Final, NamedTuple, TypeAlias, TypeVar

from commonward.ledger.merkle.map_proof import EMPTY, leaf_hash

SPLIT_ABOVE: Final = 64
JOIN_AT: Final = 24  # well below, so that a key that comes and goes does not split and join each time
_NIBBLE: Final = 4
_DEEPEST: Final = 240

NOTHING, LEAF, INNER = 0, 1, 2
"""What a subtree is: without a leaf, one leaf that floats, or an inner node."""

Get: TypeAlias = Callable[[bytes], "bytes | None"]
Entries: TypeAlias = dict[bytes, bytes]  # key hash -> value hash
Writes: TypeAlias = MutableMapping[bytes, "bytes | None"]  # record key -> record, None to delete
V = TypeVar("V")

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
    """Four bits of a key hash from bit `depth` on."""
    at = depth >> 3
    return int.from_bytes(kh[at : at + 2], "big") >> (12 - (depth & 7)) & 15


def fold(entries: list[tuple[bytes, bytes]], depth: int) -> bytes:
    """The hash of the subtree at `depth` that holds these (key hash, leaf hash), sorted."""
    if len(entries) < 2:
        return entries[0][1] if entries else EMPTY
    return _fold(entries, 0, len(entries), depth)


def _fold(entries: list[tuple[bytes, bytes]], low: int, high: int, depth: int) -> bytes:
    """Two entries at least."""
    at, mask = depth >> 3, 0x80 >> (depth & 7)
    middle = low
    while middle < high and not entries[middle][0][at] & mask:
        middle += 1
    depth += 1
    return _sha256(b"\1" + _side(entries, low, middle, depth) + _side(entries, middle, high, depth)).digest()


def _side(entries: list[tuple[bytes, bytes]], low: int, high: int, depth: int) -> bytes:
    if high - low > 1:
        return _fold(entries, low, high, depth)
    return entries[low][1] if high > low else EMPTY


class Buckets:
    """Reads records through `get` and puts changed ones into `writes` (None deletes). Keeps nothing itself."""

    def __init__(self, get: Get) -> None:
        self._get = get

    def entries(self, place: bytes) -> Entries:
        """All entries under a record."""
        record = self._get(place)
        if record is None:
            return {}
        if record[0] == 0:
            return _parse_bucket(place, record)
        found: Entries = {}
        for child in range(16):
            found.update(self.entries(place + bytes((child,))))
        return found

    def change(
        self,
        place: bytes,
        depth: int,
        changes: Mapping[bytes, bytes | None],
        writes: Writes,
    ) -> Subtree:
        """Applies changes (key hash -> value hash, or None to delete) to the record at `place`, `depth` bits down."""
        record = self._get(place)
        if record is None or record[0] == 0:
            entries = _parse_bucket(place, record) if record else {}
            before = len(entries)
            for kh, vh in changes.items():
                if vh is None:
                    entries.pop(kh, None)
                else:
                    entries[kh] = vh
            type_, hash_ = self._rest(place, depth, entries, writes)
            return Subtree(type_, hash_, len(entries) - before)
        heap, before = _parse_branch(place, record)
        count = before
        for child, part in _by_nibble(changes, depth).items():
            below = self.change(place + bytes((child,)), depth + _NIBBLE, part, writes)
            heap.set(child, below.type, below.hash)
            count += below.grown
        if count <= JOIN_AT:
            type_, hash_ = self._join(place, depth, writes)
        else:
            type_, hash_ = _write_branch(place, heap, count, writes)
        return Subtree(type_, hash_, count - before)

    def _rest(self, place: bytes, depth: int, entries: Entries, writes: Writes) -> tuple[int, bytes]:
        """Lays entries down where nothing is: as a bucket, or split over sixteen."""
        if len(entries) <= SPLIT_ABOVE or depth > _DEEPEST:
            pairs = sorted(entries.items())
            writes[place] = b"".join([b"\0", *[kh + vh for kh, vh in pairs]]) if pairs else None
            hashed = [(kh, leaf_hash(kh, vh)) for kh, vh in pairs]
            return min(len(pairs), INNER), fold(hashed, depth)
        heap = Heap(_NIBBLE)
        for child, part in _by_nibble(entries, depth).items():
            heap.set(child, *self._rest(place + bytes((child,)), depth + _NIBBLE, part, writes))
        return _write_branch(place, heap, len(entries), writes)

    def _join(self, place: bytes, depth: int, writes: Writes) -> tuple[int, bytes]:
        """Turns a branch that has become small into a bucket again."""
        entries: Entries = {}
        for child in range(16):
            self._gather(place + bytes((child,)), entries, writes)
        return self._rest(place, depth, entries, writes)

    def _gather(self, place: bytes, entries: Entries, writes: Writes) -> None:
        record = writes[place] if place in writes else self._get(place)
        if record is None:
            return
        writes[place] = None
        if record[0] == 0:
            entries.update(_parse_bucket(place, record))
            return
        for child in range(16):
            self._gather(place + bytes((child,)), entries, writes)

    def walk(self, place: bytes, depth: int, kh: bytes, siblings: list[bytes]) -> tuple[bytes, bytes] | None:
        """Adds the siblings below `depth`, deepest first. Returns the leaf that the path ends at ."""
        record = self._get(place)
        if record is None:
            return None
        if record[0] == 0:
            pairs = sorted(_parse_bucket(place, record).items())
            return _descend([(k, leaf_hash(k, v), v) for k, v in pairs], depth, kh, siblings)
        heap, _ = _parse_branch(place, record)
        child = nibble(kh, depth)
        found = self.walk(place + bytes((child,)), depth + _NIBBLE, kh, siblings)
        beside = heap.climb(child, siblings)
        return found if beside is None else self.lone(place + bytes((beside,)))

    def lone(self, place: bytes) -> tuple[bytes, bytes]:
        """The one entry under a record that holds no other."""
        entries = self.entries(place)
        if len(entries) != 1:
            raise DamagedMap(place, f"expected one entry, got {len(entries)}")
        return next(iter(entries.items()))


class DamagedMap(ValueError):
    """The store returned a record that the map did not write."""

    def __init__(self, place: bytes, what: str) -> None:
        super().__init__(f"record {place.hex()} of the authenticated map: {what}. Restore the state from the log.")


def _by_nibble(entries: Mapping[bytes, V], depth: int) -> dict[int, dict[bytes, V]]:
    parts: dict[int, dict[bytes, V]] = {}
    for kh, vh in entries.items():
        parts.setdefault(nibble(kh, depth), {})[kh] = vh
    return parts


def _parse_bucket(place: bytes, record: bytes) -> Entries:
    if len(record) % 64 != 1 or record[0] != 0:
        raise DamagedMap(place, f"expected a bucket of 1 + 64 n bytes, got {len(record)}")
    return {record[at : at + 32]: record[at + 32 : at + 64] for at in range(1, len(record), 64)}


def _parse_branch(place: bytes, record: bytes) -> tuple[Heap, int]:
    if len(record) != 533 or record[0] != 1:
        raise DamagedMap(place, f"expected a branch of 533 bytes, got {len(record)}")
    heap = Heap(_NIBBLE)
    heap.types[16:] = record[5:21]
    heap.hashes[16 * 32 :] = record[21:]
    heap.fold_all()
    return heap, int.from_bytes(record[1:5], "big")


def _write_branch(place: bytes, heap: Heap, count: int, writes: Writes) -> tuple[int, bytes]:
    heap.fold_all()
    writes[place] = b"".join((b"\1", count.to_bytes(4, "big"), heap.types[16:], heap.hashes[16 * 32 :]))
    return heap.types[1], heap.hash_of(1)


def _descend(
    entries: list[tuple[bytes, bytes, bytes]], depth: int, kh: bytes, siblings: list[bytes]
) -> tuple[bytes, bytes] | None:
    """Follows the key through a bucket's (key hash, leaf hash, value hash)."""
    found: list[bytes] = []
    while len(entries) > 1:
        at, mask = depth >> 3, 0x80 >> (depth & 7)
        left = [entry for entry in entries if not entry[0][at] & mask]
        right = entries[len(left) :]
        entries, aside = (right, left) if kh[at] & mask else (left, right)
        depth += 1
        found.append(fold([entry[:2] for entry in aside], depth))
    siblings.extend(reversed(found))
    return (entries[0][0], entries[0][2]) if entries else None
