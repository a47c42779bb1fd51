"""A charge is what the literature says, rounded up, and the same wherever it is computed."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from commonward.ledger.rounds.budget import ORDERS, sound
from commonward.records.privacy import LARGEST, MICRO, RATE_UNIT, PrivacyError, charge, least_noise, rdp, spent

VECTORS = Path(__file__).parents[1] / "vectors" / "charges.json"


def _by_integration(order: int, sigma: float, q: float) -> float:
    """RDP by its definition, E[((1 - q) + q p1/p0)^order] over p0 = N(0, sigma^2), on a fine grid."""
    x = np.linspace(-60 * sigma, 60 * sigma + 2 * order, 200_001)
    log_density = -(x**2) / (2 * sigma**2) - math.log(sigma * math.sqrt(2 * math.pi))
    log_ratio = np.logaddexp(math.log1p(-q), math.log(q) + (2 * x - 1) / (2 * sigma**2))
    exponent = log_density + order * log_ratio
    top = exponent.max()
    return float((top + math.log(np.exp(exponent - top).sum() * (x[1] - x[0]))) / (order - 1))


@pytest.mark.parametrize(("sigma", "q"), [(1.1, 0.01), (0.8, 0.2), (4.0, 0.5), (2.0, 0.001)])
@pytest.mark.parametrize("order", [2, 5, 16, 64])
def test_rdp_is_that_of_its_definition(order: int, sigma: float, q: float) -> None:
    got = float(rdp(order, round(sigma * 1e6), round(q * 1e9)))
    assert got == pytest.approx(_by_integration(order, sigma, q), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("sigma", [500_000, 1_000_000, 7_300_000])
def test_without_sampling_it_is_the_gaussian_mechanism(sigma: int) -> None:
    for order, got in zip(ORDERS, charge(sigma, RATE_UNIT, 3), strict=True):
        assert 0 <= got - 3 * order / (2 * (sigma / 1e6) ** 2) * MICRO <= 1


def test_the_charge_is_rounded_up_and_never_free() -> None:
    assert min(charge(10_000_000_000, 1, 1)) == 1
    exact = rdp(2, 1_100_000, 10_000_000) * 100 * MICRO
    assert 0 <= charge(1_100_000, 10_000_000, 100)[0] - exact < 1


@pytest.mark.parametrize("noise", [100_000, 600_000, 1_000_000, 5_000_000])
@pytest.mark.parametrize("rate", [1_000, 10_000_000, 500_000_000, 999_999_999, RATE_UNIT])
def test_the_ledger_takes_every_charge(noise: int, rate: int) -> None:
    for steps in (1, 1000):
        made = charge(noise, rate, steps)
        assert sound(made)
        assert max(made) <= LARGEST


def test_more_noise_costs_less_and_more_rows_or_steps_cost_more() -> None:
    base = charge(1_000_000, 50_000_000, 20)
    assert all(a > b for a, b in zip(base, charge(1_500_000, 50_000_000, 20), strict=True))
    assert all(a < b for a, b in zip(base, charge(1_000_000, 90_000_000, 20), strict=True))
    assert all(a < b for a, b in zip(base, charge(1_000_000, 50_000_000, 21), strict=True))


def test_abadi_et_als_example_comes_out_near_its_published_epsilon() -> None:
    """Sampling 1 %, noise 4, 10,000 steps, delta 10^-5: the moments accountant gave 1.26 (CCS 2016, section 3.2)."""
    assert 1.0 < spent(4_000_000, 10_000_000, 10_000, 1, 5) / MICRO < 1.27


def test_charges_are_those_of_the_vectors() -> None:
    for case in json.loads(VECTORS.read_text())["cases"]:
        assert list(charge(case["noise"], case["rate"], case["steps"])) == case["charge"]


def test_the_least_noise_keeps_to_its_target_and_less_does_not() -> None:
    for target, rate, steps, rounds in ((2_000_000, RATE_UNIT, 1, 30), (8_000_000, 50_000_000, 20, 10)):
        noise = least_noise(target, rate, steps, rounds, 5)
        assert spent(noise, rate, steps, rounds, 5) <= target < spent(noise - 1000, rate, steps, rounds, 5)
    with pytest.raises(PrivacyError, match="can keep to"):
        least_noise(1, RATE_UNIT, 1000, 1000, 5)


@pytest.mark.parametrize(
    ("noise", "rate", "steps"),
    [(0, 1, 1), (99_999, 1, 1), (10**11, 1, 1), (10**6, 0, 1), (10**6, 10**9 + 1, 1), (10**6, 1, 0), (10**6, 1, 10**7)],
)
def test_a_declaration_that_no_mechanism_has_is_refused(noise: int, rate: int, steps: int) -> None:
    with pytest.raises(PrivacyError):
        charge(noise, rate, steps)
