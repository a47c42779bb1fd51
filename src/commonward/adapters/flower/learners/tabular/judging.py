"""Judging a model by a site's own rows, in counts that can be added over sites: no rate, no mean, no row.

Of a model as it came and, with `_home` in the name, with the intercept refitted on the site's own training rows: the
confusion matrix at one half, a histogram of the probabilities for each class (calibration, and AUROC to within a bin),
and the sum of squared errors in Q24.
"""

from typing import Final

import numpy as np

from commonward.records.model import ONE, Floats, Integers

from .logistic import home_shift, probabilities

BINS: Final = 64


def counts(train: tuple[Floats, Floats], test: tuple[Floats, Floats], w: Floats) -> dict[str, Integers]:
    """confusion (2, 2: truth, guess), histogram (2, 64: truth, bin) and squared_error (1,), each twice; rows (1,)."""
    (x, y), (seen, known) = test, train
    shift = home_shift(seen @ w, known)
    found = {"rows": np.array([len(y)], np.int64)}
    for suffix, logits in (("", x @ w), ("_home", x @ w + shift)):
        chance = probabilities(logits)
        truth, guess = y.astype(np.int64), (chance > 0.5).astype(np.int64)
        bins = np.minimum((chance * BINS).astype(np.int64), BINS - 1)
        confusion, histogram = np.zeros((2, 2), np.int64), np.zeros((2, BINS), np.int64)
        np.add.at(confusion, (truth, guess), 1)
        np.add.at(histogram, (truth, bins), 1)
        found[f"confusion{suffix}"] = confusion
        found[f"histogram{suffix}"] = histogram
        error = np.rint((chance - y) ** 2 * ONE).astype(np.int64)
        found[f"squared_error{suffix}"] = np.array([error.sum()], np.int64)
    return found
