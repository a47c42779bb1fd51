"""The report of a study needs nothing else and runs nothing; what it draws is what the counts say."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from itertools import product
from typing import Any

import numpy as np
import pytest

from commonward.apps.studies.card_items import CLAIM, TRIPOD
from commonward.apps.studies.card_words import CARD
from commonward.apps.studies.look import look, page_digest, wilson
from commonward.apps.studies.look_words import LOOK
from commonward.apps.studies.metrics import judged, variants
from commonward.apps.studies.plots import lines, short
from commonward.apps.studies.report import for_others, render
from commonward.apps.studies.words import _REPORT, LANGUAGES, TEXTS, words_in
from commonward.ledger.rounds import Status
from commonward.records.images.photograph import PATHOGENS
from commonward.records.model import ONE
from commonward.records.table import Column, Table, Type
from tests.reportkit import PATIENT, SITES, bare, four_classes, masked, nasty, open_study, two_classes


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


def said(study: dict[str, Any], language: str = "en") -> str:
    """The page with its letters as a reader sees them."""
    return unescape(render(study, language))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("made", [masked, open_study, bare])
def test_a_report_needs_nothing_else_and_runs_nothing(made: Any, language: str) -> None:
    page = render(made(), language, 1_800_000_000_000)
    seen = Seen(page)
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & set(seen.tags)
    assert not [each for each in seen.attributes if each[1].startswith("on") or each[1] == "src"]
    assert all((each[2] or "").startswith("#") for each in seen.attributes if each[1] == "href"), (
        "links stay on the page"
    )
    assert "default-src 'none'" in page and "@import" not in page and "url(" not in page
    found = set(re.findall(r"https?://[^\"]+", page))
    assert found <= {"http://www.w3.org/2000/svg"}, "a name space is fetched by nobody"
    assert seen.tags.count("svg") >= 6 or made is bare


def test_what_others_wrote_is_shown_and_not_run() -> None:
    for language in LANGUAGES:
        seen = Seen(render(nasty(), language))
        assert "script" not in seen.tags and "img" not in seen.tags


def test_a_report_of_a_study_that_never_ran_says_so() -> None:
    page = render(bare())
    text = words_in("en")
    for key in ("no-counts", "contributions-none", "not-stated", "plain-none", "rounds-none"):
        assert text(key) in page


def test_another_model_computed_here_stands_out() -> None:
    assert 'class="bad">ANOTHER MODEL' in render(masked())


def test_both_languages_say_everything() -> None:
    assert len(TEXTS) == sum(map(len, (_REPORT, LOOK, CARD))), "no text hides another of the same name"
    assert all(len(each) == 2 and all(each) for each in TEXTS.values())
    for english, chinese in TEXTS.values():
        assert set(re.findall(r"{(\w+)}", english)) == set(re.findall(r"{(\w+)}", chinese)), english
    assert all(all(item) for item in (*TRIPOD, *CLAIM))
    assert all(words_in("zh")(f"status-{each.name.lower()}") for each in Status)
    assert "混淆矩阵" in render(masked(), "zh") and "Confusion matrix" in render(masked())


def test_every_figure_of_records_that_a_program_made_says_synthetic() -> None:
    page = render(open_study())
    for figure in re.findall(r"<figcaption>.*?</figcaption>", page):
        assert "SYNTHETIC" in figure or words_in("en")("curve-budget") in figure, "the budget is true of any records"
    marked = [each for each in re.findall(r'<div class="tile">.*?</div>', page) if "SYNTHETIC" not in each]
    assert len(marked) == 3, "status, rounds and sites are no figures of the records"
    images = re.findall(r'<svg[^>]*role="img" aria-label="([^"]*)', page)
    assert all("SYNTHETIC" in each or "Privacy spent" in each or "manifest" in each for each in images)
    assert "SYNTHETIC DATA" in page and "<title>SYNTHETIC" in page and "合成数据" in render(open_study(), "zh")
    assert "SYNTHETIC" not in render(masked()), "nobody says it of patients"


def test_the_plain_words_do_not_praise_a_model_that_learnt_nothing() -> None:
    text = words_in("en")
    good = masked()
    assert text("plain-better") not in said(
        masked(local={**good["local"], "all": {"": {**good["local"]["all"][""], "majority": 0.79}}})
    )
    worse = {**good["local"]["all"][""], "accuracy": 0.4, "accuracy_interval": (0.3, 0.5), "majority": 0.7}
    assert text("plain-worse") in said(masked(local={**good["local"], "all": {"": worse}}))
    assert text("plain-better") in said(good) and text("plain-end") in said(good)
    assert text("plain-end-synthetic") in said(open_study())


def test_few_patients_are_counted_and_not_blown_up_to_a_hundred() -> None:
    few = variants(two_classes(10))[""]
    page = said(masked(local={**masked()["local"], "all": {"": few}}))
    right = round(few["accuracy"] * 10)
    assert "tried on 10 patients" in page and f"right for {right} of 10" in page
    assert words_in("en")("plain-few") in page and words_in("en")("plain-few") not in said(masked())
    assert "right for 80 of every 100" in said(masked())


def test_a_study_that_only_adds_up_has_no_model_to_show() -> None:
    page = said(masked(rule="sum"))
    assert 'id="judged"' not in page and 'id="card"' not in page and 'id="curves"' not in page


def test_what_this_site_alone_knows_is_left_out_of_the_page_for_others() -> None:
    inside, outside = said(masked()), said(for_others(masked()))
    for known in ("own-site", "own"):
        assert words_in("en")(known) in inside and words_in("en")(known) not in outside
    assert "chol: 10 zeros" in inside and "chol: 10 zeros" not in outside
    assert "24 open here" in inside and "24 open here" not in outside


def test_a_report_names_no_patient_though_the_page_before_enrolment_does() -> None:
    study = open_study()
    assert PATIENT in str(study["local"]["look"]["odd"])
    for language in LANGUAGES:
        assert PATIENT not in render(study, language) and "north-00002" not in render(study, language)
    page = said(study)
    assert words_in("en")("own-copies", count=1) in page and words_in("en")("own-unreadable", count=1) in page
    assert "bacterial is 50% of rows here" in page and "Synthetic Optics SL-9" in page


def test_the_card_states_what_the_papers_state_and_nothing_else() -> None:
    page = render(open_study())
    assert "Stated by north: None: made to try the software." in page
    assert "CLAIM (2020)" in page, "photographs"
    assert "CLAIM (2020)" not in said(masked()) and "TRIPOD+AI (2024)" in said(masked())
    assert words_in("en")("not-stated") in page
    assert len({each.number for each in TRIPOD}) == len(TRIPOD) == 52 and len(CLAIM) == 42


def test_contributions_say_what_is_lost_without_a_site_and_whether_the_ledger_has_them() -> None:
    study = open_study()
    page = render(study)
    all_together = study["local"]["all"][""]["accuracy"]
    lost = all_together - study["local"]["contributions"]["authority"]["left_out"][""]["accuracy"]
    assert f"{lost:+.3f}" in page
    for stands, key in ((True, "committed"), (False, "not-committed")):
        told = {**study, "local": {**study["local"], "committed": {"report": None, "contributions": stands}}}
        assert words_in("en")(key) in said(told)
    none = {name: {"rows": 0.25, "left_out": {}, "why": "two sites are too few"} for name in SITES}
    page = said({**study, "local": {**study["local"], "contributions": none}})
    assert words_in("en")("contributions-rows") in page and "two sites are too few" in page


def test_figures_follow_from_the_counts() -> None:
    found = variants(two_classes())[""]
    assert found["rows"] == 100 and found["accuracy"] == pytest.approx(0.8)
    low, high = found["accuracy_interval"]
    assert low == pytest.approx(0.711, abs=0.001) and high == pytest.approx(0.867, abs=0.001)
    assert sum(each["rows"] for each in found["calibration"]) == 100
    assert 0.5 < found["auroc"] < 1


def test_figures_of_four_classes_are_those_of_the_rows() -> None:
    """Against plain sums over rows of a small table."""
    random = np.random.default_rng(3)
    truth, chance = random.integers(0, 4, 60), random.dirichlet(np.ones(4), 60)
    bins, guess = (chance * 63.999).astype(int), chance.argmax(axis=1)
    confusion, counts = np.zeros((4, 4), int), dict[str, Any]()
    np.add.at(confusion, (truth, guess), 1)
    for at, name in enumerate(PATHOGENS):
        grid = np.zeros((2, 64), int)
        np.add.at(grid, ((truth == at).astype(int), bins[:, at]), 1)
        counts[f"histogram_{name}"] = grid.tolist()
    error = float(((chance - np.eye(4)[truth]) ** 2).sum())
    found = judged({**counts, "confusion": confusion.tolist(), "squared_error": [round(error * ONE)]})
    recalls = [np.mean(guess[truth == at] == at) for at in range(4)]
    assert found["accuracy"] == pytest.approx(np.mean(guess == truth))
    assert found["balanced"] == pytest.approx(np.mean(recalls)) and found["recall"] == pytest.approx(recalls)
    assert found["balanced_interval"][0] < found["balanced"] < found["balanced_interval"][1]
    assert found["precision"] == pytest.approx([np.mean(truth[guess == at] == at) for at in range(4)])
    assert found["brier"] == pytest.approx(error / 60, abs=1e-6)
    shares = np.bincount(truth, minlength=4) / 60
    assert found["brier_usual"] == pytest.approx(1 - (shares**2).sum())
    areas = []
    for at, name in enumerate(PATHOGENS):
        pairs = list(product(bins[truth != at, at], bins[truth == at, at]))
        area = np.mean([1.0 if up > down else 0.5 if up == down else 0.0 for down, up in pairs])
        assert found["classes"][name]["auroc"] == pytest.approx(area)
        low, high = found["classes"][name]["auroc_interval"]
        assert low < area < high
        areas.append(area)
    assert found["auroc"] == pytest.approx(np.mean(areas)) and "auroc_interval" not in found


def test_delongs_interval_is_the_one_of_the_pairs() -> None:
    """DeLong's variance from its definition by rows, of probabilities without ties."""
    down, up = np.array([0, 3, 5, 9, 12, 20]), np.array([7, 11, 15, 25, 30])
    wins = (up[:, None] > down[None, :]).astype(float)
    area = wins.mean()
    spread = wins.mean(axis=1).var(ddof=1) / len(up) + wins.mean(axis=0).var(ddof=1) / len(down)
    middle, reach = np.log(area / (1 - area)), 1.96 * np.sqrt(spread) / (area * (1 - area))
    grid = np.zeros((2, 64), int)
    grid[0, down] += 1
    grid[1, up] += 1
    found = judged({"confusion": [[6, 0], [0, 5]], "histogram": grid.tolist()})
    wanted = [1 / (1 + np.exp(-(middle - reach))), 1 / (1 + np.exp(-(middle + reach)))]
    assert found["auroc"] == pytest.approx(area) and found["auroc_interval"] == pytest.approx(wanted)


def test_who_abstained_is_counted_apart_and_calibration_error_is_the_mean_gap() -> None:
    found = variants(four_classes())[""]
    assert found["abstained_rows"] + found["kept_rows"] == found["rows"] == 400
    assert found["kept_accuracy"] > found["accuracy"] and found["refused_quality"] == 7
    confidence = [[0] * 64, [0] * 64]
    confidence[0][60], confidence[1][60], confidence[1][20] = 5, 5, 10  # half right at .945, all right at .32
    sure = judged({"confusion": [[15, 5], [0, 0]], "confidence": confidence})
    assert sure["ece"] == pytest.approx((10 * (60.5 / 64 - 0.5) + 10 * (1 - 20.5 / 64)) / 20)


def test_a_class_without_rows_has_no_recall_and_no_average_hides_it() -> None:
    found = judged({"confusion": [[3, 1, 0], [0, 0, 0], [1, 0, 5]]})
    assert found["recall"][1] is None and "balanced" not in found


def test_auroc_is_that_of_the_pairs_and_is_not_made_up_for_one_class() -> None:
    grid = [[3, 1, 0, 0], [0, 1, 1, 2]]
    pairs = [(a, b) for a, down in enumerate(grid[0]) for b, up in enumerate(grid[1]) for _ in range(down * up)]
    wanted = sum(1.0 if b > a else 0.5 if b == a else 0.0 for a, b in pairs) / len(pairs)
    found = judged({"confusion": [[3, 1], [1, 3]], "histogram": grid})
    assert found["auroc"] == pytest.approx(wanted)
    assert judged({"confusion": [[4, 0], [0, 0]], "histogram": [[4, 0], [0, 0]]})["auroc"] is None
    perfect = judged({"confusion": [[4, 0], [0, 4]], "histogram": [[4, 0], [0, 4]]})
    assert perfect["auroc"] == 1 and perfect["auroc_interval"] is None
    assert judged({}) == {} and judged({"confusion": [[0, 0], [0, 0]]}) == {}


def test_names_too_long_for_their_place_are_cut_in_plots() -> None:
    assert short("north", 100) == "north"
    assert short("a" * 300, 100).endswith("…") and len(short("医" * 300, 100)) < 10
    assert lines("nothing", "x", "y", []) == ""


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
