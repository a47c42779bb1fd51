"""The features of the heart disease task: 13 columns of numbers, and the label.

Numbers are clamped to what a clinician would believe, then standardised by mean and deviation that the study's protocol
states: from a sum over all sites (`query`), or declared beforehand. What is missing becomes the mean. Chest pain and
resting ECG are categories: one column for each but the first (typical angina, normal).
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from commonward.records.model import ONE, Floats, Integers
from commonward.records.standardise import Column, Scale, site_sums, standardised
from commonward.records.table import Table

_DIVISORS: Final = {"chol": 10}
_RANGES: Final = {
    "age": (18, 100),
    "sex": (0, 1),
    "trestbps": (60, 240),
    "chol": (8, 60),
    "fbs": (0, 1),
    "thalach": (40, 220),
    "exang": (0, 1),
    "oldpeak": (-4, 8),
    "cp_2": (0, 1),
    "cp_3": (0, 1),
    "cp_4": (0, 1),
    "restecg_1": (0, 1),
    "restecg_2": (0, 1),
}
COLUMNS: Final = tuple(
    Column(name, low * ONE, high * ONE, _DIVISORS.get(name, 1)) for name, (low, high) in _RANGES.items()
)
"""In the order of the coefficients; the intercept comes last. Cholesterol is counted in 10 mg/dl."""

WIDTH: Final = len(COLUMNS) + 1

DECLARED: Final = {
    "age": (55, 10),
    "sex": (0.7, 0.5),
    "trestbps": (130, 18),
    "chol": (24, 5.5),
    "fbs": (0.15, 0.4),
    "thalach": (140, 25),
    "exang": (0.4, 0.5),
    "oldpeak": (1, 1.1),
    "cp_2": (0.2, 0.4),
    "cp_3": (0.2, 0.4),
    "cp_4": (0.5, 0.5),
    "restecg_1": (0.2, 0.4),
    "restecg_2": (0.15, 0.4),
}
"""Means and deviations as a cardiologist would guess them for adults sent to angiography: taken from no data, so they
cost no privacy. Used where the protocol states none."""

_ONE_HOT: Final = {"cp": (2, 3, 4), "restecg": (1, 2)}


_read: list[tuple[Table, Floats]] = []


def raw(table: Table) -> Floats:
    """(rows, 13) as measured, NaN for what is missing. Of the last few tables asked for it is read once."""
    for known, values in _read:
        if known is table:
            return values
    values = _values(table)
    _read[:] = [*_read[-7:], (table, values)]
    return values


def _values(table: Table) -> Floats:
    columns: list[Floats] = []
    for name in _RANGES:
        whole, _, code = name.partition("_")
        if code:
            given = table.floats(whole)
            columns.append(np.where(np.isnan(given), np.nan, given == float(code)))
        else:
            columns.append(table.floats(name))
    return np.stack(columns, axis=1) if len(table) else np.zeros((0, len(columns)))


def scales(config: Mapping[str, Any]) -> dict[str, Scale]:
    """Of the protocol (`mean` and `deviation`: Q24 of each column), or the declared ones."""
    mean, deviation = config.get("mean"), config.get("deviation")
    if mean is None and deviation is None:
        return {name: Scale(0, round(m * ONE), round(d * ONE)) for name, (m, d) in DECLARED.items()}
    if not isinstance(mean, list) or not isinstance(deviation, list) or not len(mean) == len(deviation) == len(COLUMNS):
        raise ValueError(f"expected mean and deviation of {len(COLUMNS)} columns")
    if min(deviation) < 1:
        raise ValueError("expected deviations above zero")
    return {column.name: Scale(0, int(m), int(d)) for column, m, d in zip(COLUMNS, mean, deviation, strict=True)}


def features(table: Table, config: Mapping[str, Any]) -> Floats:
    """(rows, 14): standardised columns, and 1 for the intercept."""
    inner = standardised(COLUMNS, scales(config), raw(table))
    return np.concatenate([inner, np.ones((len(inner), 1))], axis=1)


def labels(table: Table) -> Floats:
    """1.0 where the angiogram found a narrowing (`num` above 0). Raises ValueError for a row without."""
    found = table.floats("num")
    if np.isnan(found).any():
        raise ValueError("expected num in every row")
    return (found > 0).astype(np.float64)


def sums(table: Table) -> dict[str, Integers]:
    """What a study that standardises adds up."""
    return site_sums(COLUMNS, raw(table))
