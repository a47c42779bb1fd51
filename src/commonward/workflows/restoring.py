"""Restoring a snapshot into fresh stores, a chunk at a time, each proven before a byte of it is written.

    restoring = Restoring(manifest, tip, fresh)     `tip` is what `Manifest.check` returned
    restoring.take(index, data)                     raises SnapshotRefused, naming the chunk; the right one may follow
    restoring.finish()                              now a `Machine` can be opened on the stores

The record that says where the ledger stands is written last: stores that are half restored say nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from commonward.ledger.merkle.bulk import BulkLoad
from commonward.ledger.merkle.log import FrontierStore, Log
from commonward.ledger.snapshot import BlockEnd, Manifest, SnapshotRefused, read_cells
from commonward.ledger.window import Window
from commonward.workflows.blocklog import BlockLog
from commonward.workflows.indexes import BlockFacts, leaves_only, past_missing, stood

__all__ = ["BulkStore", "FreshStores", "Restoring", "StartedLog"]

_WRITE: Final = 10_000


class BulkStore(Protocol):
    """An empty state store that need not be durable before `FreshStores` are complete."""

    def write(self, changes: Mapping[bytes, bytes | None]) -> None: ...


class StartedLog(BlockLog, Protocol):
    """An empty block log that can be told the height of the first block it will hold."""

    def begin(self, height: int) -> None: ...


class FreshStores(Protocol):
    """Empty stores, apart from those that the node has in use."""

    @property
    def state(self) -> BulkStore: ...
    @property
    def tiles(self) -> FrontierStore: ...
    @property
    def blocks(self) -> StartedLog: ...


class Restoring:
    """One thread at a time. Chunks come in order of their index; one that came before is checked and passed over."""

    def __init__(self, manifest: Manifest, tip: BlockEnd, fresh: FreshStores, *, map_bits: int = 17) -> None:
        self.manifest = manifest
        self.next = 0
        self._fresh = fresh
        self._tip = tip
        self._load = BulkLoad(map_bits)
        self._window = Window(manifest.ledger, manifest.start, tip)
        fresh.tiles.begin(manifest.start, manifest.rows)
        self._log = Log(fresh.tiles, manifest.start)

    @property
    def complete(self) -> bool:
        return self.next == self.manifest.chunks

    def take(self, index: int, data: bytes) -> None:
        """Check a chunk and write what it holds. Raises SnapshotRefused; what the stores raise."""
        manifest = self.manifest
        if not 0 <= index < manifest.chunks:
            raise SnapshotRefused(f"expected one of {manifest.chunks} chunks", index)
        if index > self.next:
            raise SnapshotRefused(f"chunk {self.next} has to come before it", index)
        if index < len(manifest.log):
            leaves = manifest.leaves(index, data)
            if index == self.next:
                self._take_leaves(leaves, index)
        else:
            self._take_cells(index, data)
        self.next = max(self.next, index + 1)

    def _take_leaves(self, leaves: Sequence[bytes], chunk: int) -> None:
        changes: dict[bytes, bytes | None] = {}
        for past in self._window.blocks(leaves, chunk):
            root = self._log.append(past.leaves)
            changes.update(self._window.remember(past, self._log.size, root))
            changes.update(leaves_only(BlockFacts(past.height, self._log.size, past.time), past.leaves))
            if len(changes) > _WRITE:
                self._fresh.state.write(changes)
                changes = {}
        self._fresh.state.write(changes)

    def _take_cells(self, chunk: int, data: bytes) -> None:
        wanted = self.manifest.subtree(chunk)
        cells = read_cells(data, chunk, wanted)
        folded = self._load.fold(wanted.depth, wanted.prefix, cells.entries)
        if folded.subtree != wanted:
            raise SnapshotRefused(f"its cells fold to {folded.subtree.hash.hex()}, not to {wanted.hash.hex()}", chunk)
        if chunk < self.next:
            return
        changes: dict[bytes, bytes | None] = {b"s" + key: value for key, value in cells.pairs}
        changes.update(self._load.keep(folded))
        self._fresh.state.write(changes)

    def finish(self) -> None:
        """Write what all chunks together make. Raises SnapshotRefused; what the stores raise."""
        manifest = self.manifest
        if not self.complete:
            raise SnapshotRefused(f"chunks {self.next} to {manifest.chunks - 1} are missing", self.next)
        if (self._log.size, self._log.root()) != (manifest.size, manifest.root):
            raise SnapshotRefused(f"its leaves make a log of {self._log.size}, not of {manifest.size}")
        standing = self._window.standing(manifest.height, manifest.size, manifest.root)
        self._fresh.blocks.begin(manifest.height + 1)
        self._fresh.state.write(self._load.finish())
        # The last block may have been idle: then its end is nowhere among the leaves.
        self._fresh.state.write(stood(BlockFacts(manifest.height, manifest.size, self._tip.time)))
        self._fresh.state.write(past_missing(manifest.height))
        self._fresh.state.write(standing)
