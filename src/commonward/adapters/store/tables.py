"""The vault's tables. Columns are opaque: keyed digests, numbers, states, and sealed bytes.

A schema has a number; a vault of a later number than this program knows is refused rather than guessed at.
"""

from typing import Any

from sqlalchemy import Column, Index, Integer, LargeBinary, MetaData, SmallInteger, String, Table, UniqueConstraint
from sqlalchemy.engine import Dialect

__all__ = ["SCHEMA", "batches", "contents", "deliveries", "log", "marks", "metadata", "papers", "records"]

SCHEMA = 1


class Octets(LargeBinary):
    """Bytes as they are. SQLAlchemy would wrap each value in `memoryview` and copy it back: 0.4 us a value."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> None:
        return None

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        return None


metadata = MetaData()


def _octets(name: str, **options: Any) -> "Column[bytes]":
    return Column(name, Octets, nullable=False, **options)


def _integer(name: str, **options: Any) -> "Column[int]":
    return Column(name, Integer, nullable=False, **options)


# Narrow on purpose: a batch's tree is rebuilt by reading 65,536 fingerprints, which must not drag contents along.
records = Table(
    "records",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3, ... with no gap
    _octets("id", unique=True),
    _octets("patient"),
    _octets("match"),
    _integer("version"),
    _octets("fingerprint"),
    Index("records_patient", "patient"),
    Index("records_match", "match", "version"),
)

# Erasable: destroying a row's two values leaves number and fingerprint, which the batch's tree still needs.
contents = Table(
    "contents",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    _octets("wrapped"),
    _octets("sealed"),
)

batches = Table(
    "batches",
    metadata,
    Column("tick", Integer, primary_key=True, autoincrement=False),
    _integer("first"),
    _integer("last"),  # below `first` when the tick held no record
    _octets("seed"),
    _octets("root"),
    _integer("log_index"),  # -1 until committed
    Index("batches_first", "first"),
    Index("batches_log_index", "log_index"),
)

marks = Table(
    "marks",
    metadata,
    Column("handle", Octets, primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    _octets("tag", unique=True),
    _octets("request"),
    Column("state", SmallInteger, nullable=False),
    _octets("sealed"),
    UniqueConstraint("request"),
    Index("marks_state", "state"),
)

# Apart from the mark, whose state changes three times on its way while these, hundreds of kilobytes, stay.
deliveries = Table(
    "deliveries",
    metadata,
    Column("tag", Octets, primary_key=True),
    _octets("delivery"),
)

papers = Table(
    "papers",
    metadata,
    Column("drawer", String(64), primary_key=True),
    Column("key", Octets, primary_key=True),
    _octets("grouped"),
    _octets("sealed"),
    Index("papers_grouped", "drawer", "grouped", "key"),
)

log = Table(
    "log",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    _integer("at"),
    _octets("hash"),
    _octets("sealed"),
)
