"""Federated statistics: what a study counts of a cohort's typed columns, and one site's part of it, in exact integers.

    {"threshold": 5, "sums": true,
     "columns": [{"name": "age", "edges": ["18", "40", "60", "100"]}, {"name": "cp", "categories": [1, 2, 3, 4]}],
     "tables": [["cp", "num"]], "means": [["age", "num"]]}

Every column divides the rows into cells. One of numbers has `missing`, `below` and `above` its declared range, and the
bins of its edges; one of categories has those that are declared, `other` for any that is not, and `missing`. So an
undeclared word never leaves a hospital, and a typing error moves no mean by more than the range is wide. All parts add
up over sites; they leave only as a masked sum.

Left to others: what of the sum may be shown (`disclosure`, `released`), noise (the learner).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import prod
from typing import Any, Final, TypeAlias

import numpy as np

from commonward.records.model import ONE, Floats, Integers, Shapes
from commonward.records.standardise import RANGE_LIMIT, SQUARE_LIMBS, SUM_LIMBS, Column, StandardiseError, site_sums
from commonward.records.table import Table, Type

__all__ = [
    "Categorical",
    "Numeric",
    "Statistics",
    "StatisticsError",
    "described",
    "is_written",
    "parts",
    "sensitivity_squared",
]

Category: TypeAlias = str | int | bool

ROWS: Final = "rows"
THRESHOLD: Final = 5
LEAST_THRESHOLD: Final = 3
MAX_THRESHOLD: Final = 1000
MAX_COLUMNS: Final = 200
MAX_CELLS: Final = 500
MAX_NUMBERS: Final = 1 << 20
_PLACES: Final = 6
_LARGEST: Final = Decimal(10) ** 11
_FARTHEST: Final = 30
"""Powers of ten from 1, either way, that a declared number may be."""
_KEYS: Final = {"threshold", "sums", "columns", "tables", "means"}


class StatisticsError(ValueError):
    """Statistics that cannot be made of these columns, or sums that no rows have: which, and what was expected."""


def is_written(number: Decimal) -> bool:
    """Whether a number that somebody declared can be worked with. 1e-999999999 is ten letters, and a gigabyte once it
    is written out: it is looked at before anything is made of it, a sentence about it included."""
    return number.is_finite() and abs(number.adjusted()) <= _FARTHEST


@dataclass(frozen=True, slots=True)
class Numeric:
    """A column of numbers.

    Attributes:
        edges: of its bins, ascending; the first and the last are the range to which values are clamped.
    """

    name: str
    edges: tuple[Decimal, ...]

    def __post_init__(self) -> None:
        for each in self.edges:
            if not is_written(each) or abs(each) > _LARGEST or each != round(each, _PLACES):
                raise StatisticsError(
                    f"{self.name}: expected edges of at most 10^11 and {_PLACES} places, got {each!s:.40}"[:200]
                )
        if not 2 <= len(self.edges) <= MAX_CELLS or list(self.edges) != sorted(set(self.edges)):
            raise StatisticsError(f"{self.name}: expected 2 to {MAX_CELLS} edges, ascending, got {len(self.edges)}")
        self.scaled  # raises where the range is too narrow for its distance from zero  # noqa: B018

    @property
    def scaled(self) -> Column:
        """As `standardise` adds it up: in Q24, divided by the power of ten that brings it within 256."""
        low, high = self.edges[0], self.edges[-1]
        divisor = 1
        while max(abs(low), abs(high)) > RANGE_LIMIT * divisor:
            divisor *= 10
        try:
            return Column(self.name, round(low * ONE / divisor), round(high * ONE / divisor), divisor)
        except StandardiseError as cause:
            raise StatisticsError(str(cause)) from cause

    @property
    def size(self) -> int:
        """missing, below, the bins, above."""
        return len(self.edges) + 2

    def cells(self, table: Table) -> Integers:
        """Of each row, the cell that it is in. Left edges belong to a bin; the last bin has its right one too."""
        values = table.floats(self.name)
        edges = np.array([float(each) for each in self.edges])
        bins = np.minimum(np.searchsorted(edges, values, side="right") - 1, len(edges) - 2) + 2
        found = np.where(values < edges[0], 1, np.where(values > edges[-1], len(edges) + 1, bins))
        return np.where(np.isnan(values), 0, found).astype(np.int64)

    def to_value(self) -> dict[str, Any]:
        return {"name": self.name, "edges": [f"{each:f}" for each in self.edges]}


@dataclass(frozen=True, slots=True)
class Categorical:
    """A column of a few values: text, whole numbers, or true and false."""

    name: str
    categories: tuple[Category, ...]

    def __post_init__(self) -> None:
        kinds = {type(each) for each in self.categories}
        if not 1 <= len(self.categories) <= MAX_CELLS or len(set(self.categories)) != len(self.categories):
            got = len(self.categories)
            raise StatisticsError(f"{self.name}: expected 1 to {MAX_CELLS} categories, none twice, got {got}")
        if kinds not in ({str}, {int}, {bool}):
            raise StatisticsError(f"{self.name}: expected categories of text, whole numbers, or true and false")

    @property
    def size(self) -> int:
        """The categories, other, missing."""
        return len(self.categories) + 2

    def cells(self, table: Table) -> Integers:
        """Of each row, the cell that it is in."""
        places: dict[Any, int] = {each: at for at, each in enumerate(self.categories)}
        other, missing = self.size - 2, self.size - 1
        found = [missing if each is None else places.get(each, other) for each in table.cells(self.name)]
        return np.array(found, np.int64)

    def to_value(self) -> dict[str, Any]:
        return {"name": self.name, "categories": list(self.categories)}


@dataclass(frozen=True, slots=True)
class Statistics:
    """What one study counts.

    Attributes:
        columns: each once.
        tables: pairs of categorical columns that are counted against each other.
        means: (numbers, categories): mean and deviation of the first in each category of the second.
        threshold: counts from 1 up to below this are shown to nobody but the sites.
        sums: whether means and deviations are made at all; not where noise is added, which is for counts.
    """

    columns: tuple[Numeric | Categorical, ...]
    tables: tuple[tuple[str, str], ...] = ()
    means: tuple[tuple[str, str], ...] = ()
    threshold: int = THRESHOLD
    sums: bool = True

    def __post_init__(self) -> None:
        names = [each.name for each in self.columns]
        if not 1 <= len(names) <= MAX_COLUMNS or len(set(names)) != len(names):
            raise StatisticsError(f"expected 1 to {MAX_COLUMNS} columns, none twice, got {', '.join(names)[:200]}")
        if not LEAST_THRESHOLD <= self.threshold <= MAX_THRESHOLD:
            wanted = f"{LEAST_THRESHOLD} to {MAX_THRESHOLD}"
            raise StatisticsError(f"threshold: expected a whole number from {wanted}, got {self.threshold}")
        seen = [frozenset(pair) for pair in self.tables]
        if len(set(seen)) != len(seen) or len(set(self.means)) != len(self.means):
            raise StatisticsError("expected each table and each mean by group once")
        for one, other in self.tables:
            if one == other or not all(isinstance(self.column(each), Categorical) for each in (one, other)):
                raise StatisticsError(f"tables: expected two columns with categories, got {one} and {other}")
        for value, group in self.means:
            numbers, groups = self.column(value), self.column(group)
            if not isinstance(numbers, Numeric) or not isinstance(groups, Categorical) or not self.sums:
                raise StatisticsError(
                    f"means: expected a column of numbers by one with categories, without noise, got {value} by {group}"
                )
        if sum(prod(shape) for shape in self.shapes.values()) > MAX_NUMBERS:
            raise StatisticsError(f"expected at most {MAX_NUMBERS} numbers in all, got more")

    def column(self, name: str) -> Numeric | Categorical:
        """Raises StatisticsError."""
        for each in self.columns:
            if each.name == name:
                return each
        raise StatisticsError(f"no column {name!r} is declared; there are: {', '.join(e.name for e in self.columns)}")

    @property
    def shapes(self) -> Shapes:
        """What the study's rule adds up (`Parameters.sums`)."""
        found: dict[str, tuple[int, ...]] = {ROWS: (1,)}
        for each in self.columns:
            found[f"cells/{each.name}"] = (each.size,)
            if isinstance(each, Numeric) and self.sums:
                found |= {f"sum/{each.name}": (SUM_LIMBS,), f"squares/{each.name}": (SQUARE_LIMBS,)}
        for one, other in self.tables:
            found[f"table/{one}/{other}"] = (self.column(one).size, self.column(other).size)
        for value, group in self.means:
            size, name = self.column(group).size, f"means/{value}/{group}"
            found |= {f"{name}/count": (size,), f"{name}/sum": (size, SUM_LIMBS)}
            found[f"{name}/squares"] = (size, SQUARE_LIMBS)
        return found

    def check(self, types: Mapping[str, Type]) -> None:
        """Hold it against a cohort's columns. Raises StatisticsError, which starts with the column's name."""
        for each in self.columns:
            if each.name not in types:
                raise StatisticsError(f"{each.name}: the cohort's views give no such column, but {', '.join(types)}")
            kind = types[each.name]
            if isinstance(each, Numeric):
                wanted, fits = "numbers", kind in (Type.INTEGER, Type.DECIMAL)
            else:
                wanted, suited = _KINDS[type(each.categories[0])]
                fits = kind in suited
            if not fits:
                raise StatisticsError(f"{each.name}: expected a column of {wanted} for this, the views give {kind}")

    def to_text(self) -> str:
        """As a learner is told it: JSON, the same for the same statistics."""
        value = {
            "threshold": self.threshold,
            "sums": self.sums,
            "columns": [each.to_value() for each in self.columns],
            "tables": [list(each) for each in self.tables],
            "means": [list(each) for each in self.means],
        }
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


_KINDS: Final[dict[type, tuple[str, tuple[Type, ...]]]] = {
    str: ("text", (Type.TEXT,)),
    bool: ("true and false", (Type.BOOLEAN,)),
    int: ("numbers", (Type.INTEGER, Type.DECIMAL)),
}


def described(text: object) -> Statistics:
    """Read what `to_text` writes. Raises StatisticsError."""
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError) as cause:
        raise StatisticsError(f"expected statistics in JSON: {cause}") from cause
    if not isinstance(value, dict) or set(value) != _KEYS:
        raise StatisticsError(f"expected statistics with {', '.join(sorted(_KEYS))}")
    threshold, sums = value["threshold"], value["sums"]
    if type(threshold) is not int or type(sums) is not bool or not isinstance(value["columns"], list):
        raise StatisticsError("expected a whole number as threshold, true or false as sums, and a list of columns")
    columns = tuple(_column(each) for each in value["columns"])
    return Statistics(columns, _pairs(value["tables"]), _pairs(value["means"]), threshold, sums)


def _column(value: object) -> Numeric | Categorical:
    match value:
        case {"name": str(name), "edges": list(edges)} if all(isinstance(each, str) for each in edges):
            try:
                return Numeric(name, tuple(Decimal(each) for each in edges))
            except InvalidOperation as cause:
                raise StatisticsError(f"{name}: expected edges as decimals") from cause
        case {"name": str(name), "categories": list(categories)}:
            return Categorical(name, tuple(categories))
    raise StatisticsError("expected columns with a name and edges, or a name and categories")


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    found = []
    for each in value if isinstance(value, list) else [None]:
        match each:
            case [str(one), str(other)]:
                found.append((one, other))
            case _:
                raise StatisticsError("expected pairs of columns' names")
    return tuple(found)


def parts(wanted: Statistics, table: Table) -> dict[str, Integers]:
    """One site's part of the sums: int64 in `wanted.shapes`. Raises TableError: a column is not there, or is no such.

    A row is in one cell of each column and of each table, so one patient moves each of them by one.
    """
    cells = {each.name: each.cells(table) for each in wanted.columns}
    found: dict[str, Integers] = {ROWS: np.array([len(table)], np.int64)}
    for each in wanted.columns:
        found[f"cells/{each.name}"] = _counted((each.size,), cells[each.name])
        if isinstance(each, Numeric) and wanted.sums:
            _, total, squares = _moments(each, table.floats(each.name))
            found |= {f"sum/{each.name}": total, f"squares/{each.name}": squares}
    for one, other in wanted.tables:
        size = (wanted.column(one).size, wanted.column(other).size)
        found[f"table/{one}/{other}"] = _counted(size, cells[one], cells[other])
    for value, group in wanted.means:
        numbers, groups = wanted.column(value), wanted.column(group)
        assert isinstance(numbers, Numeric)
        values, of = table.floats(value), cells[group]
        each_group = [_moments(numbers, values[of == at]) for at in range(groups.size)]
        for at, name in enumerate(("count", "sum", "squares")):
            found[f"means/{value}/{group}/{name}"] = np.stack([moments[at] for moments in each_group])
    return found


def _counted(size: tuple[int, ...], *cells: Integers) -> Integers:
    counts = np.zeros(size, np.int64)
    np.add.at(counts, cells, 1)
    return counts


def _moments(column: Numeric, values: Floats) -> tuple[Integers, Integers, Integers]:
    """Count (), sum (4,), squares (6,) of the clamped values that are there."""
    made = site_sums([column.scaled], values.reshape(-1, 1))
    return made["count"][0], made["sum"][0], made["squares"][0]


def sensitivity_squared(wanted: Statistics) -> int:
    """How far one patient (one row) can move all counts together, squared: one in each column and table, and rows."""
    if wanted.sums:
        raise StatisticsError("expected statistics of counts alone for noise; sums have no noise of theirs")
    return 1 + len(wanted.columns) + len(wanted.tables)
