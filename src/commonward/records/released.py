"""What a statistics study publishes: tables made of the sum over all sites, small cells suppressed, in plain values.

The same at every site, byte for byte: integers, and decimals written out of integers. So whoever is no site asks
several and holds their answers against each other.

Left to others: which cells are small (`disclosure`), who may ask, how tables look.
"""

from collections.abc import Sequence
from decimal import Context, Decimal
from fractions import Fraction
from math import isqrt
from typing import Any, Final

from commonward.records.disclosure import Group, hidden, hidden_groups, is_small, merged_with_missing, pooled
from commonward.records.model import ONE, Integers, Model
from commonward.records.standardise import joined_limbs
from commonward.records.statistics import ROWS, Categorical, Numeric, Statistics, StatisticsError, sensitivity_squared

__all__ = ["checked", "noise_deviation", "released"]

_DIGITS: Final = 6
_FEW_DIGITS: Final = 4
"""Of a mean whose number of values is not shown: its exact fraction would tell the number."""

_ROOT_BITS: Final = 20
_BINS: Final = 3
"""So many edges make bins; two are only a range."""

_QUARTERS: Final = (Fraction(1, 4), Fraction(1, 2), Fraction(3, 4))


def noise_deviation(wanted: Statistics, multiplier: Fraction) -> Fraction:
    """Standard deviation of the noise that one site adds to each count: the multiplier times how far one patient can
    move all counts, rounded up to a millionth."""
    million = 1_000_000
    return multiplier * Fraction(isqrt(sensitivity_squared(wanted) * million * million - 1) + 1, million)


def checked(wanted: Statistics, sums: Model) -> None:
    """Whether rows within the declared ranges can have these sums. Raises StatisticsError: some site sent others."""
    shapes = {each.name: each.shape for each in sums}
    if shapes != dict(wanted.shapes):
        raise StatisticsError("expected the sums that the study declares, got others")
    rows = int(sums[ROWS].integers[0])
    for each in wanted.columns:
        cells = sums[f"cells/{each.name}"].integers
        _same(each.name, int(cells.sum()), rows, cells)
        if isinstance(each, Numeric) and wanted.sums:
            there = rows - int(cells[0])
            _within(each, there, sums[f"sum/{each.name}"].integers, sums[f"squares/{each.name}"].integers)
    for one, other in wanted.tables:
        grid = sums[f"table/{one}/{other}"].integers
        for name, margin in ((one, grid.sum(axis=1)), (other, grid.sum(axis=0))):
            if margin.tolist() != sums[f"cells/{name}"].integers.tolist() or int(grid.min()) < 0:
                raise StatisticsError(
                    f"{one} by {other}: expected the margins of {name}, got others: some site's false"
                )
    for value, group in wanted.means:
        numbers, prefix = wanted.column(value), f"means/{value}/{group}"
        assert isinstance(numbers, Numeric)
        counts, of = sums[f"{prefix}/count"].integers, sums[f"cells/{group}"].integers
        if (counts > of).any() or int(counts.sum()) != rows - int(sums[f"cells/{value}"].integers[0]):
            raise StatisticsError(f"{value} by {group}: expected as many values as there are rows: some site's false")
        for at, count in enumerate(counts.tolist()):
            _within(numbers, count, sums[f"{prefix}/sum"].integers[at], sums[f"{prefix}/squares"].integers[at])


def _same(name: str, total: int, rows: int, cells: Integers) -> None:
    if total != rows or int(cells.min()) < 0:
        raise StatisticsError(f"{name}: expected cells that add up to the rows, got others: some site's are false")


def _within(column: Numeric, count: int, total: Integers, squares: Integers) -> None:
    scaled, one, two = column.scaled, joined_limbs(total), joined_limbs(squares)
    if count < 0 or not scaled.low * count <= one <= scaled.high * count or count * two < one * one:
        raise StatisticsError(f"{column.name}: expected sums of values within its range, got others: some site's false")


def released(wanted: Statistics, sums: Model, sites: int, noise: int = 0) -> dict[str, Any]:
    """The tables as JSON values.

    Args:
        sums: what the rule SUM made of all sites' `parts`.
        sites: how many sites are in it.
        noise: multiplier of each site's noise in millionths; 0: none, and small cells are suppressed instead.

    Raises:
        StatisticsError: sums that no rows have.
    """
    spread: str | None = None
    if noise:
        away = noise_deviation(wanted, Fraction(noise, 1_000_000)) ** 2 * sites
        spread = _text(Fraction(isqrt(round(away * 10**6)), 1000), _FEW_DIGITS)
    else:
        checked(wanted, sums)
    made = _Tables(wanted, sums, 1 if noise else wanted.threshold)
    few = is_small(made.rows, made.threshold)
    return {
        "threshold": wanted.threshold,
        "sites": sites,
        "rows": None if few else made.rows,
        "noise": spread,
        "columns": [] if few else [made.column(each) for each in wanted.columns],
        "tables": [] if few else [made.table(*each) for each in wanted.tables],
        "means": [] if few else [made.means(*each) for each in wanted.means],
    }


class _Tables:
    def __init__(self, wanted: Statistics, sums: Model, threshold: int) -> None:
        """`threshold`: 1 where counts have noise, so that none is small: a count below 0 stands for none."""
        self._wanted, self._sums, self.threshold = wanted, sums, threshold
        self.rows = self._counts(ROWS)[0]

    def _counts(self, name: str) -> list[int]:
        return [max(0, each) for each in self._sums[name].integers.tolist()]

    def _pools(self, name: str) -> tuple[Group, ...]:
        return pooled(self._counts(f"cells/{name}"), self.threshold)

    def _merged(self, name: str) -> tuple[tuple[Group, ...], int | None]:
        """Of a column of numbers: its bins, and which of them the missing values are counted into."""
        counts = self._counts(f"cells/{name}")
        return merged_with_missing(counts[1:], counts[0], self.threshold)

    def _grid(self, name: str, rows: Sequence[Group], columns: Sequence[Group]) -> list[list[int]]:
        counts = self._sums[name].integers.tolist()
        return [[sum(max(0, counts[i][j]) for i in row for j in column) for column in columns] for row in rows]

    def column(self, column: Numeric | Categorical) -> dict[str, Any]:
        counts = self._counts(f"cells/{column.name}")
        if isinstance(column, Categorical):
            pools = self._pools(column.name)
            shown = [{"categories": _named(column, pool), "count": sum(counts[at] for at in pool)} for pool in pools]
            return {"name": column.name, "kind": "categories", "cells": shown}
        return self._numbers(column, counts)

    def _numbers(self, column: Numeric, counts: Sequence[int]) -> dict[str, Any]:
        bins, joined = self._merged(column.name)
        cells = []
        for at, group in enumerate(bins):
            count = sum(counts[1 + each] for each in group) + (counts[0] if at == joined else 0)
            ends = {"from": _edge(column, group[0] - 1), "to": _edge(column, group[-1])}
            cells.append({**ends, "missing": at == joined, "count": count})
        present = sum(counts[1:])
        few = is_small(present, self.threshold)
        said: dict[str, Any] = {
            "name": column.name,
            "kind": "numbers",
            "range": [f"{column.edges[0]:f}", f"{column.edges[-1]:f}"],
            "cells": cells,
            "missing": counts[0] if joined is None else None,
            "present": present if joined is None else None,
            "quartiles": [] if few or len(column.edges) < _BINS or not present else _quartiles(cells),
        }
        if self._wanted.sums:
            limbs = [self._sums[f"{name}/{column.name}"].integers for name in ("sum", "squares")]
            digits = _DIGITS if joined is None else _FEW_DIGITS
            said |= _moments(column, 0 if few else present, limbs[0], limbs[1], digits)
        return said

    def table(self, one: str, other: str) -> dict[str, Any]:
        across, down = self._wanted.column(one), self._wanted.column(other)
        rows, columns = self._pools(one), self._pools(other)
        grid = self._grid(f"table/{one}/{other}", rows, columns)
        gone = hidden(grid, self.threshold)
        return {
            "rows": one,
            "columns": other,
            "row_categories": [_named(across, pool) for pool in rows],
            "column_categories": [_named(down, pool) for pool in columns],
            "counts": [
                [None if lost else count for count, lost in zip(counts, line, strict=True)]
                for counts, line in zip(grid, gone, strict=True)
            ],
        }

    def means(self, value: str, group: str) -> dict[str, Any]:
        numbers, groups = self._wanted.column(value), self._wanted.column(group)
        assert isinstance(numbers, Numeric)
        name, pools = f"means/{value}/{group}", self._pools(group)
        there, rows = self._counts(f"{name}/count"), self._counts(f"cells/{group}")
        present = [sum(there[at] for at in pool) for pool in pools]
        beside = [[count, sum(rows[at] for at in pool) - count] for count, pool in zip(present, pools, strict=True)]
        counted = self._merged(value)[1] is None  # else how many values there are is not shown, nor by group
        lost = hidden(beside, self.threshold) if counted else [[True]] * len(pools)
        gone = hidden_groups(present, self.threshold)
        said = []
        for at, pool in enumerate(pools):
            unsaid = lost[at][0] or at in gone
            limbs = [self._sums[f"{name}/{each}"].integers[list(pool)].sum(axis=0) for each in ("sum", "squares")]
            moments = _moments(
                numbers, 0 if at in gone else present[at], limbs[0], limbs[1], _FEW_DIGITS if unsaid else _DIGITS
            )
            said.append({"categories": _named(groups, pool), "present": None if unsaid else present[at], **moments})
        return {"of": value, "by": group, "groups": said}


def _moments(column: Numeric, count: int, total: Integers, squares: Integers, digits: int) -> dict[str, Any]:
    """mean, and deviation of the sample, of clamped values; None where there is nothing, or nothing may be shown."""
    if not count:
        return {"mean": None, "deviation": None}
    one, two = joined_limbs(total), joined_limbs(squares)
    unit = Fraction(column.scaled.divisor, ONE)
    deviation = None
    if count > 1:
        variance = ((count * two - one * one) << 2 * _ROOT_BITS) // (count * (count - 1))
        deviation = _text(Fraction(isqrt(variance), 1 << _ROOT_BITS) * unit, digits)
    return {"mean": _text(Fraction(one, count) * unit, digits), "deviation": deviation}


def _named(column: Numeric | Categorical, pool: Group) -> list[str | None]:
    """The categories of a pool as text; None for what is missing, "" for what was not declared."""
    assert isinstance(column, Categorical)
    names = [str(each).lower() if isinstance(each, bool) else str(each) for each in column.categories]
    return [None if at == len(names) + 1 else "" if at == len(names) else names[at] for at in pool]


def _edge(column: Numeric, at: int) -> str | None:
    """The edge on the right of a place among below (0), bins, above; None beyond the range."""
    return f"{column.edges[at]:f}" if 0 <= at < len(column.edges) else None


def _quartiles(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each quarter the bin that holds it, and a value within it as if the bin's values lay evenly: its width is
    the precision. No value where the bin has no end."""
    whole = sum(each["count"] for each in cells)
    found = []
    for quarter in _QUARTERS:
        before = 0
        for each in cells:
            if before + each["count"] >= quarter * whole and each["count"]:
                break
            before += each["count"]
        value = None
        if each["from"] is not None and each["to"] is not None:
            low, high = Fraction(each["from"]), Fraction(each["to"])
            value = _text(low + (high - low) * (quarter * whole - before) / each["count"], _FEW_DIGITS)
        found.append({"at": str(quarter), "from": each["from"], "to": each["to"], "value": value})
    return found


def _text(number: Fraction, digits: int) -> str:
    """To so many significant digits, without an exponent, halves to even."""
    rounded = Context(prec=digits).divide(Decimal(number.numerator), Decimal(number.denominator))
    return f"{rounded.normalize():f}"
