"""The authenticated map of what lives now: its root commits to every pair, and proves presence and absence.

The rules of the tree are in `map_proof`, and any node keeps them its own way: neither `bits` nor the store enters the
root. Here the upper `bits` levels are one flat array in memory (64 bytes << bits: 8 MiB at 17), and what lies below
rests in the store as records (`buckets`). A change costs one or two records and `bits` hashes, shared over a block.

Changes are staged: `update` returns the records to write, and the caller writes them together with the values and
the root, in one atomic batch, and then calls `commit`; if that fails, `rollback` puts the array back. Values are the
caller's to keep; the map holds their hashes.

    b"b" + place 4 [+ nibble 1]*   bucket or branch
    b"r" + tile 4                  types 16, hashes 16 * 32: a piece of the row at depth `bits`, read at start
"""

import hashlib
from collections.abc import Mapping
from typing import Final, Protocol

from commonward.ledger.encoding import Digest
from commonward.ledger.merkle.buckets import Buckets, Heap
from commonward.ledger.merkle.map_proof import EMPTY, MapProof, verify_absence, verify_presence

__all__ = ["EMPTY_ROOT", "AuthenticatedMap", "MapProof", "MapStore", "verify_absence", "verify_presence"]

EMPTY_ROOT: Final = Digest(EMPTY)
ROW_TILE: Final = 16
_ROW_BYTES: Final = ROW_TILE * 33


class MapStore(Protocol):
    """Gives back what was written under a key, or None. Trusted: it is this node's own state."""

    def get(self, key: bytes) -> bytes | None: ...


class AuthenticatedMap:
    """One thread. Between `update` and `commit` or `rollback` it shows the staged map, proofs too."""

    def __init__(self, store: MapStore, bits: int = 17) -> None:
        """Reads the row at depth `bits`, 2^bits / 16 records. Open a store with the bits that it was made with."""
        if not 4 <= bits <= 24:
            raise ValueError(f"expected 4 to 24 bits, got {bits}")
        self._store = store
        self._bits = bits
        self._heap = Heap(bits)
        self._staged: dict[bytes, bytes | None] = {}
        self._undo: list[tuple[int, int, bytearray]] = []
        self._buckets = Buckets(self._get)
        self._load()

    def _load(self) -> None:
        heap, places = self._heap, 1 << self._bits
        level: dict[int, None] = {}
        for tile in range(places // ROW_TILE):
            record = self._store.get(row_key(tile))
            if record is None:
                continue
            if len(record) != _ROW_BYTES:
                raise ValueError(f"expected a row of {_ROW_BYTES} bytes at {row_key(tile).hex()}, got {len(record)}")
            first = places + ROW_TILE * tile
            heap.types[first : first + ROW_TILE] = record[:ROW_TILE]
            heap.hashes[32 * first : 32 * (first + ROW_TILE)] = record[ROW_TILE:]
            level.update(dict.fromkeys(range(first >> 1, first + ROW_TILE >> 1)))
        while level:
            for node in level:
                heap.fold(node)
            level = dict.fromkeys(node >> 1 for node in level if node > 1)

    def _get(self, key: bytes) -> bytes | None:
        return self._staged[key] if key in self._staged else self._store.get(key)

    @property
    def root(self) -> Digest:
        return Digest(self._heap.hash_of(1))

    def update(self, changes: Mapping[bytes, bytes | None]) -> dict[bytes, bytes | None]:
        """Stages key -> value (None deletes) and returns the records to write (None deletes)."""
        groups: dict[int, dict[bytes, bytes | None]] = {}
        shift = 32 - self._bits
        for key, value in changes.items():
            kh = hashlib.sha256(key).digest()
            vh = None if value is None else hashlib.sha256(value).digest()
            groups.setdefault(int.from_bytes(kh[:4], "big") >> shift, {})[kh] = vh
        heap, places = self._heap, 1 << self._bits
        writes: dict[bytes, bytes | None] = {}
        level: dict[int, None] = {}  # dicts for sets: their order is that of the changes on every node
        tiles: dict[int, None] = {}
        for place, group in groups.items():
            subtree = self._buckets.change(bucket_key(place), self._bits, group, writes)
            self._remember(places + place)
            heap.set(place, subtree.type, subtree.hash)
            level[places + place >> 1] = None
            tiles[place // ROW_TILE] = None
        for tile in tiles:
            first = places + ROW_TILE * tile
            types, hashes = heap.types[first : first + ROW_TILE], heap.hashes[32 * first : 32 * (first + ROW_TILE)]
            writes[row_key(tile)] = bytes(types + hashes) if any(types) else None
        while level:
            for node in level:
                self._remember(node)
                heap.fold(node)
            level = dict.fromkeys(node >> 1 for node in level if node > 1)
        self._staged.update(writes)
        return writes

    def _remember(self, node: int) -> None:
        heap = self._heap
        self._undo.append((node, heap.types[node], heap.hashes[32 * node : 32 * node + 32]))

    def commit(self) -> None:
        """What was staged is in the store now."""
        self._staged.clear()
        self._undo.clear()

    def rollback(self) -> None:
        """What was staged since the last commit never happened."""
        for node, type_, hash_ in reversed(self._undo):
            self._heap.types[node] = type_
            self._heap.hashes[32 * node : 32 * node + 32] = hash_
        self._staged.clear()
        self._undo.clear()

    def prove(self, key: bytes) -> MapProof:
        """Of presence if the map holds the key, else of absence: `proof.other` alone does not tell which."""
        kh = hashlib.sha256(key).digest()
        place = int.from_bytes(kh[:4], "big") >> 32 - self._bits
        siblings: list[bytes] = []
        end = self._buckets.walk(bucket_key(place), self._bits, kh, siblings)
        beside = self._heap.climb(place, siblings)
        if beside is not None:
            end = self._buckets.lone(bucket_key(beside))
        return MapProof(tuple(siblings), None if end is None or end[:32] == kh else (end[:32], end[32:]))


def bucket_key(place: int) -> bytes:
    return b"b" + place.to_bytes(4, "big")


def row_key(tile: int) -> bytes:
    return b"r" + tile.to_bytes(4, "big")
