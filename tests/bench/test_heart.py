"""The heart study's benchmark: the rows and splits of the published protocol, and our road beside a plain loop."""

import hashlib
import json

import numpy as np
import pytest

from bench import _heart_road as road
from bench._heart_data import FIRST_SEED, clients, split, tables
from bench._heart_plain import auroc, fedavg, home, interval, newton
from bench._heart_studies import averaging, own_model
from commonward.adapters.flower.learners.tabular import heart
from commonward.adapters.flower.learners.tabular.logistic import home_shift


def test_rows_and_labels_are_those_of_the_protocol() -> None:
    found = {site: (len(table), int((table.floats("num") > 0).sum())) for site, table in tables().items()}
    assert found == {"cleveland": (303, 139), "hungarian": (261, 98), "switzerland": (46, 45), "va": (130, 101)}


def test_splits_are_those_that_scikit_learn_gives() -> None:
    """Digests of the indices of `train_test_split`, which scikit-learn gave for these seeds and sites."""
    labels = {site: (table.floats("num") > 0).astype(np.int64) for site, table in tables().items()}
    found = {}
    for site in ("cleveland", "switzerland"):
        for seed in (43, 44):
            train, test = split(labels[site], seed)
            assert sorted([*train, *test]) == list(range(len(labels[site])))
            text = json.dumps([train.tolist(), test.tolist()])
            found[site, seed] = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert found == SKLEARN


SKLEARN = {
    ("cleveland", 43): "f1029535328e5f50",
    ("cleveland", 44): "31534368d042e21b",
    ("switzerland", 43): "dc078c4c14292c88",
    ("switzerland", 44): "96a234ddfbd18e67",
}


@pytest.mark.parametrize("mu", [0.0, 0.1])
def test_our_averaging_equals_a_plain_loop_at_equal_seeds(mu) -> None:
    four = clients(tables(), FIRST_SEED)
    settings = road.scales(four)
    ours = road.learn(averaging(settings, mu=mu, seed=5), four)
    plain = fedavg([road.rows_of(each, settings)[0] for each in four], 15, 100, 4, 0.01, mu, 5)
    assert np.abs(plain).max() > 0.1
    assert np.abs(ours - plain).max() < 1e-5


def test_our_newton_equals_newton_on_all_rows_in_one_place() -> None:
    four = clients(tables(), FIRST_SEED)
    settings = road.scales(four)
    ours = road.learn(road.newton_study(0.03, 6, settings), four)
    assert np.abs(ours - newton([road.rows_of(each, settings)[0] for each in four], 0.03, 6)).max() < 1e-5


def test_standardising_by_sums_equals_standardising_in_one_place() -> None:
    four = clients(tables(), FIRST_SEED)
    settings = road.scales(four)
    together = np.concatenate([road.rows_of(each, settings)[0][0] for each in four])
    known = ~np.isnan(np.concatenate([heart.raw(each.train) for each in four]))
    for at in range(len(heart.COLUMNS)):
        values = together[known[:, at], at]
        assert abs(values.mean()) < 1e-6 and abs(values.std() - 1) < 1e-6
    assert (together[:, :-1][~known] == 0).all(), "what is missing becomes the mean"


def test_a_home_intercept_is_the_learners_own() -> None:
    client = clients(tables(), FIRST_SEED)[3]
    settings = road.own_scales(client)
    train, _ = road.rows_of(client, settings)
    w = own_model(train, 0.03)
    w[-1] += 2.0
    assert home(train, w)[-1] - w[-1] == pytest.approx(home_shift(train[0] @ w, train[1]), abs=1e-8)


def test_auroc_counts_ties_half_and_one_class_is_none() -> None:
    assert auroc(np.array([1.0, 0, 1, 0]), np.array([0.9, 0.5, 0.5, 0.1])) == 0.875
    assert np.isnan(auroc(np.ones(3), np.ones(3)))


def test_an_interval_over_splits_is_wider_than_their_spread_alone_says() -> None:
    middle, half = interval([0.8, 0.82, 0.84, 0.86])
    assert middle == pytest.approx(0.83)
    assert half > 1.98 * np.std([0.8, 0.82, 0.84, 0.86], ddof=1) / 2
