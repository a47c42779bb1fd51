"""One training run as an audit of its own privacy: Steinke, Nasr and Jagielski, "Privacy auditing with one (1) training
run" (NeurIPS 2023).

Of m canaries each is in the training with probability one half, by a coin of its own. After the one run the auditor
scores them all, guesses "in" for the highest and "out" for the lowest, and abstains in between. Whoever is (epsilon,
delta) private, by adding or removing one row, cannot have many guesses right: their theorem 5.2 bounds how likely v of
r right guesses are. The largest epsilon at which what was seen has a probability below 5 % is a lower bound of the true
one, at 95 % confidence. It says what the run leaked at least, never what it leaked at most.
"""

from dataclasses import dataclass
from math import exp, lgamma, log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from commonward.records.model import Floats

CONFIDENCE: Final = 0.95
_HALVINGS: Final = 30


@dataclass(frozen=True, slots=True)
class Found:
    """What an audit saw.

    Attributes:
        canaries: how many had a coin.
        guesses: how many the auditor did not abstain from.
        right: how many of those were right.
        delta: of the claim that is audited.
        least: epsilon is at least this, at 95 % confidence.
    """

    canaries: int
    guesses: int
    right: int
    delta: float
    least: float


def audit(scores: Floats, taken: NDArray[np.bool_], guesses: int, delta: float) -> Found:
    """Guess by scores, and count.

    Args:
        scores: of each canary; higher means "in". Ties are broken by place, which the coins do not know.
        taken: whether it was in the training.
        guesses: half for the highest, half for the lowest; fixed before anything is scored.

    Raises:
        ValueError: an odd number of guesses, more of them than canaries, or scores that are not numbers.
    """
    if guesses % 2 or not 2 <= guesses <= len(scores) or len(scores) != len(taken):
        raise ValueError(f"expected an even number of guesses among {len(scores)} canaries, got {guesses}")
    if not np.isfinite(scores).all():
        raise ValueError("expected a finite score of each canary")
    order = np.argsort(scores, kind="stable")
    low, high = order[: guesses // 2], order[len(order) - guesses // 2 :]
    right = int(taken[high].sum()) + int((~taken[low]).sum())
    return Found(len(scores), guesses, right, delta, least_epsilon(len(scores), guesses, right, delta))


def p_value(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """How likely so many right guesses are, at most, if the training was (epsilon, delta) private.

    Theorem 5.2: with B binomial of `guesses` coins that fall right with probability e^epsilon / (1 + e^epsilon),
    P[B >= v] + 2 m delta max over i of P[v > B >= v - i] / i.
    """
    if not 0 <= right <= guesses <= canaries or epsilon < 0 or not 0 <= delta <= 1:
        raise ValueError(f"expected right <= guesses <= canaries, got {right}, {guesses}, {canaries}")
    chances = binomial(guesses, 1 / (1 + exp(-epsilon)))
    below, worst = 0.0, 0.0
    for i in range(1, right + 1):
        below += chances[right - i]
        worst = max(worst, below / i)
    return min(1.0, sum(chances[right:]) + 2 * canaries * delta * worst)


def binomial(count: int, chance: float) -> list[float]:
    """The probabilities of 0 to `count` successes, for a chance above 0 and below 1 (or 1, to rounding)."""
    miss = log(1 - chance) if chance < 1 else -800.0
    whole, hit = lgamma(count + 1), log(chance)
    return [exp(whole - lgamma(k + 1) - lgamma(count - k + 1) + k * hit + (count - k) * miss) for k in range(count + 1)]


def least_epsilon(canaries: int, guesses: int, right: int, delta: float, confidence: float = CONFIDENCE) -> float:
    """The largest epsilon that this many right guesses refute; 0 where they refute none."""
    doubt = 1 - confidence
    if p_value(canaries, guesses, right, 0.0, delta) >= doubt:
        return 0.0
    low, high = 0.0, 1.0
    while high < 64 and p_value(canaries, guesses, right, high, delta) < doubt:
        low, high = high, high + 1
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if p_value(canaries, guesses, right, middle, delta) < doubt:
            low = middle
        else:
            high = middle
    return low


def most_visible(canaries: int, guesses: int, delta: float) -> float:
    """The bound when every guess is right: an audit of this size sees nothing above it."""
    return least_epsilon(canaries, guesses, guesses, delta)
