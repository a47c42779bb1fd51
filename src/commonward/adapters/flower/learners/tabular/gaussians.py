"""Many discrete Gaussians at once, from the operating system's entropy: the same distribution as `noise`, exactly.

`noise.discrete_gaussian` draws one in some sixty microseconds: a third of a second for each step of a head with five
thousand weights. Here the candidates of Canonne, Kamath and Steinke (2020, algorithms 1 to 3) are drawn side by
side in numpy. A coin of probability p is one comparison of 64 random bits with floor(p * 2^64), which is computed in
whole numbers; where the bits are equal to it, which happens once in 2^64, the rest of p decides by an exact coin. So
nothing is rounded here either, and a number takes two microseconds.
"""

import os
from fractions import Fraction
from math import isqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from commonward.records.model import Floats, Integers

from .noise import GRID, Entropy, _below, clipped_sum, discrete_gaussian

Words = NDArray[np.uint64]

_WHOLE: Final = 1 << 64
_MOST: Final = 1 << 31
"""Of the candidates' scale: below it their fractions fit 64 bits. No study needs more; a larger one takes its time."""


def discrete_gaussians(sigma: Fraction, count: int, entropy: Entropy = os.urandom) -> Integers:
    """`count` integers, each n with probability proportional to exp(-n^2 / (2 sigma^2)).

    Args:
        sigma: above 0, in units of what is noised.
        entropy: as in `noise`.
    """
    scale = isqrt(sigma.numerator**2 // sigma.denominator**2) + 1
    if scale >= _MOST:
        return np.array([discrete_gaussian(sigma, entropy) for _ in range(count)], np.int64)
    found = np.zeros(0, np.int64)
    while len(found) < count:
        candidates = _laplaces(scale, 2 * (count - len(found)) + 16, entropy)
        found = np.concatenate([found, candidates[_accepted(candidates, scale, sigma * sigma, entropy)]])
    return found[:count]


def noisy_sum(parts: Floats, clip: float, multiplier: Fraction, entropy: Entropy = os.urandom) -> Floats:
    """`clipped_sum` with noise of standard deviation `multiplier` x clip in each coordinate, as floats again."""
    noise = discrete_gaussians(multiplier * Fraction(int(clip * GRID)), parts.shape[1], entropy)
    return (clipped_sum(parts, clip) + noise).astype(np.float64) / GRID


def _accepted(candidates: Integers, scale: int, square: Fraction, entropy: Entropy) -> NDArray[np.bool_]:
    """Each with probability exp(-(|y| - square / scale)^2 / (2 square))."""
    over, under = square.numerator, square.denominator
    denominator = 2 * scale * scale * under * over
    wholes, parts, rests = [], [], []
    for size in np.abs(candidates).tolist():
        away = size * scale * under - over
        whole, rest = divmod(away * away, denominator)
        wholes.append(whole)
        rests.append(rest)
        parts.append((rest << 64) // denominator)
    good = _coins(np.array(parts, np.uint64), rests, [denominator] * len(rests), entropy)
    # exp(-n) for a whole n is n coins of exp(-1), all heads.
    whole_numbers = np.array(wholes, np.int64)
    for turn in range(int(whole_numbers.max(initial=0))):
        asked = np.flatnonzero(good & (whole_numbers > turn))
        if not len(asked):
            break
        good[asked] = _coins_of_one(len(asked), entropy)
    return good


def _laplaces(scale: int, count: int, entropy: Entropy) -> Integers:
    """`count` or fewer integers n with probability proportional to exp(-|n| / scale)."""
    within = _uniform(scale, count, entropy)
    high = (within << np.uint64(32)) // np.uint64(scale)
    rest = (within << np.uint64(32)) % np.uint64(scale)
    parts = (high << np.uint64(32)) | ((rest << np.uint64(32)) // np.uint64(scale))
    within = within[_coins(parts, within.tolist(), [scale] * len(within), entropy)]
    wholes = np.zeros(len(within), np.int64)
    going = np.arange(len(within))
    while len(going):
        going = going[_coins_of_one(len(going), entropy)]
        wholes[going] += 1
    sizes = within.astype(np.int64) + scale * wholes
    negative = (_words(len(sizes), entropy) >> np.uint64(63)).astype(bool)
    kept = ~(negative & (sizes == 0))
    signed: Integers = np.where(negative, -sizes, sizes)[kept]
    return signed


def _coins_of_one(count: int, entropy: Entropy) -> NDArray[np.bool_]:
    """Heads with probability exp(-1)."""
    return _tossed(count, np.zeros(count, np.uint64), [1] * count, [1] * count, entropy, first=2)


def _coins(parts: Words, numerators: list[int], denominators: list[int], entropy: Entropy) -> NDArray[np.bool_]:
    """Heads with probability exp(-x), each x = numerator / denominator below 1, and parts = floor(x * 2^64)."""
    return _tossed(len(parts), parts, numerators, denominators, entropy, first=1)


def _tossed(
    count: int, parts: Words, numerators: list[int], denominators: list[int], entropy: Entropy, first: int
) -> NDArray[np.bool_]:
    """Algorithm 1: heads where the first k with a failed coin of x / k is odd. `first` = 2 for x = 1, whose first coin
    never fails and whose parts do not fit."""
    reached = np.ones(count, np.int64)
    going = np.arange(count)
    k = first
    while len(going):
        reached[going] = k
        limits = np.full(len(going), _WHOLE // k, np.uint64) if first == 2 else parts[going] // np.uint64(k)
        drawn = _words(len(going), entropy)
        passed = drawn < limits
        for at in np.flatnonzero(drawn == limits):  # once in 2^64: what floor() left over decides
            over, under = numerators[going[at]], denominators[going[at]] * k
            left = (over << 64) - int(limits[at]) * under
            passed[at] = _below(under, entropy) < left
        going = going[passed]
        k += 1
    heads: NDArray[np.bool_] = reached % 2 == 1
    return heads


def _uniform(limit: int, count: int, entropy: Entropy) -> Words:
    """Up to `count` integers from 0 to limit - 1: those of `count` draws that fell below it, more than half."""
    bits = max(1, (limit - 1).bit_length())
    drawn = _words(count, entropy) >> np.uint64(64 - bits)
    return drawn[drawn < limit]


def _words(count: int, entropy: Entropy) -> Words:
    return np.frombuffer(entropy(8 * count), np.uint64)
