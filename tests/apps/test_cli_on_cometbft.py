"""The command line's stories, told again where the members order together: what a user sees does not differ.

One consortium of five on CometBFT for this whole module, four of them validators. The stories are those of the modules
they are imported from, which run on solo there; those that name the sequencer stay there alone. What only this engine
has to show, and the patient's own commands against real processes, is told below.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commonward.apps import running, staffing
from commonward.apps.wiring import WallClock
from tests.apps.conftest import Patient, Processes, answers, consortium_on, free_ports, waits
from tests.apps.test_cli_care import (
    test_a_broken_glass_is_told_reviewed_by_another_and_closed,
    test_a_correction_shows_as_a_recall_and_a_new_request_brings_it,
    test_a_doctor_sees_each_value_with_the_digits_of_its_source_and_since_when,
    test_after_a_withdrawal_nothing_is_given_and_nothing_is_shown,
    test_an_insurer_without_a_consent_is_refused_with_the_reason,
)
from tests.apps.test_cli_custody import (
    test_a_hold_refuses_an_erasure_until_it_is_lifted_and_recipients_are_told,
    test_merged_names_are_one_person_until_they_are_parted_and_then_recipients_are_told,
)
from tests.apps.test_cli_evidence import (
    test_a_consents_evidence_convinces_at_custodian_and_requester,
    test_a_records_evidence_convinces_with_the_trust_file_beside_it,
    test_a_releases_evidence_convinces_and_a_bystander_has_none,
    test_trust_files_of_two_members_say_the_same_though_their_bytes_may_differ,
)
from tests.apps.test_cli_governance import (
    known_to,
    propose,
    test_a_parameter_changes_with_the_vote_that_completes_the_majority,
    test_a_revocation_shows_whose_certificate_it_is_and_what_takes_its_place,
    test_a_rotated_operate_key_signs_after_a_restart_and_its_anchors_still_convince,
    test_a_version_that_this_program_lacks_is_proposed_only_on_purpose_and_can_be_voted_down,
    test_enact_brings_the_change_about_with_the_vote_that_was_missing,
    test_nobody_votes_twice,
    test_weights_that_cannot_be_are_refused_when_they_are_proposed,
    test_what_a_revoked_certificate_signs_is_refused,
)
from tests.apps.test_cli_stamps import test_what_proves_nothing_accuses_nobody
from tests.apps.test_metrics import test_every_metric_is_in_the_handbook
from tests.cli_world import commonward

__all__ = [
    "processes",
    "test_a_broken_glass_is_told_reviewed_by_another_and_closed",
    "test_a_consents_evidence_convinces_at_custodian_and_requester",
    "test_a_correction_shows_as_a_recall_and_a_new_request_brings_it",
    "test_a_doctor_sees_each_value_with_the_digits_of_its_source_and_since_when",
    "test_a_hold_refuses_an_erasure_until_it_is_lifted_and_recipients_are_told",
    "test_a_parameter_changes_with_the_vote_that_completes_the_majority",
    "test_a_records_evidence_convinces_with_the_trust_file_beside_it",
    "test_a_releases_evidence_convinces_and_a_bystander_has_none",
    "test_a_revocation_shows_whose_certificate_it_is_and_what_takes_its_place",
    "test_a_rotated_operate_key_signs_after_a_restart_and_its_anchors_still_convince",
    "test_a_version_that_this_program_lacks_is_proposed_only_on_purpose_and_can_be_voted_down",
    "test_after_a_withdrawal_nothing_is_given_and_nothing_is_shown",
    "test_an_insurer_without_a_consent_is_refused_with_the_reason",
    "test_enact_brings_the_change_about_with_the_vote_that_was_missing",
    "test_every_metric_is_in_the_handbook",
    "test_merged_names_are_one_person_until_they_are_parted_and_then_recipients_are_told",
    "test_nobody_votes_twice",
    "test_trust_files_of_two_members_say_the_same_though_their_bytes_may_differ",
    "test_weights_that_cannot_be_are_refused_when_they_are_proposed",
    "test_what_a_revoked_certificate_signs_is_refused",
    "test_what_proves_nothing_accuses_nobody",
]

Make = Callable[..., Patient]


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with consortium_on("cometbft", tmp_path_factory.mktemp("together") / "c", tick_ms=2000) as made:
        yield made


def wallet(processes: Processes, patient: Patient, name: str, *purpose: object) -> Patient:
    """Another wallet: of a representative, or of the same person after a loss, as `purpose` says."""
    other = Patient(processes, name, patient.wallet.parent / name, patient.pin, patient.handle)
    ran = other.run("patient", "new", "--consortium", processes.directory, *purpose, "--json")
    assert ran.code == 0, ran.err
    return other


def test_a_patient_sees_every_look_holds_delivers_and_is_unlinked(processes: Processes, patients: Make) -> None:
    patient = patients()
    asked = ("--handle", patient.handle, "--from", "north", "--staff", "S1", "--encounter", "E1")
    assert processes.run("south", "request", *asked).code == 0

    def marks() -> list[str]:
        ran = patient.run("log", "--json")
        return [mark["custodian"] for mark in ran.json["marks"]] if ran.code == 0 and ran.json["whole"] else []

    assert waits(lambda: marks() == ["north"]), patient.run("log").out
    shown = patient.run("patient", "show", "--json").json
    assert shown["enrolled"] and shown["custodians"] == ["north"]
    assert "link" in {json.loads(line)["notice"] for line in patient.run("notices", "--json").out.splitlines()}
    assert waits(lambda: patient.run("consent", "deliver").code == 0), "an opening is not acknowledged"
    held = patient.run("consent", "hold", "--yes", "--json")
    assert held.code == 0, held.err
    assert {each["state"] for each in patient.run("consent", "list", "--json").lines} == {"open"}
    assert processes.run("south", "request", *asked).code == 1, "a hold acts at once"
    desk = ("--handle", patient.handle, "--words", "moved away", "--staff", "N1")
    assert processes.run("north", "patient", "unlink", *desk).code == 0


def test_a_mandate_is_given_used_and_ended(processes: Processes, patients: Make) -> None:
    patient = patients(grant=False)
    son = wallet(processes, patient, "son", "--represent", patient.handle)
    asked = ("--request", son.wallet / "enrolment.cwr", "--words", "court paper", "--staff", "N1")
    given = processes.run("north", "mandate", "give", *asked, "--scope", "all of it", "--days", 30)
    assert given.code == 0, given.err
    held = son.run("consent", "hold", "--yes", "--json")
    assert held.code == 0, held.err
    ended = patient.run("mandate", "end", "--yes")
    assert ended.code == 0, ended.err
    assert son.run("consent", "withdraw", held.json["consent"], "--yes").code == 1


def test_a_recovery_of_two_members_is_stopped_by_an_old_key(
    processes: Processes, patients: Make, tmp_path: Path
) -> None:
    patient = patients(grant=False)
    new = wallet(processes, patient, "found-again", "--recover", patient.handle)
    asked = ("--request", new.wallet / "enrolment.cwr", "--words", "passport")
    second = processes.run("south", "recovery", "cosign", *asked, "--staff", "S1", "--out", tmp_path / "second")
    assert second.code == 0, second.err
    started = processes.run(
        "north", "recovery", "start", *asked, "--staff", "N1", "--second", tmp_path / "second", "--json"
    )
    assert started.code == 0, started.err
    stopped = patient.run("recovery", "stop", "--yes")
    assert stopped.code == 0, stopped.err


def test_whoever_reads_the_whole_ledger_executes_it_and_a_backup_of_a_running_member_is_whole(
    processes: Processes, tmp_path: Path
) -> None:
    read = processes.run("insurer", "ledger", "read", "--json")
    assert read.code == 0, read.err
    digest = next(line["digest"] for line in read.lines if line.get("kind") == "AnchorBatch")
    shown = processes.run("insurer", "ledger", "show", digest)
    assert shown.code == 0 and "AnchorBatch" in shown.out, shown.err
    file = tmp_path / "south.tar"
    assert processes.run("south", "backup", "--to", file).code == 0
    ran = commonward("restore", file, "--data", tmp_path / "elsewhere", "--look")
    assert ran.code == 0 and "south" in ran.out, ran.err


def test_doctor_finds_nothing_to_do_at_a_validator_and_at_one_who_follows(processes: Processes) -> None:
    for member in ("north", "insurer"):
        node = processes.node(member)
        assert waits(lambda node=node: answers(node)), processes.last_words(member)  # type: ignore[misc]

        def failing(member: str = member) -> list[object]:
            ran = processes.run(member, "doctor", "--json")
            return [line for line in ran.lines if line.get("level") == "fail"]

        assert waits(lambda failing=failing: not failing()), failing()  # type: ignore[misc]


def test_a_new_member_is_admitted_by_vote_and_takes_the_ledger_from_its_first_block(processes: Processes) -> None:
    """The last story here: the consortium has six members from then on."""
    first = free_ports(3)
    listen, signing, p2p = (f"127.0.0.1:{first + n}" for n in range(3))
    applied = commonward(
        "member", "apply", processes.directory, "--member", "east:hospital:2=East Hospital",
        "--consortium", processes.directory, "--listen", listen, "--signing", signing, "--p2p", p2p, "--json",
    )  # fmt: skip
    assert applied.code == 0, applied.err
    made = propose(processes, "north", "admit", applied.json["application"])
    assert made.code == 0, made.err
    proposal = made.json["proposal"]
    for member in ("north", "south", "clinic", "authority", "insurer"):
        assert waits(lambda member=member: known_to(processes, member, proposal))  # type: ignore[misc]
        done = processes.run(member, "governance", "vote", proposal, "yes", "--json")
        assert done.code == 0, done.err
        if not done.json["open"]:
            break
    assert waits(lambda: "east" in processes.run("north", "member", "list").out)
    settings = processes.data("north") / "node.toml"
    told = settings.read_text().replace("[p2p_peers]", f'east = "{listen}"\n\n[p2p_peers]')
    settings.write_text(told + f'east = "{p2p}"\n')  # [peers] and [p2p_peers] stand last
    processes.reload("north")
    running.start_one(processes.directory, "east")
    node = processes.node("east")
    assert waits(lambda: answers(node)), f"east does not follow: {processes.last_words('east')}"
    staffing.issue(
        processes.settings("east"), role="registrar", department="desk", number="E1", hours=12, now=WallClock().now()
    )
    said = ("--handle", "00" * 16, "--from", "north", "--staff", "E1", "--encounter", "E1")
    ran = processes.run("east", "request", *said)
    assert ran.code == 1 and "north refused" in ran.err, ran.err
