"""Logistic regression over any cohort: which columns are features and how, and what counts as the outcome.

    {"outcome": {"name": "num", "above": "0"}, "threshold": 5,
     "features": [{"name": "age", "low": "18", "high": "100", "mean": "55", "deviation": "10"},
                  {"name": "cp", "categories": [4, 1, 2, 3]}]}

A column of numbers is clamped to its declared range and standardised by a mean and a deviation that the protocol quotes
(from a statistics study, or declared). One of categories becomes a 0 or 1 for each but the first, the reference. What
is missing, and what was never declared, has the declared `fill` or makes the site refuse: rows are left out in the
cohort (`complete`), not here, because how many there are is promised before anything is learnt.

Left to others: steps (the learner), the table of a finished study (`regression_table`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeAlias

import numpy as np

from commonward.records.model import Floats
from commonward.records.statistics import THRESHOLD, Categorical, StatisticsError, is_written
from commonward.records.table import Cell, Table, Type

__all__ = ["Categories", "Measured", "Outcome", "Regression", "RegressionError", "described"]

FARTHEST: Final = 16
"""Deviations from the mean that a clamped value can be: its square stays within the 256 of an update."""

MAX_COEFFICIENTS: Final = 300


class RegressionError(ValueError):
    """A regression that cannot be made of these columns or rows: which column, and what was expected."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A feature of numbers: (clamped value - mean) / deviation. `fill`: stands for what is missing."""

    name: str
    low: Decimal
    high: Decimal
    mean: Decimal
    deviation: Decimal
    fill: Decimal | None = None

    def __post_init__(self) -> None:
        given = (self.low, self.high, self.mean, self.deviation, self.fill or Decimal(0))
        if not all(map(is_written, given)) or not self.low < self.high or self.deviation <= 0:
            raise RegressionError(f"{self.name}: expected low below high, a mean, and a deviation above 0")
        away = max(abs(self.low - self.mean), abs(self.high - self.mean)) / self.deviation
        if away > FARTHEST:
            raise RegressionError(
                f"{self.name}: expected a range within {FARTHEST} deviations of the mean, got one of {away:.1f}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def values(self, table: Table) -> Floats:
        """(rows, 1). Raises RegressionError, TableError."""
        raw = table.floats(self.name)
        gone = np.isnan(raw)
        if gone.any() and self.fill is None:
            raise _missing(self.name, int(gone.sum()))
        known = np.where(gone, float(self.fill or 0), raw)
        clamped = np.clip(known, float(self.low), float(self.high))
        return np.asarray((clamped - float(self.mean)) / float(self.deviation))[:, None]

    def to_value(self) -> dict[str, Any]:
        given = {name: f"{getattr(self, name):f}" for name in ("low", "high", "mean", "deviation")}
        return {"name": self.name, **given, **({} if self.fill is None else {"fill": f"{self.fill:f}"})}


@dataclass(frozen=True, slots=True)
class Categories:
    """A feature of categories, the first of them the reference. `fill`: one of them, for what is missing or another."""

    column: Categorical
    fill: str | int | bool | None = None

    def __post_init__(self) -> None:
        if len(self.column.categories) < 2:  # one category tells nothing apart
            raise RegressionError(f"{self.name}: expected two categories at least, the first as reference")
        if self.fill is not None and self.fill not in self.column.categories:
            raise RegressionError(f"{self.name}: expected one of its categories as fill, got {self.fill!r:.40}")

    @property
    def name(self) -> str:
        return self.column.name

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.name}={_said(each)}" for each in self.column.categories[1:])

    def values(self, table: Table) -> Floats:
        """(rows, categories - 1). Raises RegressionError, TableError."""
        cells, known = self.column.cells(table), len(self.column.categories)
        gone = cells >= known
        if gone.any():
            if self.fill is None:
                raise _missing(self.name, int(gone.sum()))
            cells = np.where(gone, self.column.categories.index(self.fill), cells)
        return np.asarray(cells[:, None] == np.arange(1, known)[None, :], np.float64)

    def to_value(self) -> dict[str, Any]:
        return {**self.column.to_value(), **({} if self.fill is None else {"fill": self.fill})}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is predicted: 1 where a value is one of `positive`, or a number above `above`; else 0."""

    name: str
    positive: tuple[str | int | bool, ...] = ()
    above: Decimal | None = None

    def __post_init__(self) -> None:
        if bool(self.positive) == (self.above is not None):
            raise RegressionError(f"{self.name}: expected either the positive values of the outcome, or above")
        if self.positive:
            _categorical(self.name, self.positive)
        if self.above is not None and not is_written(self.above):
            raise RegressionError(f"{self.name}: expected a number as above, got {self.above!s:.40}")

    def values(self, table: Table) -> Floats:
        """(rows,). Raises RegressionError: a row without."""
        cells = table.cells(self.name)
        if missing := sum(each is None for each in cells):
            raise _missing(self.name, missing)
        return np.array([float(self._holds(each)) for each in cells])

    def _holds(self, cell: Cell) -> bool:
        if self.above is None:
            return cell in self.positive
        return isinstance(cell, bool | int | float) and cell > float(self.above)

    def to_value(self) -> dict[str, Any]:
        if self.above is not None:
            return {"name": self.name, "above": f"{self.above:f}"}
        return {"name": self.name, "positive": list(self.positive)}


Feature: TypeAlias = Measured | Categories


@dataclass(frozen=True, slots=True)
class Regression:
    """Of one study. `threshold`: a category of fewer rows over all sites is not shown in the table."""

    outcome: Outcome
    features: tuple[Feature, ...]
    threshold: int = THRESHOLD

    def __post_init__(self) -> None:
        columns = [self.outcome.name, *(each.name for each in self.features)]
        if not self.features or len(set(columns)) != len(columns):
            raise RegressionError(f"expected an outcome and features, no column twice, got {', '.join(columns)[:200]}")
        if self.width > MAX_COEFFICIENTS or not 1 <= self.threshold <= 1000:
            raise RegressionError(f"expected at most {MAX_COEFFICIENTS} coefficients and a threshold of 1 to 1000")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the coefficients, but for the intercept, which comes last."""
        return tuple(name for each in self.features for name in each.names)

    @property
    def width(self) -> int:
        """Coefficients with the intercept."""
        return len(self.names) + 1

    def design(self, table: Table) -> Floats:
        """(rows, width), the last column 1. Raises RegressionError, TableError."""
        return np.concatenate([*(each.values(table) for each in self.features), np.ones((len(table), 1))], axis=1)

    def check(self, types: Mapping[str, Type]) -> None:
        """Hold it against a cohort's columns. Raises RegressionError, which starts with the column's name."""
        for each in (self.outcome, *self.features):
            if each.name not in types:
                raise RegressionError(f"{each.name}: the cohort's views give no such column, but {', '.join(types)}")
            of_numbers = isinstance(each, Measured) or (isinstance(each, Outcome) and each.above is not None)
            kinds = {Type.INTEGER, Type.DECIMAL} if of_numbers else _suited(each)
            if types[each.name] not in kinds:
                wanted = " or ".join(sorted(kinds))
                raise RegressionError(f"{each.name}: expected a column of {wanted}, the views give {types[each.name]}")

    def to_text(self) -> str:
        """As a learner is told it: JSON, the same for the same regression."""
        value = {
            "outcome": self.outcome.to_value(),
            "features": [each.to_value() for each in self.features],
            "threshold": self.threshold,
        }
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _suited(each: Outcome | Feature) -> set[Type]:
    values = (
        each.positive if isinstance(each, Outcome) else each.column.categories if isinstance(each, Categories) else ()
    )
    kinds = {str: {Type.TEXT}, bool: {Type.BOOLEAN}, int: {Type.INTEGER, Type.DECIMAL}}
    return kinds[type(values[0])]


def _missing(name: str, rows: int) -> RegressionError:
    return RegressionError(
        f"{name}: expected a declared value in every row, got none in {rows}: leave such rows out in the cohort "
        "(`complete`, `where`), or declare a fill"
    )


def _said(category: str | int | bool) -> str:
    return str(category).lower() if isinstance(category, bool) else str(category)


def _categorical(name: str, values: tuple[Any, ...]) -> Categorical:
    try:
        return Categorical(name, values)
    except StatisticsError as cause:
        raise RegressionError(str(cause)) from cause


def described(text: object) -> Regression:
    """Read what `to_text` writes. Raises RegressionError."""
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError) as cause:
        raise RegressionError(f"expected a regression in JSON: {cause}") from cause
    match value:
        case {"outcome": dict(outcome), "features": list(features), "threshold": int(threshold), **rest} if not rest:
            return Regression(_outcome(outcome), tuple(_feature(each) for each in features), threshold)
    raise RegressionError("expected a regression: outcome, features and threshold")


def _outcome(value: dict[str, Any]) -> Outcome:
    match value:
        case {"name": str(name), "above": str(above)} if len(value) == 2:
            return Outcome(name, above=_decimal(name, above))
        case {"name": str(name), "positive": list(positive)} if len(value) == 2:
            return Outcome(name, tuple(positive))
    raise RegressionError("expected an outcome with a name, and positive or above")


def _feature(value: object) -> Feature:
    match value:
        case {"name": str(name), "categories": list(categories), **rest} if not set(rest) - {"fill"}:
            fill = rest.get("fill")
            if fill is not None and not isinstance(fill, str | int):
                raise RegressionError(f"{name}: expected one of its categories as fill, got {fill!r:.40}")
            return Categories(_categorical(name, tuple(categories)), fill)
        case {"name": str(name), "low": low, "high": high, "mean": mean, "deviation": deviation, **rest}:
            low, high, mean, deviation = (_decimal(name, each) for each in (low, high, mean, deviation))
            instead = _decimal(name, rest["fill"]) if "fill" in rest else None
            return Measured(name, low, high, mean, deviation, instead)
    raise RegressionError("expected features with a name and categories, or low, high, mean and deviation")


def _decimal(name: str, text: object) -> Decimal:
    try:
        return Decimal(str(text))
    except InvalidOperation as cause:
        raise RegressionError(f"{name}: expected decimals, got {text!r:.40}") from cause
