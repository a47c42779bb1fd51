"""A state store that is written a little later, in a thread, in the order given.

The block log is a node's durable memory; its state is what replaying the log gives. So the state may reach the disk
after the block has been cosigned: a crash in between leaves an older state, and the node replays the rest at start.
While one write is under way, those that come meanwhile join into the next (group commit): under load the state costs a
fraction of a sync a block, and never holds up the loop.

Promises: what was written is read back at once; the store behind sees the writes in order, each whole. Not promised:
that a write is durable when it returns; `flush` waits for that.
"""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Final

import structlog

from commonward.ledger.state import Store

__all__ = ["WriteBehind"]

_MOST: Final = 100_000
"""Changes waiting in memory before a writer must wait too."""

_log = structlog.get_logger(__name__)

_Changes = dict[bytes, bytes | None]


class WriteBehind:
    """Implements `ledger.state.Store`. One thread reads and writes; another, of its own, writes to the store behind."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self._waiting: _Changes = {}
        self._writing: _Changes = {}
        self._lock = Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._job: Future[None] | None = None

    def get(self, key: bytes) -> bytes | None:
        # `_drain` fills `_writing` before it empties `_waiting`, and empties it after the store has it: whichever of
        # the three is read first, no value slips between.
        waiting, writing = self._waiting, self._writing
        if key in waiting:
            return waiting[key]
        if key in writing:
            return writing[key]
        return self._inner.get(key)

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Take the changes. Raises what an earlier write met (such as a full disk); these are not taken then."""
        job = self._job  # read once: the other thread may put None there at any moment
        if job is not None and job.done() and job.exception() is not None:
            self.flush()
        if len(self._waiting) > _MOST:
            self.flush()
        with self._lock:
            self._waiting.update(changes)
            if self._job is None or self._job.done():
                self._job = self._thread.submit(self._drain)

    def _drain(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    # Decided under the lock: a write that comes after this finds no job and starts one.
                    self._job = None
                    return
                self._writing = self._waiting
                self._waiting = {}
            try:
                self._inner.write(self._writing)
            except BaseException as why:
                _log.error("state_not_written", why=str(why), do="it is tried again; the block log holds what matters")
                with self._lock:
                    self._waiting = {**self._writing, **self._waiting}
                    self._writing = {}
                raise
            self._writing = {}

    def flush(self) -> None:
        """Wait until everything written is durable. Raises what the store behind raises; asking again tries again."""
        while True:
            with self._lock:
                job = self._job
                if job is None or (job.done() and job.exception() is not None):
                    if not self._waiting:
                        return
                    job = self._job = self._thread.submit(self._drain)
            job.result()

    def close(self) -> None:
        """Flush, and stop the thread. Raises as `flush`; the store behind belongs to whoever gave it."""
        try:
            self.flush()
        finally:
            self._thread.shutdown(wait=True)
