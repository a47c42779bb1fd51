"""A cohort as a table: typed columns, one row for each patient (or image, or reading), and None where nothing is known.

It is what a learner is given: what a view made of a hospital's records, without their names. It never leaves the
hospital; its bytes cross only the pipe to the learner's own process, in a form that holds numbers and text and nothing
that runs.

Left to others: how rows come from records (the view), which of them may be used (consents and the manifest), and what
is learnt of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

import numpy as np

from commonward.ledger.encoding import Value, decode, encode
from commonward.records.model import Floats

Cell: TypeAlias = bool | int | float | str | bytes | None

TABLE_LABEL: Final = "commonward table v1"
MAX_ROWS: Final = 1 << 24


class TableError(ValueError):
    """Rows that do not fit their columns, or bytes that are no table: where, what was expected, what was got."""


class Type(StrEnum):
    """What a column holds. The names are those in the bytes."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    """Of 64 bits."""
    DECIMAL = "decimal"
    """binary64, finite."""
    TEXT = "text"
    """Also dates and times, as FHIR writes them: their precision is part of what they say."""
    BYTES = "bytes"


_PYTHON: Final[dict[Type, type]] = {
    Type.BOOLEAN: bool,
    Type.INTEGER: int,
    Type.DECIMAL: float,
    Type.TEXT: str,
    Type.BYTES: bytes,
}
_NUMPY: Final = {Type.BOOLEAN: "u1", Type.INTEGER: "<i8", Type.DECIMAL: "<f8"}


@dataclass(frozen=True, slots=True)
class Column:
    """A name, unique in its table, and what it holds."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under typed columns.

    Attributes:
        columns: in the order of the view.
        rows: each as long as the columns; every cell of its column's type exactly (an int is no float), or None.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        names = [each.name for each in self.columns]
        if len(set(names)) != len(names) or not names:
            raise TableError(f"expected columns with a name each, none twice, got {names}")
        if len(self.rows) > MAX_ROWS:
            raise TableError(f"expected at most {MAX_ROWS} rows, got {len(self.rows)}")
        wanted = [_PYTHON[each.type] for each in self.columns]
        for at, row in enumerate(self.rows):
            if len(row) != len(wanted):
                raise TableError(f"row {at}: expected {len(wanted)} cells, got {len(row)}")
            for column, kind, cell in zip(self.columns, wanted, row, strict=True):
                if cell is not None and type(cell) is not kind:
                    raise TableError(f"row {at}, {column.name}: expected {column.type.value}, got {cell!r:.40}")
                if type(cell) is float and not np.isfinite(cell):
                    raise TableError(f"row {at}, {column.name}: expected a finite number or nothing, got {cell}")
                if type(cell) is int and not -(1 << 63) <= cell < 1 << 63:
                    raise TableError(f"row {at}, {column.name}: expected an integer of 64 bits, got {cell}")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names in order."""
        return tuple(each.name for each in self.columns)

    def cells(self, name: str) -> tuple[Cell, ...]:
        """One column. Raises TableError when there is none of that name."""
        at = self._index(name)
        return tuple(row[at] for row in self.rows)

    def floats(self, name: str) -> Floats:
        """A column of numbers or booleans as float64, NaN for None. Raises TableError for text and bytes."""
        at = self._index(name)
        if self.columns[at].type not in _NUMPY:
            raise TableError(f"{name}: expected numbers, got a column of {self.columns[at].type.value}")
        return np.array([np.nan if (cell := row[at]) is None else float(cell) for row in self.rows], dtype=np.float64)

    def take(self, rows: Iterable[int]) -> "Table":
        """These rows, in this order."""
        return Table(self.columns, tuple(self.rows[each] for each in rows))

    def to_bytes(self) -> bytes:
        """encode([label, rows, [[name, type, which are there (a byte each), cells], ...]]), column by column."""
        columns = [[each.name, each.type.value, *_packed(each, self.cells(each.name))] for each in self.columns]
        return encode([TABLE_LABEL, len(self.rows), columns])

    @classmethod
    def parse(cls, data: bytes) -> "Table":
        """Raises TableError."""
        try:
            value = decode(data)
        except ValueError as cause:
            raise TableError(f"expected a table in our encoding: {cause}") from cause
        match value:
            case [str(label), int(count), list(columns)] if label == TABLE_LABEL and 0 <= count <= MAX_ROWS:
                read = [_read(each, count) for each in columns]
                return cls(tuple(column for column, _ in read), tuple(zip(*(cells for _, cells in read), strict=True)))
        raise TableError(f"expected [{TABLE_LABEL!r}, rows, columns]")

    def _index(self, name: str) -> int:
        for at, column in enumerate(self.columns):
            if column.name == name:
                return at
        raise TableError(f"no column {name!r}; there are: {', '.join(self.names)}")


def _packed(column: Column, cells: Sequence[Cell]) -> tuple[bytes, Any]:
    there = bytes(cell is not None for cell in cells)
    present: list[Any] = [cell for cell in cells if cell is not None]
    if column.type in _NUMPY:
        return there, np.array(present, dtype=_NUMPY[column.type]).tobytes()
    return there, present


def _read(value: Value, count: int) -> tuple[Column, list[Cell]]:
    match value:
        case [str(name), str(kind), bytes(there), payload] if kind in set(Type):
            column = Column(name, Type(kind))
            if len(there) != count or there.strip(b"\0\1"):
                raise TableError(f"{name}: expected {count} bytes of 0 and 1, got {len(there)}")
            present = _cells(column, payload)
            if len(present) != sum(there):
                raise TableError(f"{name}: expected {sum(there)} cells, got {len(present)}")
            rest = iter(present)
            return column, [next(rest) if flag else None for flag in there]
    raise TableError("expected [name, type, which are there, cells]")


def _cells(column: Column, payload: Value) -> list[Any]:
    kind = _NUMPY.get(column.type)
    if kind is None:
        if isinstance(payload, list):
            return payload
        raise TableError(f"{column.name}: expected a list of cells, got {type(payload).__name__}")
    if not isinstance(payload, bytes) or len(payload) % np.dtype(kind).itemsize:
        raise TableError(f"{column.name}: expected whole numbers of {np.dtype(kind).itemsize} bytes")
    if column.type is Type.BOOLEAN and payload.strip(b"\0\1"):
        raise TableError(f"{column.name}: expected 0 and 1, got another byte")
    array = np.frombuffer(payload, kind)
    return [bool(each) for each in array] if column.type is Type.BOOLEAN else list(array.tolist())
