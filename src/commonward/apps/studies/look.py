"""The page that a site's people read before they enrol: what their own rows look like to this study.

It is made of this site's rows alone and shown to this site alone. What it warns of are the things that have spoiled
models before: a label or class that is much rarer or commoner here than where the study was written, columns that are
always the same or never there, zeros that stand for "not measured", and of photographs what `look_pictures` says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import median
from typing import Any, Final

from commonward.apps.studies.look_pictures import Pictures, cameras, pictured
from commonward.ledger.encoding import Digest, digest
from commonward.records.table import Cell, Table, Type

__all__ = ["look", "page_digest", "wilson"]

_LABEL: Final = "commonward study look v1"
_SHIFT: Final = 0.15
"""Label shares that are this far apart are told of, if chance does not explain it."""

_MANY_MISSING: Final = 0.5
_FEW_ROWS: Final = 20
_MOST_CLASSES: Final = 30
"""A text column of more values than these is no class."""

_ISOLATED: Final = 0.25
"""A zero is odd where the smallest other value is more than this part of the usual one, and values are many."""


def wilson(hits: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share (95 %)."""
    if of == 0:
        return 0.0, 1.0
    share, square = hits / of, z * z
    middle, half = share + square / (2 * of), z * sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, (middle - half) / (1 + square / of)), min(1.0, (middle + half) / (1 + square / of))


def look(
    table: Table,
    consents: int,
    wanted: Sequence[str],
    label: str,
    expected: int | None,
    classes: Mapping[str, int] | None = None,
    pictures: Pictures | None = None,
) -> dict[str, Any]:
    """The page as JSON.

    Args:
        table: the cohort's rows here.
        consents: open consents to this study here.
        wanted: columns that the learner reads.
        label: the column to predict; "" where there is none.
        expected: share of labels above 0 at the proposer, of a thousand; None where it does not say.
        classes: of a label that is a class: each one's share at the proposer, of a thousand.
        pictures: where the table has photographs, what was seen of them.
    """
    columns = [_column(each.name, each.type, table.cells(each.name)) for each in table.columns]
    warnings = [warning for each in columns for warning in each["warnings"]]
    if not len(table):
        warnings.append("no rows: nobody's consent to this study is open here, or the views find nothing of theirs")
    elif len(table) < _FEW_ROWS:
        warnings.append(f"only {len(table)} rows: what is learnt here will be mostly chance")
    lacking = sorted(set(wanted) - set(table.names))
    warnings += [f"{each}: the learner reads it, and the study's views do not give it" for each in lacking]
    types = {each.name: each.type for each in table.columns}
    is_class = types.get(label) is Type.TEXT
    found: dict[str, Any] = {
        "rows": len(table),
        "consents": consents,
        "columns": columns,
        "label": _shift(table, label, expected, warnings) if label in types and not is_class else None,
        "classes": _classes(table, label, classes or {}, warnings) if is_class else None,
        "cameras": cameras(table, label if is_class else "", warnings),
        "pictures": None if pictures is None else pictured(pictures, warnings),
        "warnings": warnings,
    }
    return {**found, "digest": page_digest(found).hex()}


def page_digest(page: dict[str, Any]) -> Digest:
    """What an officer signs to have seen."""
    held = {key: value for key, value in page.items() if key != "digest"}
    return digest(_LABEL, json.dumps(held, sort_keys=True, separators=(",", ":")).encode())


def _column(name: str, kind: Type, cells: Sequence[Cell]) -> dict[str, Any]:
    present = [each for each in cells if each is not None]
    distinct = len(set(present))
    warnings = []
    missing = len(cells) - len(present)
    if cells and not present:
        warnings.append(f"{name}: never there")
    elif cells and missing / len(cells) >= _MANY_MISSING:
        warnings.append(f"{name}: missing in {missing} of {len(cells)} rows")
    elif distinct == 1 and len(cells) > 1 and name != "device":  # one camera is usual; of several, `cameras` tells
        warnings.append(f"{name}: always the same")
    said: dict[str, Any] = {
        "name": name, "type": kind.value, "missing": missing, "distinct": distinct, "warnings": warnings
    }  # fmt: skip
    if kind in (Type.INTEGER, Type.DECIMAL, Type.BOOLEAN) and present:
        numbers = [float(each) for each in present if isinstance(each, bool | int | float)]
        zeros = sum(each == 0 for each in numbers)
        said |= {"least": min(numbers), "median": median(numbers), "most": max(numbers), "zeros": zeros}
        others = [each for each in numbers if each != 0]
        if zeros and len(set(others)) >= 10 and min(others) > 0 and min(others) > _ISOLATED * median(others):
            warnings.append(f"{name}: {zeros} zeros, far below every other value: do they stand for not measured?")
    return said


def _shift(table: Table, label: str, expected: int | None, warnings: list[str]) -> dict[str, Any]:
    cells = [float(each) for each in table.cells(label) if isinstance(each, bool | int | float)]
    above = sum(each > 0 for each in cells)
    low, high = wilson(above, len(cells))
    share = above / len(cells) if cells else None
    if cells and above in (0, len(cells)):
        warnings.append(f"{label}: every row here has the same label, so nothing can be judged by these rows alone")
    if share is not None and expected is not None:
        far = abs(share - expected / 1000) > _SHIFT and not low <= expected / 1000 <= high
        if far:
            warnings.append(f"{label}: above 0 in {share:.0%} of rows here, {expected / 1000:.0%} at the proposer")
    return {"name": label, "above_zero": above, "of": len(cells), "share": share, "low": low, "high": high,
            "proposer": None if expected is None else expected / 1000}  # fmt: skip


def _classes(table: Table, label: str, expected: Mapping[str, int], warnings: list[str]) -> dict[str, Any] | None:
    """How the classes are shared out here, beside the proposer's."""
    cells = [each for each in table.cells(label) if isinstance(each, str)]
    names = sorted({*cells, *expected})
    if len(names) > _MOST_CLASSES:
        warnings.append(f"{label}: {len(names)} different values; it does not look like a class")
        return None
    if cells and len(set(cells)) == 1:
        warnings.append(f"{label}: every row here is {cells[0]}, so nothing can be judged by these rows alone")
    shares = []
    for name in names:
        count = cells.count(name)
        low, high = wilson(count, len(cells))
        there = expected[name] / 1000 if name in expected else None
        share = count / len(cells) if cells else None
        if expected and there is None:
            warnings.append(f"{label}: {count} rows are {name}, a class that the proposer does not have")
        elif cells and there and not count:
            warnings.append(f"{label}: no row is {name} here; {there:.0%} at the proposer")
        elif share is not None and there is not None and abs(share - there) > _SHIFT and not low <= there <= high:
            warnings.append(f"{label}: {name} is {share:.0%} of rows here, {there:.0%} at the proposer")
        shares.append({"class": name, "count": count, "share": share, "low": low, "high": high, "proposer": there})
    return {"name": label, "of": len(cells), "shares": shares}
