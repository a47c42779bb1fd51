"""Was this patient's photograph in the training? The likelihood-ratio attack of Carlini et al. (S&P 2022), online form.

The attacker trains many models on random halves of a pool of patients, as the hospital may have done, and asks each for
its probability p of every patient's true diagnosis, as ln(p / (1 - p)). For one patient that number is about normal,
with one mean over the models that saw him and another over those that did not; which of the two the attacked model's
number fits better is the verdict. Every model is attacked in turn by means of the others.

Beside it stand its number less the other models' mean for the same patient (difficulty calibration: Watson et al.,
ICLR 2022), which learns one number of each patient instead of two and so is stronger where little leaks, and the plain
threshold on the loss (Yeom et al., CSF 2018), which needs no other model.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from commonward.records.model import Floats

Members = NDArray[np.bool_]
"""(models, patients): who was in whose training."""

LEAST_SHADOWS: Final = 4
_SMALLEST: Final = 1e-7


@dataclass(frozen=True, slots=True)
class Attacked:
    """How well verdicts tell members from others.

    Attributes:
        auc: area under the curve of true against false positives; 0.5 is guessing.
        found: true positives at 1 % false positives; 0.01 is guessing.
        auc_interval, found_interval: 95 %, patients drawn again with replacement (bootstrap).
    """

    auc: float
    found: float
    auc_interval: tuple[float, float]
    found_interval: tuple[float, float]


def halves(models: int, patients: int, seed: int) -> Members:
    """For each patient, a random half of the models that have him."""
    chance = np.random.default_rng([seed, models, patients])
    ranks = np.argsort(chance.random((models, patients)), axis=0)
    return np.asarray(ranks < models // 2, dtype=np.bool_)


def confidence(probabilities: Floats) -> Floats:
    """ln(p / (1 - p)) of the true class's probabilities, kept finite."""
    p = np.clip(probabilities, _SMALLEST, 1 - _SMALLEST)
    return np.asarray(np.log(p) - np.log1p(-p), np.float64)


def verdicts(numbers: Floats, members: Members) -> Floats:
    """(models, patients): log-likelihood of "in" less that of "out", for each model by means of all others.

    Args:
        numbers: (models, patients), from `confidence`.

    Raises:
        ValueError: a patient whom fewer than four of the other models have, or lack.
    """
    models = len(numbers)
    found = np.empty_like(numbers)
    for target in range(models):
        others = np.arange(models) != target
        seen, known = numbers[others], members[others]
        if min(known.sum(axis=0).min(), (~known).sum(axis=0).min()) < LEAST_SHADOWS:
            raise ValueError(f"expected at least {LEAST_SHADOWS} other models with each patient, and as many without")
        found[target] = _log_normal(numbers[target], seen, known) - _log_normal(numbers[target], seen, ~known)
    return found


def calibrated(numbers: Floats) -> Floats:
    """(models, patients): each number less the mean of the other models' for that patient."""
    others = (numbers.sum(axis=0) - numbers) / (len(numbers) - 1)
    return np.asarray(numbers - others, np.float64)


def _log_normal(number: Floats, seen: Floats, chosen: Members) -> Floats:
    """Of each patient's number under the normal of the chosen models: its own mean, the spread of all patients (as
    Carlini et al. do with few shadow models)."""
    counts = chosen.sum(axis=0)
    mean = np.where(chosen, seen, 0.0).sum(axis=0) / counts
    away = np.where(chosen, seen - mean, 0.0)
    variance = max(float((away**2).sum() / (counts.sum() - len(counts))), 1e-12)
    return np.asarray(-((number - mean) ** 2) / (2 * variance) - 0.5 * np.log(variance), np.float64)


def judge(found: Floats, members: Members, seed: int, resamples: int = 200) -> Attacked:
    """AUC and true positives at 1 % false positives over all models and patients."""
    chance = np.random.default_rng([seed, 9])
    auc, hits = auc_of(found, members), hits_at(found, members)
    again = []
    for _ in range(resamples):
        drawn = chance.integers(0, found.shape[1], found.shape[1])
        again.append((auc_of(found[:, drawn], members[:, drawn]), hits_at(found[:, drawn], members[:, drawn])))
    low, high = np.quantile(np.array(again), [0.025, 0.975], axis=0)
    return Attacked(auc, hits, (float(low[0]), float(high[0])), (float(low[1]), float(high[1])))


def auc_of(found: Floats, members: Members) -> float:
    """The chance that a member's verdict is above another's; ties count half."""
    _, place, counts = np.unique(found.ravel(), return_inverse=True, return_counts=True)
    after = np.cumsum(counts)
    ranks = (after - (counts - 1) / 2)[place]
    inside = members.ravel()
    ins, outs = int(inside.sum()), int((~inside).sum())
    return float((ranks[inside].sum() - ins * (ins + 1) / 2) / (ins * outs))


def hits_at(found: Floats, members: Members, false: float = 0.01) -> float:
    """The share of members above the verdict that at most so many others pass."""
    inside = members.ravel()
    flat = found.ravel()
    others = np.sort(flat[~inside])[::-1]
    threshold = others[int(false * len(others))]
    return float((flat[inside] > threshold).mean())
