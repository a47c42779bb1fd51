"""Deciding together and renewing keys, against real nodes: a vote takes effect, a new key is used after a restart."""

from collections.abc import Callable
from pathlib import Path

import pytest

from commonward.apps import running, staffing
from commonward.apps.wiring import WallClock
from tests.apps.conftest import MEMBERS, Patient, Processes, answers, free_ports, waits
from tests.cli_world import Ran, commonward

Make = Callable[..., Patient]


def propose(processes: Processes, member: str, *change: object) -> Ran:
    return processes.run(member, "member", "propose", *change, "--grounds", "agreed at the meeting", "--json")


def known_to(processes: Processes, member: str, proposal: str) -> bool:
    return any(each["proposal"] == proposal for each in processes.node(member).get("/proposals"))


def test_a_parameter_changes_with_the_vote_that_completes_the_majority(processes: Processes) -> None:
    ran = propose(processes, "north", "parameter", "break_glass_a_day", 49)
    assert ran.code == 0, ran.err
    proposal = ran.json["proposal"]
    for member in MEMBERS:
        assert waits(lambda member=member: known_to(processes, member, proposal))  # type: ignore[misc]
    listed = processes.run("south", "member", "proposals").out
    assert "SetParameter, by north" in listed and "49" in listed and "yes carry it" in listed
    assert processes.run("insurer", "member", "vote", proposal[:12], "no").code == 0
    voted = 0
    for member in ("north", "south", "clinic", "authority"):
        done = processes.run(member, "member", "vote", proposal, "yes", "--json")
        assert done.code == 0, done.err
        voted += 1
        if not done.json["open"]:
            break
    assert voted >= 3, "more than half of five"
    assert waits(lambda: not known_to(processes, "insurer", proposal))
    late = processes.run("authority", "member", "vote", proposal, "yes")
    assert late.code == 1 and "0 open proposals" in late.err


def test_nobody_votes_twice(processes: Processes) -> None:
    proposal = propose(processes, "north", "parameter", "recovery_wait", 60_000).json["proposal"]
    assert processes.run("north", "member", "vote", proposal, "yes").code == 0
    ran = processes.run("north", "member", "vote", proposal, "no")
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
        done = processes.run(member, "member", "vote", proposal, "yes", "--json")
        assert done.code == 0, done.err
        if not done.json["open"]:
            break
    assert waits(lambda: "east" in processes.run("north", "member", "list").out)
    for member in ("authority", "north"):
        with (processes.data(member) / "node.toml").open("a") as file:  # [peers] stands last
            file.write(f'east = "127.0.0.1:{first}"\n')
    processes.restart("sequencer")
    processes.restart("north")
    running.start_one(processes.directory, "east")
    assert waits(lambda: answers(processes.node("east")), 60.0), "east does not follow"
    settings = processes.settings("east")
    staffing.issue(settings, role="registrar", department="desk", number="E1", hours=12, now=WallClock().now())
    said = ("--handle", "00" * 16, "--from", "north", "--staff", "E1", "--encounter", "E1")
    ran = processes.run("east", "request", *said)
    assert ran.code == 1 and "north refused" in ran.err, ran.err
    twice = propose(processes, "north", "admit", applied.json["application"])
    assert twice.code == 1 and "ChangeNotPossible" in twice.err


def test_what_is_no_application_is_not_proposed(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"not one")
    ran = propose(processes, "north", "admit", tmp_path / "a")
    assert ran.code == 1 and "expected an application" in ran.err
    assert propose(processes, "north", "admit", tmp_path / "none").code == 2
