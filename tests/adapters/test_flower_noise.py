"""Privacy noise: exact, from entropy, of the spread that is charged for; and clipping that nothing gets past."""

import hashlib
from fractions import Fraction
from math import exp, sqrt

import numpy as np
import pytest

from commonward.adapters.flower.learners.tabular.gaussians import noisy_sum
from commonward.adapters.flower.learners.tabular.noise import GRID, clipped_sum, discrete_gaussian


class Counted:
    """Entropy of a test: SHA-256 of a counter, so that what is measured is the same each time."""

    def __init__(self, label: str) -> None:
        self._label, self._at = label, 0

    def __call__(self, size: int) -> bytes:
        self._at += 1
        return hashlib.shake_256(f"{self._label} {self._at}".encode()).digest(size)


@pytest.mark.parametrize("sigma", [Fraction(1, 2), Fraction(3), Fraction(1000, 7)])
def test_noise_has_the_mean_and_the_spread_that_are_charged_for(sigma) -> None:
    entropy = Counted(f"spread {sigma}")
    drawn = np.array([discrete_gaussian(sigma, entropy) for _ in range(4000)], dtype=np.float64)
    weights = {n: exp(-n * n / (2 * float(sigma) ** 2)) for n in range(-2000, 2001)}
    variance = sum(n * n * w for n, w in weights.items()) / sum(weights.values())
    assert abs(drawn.mean()) < 4 * sqrt(variance / 4000)
    assert abs(drawn.var() / variance - 1) < 4 * sqrt(2 / 4000) + 0.02


def test_small_noise_has_the_discrete_gaussians_own_frequencies() -> None:
    entropy = Counted("frequencies")
    drawn = [discrete_gaussian(Fraction(1), entropy) for _ in range(8000)]
    weights = {n: exp(-n * n / 2) for n in range(-9, 10)}
    for n in range(-2, 3):
        chance = weights[n] / sum(weights.values())
        assert abs(drawn.count(n) / 8000 - chance) < 4 * sqrt(chance * (1 - chance) / 8000)


def test_no_patient_moves_the_sum_by_more_than_the_clip() -> None:
    source = np.random.Generator(np.random.PCG64(3))
    for scale in (1e-6, 0.3, 1.0, 7.0, 1e9):
        parts = source.normal(0, scale, (50, 14))
        for clip in (0.001, 1.0, 3.7):
            limit = int(clip * GRID)
            whole = clipped_sum(parts, clip)
            for left_out in range(3):
                moved = whole - clipped_sum(np.delete(parts, left_out, axis=0), clip)
                assert sum(int(each) ** 2 for each in moved) <= limit**2


def test_what_is_within_the_clip_is_not_shrunk() -> None:
    parts = np.array([[0.25, -0.5], [0.125, 0.0]])
    assert (clipped_sum(parts, 1.0) == np.array([0.375 * GRID, -0.5 * GRID])).all()


def test_noise_comes_from_the_systems_entropy_and_is_never_the_same() -> None:
    parts = np.zeros((3, 4))
    assert (noisy_sum(parts, 1.0, Fraction(2)) != noisy_sum(parts, 1.0, Fraction(2))).any()
