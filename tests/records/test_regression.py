"""A regression over any cohort: the same design at every site, and a table that equals the pooled regression's."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from commonward.records.newton import packed
from commonward.records.regression import Categories, Measured, Outcome, Regression, RegressionError, described
from commonward.records.regression_table import LEARNT, counts, regression_table
from commonward.records.statistics import Categorical
from commonward.records.table import Column, Table, Type

COLUMNS = (Column("age", Type.DECIMAL), Column("ward", Type.TEXT), Column("ill", Type.INTEGER))
WANTED = Regression(
    Outcome("ill", above=Decimal(0)),
    (
        Measured("age", Decimal(18), Decimal(100), Decimal(55), Decimal(10)),
        Categories(Categorical("ward", ("eye", "heart", "ear"))),
    ),
)


def drawn(rows: int, seed: int = 1) -> Table:
    """Rows whose outcome follows a known regression."""
    chance = np.random.Generator(np.random.PCG64(seed))
    age = np.round(chance.normal(55, 12, rows), 1)
    ward = chance.integers(0, 3, rows)
    logits = 0.04 * (age - 55) + np.array([0.0, 0.8, -0.5])[ward] - 0.3
    ill = chance.random(rows) < 1 / (1 + np.exp(-logits))
    names = ("eye", "heart", "ear")
    return Table(COLUMNS, tuple((float(a), names[w], int(i)) for a, w, i in zip(age, ward, ill, strict=True)))


def plain_newton(x: Any, y: Any, ridge: float = 0.0) -> tuple[Any, Any]:
    """Coefficients and information of a textbook Newton on pooled rows."""
    w = np.zeros(x.shape[1])
    penalty = np.full(x.shape[1], ridge * len(y))
    penalty[-1] = 0
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ w))
        hessian = (x * (p * (1 - p))[:, None]).T @ x
        w = w - np.linalg.solve(hessian + np.diag(penalty), x.T @ (p - y) + penalty * w)
    return w, hessian


def test_the_table_is_that_of_the_pooled_regression_in_the_columns_own_units() -> None:
    tables = [drawn(200, seed) for seed in (1, 2, 3)]
    pooled = Table(COLUMNS, tuple(row for each in tables for row in each.rows))
    x, y = WANTED.design(pooled), WANTED.outcome.values(pooled)
    w, _ = plain_newton(x, y)
    sums = [counts(WANTED.design(each), WANTED.outcome.values(each), w) for each in tables]
    together = {name: np.sum([one[name] for one in sums], axis=0).astype(np.int64) for name in sums[0]}
    found = regression_table(WANTED, w, together, ridge=0)
    assert found["rows"] == 600 and found["positive"] == int(y.sum()) and found["converged"]
    # The same regression on columns as they are: what a textbook would print.
    centred = np.column_stack([x[:, 0] * 10, x[:, 1:]])  # so that a plain Newton converges; the slopes are the same
    values, hessian = plain_newton(centred, y)
    errors = np.sqrt(np.diag(np.linalg.inv(hessian)))
    said = {each["name"]: each for each in found["coefficients"]}
    assert list(said) == ["age", "ward=heart", "ward=ear", ""]
    for at, name in enumerate(["age", "ward=heart", "ward=ear"]):
        assert float(said[name]["coefficient"]) == pytest.approx(values[at], abs=1e-6)
        assert float(said[name]["error"]) == pytest.approx(errors[at], rel=1e-4)
        assert float(said[name]["odds_ratio"]) == pytest.approx(np.exp(values[at]), rel=1e-5)
        assert float(said[name]["low"]) == pytest.approx(np.exp(values[at] - 1.959964 * errors[at]), rel=1e-4)
    assert float(said[""]["coefficient"]) == pytest.approx(values[3] - 55 * values[0], abs=1e-5)
    assert float(said["age"]["p"]) < 1e-3


def test_a_ridge_narrows_the_intervals_as_the_penalised_estimate_does() -> None:
    table = drawn(300)
    x, y = WANTED.design(table), WANTED.outcome.values(table)
    w, hessian = plain_newton(x, y, ridge=0.1)
    penalty = np.diag([30.0, 30.0, 30.0, 0.0])
    inverse = np.linalg.inv(hessian + penalty)
    errors = np.sqrt(np.diag(inverse @ hessian @ inverse))
    found = regression_table(WANTED, w, counts(x, y, w), ridge=100_000_000)
    assert found["converged"]
    assert float(found["coefficients"][1]["error"]) == pytest.approx(errors[1], rel=1e-4)


def test_a_model_that_has_not_converged_says_so() -> None:
    table = drawn(300)
    x, y = WANTED.design(table), WANTED.outcome.values(table)
    assert regression_table(WANTED, np.zeros(4), counts(x, y, np.zeros(4)), 0)["converged"] is False


def test_a_category_of_a_few_patients_has_no_odds_ratio_in_the_table() -> None:
    rows = [*drawn(300).rows, (50.0, "ear", 1)]
    table = Table(COLUMNS, tuple(row for row in rows if row[1] != "ear" or row == rows[-1])[-200:])
    x, y = WANTED.design(table), WANTED.outcome.values(table)
    w, _ = plain_newton(x, y, 0.01)
    found = {each["name"]: each for each in regression_table(WANTED, w, counts(x, y, w), 10_000_000)["coefficients"]}
    assert found["ward=ear"]["odds_ratio"] is None and found["ward=heart"]["odds_ratio"] is not None
    few = counts(x[:4], y[:4], w)
    assert regression_table(WANTED, w, few, 0)["rows"] is None and few[LEARNT][0] == 4


def test_counts_of_another_regression_are_refused() -> None:
    table = drawn(30)
    x, y = WANTED.design(table), WANTED.outcome.values(table)
    with pytest.raises(RegressionError, match="counts of this regression"):
        regression_table(WANTED, np.zeros(4), counts(x[:, 1:], y, np.zeros(3)), 0)
    assert packed(np.eye(4)).shape == (10,)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ((None, "eye", 1), "age: expected a declared value in every row, got none in 1"),
        ((50.0, None, 1), "ward: expected a declared value"),
        ((50.0, "Mrs Miller's ward", 1), "ward: expected a declared value"),
        ((50.0, "eye", None), "ill: expected a declared value"),
    ],
)
def test_rows_without_a_declared_value_are_refused_without_telling_the_value(row: Any, words: str) -> None:
    table = Table(COLUMNS, (row,))
    with pytest.raises(RegressionError, match=words) as refused:
        (WANTED.design(table), WANTED.outcome.values(table))
    assert "Miller" not in str(refused.value)


def test_a_declared_fill_stands_for_what_is_missing_and_ranges_clamp() -> None:
    age = Measured("age", Decimal(18), Decimal(100), Decimal(55), Decimal(10), Decimal(60))
    ward = Categories(Categorical("ward", ("eye", "heart", "ear")), "heart")
    wanted = Regression(WANTED.outcome, (age, ward))
    table = Table(COLUMNS, ((None, None, 0), (1e9, "nowhere", 1), (-1e9, "eye", 1)))
    assert wanted.design(table).tolist() == [[0.5, 1, 0, 1], [4.5, 1, 0, 1], [-3.7, 0, 0, 1]]
    assert described(wanted.to_text()) == wanted


def test_what_is_declared_reads_back_and_is_held_against_the_columns() -> None:
    assert described(WANTED.to_text()) == WANTED
    WANTED.check({each.name: each.type for each in COLUMNS})
    with pytest.raises(RegressionError, match="ward: expected a column of text"):
        WANTED.check({"age": Type.DECIMAL, "ward": Type.INTEGER, "ill": Type.INTEGER})
    with pytest.raises(RegressionError, match="ill: the cohort's views give no such column"):
        WANTED.check({"age": Type.DECIMAL, "ward": Type.TEXT})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Measured("x", Decimal(0), Decimal(10**6), Decimal(0), Decimal(1)), "within 16 deviations"),
        (lambda: Measured("x", Decimal(0), Decimal(1), Decimal(0), Decimal(0)), "deviation above 0"),
        (lambda: Measured("x", Decimal(0), Decimal("NaN"), Decimal(0), Decimal(1)), "low below high"),
        (lambda: Categories(Categorical("x", ("a",))), "two categories at least"),
        (lambda: Categories(Categorical("x", ("a", "b")), "c"), "one of its categories as fill"),
        (lambda: Outcome("x"), "either the positive values"),
        (lambda: Regression(Outcome("ward", ("eye",)), WANTED.features), "no column twice"),
        (lambda: described("{"), "in JSON"),
        (lambda: described('{"outcome": {}, "features": [], "threshold": 5}'), "expected an outcome"),
    ],
)
def test_regressions_that_cannot_be_made_are_refused(make: Any, words: str) -> None:
    with pytest.raises(RegressionError, match=words):
        make()


@pytest.mark.parametrize("number", ["1e999999999", "1e-999999999", "-1e999999999999999999", "NaN", "sNaN", "1e-400"])
@pytest.mark.parametrize("field", ["low", "high", "mean", "deviation", "fill", "above"])
def test_a_number_of_ten_letters_does_not_fill_the_memory_of_whoever_reads_the_study(field: str, number: str) -> None:
    """As a proposer may write it: worked out it has a milliard digits."""
    outcome, age = (
        {"name": "ill", "above": "0"},
        {"name": "age", "low": "0", "high": "9", "mean": "4", "deviation": "2"},
    )
    (outcome if field == "above" else age)[field] = number
    with pytest.raises(RegressionError, match="expected"):
        described(json.dumps({"outcome": outcome, "features": [age], "threshold": 5}))


def test_a_regression_nested_without_end_is_refused_as_any_other() -> None:
    with pytest.raises(RegressionError, match="JSON"):
        described("[" * 100_000)
