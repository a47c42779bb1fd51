"""A heart study by the command line, with real nodes: from a file to a vote, to sites that take part by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.apps.conftest import Patient, Processes, consortium_on, waits
from tests.apps.study_tables import counts_as_pooled, regresses_as_pooled
from tests.apps.study_world import StudyWorld
from tests.cli_world import commonward


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyWorld]:
    with consortium_on("solo", tmp_path_factory.mktemp("studies") / "c") as processes:
        made = StudyWorld(processes, tmp_path_factory.mktemp("heart"))
        made.prepare()
        yield made


@pytest.fixture(scope="module")
def processes(world: StudyWorld) -> Processes:
    """What the fixture `patients` makes its patients at."""
    return world.processes


def test_a_study_goes_from_a_file_to_a_vote_and_each_site_joins_after_its_own_page(
    world: StudyWorld, tmp_path: Path
) -> None:
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
    assert "chol：从未有值" in world.run("authority", "study", "look", study, "--lang", "zh").out
    wrote = world.run("authority", "study", "look", study, "--lang", "zh", "--out", tmp_path / "look.html", "--json")
    html = (tmp_path / "look.html").read_text()
    assert wrote.code == 0 and 'lang="zh-CN"' in html and "chol：从未有值" in html and wrote.json["digest"] in html
    assert wrote.json["digest"] == page["digest"], "the same page is signed in either language"
    assert world.run("authority", "study", "look", study, "--lang", "de").code == 2
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


def test_a_masked_study_runs_to_a_model_that_anyone_verifies_offline_and_sites_compute_again(
    world: StudyWorld, tmp_path: Path
) -> None:
    study = world.approved(rounds=2)
    world.enrolled(study)
    ended = world.ends(study)
    assert ended["status"] == "closed" and ended["round"] == 2, ended
    followed = world.run("south", "study", "run", study, "--wait", 60)
    assert followed.code == 0 and "2 of 2 rounds" in followed.out, followed.err
    counted = waits(lambda: world.told("north", study)["local"].get("all"))
    assert counted and counted[""]["rows"] > 0, "the sum of the sites' counts came out"
    # offline
    path = tmp_path / "heart.safetensors"
    wrote = world.run("north", "study", "model", study, "--out", path, "--json")
    assert wrote.code == 0 and wrote.json["digest"] == ended["model"], wrote.err
    verified = commonward("verify", path, "--trust", tmp_path / "heart.trust", "--json")
    assert verified.code == 0 and verified.json["convinces"], verified.out
    assert [each["rule"] for each in verified.json["steps"]] == ["chain", "manifests", "countersigned", "model"]
    altered = bytearray(path.read_bytes())
    altered[-8] ^= 1  # the least of one weight: 2^-24 more or less
    (tmp_path / "altered.safetensors").write_bytes(altered)
    (tmp_path / "altered.lineage").write_bytes((tmp_path / "heart.lineage").read_bytes())
    wrong = commonward("verify", tmp_path / "altered.safetensors", "--trust", tmp_path / "heart.trust", "--json")
    assert wrong.code == 1 and wrong.json["steps"][-1]["state"] == "failed", wrong.out
    (tmp_path / "altered.lineage").unlink()
    lone = commonward("verify", tmp_path / "altered.safetensors", "--trust", tmp_path / "heart.trust")
    assert lone.code == 2 and "altered.lineage" in lone.out
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x04N.")
    (tmp_path / "pickle.lineage").write_bytes((tmp_path / "heart.lineage").read_bytes())
    assert commonward("verify", tmp_path / "pickle.safetensors", "--trust", tmp_path / "heart.trust").code == 2
    # at the sites
    for member in ("north", "south"):
        again = world.run(member, "study", "verify", study, "--replay", "--json")
        assert again.code == 0 and again.json["holds"], again.out
        assert [each["same"] for each in again.json["replayed"]] == [True, True]
    page = tmp_path / "report.html"
    assert world.run("north", "study", "report", study, "--out", page, "--json").code == 0
    assert ended["model"] in page.read_text() and "Heart disease from routine examinations" in page.read_text()
    assert world.run("north", "study", "report", study, "--out", page, "--lang", "zh").code == 0
    assert "模型卡" in page.read_text()


def test_a_site_killed_midway_comes_back_and_a_consent_withdrawn_meanwhile_is_in_no_later_round(
    world: StudyWorld, tmp_path: Path
) -> None:
    study = world.approved(rounds=6, min_sites=4)
    world.enrolled(study)
    world.reaches(study, 1)
    world.kills("south")  # all four are needed: the study waits for it
    before = {each["member"]: each for each in world.told("north", study)["site"]}
    said = ("--system", "his", "--patient", "hungarian-001", "--reason", "moved away", "--json")
    withdrawn = world.run("clinic", "study", "withdraw", study, *said)
    assert withdrawn.code == 0, withdrawn.err
    assert withdrawn.json["open"] == world.patients - 1
    assert {each["round"] for each in withdrawn.json["touched"]} >= {1}, "models that learnt from it stay, and are told"
    again = world.run("clinic", "study", "withdraw", study, *said)
    assert again.code == 1, "it is withdrawn"
    world.starts("south")
    ended = world.ends(study)
    assert ended["status"] == "closed" and ended["round"] == 6, ended
    after = {each["member"]: each for each in ended["site"]}
    assert after["clinic"]["manifest"] != before["clinic"]["manifest"], "a new manifest without that patient"
    assert after["north"]["manifest"] == before["north"]["manifest"]
    for member in ("south", "clinic"):
        assert waits(lambda member=member: world.status(member, study) == "closed")  # type: ignore[misc]
        verified = waits(lambda member=member: world.run(member, "study", "verify", study).code == 0)  # type: ignore[misc]
        assert verified, f"{member}: {world.run(member, 'study', 'verify', study).out}"


def test_a_round_is_made_without_a_site_that_does_not_come_back_in_time(world: StudyWorld) -> None:
    study = world.approved(rounds=1, updates="60s", mode="open", waiver="true")
    world.consenting(study, "south")
    world.enrols(study, "south")
    assert waits(lambda: any(each["manifest"] for each in world.told("north", study)["site"])), "south is ready"
    world.kills("south")
    try:
        for member in ("north", "clinic", "authority"):
            world.consenting(study, member)
            world.enrols(study, member)
        ended = world.ends(study)
        assert ended["status"] == "closed" and ended["round"] == 1, ended
        (last,) = ended["progress"]
        assert last["sites"] == ["authority", "clinic", "north", "south"]
        assert last["updates"] == ["authority", "clinic", "north"]
    finally:
        world.starts("south")
    assert world.run("north", "study", "verify", study, "--replay").code == 0
    local = world.told("north", study)["local"]
    assert sorted(local["contributions"]) == ["authority", "clinic", "north"]
    assert sum(each["rows"] for each in local["contributions"].values()) == pytest.approx(1)
    assert all(each["left_out"][""]["rows"] for each in local["contributions"].values()), "judged without each of them"
    assert waits(lambda: world.told("clinic", study)["local"]["committed"]["report"]), "what closing it committed to"


def test_a_masked_study_that_counts_equals_the_pooled_rows_and_shows_no_small_cell(
    world: StudyWorld, tmp_path: Path
) -> None:
    counts_as_pooled(world, tmp_path)


def test_a_masked_regression_of_any_columns_gives_the_table_of_the_pooled_one(
    world: StudyWorld, tmp_path: Path
) -> None:
    regresses_as_pooled(world, tmp_path)


def test_a_patient_takes_part_by_passkey_from_a_wallet_of_its_own_and_withdraws(
    world: StudyWorld, patients: Callable[..., Patient]
) -> None:
    study, patient = world.approved(), patients(grant=False)
    alone = patient.run("consent", "grant", "--study", study, "--yes")
    assert alone.code == 2 and "--site" in alone.err
    given = patient.run("consent", "grant", "--study", study, "--site", "north", "--yes", "--json")
    assert given.code == 0, given.err
    assert f"to take part in study {study}" in given.err, "what is signed is shown"

    def consents() -> int:
        return int(world.told("north", study)["local"]["consents"])

    assert waits(lambda: consents() == 1)
    twice = patient.run("consent", "grant", "--study", study, "--site", "north", "--yes")
    assert twice.code == 1, "one study a wallet"
    gone = patient.run("consent", "withdraw", given.json["consent"], "--yes", "--json")
    assert gone.code == 0, gone.err
    assert waits(lambda: consents() == 0)


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
