"""Logistic regression written straight down in numpy: what our road is compared with, and how models are judged."""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np

from commonward.records.model import Floats

Rows = tuple[Floats, Floats]
"""Features (rows, 14: the last is 1) and labels (rows,) of 0.0 and 1.0."""


class Judged(NamedTuple):
    """Of one model on one site's test rows. `auroc` is NaN where only one class is there."""

    accuracy: float
    auroc: float
    brier: float


def chances(x: Floats, w: Floats) -> Floats:
    found: Floats = 1.0 / (1.0 + np.exp(-(x @ w)))
    return found


def newton(sites: Sequence[Rows], ridge: float, rounds: int, whole: bool = False) -> Floats:
    """Newton's method on all rows pooled, in one place. `whole`: penalise the intercept too (one class alone)."""
    x, y = np.concatenate([each for each, _ in sites]), np.concatenate([each for _, each in sites])
    penalty = np.full(x.shape[1], ridge)
    if not whole:
        penalty[-1] = 0.0
    w = np.zeros(x.shape[1])
    for _ in range(rounds):
        p = chances(x, w)
        slope = x.T @ (p - y) / len(y) + penalty * w
        curve = (x * (p * (1 - p))[:, None]).T @ x / len(y) + np.diag(penalty)
        w = w - np.linalg.solve(curve, slope)
    return w


def fedavg(sites: Sequence[Rows], rounds: int, steps: int, batch: int, rate: float, mu: float, seed: int) -> Floats:
    """FedAvg (McMahan et al. 2017), with FedProx's pull where mu is above 0: floats throughout, nothing of ours."""
    w = np.zeros(sites[0][0].shape[1])
    total = sum(len(y) for _, y in sites)
    for number in range(1, rounds + 1):
        after = np.zeros_like(w)
        for x, y in sites:
            source, mine = np.random.Generator(np.random.PCG64([seed, number, len(y)])), w.copy()
            order: list[int] = []
            for _ in range(steps):
                if len(order) < batch:
                    order = source.permutation(len(y)).tolist()
                some, order = order[:batch], order[batch:]
                slope = x[some].T @ (chances(x[some], mine) - y[some]) / batch
                mine = mine - rate * (slope + mu * (mine - w))
            after += mine * len(y) / total
        w = after
    return w


def home(train: Rows, w: Floats) -> Floats:
    """The model with its intercept refitted on a hospital's own rows, pulled back as by one row."""
    x, y = train
    moved = w.copy()
    for _ in range(50):
        p = chances(x, moved)
        moved[-1] += ((y - p).sum() - (moved[-1] - w[-1])) / ((p * (1 - p)).sum() + 1.0)
    return moved


def judge(test: Rows, w: Floats) -> Judged:
    """By a site's test rows."""
    x, y = test
    p = chances(x, w)
    return Judged(float(((p > 0.5) == y).mean()), auroc(y, p), float(((p - y) ** 2).mean()))


def auroc(y: Floats, p: Floats) -> float:
    """The chance that an ill patient's probability is above a healthy one's, ties counted half. NaN for one class."""
    ill, well = p[y == 1], p[y == 0]
    if not len(ill) or not len(well):
        return float("nan")
    above = (ill[:, None] > well[None, :]).sum() + 0.5 * (ill[:, None] == well[None, :]).sum()
    return float(above / (len(ill) * len(well)))


def interval(values: Sequence[float], test_to_train: float = 0.34 / 0.66) -> tuple[float, float]:
    """Mean, and half of a 95 % interval of it over random splits of the same rows.

    Splits overlap, so their own spread divided by the root of their number would be far too sure: Nadeau and Bengio
    (2003) add the ratio of test to train rows.
    """
    array = np.asarray(values, np.float64)
    if len(array) < 2:
        return float(array.mean()), float("nan")
    return float(array.mean()), 1.98 * sqrt((1 / len(array) + test_to_train) * float(array.var(ddof=1)))
