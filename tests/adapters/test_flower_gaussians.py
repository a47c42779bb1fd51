"""Noise drawn many at a time: the same distribution as one at a time, and nothing rounded where bits tie."""

import random
from fractions import Fraction
from math import exp

import numpy as np
import pytest

from commonward.adapters.flower.learners.tabular import gaussians
from commonward.adapters.flower.learners.tabular.gaussians import discrete_gaussians


def repeated(seed: int):
    """Bytes that a test can draw again."""
    source = random.Random(seed)
    return source.randbytes


@pytest.mark.parametrize("sigma", [Fraction(1, 3), Fraction(3, 2), Fraction(7), Fraction(1_234_567, 100_000)])
def test_the_distribution_is_the_discrete_gaussian(sigma):
    """Chi-square of 60,000 draws over the values that are expected at least ten times; at most the 99.99 % bound."""
    draws = discrete_gaussians(sigma, 60_000, repeated(11))
    reach = int(9 * sigma) + 2
    weights = {n: exp(-n * n / float(2 * sigma * sigma)) for n in range(-reach, reach + 1)}
    total = sum(weights.values())
    expected = {n: 60_000 * each / total for n, each in weights.items()}
    seen = {n: int((draws == n).sum()) for n in expected}
    bins = [n for n, each in expected.items() if each >= 10]
    statistic = sum((seen[n] - expected[n]) ** 2 / expected[n] for n in bins)

    assert len(draws) == 60_000 and draws.dtype == np.int64
    assert statistic < len(bins) + 5.5 * (2 * len(bins)) ** 0.5 + 10


def test_wide_noise_has_its_deviation_and_no_side():
    sigma = Fraction(3) * (1 << 20)
    draws = discrete_gaussians(sigma, 20_000, repeated(5)).astype(float) / float(sigma)

    assert draws.std() == pytest.approx(1.0, abs=0.025)
    assert draws.mean() == pytest.approx(0.0, abs=0.035)
    assert (draws**4).mean() == pytest.approx(3.0, abs=0.25)


def test_two_draws_from_the_system_differ():
    one, other = discrete_gaussians(Fraction(1 << 20), 64), discrete_gaussians(Fraction(1 << 20), 64)

    assert not (one == other).all()


def test_bits_that_tie_are_decided_by_what_was_left_over():
    """x = 1/3: floor(2^64 / 3) is tied with, and the left over third of a unit decides, heads or tails."""
    limit = (1 << 64) // 3
    for rest, passes in ((b"\x00", True), (b"\x40", False)):
        given = [limit.to_bytes(8, "little"), rest, b"\xff" * 8]
        heads = gaussians._coins(np.array([limit], np.uint64), [1], [3], Told(given))
        # Passed: the second coin fails, so the first failed one is the second, which is even: tails.
        assert heads.tolist() == [not passes]


class Told:
    """Entropy that says these bytes, one answer after the other."""

    def __init__(self, answers: list[bytes]) -> None:
        self._answers = iter(answers)

    def __call__(self, count: int) -> bytes:
        answer = next(self._answers)
        assert len(answer) == count
        return answer


def test_a_scale_beyond_what_fits_is_drawn_one_by_one():
    draws = discrete_gaussians(Fraction(1 << 40), 3, repeated(1))

    assert len(draws) == 3 and np.abs(draws).max() > 1 << 36
