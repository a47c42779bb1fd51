"""Making a snapshot: a consistent view of the state and of the log, cut in chunks that others can check.

The view stands still while the ledger goes on, so the work may take its time in a thread of its own. Memory is bounded
by the largest chunk: cells are spread over files by the first bits of their key hash, which is also how they are cut.
What comes out is checked as whoever restores it will, so a damaged store shows here, and is not handed on.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Final, Protocol

from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import LedgerId
from commonward.ledger.merkle.bulk import Subtree, fold_entries
from commonward.ledger.merkle.log import TILE_BITS, Log, LogStore, MemoryLogStore, leaf_hash, tile_base
from commonward.ledger.merkle.ranges import fold_stretch
from commonward.ledger.snapshot import (
    CELLS,
    MAX_CHUNK,
    MAX_DEPTH,
    BlockEnd,
    Manifest,
    cells_chunk,
    cells_in,
    leaves_chunk,
    parse_leaf,
    stretches,
)
from commonward.ledger.staging import TIP_KEY, Standing, block_leaf
from commonward.ledger.state import MemoryStore
from commonward.ledger.transition import FORGET_AFTER, Machine
from commonward.workflows.indexes import LEAF_SPACE, leaf_of

__all__ = ["Making", "NotMade", "StateView", "ViewedStore", "genesis_leaf", "make_snapshot"]

_STEP: Final = 6
_SPILL: Final = 8 << 20
_BREATHE: Final = 256


class NotMade(Exception):
    """No snapshot could be made of this view. The ledger goes on; the next one is tried in its turn."""


class StateView(Protocol):
    """The state store as it stood at one moment. `items` in ascending order of keys that begin with `prefix`, from
    `start` on."""

    def get(self, key: bytes) -> bytes | None: ...
    def items(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]: ...


class ViewedStore(Protocol):
    """A state store that can be looked at from another thread while it is written."""

    def view(self) -> AbstractContextManager[StateView]: ...


class Making(Protocol):
    """A snapshot in the making, on disk. Nobody sees it before `keep`; `drop`, or a crash, leaves nothing of it.

    `spill` appends a piece to a scratch file; `spilled` gives its pieces back, once, and removes it. All may raise what
    the disk brings.
    """

    def spill(self, name: str, piece: bytes) -> None: ...
    def spilled(self, name: str) -> Iterator[bytes]: ...
    def chunk(self, data: bytes) -> None: ...
    def keep(self, height: int, manifest: bytes) -> None: ...
    def drop(self) -> None: ...


def make_snapshot(
    ledger: LedgerId,
    first_leaf: bytes,
    view: StateView,
    log_store: LogStore,
    making: Making,
    breathe: Callable[[], None] = lambda: None,
) -> Manifest:
    """Writes the chunks into `making` and keeps it. `first_leaf`: see `genesis_leaf`. `breathe` is called often: the
    thread may rest there.

    Raises NotMade; what the stores raise.
    """
    data = view.get(TIP_KEY)
    if data is None:
        raise NotMade("the state is empty")
    standing = Standing.parse(data, ledger)
    tip, log = standing.tip, Log(log_store, standing.tip.size)
    known = _Leaves(view, first_leaf)
    start = known.start(tip.size, tip.time - FORGET_AFTER)
    covers, end = [], b""
    for low, high in stretches(start, tip.size):
        leaves = []
        for leaf in known.between(low, high):
            leaves.append(leaf)
            if len(leaves) % _BREATHE == 0:
                breathe()
        making.chunk(leaves_chunk(leaves))
        nodes = fold_stretch(low, b"".join([leaf_hash(leaf) for leaf in leaves]))
        covers.append(b"".join([node.hash for node in nodes]))
        end = leaves[-1]
    cells = tuple(_write_cells(view, making, breathe))
    levels = (start.bit_length() + TILE_BITS - 1) // TILE_BITS
    rows = []
    for level in range(levels):
        base = tile_base(start, level)
        rows.append(log_store.read(level, base, (start >> TILE_BITS * level) - base))
    manifest = Manifest(
        ledger, standing.applied.height, tip.size, tip.root, end, log.prove_inclusion(tip.size - 1), start,
        tuple(rows), tuple(covers), cells,
    )  # fmt: skip
    try:
        manifest.check(ledger, standing.applied.height, tip.size, tip.root)
    except ValueError as cause:
        raise NotMade(f"the stores of this node do not agree with each other: {cause}") from cause
    making.keep(manifest.height, manifest.to_bytes())
    return manifest


class _Leaves:
    """Leaves from the index. That of genesis is in none: it is given."""

    def __init__(self, view: StateView, genesis: bytes) -> None:
        self._view = view
        self._genesis = genesis

    def at(self, index: int) -> bytes:
        return next(self.between(index, index + 1))

    def between(self, low: int, high: int) -> Iterator[bytes]:
        index = low
        if index == 0 < high:
            yield self._genesis
            index = 1
        for key, value in self._view.items(LEAF_SPACE, LEAF_SPACE + index.to_bytes(8, "big")):
            if index == high or key != LEAF_SPACE + index.to_bytes(8, "big"):
                break
            yield leaf_of(value)
            index += 1
        if index != high:
            raise NotMade(f"leaf {index} of the log is not in the index of this node")

    def start(self, size: int, bound: int) -> int:
        """The leaf of the last block before `bound`; 0 when there is none."""
        before, first = 0, size
        for key, value in self._view.items(b"c"):
            if len(key) != 9:
                continue  # the records of what to forget
            at = int.from_bytes(key[1:], "big")
            if int.from_bytes(value[32:], "big") < bound:
                before = max(before, at)
            else:
                first = min(first, at)
        if before:
            return before - 1
        # The checkpoint before the first that is remembered was forgotten: look for its leaf, before that block's.
        return next((n for n in range(first - 2, 0, -1) if isinstance(parse_leaf(self.at(n)), BlockEnd)), 0)


def genesis_leaf(genesis: Genesis) -> bytes:
    """Leaf 0: the block of height 0, with the state that genesis makes."""
    tip = Machine(genesis, MemoryStore(), MemoryLogStore(), map_bits=4).tip
    return block_leaf(tip.height, tip.time, tip.state_root)


# ------------------------------------------------------------------------------------------------------------- cells


def _write_cells(view: StateView, making: Making, breathe: Callable[[], None]) -> Iterator[Subtree]:
    pairs = ((key[1:], value) for key, value in view.items(b"s"))
    yield from _Spread(making, breathe).part(pairs, 0, 0)


class _Spread:
    """Cells by the first bits of their key hash: over 64 files, and each that is too large over 64 more."""

    def __init__(self, making: Making, breathe: Callable[[], None]) -> None:
        self._making = making
        self._breathe = breathe

    def part(self, pairs: Iterable[tuple[bytes, bytes]], depth: int, prefix: int) -> Iterator[Subtree]:
        """Writes the chunks of the cells below a prefix; gives their subtrees, from left to right."""
        level, count = depth + _STEP, 1 << _STEP
        pieces = [bytearray() for _ in range(count)]
        sizes, held = [0] * count, 0
        for number, (key, value) in enumerate(pairs):
            at = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> (64 - level) & count - 1
            pieces[at] += b"".join((len(key).to_bytes(2, "big"), len(value).to_bytes(4, "big"), key, value))
            size = 6 + len(key) + len(value)
            sizes[at] += size
            held += size
            if held >= _SPILL:
                self._spill(pieces, level, prefix << _STEP)
                held = 0
            if number % _BREATHE == 0:
                self._breathe()
        self._spill(pieces, level, prefix << _STEP)
        yield from self._choose(level, prefix << _STEP, sizes)

    def _spill(self, pieces: list[bytearray], level: int, first: int) -> None:
        for at, piece in enumerate(pieces):
            if piece:
                self._making.spill(f"{level}-{first + at:x}", bytes(piece))
                piece.clear()

    def _choose(self, level: int, first: int, sizes: list[int]) -> Iterator[Subtree]:
        """The largest subtrees that fit a chunk, over these files."""
        total, count = sum(sizes), len(sizes)
        if total <= CELLS or (count == 1 and level >= MAX_DEPTH):
            yield self._chunk(level - count.bit_length() + 1, first // count, level, first, count)
        elif count == 1:
            yield from self.part(self._read(level, first), level, first)
        else:
            half = count // 2
            yield from self._choose(level, first, sizes[:half])
            yield from self._choose(level, first + half, sizes[half:])

    def _read(self, level: int, at: int) -> Iterator[tuple[bytes, bytes]]:
        for piece in self._making.spilled(f"{level}-{at:x}"):
            yield from cells_in(piece)

    def _chunk(self, depth: int, prefix: int, level: int, first: int, count: int) -> Subtree:
        found = []
        for at in range(first, first + count):
            for key, value in self._read(level, at):
                found.append((hashlib.sha256(key).digest(), key, value))
                if len(found) % _BREATHE == 0:
                    self._breathe()
        found.sort()
        data = cells_chunk([(key, value) for _, key, value in found])
        if len(data) > MAX_CHUNK:
            raise NotMade(f"the cells below prefix {prefix:b} of {depth} bits do not fit a chunk")
        self._making.chunk(data)
        entries = [kh + hashlib.sha256(value).digest() for kh, _, value in found]
        return Subtree(depth, prefix, *fold_entries(entries, depth))
