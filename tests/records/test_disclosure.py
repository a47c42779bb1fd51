"""A curious viewer subtracts what is shown from the margins, as well as that can be done, and counts down to nobody."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.records.disclosure import hidden, hidden_groups, merged, merged_with_missing, pooled
from commonward.records.model import DType, Model, Tensor
from commonward.records.released import noise_deviation, released
from commonward.records.statistics import Categorical, Numeric, Statistics, StatisticsError, parts
from commonward.records.table import Column, Table, Type

LEAST = 5
counts = st.lists(st.one_of(st.integers(0, 9), st.integers(0, 60)), min_size=1, max_size=9)


def grid_of(shape: tuple[int, int], values: list[int]) -> list[list[int]]:
    return [[values[(i * shape[1] + j) % len(values)] for j in range(shape[1])] for i in range(shape[0])]


@settings(max_examples=50, deadline=None)
@given(counts)
def test_every_pool_that_is_shown_is_nobody_or_enough(cells: list[int]) -> None:
    if sum(cells) < LEAST:
        return  # nothing is shown of so few
    for groups in (pooled(cells, LEAST), merged(cells, LEAST)):
        assert sorted(at for group in groups for at in group) == list(range(len(cells)))
        sums = [sum(cells[at] for at in group) for group in groups]
        assert all(total == 0 or total >= LEAST for total in sums), (cells, groups)


@settings(max_examples=50, deadline=None)
@given(counts)
def test_a_pool_does_not_tell_its_cells_to_one_who_knows_how_pools_are_made(cells: list[int]) -> None:
    for group in pooled(cells, LEAST):
        inside = [cells[at] for at in group]
        if len(group) == 1 or len(group) == len(cells):
            continue
        total, size = sum(inside), len(inside)
        # The viewer knows: none is 0, and either all are small or one at least was taken to cover the others.
        assert size < total, "all of them 1"
        assert any(each >= LEAST for each in inside) or total < size * (LEAST - 1), (
            "all of them as large as small can be"
        )


@settings(max_examples=50, deadline=None)
@given(counts, st.integers(0, 20))
def test_missing_values_cannot_be_counted_by_subtracting_the_bins_from_the_rows(bins: list[int], missing: int) -> None:
    if sum(bins) + missing < LEAST:
        return
    groups, joined = merged_with_missing(bins, missing, LEAST)
    sums = [sum(bins[at] for at in group) + (missing if at == joined else 0) for at, group in enumerate(groups)]
    assert all(total == 0 or total >= LEAST for total in sums)
    if joined is None:
        assert missing == 0 or missing >= LEAST


def bounds(grid: list[list[int]], gone: tuple[tuple[bool, ...], ...]) -> dict[tuple[int, int], tuple[int, int]]:
    """What is known of each hidden cell from all margins and all that is shown: its least and its greatest value.

    By a maximum flow over the hidden cells, from what is left of the rows to what is left of the columns: no viewer who
    has this table alone can know more.
    """
    rows = [
        sum(each for each, lost in zip(line, flags, strict=True) if lost)
        for line, flags in zip(grid, gone, strict=True)
    ]
    columns = [sum(grid[i][j] for i in range(len(grid)) if gone[i][j]) for j in range(len(grid[0]))]
    cells = [(i, j) for i, flags in enumerate(gone) for j, lost in enumerate(flags) if lost]
    found = {}
    for cell in cells:
        known = [
            value
            for value in range(min(rows[cell[0]], columns[cell[1]]) + 1)
            if feasible(rows, columns, cells, cell, value)
        ]
        found[cell] = (min(known), max(known))
    return found


def feasible(
    rows: list[int], columns: list[int], cells: list[tuple[int, int]], fixed: tuple[int, int], value: int
) -> bool:
    """Whether some table has these margins, and this value in this cell."""
    left, right = rows.copy(), columns.copy()
    left[fixed[0]] -= value
    right[fixed[1]] -= value
    flow: dict[tuple[int, int], int] = {each: 0 for each in cells if each != fixed}
    while any(left):
        path = augmenting(left, right, flow)
        if path is None:
            return False
        give = min(
            left[path[0][0][0]], right[path[-1][0][1]], *[flow[each] for each, sign in path if sign < 0] or [1 << 30]
        )
        for each, sign in path:
            flow[each] += sign * give
        left[path[0][0][0]] -= give
        right[path[-1][0][1]] -= give
    return True


def augmenting(
    left: list[int], right: list[int], flow: dict[tuple[int, int], int]
) -> list[tuple[tuple[int, int], int]] | None:
    starts: list[tuple[int, list[tuple[tuple[int, int], int]]]] = [(i, []) for i, each in enumerate(left) if each]
    seen = {i for i, _ in starts}
    while starts:
        i, path = starts.pop(0)
        for cell in flow:
            if cell[0] != i:
                continue
            onward = [*path, (cell, 1)]
            if right[cell[1]]:
                return onward
            for back, amount in flow.items():
                if back[1] == cell[1] and amount and back[0] not in seen:
                    seen.add(back[0])
                    starts.append((back[0], [*onward, (back, -1)]))
    return None


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 4), st.integers(2, 4), counts)
def test_a_hidden_cell_cannot_be_subtracted_out_of_the_margins(height: int, width: int, values: list[int]) -> None:
    raw = grid_of((height, width), values)
    lines = pooled([sum(line) for line in raw], LEAST)
    across = pooled([sum(column) for column in zip(*raw, strict=True)], LEAST)
    grid = [[sum(raw[i][j] for i in one for j in other) for other in across] for one in lines]
    if sum(map(sum, grid)) < LEAST:
        return
    gone = hidden(grid, LEAST)
    known = bounds(grid, gone)
    for i, line in enumerate(grid):
        for j, count in enumerate(line):
            if 0 < count < LEAST:
                assert gone[i][j], "a small cell is shown"
                low, high = known[i, j]
                assert low < high and high >= LEAST, f"{count} at {i}, {j} of {grid} is known to be {low} to {high}"


def test_the_only_small_cell_of_a_table_takes_three_others_with_it() -> None:
    gone = hidden([[30, 2, 40], [20, 9, 50]], LEAST)
    assert gone == ((True, True, False), (True, True, False))


def test_the_mean_of_one_small_group_cannot_be_subtracted_out_of_the_mean_of_all() -> None:
    assert hidden_groups([40, 3, 6, 20], LEAST) == {1, 2}
    assert hidden_groups([40, 0, 6], LEAST) == frozenset()


def shown(held: list[tuple[Any, ...]], wanted: Statistics) -> dict[str, Any]:
    table = Table((Column("age", Type.DECIMAL), Column("sex", Type.TEXT), Column("ill", Type.TEXT)), tuple(held))
    sums = Model.of(Tensor.of(name, DType.I64, np.asarray(each)) for name, each in parts(wanted, table).items())
    return released(wanted, sums, 4)


WANTED = Statistics(
    (
        Numeric("age", tuple(map(Decimal, ("0", "50", "100")))),
        Categorical("sex", ("f", "m")),
        Categorical("ill", ("no", "yes")),
    ),
    (("sex", "ill"),),
    (("age", "ill"),),
)


def test_whoever_sees_all_that_is_published_finds_no_count_and_no_mean_of_a_few() -> None:
    held: list[tuple[Any, ...]] = [(40.0, "f", "no")] * 30 + [(60.0, "m", "no")] * 30 + [(99.0, "m", "yes")] * 40
    held += [(33.0, "f", "yes")] * 2 + [(None, "m", "no")] * 3 + [(40.0, "x", "no")]
    found = shown(held, WANTED)
    assert found["rows"] == 106
    (table,) = found["tables"]
    assert table["row_categories"] == [["f", ""], ["m"], [None]], "the one of another sex is pooled"
    assert table["counts"][0][:2] == [None, None] and table["counts"][1][:2] == [None, None]
    age = found["columns"][0]
    assert age["missing"] is None and age["present"] is None
    assert sum(each["count"] for each in age["cells"]) == 106, "the three without an age are in one of the bins"
    assert {each["present"] for each in found["means"][0]["groups"]} == {None}
    assert all(len(each["mean"].replace(".", "")) <= 4 for each in found["means"][0]["groups"] if each["mean"])


def test_of_fewer_rows_than_the_threshold_nothing_is_published() -> None:
    found = shown([(40.0, "f", "no")] * 4, WANTED)
    assert found["rows"] is None and not found["columns"] and not found["tables"] and not found["means"]


def test_noise_covers_everything_that_one_patient_moves() -> None:
    noisy = Statistics(WANTED.columns, WANTED.tables, (), sums=False)
    deviation = noise_deviation(noisy, Fraction(2))
    assert float(deviation) == pytest.approx(2 * 5**0.5, rel=1e-5) and deviation**2 >= 4 * 5
    one = Table((Column("age", Type.DECIMAL), Column("sex", Type.TEXT), Column("ill", Type.TEXT)), ((1.0, "f", "no"),))
    moved = sum(int((each * each).sum()) for each in parts(noisy, one).values())
    assert moved == 5, "the row itself: in rows, three columns and a table"
    with pytest.raises(StatisticsError, match="counts alone"):
        noise_deviation(WANTED, Fraction(2))
