"""What counts say of a model: shares with intervals, discrimination, calibration. Counts add up; these do not.

The counts are those of `workflows.training.ports.Learner.evaluate`; what a learner does not count is not there:

    rows (1)                      rows judged
    confusion (k, k)              [truth, guess]
    histogram (2, bins)           two classes: [is 0, is 1] by bin of the probability of class 1
    histogram_<class> (2, bins)   more classes, one against the rest: [is not, is] by bin of its probability
    squared_error (1)             Q24: sum of (p - y)^2; over all classes where there are more than two
    confidence (2, bins)          [wrong, right] by bin of the greatest probability
    abstained (2)                 [kept, abstained]; confusion_kept (k, k): of the kept
    refused_quality (1)           rows that the quality gate refused; they are in nothing else

Each may come again with `_home`, for the model with its intercept refitted at home.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import exp, log, sqrt
from typing import Any, Final

from commonward.apps.studies.look import wilson
from commonward.records.model import ONE, Tensor

__all__ = ["judged", "variants"]

GROUPS: Final = 8
"""Points of a calibration plot, and the groups of the calibration error: bins of a histogram are joined to so many."""

Grid = list[list[int]]
_ONE_CLASS: Final = "histogram_"


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
    """Empty where nothing was counted. Lists by class are in the order of the confusion matrix."""
    confusion: Grid | None = counts.get("confusion")
    if not confusion or not sum(map(sum, confusion)):
        return {}
    rows, truth = sum(map(sum, confusion)), [sum(each) for each in confusion]
    guessed = [sum(each[at] for each in confusion) for at in range(len(confusion))]
    hits = [confusion[at][at] for at in range(len(confusion))]
    found: dict[str, Any] = {
        "rows": rows,
        "truth": truth,
        "confusion": confusion,
        "accuracy": sum(hits) / rows,
        "accuracy_interval": wilson(sum(hits), rows),
        "majority": max(truth) / rows,
        "recall": [_share(hit, of) for hit, of in zip(hits, truth, strict=True)],
        "recall_interval": [wilson(hit, of) if of else None for hit, of in zip(hits, truth, strict=True)],
        "precision": [_share(hit, of) for hit, of in zip(hits, guessed, strict=True)],
        "precision_interval": [wilson(hit, of) if of else None for hit, of in zip(hits, guessed, strict=True)],
    }
    found |= _balanced(hits, truth) | _discrimination(counts) | _kept(counts)
    error = counts.get("squared_error")
    if error:
        shares = [each / rows for each in truth]
        usual = 1 - sum(share * share for share in shares)
        found["brier"] = error[0] / ONE / rows
        found["brier_usual"] = usual / 2 if len(confusion) == 2 else usual
    refused = counts.get("refused_quality")
    if refused:
        found["refused_quality"] = refused[0]
    return found


def _share(part: int, of: int) -> float | None:
    return part / of if of else None


def _balanced(hits: list[int], truth: list[int]) -> dict[str, Any]:
    """Mean of the recalls, with the interval that Wilson's of each imply (Zou and Donner 2008, MOVER).

    Not there where a class has no row: no recall of it can be known.
    """
    if not all(truth):
        return {}
    shares = [hit / of for hit, of in zip(hits, truth, strict=True)]
    ends = [wilson(hit, of) for hit, of in zip(hits, truth, strict=True)]
    mean, classes = sum(shares) / len(shares), len(shares)
    below = sqrt(sum((share - low) ** 2 for share, (low, _) in zip(shares, ends, strict=True))) / classes
    above = sqrt(sum((high - share) ** 2 for share, (_, high) in zip(shares, ends, strict=True))) / classes
    return {"balanced": mean, "balanced_interval": (max(0.0, mean - below), min(1.0, mean + above))}


def _discrimination(counts: Mapping[str, Any]) -> dict[str, Any]:
    """AUROC and calibration, by class where there are more than two; the macro AUROC is over classes that have one."""
    found: dict[str, Any] = {}
    histogram: Grid | None = counts.get("histogram")
    if histogram and len(histogram) == 2:
        found["auroc"], found["auroc_interval"] = _auroc(histogram[0], histogram[1])
        found["calibration"] = _calibration(histogram[0], histogram[1])
        found["ece"] = _error(found["calibration"])
    classes = {}
    for name, grid in counts.items():
        if name.startswith(_ONE_CLASS) and len(grid) == 2:
            area, interval = _auroc(grid[0], grid[1])
            calibration = _calibration(grid[0], grid[1])
            classes[name.removeprefix(_ONE_CLASS)] = {
                "rows": sum(grid[1]), "auroc": area, "auroc_interval": interval, "calibration": calibration,
                "ece": _error(calibration),
            }  # fmt: skip
    if classes:
        found["classes"] = classes
        areas = [each["auroc"] for each in classes.values() if each["auroc"] is not None]
        found["auroc"] = sum(areas) / len(areas) if areas else None
    confidence: Grid | None = counts.get("confidence")
    if confidence and len(confidence) == 2:
        found["confidence"] = _calibration(confidence[0], confidence[1])
        found["ece"] = _error(found["confidence"])
    return found


def _kept(counts: Mapping[str, Any]) -> dict[str, Any]:
    """How often the model did not say, and how well it did where it said."""
    abstained: list[int] | None = counts.get("abstained")
    if not abstained or not sum(abstained):
        return {}
    silent, of = abstained[1], sum(abstained)
    found: dict[str, Any] = {
        "abstained": silent / of,
        "abstained_rows": silent,
        "abstained_interval": wilson(silent, of),
    }
    grid: Grid | None = counts.get("confusion_kept")
    if grid and sum(map(sum, grid)):
        rows, right = sum(map(sum, grid)), sum(grid[at][at] for at in range(len(grid)))
        found |= {"kept_rows": rows, "kept_accuracy": right / rows, "kept_interval": wilson(right, rows)}
        found["kept_confusion"] = grid
    return found


def _auroc(negative: list[int], positive: list[int]) -> tuple[float | None, tuple[float, float] | None]:
    """How often a row that is has the higher probability than one that is not; within a bin, half.

    Its interval is DeLong's (1988) on the logit scale. None with one class alone; no interval with one row of a class
    or where no pair is the wrong way round.
    """
    down, up = sum(negative), sum(positive)
    if not down or not up:
        return None, None
    below, passed, of_up, of_down = 0, 0, list[float](), list[float]()
    for less, more in zip(negative, positive, strict=True):
        of_up.append((below + less / 2) / down)
        of_down.append((up - passed - more / 2) / up)
        below, passed = below + less, passed + more
    area = sum(count * share for count, share in zip(positive, of_up, strict=True)) / up
    if min(down, up) < 2 or not 0 < area < 1:
        return area, None
    spread = _variance(positive, of_up, area) / up + _variance(negative, of_down, area) / down
    reach = 1.96 * sqrt(spread) / (area * (1 - area))
    middle = log(area / (1 - area))
    return area, (_logistic(middle - reach), _logistic(middle + reach))


def _variance(counts: list[int], values: list[float], mean: float) -> float:
    return sum(count * (value - mean) ** 2 for count, value in zip(counts, values, strict=True)) / (sum(counts) - 1)


def _logistic(value: float) -> float:
    return 1 / (1 + exp(-value)) if value > -700 else 0.0


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


def _error(groups: list[dict[str, float]]) -> float | None:
    """Expected calibration error: how far what was said is from what was so, the groups weighed by their rows."""
    whole = sum(each["rows"] for each in groups)
    return sum(each["rows"] * abs(each["said"] - each["was"]) for each in groups) / whole if whole else None
