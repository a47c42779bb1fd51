"""Columns are standardised over all sites as if their rows lay together, by sums that tell no site's own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.ledger.rounds.words import Rule
from commonward.records.aggregation import Parameters, aggregate
from commonward.records.model import EMPTY_MODEL, ONE, DType, Model, Tensor
from commonward.records.standardise import (
    Column,
    StandardiseError,
    joined,
    scales_model,
    site_sums,
    standardised,
    sum_shapes,
)
from commonward.records.updates import Kind, Update, sum_tensors

COLUMNS = (
    Column("age", 0, 120 * ONE),
    Column("cholesterol", 5 * ONE, 70 * ONE, 10),
    Column("oldpeak", -10 * ONE, 10 * ONE),
)
Array = np.ndarray[Any, Any]


def _sites(seed: int = 4) -> list[Array]:
    rng = np.random.default_rng(seed)
    made = []
    for rows in (40, 7, 120):
        x = np.column_stack([rng.uniform(20, 90, rows), rng.uniform(100, 600, rows), rng.normal(0, 2, rows)])
        x[rng.random(x.shape) < 0.1] = np.nan
        made.append(x)
    return made


def _over(sites: Sequence[Array], columns: Sequence[Column] = COLUMNS) -> Model:
    updates = [
        Update(b"s" * 16, 1, 1, f"site-{at}", EMPTY_MODEL.digest, Kind.SUM, 1, sum_tensors(site_sums(columns, rows)))
        for at, rows in enumerate(sites)
    ]
    return aggregate(Rule.SUM, Parameters(sums=sum_shapes(columns)), EMPTY_MODEL, updates).model


def test_mean_and_deviation_are_those_of_all_rows_together() -> None:
    sites = _sites()
    scales = joined(COLUMNS, _over(sites), least=20)
    together = np.vstack(sites) / [1, 10, 1]
    for at, column in enumerate(COLUMNS):
        scale = scales[column.name]
        assert scale.count == np.isfinite(together[:, at]).sum()
        assert scale.mean / ONE == pytest.approx(np.nanmean(together[:, at]), abs=2 / ONE)
        assert scale.deviation / ONE == pytest.approx(np.nanstd(together[:, at]), abs=2 / ONE)


def test_the_same_rows_give_the_same_integers_however_they_lie_at_sites() -> None:
    sites = _sites()
    together = [np.vstack(sites)]
    scales = joined(COLUMNS, _over(sites), least=20)
    assert joined(COLUMNS, _over(together), least=20) == scales
    assert scales_model(COLUMNS, scales).digest == scales_model(COLUMNS, joined(COLUMNS, _over(together), 20)).digest


def test_standardised_rows_have_mean_nought_and_deviation_one_and_missing_is_the_mean() -> None:
    sites = _sites()
    scales = joined(COLUMNS, _over(sites), least=20)
    parts = np.vstack([standardised(COLUMNS, scales, rows) for rows in sites])
    there = ~np.isnan(np.vstack(sites))
    assert (parts[~there] == 0).all()
    for at in range(3):
        assert parts[there[:, at], at].mean() == pytest.approx(0, abs=1e-6)
        assert parts[there[:, at], at].std() == pytest.approx(1, abs=1e-6)


def test_a_typing_error_moves_the_mean_no_further_than_the_declared_range() -> None:
    rows = np.full((50, 1), 40.0)
    rows[1] = 41.0
    rows[0] = 4e9
    column = [Column("age", 0, 120 * ONE)]
    assert joined(column, _over([rows], column), least=1)["age"].mean <= (49 * 41 + 120) * ONE // 50


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-256, 256), min_size=2, max_size=30), st.integers(1, 29))
def test_squares_join_exactly_from_their_limbs(values: list[float], cut: int) -> None:
    column = [Column("x", -256 * ONE, 256 * ONE)]
    rows = np.array(values)[:, None]
    sums = _over([rows[:cut], rows[cut:]], column)
    exact = [round(each * ONE) for each in values]
    assert _joined(sums["squares"].integers[0]) == sum(each * each for each in exact)
    assert _joined(sums["sum"].integers[0]) == sum(exact)


def _joined(limbs: Array) -> int:
    return sum(int(limb) << (16 * at) for at, limb in enumerate(limbs))


def test_a_column_with_few_values_is_refused_without_saying_how_few() -> None:
    with pytest.raises(StandardiseError, match=r"age: expected at least 1000 values over all sites, got fewer$"):
        joined(COLUMNS, _over(_sites()), least=1000)


def test_a_column_that_is_the_same_everywhere_is_refused() -> None:
    column = [Column("x", 0, ONE)]
    with pytest.raises(StandardiseError, match="leave it out"):
        joined(column, _over([np.ones((30, 1))], column), least=1)


def test_sums_that_no_values_have_are_refused() -> None:
    good = {name: array.copy() for name, array in site_sums(COLUMNS, _sites()[0]).items()}
    for name, at, false in (("sum", (0, 3), 1 << 20), ("squares", (1, 0), -(1 << 61)), ("squares", (2, 5), -5)):
        parts = {each: array.copy() for each, array in good.items()}
        parts[name][at] = false
        sums = Model.of(Tensor.of(each, DType.I64, array) for each, array in parts.items())
        with pytest.raises(StandardiseError, match="values within its range"):
            joined(COLUMNS, sums, least=1)


@pytest.mark.parametrize("rows", [np.ones((3, 2)), np.ones(3), np.ones((3, 3), np.float32), np.full((1, 3), np.inf)])
def test_rows_of_another_kind_are_refused(rows: Array) -> None:
    with pytest.raises(StandardiseError):
        site_sums(COLUMNS, rows)


@pytest.mark.parametrize(
    ("low", "high", "divisor"), [(1, 1, 1), (2, 1, 1), (0, 257 * ONE, 1), (-257 * ONE, 0, 1), (0, 1, 0)]
)
def test_a_range_must_fit(low: int, high: int, divisor: int) -> None:
    with pytest.raises(StandardiseError, match="range"):
        Column("x", low, high, divisor)
