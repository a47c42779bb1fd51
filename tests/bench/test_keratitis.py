"""The keratitis study's benchmark: our road beside a plain loop, patients kept apart, and how models are judged."""

import numpy as np
import pytest

from bench import _keratitis_road as road
from bench._keratitis_data import Hospital
from bench._keratitis_plain import brier, calibration_error, centred, fedavg, interval, kept_accuracy, macro_auroc
from bench._keratitis_studies import split
from commonward.adapters.flower.learners.vision.form import BIAS, WEIGHT


def hospital(name: str, patients: int, seed: int) -> Hospital:
    """Features by chance, of which a few tell the class; files that nobody opens."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, patients)
    features = random.random((patients, 1280), np.float32)
    features[np.arange(patients), labels] += 2
    files = tuple(f"{name} {at}".encode() for at in range(patients))
    return Hospital(name, files, labels, features, random.random((patients, 10)))


def test_our_road_equals_a_plain_loop_at_equal_seeds() -> None:
    sites = [hospital("a", 30, 1), hospital("b", 50, 2), hospital("c", 20, 3)]
    settings = {"learning_rate": 4 * 10**9, "momentum": 9 * 10**8, "steps": 10, "ridge": 50_000, "calibration": 0}
    made = road.learn(road.Study(4, {**settings, "centre": 1}), sites).weights()
    inputs = centred([each.features.astype(np.float64) for each in sites])
    rows = [(x, each.labels) for x, each in zip(inputs, sites, strict=True)]
    w, b = fedavg(rows, 3, 10, 4.0, 0.9, 5e-5, [30, 50, 20])
    assert np.abs(w).max() > 0.1
    assert np.abs(made[WEIGHT] - w).max() < 1e-5
    assert np.abs(made[BIAS] - b).max() < 1e-5


def test_a_carried_step_makes_many_sites_learn_as_if_their_rows_lay_in_one_place() -> None:
    """However unequal their classes: what FedAvg loses to pooled rows by several steps of each site's own."""
    pytest.importorskip("torch")
    from bench import _keratitis_road as road
    from commonward.adapters.flower.learners.vision.form import STEPS, WEIGHT

    sites = [hospital("a", 40, 1), hospital("b", 60, 2), hospital("c", 50, 3)]
    sites = [site.take(np.flatnonzero(site.labels != at)) for at, site in enumerate(sites)]  # each lacks a class
    settings = {"learning_rate": 4 * 10**9, "momentum": 9 * 10**8, "ridge": 50_000, "calibration": 0, "centre": 1}
    carried = road.Study(31, {**settings, "steps": 1, "carry": 1})
    together, pooled = road.learn(carried, sites).weights(), road.alone(carried, road.joined(sites)).weights()
    anew = road.learn(road.Study(7, {**settings, "steps": 5}), sites).weights()

    assert np.abs(pooled[WEIGHT]).max() > 0.1 and np.abs(pooled[STEPS[WEIGHT]]).max() > 1e-3
    for name, each in pooled.items():
        assert np.abs(together[name] - each).max() < 1e-5, name
    assert np.abs(anew[WEIGHT] - pooled[WEIGHT]).max() > 100 * 1e-5


def test_no_patient_is_learnt_from_and_judged() -> None:
    train, test = split([hospital("a", 40, 1), hospital("b", 40, 2)], 3, 30, 10)
    for mine, held in zip(train, test, strict=True):
        assert len({*mine.files, *held.files}) == 40


def test_fewer_patients_are_the_first_of_the_many_and_are_judged_by_the_same() -> None:
    site = hospital("a", 40, 1)
    (many,), (held,) = split([site], 0, 30, 10)
    (few,), (same,) = split([site], 0, 8, 10)
    assert few.files == many.files[:8]
    assert same.files == held.files


def test_a_model_as_sure_as_it_is_right_has_no_calibration_error() -> None:
    labels = np.array([0, 0, 0, 1])
    sure = np.tile([0.75, 0.25, 0.0, 0.0], (4, 1))
    assert calibration_error(sure, labels) == pytest.approx(0)
    assert calibration_error(np.tile([1.0, 0, 0, 0], (4, 1)), labels) == pytest.approx(0.25)
    assert brier(np.eye(4)[labels], labels) == 0


def test_the_surest_are_kept() -> None:
    labels = np.array([0, 1, 2, 3])
    found = np.array([[0.9, 0.1, 0, 0], [0.4, 0.6, 0, 0], [0, 0.5, 0.5, 0], [0.3, 0.3, 0.2, 0.2]])
    assert kept_accuracy(found, labels, 0.5) == 1
    assert kept_accuracy(found, labels, 1.0) == 0.5
    assert macro_auroc(np.eye(4)[labels], labels) == 1


def test_splits_of_the_same_patients_are_not_taken_for_new_ones() -> None:
    middle, half = interval([0.7, 0.8], 0.3)
    assert middle == pytest.approx(0.75)
    assert half > 1.96 * 0.0707 / np.sqrt(2)
