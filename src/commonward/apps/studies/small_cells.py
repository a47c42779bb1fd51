"""What a page for others may show of how a model did, where a figure would count a few patients.

A count from 1 up to below the threshold is small, as in the tables of a study that counts (`records.disclosure`). A
confusion matrix with a small cell is not shown, and of what gives its cells away only so much that every small cell
could as well be the threshold or more. So the most is shown of:

    0  everything: no cell is small
    1  rows of each class, recall and precision    each class's hits, misses and false alarms are not small; how many
                                                   a small cell could be at most is a flow through the others
    2  rows of each class and recall               hits and misses are not small
    3  rows of each class, and how many were right of all
    4  how many were right of all
    5  nothing

What two of these say together with a calibration plot, which groups the same patients by another measure, is not looked
at: plots are shown with level 0 alone, their groups joined until none counts a few. AUROC, Brier score and calibration
error are one number over all rows, and are shown.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from commonward.apps.studies.look import wilson
from commonward.records.disclosure import is_small
from commonward.records.statistics import THRESHOLD

__all__ = ["alone", "most_of", "shown", "shown_curve"]

Grid = list[list[int]]
_ALWAYS: Final = ("rows", "accuracy", "accuracy_interval", "auroc", "auroc_interval", "brier", "ece")
_NOTHING: Final = 5
_TRUTHS: Final = 3
_RECALLS: Final = 2
_PRECISIONS: Final = 1


def shown(found: dict[str, Any], threshold: int = THRESHOLD) -> dict[str, Any]:
    """How a model did (`metrics.judged`) for others. `withheld`: whether something was left out or joined. Lists by
    class keep their length, with None for what is not told; empty where nothing may be told."""
    if not found:
        return {}
    grid, rows = found["confusion"], found["rows"]
    level = _level(grid, threshold)
    if level == _NOTHING:
        return {}
    classes, truth = len(grid), found["truth"]
    nobody = [None] * classes
    kept: dict[str, Any] = {name: found[name] for name in _ALWAYS if name in found}
    kept["truth"] = truth if level <= _TRUTHS else nobody
    for name, most in (("recall", _RECALLS), ("precision", _PRECISIONS)):
        for each in (name, f"{name}_interval"):
            kept[each] = found[each] if level <= most else nobody
    for name in ("balanced", "balanced_interval"):
        if name in found and level <= _RECALLS:
            kept[name] = found[name]
    if level <= _TRUTHS or not _few(threshold, max(truth), rows - max(truth)):
        kept["majority"] = found["majority"]
    if level <= _TRUTHS and "brier_usual" in found:
        kept["brier_usual"] = found["brier_usual"]
    if "classes" in found:
        kept["classes"] = {
            name: _one_class(each, rows, level, threshold) for name, each in found["classes"].items()
        }  # fmt: skip
    if level == 0:
        kept["confusion"] = grid
        for name in ("calibration", "confidence"):
            if name in found:
                kept[name] = _joined(found[name], threshold)
    if "refused_quality" in found and not is_small(found["refused_quality"], threshold):
        kept["refused_quality"] = found["refused_quality"]
    kept |= _silence(found, level, threshold)
    return {**kept, "withheld": any(kept.get(name) != value for name, value in found.items())}


def alone(found: dict[str, Any], threshold: int = THRESHOLD) -> dict[str, Any]:
    """Of one site, or without one: how often it is right and AUROC, or nothing."""
    if not found or _level(found["confusion"], threshold) == _NOTHING:
        return {}
    return {name: found[name] for name in ("rows", *_ALWAYS[1:5]) if name in found}


def shown_curve(each: dict[str, Any], rows: int, threshold: int = THRESHOLD) -> dict[str, Any]:
    """A round's figures over `rows`. Balanced accuracy is left out: that round's recalls may count a few."""
    kept = {name: value for name, value in each.items() if name != "balanced"}
    right = round((kept.get("accuracy") or 0.0) * rows)
    if _few(threshold, right, rows - right):
        kept.pop("accuracy", None)
    return kept


def _few(threshold: int, *counts: int) -> bool:
    return any(is_small(each, threshold) for each in counts)


def _level(grid: Grid, threshold: int) -> int:
    places = range(len(grid))
    rows, right = sum(map(sum, grid)), sum(grid[at][at] for at in places)
    if rows < threshold or _few(threshold, right, rows - right):
        return _NOTHING
    if not _few(threshold, *(cell for line in grid for cell in line)):
        return 0
    truth, hits = [sum(line) for line in grid], [grid[at][at] for at in places]
    if _few(threshold, *truth):
        return _TRUTHS + 1
    if _few(threshold, *hits, *(of - hit for of, hit in zip(truth, hits, strict=True))):
        return _TRUTHS
    alarms = [sum(line[at] for line in grid) - hits[at] for at in places]
    if _few(threshold, *alarms):
        return _RECALLS
    small = [(i, j) for i in places for j in places if i != j and is_small(grid[i][j], threshold)]
    return _PRECISIONS if all(most_of(grid, i, j, threshold) >= threshold for i, j in small) else _RECALLS


def most_of(grid: Grid, row: int, column: int, enough: int) -> int:
    """The most that one cell beside the diagonal could be, up to `enough`, for who knows the diagonal and all sums of
    rows and columns: what it is, and what can flow from its column back to its row by way of the other cells."""
    places = range(len(grid))
    room = {(i, j): grid[i][j] for i in places for j in places if i != j}  # how much less a cell could be
    found = room.pop((row, column))
    while found < enough:
        came: dict[tuple[str, int], tuple[str, int]] = {("column", column): ("", -1)}
        queue = deque([("column", column)])
        while queue and ("row", row) not in came:
            kind, at = queue.popleft()
            if kind == "column":  # less of (other, at)
                ways = [("row", other) for other in places if room.get((other, at), 0) > 0]
            else:  # more of (at, other)
                ways = [("column", other) for other in places if (at, other) in room]
            for way in ways:
                if way not in came:
                    came[way] = kind, at
                    queue.append(way)
        if ("row", row) not in came:
            return found
        step = ("row", row)
        while step != ("column", column):
            before = came[step]
            if step[0] == "row":
                room[step[1], before[1]] -= 1
            else:
                room[before[1], step[1]] += 1
            step = before
        found += 1
    return found


def _one_class(found: dict[str, Any], rows: int, level: int, threshold: int) -> dict[str, Any]:
    """One class against the rest. Of a few rows an AUROC tells of each."""
    few = _few(threshold, found["rows"], rows - found["rows"])
    kept = {"auroc": None, "auroc_interval": None} if few else {
        "auroc": found["auroc"], "auroc_interval": found["auroc_interval"]
    }  # fmt: skip
    kept["rows"] = found["rows"] if level <= _TRUTHS else None
    kept["ece"] = None if few else found["ece"]
    return {**kept, "calibration": _joined(found["calibration"], threshold) if level == 0 else []}


def _silence(found: dict[str, Any], level: int, threshold: int) -> dict[str, Any]:
    """How often it did not say, and how well it did where it said: right and wrong, said and unsaid, none a few."""
    if found.get("abstained") is None:
        return {}
    silent, rows = found["abstained_rows"], found["rows"]
    if _few(threshold, silent, rows - silent):
        return {}
    kept: dict[str, Any] = {name: found[name] for name in ("abstained", "abstained_rows", "abstained_interval")}
    grid, whole = found.get("kept_confusion"), found["confusion"]
    if not grid:
        return kept
    said, right = found["kept_rows"], sum(grid[at][at] for at in range(len(grid)))
    of = sum(whole[at][at] for at in range(len(whole)))
    if not _few(threshold, right, said - right, of - right, rows - of - (said - right)):
        kept |= {name: found[name] for name in ("kept_rows", "kept_accuracy", "kept_interval")}
    rest = [a - b for line, less in zip(whole, grid, strict=True) for a, b in zip(line, less, strict=True)]
    if level == 0 and not _few(threshold, *rest, *(cell for line in grid for cell in line)):
        kept["kept_confusion"] = grid
    return kept


def _joined(groups: list[dict[str, float]], threshold: int) -> list[dict[str, float]]:
    """Neighbouring groups of a calibration plot joined until none has a few that were so, or were not; what is left at
    the end joins the last."""
    made: list[list[dict[str, float]]] = []
    open_: list[dict[str, float]] = []
    for each in groups:
        open_.append(each)
        if not _few(threshold, *_so(open_)):
            made.append(open_)
            open_ = []
    while open_ and made:
        open_ = made.pop() + open_
        if not _few(threshold, *_so(open_)):
            made.append(open_)
            open_ = []
    return [] if open_ else [_as_one(each) for each in made]


def _so(groups: list[dict[str, float]]) -> tuple[int, int]:
    hits = sum(round(each["was"] * each["rows"]) for each in groups)
    return hits, sum(int(each["rows"]) for each in groups) - hits


def _as_one(groups: list[dict[str, float]]) -> dict[str, float]:
    if len(groups) == 1:
        return groups[0]
    hits, rest = _so(groups)
    rows = hits + rest
    low, high = wilson(hits, rows)
    said = sum(each["said"] * each["rows"] for each in groups) / rows
    return {"said": said, "was": hits / rows, "rows": rows, "low": low, "high": high}
