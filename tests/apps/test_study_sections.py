"""What a study file says of any cohort's columns becomes what the learner is told; errors name file, line and field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from commonward.adapters.fhir.cohort import Cohort
from commonward.apps.samples import heart
from commonward.apps.studies.file import BadStudyFile, read
from commonward.ledger.rounds import Mode, Rule
from commonward.records import regression, statistics
from commonward.records.privacy import charge
from commonward.records.table import Type

COUNTED = """
title = "Who comes with chest pain?"
cohort = "cohort.json"
mode = "masked"
rule = "sum"
min_sites = 3

[statistics]
tables = [["cp", "sex"]]
means = [["age", "sex"]]

[statistics.columns]
age = { low = 20, high = 80, bin = 5 }
oldpeak = { edges = [0, 0.5, 2] }
cp = { categories = [1, 2, 3, 4] }
sex = { categories = [0, 1] }
"""
REGRESSED = """
title = "Who needs an angiogram?"
cohort = "cohort.json"
mode = "masked"
rule = "newton"
rounds = 6
min_sites = 3

[logistic]
outcome = { column = "num", above = 0 }

[logistic.features]
age = { low = 18, high = 100, mean = 55, deviation = 10 }
cp = { categories = [4, 1, 2, 3], fill = 4 }
"""
COLUMNS = {each.name: each.type for each in Cohort.parse(heart.cohort()).columns}


def test_statistics_become_the_learners_settings_and_the_shapes_of_the_sums() -> None:
    found = read(COUNTED, "pain.toml")
    assert (found.mode, found.rule, found.rounds) == (Mode.MASKED, Rule.SUM, 1)
    assert found.protocol.learner == "statistics" and found.protocol.test_share == 0
    declared = statistics.described(found.protocol.learner_settings["statistics"])
    assert dict(declared.shapes) == dict(found.protocol.rule_parameters.sums)
    assert declared.threshold == 5 and declared.tables == (("cp", "sex"),)
    assert len(declared.column("age").edges) == 13  # type: ignore[union-attr]
    assert found.section is not None
    found.section.check(COLUMNS)


def test_a_regression_becomes_the_learners_settings_with_the_method_of_its_rule() -> None:
    found = read(REGRESSED, "angio.toml")
    settings = found.protocol.learner_settings
    assert found.protocol.learner == "logistic" and settings["method"] == "newton"
    assert regression.described(settings["regression"]).names == ("age", "cp=1", "cp=2", "cp=3")
    assert found.section is not None
    found.section.check(COLUMNS)
    by_steps = read(REGRESSED.replace('"newton"', '"fedavg"') + "\n[learner.settings]\nsteps = 10", "angio.toml")
    assert by_steps.protocol.learner_settings["method"] == "descent"


def test_noise_on_counts_is_charged_and_told_and_leaves_no_sums() -> None:
    text = COUNTED.replace('means = [["age", "sex"]]', "") + "\n[privacy]\nnoise = 3\ndelta = 5\n"
    found = read(text, "f")
    assert found.charge == charge(3_000_000, 1_000_000_000, 1)
    settings = found.protocol.learner_settings
    assert settings["noise"] == 3_000_000 and settings["steps"] == 1
    assert not statistics.described(settings["statistics"]).sums
    with pytest.raises(BadStudyFile, match="means: expected a column of numbers by one with categories, without noise"):
        read(COUNTED + "\n[privacy]\nnoise = 3\ndelta = 5\n", "f")


def test_the_study_files_of_the_documentation_can_be_proposed() -> None:
    text = (Path(__file__).parents[2] / "docs" / "learning.md").read_text().partition("## Counting together")[2]
    blocks = re.findall(r"```toml\n(.*?)```", text.partition("\n## ")[0], re.S)
    assert len(blocks) == 2, "one that counts, one that regresses"
    for block in blocks:
        found = read(block, "learning.md")
        assert found.section is not None
        found.section.check(COLUMNS)


@pytest.mark.parametrize(
    ("text", "change", "words"),
    [
        (
            COUNTED,
            ("oldpeak = {", "oldpaek = {"),
            r"f, line 14: statistics.columns.oldpaek: the cohort's views give no",
        ),
        (
            COUNTED,
            ("cp = { categories = [1, 2, 3, 4]", 'cp = { categories = ["1"]'),
            "line 15: statistics.columns.cp: exp",
        ),
        (COUNTED, ("bin = 5", "bin = 7"), r"line 13: statistics.columns.age: expected at most \d+ whole bins"),
        (
            COUNTED,
            ("[0, 0.5, 2]", "[0, 2, 0.5]"),
            "line 14: statistics.columns.oldpeak: expected 2 to .* edges, ascending",
        ),
        (COUNTED, ("[0, 0.5, 2]", "[0, nan]"), "line 14: statistics.columns.oldpeak: expected numbers"),
        (COUNTED, ("[1, 2, 3, 4]", '[1, "a"]'), "line 15: statistics.columns.cp: expected categories of text"),
        (COUNTED, ('[["cp", "sex"]]', '[["cp", "age"]]'), "line 8: statistics: tables: expected two columns"),
        (COUNTED, ('[["cp", "sex"]]', '["cp"]'), "line 9: statistics.tables: expected pairs"),
        (
            COUNTED,
            ("[statistics]", "[statistics]\nthreshold = 1"),
            "statistics: threshold: expected a whole number from",
        ),
        (COUNTED, ('rule = "sum"', 'rule = "sum"\nrounds = 2'), "line 6: rounds: expected 1: a second sum"),
        (COUNTED, ('rule = "sum"', 'rule = "sum"\ntest_share = 0.2'), "line 6: test_share: expected 0"),
        (COUNTED, ('rule = "sum"', 'rule = "newton"'), 'line 5: rule: expected rule = "sum"'),
        (
            COUNTED,
            ("[statistics]", "[statistics]\nthresold = 7"),
            "line 9: statistics.thresold: expected a field among",
        ),
        (COUNTED, ("[statistics]", "[learner]\nname = 'heart_newton'\n[statistics]"), "line 9: learner.name: expected"),
        (
            COUNTED,
            ("[statistics]", "[parameters.sums]\nrows = [1]\n[statistics]"),
            "sums: expected this in .statistics.",
        ),
        (COUNTED, ("[statistics]", "[privacy]\nnoise = 1\nrate = 0.5\n[statistics]"), "privacy: expected rate = 1"),
        (REGRESSED, ("[logistic]", "[statistics]\n[logistic]"), "logistic: expected either"),
        (REGRESSED, ('"newton"', '"sum"'), "line 5: rule: expected a rule that makes a model"),
        (REGRESSED, ("above = 0", "below = 0"), "line 10: logistic.outcome: expected"),
        (REGRESSED, ("deviation = 10", "deviation = 0"), "line 13: logistic.features.age: expected low below high"),
        (REGRESSED, ("high = 100", "high = 1000"), "line 13: logistic.features.age: expected a range within 16"),
        (REGRESSED, ("fill = 4", "fill = 9"), "line 14: logistic.features.cp: expected one of its categories as fill"),
        (REGRESSED, ("age = {", "agee = {"), "line 13: logistic.features.agee: the cohort's views give no"),
        (REGRESSED, ('"num"', '"nun"'), "nun: the cohort's views give no"),
    ],
)
def test_an_error_names_file_line_and_field(text: str, change: tuple[str, str], words: str) -> None:
    assert change[0] in text
    with pytest.raises(BadStudyFile, match=words):
        found = read(text.replace(*change), "f")
        assert found.section is not None
        found.section.check(COLUMNS)
    assert COLUMNS["age"] is Type.DECIMAL
