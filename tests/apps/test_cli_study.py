"""A heart study by the command line, with real nodes: from a file to a vote, to sites that take part by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps.conftest import consortium_on, waits
from tests.apps.study_world import StudyWorld


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyWorld]:
    with consortium_on("solo", tmp_path_factory.mktemp("studies") / "c") as processes:
        made = StudyWorld(processes, tmp_path_factory.mktemp("heart"))
        made.prepare()
        yield made


def test_a_study_goes_from_a_file_to_a_vote_and_each_site_joins_after_its_own_page(world: StudyWorld) -> None:
    learners = world.run("north", "study", "learners", "--json")
    digests = {each["name"]: each["digest"] for each in learners.lines}
    study = world.approved()
    found = world.told("south", study)
    assert found["learner"]["digest"] == digests["heart_newton"]
    assert found["title"] == "Heart disease from routine examinations" and len(found["ayes"]) >= 3
    world.consenting(study, "authority")
    page = world.run("authority", "study", "look", study[:12], "--json").json
    assert page["consents"] == world.patients
    assert any("chol: never there" in each for each in page["warnings"]), "Zurich measured no cholesterol"
    asked = world.run("authority", "study", "enrol", study, "--staff", "E1", "--words", "agreed", "--json")
    assert asked.code == 2 and "--yes" in asked.err, "nobody is enrolled unasked"
    world.enrols(study, "authority")
    assert waits(lambda: world.told("north", study)["sites"] == ["authority"])
    assert study[:12] in world.run("north", "study", "list").out
    shown = world.run("north", "study", "show", study).out
    assert "site authority" in shown and "newton, masked" in shown
    left = world.run("authority", "study", "leave", study, "--reason", "no capacity", "--json")
    assert left.code == 0, left.err
    done = world.run("north", "study", "close", study, "--yes", "--json")
    assert done.code == 0, done.err
    assert waits(lambda: world.status("south", study) == "closed")
    followed = world.run("south", "study", "run", study, "--wait", 5)
    assert followed.code == 1 and "closed" in followed.err


def test_a_proposal_can_be_taken_back_and_then_nobody_votes_on_it(world: StudyWorld) -> None:
    study = world.proposed()
    assert world.run("south", "study", "close", study, "--yes").code == 1, "only its proposer takes it back"
    assert world.run("north", "study", "close", study, "--yes").code == 0
    assert waits(lambda: world.knows("south", study) is False)
    late = world.run("south", "study", "approve", study, "--staff", "E1", "--opinion", "late")
    assert late.code == 1 and "ApprovalClosed" in late.err


def test_only_an_ethics_officer_votes_and_once(world: StudyWorld) -> None:
    study = world.proposed()
    assert waits(lambda: world.knows("south", study))
    wrong = world.run("south", "study", "approve", study, "--staff", "R1", "--opinion", "fine")
    assert wrong.code == 1 and "ethics officer" in wrong.err
    assert world.run("south", "study", "approve", study, "--staff", "E1", "--opinion", "fine").code == 0
    again = world.run("south", "study", "approve", study, "--staff", "E1", "--opinion", "fine", "--no")
    assert again.code == 1 and "AlreadyJudged" in again.err


def test_a_bad_study_file_is_told_with_its_line_and_proposes_nothing(world: StudyWorld) -> None:
    path = world.file("bent")
    path.write_text(path.read_text().replace("rounds = 3", "rounds = 3.5"))
    ran = world.run("clinic", "study", "propose", path, "--json")
    assert ran.code == 2 and "bent.toml, line 9: rounds: expected a whole number" in ran.err.replace("\n", " ")
    path.write_text(world.file("bent").read_text().replace("cohort.json", "nowhere.json"))
    ran = world.run("clinic", "study", "propose", path, "--json")
    assert ran.code == 2 and "cohort: cannot read" in ran.err


def test_a_learner_that_is_not_installed_or_does_not_fit_is_told_before_anything_is_proposed(world: StudyWorld) -> None:
    path = world.file("strange")
    text = path.read_text()
    path.write_text(text.replace("heart_newton", "nothing_here"))
    ran = world.run("north", "study", "propose", path)
    assert ran.code == 1 and "no learner nothing_here is installed here" in ran.err
    path.write_text(text.replace('name = "heart_newton"', 'name = "heart_newton"\n[learner.settings]\nspeed = 3'))
    ran = world.run("north", "study", "propose", path)
    assert ran.code == 1 and "learner.settings.speed" in ran.err


def test_forms_are_refused_line_by_line_and_by_who_saw_them(world: StudyWorld, tmp_path: Path) -> None:
    study = world.proposed()
    (tmp_path / "bad.csv").write_text("his,cleveland-001\nhis\n")
    said = ("--text", world.form, "--staff", "R1", "--staff", "R2")
    ran = world.run("north", "study", "forms", study, tmp_path / "bad.csv", *said)
    assert ran.code == 2 and "line 2" in ran.err
    (tmp_path / "good.csv").write_text("his,cleveland-001\n")
    ran = world.run("north", "study", "forms", study, tmp_path / "good.csv", "--text", world.form, "--staff", "R1")
    assert ran.code == 2 and "twice" in ran.err
    alone = ("--text", world.form, "--staff", "R1", "--staff", "R1")
    ran = world.run("north", "study", "forms", study, tmp_path / "good.csv", *alone)
    assert ran.code == 1 and "two different people" in ran.err
