"""What counts say of a model: shares with intervals, discrimination, calibration. Counts add up; these do not.

The counts are those of `workflows.training.ports.Learner.evaluate`: `confusion` (truth, guess), `histogram` (truth, bin
of the probability of class 1), `squared_error` (Q24), `rows`; each may come again with `_home`, for the model with its
intercept refitted at home. What a learner does not count is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from commonward.apps.studies.look import wilson
from commonward.records.model import ONE, Tensor

__all__ = ["judged", "variants"]

GROUPS: Final = 8
"""Bars of the calibration plot: bins of the histogram are joined to so many."""

Grid = list[list[int]]


def variants(tensors: Iterable[Tensor]) -> dict[str, dict[str, Any]]:
    """ "": of the model as it is; "home": with the intercept refitted at home, where that was counted."""
    counts = {each.name: each.integers.tolist() for each in tensors}
    found = {}
    for name, suffix in (("", ""), ("home", "_home")):
        made = judged({key.removesuffix(suffix) if suffix else key: value for key, value in counts.items()
                       if key.endswith(suffix) and (suffix or not key.endswith("_home"))})  # fmt: skip
        if made:
            found[name] = made
    return found


def judged(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Empty where nothing was counted."""
    confusion: Grid | None = counts.get("confusion")
    if not confusion or not sum(map(sum, confusion)):
        return {}
    rows, right = sum(map(sum, confusion)), sum(confusion[at][at] for at in range(len(confusion)))
    usual = max(map(sum, confusion))
    found: dict[str, Any] = {
        "rows": rows,
        "confusion": confusion,
        "accuracy": right / rows,
        "accuracy_interval": wilson(right, rows),
        "majority": usual / rows,
        "recall": [confusion[at][at] / sum(row) if sum(row) else None for at, row in enumerate(confusion)],
    }
    error = counts.get("squared_error")
    if error:
        found["brier"] = error[0] / ONE / rows
    histogram: Grid | None = counts.get("histogram")
    if histogram and len(histogram) == 2:
        found["auroc"] = _auroc(histogram[0], histogram[1])
        found["calibration"] = _calibration(histogram[0], histogram[1])
    return found


def _auroc(negative: list[int], positive: list[int]) -> float | None:
    """How often a positive row has the higher probability; within a bin, half. None with one class alone."""
    pairs = sum(negative) * sum(positive)
    if not pairs:
        return None
    below, wins = 0, 0.0
    for down, up in zip(negative, positive, strict=True):
        wins += up * (below + down / 2)
        below += down
    return wins / pairs


def _calibration(negative: list[int], positive: list[int]) -> list[dict[str, float]]:
    """Of each group of bins that has rows: the middle of what was said, and the share that it was so."""
    bins = len(negative)
    step = max(1, bins // GROUPS)
    found = []
    for first in range(0, bins, step):
        down, up = negative[first : first + step], positive[first : first + step]
        count = sum(down) + sum(up)
        if count:
            said = sum((first + at + 0.5) / bins * (a + b) for at, (a, b) in enumerate(zip(down, up, strict=True)))
            low, high = wilson(sum(up), count)
            found.append({"said": said / count, "was": sum(up) / count, "rows": count, "low": low, "high": high})
    return found
