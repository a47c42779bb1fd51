"""Reading a vault's records: for the vault itself, and by a connection of its own for a thread beside the loop's."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Row, Select, exists, select
from sqlalchemy.engine import Connection

from commonward.workflows.ports import RecordRow

from .tables import contents, records

__all__ = ["CHUNK", "WHOLE", "Reader", "as_record", "chunks", "current_records"]

CHUNK = 500
"""Values in one `IN (...)`: well under SQLite's limit of 32,766, and few distinct statements to compile."""

WHOLE = select(records, contents.c.sealed, contents.c.wrapped).join(contents, contents.c.number == records.c.number)

T = TypeVar("T")
Query = Select[*tuple[Any, ...]]
Ask = Callable[[Query], Sequence[Row[*tuple[Any, ...]]]]


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


def as_record(row: Row[*tuple[Any, ...]]) -> tuple[int, RecordRow]:
    """Of a row of `WHOLE`."""
    return row[0], RecordRow(*row[1:])


def current_records(ask: Ask, patients: Sequence[bytes]) -> list[tuple[int, RecordRow]]:
    """As `workflows.ports.RecordReader` says. `ask` gives all rows of a query."""
    c = records.c
    other = records.alias()  # a newer version, perhaps of another patient
    newer = exists().where(other.c.match == c.match, other.c.version > c.version)
    newest: dict[bytes, tuple[int, int]] = {}  # match -> (version, number)
    for chunk in chunks(patients):
        query = select(c.match, c.version, c.number).where(c.patient.in_(chunk), c.version >= 1, ~newer)
        for match, version, number in ask(query.order_by(c.number)):
            if match not in newest or version > newest[match][0]:
                newest[match] = (version, number)
    numbers = sorted(number for _, number in newest.values())
    found: list[tuple[int, RecordRow]] = []
    for some in chunks(numbers):
        found += [as_record(row) for row in ask(WHOLE.where(c.number.in_(some)).order_by(c.number))]
    return found


class Reader:
    """Implements `workflows.ports.RecordReader` over one connection. For one thread at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def current_records(self, patients: Sequence[bytes]) -> Sequence[tuple[int, RecordRow]]:
        return current_records(lambda query: self._connection.execute(query).all(), patients)
