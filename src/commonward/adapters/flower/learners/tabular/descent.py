"""Gradient descent for logistic regression on one site's rows: plain, with FedProx's pull, or with privacy.

Without `noise`, minibatches are drawn by the protocol's seed, the round and the number of rows, so that a round can be
repeated. With `noise`, each step takes all rows once: every patient's gradient is clipped, the sum gets noise of
`noise` x `clip`, and nothing else of the rows enters the change. One row is one patient here (the cohort's key).
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

import numpy as np

from commonward.records.model import Floats

from . import logistic
from .gaussians import noisy_sum

_BILLION: Final = 1_000_000_000
_DEFAULTS: Final = {
    "learning_rate": 100_000_000,
    "steps": 100,
    "batch": 4,
    "mu": 0,
    "ridge": 0,
    "seed": 0,
    "clip": _BILLION,
    "noise": 0,
}


def settings(config: Mapping[str, Any]) -> dict[str, int]:
    """The protocol's constants or their defaults. Raises ValueError for one below zero, or too many steps."""
    found = {name: config.get(name, default) for name, default in _DEFAULTS.items()}
    if any(not isinstance(value, int) or value < 0 for value in found.values()):
        raise ValueError(f"expected whole numbers from 0, got {found}")
    if not 1 <= found["steps"] <= 100_000 or not found["clip"] or not found["learning_rate"]:
        raise ValueError(f"expected 1 to 100,000 steps, a clip and a learning rate above 0, got {found}")
    if config.get("rate", _BILLION) != _BILLION:
        raise ValueError(
            f"expected a rate of 10^9: each step takes all rows, and is charged for them, got {config['rate']!r:.40}"
        )
    if found["noise"] and "seed" in config:
        raise ValueError("expected no seed with noise: batches that repeat are not private, and noise is never seeded")
    return {name: int(value) for name, value in found.items()}


def descended(x: Floats, y: Floats, base: Floats, config: Mapping[str, Any]) -> Floats:
    """New coefficients (p,) of features (n, p) and outcomes (n,), by the protocol's constants."""
    constants = settings(config)
    if constants["noise"]:
        return descend_privately(x, y, base, constants)
    return descend(x, y, base, constants, int(config["server-round"]))


def penalty(w: Floats, base: Floats, given: Mapping[str, int]) -> Floats:
    """Gradient of ridge (not on the intercept) and of FedProx's mu / 2 |w - base|^2."""
    kept = w.copy()
    kept[-1] = 0.0
    return kept * (given["ridge"] / _BILLION) + (w - base) * (given["mu"] / _BILLION)


def descend(x: Floats, y: Floats, base: Floats, given: Mapping[str, int], number: int) -> Floats:
    """Minibatch steps from the round's model, batches without repetition until the rows are used up."""
    chance = np.random.Generator(np.random.PCG64([given["seed"], number, len(y)]))
    size = min(given["batch"] or len(y), len(y))
    w, rate = base.copy(), given["learning_rate"] / _BILLION
    order = np.empty(0, np.int64)
    for _ in range(given["steps"]):
        if len(order) < size:
            order = chance.permutation(len(y))
        batch, order = order[:size], order[size:]
        w = w - rate * (logistic.gradient(x[batch], y[batch], w) + penalty(w, base, given))
    return w


def descend_privately(x: Floats, y: Floats, base: Floats, given: Mapping[str, int]) -> Floats:
    """Steps over all rows, each a clipped and noisy sum."""
    w, rate = base.copy(), given["learning_rate"] / _BILLION
    clip, noise = given["clip"] / _BILLION, Fraction(given["noise"], 1_000_000)
    for _ in range(given["steps"]):
        each = x * (logistic.probabilities(x @ w) - y)[:, None]
        w = w - rate * (noisy_sum(each, clip, noise) / len(y) + penalty(w, base, given))
    return w
