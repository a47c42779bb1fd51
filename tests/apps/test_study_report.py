"""The report of a study needs nothing else and runs nothing; what it draws is what the counts say."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from commonward.apps.studies.look import look, page_digest, wilson
from commonward.apps.studies.metrics import judged, variants
from commonward.apps.studies.report import render
from commonward.apps.studies.words import CARD, LANGUAGES, TEXTS, words_in
from commonward.ledger.rounds import Status
from commonward.records.model import ONE, DType, Tensor
from commonward.records.table import Column, Table, Type

NASTY = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def counts(rows: int = 100) -> list[Tensor]:
    """A model that is right about 80 of 100 rows, sure of itself in the same measure."""
    chance = np.linspace(0.02, 0.98, rows)
    truth = (np.arange(rows) % 5 != 0) == (chance > 0.5)
    histogram, confusion = np.zeros((2, 64), np.int64), np.zeros((2, 2), np.int64)
    np.add.at(histogram, (truth.astype(int), (chance * 64).astype(int)), 1)
    np.add.at(confusion, (truth.astype(int), (chance > 0.5).astype(int)), 1)
    error = np.array([round(float(((chance - truth) ** 2).sum()) * ONE)], np.int64)
    found = {"confusion": confusion, "histogram": histogram, "squared_error": error, "rows": np.array([rows])}
    return [Tensor.of(name, DType.I64, array) for name, array in sorted(found.items())]


def study(**bent: Any) -> dict[str, Any]:
    """As the control API tells one: four sites, three rounds, one of them left out once."""
    sites = ("authority", "clinic", "north", "south")
    made = variants(counts())[""]
    local = {
        "curve": [
            {"round": at, "of": of, "accuracy": 0.6 + 0.06 * at, "auroc": 0.7 + 0.04 * at, "brier": 0.2 - 0.01 * at}
            for at in (1, 2, 3)
            for of in ("all", "own")
        ],
        "all": {"": made, "home": made},
        "own": {"": made},
        "rounds": [{"round": at, "agrees": at != 2} for at in (1, 2, 3)],
        "consents": 24,
        "contributions": {"north": 0.5, "clinic": 0.3, "south": 0.2},
    }
    return {
        "study": "ab" * 16, "title": "Heart disease from routine examinations", "about": "Who needs an angiogram?",
        "by": "north", "status": "closed", "mode": "open", "rule": "newton", "round": 3, "rounds": 3,
        "sites": list(sites), "label": "num", "test_share": 0.25, "viewers": ["north"],
        "privacy": {"charged": True, "waiver": False, "delta": 5, "epsilon_in_all": 2.0},
        "learner": {"name": "heart_newton", "digest": "cd" * 32, "settings": {"steps": 3}, "columns": ["age", "num"]},
        "cohort": {"views": [{"name": "patients"}], "complete": ["age"]},
        "model": "ef" * 32, "chain": "01" * 32, "member": "north",
        "site": [
            {"member": each, "enrolled": each != "south", "leaving": False, "patients": "20 to 49", "rows": "20 to 49",
             "manifest": "23" * 32, "spent": 1.5, "budget": 10.0}
            for each in sites
        ],
        "progress": [
            {"round": at, "attempt": 1, "sites": list(sites), "voters": list(sites), "updates": list(sites),
             "signed": list(sites[:3]), "exclusions": ["south"] if at == 2 else [], "final": 9, "void": False,
             "model": f"{at:02d}" * 32, "stage": "final"}
            for at in (1, 2, 3)
        ],
        "local": local, **bent,
    }  # fmt: skip


class Seen(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_report_needs_nothing_else_and_runs_nothing(language: str) -> None:
    page = render(study(), language, 1_800_000_000_000)
    seen = Seen(page)
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & set(seen.tags)
    assert not [each for each in seen.attributes if each[1].startswith("on") or each[1] in ("href", "src")]
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    assert "@import" not in page and "url(" not in page
    assert re.findall(r"https?://[^\"]+", page) and set(re.findall(r"https?://[^\"]+", page)) == {
        "http://www.w3.org/2000/svg"
    }, "a name space is fetched by nobody"
    assert seen.tags.count("svg") >= 6


def test_what_others_wrote_is_shown_and_not_run() -> None:
    bent = study(title=NASTY, about=NASTY, label=NASTY, member=NASTY)
    bent["site"][0]["member"] = NASTY
    bent["progress"][0]["updates"][0] = NASTY
    bent["local"]["contributions"] = {NASTY: 1.0}
    seen = Seen(render(bent))
    assert "script" not in seen.tags and "img" not in seen.tags


def test_a_report_of_a_study_that_never_ran_says_so() -> None:
    bare = study(round=0, progress=[], site=[], local={}, privacy={"charged": False, "waiver": True})
    page = render(bare)
    assert words_in("en")("no-counts") in page and words_in("en")("contributions-none") in page
    assert words_in("en")("not-stated") in page


def test_another_model_computed_here_stands_out() -> None:
    assert 'class="bad">ANOTHER MODEL' in render(study())


def test_both_languages_say_everything() -> None:
    assert all(len(each) == 2 and all(each) for each in TEXTS.values())
    assert all(all(item) for item in CARD)
    assert all(words_in("zh")(f"status-{each.name.lower()}") for each in Status)
    assert "混淆矩阵" in render(study(), "zh") and "Confusion matrix" in render(study())


def test_figures_follow_from_the_counts() -> None:
    found = variants(counts())[""]
    assert found["rows"] == 100 and found["accuracy"] == pytest.approx(0.8)
    low, high = found["accuracy_interval"]
    assert low == pytest.approx(0.711, abs=0.001) and high == pytest.approx(0.867, abs=0.001)
    assert sum(each["rows"] for each in found["calibration"]) == 100
    assert 0.5 < found["auroc"] < 1


def test_auroc_is_that_of_the_pairs_and_is_not_made_up_for_one_class() -> None:
    grid = [[3, 1, 0, 0], [0, 1, 1, 2]]
    pairs = [(a, b) for a, down in enumerate(grid[0]) for b, up in enumerate(grid[1]) for _ in range(down * up)]
    wanted = sum(1.0 if b > a else 0.5 if b == a else 0.0 for a, b in pairs) / len(pairs)
    found = judged({"confusion": [[3, 1], [1, 3]], "histogram": grid})
    assert found["auroc"] == pytest.approx(wanted)
    assert judged({"confusion": [[4, 0], [0, 0]], "histogram": [[4, 0], [0, 0]]})["auroc"] is None
    assert judged({}) == {} and judged({"confusion": [[0, 0], [0, 0]]}) == {}


def test_wilsons_interval_is_the_published_one() -> None:
    low, high = wilson(81, 263)  # Newcombe 1998, table I
    assert low == pytest.approx(0.2553, abs=0.0001) and high == pytest.approx(0.3662, abs=0.0001)
    assert wilson(0, 0) == (0.0, 1.0)


def rows_of(*cells: tuple[Any, ...]) -> Table:
    columns = (Column("chol", Type.DECIMAL), Column("site", Type.TEXT), Column("num", Type.INTEGER))
    return Table(columns, cells)


def test_the_page_before_enrolment_tells_of_zeros_that_are_no_measurements() -> None:
    held = rows_of(*((0.0 if at % 4 == 0 else 180.0 + at, f"s{at}", at % 2) for at in range(40)))
    page = look(held, 40, ("chol",), "num", 500)
    assert [each for each in page["warnings"] if "chol: 10 zeros" in each]
    fine = rows_of(*((float(at), f"s{at}", at % 2) for at in range(40)))
    assert not look(fine, 40, ("chol",), "num", 500)["warnings"]


def test_the_page_before_enrolment_tells_of_constant_and_missing_columns_and_of_label_shift() -> None:
    held = rows_of(*((None, "same", 1 if at < 38 else 0) for at in range(40)))
    warnings = look(held, 40, ("chol", "age"), "num", 450)["warnings"]
    assert any("chol: never there" in each for each in warnings)
    assert any("site: always the same" in each for each in warnings)
    assert any("age: the learner reads it" in each for each in warnings)
    assert any("num: above 0 in 95% of rows here, 45% at the proposer" in each for each in warnings)
    alike = rows_of(*((float(at), f"{at}", at % 2) for at in range(20)))
    assert not any("num" in each for each in look(alike, 20, (), "num", 450)["warnings"])


def test_what_an_officer_signs_to_have_seen_is_that_page_and_no_other() -> None:
    one = look(rows_of((1.0, "a", 1)), 1, (), "num", None)
    other = look(rows_of((2.0, "a", 1)), 1, (), "num", None)
    assert one["digest"] == page_digest(one).hex() != other["digest"]
