"""Patient-level privacy of a sum: clip each patient's part to whole numbers, add discrete Gaussian noise, exactly.

Noise is drawn from the operating system's entropy, is never seeded, and is never told to anyone; that it was added is
attested by who approved this code, and cannot be proven. Clipped parts are rounded towards zero on a grid of 2^-20, so
the sum is an integer of known sensitivity; the noise is the discrete Gaussian of Canonne, Kamath and Steinke (2020),
sampled in rational arithmetic. No floating-point number stands between the two, so the attacks on noise that was
rounded to a float (Mironov 2012; Holohan and Braghin 2021) have nothing to hold. At equal standard deviation it costs
the RDP of the Gaussian (their theorem 14).
"""

import os
from collections.abc import Callable
from fractions import Fraction
from math import isqrt
from typing import Final

import numpy as np

from commonward.records.model import Floats, Integers

GRID: Final = 1 << 20
"""Units in 1.0."""

Entropy = Callable[[int], bytes]
"""So many random bytes. `os.urandom`; tests pass their own."""


def clipped_sum(parts: Floats, clip: float) -> Integers:
    """Sum over patients of (patients, p) parts, each scaled down to a norm of at most `clip`, in units of the grid."""
    limit = int(clip * GRID)
    norms = np.sqrt((parts * parts).sum(axis=1))
    scaled = parts * np.minimum(1.0, clip / np.maximum(norms, 1e-300))[:, None]
    whole = np.trunc(scaled * GRID).astype(np.int64)
    # Rounding within the scaling could leave a part one unit too long: such a part is shrunk until it is not.
    while len(over := np.flatnonzero((whole * whole).sum(axis=1) > limit * limit)):
        whole[over] -= np.sign(whole[over])
    total: Integers = whole.sum(axis=0)
    return total


def discrete_gaussian(sigma: Fraction, entropy: Entropy = os.urandom) -> int:
    """An integer n with probability proportional to exp(-n^2 / (2 sigma^2)). Canonne et al., algorithm 3."""
    t = isqrt(sigma.numerator**2 // sigma.denominator**2) + 1
    square = sigma * sigma
    while True:
        candidate = _laplace(t, entropy)
        away = abs(candidate) - square / t
        if _bernoulli_exp(away * away / (2 * square), entropy):
            return candidate


def _laplace(t: int, entropy: Entropy) -> int:
    """An integer n with probability proportional to exp(-|n| / t). Algorithm 2, with a denominator of 1."""
    while True:
        within = _below(t, entropy)
        if not _bernoulli_exp(Fraction(within, t), entropy):
            continue
        whole = 0
        while _bernoulli_exp(Fraction(1), entropy):
            whole += 1
        size = within + t * whole
        negative = _below(2, entropy)
        if not (negative and size == 0):
            return -size if negative else size


def _bernoulli_exp(x: Fraction, entropy: Entropy) -> bool:
    """True with probability exp(-x), x at least 0. Algorithm 1."""
    while x > 1:
        if not _bernoulli_exp(Fraction(1), entropy):
            return False
        x -= 1
    k = 1
    while _below(x.denominator * k, entropy) < x.numerator:
        k += 1
    return k % 2 == 1


def _below(limit: int, entropy: Entropy) -> int:
    """A uniform integer from 0 to limit - 1, by rejection."""
    bits = (limit - 1).bit_length()
    size = (bits + 7) // 8
    while True:
        drawn = int.from_bytes(entropy(size), "big") >> (8 * size - bits)
        if drawn < limit:
            return drawn
