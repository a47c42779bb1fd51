"""Logistic regression in numpy: probabilities, gradients, and the intercept that a hospital refits for itself."""

from typing import Final

import numpy as np

from commonward.records.model import Floats

_STEPS: Final = 50
PRIOR: Final = 1.0
"""How many rows' worth of pull keeps a home intercept near the model's own: a hospital where all are ill has no finite
best one."""


def probabilities(logits: Floats) -> Floats:
    """1 / (1 + exp(-z)) without overflow."""
    small = np.exp(-np.abs(logits))
    chances: Floats = np.where(logits >= 0, 1.0, small) / (1.0 + small)
    return chances


def gradient(x: Floats, y: Floats, w: Floats) -> Floats:
    """Mean over rows of the gradient of the log-loss: (p,)."""
    return x.T @ (probabilities(x @ w) - y) / len(y)


def hessian(x: Floats, w: Floats) -> Floats:
    """Mean over rows of the second derivatives: (p, p)."""
    chance = probabilities(x @ w)
    return (x * (chance * (1.0 - chance))[:, None]).T @ x / len(x)


def home_shift(logits: Floats, y: Floats) -> float:
    """What to add to the intercept so that this hospital's own rows are met, with a weak pull to 0. 0 without rows."""
    shift = 0.0
    if not len(y):
        return shift
    for _ in range(_STEPS):
        chance = probabilities(logits + shift)
        slope = float((y - chance).sum()) - PRIOR * shift
        step = slope / (float((chance * (1.0 - chance)).sum()) + PRIOR)
        shift += step
        if abs(step) < 1e-10:
            break
    return shift
