"""The audit finds a broken mechanism and accuses no sound one; the membership attack knows members from others."""

from math import exp

import numpy as np
import pytest

from bench._privacy_audit import audit, binomial, least_epsilon, most_visible, p_value
from bench._privacy_lira import auc_of, calibrated, confidence, halves, hits_at, judge, verdicts
from commonward.records.privacy import RATE_UNIT, least_noise, spent

DELTA = 5


def gaussian_run(noise: float, canaries: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of canaries whose gradients are at right angles to each other: one step of the Gaussian mechanism, which
    shows each its own coordinate. Nothing leaks more at this noise."""
    chance = np.random.default_rng(seed)
    taken = chance.random(canaries) < 0.5
    return taken + noise * chance.normal(size=canaries), taken


def test_probabilities_of_coins_are_pascals_triangle() -> None:
    assert np.allclose(binomial(4, 0.5), np.array([1, 4, 6, 4, 1]) / 16)
    assert sum(binomial(1000, 0.93)) == pytest.approx(1)
    assert binomial(3, 1.0)[3] == pytest.approx(1)


def test_with_no_delta_the_bound_is_the_binomial_tail() -> None:
    q = exp(1) / (1 + exp(1))
    wanted = sum(binomial(100, q)[85:])
    assert p_value(100, 100, 85, 1.0, 0.0) == pytest.approx(wanted)
    assert p_value(1000, 100, 85, 1.0, 0.0) == pytest.approx(wanted), "canaries count only through delta"


def test_delta_makes_an_audit_less_sure() -> None:
    bounds = [least_epsilon(1000, 100, 95, delta) for delta in (0.0, 1e-5, 1e-3)]
    assert bounds[0] > bounds[1] > bounds[2] > 0


def test_all_guesses_right_refute_what_their_number_can_and_no_more() -> None:
    """q^r = 0.05 is epsilon = ln(q / (1 - q))."""
    for guesses in (10, 100, 1000):
        q = 0.05 ** (1 / guesses)
        assert most_visible(guesses, guesses, 0.0) == pytest.approx(np.log(q / (1 - q)), abs=1e-6)


def test_guessing_by_chance_refutes_nothing() -> None:
    assert least_epsilon(1000, 1000, 500, 0.0) == 0.0
    for seed in range(20):
        _, taken = gaussian_run(1.0, 1000, seed)
        blind = np.random.default_rng([seed, 1]).random(1000)
        assert audit(blind, taken, 100, 1e-5).least < 0.5


@pytest.mark.parametrize("declared", [1, 3, 8])
def test_a_sound_mechanism_is_never_accused(declared: int) -> None:
    noise = least_noise(declared * 1_000_000, RATE_UNIT, 1, 1, DELTA)
    assert spent(noise, RATE_UNIT, 1, 1, DELTA) <= declared * 1_000_000
    found = [audit(*gaussian_run(noise / 1e6, 1000, seed), 100, 1e-5).least for seed in range(40)]
    assert max(found) <= declared
    assert np.mean(found) > declared / 8, "and the audit sees some of what leaks"


@pytest.mark.parametrize("declared", [1, 3])
def test_a_mechanism_without_its_noise_is_found(declared: int) -> None:
    for seed in range(5):
        found = audit(*gaussian_run(0.0, 1000, seed), 100, 1e-5)
        assert found.right == 100
        assert found.least == most_visible(1000, 100, 1e-5) > declared


def test_noise_a_quarter_of_what_was_declared_is_found() -> None:
    noise = least_noise(1_000_000, RATE_UNIT, 1, 1, DELTA) / 1e6 / 4
    assert all(audit(*gaussian_run(noise, 1000, seed), 100, 1e-5).least > 1 for seed in range(10))


def test_an_audit_without_sense_is_refused() -> None:
    scores, taken = gaussian_run(1.0, 10, 1)
    for guesses in (0, 3, 12):
        with pytest.raises(ValueError, match="even number of guesses among 10"):
            audit(scores, taken, guesses, 0.0)
    with pytest.raises(ValueError, match="finite"):
        audit(np.full(10, np.nan), taken, 2, 0.0)
    with pytest.raises(ValueError, match="right <= guesses"):
        p_value(10, 5, 6, 1.0, 0.0)


def models(gap: float, patients: int = 200, count: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of models that are surer by `gap` deviations of patients they saw; patients differ ten times as much."""
    members = halves(count, patients, 1)
    chance = np.random.default_rng(2)
    return chance.normal(0, 10, patients) + gap * members + chance.normal(size=members.shape), members


def test_every_patient_is_in_half_of_the_models() -> None:
    members = halves(64, 100, 3)
    assert (members.sum(axis=0) == 32).all()
    assert members.sum(axis=1).std() > 0, "and models differ in size"


def test_the_attack_finds_members_that_a_threshold_on_the_loss_cannot() -> None:
    numbers, members = models(2.0)
    ratio, plain = judge(verdicts(numbers, members), members, 1, 20), judge(numbers, members, 1, 20)
    # Two normals two deviations apart: AUC = Phi(2 / sqrt 2) = .921.
    assert ratio.auc == pytest.approx(0.921, abs=0.02)
    assert ratio.auc_interval[0] < ratio.auc < ratio.auc_interval[1]
    assert ratio.found > 0.2
    assert plain.auc < 0.6


def test_where_models_do_not_depend_on_members_the_attack_guesses() -> None:
    numbers, members = models(0.0)
    blind = judge(verdicts(numbers, members), members, 1, 20)
    assert blind.auc == pytest.approx(0.5, abs=0.02)
    assert blind.found == pytest.approx(0.01, abs=0.01)
    assert judge(calibrated(numbers), members, 1, 20).auc == pytest.approx(0.5, abs=0.02)


def test_where_little_leaks_calibration_sees_more_than_the_likelihood_ratio() -> None:
    numbers, members = models(0.3)
    ratio, calibration = (judge(each, members, 1, 20) for each in (verdicts(numbers, members), calibrated(numbers)))
    # Two normals 0.3 deviations apart: AUC = Phi(0.3 / sqrt 2) = .584.
    assert ratio.auc < calibration.auc == pytest.approx(0.584, abs=0.02)


def test_a_model_is_never_judged_by_what_it_said_itself() -> None:
    numbers, members = models(2.0, patients=5)
    moved = numbers.copy()
    moved[0] += 100.0
    moved_verdicts = verdicts(moved, members)[0]
    middle = [[numbers[1:, at][members[1:, at] == inside].mean() for at in range(5)] for inside in (False, True)]
    direction = np.sign(np.array(middle[1]) - middle[0])
    assert (np.sign(moved_verdicts) == direction).all()


def test_auc_counts_ties_half_and_hits_are_above_the_threshold() -> None:
    found, inside = np.array([[3.0, 2.0, 2.0, 1.0]]), np.array([[True, True, False, False]])
    assert auc_of(found, inside) == 0.875
    assert hits_at(found, inside) == 0.5
    assert auc_of(np.zeros((1, 4)), inside) == 0.5
    assert hits_at(np.zeros((1, 4)), inside) == 0.0


def test_too_few_shadow_models_are_refused() -> None:
    numbers, members = models(1.0, patients=5, count=8)
    with pytest.raises(ValueError, match="at least 4 other models"):
        verdicts(numbers, members)


def test_sure_answers_stay_finite() -> None:
    assert np.isfinite(confidence(np.array([0.0, 0.5, 1.0]))).all()
    assert confidence(np.array([0.5]))[0] == 0
