"""One member's vault on SQLite: sealed records, batches, marks, drawers, the member's log (`workflows.ports.Vault`).

Promises: a call that returned survives a power cut; one that raised left nothing; several processes may hold the same
vault (writers queue). Trusts nobody with content: every byte that means something arrives sealed. Erasing overwrites
the page and empties the write-ahead log, but a disk may keep old blocks, so what erases a record for good is the
destruction of its wrapped key, here and in backups.

Statements go through SQLAlchemy Core so that PostgreSQL can take over when a hospital outgrows one file.
"""

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from sqlalchemy import ClauseElement, ColumnElement, Row, Select, Table, bindparam, delete, func, insert, select, update
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.sql.compiler import SQLCompiler

from commonward.ledger.ids import BlockTime, Digest, Handle, Tag
from commonward.workflows.ports import BatchRow, LogRow, MarkRow, MarkState, RecordHead, RecordRow

from .engine import LONE_READS, open_engine, translate
from .errors import StoreClosed, StoreCorrupt
from .reading import CHUNK, WHOLE, Reader, as_record, chunks, current_records
from .tables import SCHEMA, batches, contents, deliveries, log, marks, metadata, papers, records

__all__ = ["SqlVault"]

EMPTY_EVERY = 1.0
"""Seconds between two emptyings of the write-ahead log for removed papers; an erased record does not wait."""

Rows = Sequence["Row[*tuple[Any, ...]]"]


@lru_cache(maxsize=32)
def _compiled(
    dialect: Dialect, query: "Select[*tuple[Any, ...]]", column: "ColumnElement[bytes]", count: int
) -> str | None:
    """With `count` places in order; None where the driver takes values by name."""
    places = [bindparam(f"v{n}", type_=column.type) for n in range(count)]
    made = query.where(column.in_(places)).compile(dialect=dialect)
    return str(made) if isinstance(made, SQLCompiler) and made.positional else None


@lru_cache(maxsize=16)
def _insertion(dialect: Dialect, table: Table) -> str | None:
    """All columns in order; None where the driver takes values by name."""
    made = insert(table).compile(dialect=dialect, column_keys=[column.name for column in table.columns])
    return str(made) if made.positional else None


@lru_cache(maxsize=16)
def _places(dialect: Dialect, statement: ClauseElement) -> tuple[str, tuple[str, ...]] | None:
    """A statement's text, and the names of its values in order; None where the driver takes values by name."""
    made = statement.compile(dialect=dialect)
    order = made.positiontup if isinstance(made, SQLCompiler) and made.positional else None
    return None if order is None else (str(made), tuple(order))


class _Answer(Protocol):
    """What a statement gave, by the driver's cursor or by SQLAlchemy's."""

    @property
    def rowcount(self) -> int: ...

    def fetchall(self) -> Sequence[Any]: ...


class SqlVault:
    """A vault in one file. Not for use from several threads at once, but for what `reading` gives."""

    def __init__(self, path: Path, *, cache_mib: int = 32) -> None:
        """Open or create the vault at `path` (0600, in a directory of 0700).

        Raises:
            StoreCorrupt: not a vault, or one that another version of this program made.
            VaultFull: no room to create it.
        """
        self.path = path
        self._inside = False
        self._erased = False  # the write-ahead log may hold what was removed
        self._at_once = False  # and must be emptied when this transaction ends
        self._emptied = 0.0
        self._closed = False
        with self._translated():
            self._engine = open_engine(path, cache_mib=cache_mib)
            self._writer = self._engine.connect()
            self._reader = self._engine.connect().execution_options(**{LONE_READS: True})
        self._create()
        self._empty_log()  # a process killed right after an erasure left it full

    def _create(self) -> None:
        with self.transaction():
            found = self._writer.exec_driver_sql("pragma user_version").scalar_one()
            if found == 0:
                metadata.create_all(self._writer)
                self._writer.exec_driver_sql(f"pragma user_version = {SCHEMA}")
            elif found != SCHEMA:
                raise StoreCorrupt(self.path, f"expected a vault of schema {SCHEMA}, got {found}; use its own program")

    # --- transactions

    @contextmanager
    def _translated(self) -> Iterator[None]:
        if self._closed:
            raise StoreClosed(self.path, "the vault is closed")
        try:
            yield
        except (SQLAlchemyError, OSError, sqlite3.Error) as cause:
            raise translate(cause, self.path) from cause

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All calls inside happen together or not at all. Does not nest."""
        if self._inside:
            raise RuntimeError("a vault transaction does not nest")
        before = self._erased, self._at_once
        try:
            with self._translated(), self._writer.begin():
                self._inside = True
                try:
                    yield
                finally:
                    self._inside = False
        except BaseException:
            self._erased, self._at_once = before
            raise
        if self._at_once or (self._erased and time.monotonic() - self._emptied >= EMPTY_EVERY):
            self._empty_log()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        if self._inside:
            with self._translated():
                yield self._writer
        else:
            with self.transaction():
                yield self._writer

    def _empty_log(self) -> None:
        """Copy the write-ahead log into the file and cut it to nothing: it still holds what was erased.

        A reader in another process can prevent it; it is then tried again after the next transaction.
        """
        with self._translated():
            busy = self._reader.exec_driver_sql("pragma wal_checkpoint(truncate)").one()[0]
        if not busy:
            self._erased = self._at_once = False
            self._emptied = time.monotonic()

    def _all(
        self, query: "Select[*tuple[Any, ...]]", values: Mapping[str, object] | None = None
    ) -> Sequence["Row[*tuple[Any, ...]]"]:
        with self._translated():
            return (self._writer if self._inside else self._reader).execute(query, values).all()

    def _one(
        self, query: "Select[*tuple[Any, ...]]", values: Mapping[str, object] | None = None
    ) -> "Row[*tuple[Any, ...]] | None":
        with self._translated():
            return (self._writer if self._inside else self._reader).execute(query, values).first()

    def _paper(self, connection: Connection, statement: ClauseElement, **values: object) -> "_Answer":
        """One statement on one paper, straight to the driver: SQLAlchemy's way there takes five times SQLite's work."""
        found = _places(self._engine.dialect, statement)
        if found is None:
            answer: _Answer = connection.execute(statement, values)  # type: ignore[call-overload]
            return answer
        cursor = connection.connection.cursor()
        cursor.execute(found[0], tuple(values[name] for name in found[1]))
        return cursor

    def _in(self, query: "Select[*tuple[Any, ...]]", column: "ColumnElement[bytes]", values: Sequence[bytes]) -> Rows:
        """Rows of `query` whose `column` is one of `values`, in no order; a row may come once only.

        A statement is compiled once for each of three sizes, the last value repeated to fill it: for an import, where
        the values are new each time, writing out the list again costs more than SQLite's work.
        """
        found: list[Row[*tuple[Any, ...]]] = []
        connection = self._writer if self._inside else self._reader
        for chunk in chunks(values):
            places = next(size for size in (1, 24, CHUNK) if len(chunk) <= size)
            text = _compiled(self._engine.dialect, query, column, places)
            if text is None:
                found += self._all(query.where(column.in_(chunk)))
                continue
            filled = tuple(chunk) + (chunk[-1],) * (places - len(chunk))
            with self._translated():
                found += connection.exec_driver_sql(text, filled).all()
        return found

    def _insert_many(self, table: Table, rows: Sequence[tuple[object, ...]]) -> None:
        """Rows as tuples in the order of the table's columns, straight to the driver: a third of the time."""
        if not rows:
            return
        statement = _insertion(self._engine.dialect, table)
        if statement is not None:
            self._writer.exec_driver_sql(statement, list(rows))
        else:
            names = [column.name for column in table.columns]
            self._writer.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])

    def close(self) -> None:
        """Close the file. Closing twice is harmless."""
        if not self._closed:
            if self._erased:
                self._empty_log()
            with self._translated():
                self._reader.close()
                self._writer.close()
                self._engine.dispose()
            self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # --- records

    def add_records(self, rows: Sequence[RecordRow]) -> frozenset[bytes]:
        """Adds rows whose id is not there yet; returns the ids that were new."""
        with self._writing():
            first_of: dict[bytes, RecordRow] = {}
            for row in rows:
                first_of.setdefault(row.id, row)  # of two rows with one id, the first counts
            for (held,) in self._in(IDS, records.c.id, list(first_of)):
                del first_of[held]
            start = self.last_number() + 1
            self._insert_many(
                records,
                [
                    (number, row.id, row.patient, row.match, row.version, row.fingerprint)
                    for number, row in enumerate(first_of.values(), start)
                ],
            )
            self._insert_many(
                contents, [(n, row.wrapped, row.sealed) for n, row in enumerate(first_of.values(), start)]
            )
        return frozenset(first_of)

    def records(self, ids: Sequence[bytes]) -> Mapping[bytes, tuple[int, RecordRow]]:
        found = {}
        for row in self._in(WHOLE, records.c.id, ids):
            number, record = as_record(row)
            found[record.id] = (number, record)
        return {i: found[i] for i in ids if i in found}

    def heads(self, matches: Sequence[bytes]) -> Mapping[bytes, RecordHead]:
        newest: dict[bytes, RecordHead] = {}
        for match, record, version, _ in sorted(self._in(HEADS, records.c.match, matches), key=lambda row: row[3]):
            if match not in newest or version > newest[match].version:
                newest[match] = RecordHead(record, version)
        return newest

    def versions(self, match: bytes) -> Sequence[tuple[int, RecordRow]]:
        return [as_record(row) for row in self._all(WHOLE.where(records.c.match == match).order_by(records.c.number))]

    def current_records(self, patients: Sequence[bytes]) -> Sequence[tuple[int, RecordRow]]:
        return current_records(self._all, patients)

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """A connection of its own, so that another thread may read while this one goes on. Sees what is committed."""
        with self._translated(), self._engine.connect().execution_options(**{LONE_READS: True}) as connection:
            yield Reader(connection)

    def last_number(self) -> int:
        row = self._one(select(func.max(records.c.number)))
        return (row[0] if row else None) or 0

    def fingerprints(self, first: int, last: int) -> Sequence[bytes]:
        query = select(records.c.fingerprint).where(records.c.number.between(first, last)).order_by(records.c.number)
        return [row[0] for row in self._all(query)]

    def destroy_records(self, ids: Sequence[bytes]) -> None:
        """Overwrites sealed bytes and wrapped keys, in the file and in its write-ahead log."""
        with self._writing() as connection:
            for chunk in chunks(ids):
                numbers = select(records.c.number).where(records.c.id.in_(chunk))
                connection.execute(
                    update(contents).where(contents.c.number.in_(numbers)).values(wrapped=b"", sealed=b"")
                )
            self._erased = self._at_once = True

    # --- batches

    def plan_batch(self, batch: BatchRow) -> None:
        """Raises KeyError when the tick is planned already."""
        values = (batch.tick, batch.first, batch.last, batch.seed, batch.root, batch.index)
        with self._writing():
            try:
                self._insert_many(batches, [values])
            except IntegrityError as cause:
                raise KeyError(f"tick {batch.tick} is planned already") from cause

    def anchored_batch(self, tick: int, index: int) -> None:
        with self._writing() as connection:
            done = connection.execute(update(batches).where(batches.c.tick == tick).values(log_index=index))
            if done.rowcount != 1:
                raise KeyError(f"no batch is planned for tick {tick}")

    def last_batch(self) -> BatchRow | None:
        row = self._one(select(batches).order_by(batches.c.tick.desc()).limit(1))
        return BatchRow(*row) if row else None

    def batch_of(self, number: int) -> BatchRow | None:
        # Batches lie side by side, and of those that start at one number only the last holds any: the first met
        # going down from `number` is the one.
        c = batches.c
        query = select(batches).where(c.first <= number, c.last >= number).order_by(c.first.desc(), c.tick.desc())
        row = self._one(query.limit(1))
        return BatchRow(*row) if row else None

    def unanchored_batches(self) -> Sequence[BatchRow]:
        return [BatchRow(*row) for row in self._all(select(batches).where(batches.c.log_index < 0).order_by("tick"))]

    def forget_batches(self, before_tick: int) -> int:
        c = batches.c
        with self._writing() as connection:
            done = connection.execute(delete(batches).where(c.tick < before_tick, c.log_index >= 0, c.last < c.first))
            return done.rowcount

    # --- marks

    def reserve_mark(self, row: MarkRow) -> None:
        with self._writing():
            try:
                self._insert_many(marks, [_mark_values(row)])
                self._insert_many(deliveries, [(row.tag, row.delivery)])
            except IntegrityError as cause:
                raise KeyError(f"number {row.n}, its tag or its request is taken for this handle") from cause

    def change_mark(self, row: MarkRow) -> None:
        with self._writing() as connection:
            done = connection.execute(
                update(marks)
                .where(marks.c.handle == row.handle, marks.c.n == row.n)
                .values(state=int(row.state), sealed=row.sealed)
            )
            if done.rowcount != 1:
                raise KeyError(f"no mark {row.n} for this handle")
            # Comparing reads it; writing it again would cost the log as much as the release itself.
            here, old = deliveries.c.tag == row.tag, deliveries.c.delivery
            connection.execute(update(deliveries).where(here, old != row.delivery).values(delivery=row.delivery))

    def last_mark(self, handle: Handle) -> MarkRow | None:
        return _mark(self._one(MARKS.where(marks.c.handle == handle).order_by(marks.c.n.desc()).limit(1)))

    def mark_for(self, request: Digest) -> MarkRow | None:
        return _mark(self._one(MARKS.where(marks.c.request == request)))

    def mark_by_tag(self, tag: Tag) -> MarkRow | None:
        return _mark(self._one(MARKS.where(marks.c.tag == tag)))

    def marks(self, handle: Handle, first: int = 0, limit: int = 1000) -> Sequence[MarkRow]:
        query = MARKS.where(marks.c.handle == handle, marks.c.n >= first).order_by(marks.c.n).limit(limit)
        return [_as_mark(row) for row in self._all(query)]

    def marks_in(self, state: MarkState, limit: int = 1000) -> Sequence[MarkRow]:
        query = MARKS.where(marks.c.state == int(state)).order_by(marks.c.handle, marks.c.n).limit(limit)
        return [_as_mark(row) for row in self._all(query)]

    # --- drawers

    def put(self, drawer: str, key: bytes, sealed: bytes, under: bytes = b"") -> None:
        with self._writing() as connection:
            values = {"d": drawer, "k": key, "grouped": under, "sealed": sealed}
            if not self._paper(connection, REPLACE, **values).rowcount:
                self._paper(connection, NEW, **values)

    def get(self, drawer: str, key: bytes) -> bytes | None:
        with self._translated():
            connection = self._writer if self._inside else self._reader
            rows = self._paper(connection, PAPER, d=drawer, k=key).fetchall()  # all: nothing of the read stays open
        return rows[0][0] if rows else None

    def remove(self, drawer: str, key: bytes) -> None:
        """Overwrites it, in the file at once; in its write-ahead log too, but of many in a second the last may stay
        there until the next write (a queue is emptied all the time, and each emptying costs two syncs)."""
        with self._writing() as connection:
            if self._paper(connection, REMOVE, d=drawer, k=key).rowcount:
                self._erased = True

    def under(self, drawer: str, group: bytes, after: bytes = b"", limit: int = 1000) -> Sequence[tuple[bytes, bytes]]:
        return self._page(PAGE_UNDER, {"d": drawer, "after": after, "most": limit, "group": group})

    def every(self, drawer: str, after: bytes = b"", limit: int = 1000) -> Sequence[tuple[bytes, bytes]]:
        return self._page(PAGE, {"d": drawer, "after": after, "most": limit})

    def _page(self, query: "Select[*tuple[Any, ...]]", values: Mapping[str, object]) -> Sequence[tuple[bytes, bytes]]:
        return [(key, sealed) for key, sealed in self._all(query, values)]

    def count(self, drawer: str) -> int:
        row = self._one(select(func.count()).select_from(papers).where(papers.c.drawer == drawer))
        return int(row[0]) if row else 0

    # --- the member's log

    def append_log(self, row: LogRow) -> None:
        with self._writing():
            last = self._one(select(func.max(log.c.number)))
            expected = ((last[0] if last else None) or 0) + 1
            if row.number != expected:
                raise KeyError(f"expected entry {expected} of the member's log, got {row.number}")
            self._insert_many(log, [(row.number, row.at, row.hash, row.sealed)])

    def last_log(self) -> LogRow | None:
        row = self._one(select(log).order_by(log.c.number.desc()).limit(1))
        return _log_row(row) if row else None

    def log_rows(self, first: int, limit: int) -> Sequence[LogRow]:
        query = select(log).where(log.c.number >= first).order_by(log.c.number).limit(limit)
        return [_log_row(row) for row in self._all(query)]


IDS = select(records.c.id)
HEADS = select(records.c.match, records.c.id, records.c.version, records.c.number)

# Made once: to make a statement costs more than SQLite's work on one paper, and drawers are read all the time.
_HERE = (papers.c.drawer == bindparam("d"), papers.c.key == bindparam("k"))
PAPER = select(papers.c.sealed).where(*_HERE)
REPLACE = update(papers).where(*_HERE).values(grouped=bindparam("grouped"), sealed=bindparam("sealed"))
NEW = insert(papers).values(
    drawer=bindparam("d"), key=bindparam("k"), grouped=bindparam("grouped"), sealed=bindparam("sealed")
)
REMOVE = delete(papers).where(*_HERE)
PAGE = (
    select(papers.c.key, papers.c.sealed)
    .where(papers.c.drawer == bindparam("d"), papers.c.key > bindparam("after"))
    .order_by(papers.c.key)
    .limit(bindparam("most"))
)
PAGE_UNDER = PAGE.where(papers.c.grouped == bindparam("group"))

MARKS = select(marks, deliveries.c.delivery).join(deliveries, deliveries.c.tag == marks.c.tag)


def _mark_values(row: MarkRow) -> tuple[object, ...]:
    return row.handle, row.n, row.tag, row.request, int(row.state), row.sealed


def _as_mark(row: "Row[*tuple[Any, ...]]") -> MarkRow:
    handle, n, tag, request, state, sealed, delivery = row
    return MarkRow(Handle(handle), n, Tag(tag), Digest(request), MarkState(state), sealed, delivery)


def _mark(row: "Row[*tuple[Any, ...]] | None") -> MarkRow | None:
    return None if row is None else _as_mark(row)


def _log_row(row: "Row[*tuple[Any, ...]]") -> LogRow:
    number, at, digest, sealed = row
    return LogRow(number, BlockTime(at), digest, sealed)
