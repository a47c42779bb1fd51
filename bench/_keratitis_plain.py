"""Softmax regression written straight down in numpy: what our road is compared with, and how models are judged."""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench._heart_plain import auroc
from commonward.records.model import Floats

Ints = NDArray[np.int64]
Rows = tuple[Floats, Ints]
"""The head's inputs (rows, width) and classes (rows,)."""

CLASSES: Final = 4
BINS: Final = 15


def softmax(logits: Floats) -> Floats:
    """Over the last axis."""
    found = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def unit(x: Floats) -> Floats:
    """Rows of length one."""
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def centred(sites: Sequence[Floats]) -> list[Floats]:
    """Features as unit vectors, less the mean of all sites' rows, and unit vectors again."""
    units = [unit(each) for each in sites]
    mean = np.concatenate(units).mean(axis=0)
    return [unit(each - mean) for each in units]


def fedavg(
    sites: Sequence[Rows],
    rounds: int,
    steps: int,
    rate: float,
    momentum: float,
    ridge: float,
    weights: Sequence[int],
    *,
    carry: bool = False,
) -> tuple[Floats, Floats]:
    """FedAvg with whole-batch steps and momentum within a round; floats throughout, nothing of ours.

    Args:
        weights: what each site counts for.
        carry: whether momentum goes on from round to round, as the sites' mean.

    Returns: (4, width) and (4,).
    """
    width = sites[0][0].shape[1]
    w, b = np.zeros((CLASSES, width)), np.zeros(CLASSES)
    carried, turn = np.zeros_like(w), np.zeros_like(b)
    for _ in range(rounds):
        after, shift = np.zeros_like(w), np.zeros_like(b)
        gone, turned = np.zeros_like(w), np.zeros_like(b)
        for (x, y), many in zip(sites, weights, strict=True):
            mine, bias, v, u = w.copy(), b.copy(), carried.copy(), turn.copy()
            truth = np.eye(CLASSES)[y]
            for _ in range(steps):
                error = (softmax(x @ mine.T + bias) - truth) / len(y)
                v = momentum * v + error.T @ x + ridge * mine
                u = momentum * u + error.sum(axis=0)
                mine, bias = mine - rate * v, bias - rate * u
            after += mine * many / sum(weights)
            shift += bias * many / sum(weights)
            gone += v * many / sum(weights)
            turned += u * many / sum(weights)
        w, b = after, shift
        if carry:
            carried, turn = gone, turned
    return w, b


def accuracy(chances: Floats, labels: Ints) -> float:
    """Share of patients whose likeliest class is theirs."""
    return float((chances.argmax(axis=1) == labels).mean())


def macro_auroc(chances: Floats, labels: Ints) -> float:
    """Mean over the classes of one against the rest; classes that are not there are left out."""
    found = [auroc((labels == each).astype(np.float64), chances[:, each]) for each in range(CLASSES)]
    return float(np.nanmean(found))


def calibration_error(chances: Floats, labels: Ints) -> float:
    """Expected calibration error: mean over 15 bins of equal width of |accuracy - confidence| (Guo et al. 2017)."""
    top, right = chances.max(axis=1), chances.argmax(axis=1) == labels
    bins = np.minimum((top * BINS).astype(np.int64), BINS - 1)
    gaps = [abs(float(right[bins == at].sum() - top[bins == at].sum())) for at in range(BINS)]
    return sum(gaps) / len(labels)


def brier(chances: Floats, labels: Ints) -> float:
    """Sum over classes of squared errors, mean over patients."""
    return float(((chances - np.eye(CLASSES)[labels]) ** 2).sum(axis=1).mean())


def kept_accuracy(chances: Floats, labels: Ints, share: float) -> float:
    """Accuracy on the share of patients whose likeliest class is the likeliest."""
    kept = np.argsort(-chances.max(axis=1), kind="stable")[: max(1, round(share * len(labels)))]
    return accuracy(chances[kept], labels[kept])


def interval(values: Sequence[float], test_share: float) -> tuple[float, float]:
    """Mean and half of its 95 % interval over splits of the same patients (Nadeau and Bengio 2003).

    Args:
        test_share: patients of a test over those of its training.
    """
    spread = np.asarray(values, np.float64)
    if len(spread) < 2:
        return float(spread.mean()), float("nan")
    return float(spread.mean()), 1.96 * float(spread.std(ddof=1)) * sqrt(1 / len(spread) + test_share)


def over_sites(found: Mapping[str, float]) -> float:
    """Plain mean: a site is a site."""
    return sum(found.values()) / len(found)
