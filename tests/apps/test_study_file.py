"""A study file is read strictly: what it says exactly, or the file, line and field that is wrong."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from commonward.apps.studies.file import BadStudyFile, read
from commonward.ledger.rounds import Mode, Rule
from commonward.records.model import ONE
from commonward.records.privacy import charge
from commonward.records.table import Type
from commonward.workflows.study_papers import Protocol
from tests.apps.study_world import STUDY

GIVEN = STUDY.format(mode="masked", rounds=3, min_sites=3, updates="5m", waiver="false")


def test_what_a_file_says_is_what_is_proposed_and_no_fraction_passes_through_a_float() -> None:
    found = read(GIVEN + "\n", "heart.toml")
    assert (found.mode, found.rule, found.rounds, found.min_sites, found.awaited) == (Mode.MASKED, Rule.NEWTON, 3, 3, 4)
    assert found.protocol.rule_parameters.ridge == 10_000_000
    assert found.protocol.test_share == 250 and found.protocol.label_share == 460
    assert found.waits.updates == 300_000 and found.end_ms == 7 * 86_400_000
    assert found.viewers == ("clinic", "north") and not found.waiver and found.charge is None


def test_the_study_file_of_the_documentation_can_be_proposed() -> None:
    text = (Path(__file__).parents[2] / "docs" / "learning.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", text.partition("## Running a study")[2].partition("\n## ")[0], re.S)
    found = read(block, "learning.md")
    assert (found.mode, found.rounds, found.protocol.learner) == (Mode.MASKED, 5, "heart_newton")


def test_lists_of_fractions_in_a_learners_settings_become_q24() -> None:
    text = GIVEN.replace(
        'name = "heart_newton"', 'name = "heart_newton"\n[learner.settings]\nmean = [0.5, 1]\nsteps = 7'
    )
    assert read(text, "f").protocol.learner_settings == {"mean": (ONE // 2, ONE), "steps": 7}


def test_a_setting_that_no_integer_of_ours_holds_is_refused_by_its_line() -> None:
    for value in ("99999999999999999999999", "[1, 99999999999999999999999]", "[0.5, 1e17]"):
        text = GIVEN.replace('name = "heart_newton"', f'name = "heart_newton"\n[learner.settings]\nmean = {value}')
        with pytest.raises(BadStudyFile, match=r"learner.settings.mean: expected a whole number from -2\^63"):
            read(text, "f")


def test_a_label_that_the_cohort_lacks_and_a_viewer_who_is_no_member_are_refused_before_anybody_votes() -> None:
    found = read(GIVEN, "heart.toml")
    clinic, north = found.viewers
    found.check({"num": Type.DECIMAL}, {north, clinic})
    with pytest.raises(BadStudyFile, match="line 5: label: expected a column of the cohort: nun, got 'num'"):
        found.check({"nun": Type.DECIMAL}, {north, clinic})
    with pytest.raises(BadStudyFile, match=r"viewers: expected members of this consortium, got \['clinic'\]"):
        found.check({"num": Type.DECIMAL}, {north})


def test_declared_noise_becomes_the_charge_that_approvers_compute_again() -> None:
    noise = "noise = 1.5\nrate = 0.1\nsteps = 20\ndelta = 5"
    text = GIVEN.replace('mode = "masked"', 'mode = "open"').replace('rule = "newton"', 'rule = "fedavg"')
    found = read(text.replace("waiver = false", noise), "f")
    assert found.charge == charge(1_500_000, 100_000_000, 20) and found.delta == 5
    assert found.protocol.learner_settings == {"noise": 1_500_000, "rate": 100_000_000, "steps": 20}


def test_contributions_are_measured_in_open_studies_of_few_sites_unless_the_file_says_no() -> None:
    open_ = GIVEN.replace('mode = "masked"', 'mode = "open"').replace("waiver = false", "waiver = true")
    many = open_.replace("awaited = 4", "awaited = 9")
    assert [read(each, "f").protocol.contributions for each in (GIVEN, open_, many)] == [None, True, None]
    assert read("contributions = false\n" + open_, "f").protocol.contributions is None
    assert read("contributions = true\n" + many, "f").protocol.contributions is True
    with pytest.raises(BadStudyFile, match=r"contributions: expected false, unless"):
        read("contributions = true\n" + GIVEN, "f")


def test_each_sites_own_counts_are_shown_only_where_privacy_is_waived_for_them() -> None:
    open_ = GIVEN.replace('mode = "masked"', 'mode = "open"').replace('rule = "newton"', 'rule = "fedavg"')
    assert read("per_site = true\n" + open_.replace("waiver = false", "waiver = true"), "f").protocol.per_site is True
    noise = "waiver = true\nnoise = 1.5\nrate = 0.1\nsteps = 20\ndelta = 5"
    found = read("per_site = true\n" + open_.replace("waiver = false", noise), "f")
    assert found.waiver and found.charge is not None  # training is charged, the counts at the end are waived
    with pytest.raises(BadStudyFile, match="both only for per_site = true"):
        read(open_.replace("waiver = false", noise), "f")
    with pytest.raises(BadStudyFile, match=r"per_site: expected false, unless"):
        read("per_site = true\n" + open_.replace("waiver = false", noise.replace("true", "false")), "f")


def test_what_only_people_know_of_a_study_is_in_its_papers_and_synthetic_records_are_named_so() -> None:
    stated = read(GIVEN + '\n[statements]\nfunding = "nobody"\n', "f").protocol
    assert stated.card_statements == {"funding": "nobody"} and stated.synthetic is None
    drawn = read("synthetic = true\n" + GIVEN, "f").protocol
    assert drawn.synthetic is True and drawn.card_statements == {}
    assert Protocol.parse(drawn.to_bytes()) == drawn and Protocol.parse(stated.to_bytes()) == stated
    plain = read(GIVEN, "f").protocol
    assert max(plain.to_value()) == 10, "papers without either are the bytes that they always were"
    with pytest.raises(BadStudyFile, match=r"statements\.money: unknown field"):
        read(GIVEN + '\n[statements]\nmoney = "much"\n', "f")
    with pytest.raises(BadStudyFile, match=r"statements\.funding: expected text"):
        read(GIVEN + "\n[statements]\nfunding = 3\n", "f")
    with pytest.raises(BadStudyFile, match="synthetic: expected true"):
        read("synthetic = 1\n" + GIVEN, "f")


@pytest.mark.parametrize("rule", ["trimmed_mean", "median", "krum", "multi_krum"])
def test_a_robust_rule_that_withstands_nobody_is_refused(rule: str) -> None:
    """A trimmed mean that drops none is the plain mean, and its name would promise what it does not do."""
    open_ = GIVEN.replace('mode = "masked"', 'mode = "open"').replace("waiver = false", "waiver = true")
    named = open_.replace('rule = "newton"', f'rule = "{rule}"').replace("min_sites = 3", "min_sites = 5")
    named = named.replace("awaited = 4", "awaited = 5")
    with pytest.raises(BadStudyFile, match=r"parameters\.f: expected how many false sites"):
        read(named, "f")
    assert read(named.replace("ridge = 0.01", "ridge = 0.01\nf = 1"), "f").protocol.rule_parameters.f == 1


def test_norm_clip_needs_three_sites_because_of_two_neither_bounds_the_other() -> None:
    open_ = GIVEN.replace('mode = "masked"', 'mode = "open"').replace("waiver = false", "waiver = true")
    named = open_.replace('rule = "newton"', 'rule = "norm_clip"')
    assert read(named, "f").min_sites == 3
    with pytest.raises(BadStudyFile, match="min_sites: expected 3 at least for norm_clip"):
        read(named.replace("min_sites = 3", "min_sites = 2"), "f")


def test_an_end_is_a_duration_or_a_time_to_come() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    later = GIVEN.replace('end = "7d"', "end = 2026-01-03T00:00:00Z")
    assert read(later, "f", now).end_ms == 2 * 86_400_000
    with pytest.raises(BadStudyFile, match="line 15: end: expected a time to come"):
        read(later, "f", datetime(2026, 2, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("rounds = 3", "rounds = 3.5"), "line 9: rounds: expected a whole number"),
        (("rounds = 3", "rounds = 0"), "line 9: rounds: expected a whole number from 1"),
        (('rule = "newton"', 'rule = "krum"'), "line 8: rule: expected one that works in mode masked"),
        (('rule = "newton"', 'rule = "magic"'), "line 8: rule: expected one of fedavg"),
        (("min_sites = 3", "min_sites = 2"), "line 10: min_sites: expected 3 at least for newton"),
        (("awaited = 4", "awaited = 2"), "line 11: awaited: expected a whole number from 3"),
        (('votes = "1h"', 'votes = "soon"'), "waits.votes: expected a duration"),
        (('votes = "1h"', 'vote = "1h"'), "waits.vote: unknown field; known are"),
        (("ridge = 0.01", "rigde = 0.01"), "parameters.rigde: unknown field"),
        (("ridge = 0.01", "ridge = 0.0000000001"), "parameters.ridge: expected a number in steps of"),
        (("ridge = 0.01", "ridge = nan"), "parameters.ridge: expected a number"),
        (("title =", "titel ="), "line 2: titel: unknown field"),
        (('title = "Heart', 'title = ""\nlabel = "Heart'), "TOML"),
        (('name = "heart_newton"', 'name = "heart_newton" x'), "not TOML"),
        (('name = "heart_newton"', 'name = "../x"'), "learner.name: expected the name of an installed learner"),
        (('viewers = ["north", "clinic"]', 'viewers = ["NO"]'), "viewers"),
        (("test_share = 0.25", "test_share = 1.5"), "test_share: expected a share from 0 to 1"),
        (('mode = "masked"', 'mode = "open"'), "privacy: expected noise, rate, steps and delta, or waiver"),
        (("waiver = false", "noise = 1.5"), "privacy.rate: expected noise, rate, steps and delta together"),
        (("waiver = false", "waiver = 1"), "privacy.waiver: expected true or false"),
        (("ridge = 0.01", "ridge = 1e999999999"), "parameters.ridge: expected a number below"),
        (("ridge = 0.01", "ridge = 1e99999999999999999999"), "not TOML"),
        (("rounds = 3", f"rounds = 0x{'f' * 5000}"), "rounds: expected a whole number from 1 to 1000, got a number"),
        (("rounds = 3", f"rounds = {'[' * 5000}{']' * 5000}"), "not TOML"),
        (("ridge = 0.01", "ridge = 0.01\nf = 1"), "parameters.f: expected none: newton"),
        (('updates = "5m"', 'updates = "0s"'), "waits.updates: expected from 1s to 30d, got '0s'"),
        (('votes = "1h"', 'votes = "9999d"'), "waits.votes: expected from 1s to 366d"),
        (('end = "7d"', 'end = "0s"'), "end: expected a time to come"),
        (('end = "7d"', 'end = "9999d"'), "end: expected a time to come, within"),
        (('cohort = "', 'cohort = "\\u0000'), "cohort: expected the name of a file"),
    ],
)  # fmt: skip
def test_a_study_file_says_which_line_and_field_is_wrong(change: tuple[str, str], words: str) -> None:
    assert change[0] in GIVEN
    with pytest.raises(BadStudyFile) as caught:
        read(GIVEN.replace(*change), "heart.toml")
    assert str(caught.value).startswith("heart.toml") and words in str(caught.value)
