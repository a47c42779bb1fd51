"""Judging a model by a site's own pictures, in counts that can be added over sites: no rate, no mean, no picture.

Pictures that the quality gate refuses are counted and not classified: a photographer would be told to take another.
The rest give confusion, histograms of the calibrated probabilities (AUROC and calibration to within a bin), and what
abstaining would have left.
"""

from typing import Final

import numpy as np

from commonward.records.images.photograph import PATHOGENS, Photograph, Pixels
from commonward.records.images.quality import quality
from commonward.records.model import ONE, Floats, Integers

from .form import CLASSES

BINS: Final = 64
LEAST_LOG, GREATEST_LOG = -2.0, 2.0
"""Of a temperature's logarithm: a site that sends an absurd one makes no other's probabilities NaN."""


def probabilities(logits: Floats, temperature: float = 0.0) -> Floats:
    """Softmax of logits / exp(temperature), the temperature held within its bounds: (n, 4)."""
    scaled = logits / np.exp(min(max(temperature, LEAST_LOG), GREATEST_LOG))
    chances = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    found: Floats = chances / chances.sum(axis=1, keepdims=True)
    return found


def usable(pixels: Pixels, name: str) -> tuple[str, ...]:
    """Why a picture should be taken again; empty where it may be judged."""
    return quality(Photograph(pixels=pixels, patient="-", source=name)).reasons


def counts(chances: Floats, truth: Integers, rows: int, least: float) -> dict[str, Integers]:
    """Counts of the pictures that the gate let through.

    Args:
        chances: (n, 4) calibrated probabilities.
        truth: (n,) classes.
        rows: of the site, those refused included.
        least: probability below which the model abstains.

    Returns:
        rows (1,), refused_quality (1,), confusion (4, 4: truth, guess), confusion_kept (4, 4: of those not abstained),
        abstained (2,: kept, abstained), histogram_<class> (2, 64: is not, is), confidence (2, 64: wrong, right by the
        top probability), squared_error (1,: sum over pictures and classes in Q24, the multiclass Brier score times n).
    """
    top, guess = (chances.max(axis=1), chances.argmax(axis=1)) if len(truth) else (np.zeros(0), np.zeros(0, np.int64))
    kept = top >= least
    found = {
        "rows": np.array([rows], np.int64),
        "refused_quality": np.array([rows - len(truth)], np.int64),
        "abstained": np.array([kept.sum(), (~kept).sum()], np.int64),
        "confusion": _table((CLASSES, CLASSES), truth, guess),
        "confusion_kept": _table((CLASSES, CLASSES), truth[kept], guess[kept]),
        "confidence": _table((2, BINS), (truth == guess).astype(np.int64), _bins(top)),
    }
    for at, name in enumerate(PATHOGENS):
        found[f"histogram_{name}"] = _table((2, BINS), (truth == at).astype(np.int64), _bins(chances[:, at]))
    errors = np.rint((chances - np.eye(CLASSES)[truth]) ** 2 * ONE).astype(np.int64)
    found["squared_error"] = np.array([errors.sum()], np.int64)
    return found


def _bins(chances: Floats) -> Integers:
    return np.minimum((chances * BINS).astype(np.int64), BINS - 1)


def _table(shape: tuple[int, int], one: Integers, other: Integers) -> Integers:
    found = np.zeros(shape, np.int64)
    np.add.at(found, (one, other), 1)
    return found


def fitted_temperature(logits: Floats, truth: Integers, prior: float = 4.0) -> float:
    """The logarithm of the temperature under which these rows are likeliest, with a pull towards 0 of `prior` rows.

    Of rows that the head did not learn from: on its own it would look better calibrated than it is. 0 without rows.
    Guo et al. (2017). Golden-section search between e^-2 and e^2: the loss is convex in 1 / temperature, so it has one
    lowest place.
    """
    if not len(truth):
        return 0.0

    def loss(log: float) -> float:
        chances = probabilities(logits, log)[np.arange(len(truth)), truth]
        return float(-np.log(np.maximum(chances, 1e-12)).sum()) + prior * log * log / 2

    ratio = (np.sqrt(5.0) - 1) / 2
    low, high = LEAST_LOG, GREATEST_LOG
    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) <= loss(right) else (left, high)
    return float((low + high) / 2)
