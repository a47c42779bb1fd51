"""The state of the ledger on disk: values by key, each block's changes written whole or not at all.

Promises: `write` returns once the changes would survive a power cut; a reader sees all of a write or none of it; memory
is bounded however large the state grows; a directory has one writer; a `view` stands still while the store is written.
Not promised: history (a node that lost its state replays the block log, or takes a snapshot).

RocksDB by measurement against SQLite (docs/decisions/0003-state-store.md, `python -m bench stores`).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DbClosedError,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    Rdict,
    RdictIter,
    WriteBatch,
    WriteOptions,
)

from .errors import StoreClosed, StoreCorrupt, StoreError, StoreFull, StoreLocked

__all__ = ["FaultyStore", "MemoryStore", "MemoryView", "RocksStore", "RocksView"]

MIB = 1 << 20


class RocksStore:
    """RocksDB in a directory of its own. Implements `ledger.state.Store` and the authenticated map's store."""

    def __init__(
        self,
        path: Path,
        *,
        cache_bytes: int = 32 * MIB,
        sync: bool = True,
        bulk: bool = False,
        first: Callable[[], None] | None = None,
    ) -> None:
        """Open, or create, the store in `path` (0700).

        Args:
            cache_bytes: memory for blocks read, indexes and filters together; half as much again goes to writes.
            sync: False only for loading a state that can be loaded again (snapshot, benchmark).
            bulk: for filling an empty store that counts for nothing before it is whole: nothing is durable until
                `flush`, and a crash leaves any part of it.
            first: called before each write: makes durable what the write will refer to (the log's tiles).

        Raises:
            StoreLocked: another process, or another store in this one, holds the directory.
            StoreCorrupt: a file fails its checksum.
            StoreFull: no room even to open.
        """
        self.path = path
        self._cache_bytes = cache_bytes
        self._write_options = WriteOptions()
        self._write_options.sync = sync and not bulk
        if bulk:
            # A property at run time, a method in its stub.
            self._write_options.disable_wal = True  # type: ignore[assignment,method-assign]
        self._first = first
        self._failed = False
        self._views: list[RocksView] = []
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        self._db = self._open()

    def _open(self) -> Rdict:
        table = BlockBasedOptions()
        table.set_block_cache(Cache(self._cache_bytes))
        table.set_block_size(4096)
        table.set_bloom_filter(10, False)
        # Indexes and filters count against the cache: else they grow with the state, outside any bound.
        table.set_cache_index_and_filter_blocks(True)
        table.set_pin_l0_filter_and_index_blocks_in_cache(True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(table)
        options.set_compression_type(DBCompressionType.none())  # mostly hashes, which do not compress
        options.set_write_buffer_size(max(self._cache_bytes // 4, MIB))
        options.set_max_write_buffer_number(2)
        options.set_max_open_files(256)
        options.set_max_background_jobs(2)
        options.set_keep_log_file_num(2)
        options.set_max_log_file_size(MIB)
        options.set_paranoid_checks(True)
        # A torn tail is what a power cut leaves. The default would also drop, in silence, all that follows an
        # altered byte in the middle.
        options.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
        try:
            return Rdict(str(self.path), options)
        except Exception as cause:
            raise self._translate(cause) from cause

    def get(self, key: bytes) -> bytes | None:
        """The value under `key`, or None."""
        try:
            value: bytes | None = self._db.get(key)
        except Exception as cause:
            raise self._translate(cause) from cause
        return value

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Set, or with None delete, all keys at once, durably.

        If it raises, the changes may yet stand, all of them: read again before deciding, or write the same again.
        """
        batch = WriteBatch(raw_mode=True)
        for key, value in changes.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        if self._first is not None:
            self._first()
        try:
            if self._failed:
                self._reopen()
            self._db.write(batch, self._write_options)
        except StoreError:
            raise
        except Exception as cause:
            self._failed = True
            raise self._translate(cause) from cause

    def _reopen(self) -> None:
        # RocksDB refuses every write after one failed, even once there is room again; opening anew clears that.
        # Closing complains of the old failure, which has been reported.
        self._release_views()
        with suppress(Exception):
            self._db.close()
        self._db = self._open()
        self._failed = False

    @contextmanager
    def view(self) -> Iterator["RocksView"]:
        """The store as it is now, to be read from another thread while it is written. Let go of it in good time: what
        is replaced meanwhile keeps its room on disk."""
        try:
            view = RocksView(self._db.iter(), self._translate)
        except Exception as cause:
            raise self._translate(cause) from cause
        self._views.append(view)
        try:
            yield view
        finally:
            view.release()
            self._views.remove(view)

    def _release_views(self) -> None:
        # Whoever reads one is told; while one is held, the directory stays locked.
        for view in self._views:
            view.release()

    def flush(self) -> None:
        """Return once all that was written would survive a power cut: what `bulk` leaves open."""
        try:
            self._db.flush()
        except Exception as cause:
            raise self._translate(cause) from cause

    def compact(self) -> None:
        """Put files in order and return the room that deleted values held. Slow; for tools and benchmarks."""
        try:
            self._db.flush()
            self._db.compact_range(None, None)
        except Exception as cause:
            raise self._translate(cause) from cause

    def close(self) -> None:
        """Release the directory. Closing twice is harmless."""
        self._release_views()
        try:
            self._db.close()
        except DbClosedError:
            pass
        except Exception as cause:
            if not self._failed:
                raise self._translate(cause) from cause

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _translate(self, cause: Exception) -> StoreError:
        """RocksDB's errors arrive as bare `Exception`; its words are all there is to tell them by."""
        if isinstance(cause, StoreError):
            return cause
        if isinstance(cause, DbClosedError):
            return StoreClosed(self.path, "the state store is closed")
        text = str(cause)
        if "LOCK" in text or "lock hold by" in text or "While lock file" in text:
            return StoreLocked(self.path, "in use by another process; stop that node first, or name another directory")
        if any(words in text for words in ("No space left", "File too large", "quota exceeded")):
            return StoreFull(self.path)
        if "Corruption" in text or "checksum mismatch" in text or "bad magic" in text:
            return StoreCorrupt(
                self.path, f"the state store was altered or damaged ({text}); delete it: the node replays its block log"
            )
        return StoreError(self.path, f"the state store failed ({text})")


class RocksView:
    """The store as it stood at one moment, which is when an iterator of RocksDB is made. (In rocksdict 0.3.29 those of
    a `Snapshot` show the present.) One thread reads at a time."""

    def __init__(self, cursor: RdictIter, translate: Callable[[Exception], StoreError]) -> None:
        self._cursor: RdictIter | None = cursor
        self._translate = translate
        self._reader: object = None

    def items(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """In ascending order of keys: those that begin with `prefix`, from `start` on.

        Raises StoreClosed once the view was let go of, as it is when the store has to be opened anew.
        """
        me, key = object(), max(prefix, start)
        found = self._step(me, key, onward=False)
        while found is not None and found[0].startswith(prefix):
            yield found
            found = self._step(me, found[0], onward=True)

    def _step(self, reader: object, key: bytes, *, onward: bool) -> tuple[bytes, bytes] | None:
        cursor = self._cursor
        if cursor is None:
            raise StoreClosed("state", "this view of the state store was let go of")
        try:
            if self._reader is not reader:  # another reader has moved the cursor
                cursor.seek(key)
                self._reader = reader
            if onward:
                cursor.next()
            if not cursor.valid():
                cursor.status()
                return None
            return cursor.key(), cursor.value()
        except Exception as cause:
            raise self._translate(cause) from cause

    def get(self, key: bytes) -> bytes | None:
        """The value under `key`, or None."""
        found = self._step(object(), key, onward=False)
        return found[1] if found is not None and found[0] == key else None

    def release(self) -> None:
        self._cursor = None


class MemoryView:
    """A copy."""

    def __init__(self, values: Mapping[bytes, bytes]) -> None:
        self._values = dict(sorted(values.items()))

    def items(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._values.items():
            if key >= start and key.startswith(prefix):
                yield key, value

    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)


class MemoryStore:
    """The same promises in memory, less durability. Real code: the in-memory consortium runs on it."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value

    @contextmanager
    def view(self) -> Iterator[MemoryView]:
        yield MemoryView(self._values)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing to release: reopening is using it again, as after a restart."""

    def __len__(self) -> int:
        return len(self._values)


class FaultyStore:
    """Any store, failing on cue: before the effect, or after it (the disk has it, the caller does not know)."""

    def __init__(self, inner: "RocksStore | MemoryStore") -> None:
        self.inner = inner
        self._next: tuple[StoreError, bool] | None = None

    def fail_next_write(self, error: StoreError | None = None, *, but_keep: bool = False) -> None:
        """Make the next write raise `error` (a full disk if none is given); `but_keep` lets it take effect first."""
        self._next = (error or StoreFull("state"), but_keep)

    def get(self, key: bytes) -> bytes | None:
        return self.inner.get(key)

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        failure, self._next = self._next, None
        if failure is None or failure[1]:
            self.inner.write(changes)
        if failure is not None:
            raise failure[0]

    def close(self) -> None:
        self.inner.close()
