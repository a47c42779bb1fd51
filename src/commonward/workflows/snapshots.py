"""A member's snapshots: made now and then, handed to members who join, and taken from others when this one does.

    SnapshotStore(...)                   of one node, while it runs
    await committed(height)              after each block: every so many blocks a snapshot begins, in its own thread
    offers(), chunk(...)                 what others ask; never raise, since an error here would stop the node
    offer(...), await apply(...)         what others say; judged by the app hash alone

The words are those of ABCI 2.0 (ListSnapshots, LoadSnapshotChunk, OfferSnapshot, ApplySnapshotChunk), whose numbers the
answers carry. The app hash comes with an offer from the engine, which has it from more than two thirds of the power.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

import structlog

from commonward.ledger.genesis import Genesis
from commonward.ledger.merkle.log import LogStore
from commonward.ledger.snapshot import FORMAT, Manifest, SnapshotRefused, snapshot_hash
from commonward.ledger.staging import TIP_KEY, Standing
from commonward.workflows.restoring import FreshStores, Restoring
from commonward.workflows.snapshotting import Making, StateView, ViewedStore, genesis_leaf, make_snapshot

__all__ = [
    "EVERY", "Applied", "ChunkAnswer", "Ground", "OfferAnswer", "Offered", "SnapshotShelf", "SnapshotStore",
]  # fmt: skip

EVERY: Final = 1000
"""Blocks between two snapshots: under load some ten minutes, on an idle ledger an hour and a half."""

_APP_HASH: Final = 40
_WORK_S: Final = 0.004
"""How long the maker works before it rests as long, so that the node's own thread has its turn."""

_log = structlog.get_logger(__name__)


class OfferAnswer(IntEnum):
    """ResponseOfferSnapshot.Result."""

    ACCEPT = 1
    ABORT = 2
    REJECT = 3
    REJECT_FORMAT = 4
    REJECT_SENDER = 5


class ChunkAnswer(IntEnum):
    """ResponseApplySnapshotChunk.Result."""

    ACCEPT = 1
    ABORT = 2
    RETRY = 3
    RETRY_SNAPSHOT = 4
    REJECT_SNAPSHOT = 5


class Offered(NamedTuple):
    """A snapshot as members tell each other of it. `metadata`: the manifest."""

    height: int
    format: int
    chunks: int
    hash: bytes
    metadata: bytes


class Applied(NamedTuple):
    """`refetch`: chunks to ask for again. `reject`: senders that are not to be asked any more."""

    answer: ChunkAnswer
    refetch: tuple[int, ...] = ()
    reject: tuple[str, ...] = ()


class KeptMaking(Making, Protocol):
    def again(self, height: int) -> None: ...


class SnapshotShelf(Protocol):
    """Snapshots on disk, by height. `manifest` and `chunk` raise LookupError; all may raise what the disk brings.

    `told`: somebody has heard of it and may ask for its chunks over the next minutes, as who asked for one may.
    """

    def heights(self) -> list[int]: ...
    def manifest(self, height: int) -> bytes: ...
    def chunk(self, height: int, index: int) -> bytes: ...
    def told(self, height: int) -> None: ...
    def make(self) -> KeptMaking: ...
    def prune(self) -> None: ...


class Ground(Protocol):
    """Where a snapshot is restored: fresh stores, then made the node's whole or not at all (`complete`)."""

    def fresh(self) -> FreshStores: ...
    def complete(self) -> None: ...
    def drop(self) -> None: ...


class SnapshotStore:
    """On the loop's thread; one snapshot is made, or restored, at a time, in a thread of its own."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        state: ViewedStore,
        log_store: LogStore,
        flush: Callable[[], None],
        shelf: SnapshotShelf,
        ground: Ground,
        adopt: Callable[[Manifest], Awaitable[None]],
        every: int = EVERY,
        map_bits: int = 17,
        first: Genesis | None = None,
    ) -> None:
        """Of a running node.

        Args:
            state: the state store itself, not what is written a little later; `flush` waits for that.
            adopt: called when a snapshot has been restored and completed: the node lets go of its stores, moves to the
                new ones, and stands at the snapshot's height when it returns.
            every: make one at each height that is a multiple; 0 for none. The same on all members, so that a joiner
                can fetch from all of them.
            first: that of the first ledger of the line, with which the log begins, where `genesis` goes on from one.
        """
        self._ledger = genesis.ledger_id
        self._genesis = genesis
        self._first = first or genesis
        self._state = state
        self._log_store = log_store
        self._flush = flush
        self._shelf = shelf
        self._ground = ground
        self._adopt = adopt
        self._every = every
        self._map_bits = map_bits
        self._first_leaf = b""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="snapshots")
        self._making: Future[None] | None = None
        self._restoring: Restoring | None = None
        self._closing = False

    def close(self) -> None:
        """Stop. A snapshot that is being made is given up."""
        self._closing = True
        self._thread.shutdown(wait=True)
        self._ground.drop()

    def moved(self, state: ViewedStore, log_store: LogStore, flush: Callable[[], None]) -> None:
        """The node has other stores now (`adopt`)."""
        self._state, self._log_store, self._flush = state, log_store, flush

    # --------------------------------------------------------------------------------------------------------- making

    async def committed(self, height: int) -> None:
        """A block was kept. Where one is due, fix the view of a snapshot; the work goes on without us. Never raises."""
        if not self._every or height % self._every or (self._making is not None and not self._making.done()):
            return
        try:
            await asyncio.to_thread(self._flush)
            view = self._state.view()
            found = view.__enter__()
        except Exception as why:
            _log.warning("snapshot_not_made", height=height, why=str(why))
            return
        self._making = self._thread.submit(self._make, height, view.__exit__, found)

    async def made(self) -> None:
        """Wait until no snapshot is being made."""
        if self._making is not None:
            await asyncio.wait([asyncio.wrap_future(self._making)])

    def _make(self, height: int, release: Callable[[None, None, None], object], view: StateView) -> None:
        started = time.monotonic()
        try:
            making = self._shelf.make()
            try:
                standing = Standing.parse(view.get(TIP_KEY) or b"", self._ledger)
                if standing.applied.height != height:
                    raise SnapshotRefused(f"expected a view at height {height}, got {standing.applied.height}")
                if not self._again(making, standing):
                    self._first_leaf = self._first_leaf or genesis_leaf(self._first)
                    make_snapshot(self._ledger, self._first_leaf, view, self._log_store, making, _Breath(self))
                self._shelf.prune()
            finally:
                making.drop()
            _log.info("snapshot_made", height=height, seconds=round(time.monotonic() - started, 1))
        except Exception as why:
            if not self._closing:
                _log.warning("snapshot_not_made", height=height, why=str(why), do="the next is tried in its turn")
        finally:
            release(None, None, None)

    def _again(self, making: KeptMaking, standing: Standing) -> bool:
        """Where nothing has happened since the last snapshot, it is the same with another height."""
        for height in self._shelf.heights()[-1:]:
            last = Manifest.parse(self._shelf.manifest(height))
            if (last.size, last.root) == (standing.tip.size, standing.tip.root) and last.ledger == self._ledger:
                making.again(height)
                making.keep(standing.applied.height, last._replace(height=standing.applied.height).to_bytes())
                return True
        return False

    # ---------------------------------------------------------------------------------------------------- what we have

    def offers(self) -> list[Offered]:
        """The snapshots that can be fetched here, for somebody who asks: they stay a while. Never raises."""
        found = []
        try:
            for height in self._shelf.heights():
                data = self._shelf.manifest(height)
                manifest = Manifest.parse(data)
                self._shelf.told(height)
                found.append(Offered(height, FORMAT, manifest.chunks, snapshot_hash(data), data))
        except Exception as why:
            _log.warning("snapshots_not_listed", why=str(why))
        return found

    def chunk(self, height: int, form: int, index: int) -> bytes:
        """A chunk of one of them; empty when it is not, or no longer, there. Never raises."""
        try:
            return self._shelf.chunk(height, index) if form == FORMAT else b""
        except Exception as why:
            _log.info("chunk_not_given", height=height, chunk=index, why=str(why))
            return b""

    @property
    def oldest(self) -> int:
        """Height of the oldest snapshot here; blocks after it must be kept for who starts from it. 0 for none."""
        try:
            return next(iter(self._shelf.heights()), 0)
        except Exception:
            return 0

    # ------------------------------------------------------------------------------------------------ what others have

    def offer(self, offered: Offered, app_hash: bytes) -> OfferAnswer:
        """Whether to restore this snapshot. Accepting drops one that was half restored. Never raises."""
        if offered.format != FORMAT:
            return OfferAnswer.REJECT_FORMAT
        try:
            if len(app_hash) != _APP_HASH:
                raise SnapshotRefused(f"expected an app hash of {_APP_HASH} bytes, got {len(app_hash)}")
            manifest = Manifest.parse(offered.metadata)
            if snapshot_hash(offered.metadata) != offered.hash or manifest.chunks != offered.chunks:
                raise SnapshotRefused("its hash or number of chunks is not that of its manifest")
            size, root = int.from_bytes(app_hash[:8], "big"), app_hash[8:]
            tip = manifest.check(self._ledger, offered.height, size, root)
        except SnapshotRefused as why:
            _log.warning("snapshot_refused", height=offered.height, why=str(why))
            return OfferAnswer.REJECT
        except Exception as why:  # whatever a stranger's bytes bring about: the node lives on
            _log.error("snapshot_refused", height=offered.height, why=repr(why))
            return OfferAnswer.REJECT
        try:
            self._restoring = None
            self._ground.drop()
            self._restoring = Restoring(manifest, tip, self._ground.fresh(), map_bits=self._map_bits)
        except Exception as why:
            _log.error("snapshot_not_restored", why=str(why), do="make room, then start this node again")
            return OfferAnswer.ABORT
        _log.info("snapshot_accepted", height=offered.height, chunks=manifest.chunks)
        return OfferAnswer.ACCEPT

    async def apply(self, index: int, data: bytes, sender: str) -> Applied:
        """Check a chunk and write it. With the last one the node moves to the snapshot's height. Never raises."""
        restoring = self._restoring
        if restoring is None:
            return Applied(ChunkAnswer.ABORT)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, restoring.take, index, data)
            if not restoring.complete:
                return Applied(ChunkAnswer.ACCEPT)
            await loop.run_in_executor(self._thread, restoring.finish)
        except SnapshotRefused as why:
            return self._refused(restoring, index, sender, why)
        except Exception as why:
            return self._failed(why)
        self._restoring = None
        try:
            await loop.run_in_executor(self._thread, self._ground.complete)
            await self._adopt(restoring.manifest)
        except Exception as why:
            return self._failed(why)
        _log.info("snapshot_restored", height=restoring.manifest.height, size=restoring.manifest.size)
        return Applied(ChunkAnswer.ACCEPT)

    def _refused(self, restoring: Restoring, index: int, sender: str, why: SnapshotRefused) -> Applied:
        _log.warning("chunk_refused", sender=sender, why=str(why))
        if restoring.complete:
            # Every chunk was as the manifest says: the ledger itself says something that this program cannot take.
            self._restoring = None
            return Applied(ChunkAnswer.REJECT_SNAPSHOT)
        if index > restoring.next:
            return Applied(ChunkAnswer.RETRY, tuple(range(restoring.next, index + 1)))
        # Who sent it made it, or passed it on unread; another may have the true one.
        return Applied(ChunkAnswer.RETRY, (index,), (sender,) if sender else ())

    def _failed(self, why: Exception) -> Applied:
        _log.error("snapshot_not_restored", why=str(why), do="see the disk; this node starts over when started again")
        self._restoring = None
        return Applied(ChunkAnswer.ABORT)


class _Breath:
    """Called often by whoever works in the thread: rests as long as it worked, and ends the work at closing."""

    def __init__(self, store: SnapshotStore) -> None:
        self._store = store
        self._since = time.monotonic()

    def __call__(self) -> None:
        worked = time.monotonic() - self._since
        if worked < _WORK_S:
            return
        if self._store._closing:
            raise SnapshotRefused("the node is stopping")
        time.sleep(min(worked, 0.05))
        self._since = time.monotonic()
