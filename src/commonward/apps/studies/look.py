"""The page that a site's people read before they enrol: what their own rows look like to this study.

It is made of this site's rows alone and shown to this site alone. What it warns of are the things that have spoiled
models before: a label or class that is much rarer or commoner here than where the study was written, columns that are
always the same or never there, zeros that stand for "not measured", and of photographs what `look_pictures` says.

What looks odd is kept as facts (`odd`: a kind and what it is about), so that it can be told in any language
(`odd_told`); `warnings` are the same in English sentences.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import median
from typing import Any, Final

from commonward.apps.studies.look_pictures import DEVICE, Odd, Pictures, cameras, pictured
from commonward.apps.studies.words import Text, class_in, words_in
from commonward.ledger.encoding import Digest, digest
from commonward.records.table import Cell, Table, Type

__all__ = ["look", "odd_told", "page_digest", "wilson"]

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
    odd: list[Odd] = []
    columns = [_column(each.name, each.type, table.cells(each.name), odd) for each in table.columns]
    if not len(table):
        odd.append({"what": "no-rows"})
    elif len(table) < _FEW_ROWS:
        odd.append({"what": "few-rows", "rows": len(table)})
    odd += [{"what": "lacking", "name": each} for each in sorted(set(wanted) - set(table.names))]
    types = {each.name: each.type for each in table.columns}
    is_class = types.get(label) is Type.TEXT
    found: dict[str, Any] = {
        "rows": len(table),
        "consents": consents,
        "columns": columns,
        "label": _shift(table, label, expected, odd) if label in types and not is_class else None,
        "classes": _classes(table, label, classes or {}, odd) if is_class else None,
        "cameras": cameras(table, label if is_class else "", odd),
        "pictures": None if pictures is None else pictured(pictures, odd),
        "odd": odd,
    }
    english = words_in("en")
    return {**found, "digest": page_digest(found).hex(), "warnings": [odd_told(english, each) for each in odd]}


def odd_told(text: Text, odd: Odd) -> str:
    """One of `odd` as a sentence in a language. Shares are fractions; classes are called as readers call them."""
    facts: dict[str, str] = {}
    for key, value in odd.items():
        if key == "class":
            facts[key] = class_in(text, value)
        elif key == "pairs":
            facts[key] = text("odd-pairs").join(text("odd-pair", first=one, second=other) for one, other in value)
        elif isinstance(value, list):
            facts[key] = text("odd-list").join(value)
        else:
            facts[key] = f"{value:.0%}" if isinstance(value, float) else str(value)
    return text(f"odd-{odd['what']}", **facts)


def page_digest(page: dict[str, Any]) -> Digest:
    """What an officer signs to have seen: the facts, in whatever language they were read."""
    held = {key: value for key, value in page.items() if key not in ("digest", "warnings")}
    return digest(_LABEL, json.dumps(held, sort_keys=True, separators=(",", ":")).encode())


def _column(name: str, kind: Type, cells: Sequence[Cell], odd: list[Odd]) -> dict[str, Any]:
    present = [each for each in cells if each is not None]
    distinct = len(set(present))
    missing = len(cells) - len(present)
    if cells and not present:
        odd.append({"what": "never", "name": name})
    elif cells and missing / len(cells) >= _MANY_MISSING:
        odd.append({"what": "missing", "name": name, "missing": missing, "of": len(cells)})
    elif distinct == 1 and len(cells) > 1 and name != DEVICE:  # one camera is usual; of several, `cameras` tells
        odd.append({"what": "same", "name": name})
    said: dict[str, Any] = {"name": name, "type": kind.value, "missing": missing, "distinct": distinct}
    if kind in (Type.INTEGER, Type.DECIMAL, Type.BOOLEAN) and present:
        numbers = [float(each) for each in present if isinstance(each, bool | int | float)]
        zeros = sum(each == 0 for each in numbers)
        said |= {"least": min(numbers), "median": median(numbers), "most": max(numbers), "zeros": zeros}
        others = [each for each in numbers if each != 0]
        if zeros and len(set(others)) >= 10 and min(others) > 0 and min(others) > _ISOLATED * median(others):
            odd.append({"what": "zeros", "name": name, "zeros": zeros})
    return said


def _shift(table: Table, label: str, expected: int | None, odd: list[Odd]) -> dict[str, Any]:
    cells = [float(each) for each in table.cells(label) if isinstance(each, bool | int | float)]
    above = sum(each > 0 for each in cells)
    low, high = wilson(above, len(cells))
    share = above / len(cells) if cells else None
    if cells and above in (0, len(cells)):
        odd.append({"what": "one-label", "name": label})
    if share is not None and expected is not None:
        far = abs(share - expected / 1000) > _SHIFT and not low <= expected / 1000 <= high
        if far:
            odd.append({"what": "label", "name": label, "here": share, "there": expected / 1000})
    return {"name": label, "above_zero": above, "of": len(cells), "share": share, "low": low, "high": high,
            "proposer": None if expected is None else expected / 1000}  # fmt: skip


def _classes(table: Table, label: str, expected: Mapping[str, int], odd: list[Odd]) -> dict[str, Any] | None:
    """How the classes are shared out here, beside the proposer's."""
    cells = [each for each in table.cells(label) if isinstance(each, str)]
    names = sorted({*cells, *expected})
    if len(names) > _MOST_CLASSES:
        odd.append({"what": "many-classes", "name": label, "count": len(names)})
        return None
    if cells and len(set(cells)) == 1:
        odd.append({"what": "one-class", "name": label, "class": cells[0]})
    shares = []
    for name in names:
        count = cells.count(name)
        low, high = wilson(count, len(cells))
        there = expected[name] / 1000 if name in expected else None
        share = count / len(cells) if cells else None
        if expected and there is None:
            odd.append({"what": "class-new", "name": label, "class": name, "count": count})
        elif cells and there and not count:
            odd.append({"what": "class-none", "name": label, "class": name, "there": there})
        elif share is not None and there is not None and abs(share - there) > _SHIFT and not low <= there <= high:
            odd.append({"what": "class-share", "name": label, "class": name, "here": share, "there": there})
        shares.append({"class": name, "count": count, "share": share, "low": low, "high": high, "proposer": there})
    return {"name": label, "of": len(cells), "shares": shares}
