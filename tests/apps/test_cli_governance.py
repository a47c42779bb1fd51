"""Deciding together and renewing keys, against real nodes: a vote takes effect, a new key is used after a restart."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from commonward.apps import running, staffing
from commonward.apps.wiring import WallClock
from tests.apps.conftest import MEMBERS, Patient, Processes, answers, free_ports, waits
from tests.cli_world import Ran, commonward

Make = Callable[..., Patient]


def propose(processes: Processes, member: str, *change: object) -> Ran:
    return processes.run(member, "governance", "propose", *change, "--grounds", "agreed at the meeting", "--json")


def known_to(processes: Processes, member: str, proposal: str) -> bool:
    return any(each["proposal"] == proposal for each in processes.node(member).get("/proposals"))


def test_a_parameter_changes_with_the_vote_that_completes_the_majority(processes: Processes) -> None:
    ran = propose(processes, "north", "parameter", "break_glass_a_day", 49)
    assert ran.code == 0, ran.err
    proposal = ran.json["proposal"]
    for member in MEMBERS:
        assert waits(lambda member=member: known_to(processes, member, proposal))  # type: ignore[misc]
    listed = processes.run("south", "governance", "list").out
    assert "set break_glass_a_day to 49 (now " in listed and "by north" in listed and "yes carry it" in listed
    assert "not yet: authority, clinic, insurer, north, south" in listed
    assert processes.run("insurer", "governance", "vote", proposal[:12], "no").code == 0
    voted = 0
    for member in ("north", "south", "clinic", "authority"):
        done = processes.run(member, "governance", "vote", proposal, "yes", "--json")
        assert done.code == 0, done.err
        voted += 1
        if not done.json["open"]:
            break
    assert voted >= 3, "more than half of five"
    assert waits(lambda: not known_to(processes, "insurer", proposal))
    late = processes.run("authority", "governance", "vote", proposal, "yes")
    assert late.code == 1 and "0 open proposals" in late.err


def test_nobody_votes_twice(processes: Processes) -> None:
    proposal = propose(processes, "north", "parameter", "recovery_wait", 60_000).json["proposal"]
    assert processes.run("north", "governance", "vote", proposal, "yes").code == 0
    ran = processes.run("north", "governance", "vote", proposal, "no")
    assert ran.code == 1 and "AlreadyVoted" in ran.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("parameter", "nonsense", 3), "expected a parameter of"),
        (("parameter", "tick", 1), "ChangeNotPossible"),
        (("suspend", "nobody-here"), "ChangeNotPossible"),
        (("resume", "clinic"), "ChangeNotPossible"),
    ],
)
def test_a_change_that_cannot_be_is_refused_when_it_is_proposed(
    processes: Processes, change: tuple[object, ...], words: str
) -> None:
    ran = propose(processes, "north", *change)
    assert ran.code == 1 and words in ran.err


def test_a_rotated_operate_key_signs_after_a_restart_and_its_anchors_still_convince(
    processes: Processes, tmp_path: object
) -> None:
    ran = processes.run("clinic", "member", "rotate-key", "operate", "--json")
    assert ran.code == 0, ran.err
    old, new = ran.json["old"], ran.json["new"]
    in_use = processes.run("clinic", "member", "revoke-key", old, "--why", "rotated")
    assert in_use.code == 1 and "restart the node" in in_use.err
    processes.restart("clinic")
    keys = {each["key"]: each for each in processes.node("clinic").get("/keys")}
    assert keys[new]["in_use"] and not keys[old]["in_use"]
    done = processes.run("clinic", "member", "revoke-key", old, "--why", "rotated")
    assert done.code == 0, done.err
    assert "revoked" in processes.run("clinic", "member", "keys").out
    again = processes.run("clinic", "member", "revoke-key", old, "--why", "twice")
    assert again.code == 1 and "NotYourKey" in again.err
    voted = propose(processes, "clinic", "parameter", "late_by", 3_600_000)
    assert voted.code == 0, "what it signs with the new key is taken"


def test_a_rotated_tls_key_is_believed_by_the_others(processes: Processes) -> None:
    assert processes.run("insurer", "member", "rotate-key", "tls").code == 0
    processes.restart("insurer")
    said = ("--handle", "00" * 16, "--from", "north", "--staff", "I1", "--encounter", "E1", "--purpose", "HPAYMT")
    ran = processes.run("insurer", "request", *said)
    assert ran.code == 1 and "north refused" in ran.err, "it was heard, over the new key"


def test_only_the_operator_has_a_sequencing_key_to_rotate(processes: Processes) -> None:
    ran = processes.run("north", "member", "rotate-key", "sequence")
    assert ran.code == 1 and "only the operator" in ran.err
    ran = processes.run("north", "member", "rotate-key", "nonsense")
    assert ran.code == 1 and "expected a purpose of" in ran.err


def test_what_a_revoked_certificate_signs_is_refused(processes: Processes, patients: Make) -> None:
    patient = patients()
    settings = processes.settings("south")
    staffing.issue(settings, role="registrar", department="ward 3", number="S9", hours=12, now=WallClock().now())
    said = ("--handle", patient.handle, "--from", "north", "--staff", "S9", "--encounter", "E1")
    assert processes.run("south", "request", *said).code == 0
    done = processes.run("south", "member", "revoke-staff", "S9", "--why", "left the hospital")
    assert done.code == 0 and "would have ended" in done.out, done.err
    ran = processes.run("south", "request", *said)
    assert (ran.code == 1 and "revoked" in ran.err + ran.out) or "certificate" in ran.err
    again = processes.run("south", "member", "revoke-staff", "S9", "--why", "twice")
    assert again.code == 1 and "StaffAlreadyRevoked" in again.err


def test_a_new_member_is_admitted_by_vote_and_its_node_follows_and_asks(processes: Processes) -> None:
    first = free_ports(2)
    applied = commonward(
        "member", "apply", processes.directory, "--member", "east:hospital:2=East Hospital",
        "--consortium", processes.directory, "--listen", f"127.0.0.1:{first}", "--signing", f"127.0.0.1:{first + 1}",
        "--json",
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
    for member in ("authority", "north"):
        with (processes.data(member) / "node.toml").open("a") as file:  # [peers] stands last
            file.write(f'east = "127.0.0.1:{first}"\n')
    processes.reload("sequencer")
    processes.reload("north")
    running.start_one(processes.directory, "east")
    assert waits(lambda: answers(processes.node("east")), 60.0), "east does not follow"
    settings = processes.settings("east")
    staffing.issue(settings, role="registrar", department="desk", number="E1", hours=12, now=WallClock().now())
    said = ("--handle", "00" * 16, "--from", "north", "--staff", "E1", "--encounter", "E1")
    ran = processes.run("east", "request", *said)
    assert ran.code == 1 and "north refused" in ran.err, ran.err
    twice = propose(processes, "north", "admit", applied.json["application"])
    assert twice.code == 1 and "ChangeNotPossible" in twice.err


def test_settings_that_cannot_be_read_are_named_at_a_reload_and_the_node_goes_on(processes: Processes) -> None:
    file, log = processes.data("clinic") / "node.toml", processes.data("clinic") / "node.log"
    before = file.read_text()
    try:
        file.write_text(before.replace("[peers]", "grace_ms = 'soon'\n[peers]"))
        os.kill(running.processes(processes.directory)["clinic"], signal.SIGHUP)
        assert waits(lambda: "settings_not_taken" in log.read_text(errors="replace")), processes.last_words("clinic")
    finally:
        file.write_text(before)
    assert waits(lambda: answers(processes.node("clinic"))), processes.last_words("clinic")
    processes.reload("clinic")


def test_what_is_no_application_is_not_proposed(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"not one")
    ran = propose(processes, "north", "admit", tmp_path / "a")
    assert ran.code == 1 and "expected an application" in ran.err
    assert propose(processes, "north", "admit", tmp_path / "none").code == 2


def vote_of_all(processes: Processes, proposal: str, members: tuple[str, ...] = MEMBERS) -> None:
    """Until it has carried."""
    for member in members:
        assert waits(lambda member=member: known_to(processes, member, proposal))  # type: ignore[misc]
        done = processes.run(member, "governance", "vote", proposal, "yes", "--json")
        assert done.code == 0, done.err
        if not done.json["open"]:
            return
    raise AssertionError(f"{proposal} does not carry")


def rule(processes: Processes, kind: str) -> dict[str, object]:
    found = processes.run("insurer", "governance", "rules", "--json").json
    return next(each for each in found["changes"] if each["kind"] == kind)


def test_a_threshold_is_raised_and_lowered_again_and_the_rules_say_so(processes: Processes) -> None:
    assert (rule(processes, "table")["majority"], rule(processes, "table")["needed"]) == (
        "1/2",
        rule_of_half(processes),
    )
    raised = propose(processes, "north", "threshold", "table", "2/3")
    assert raised.code == 0, raised.err
    assert "table needs more than 2/3 of the members (now 1/2)" in raised.json["words"]
    vote_of_all(processes, raised.json["proposal"])
    assert waits(lambda: rule(processes, "table")["majority"] == "2/3")
    lowered = propose(processes, "north", "threshold", "table", "1/2")
    listed = next(
        each for each in processes.node("north").get("/proposals") if each["proposal"] == lowered.json["proposal"]
    )
    assert listed["majority"] == "2/3", "the higher of old and new"
    vote_of_all(processes, lowered.json["proposal"])
    assert waits(lambda: rule(processes, "table")["majority"] == "1/2")


def rule_of_half(processes: Processes) -> int:
    return int(processes.run("insurer", "governance", "rules", "--json").json["members"]) // 2 + 1


def test_enact_votes_says_who_is_missing_and_ends_well_once_the_others_have_voted(processes: Processes) -> None:
    made = propose(processes, "north", "proposers", "table", "hospital", "authority", "insurer")
    assert made.code == 0, made.err
    proposal = made.json["proposal"]
    early = processes.run("north", "governance", "enact", proposal[:12], "--wait", 0)
    assert early.code == 1 and "Voted yes" in early.err
    assert "more yes of authority" in early.out and "insurer, south" in early.out and "until 20" in early.out
    again = processes.run("north", "governance", "enact", proposal, "--wait", 0, "--json")
    assert again.code == 1 and not again.json["stands"] and again.json["ayes"] == ["north"]
    vote_of_all(processes, proposal, ("south", "clinic", "authority", "insurer"))
    assert waits(lambda: rule(processes, "table")["proposers"] == ["hospital", "insurer", "authority"])


def test_enact_brings_the_change_about_with_the_vote_that_was_missing(processes: Processes) -> None:
    proposal = propose(processes, "south", "parameter", "backfill", 4000).json["proposal"]
    needed = int(processes.node("south").get("/proposals/" + proposal)["needed"])
    for member in [each for each in MEMBERS if each != "south"][: needed - 1]:
        assert waits(lambda member=member: known_to(processes, member, proposal))  # type: ignore[misc]
        assert processes.run(member, "governance", "vote", proposal, "yes").code == 0
    done = processes.run("south", "governance", "enact", proposal, "--wait", 60)
    assert done.code == 0 and "It stands: set backfill to 4000" in done.out, done.err
    assert waits(lambda: not known_to(processes, "insurer", proposal))
    ran = processes.run("insurer", "governance", "enact", proposal)
    assert ran.code == 1 and "0 open proposals" in ran.err


def test_enact_waits_for_the_others_and_ends_once_the_change_stands(processes: Processes) -> None:
    proposal = propose(processes, "south", "parameter", "backfill", 4050).json["proposal"]
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(enacted_by, processes, "south", proposal)
        assert waits(lambda: "south" in tally(processes, "north", proposal))
        vote_of_all(processes, proposal, tuple(each for each in MEMBERS if each != "south"))
        code, said = waiting.result(120)
    assert code == 0 and "It stands" in said


def tally(processes: Processes, member: str, proposal: str) -> list[str]:
    found = [each for each in processes.node(member).get("/proposals") if each["proposal"] == proposal]
    return list(found[0]["ayes"]) if found else []


def enacted_by(processes: Processes, member: str, proposal: str) -> tuple[int, str]:
    """In a process of its own: it waits while other commands run here."""
    command = [sys.executable, "-m", "commonward", "governance", "enact", proposal, "--wait", "90"]
    ran = subprocess.run(
        [*command, "--data", str(processes.data(member))], capture_output=True, text=True, timeout=110, check=False
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_enact_does_not_turn_a_no_into_a_yes(processes: Processes) -> None:
    proposal = propose(processes, "north", "parameter", "backfill", 3000).json["proposal"]
    assert processes.run("north", "governance", "vote", proposal, "no").code == 0
    ran = processes.run("north", "governance", "enact", proposal, "--wait", 0)
    assert ran.code == 1 and "voted no" in ran.err


def test_a_revocation_shows_whose_certificate_it_is_and_what_takes_its_place(processes: Processes) -> None:
    """Proposed and shown, not carried: the other tests go on with clinic's certificates."""
    other = processes.data("south") / "ca" / "ca.pem"
    made = propose(processes, "north", "revocation", "clinic", "--replacement", other)
    assert made.code == 0, made.err
    assert "of clinic" in made.json["words"] and "takes its place" in made.json["words"]
    shown = processes.run("north", "governance", "show", made.json["proposal"])
    assert shown.code == 0 and "CA certificate" in shown.out and "CN=" in shown.out
    no_ca = processes.run(
        "north", "governance", "propose", "certificate", "clinic", processes.data("south") / "node.toml",
        "--grounds", "x",
    )  # fmt: skip
    assert no_ca.code == 2 and "expected a CA certificate in PEM or DER" in no_ca.err


def test_a_version_that_this_program_lacks_is_proposed_only_on_purpose_and_can_be_voted_down(
    processes: Processes,
) -> None:
    ran = propose(processes, "north", "protocol", 2, "--at-height", 10_000_000)
    assert ran.code == 1 and "this program knows version 1 of the rules, not 2" in ran.err
    made = propose(processes, "north", "protocol", 2, "--at-height", 10_000_000, "--unknown")
    assert made.code == 0 and "would stop" in made.json["words"], made.err
    rules = processes.run("north", "governance", "rules")
    assert rules.code == 0 and "Rules of version 1 are in force." in rules.out


def test_weights_that_cannot_be_are_refused_when_they_are_proposed(processes: Processes) -> None:
    ran = propose(processes, "north", "weight", "south", 1_000_000)
    assert ran.code == 1 and "ThirdOfWeight" in ran.err


def test_the_names_of_before_still_answer(processes: Processes) -> None:
    made = processes.run("north", "member", "propose", "parameter", "backfill", 100, "--grounds", "x", "--json")
    assert made.code == 0, made.err
    assert processes.run("north", "member", "vote", made.json["proposal"], "no").code == 0
    assert made.json["proposal"][:12] in processes.run("north", "member", "proposals").out
