"""A ledger of a given size on disk, its snapshot, who restores it, each in a process of its own (`bench.statesync`)."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import structlog

from bench._ledger_state import cells
from bench._machine import disk_bytes, resident_bytes
from commonward.adapters.store.blocks import BlockFiles
from commonward.adapters.store.restoring import FreshFiles, RestoreFiles
from commonward.adapters.store.snapshots import SnapshotFiles
from commonward.adapters.store.state import RocksStore
from commonward.adapters.store.tiles import TileFiles
from commonward.ledger import snapshot as form
from commonward.ledger.checkpoint import app_hash
from commonward.ledger.encoding import Digest
from commonward.ledger.ids import BlockTime, Height
from commonward.ledger.merkle.bulk import BulkLoad
from commonward.ledger.merkle.log import Log
from commonward.ledger.merkle.map import AuthenticatedMap
from commonward.ledger.rules import Header
from commonward.ledger.snapshot import Manifest
from commonward.ledger.staging import TIP_KEY, Standing, Tip, block_leaf, outcome_leaf
from commonward.ledger.transactions import Release, build_block
from commonward.ledger.transition import FORGET_AFTER, Machine
from commonward.workflows import restoring
from commonward.workflows.behind import WriteBehind
from commonward.workflows.indexes import BlockFacts, leaves_only
from commonward.workflows.snapshots import ChunkAnswer, OfferAnswer, SnapshotStore
from tests.ledgerkit import START, Kit, commitment, demo_genesis

T = TypeVar("T")

CHUNK = 50_000
BLOCK = 100
"""Outcomes in each block of the last 15 minutes."""

CELLS_A_CONSENT = 1.5  # a handle and a passkey for four


def _consents(entries: int) -> int:
    return max(4, int(entries / CELLS_A_CONSENT))


def grow(path: Path, entries: int, leaves: int) -> None:
    """A ledger whose map holds so many entries, and the last 15 minutes of its log so many leaves."""
    genesis, last = demo_genesis(), _consents(entries)
    with TileFiles(path / "tiles") as tiles, RocksStore(path / "state", sync=False) as store:
        Machine(genesis, store, tiles)
        tree, log = AuthenticatedMap(store), Log(tiles, 1)
        for first in range(0, last, CHUNK):
            changes: dict[bytes, bytes | None] = dict(cells(first, min(first + CHUNK, last)))
            store.write({b"s" + key: value for key, value in changes.items()} | tree.update(changes))
            tree.commit()
        blocks = max(1, leaves // BLOCK)
        before = (Height(1), BlockTime(START + 1), block_leaf(1, START + 1, tree.root))
        log.append([before[2]])
        store.write(leaves_only(BlockFacts(before[0], 2, before[1]), [before[2]]))
        time_, root = START + FORGET_AFTER, log.root()
        for height in range(2, 2 + blocks):
            time_ += max(1, FORGET_AFTER // 2 // blocks)
            some = [
                outcome_leaf(Digest(sha256(b"%d %d" % (height, n)).digest()), height, time_, 0) for n in range(BLOCK)
            ]
            some.append(block_leaf(height, time_, tree.root))
            root = log.append(some)
            changes = dict(leaves_only(BlockFacts(Height(height), log.size, BlockTime(time_)), some))
            changes[b"c" + log.size.to_bytes(8, "big")] = root + time_.to_bytes(8, "big")
            store.write(changes)
        tip = Tip(Height(1 + blocks), BlockTime(time_), log.size, root, tree.root)
        standing = Standing(tip, Header(tip.height, tip.time), blocks, 0)
        store.write({TIP_KEY: standing.to_bytes(genesis.ledger_id)})
        store.flush()
    BlockFiles(path / "blocks").close()


def _store(
    path: Path, state: RocksStore, tiles: TileFiles, ground: RestoreFiles, adopt: Callable[..., object]
) -> SnapshotStore:
    return SnapshotStore(
        genesis=demo_genesis(), state=state, log_store=tiles, flush=lambda: None,
        shelf=SnapshotFiles(path / "snapshots", lambda: 0), ground=ground, adopt=adopt, every=1,  # type: ignore[arg-type]
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Made:
    seconds: float
    longest_wait: float  # of the loop meanwhile, s
    chunks: int
    bytes: int
    resident: int


def _quiet() -> None:
    """Standard output is for results."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def make(path: Path) -> Made:
    """The snapshot, while the node's loop does nothing but watch how long it is kept waiting."""

    _quiet()

    async def story() -> Made:
        with TileFiles(path / "tiles") as tiles, RocksStore(path / "state") as state:
            store = _store(path, state, tiles, RestoreFiles(path / "none"), _never)
            height = Standing.parse(state.get(TIP_KEY) or b"", demo_genesis().ledger_id).applied.height
            began = time.perf_counter()
            await store.committed(height)
            longest, work = 0.0, asyncio.ensure_future(store.made())
            while not work.done():
                since = time.perf_counter()
                await asyncio.sleep(0.001)
                longest = max(longest, time.perf_counter() - since - 0.001)
            (offered,) = store.offers()
            took = time.perf_counter() - began
            made = Made(took, longest, offered.chunks, disk_bytes(path / "snapshots"), resident_bytes())
            store.close()
            return made

    return asyncio.run(story())


async def _never(_manifest: Manifest) -> None:
    raise AssertionError("a source takes no snapshot")


@dataclass
class Took:
    """Seconds by what was done, and memory."""

    total: float = 0.0
    resident: int = 0
    entries: int = 0
    leaves: int = 0
    parts: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        since = time.perf_counter()
        try:
            yield
        finally:
            self.parts[name] = self.parts.get(name, 0.0) + time.perf_counter() - since

    def timed(self, name: str, work: Callable[..., T]) -> Callable[..., T]:
        def run(*args: object, **kwargs: object) -> T:
            with self.part(name):
                return work(*args, **kwargs)

        return run


def restore(path: Path) -> Took:
    """Offer, every chunk, the change of stores, and a machine opened on them, as when CometBFT brings them."""
    _quiet()
    took, genesis = Took(), demo_genesis()
    data = (max((path / "snapshots").glob("0*")) / "manifest").read_bytes()
    manifest = Manifest.parse(data)
    # The parts are timed by wrapping what the restoring calls; the rest of its time is its own.
    vars(restoring)["read_cells"] = took.timed("read and hash cells", form.read_cells)
    BulkLoad.fold = took.timed("fold the map", BulkLoad.fold)  # type: ignore[method-assign]
    restoring.Restoring._take_leaves = took.timed("replay the last leaves", restoring.Restoring._take_leaves)  # type: ignore[method-assign]
    Manifest.leaves = took.timed("read and fold leaves", Manifest.leaves)  # type: ignore[method-assign]
    RocksStore.write = took.timed("write the state", RocksStore.write)  # type: ignore[method-assign]
    FreshFiles.flush = took.timed("make it durable", FreshFiles.flush)  # type: ignore[method-assign]
    ground = RestoreFiles(path / "joiner")

    async def adopt(_manifest: Manifest) -> None:
        with took.part("change the stores"):
            ground.settle()

    async def story() -> None:
        files = SnapshotFiles(path / "snapshots", lambda: 0)
        with TileFiles(path / "tiles") as tiles, RocksStore(path / "state") as state:
            giver = _store(path, state, tiles, RestoreFiles(path / "none"), _never)
            (offered,) = giver.offers()
            joiner = _store(path / "other", state, tiles, ground, adopt)
            began = time.perf_counter()
            assert joiner.offer(offered, app_hash(manifest.size, manifest.root)) == OfferAnswer.ACCEPT
            for index in range(offered.chunks):
                with took.part("read chunks from disk"):
                    chunk = files.chunk(offered.height, index)
                assert (await joiner.apply(index, chunk, "s")).answer == ChunkAnswer.ACCEPT
            joiner.close()
            giver.close()
        where = path / "joiner"
        with took.part("open a machine"), TileFiles(where / "tiles") as tiles, RocksStore(where / "state") as state:
            machine = Machine(genesis, state, tiles)
            took.total = time.perf_counter() - began
            assert machine.tip.root == manifest.root
        took.resident = resident_bytes()

    asyncio.run(story())
    took.leaves = manifest.size - manifest.start
    return took


def load_bare(path: Path) -> float:
    """The same cells put into the same store, unverified and without a map: the floor."""
    files, height = SnapshotFiles(path / "snapshots", lambda: 0), 0
    (height,) = files.heights()
    manifest = Manifest.parse(files.manifest(height))
    began = time.perf_counter()
    with RocksStore(path / "bare", bulk=True) as store:
        for index in range(len(manifest.log), manifest.chunks):
            store.write({b"s" + key: value for key, value in form.cells_in(files.chunk(height, index)[1:])})
        store.flush()
    return time.perf_counter() - began


# --------------------------------------------------------------------------------------------------------------- replay


def light_blocks(count: int) -> list[bytes]:
    """Blocks of one transaction each, 1 s apart."""
    kit, blocks = Kit(), []
    for n in range(count):
        kit.later(1000)
        release = Release(commitment("tag", n), *(commitment(n, i) for i in range(6)))  # type: ignore[arg-type]
        block = kit.block_bytes([kit.sign(release, by="north")])
        kit.machine.commit(kit.machine.stage(block))
        blocks.append(block)
    return blocks


def idle_blocks(count: int) -> list[bytes]:
    """Blocks without transactions, 6 s apart."""
    return [build_block(Header(Height(n + 1), BlockTime(START + 6000 * (n + 1))), []) for n in range(count)]


def replay(path: Path, blocks: list[bytes]) -> Took:
    """What a node does with each block that it catches up with: log it, execute it, keep it. All durable at the end."""
    took = Took()
    with (
        BlockFiles(path / "blocks") as log,
        TileFiles(path / "tiles") as tiles,
        RocksStore(path / "state", first=tiles.sync) as state,
    ):
        behind = WriteBehind(state)
        machine = Machine(demo_genesis(), behind, tiles)
        began = time.perf_counter()
        for height, block in enumerate(blocks, 1):
            with took.part("block log, synced"):
                log.append(height, block)
            with took.part("execute"):
                staged = machine.stage(block)
            with took.part("keep"):
                machine.commit(staged)
        with took.part("wait for the state"):
            behind.flush()
        took.total = time.perf_counter() - began
        behind.close()
    took.entries = len(blocks)
    return took
