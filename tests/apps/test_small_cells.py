"""A curious reader of a page for others counts down to single patients, as well as that can be done, and fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from commonward.apps.studies.metrics import judged, variants
from commonward.apps.studies.report import for_others, render
from commonward.apps.studies.small_cells import alone, most_of, shown, shown_curve
from commonward.apps.studies.words import LANGUAGES, words_in
from tests.reportkit import four_classes, masked, open_study

LEAST = 3
Grid = list[list[int]]
grids = st.integers(2, 3).flatmap(
    lambda size: st.lists(st.lists(st.integers(0, 4), min_size=size, max_size=size), min_size=size, max_size=size)
)
COUNTED = {"histogram_a": [[4] * 64, [1] * 64], "confidence": [[1] * 64, [4] * 64]}


def rows_of(total: int, size: int) -> Iterator[tuple[int, ...]]:
    """Every line of a matrix that adds up so."""
    if size == 1:
        yield (total,)
        return
    for first in range(total + 1):
        yield from ((first, *rest) for rest in rows_of(total - first, size - 1))


def told(found: dict[str, Any], grid: Grid) -> Callable[[Grid], object]:
    """What the page tells of a matrix, as a function of it."""
    places = range(len(grid))
    if "confusion" in found:
        return lambda each: each
    if found["precision"][0] is not None or any(found["precision"]):
        return lambda each: (
            [sum(line) for line in each], [each[at][at] for at in places],
            [sum(line[at] for line in each) for at in places],
        )  # fmt: skip
    if any(one is not None for one in found["recall"]):
        return lambda each: ([sum(line) for line in each], [each[at][at] for at in places])
    if any(one is not None for one in found["truth"]):
        return lambda each: ([sum(line) for line in each], sum(each[at][at] for at in places))
    largest = "majority" in found
    return lambda each: (
        sum(map(sum, each)), sum(each[at][at] for at in places), largest and max(sum(line) for line in each),
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(grids)
@example([[6, 1], [0, 5]])
@example([[6, 3, 0], [1, 4, 2], [3, 0, 5]])
@example([[4, 2, 1], [1, 4, 2], [2, 1, 4]])
@example([[6, 6, 1], [6, 6, 6], [0, 6, 6]])
@example([[6, 3, 2], [3, 5, 1], [1, 1, 0]])
def test_every_small_cell_could_as_well_be_enough(grid: Grid) -> None:
    found = shown(judged({"confusion": grid}), LEAST)
    if not found or "confusion" in found:
        return  # nothing is told, or nothing is small
    size, tells = len(grid), told(found, grid)
    small = {(i, j) for i, j in product(range(size), repeat=2) if 0 < grid[i][j] < LEAST}
    seen, truth = tells(grid), [sum(line) for line in grid]
    fixed, hits = (any(one is not None for one in found[name]) for name in ("truth", "recall"))
    for other in others(grid, truth, fixed=fixed, hits=hits):
        if tells(other) == seen:
            small -= {(i, j) for i, j in small if other[i][j] >= LEAST}
            if not small:
                return
    assert not small, f"these cells are told: {small}"


def others(grid: Grid, truth: list[int], *, fixed: bool, hits: bool) -> Iterator[Grid]:
    """All matrices with these sums of rows, and this diagonal where the hits are told; else some with this sum."""
    size = len(grid)
    if fixed:
        lines = [[list(line) for line in rows_of(total, size)] for total in truth]
        if hits:
            lines = [[line for line in each if line[at] == grid[at][at]] for at, each in enumerate(lines)]
        yield from (list(each) for each in product(*lines))
        return
    right, most = sum(grid[at][at] for at in range(size)), max(truth)
    for i, j in product(range(size), repeat=2):  # two classes, the larger as large as it is, wrong in one way each
        for hit in range(max(0, right - sum(truth) + most), min(most, right) + 1):
            for wrong_i, wrong_j in product(range(size), repeat=2):
                made = [[0] * size for _ in range(size)]
                if i != j and wrong_i != i and wrong_j != j:
                    made[i][i], made[i][wrong_i] = hit, most - hit
                    made[j][j], made[j][wrong_j] = right - hit, sum(truth) - most - right + hit
                    yield made
    made = [[0] * size for _ in range(size)]
    made[0][0], made[0][1] = right, sum(truth) - right
    for _ in range(size):  # all of one class
        made = [[line[at - 1] for at in range(size)] for line in (made[-1], *made[:-1])]
        yield made


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=3, max_size=3))
def test_how_large_a_cell_could_be_is_what_trying_all_tables_says(grid: Grid) -> None:
    truth, sums = [sum(line) for line in grid], [sum(line[at] for line in grid) for at in range(3)]
    best = 0
    for lines in product(*(list(rows_of(total, 3)) for total in truth)):
        if (
            all(lines[at][at] == grid[at][at] for at in range(3))
            and [sum(each) for each in zip(*lines, strict=True)] == sums
        ):
            best = max(best, lines[0][1])
    assert most_of(grid, 0, 1, 100) == best


@pytest.mark.parametrize(
    ("grid", "has", "lacks"),
    [
        ([[50, 9], [8, 40]], ["confusion", "balanced", "majority"], []),
        ([[50, 2], [8, 40]], ["majority", "accuracy"], ["confusion", "balanced"]),
        ([[50, 5, 2], [7, 40, 1], [2, 9, 30]], ["balanced", "majority"], ["confusion"]),
        ([[50, 5, 2], [7, 40, 1], [2, 1, 0]], ["accuracy", "majority"], ["confusion", "balanced"]),
        ([[50, 1], [1, 40]], [], ["accuracy"]),
        ([[2, 0], [0, 2]], [], ["accuracy"]),
    ],
)
def test_only_so_much_is_shown_as_counts_no_few(grid: Grid, has: list[str], lacks: list[str]) -> None:
    found = shown(judged({"confusion": grid}))
    assert all(name in found for name in has) and not any(name in found for name in lacks)
    assert bool(has) == bool(found) == bool(alone(judged({"confusion": grid})))
    assert not found or found["withheld"] == bool(lacks)
    if found and "confusion" not in found and len(grid) == 2:
        assert found["recall"] == found["precision"] == [None, None], "of two classes recall is the matrix"


def test_groups_of_a_plot_are_joined_until_none_counts_a_few_and_none_is_lost() -> None:
    grid = [[60, 20], [15, 60]]
    made = judged({"confusion": grid, "histogram": [[1] * 32 + [0] * 16 + [3] * 16, [0] * 30 + [1] * 34]})
    joined = shown(made)["calibration"]
    for each in joined:
        hits = round(each["was"] * each["rows"])
        assert not 0 < hits < 5 and not 0 < each["rows"] - hits < 5
    assert sum(each["rows"] for each in joined) == sum(each["rows"] for each in made["calibration"])
    assert len(joined) < len(made["calibration"])
    few = judged({"confusion": grid, "histogram": [[2] * 64, [0] * 62 + [1] * 2]})
    assert shown(few)["calibration"] == [], "two of all"


def test_what_a_model_did_not_say_is_left_out_where_it_would_count_a_few() -> None:
    whole = [[50, 10], [10, 40]]
    kept = {"confusion": whole, "abstained": [89, 21], "confusion_kept": [[44, 5], [5, 35]]}
    assert shown(judged(kept))["kept_confusion"] == [[44, 5], [5, 35]]
    near = shown(judged({**kept, "confusion_kept": [[48, 5], [5, 31]]}))
    assert "kept_confusion" not in near and near["kept_accuracy"], "50 - 48 were not said"
    few = shown(judged({**kept, "abstained": [107, 3], "confusion_kept": [[49, 10], [10, 38]]}))
    assert "abstained" not in few and "kept_accuracy" not in few and few["withheld"]


def test_a_round_in_which_nearly_all_were_right_says_no_accuracy() -> None:
    each = {"round": 1, "of": "all", "accuracy": 0.98, "balanced": 0.9, "brier": 0.1}
    assert shown_curve(each, 100) == {"round": 1, "of": "all", "brier": 0.1}
    assert shown_curve(each, 1000)["accuracy"] == 0.98


def test_a_page_for_others_shows_no_small_cell_and_says_so_while_the_sites_own_page_has_all() -> None:
    study = open_study()
    grid = study["local"]["all"][""]["confusion"]
    assert any(0 < cell < 5 for line in grid for cell in line), "else nothing is tried"
    for language in LANGUAGES:
        text = words_in(language)
        inside, outside = render(study, language), render(for_others(study), language)
        assert text("confusion-note") in inside and text("confusion-note") not in outside
        assert text("small-cells", most=4) in outside and text("small-cells", most=4) not in inside
        assert text("by-class") in outside


def test_one_site_with_a_few_hides_all_single_sites_as_it_could_be_subtracted() -> None:
    study = open_study()
    assert set(for_others(study)["local"]["per_site"]) == set(study["local"]["per_site"])
    sure = np.diag([30, 20, 20, 10])
    sure[0, 1] = 2
    study["local"]["per_site"]["north"] = {"": judged({"confusion": sure.tolist()})}
    others = for_others(study)
    assert others["local"]["per_site"] == {}
    assert words_in("en")("per-site-few") in render(others, "en")


def test_a_page_for_others_of_few_patients_and_of_many_can_be_made() -> None:
    for rows in (4, 12, 60, 400, 4000):
        made = variants(four_classes(rows))
        study = open_study()
        study["local"] |= {"all": made, "per_site": {}, "contributions": {}}
        for language in LANGUAGES:
            assert render(for_others(study), language)
    assert render(for_others(masked()), "en")
