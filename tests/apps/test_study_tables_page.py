"""Tables in the report and on the terminal: whole, in both languages, and harmless whatever they are named."""

from __future__ import annotations

from decimal import Decimal
from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from commonward.apps.cli.study_statistics import _regression, _statistics, feature_lines
from commonward.apps.studies.file import read
from commonward.apps.studies.report_parts import Page
from commonward.apps.studies.statistics import add_tables
from commonward.apps.studies.table_words import TEXTS, bin_name, pool_name
from commonward.apps.studies.words import words_in
from commonward.records.model import DType, Model, Tensor
from commonward.records.regression import Categories, Measured, Outcome, Regression, described
from commonward.records.regression_table import counts, regression_table
from commonward.records.released import released
from commonward.records.statistics import Categorical, Numeric, Statistics, parts
from commonward.records.table import Column, Table, Type
from tests.apps.test_study_sections import REGRESSED

EVIL = "<script>alert(1)</script>[red]"
COLUMNS = (Column("age", Type.DECIMAL), Column("ward", Type.TEXT), Column("ill", Type.INTEGER))
ROWS = tuple(
    (20.0 + at % 60 if at % 9 else None, EVIL if at % 3 else "eye", int(at % 7 == 0 or at % 3 == 1))
    for at in range(200)
)
WANTED = Statistics(
    (
        Numeric("age", tuple(Decimal(each) for each in range(20, 81, 10))),
        Categorical("ward", ("eye", EVIL)),
        Categorical("ill", (0, 1)),
    ),
    (("ward", "ill"),),
    (("age", "ill"),),
)


def counted(rows: Any = ROWS, noise: int = 0) -> dict[str, Any]:
    wanted = WANTED if not noise else Statistics(WANTED.columns, WANTED.tables, sums=False)
    made = parts(wanted, Table(COLUMNS, tuple(rows)))
    sums = Model.of(Tensor.of(name, DType.I64, np.asarray(each)) for name, each in made.items())
    return {"tables": released(wanted, sums, 4, noise), "said": 3, "of": 4}


def regressed() -> dict[str, Any]:
    table = Table(COLUMNS, tuple(row for row in ROWS if row[0] is not None))
    wanted = Regression(
        Outcome("ill", above=Decimal(0)),
        (
            Measured("age", Decimal(18), Decimal(100), Decimal(55), Decimal(10)),
            Categories(Categorical("ward", ("eye", EVIL))),
        ),
    )
    x, y = wanted.design(table), wanted.outcome.values(table)
    return regression_table(wanted, np.array([0.1, 0.4, -0.2]), counts(x, y, np.array([0.1, 0.4, -0.2])), 0)


def page_of(local: dict[str, Any], language: str) -> str:
    page = Page(words_in(language), language, synthetic=True)
    add_tables(page, {"local": local})
    return page.body()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_report_shows_tables_histograms_and_odds_and_runs_nothing(language: str) -> None:
    html = page_of({"statistics": counted(), "regression": regressed()}, language)
    assert "<script" not in html and "&lt;script&gt;" in html
    assert html.count("<svg") == 2 and 'id="statistics"' in html and 'id="regression"' in html
    for name in ("statistics", "regression", "median", "odds", "association"):
        assert TEXTS[name][language == "zh"] in html
    assert "SYNTHETIC" in html.upper() or "合成" in html, "figures of made records say so"


def test_a_study_without_tables_adds_no_section() -> None:
    assert page_of({}, "en") == "" and page_of({"statistics": None, "regression": None}, "en") == ""


def test_noise_refusals_and_too_few_rows_are_said_in_words() -> None:
    assert "noise of standard deviation" in page_of({"statistics": counted(noise=1_000_000)}, "en")
    assert "Fewer rows than the threshold" in page_of({"statistics": counted(ROWS[:4])}, "en")
    false = {"tables": {"refused": "age: <b>false</b>"}, "said": 0, "of": 0}
    assert "&lt;b&gt;false" in page_of({"statistics": false}, "en")
    assert "singular" in page_of({"regression": {"refused": "the information is singular"}}, "en")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_terminal_shows_every_table_and_no_markup_of_others(language: str) -> None:
    console = Console(width=160, record=True, file=StringIO())
    for each in (*_statistics(counted(), language), *_regression(regressed(), language)):
        console.print(each)
    said = console.export_text()
    assert EVIL in said, "shown as it is written, not obeyed"
    assert said.count("age") >= 3 and TEXTS["intercept"][language == "zh"] in said


def test_what_was_counted_becomes_lines_of_the_next_studys_file() -> None:
    lines = feature_lines(counted())
    assert lines == ["age = { low = 20, high = 80, mean = 47.7006, deviation = 17.6212 }"]
    text = REGRESSED.replace("age = { low = 18, high = 100, mean = 55, deviation = 10 }", lines[0])
    settings = read(text, "f").protocol.learner_settings
    (feature, *_) = described(settings["regression"]).features
    assert isinstance(feature, Measured) and f"{feature.mean:f}" in lines[0]
    assert feature_lines(None) == [] and feature_lines(counted(ROWS[:4])) == []
    assert feature_lines(counted(noise=1_000_000)) == [], "noisy counts have no mean"


def test_bins_and_pools_are_named_for_people() -> None:
    assert bin_name({"from": None, "to": "18", "missing": False}, "en") == "below 18"
    assert bin_name({"from": "18", "to": "40", "missing": True}, "en") == "18 to 40 or missing"
    assert bin_name({"from": "100", "to": None, "missing": False}, "zh") == "高于 100"
    assert pool_name(["eye", "", None], "en") == "eye or another or missing"
