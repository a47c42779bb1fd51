"""Federated standardisation: mean and deviation of each column over all sites, from sums that tell no site's own.

Each site sends, as a `sum`, for each column how many values it has, their sum, and the sum of their squares, exactly.
Squares do not fit an int64, so a sum travels as 16-bit limbs, one int64 each, which add up without carrying and are
joined afterwards in Python's unbounded integers. Values are clamped to the range that the study declares and counted
in Q24, so that one site's typing error cannot move the others' mean, nor one row show.

Missing values (NaN) are not counted. A column with fewer values than the study's least is refused: a mean of few tells
about each. All results are integers, the same on every machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Final

import numpy as np

from commonward.records.exact import divide_one, sum_of_squares
from commonward.records.model import ONE, DType, Floats, Integers, Model, Tensor

COUNT: Final = "count"
SUM: Final = "sum"
SQUARES: Final = "squares"
SUM_LIMBS: Final = 4
SQUARE_LIMBS: Final = 6
_LIMB_BITS: Final = 16
RANGE_LIMIT: Final = 1 << 8
"""Ranges reach from -256 to 256: give a column its unit so that it fits. In Q24 a value is then at most 2^32."""


class StandardiseError(ValueError):
    """Columns that cannot be summed, or sums that no columns have."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a study.

    Attributes:
        name: as the cohort's view calls it.
        low, high: the range to which values are clamped, in Q24; at most 256 from zero.
        divisor: a whole number by which values are divided first (1 to 10^9): cholesterol in mg/dl by 10, say.
    """

    name: str
    low: int
    high: int
    divisor: int = 1

    def __post_init__(self) -> None:
        limit = RANGE_LIMIT * ONE
        if not -limit <= self.low < self.high <= limit or not 1 <= self.divisor <= 10**9:
            got = f"{self.low} to {self.high}, divided by {self.divisor}"
            raise StandardiseError(f"{self.name}: expected a range within 256 of zero in Q24 and a divisor, got {got}")


@dataclass(frozen=True, slots=True)
class Scale:
    """Of one column over all sites: how many values, and in Q24 their mean and deviation (of the population)."""

    count: int
    mean: int
    deviation: int


def sum_shapes(columns: Sequence[Column]) -> dict[str, tuple[int, ...]]:
    """What a study that standardises declares as its sums (`Parameters.sums`)."""
    width = len(columns)
    return {COUNT: (width,), SUM: (width, SUM_LIMBS), SQUARES: (width, SQUARE_LIMBS)}


def fixed_point(columns: Sequence[Column], rows: Floats) -> tuple[Integers, np.typing.NDArray[np.bool_]]:
    """Clamped values in Q24 and which of them are there, from (rows, columns) with NaN for what is missing.

    Raises:
        StandardiseError: another shape, or an infinity.
    """
    if rows.ndim != 2 or rows.shape[1] != len(columns) or rows.dtype != np.float64:
        raise StandardiseError(f"expected float64 rows of {len(columns)} columns, got {rows.dtype} {rows.shape}")
    if np.isinf(rows).any():
        raise StandardiseError("expected numbers or NaN for what is missing, got an infinity")
    there = ~np.isnan(rows)
    scaled = np.divide(np.where(there, rows, 0.0), np.array([float(each.divisor) for each in columns]))
    bounded = np.clip(scaled, [each.low / ONE for each in columns], [each.high / ONE for each in columns])
    values = np.rint(np.multiply(bounded, float(ONE))).astype(np.int64)
    return np.where(there, values, 0), there


def site_sums(columns: Sequence[Column], rows: Floats) -> dict[str, Integers]:
    """One site's count, sum and squares: what it sends under `sum`. Rows as in `fixed_point`."""
    values, there = fixed_point(columns, rows)
    counts = there.sum(axis=0, dtype=np.int64)
    sums = [_limbs(int(values[:, at].sum(dtype=np.int64)), SUM_LIMBS) for at in range(len(columns))]
    squares = [_limbs(sum_of_squares(values[:, at]), SQUARE_LIMBS) for at in range(len(columns))]
    return {COUNT: counts, SUM: np.array(sums, np.int64), SQUARES: np.array(squares, np.int64)}


def joined(columns: Sequence[Column], sums: Model, least: int) -> dict[str, Scale]:
    """Mean and deviation of each column from the sums of all sites.

    Args:
        sums: count (c,), sum (c, 4) and squares (c, 6), i64, as the rule SUM gives them.
        least: a column with fewer values is refused.

    Raises:
        StandardiseError: too few values in a column; sums that no values within the ranges have, so that some site
            sent others; a column that is the same everywhere.
    """
    scales = {}
    for at, column in enumerate(columns):
        count = int(sums[COUNT].integers[at])
        if count < max(least, 1):
            raise StandardiseError(f"{column.name}: expected at least {least} values over all sites, got fewer")
        total = joined_limbs(sums[SUM].integers[at])
        squares = joined_limbs(sums[SQUARES].integers[at])
        spread = count * squares - total * total
        if not column.low * count <= total <= column.high * count or spread < 0:
            raise StandardiseError(f"{column.name}: expected sums of values within its range, got others")
        deviation = isqrt(spread) // count
        if deviation == 0:
            raise StandardiseError(
                f"{column.name}: expected values that differ, got one value everywhere: leave it out"
            )
        scales[column.name] = Scale(count, divide_one(total, count), deviation)
    return scales


def standardised(columns: Sequence[Column], scales: Mapping[str, Scale], rows: Floats) -> Floats:
    """(value - mean) / deviation of each clamped value; what is missing becomes 0. Rows as in `fixed_point`."""
    values, there = fixed_point(columns, rows)
    mean = np.array([scales[each.name].mean for each in columns], np.int64)
    deviation = np.array([scales[each.name].deviation for each in columns], np.int64)
    away = np.subtract(values, mean).astype(np.float64)
    return np.where(there, np.divide(away, deviation.astype(np.float64)), 0.0)


def scales_model(columns: Sequence[Column], scales: Mapping[str, Scale]) -> Model:
    """The outcome as a model with the Q24 tensors `mean` and `deviation` (c,): so that it has a digest."""
    parts = {
        "mean": [scales[each.name].mean for each in columns],
        "deviation": [scales[each.name].deviation for each in columns],
    }
    return Model.of(Tensor.of(name, DType.Q24, np.array(values, np.int64)) for name, values in parts.items())


def _limbs(value: int, count: int) -> list[int]:
    """`count` limbs of 16 bits, lowest first, each with the value's sign."""
    sign, size = (-1, -value) if value < 0 else (1, value)
    if size >> (_LIMB_BITS * count):
        raise StandardiseError(f"expected a sum of at most {_LIMB_BITS * count} bits, got {size.bit_length()}")
    return [sign * (size >> (_LIMB_BITS * at) & 0xFFFF) for at in range(count)]


def joined_limbs(limbs: Integers) -> int:
    """The number that these limbs, added up over sites, stand for."""
    return sum(int(limb) << (_LIMB_BITS * at) for at, limb in enumerate(limbs))
