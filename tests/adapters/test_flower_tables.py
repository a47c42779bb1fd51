"""The learners of any cohort, in their own process: statistics that add up exactly, and a regression as pooled."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import pytest

from commonward.adapters.flower import BUNDLED, FlowerLearner, digest_of
from commonward.apps.samples.heart import COLUMNS, SITES, rows
from commonward.ledger.rounds.words import Rule
from commonward.records.aggregation import aggregate
from commonward.records.model import EMPTY_MODEL, DType, Model, Tensor
from commonward.records.regression import Categories, Measured, Outcome, Regression
from commonward.records.regression_table import regression_table
from commonward.records.rule_parameters import Parameters
from commonward.records.statistics import Categorical, Numeric, Statistics, parts
from commonward.records.table import Column, Table, Type
from commonward.records.updates import Update
from commonward.workflows.training.ports import LearnerFailed, Task

STUDY = b"s" * 16
TABLES = {
    site: Table(
        tuple(Column(name, Type.DECIMAL) for name in COLUMNS),
        tuple(row for row in rows(site) if None not in (row[0], row[2], row[9], row[13])),
    )
    for site in SITES
}
COUNTED = Statistics(
    (
        Numeric("age", tuple(Decimal(each) for each in range(20, 101, 10))),
        Numeric("chol", (Decimal(80), Decimal(200), Decimal(240), Decimal(600))),
        Categorical("cp", (1, 2, 3)),
        Categorical("num", (0, 1, 2, 3, 4)),
    ),
    (("cp", "num"),),
    (("age", "num"),),
)
REGRESSED = Regression(
    Outcome("num", above=Decimal(0)),
    (
        Measured("age", Decimal(18), Decimal(100), Decimal(55), Decimal(10)),
        Measured("oldpeak", Decimal(-4), Decimal(8), Decimal(1), Decimal("1.1")),
        Categories(Categorical("cp", (4, 1, 2, 3))),
    ),
)


@pytest.fixture(scope="module")
def statistics() -> Iterator[FlowerLearner]:
    with FlowerLearner("statistics", digest_of(BUNDLED, "statistics")) as made:
        yield made


@pytest.fixture(scope="module")
def logistic() -> Iterator[FlowerLearner]:
    with FlowerLearner("logistic", digest_of(BUNDLED, "logistic")) as made:
        yield made


def summing(settings: dict[str, int | str]) -> Task:
    return Task(STUDY, 1, 1, Rule.SUM, settings)


def test_statistics_of_four_hospitals_are_those_of_their_pooled_rows(statistics: FlowerLearner) -> None:
    updates = []
    for site, table in TABLES.items():
        statistics.load(table, table.take([]))
        made = statistics.train(EMPTY_MODEL, summing({"statistics": COUNTED.to_text()}))
        updates.append(Update(STUDY, 1, 1, site, EMPTY_MODEL.digest, made.kind, made.rows, made.tensors))
    together = aggregate(Rule.SUM, Parameters(sums=COUNTED.shapes), EMPTY_MODEL, updates).model
    each_site = [parts(COUNTED, table) for table in TABLES.values()]
    wanted = [Tensor.of(name, DType.I64, np.sum([one[name] for one in each_site], axis=0)) for name in COUNTED.shapes]
    assert together == Model.of(wanted)
    pooled = Table(TABLES["va"].columns, tuple(row for table in TABLES.values() for row in table.rows))
    counts = parts(COUNTED, pooled)
    for name in ("rows", "cells/age", "cells/chol", "cells/cp", "table/cp/num", "means/age/num/count"):
        assert together[name].integers.tolist() == counts[name].tolist()
    assert together["cells/cp"].integers[3] > 0, "chest pain 4 was not declared here, and is counted as another"


def test_noisy_counts_are_drawn_anew_and_have_no_sums(statistics: FlowerLearner) -> None:
    noisy = Statistics(COUNTED.columns, COUNTED.tables, (), sums=False)
    table = TABLES["cleveland"]
    statistics.load(table, table.take([]))
    task = summing({"statistics": noisy.to_text(), "noise": 5_000_000, "steps": 1})
    one, other = statistics.train(EMPTY_MODEL, task), statistics.train(EMPTY_MODEL, task)
    assert one != other, "noise is never the same twice"
    true = parts(noisy, table)
    away = np.concatenate([(each.integers - true[each.name]).ravel() for each in one.tensors])
    assert 0 < np.abs(away).max() < 12 * 5 * 6**0.5, "twelve deviations: 5 x the root of 6"
    with pytest.raises(LearnerFailed, match="counts alone for noise"):
        statistics.train(EMPTY_MODEL, summing({"statistics": COUNTED.to_text(), "noise": 1_000_000, "steps": 1}))
    with pytest.raises(LearnerFailed, match="all rows once"):
        statistics.train(EMPTY_MODEL, summing({"statistics": noisy.to_text(), "noise": 1_000_000, "steps": 2}))


def test_what_is_not_declared_or_not_there_fails_in_words(statistics: FlowerLearner) -> None:
    table = TABLES["va"]
    statistics.load(table, table.take([]))
    with pytest.raises(LearnerFailed, match="expected statistics in JSON"):
        statistics.train(EMPTY_MODEL, summing({"statistics": "{"}))
    other = Statistics((Categorical("ward", (1, 2)),))
    with pytest.raises(LearnerFailed, match="no column 'ward'"):
        statistics.train(EMPTY_MODEL, summing({"statistics": other.to_text()}))


def test_federated_newton_over_any_columns_equals_the_pooled_regression(logistic: FlowerLearner) -> None:
    settings: dict[str, int | str] = {"regression": REGRESSED.to_text(), "method": "newton"}
    model, parameters = logistic.first_model(settings), Parameters(ridge=0)
    task = Task(STUDY, 1, 1, Rule.NEWTON, settings)
    sums: dict[str, np.typing.NDArray[np.int64]] = {}
    for round_ in range(8):
        updates, counted = [], []
        for site, table in TABLES.items():
            logistic.load(table, table.take([]))
            if round_ == 7:
                counted.append({each.name: each.integers for each in logistic.evaluate(model, task)})
                continue
            made = logistic.train(model, task)
            updates.append(Update(STUDY, 1, 1, site, model.digest, made.kind, made.rows, made.tensors))
        if updates:
            model = aggregate(Rule.NEWTON, parameters, model, updates).model
        else:
            sums = {name: np.sum([one[name] for one in counted], axis=0) for name in counted[0]}
    pooled = Table(TABLES["va"].columns, tuple(row for table in TABLES.values() for row in table.rows))
    x, y = REGRESSED.design(pooled), REGRESSED.outcome.values(pooled)
    w = np.zeros(REGRESSED.width)
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ w))
        information = (x * (p * (1 - p))[:, None]).T @ x
        w = w - np.linalg.solve(information, x.T @ (p - y))
    coefficients = model["coefficients"].floats
    assert np.abs(coefficients / w - 1).max() < 2e-6, "the grid of 2^-24 on which gradients travel"
    found = regression_table(REGRESSED, coefficients, sums, 0)
    assert found["rows"] == len(pooled) and found["converged"]
    error = float(found["coefficients"][2]["error"])
    assert error == pytest.approx(np.sqrt(np.linalg.inv(information)[2, 2]), rel=1e-4)


def test_descent_moves_towards_the_outcome_and_private_steps_make_no_table(logistic: FlowerLearner) -> None:
    table = TABLES["cleveland"]
    logistic.load(table.take(range(200)), table.take(range(200, len(table))))
    given: dict[str, int | str] = {"regression": REGRESSED.to_text(), "method": "descent", "steps": 200, "batch": 16}
    base = logistic.first_model(given)
    made = logistic.train(base, Task(STUDY, 1, 1, Rule.FEDAVG, given))
    again = logistic.train(base, Task(STUDY, 1, 1, Rule.FEDAVG, given))
    assert made == again and made.rows == 200
    step = Model.of([Tensor.of("coefficients", DType.Q24, made.tensors[0].integers)])
    counts = {each.name: each.integers for each in logistic.evaluate(step, Task(STUDY, 1, 1, Rule.FEDAVG, given))}
    confusion = counts["confusion"]
    assert confusion.trace() > 0.6 * confusion.sum() and counts["learnt"][0] == 200
    private = {**given, "noise": 1_000_000, "steps": 2}
    held = {each.name for each in logistic.evaluate(step, Task(STUDY, 1, 1, Rule.FEDAVG, private))}
    assert "confusion" in held and not held & {"information", "score", "levels"}, "the table would be of exact rows"
    with pytest.raises(LearnerFailed, match="descent with noise"):
        logistic.train(base, Task(STUDY, 1, 1, Rule.NEWTON, {**private, "method": "newton"}))
