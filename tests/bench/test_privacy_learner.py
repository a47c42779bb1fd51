"""The audit on the learner's own private road: what it declares holds; with its noise or clip off it is caught."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench._privacy_audit import most_visible
from bench._privacy_canaries import LENGTH, crafted, mislabelled, one_run
from bench._privacy_models import Rows, alone, private, together, true_class, undefended
from commonward.adapters.flower.learners.vision.form import WEIGHT
from commonward.adapters.flower.learners.vision.judging import probabilities

CANARIES, GUESSES = 300, 100
CANARY_ROWS = crafted(CANARIES, CANARIES)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_the_learners_private_steps_show_no_more_than_they_declare() -> None:
    """At 95 % confidence one sound run in twenty may be accused, if its bound were tight; it is far from it."""
    for epsilon in (1.0, 3.0):
        found = one_run(CANARY_ROWS, private(epsilon, rounds=5), 1, guesses=GUESSES)
        assert found.least <= epsilon


def test_with_the_noise_off_the_audit_finds_the_learner_out() -> None:
    declared = private(3.0, rounds=5)
    broken = replace(declared, given={**declared.given, "noise": 1000})
    found = one_run(CANARY_ROWS, broken, 1, guesses=GUESSES)
    assert found.right == GUESSES
    assert found.least == most_visible(CANARIES, GUESSES, 1e-5) > 3


def test_without_the_clip_noise_hides_nothing(monkeypatch) -> None:
    """A canary ten times as long as a photograph is ten times as visible, unless its gradient is clipped."""
    from commonward.adapters.flower.learners.vision import private as road

    declared = private(1.0, rounds=5)
    assert one_run(CANARY_ROWS, declared, 2, guesses=GUESSES).least <= 1

    def unclipped_sum(patients, w, truth, rows, clip):
        wrong = probabilities(patients.floats[rows] @ w.T)
        wrong[np.arange(len(rows)), truth[rows]] -= 1.0
        return np.trunc(wrong.T @ patients.floats[rows] * (road.WHOLE / clip)).astype(np.int64)

    monkeypatch.setattr(road.Inputs, "clipped_sum", unclipped_sum)
    assert one_run(CANARY_ROWS, declared, 2, guesses=GUESSES).least > 1


def test_a_mislabelled_photograph_is_seen_by_a_model_that_learnt_it_by_heart() -> None:
    chance = np.random.default_rng(3)
    x = chance.normal(size=(200, 128))
    true = Rows(x / np.linalg.norm(x, axis=1, keepdims=True), chance.integers(0, 4, 200))
    planted = mislabelled(true, 1)
    assert (planted.rows.labels != true.labels).all() and set(planted.rows.labels.tolist()) == {0, 1, 2, 3}
    assert one_run(planted, undefended(), 1, guesses=60).least > 1
    assert one_run(planted, private(1.0, rounds=5), 1, guesses=60).least <= 1


def test_canaries_need_a_direction_each() -> None:
    with pytest.raises(ValueError, match="at least 300 inputs"):
        crafted(299, 300)
    assert np.allclose(np.linalg.norm(CANARY_ROWS.rows.inputs, axis=1), LENGTH)


def test_four_hospitals_publish_one_model_of_all_their_patients() -> None:
    """What is attacked as published is made by updates and our aggregation: with one hospital it is its own model."""
    chance = np.random.default_rng(5)
    rows = [Rows(chance.normal(size=(40, 16)), chance.integers(0, 4, 40)) for _ in range(4)]
    training = replace(undefended(), rounds=2)
    mine, published = alone(rows[0], training), together(rows[:1], training)
    assert np.abs(mine[WEIGHT] - published[WEIGHT]).max() < 1e-5
    everyone = together(rows, training)
    assert all((true_class(everyone, each) > 0).all() for each in rows)
