"""A snapshot of the ledger at a height: what a member needs to go on from there, and how each part of it is checked.

Nothing in one is believed. Whoever restores it knows the app hash (size and root of the log) from elsewhere: more than
two thirds of the weight signed it. All else follows:

    root  ◀  the log's frontier before leaf `start`, and a hash for each stretch of leaves after   (the manifest)
          ◀  the leaves of each stretch: what happened in the last 15 minutes                     (log chunks)
    root  ◀  the last leaf, by its inclusion proof: height, time, state root                       (the manifest)
    state root  ◀  a row of subtrees with their hashes                                             (the manifest)
                ◀  every key and value below each of them                                          (cell chunks)

So the manifest is checked whole before anything is fetched, and each chunk by itself when it comes. The recent
checkpoints and the burnt digests follow from the leaves (`Window`). The same state gives the same bytes on every node.

A chunk is a byte that says which kind, then: of leaves, (length 2, leaf)*; of cells, (length of key 2, of value 4, key,
value)*, in ascending order of SHA-256(key).
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

from commonward.ledger.encoding import Digest, Encodable, decode, digest, encode
from commonward.ledger.ids import BlockTime, Height, LedgerId
from commonward.ledger.merkle.bulk import Subtree, fold_entries, fold_subtrees
from commonward.ledger.merkle.log import leaf_hash, verify_inclusion
from commonward.ledger.merkle.ranges import fold_stretch, frontier_nodes, nodes_of, root_over

__all__ = [
    "FORMAT",
    "MAX_CHUNK",
    "BlockEnd",
    "Cells",
    "Manifest",
    "Outcomed",
    "SnapshotRefused",
    "cells_chunk",
    "leaves_chunk",
    "parse_leaf",
    "read_cells",
    "read_leaves",
    "snapshot_hash",
    "stretches",
]

FORMAT: Final = 1
STRETCH: Final = 1 << 16
"""Leaves in a log chunk, which begins at a multiple of it: some 3.5 MB."""

CELLS: Final = 4 << 20
"""Bytes of cells in a chunk, unless a subtree cannot be split: the largest subtrees that are no larger."""

MAX_CHUNK: Final = 8 << 20
MAX_MANIFEST: Final = 2 << 20
MAX_DEPTH: Final = 60

_LEAVES, _CELLS = 1, 2


class SnapshotRefused(ValueError):
    """Not a snapshot of this ledger, or a part that does not belong to it. `chunk`: which; None for the manifest."""

    def __init__(self, what: str, chunk: int | None = None) -> None:
        super().__init__(what if chunk is None else f"chunk {chunk}: {what}")
        self.chunk = chunk


class BlockEnd(NamedTuple):
    """A block leaf."""

    height: Height
    time: BlockTime
    state_root: Digest


class Outcomed(NamedTuple):
    """A transaction's leaf."""

    digest: Digest
    height: Height
    time: BlockTime
    code: int


def parse_leaf(data: bytes) -> BlockEnd | Outcomed:
    """Raises ValueError."""
    if data.startswith(_OUTCOME):
        height, time, code = _ending(data[36:])
        return Outcomed(Digest(data[4:36]), Height(height), BlockTime(time), code)
    match decode(data):
        case [2, int(height), int(time), bytes(root)] if len(root) == 32 and height >= 0 and time >= 0:
            return BlockEnd(Height(height), BlockTime(time), Digest(root))
    raise ValueError(f"expected the leaf of a transaction or of a block, got {data.hex():.40}")


_OUTCOME: Final = b"\x85\x01\x58\x20"
"""How the leaf of a transaction begins: an array of five, 1, 32 bytes."""


@lru_cache(maxsize=256)
def _ending(data: bytes) -> tuple[int, int, int]:
    """Height, time and code. The leaves of a block end in few ways, so most cost a look."""
    match decode(b"\x83" + data):
        case [int(height), int(time), int(code)] if min(height, time, code) >= 0:
            return height, time, code
    raise ValueError(f"expected height, time and code at the end of a leaf, got {data.hex():.40}")


def stretches(start: int, size: int) -> list[tuple[int, int]]:
    """The leaves of each log chunk."""
    inner = range((start // STRETCH + 1) * STRETCH, size, STRETCH)
    return list(pairwise([start, *inner, size]))


def snapshot_hash(manifest: bytes) -> Digest:
    """By which members say that they have the same snapshot."""
    return digest("commonward snapshot v1", manifest)


class Manifest(NamedTuple):
    """What a snapshot consists of. `size`, `root`: the app hash. `rows`: the frontier (`ranges.frontier_nodes`)."""

    ledger: LedgerId
    height: Height
    size: int
    root: Digest
    end: bytes  # the last leaf, which is a block's
    path: tuple[bytes, ...]  # its inclusion proof
    start: int  # the first leaf in the log chunks: of the last block that is too old to matter, or 0
    rows: tuple[bytes, ...]
    log: tuple[bytes, ...]  # for each log chunk the hashes of its cover, joined
    cells: tuple[Subtree, ...]  # for each cell chunk what it holds

    @property
    def chunks(self) -> int:
        return len(self.log) + len(self.cells)

    def to_bytes(self) -> bytes:
        cells: list[Encodable] = [tuple(each) for each in self.cells]
        return encode(
            [
                FORMAT, self.ledger, self.height, self.size, self.root, self.end, self.path, self.start,
                self.rows, self.log, cells,
            ]
        )  # fmt: skip

    @classmethod
    def parse(cls, data: bytes) -> "Manifest":
        """Reads what `check` then judges. Raises SnapshotRefused."""
        if len(data) > MAX_MANIFEST:
            raise SnapshotRefused(f"expected a manifest of at most {MAX_MANIFEST} bytes, got {len(data)}")
        try:
            value = decode(data)
        except ValueError as cause:
            raise SnapshotRefused(f"the manifest is not readable: {cause}") from cause
        match value:
            case [
                int(form), bytes(ledger), int(height), int(size), bytes(root), bytes(end), list(path), int(start),
                list(rows), list(log), list(cells),
            ] if form == FORMAT and 0 <= start < size < 1 << 60 and height >= 0:  # fmt: skip
                return cls(
                    LedgerId(ledger), Height(height), size, Digest(root), end, _all_bytes(path), start,
                    _all_bytes(rows), _all_bytes(log), tuple(_subtree(each) for each in cells),
                )  # fmt: skip
        raise SnapshotRefused(f"expected a manifest of format {FORMAT} with its ten fields")

    def check(self, ledger: LedgerId, height: int, size: int, root: bytes) -> BlockEnd:
        """Whether all of this follows from the app hash (size, root) at this height. Returns the tip's block leaf.

        Raises SnapshotRefused.
        """
        if self.ledger != ledger:
            raise SnapshotRefused(f"expected a snapshot of ledger {ledger.hex()}, got one of {self.ledger.hex()}")
        if (self.height, self.size, self.root) != (height, size, root):
            raise SnapshotRefused(
                f"expected height {height}, size {size}, root {root.hex()}; got {self.height}, {self.size}, "
                f"{self.root.hex()}"
            )
        if not verify_inclusion(leaf_hash(self.end), size - 1, size, self.path, root):
            raise SnapshotRefused(f"its last leaf is not at {size - 1} of the log with root {root.hex()}")
        try:
            tip = parse_leaf(self.end)
            nodes = frontier_nodes(self.start, self.rows)
            for (low, high), hashes in zip(stretches(self.start, size), self.log, strict=True):
                nodes += nodes_of(low, high, hashes)
            found = root_over(nodes)
            _, state_root = fold_subtrees(self.cells)
        except ValueError as cause:
            raise SnapshotRefused(f"the manifest does not hold together: {cause}") from cause
        if not isinstance(tip, BlockEnd) or tip.height > height:
            raise SnapshotRefused(f"expected that the log ends with the leaf of block {height} or one before it")
        if found != root:
            raise SnapshotRefused(f"its stretches of the log fold to {found.hex()}, not to root {root.hex()}")
        if state_root != tip.state_root:
            raise SnapshotRefused(f"its subtrees fold to {state_root.hex()}, not to {tip.state_root.hex()}")
        return tip

    def leaves(self, chunk: int, data: bytes) -> list[bytes]:
        """The leaves of log chunk `chunk`, proven. Raises SnapshotRefused."""
        low, high = stretches(self.start, self.size)[chunk]
        leaves = read_leaves(data, chunk, high - low)
        nodes = fold_stretch(low, b"".join([leaf_hash(leaf) for leaf in leaves]))
        if b"".join([node.hash for node in nodes]) != self.log[chunk]:
            raise SnapshotRefused(f"these are not leaves {low} to {high} of the log", chunk)
        return leaves

    def subtree(self, chunk: int) -> Subtree:
        """What cell chunk `chunk` (they come after the log's) has to fold to."""
        return self.cells[chunk - len(self.log)]


def _all_bytes(values: Sequence[object]) -> tuple[bytes, ...]:
    for value in values:
        if not isinstance(value, bytes):
            raise SnapshotRefused(f"expected bytes in the manifest, got {type(value).__name__}")
    return tuple(value for value in values if isinstance(value, bytes))


def _subtree(value: object) -> Subtree:
    match value:
        case [int(depth), int(prefix), int(type_), bytes(hash_)] if (
            0 <= depth <= MAX_DEPTH and 0 <= prefix < 1 << depth and 0 <= type_ <= 2 and len(hash_) == 32
        ):
            return Subtree(depth, prefix, type_, hash_)
    raise SnapshotRefused(f"expected [depth, prefix, type, hash] of a subtree, got {value!r:.60}")


# ------------------------------------------------------------------------------------------------------------- chunks


def leaves_chunk(leaves: Sequence[bytes]) -> bytes:
    return b"".join([bytes((_LEAVES,)), *[len(leaf).to_bytes(2, "big") + leaf for leaf in leaves]])


def _body(data: bytes, kind: int, chunk: int) -> memoryview:
    if not data:
        raise SnapshotRefused("it is empty: the sender no longer has it", chunk)
    if len(data) > MAX_CHUNK:
        raise SnapshotRefused(f"expected at most {MAX_CHUNK} bytes, got {len(data)}", chunk)
    if data[0] != kind:
        raise SnapshotRefused(f"expected a chunk of kind {kind}, got {data[0]}", chunk)
    return memoryview(data)


def read_leaves(data: bytes, chunk: int, count: int) -> list[bytes]:
    """Raises SnapshotRefused."""
    _body(data, _LEAVES, chunk)
    leaves: list[bytes] = []
    at, end = 1, len(data)
    while at < end and len(leaves) <= count:
        length = int.from_bytes(data[at : at + 2], "big")
        at += 2 + length
        leaves.append(data[at - length : at])
    if at != end or len(leaves) != count:
        raise SnapshotRefused(f"expected {count} whole leaves, got {len(leaves)} or cut ones", chunk)
    return leaves


class Cells(NamedTuple):
    """Cells of one subtree, and their entries in the map (key hash, value hash), in the same, ascending order."""

    pairs: list[tuple[bytes, bytes]]
    entries: list[bytes]


def cells_chunk(pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    """`pairs` sorted by SHA-256(key)."""
    parts = [bytes((_CELLS,))]
    for key, value in pairs:
        parts += (len(key).to_bytes(2, "big"), len(value).to_bytes(4, "big"), key, value)
    return b"".join(parts)


def read_cells(data: bytes, chunk: int, subtree: Subtree) -> Cells:
    """The cells of a chunk that says that it is this subtree; its hash is still to be compared. Raises SnapshotRefused.

    (`BulkLoad.fold` hashes it anyway; `fold_cells` for whoever does not load it.)
    """
    _body(data, _CELLS, chunk)
    sha256 = hashlib.sha256
    pairs: list[tuple[bytes, bytes]] = []
    entries: list[bytes] = []
    at, end = 1, len(data)
    while at < end:
        middle = at + 6 + int.from_bytes(data[at : at + 2], "big")
        last = middle + int.from_bytes(data[at + 2 : at + 6], "big")
        if last > end:
            raise SnapshotRefused(f"its cell at byte {at} is cut short", chunk)
        key, value = data[at + 6 : middle], data[middle:last]
        pairs.append((key, value))
        entries.append(sha256(key).digest() + sha256(value).digest())
        at = last
    if not all(one[:32] < other[:32] for one, other in pairwise(entries)):
        raise SnapshotRefused("its cells are not in ascending order of their key hashes, each once", chunk)
    if entries and not (subtree.holds(entries[0]) and subtree.holds(entries[-1])):
        raise SnapshotRefused(f"it holds cells from beyond prefix {subtree.prefix:b} of {subtree.depth} bits", chunk)
    return Cells(pairs, entries)


def fold_cells(cells: Cells, depth: int) -> tuple[int, bytes]:
    return fold_entries(cells.entries, depth)


def cells_in(piece: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The cells of bytes that this node wrote itself, as `cells_chunk` does, without the kind."""
    at, end = 0, len(piece)
    while at < end:
        middle = at + 6 + int.from_bytes(piece[at : at + 2], "big")
        last = middle + int.from_bytes(piece[at + 2 : at + 6], "big")
        yield piece[at + 6 : middle], piece[middle:last]
        at = last
