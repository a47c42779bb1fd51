"""Which store holds the ledger's state: RocksDB or SQLite, at one million entries, both durable on every block.

Blocks of 1 to 1,000 changed keys of 32 bytes with values of 50 to 400 bytes: 80 % updates, 18 % inserts, 2 %
deletes, through the same port. This is the measurement behind docs/decisions/0003-state-store.md.
"""

import random
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Protocol

from bench._machine import apart, disk_bytes, percentile, resident_bytes, scratch
from bench.results import Result
from commonward.adapters.store.state import RocksStore

ENTRIES = 1_000_000


class Contender(Protocol):
    def get(self, key: bytes) -> bytes | None: ...
    def write(self, changes: Mapping[bytes, bytes | None]) -> None: ...
    def close(self) -> None: ...


class SqliteStore:
    """The contender: one table, write-ahead log, every commit synced."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path / "state.db", isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")
        self._db.execute("pragma cache_size = -32768")
        self._db.execute("create table if not exists state (key blob primary key, value blob not null) without rowid")

    def get(self, key: bytes) -> bytes | None:
        row = self._db.execute("select value from state where key = ?", (key,)).fetchone()
        return row[0] if row else None

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        self._db.execute("begin immediate")
        self._db.executemany("delete from state where key = ?", [(key,) for key, value in changes.items() if not value])
        self._db.executemany(
            "insert into state values (?, ?) on conflict (key) do update set value = excluded.value",
            [(key, value) for key, value in changes.items() if value],
        )
        self._db.execute("commit")

    def close(self) -> None:
        self._db.close()


def key_of(index: int) -> bytes:
    return sha256(b"%d" % index).digest()


def value_of(source: random.Random) -> bytes:
    return source.randbytes(source.randrange(50, 401))


def fill(store: Contender, entries: int, source: random.Random) -> None:
    for start in range(0, entries, 20_000):
        store.write({key_of(index): value_of(source) for index in range(start, min(start + 20_000, entries))})


def block(size: int, entries: int, fresh: Iterator[int], source: random.Random) -> dict[bytes, bytes | None]:
    changes: dict[bytes, bytes | None] = {}
    for _ in range(size):
        kind = source.random()
        if kind < 0.18:
            changes[key_of(next(fresh))] = value_of(source)
        else:
            changes[key_of(source.randrange(entries))] = value_of(source) if kind < 0.98 else None
    return changes


def measure(make: type[RocksStore] | type[SqliteStore], path: Path, entries: int) -> dict[str, float]:
    source, found = random.Random(7), {}  # the same for both
    before = resident_bytes()
    store: Contender = make(path)
    fill(store, entries, source)
    fresh = iter(range(entries, 1 << 62))
    for size in (1, 10, 100, 1000):
        took = []
        for _ in range(100 if size < 1000 else 40):
            changes = block(size, entries, fresh, source)
            start = time.perf_counter()
            for key in changes:  # a rule reads what it changes
                store.get(key)
            store.write(changes)
            took.append(time.perf_counter() - start)
        found[f"block of {size}"] = median(took) * 1e3
        found[f"block of {size}, p99"] = percentile(took, 0.99) * 1e3
    store.close()
    start = time.perf_counter()
    store = make(path)
    store.get(key_of(1))
    found["reopen"] = (time.perf_counter() - start) * 1e3
    reads = []
    for _ in range(5000):
        key = key_of(source.randrange(entries))
        start = time.perf_counter()
        store.get(key)
        reads.append(time.perf_counter() - start)
    found["read"] = median(reads) * 1e3
    found["resident"] = max(resident_bytes() - before, 0) / 1e6
    found["disk"] = disk_bytes(path) / 1e6
    store.close()
    return found


def run(scale: float = 1.0) -> Iterable[Result]:
    entries = max(int(ENTRIES * scale), 10_000)
    conditions = f"{entries:,} entries of 50 to 400 bytes; each changed key read, then the block synced to disk"
    with scratch() as path:
        ours = apart(measure, RocksStore, path / "rocks", entries)
        theirs = apart(measure, SqliteStore, path / "sqlite", entries)
    for name, value in ours.items():
        unit = "MB" if name in ("resident", "disk") else "ms"
        yield Result(
            name=name,
            value=value,
            unit=unit,
            reference="SQLite",
            reference_value=theirs[name],
            more_is_better=False,
            conditions=conditions,
        )
