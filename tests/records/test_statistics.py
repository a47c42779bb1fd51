"""Statistics of many sites are those of their rows together, exactly; and what a site cannot do to them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.records.model import DType, Model, Tensor
from commonward.records.released import checked, released
from commonward.records.standardise import joined_limbs
from commonward.records.statistics import Categorical, Numeric, Statistics, StatisticsError, described, parts
from commonward.records.table import Column, Table, TableError, Type

COLUMNS = (Column("age", Type.DECIMAL), Column("ward", Type.TEXT), Column("ill", Type.BOOLEAN))
WANTED = Statistics(
    (
        Numeric("age", tuple(map(Decimal, ("18", "40", "60.5", "100")))),
        Categorical("ward", ("eye", "heart")),
        Categorical("ill", (False, True)),
    ),
    tables=(("ward", "ill"),),
    means=(("age", "ill"),),
)
ages = st.one_of(st.none(), st.floats(-1e6, 1e6, allow_nan=False).map(lambda each: round(each, 3)), st.just(60.5))
rows = st.tuples(ages, st.sampled_from([None, "eye", "heart", "ear"]), st.sampled_from([None, True, False]))
sites = st.lists(st.lists(rows, max_size=12), min_size=1, max_size=4)


def table(given_rows: list[tuple[Any, ...]]) -> Table:
    return Table(COLUMNS, tuple(given_rows))


def summed(wanted: Statistics, tables: list[Table]) -> Model:
    each = [parts(wanted, one) for one in tables]
    return Model.of(
        Tensor.of(name, DType.I64, np.sum([one[name] for one in each], axis=0).astype(np.int64)) for name in each[0]
    )


def values(sums: Model) -> dict[str, Any]:
    """Counts as they are, limbs joined: how a number is split into limbs depends on who added it up."""
    found: dict[str, Any] = {}
    for each in sums:
        limbs = each.name.startswith(("sum/", "squares/")) or each.name.endswith(("/sum", "/squares"))
        rows_of = each.integers.reshape(-1, each.shape[-1])
        found[each.name] = [joined_limbs(row) for row in rows_of] if limbs else each.integers.tolist()
    return found


def changed(sums: Model, name: str, place: tuple[int, ...], by: int) -> Model:
    array = sums[name].integers.copy()
    array[place] += by
    return Model.of(Tensor.of(name, DType.I64, array) if each.name == name else each for each in sums)


@settings(max_examples=40, deadline=None)
@given(sites)
def test_the_sum_over_sites_is_that_of_their_rows_together(given_sites: list[list[tuple[Any, ...]]]) -> None:
    tables = [table(each) for each in given_sites]
    pooled = table([row for each in given_sites for row in each])
    together = summed(WANTED, tables)
    assert values(together) == values(summed(WANTED, [pooled]))
    assert {each.name: each.shape for each in together} == dict(WANTED.shapes)
    checked(WANTED, together)
    assert released(WANTED, together, len(tables)) == released(WANTED, summed(WANTED, [pooled]), len(tables))


def test_what_is_released_is_what_the_rows_say() -> None:
    held: list[tuple[Any, ...]] = [(20.0 + at, "eye" if at % 2 else "heart", at % 3 == 0) for at in range(60)]
    held += [(None, None, None)] * 6
    found = released(WANTED, summed(WANTED, [table(held)]), 1)
    age, ward, ill = found["columns"]
    known = np.array([row[0] for row in held if row[0] is not None])
    assert found["rows"] == 66 and age["present"] == 60 and age["missing"] == 6
    assert float(age["mean"]) == pytest.approx(known.mean(), rel=1e-5)
    assert float(age["deviation"]) == pytest.approx(known.std(ddof=1), rel=1e-5)
    assert [(each["from"], each["to"], each["count"]) for each in age["cells"]] == [
        (None, "18", 0), ("18", "40", 20), ("40", "60.5", 21), ("60.5", "100", 19), ("100", None, 0),
    ]  # fmt: skip
    assert [each["from"] for each in age["quartiles"]] == ["18", "40", "60.5"]
    assert [each["value"] for each in age["quartiles"]] == ["34.5", "49.76", "68.82"]
    assert [each["count"] for each in ward["cells"]] == [30, 30, 0, 6]
    assert [each["count"] for each in ill["cells"]] == [40, 20, 0, 6]
    (counts,) = found["tables"]
    assert counts["counts"] == [[20, 10, 0, 0], [20, 10, 0, 0], [0, 0, 0, 0], [0, 0, 0, 6]]
    (means,) = found["means"]
    assert [each["present"] for each in means["groups"]] == [40, 20, 0, 0]
    truth = np.array([row[0] for row in held if row[2] is True])
    assert float(means["groups"][1]["mean"]) == pytest.approx(truth.mean(), rel=1e-5)


def test_a_site_with_a_value_out_of_range_moves_the_mean_no_further_than_the_range() -> None:
    honest = [(50.0, "eye", True)] * 20
    found = released(WANTED, summed(WANTED, [table(honest), table([(1e300, "eye", True)] * 5)]), 2)
    age = found["columns"][0]
    assert float(age["mean"]) == (20 * 50 + 5 * 100) / 25
    assert age["cells"][-1] == {"from": "100", "to": None, "missing": False, "count": 5}


def test_a_category_never_declared_is_counted_and_never_named() -> None:
    sums = parts(WANTED, table([(50.0, "Mrs Miller's ward", True)]))
    assert sums["cells/ward"].tolist() == [0, 0, 1, 0]
    found = released(WANTED, summed(WANTED, [table([(50.0, "Mrs Miller's ward", True)] * 7)]), 1)
    assert "Miller" not in str(found)
    assert found["columns"][1]["cells"][2] == {"categories": [""], "count": 7}


@pytest.mark.parametrize("cell", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_never_reach_a_sum(cell: float) -> None:
    with pytest.raises(TableError, match="finite"):
        table([(cell, "eye", True)])


@pytest.mark.parametrize(
    ("name", "place", "by"),
    [
        ("cells/age", (1,), 7),
        ("cells/ward", (0,), -100),
        ("sum/age", (3,), 1 << 14),
        ("squares/age", (0,), -(1 << 40)),
        ("table/ward/ill", (0, 1), 1),
        ("means/age/ill/count", (0,), 1),
        ("means/age/ill/sum", (1, 3), 1 << 14),
    ],
)
def test_sums_that_no_rows_have_are_refused_and_not_published(name: str, place: tuple[int, ...], by: int) -> None:
    sums = summed(WANTED, [table([(50.0, "eye", True)] * 20)])
    with pytest.raises(StatisticsError, match=r"false|others"):
        released(WANTED, changed(sums, name, place, by), 1)


def test_what_is_declared_reads_back_and_is_held_against_the_columns() -> None:
    assert described(WANTED.to_text()) == WANTED
    types = {each.name: each.type for each in COLUMNS}
    WANTED.check(types)
    for name, kind, words in (("age", Type.TEXT, "age: expected a column of numbers"), ("ward", Type.INTEGER, "ward:")):
        with pytest.raises(StatisticsError, match=words):
            WANTED.check({**types, name: kind})
    with pytest.raises(StatisticsError, match="ill: the cohort's views give no such column"):
        WANTED.check({"age": Type.DECIMAL, "ward": Type.TEXT})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Numeric("x", (Decimal(2), Decimal(1))), "ascending"),
        (lambda: Numeric("x", (Decimal(1), Decimal("NaN"))), "ascending|places"),
        (lambda: Numeric("x", (Decimal(0), Decimal("1e-9"))), "places"),
        (lambda: Categorical("x", ("a", "a")), "none twice"),
        (lambda: Categorical("x", (1, "a")), "of text, whole numbers"),
        (lambda: Statistics((Categorical("x", ("a",)),), threshold=1), "threshold"),
        (lambda: Statistics((Categorical("x", ("a",)),), tables=(("x", "x"),)), "two columns with categories"),
        (lambda: Statistics((Categorical("x", ("a",)),), means=(("x", "x"),)), "a column of numbers by one with"),
        (lambda: Statistics((Categorical("x", ("a",)),), tables=(("x", "y"),)), "no column 'y'"),
        (lambda: described('{"columns": []}'), "expected statistics with"),
        (lambda: described("{"), "in JSON"),
        (lambda: described(None), "expected statistics"),
    ],
)
def test_statistics_that_cannot_be_made_are_refused(make: Any, words: str) -> None:
    with pytest.raises(StatisticsError, match=words):
        make()


@pytest.mark.parametrize(
    "edge", ["1e999999999", "1e-999999999", "0e-999999999", "-1e999999999999999999", "NaN", "1e31"]
)
def test_a_number_of_ten_letters_does_not_fill_the_memory_of_whoever_reads_the_study(edge: str) -> None:
    """As a proposer may write it: worked out it has a milliard digits."""
    said = {"threshold": 5, "sums": True, "tables": [], "means": [], "columns": [{"name": "age", "edges": ["0", edge]}]}
    with pytest.raises(StatisticsError, match="age: expected edges"):
        described(json.dumps(said))


def test_statistics_nested_without_end_are_refused_as_any_others() -> None:
    with pytest.raises(StatisticsError, match="JSON"):
        described("[" * 100_000)
