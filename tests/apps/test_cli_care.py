"""The requester's commands against real nodes: ask, look, rely, break the glass, and every refusal with its reason."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commonward.apps.settings import load
from tests.apps.conftest import Patient, Processes, bundle, observation, waits
from tests.cli_world import Ran, commonward

Make = Callable[..., Patient]


def asks(processes: Processes, patient: Patient, *more: object, member: str = "south", staff: str = "S1") -> Ran:
    return processes.run(
        member, "request", "--handle", patient.handle, "--from", "north", "--staff", staff, "--encounter", "E1", *more
    )


def shows(processes: Processes, patient: Patient, *more: object, staff: str = "S2") -> Ran:
    return processes.run(
        "south", "records", "show", "--handle", patient.handle, "--staff", staff, "--encounter", "E1", *more
    )


def displayed(processes: Processes) -> int:
    return sum(each["event"] == "displayed" for each in processes.node("south").get("/uses", limit=10_000))


def test_a_request_says_how_many_records_came_and_what_was_verified(processes: Processes, patients: Make) -> None:
    ran = asks(processes, patients())
    assert ran.code == 0, ran.err
    assert "3 records came from north" in ran.out
    assert "mark stands on the ledger at index" in ran.out
    assert "all 3 are exactly what north anchored" in ran.out
    assert "records show" in ran.out, "what to do next"


def test_a_doctor_sees_each_value_with_the_digits_of_its_source_and_since_when(
    processes: Processes, patients: Make
) -> None:
    patient = patients("7.40", "0.010", "1.0e2")
    assert asks(processes, patient, "--json").json["records"] == 4
    before = displayed(processes)
    ran = shows(processes, patient)
    assert ran.code == 0, ran.err
    for words in ("Haemoglobin", "7.40 g/dL", "0.010 g/dL", "1.0e2 g/dL", "2026-05-31", "unchanged at north since"):
        assert words in ran.out
    assert displayed(processes) == before + 1, "each showing stands in the log"
    raw = shows(processes, patient, "--json")
    assert displayed(processes) == before + 2
    assert '"value":1.0e2' in raw.out and '"value":0.010' in raw.out
    assert {line["verified"] for line in raw.lines} == {"anchored"}
    assert {line["resource"]["resourceType"] for line in raw.lines} == {"Patient", "Observation"}


def test_who_may_not_look_is_refused_with_the_reason(processes: Processes, patients: Make) -> None:
    patient = patients()
    assert asks(processes, patient).code == 0
    ran = shows(processes, patient, staff="S1")
    assert ran.code == 1 and "a registrar may not display records" in ran.err


def test_an_insurer_without_a_consent_is_refused_with_the_reason(processes: Processes, patients: Make) -> None:
    ran = asks(processes, patients(), "--purpose", "HPAYMT", member="insurer", staff="I1")
    assert ran.code == 1
    assert "north refused" in ran.err and "no consent is open" in ran.err


def test_after_a_withdrawal_nothing_is_given_and_nothing_is_shown(processes: Processes, patients: Make) -> None:
    patient = patients(grant=False)
    consent = patient.grants()
    assert asks(processes, patient).code == 0
    ran = patient.run("consent", "withdraw", consent, "--yes")
    assert ran.code == 0, ran.err
    assert asks(processes, patient, "--consent", consent).code == 1
    assert shows(processes, patient).code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--handle", "00" * 16, "--from", "north", "--staff", "nobody", "--encounter", "E1"), 1, "nobody"),
        (("--handle", "xyz", "--from", "north", "--staff", "S1", "--encounter", "E1"), 1, "hex digits"),
        (("--handle", "00" * 16, "--from", "NORTH!", "--staff", "S1", "--encounter", "E1"), 1, "NORTH!"),
        (("--from", "north", "--staff", "S1", "--encounter", "E1"), 2, "--handle"),
    ],
)
def test_a_wrong_word_is_named(processes: Processes, arguments: tuple[str, ...], code: int, words: str) -> None:
    ran = processes.run("south", "request", *arguments)
    assert ran.code == code and words in ran.err + ran.out


def test_without_a_running_node_it_says_how_to_start_it(processes: Processes, tmp_path: Path) -> None:
    from tests.cli_world import found_pilot

    pilot = found_pilot(tmp_path / "c")
    ran = commonward(
        "request", "--data", pilot, "--handle", "00" * 16, "--from", "x", "--staff", "S1", "--encounter", "E1"
    )
    assert ran.code == 3 and f"commonward node {pilot}" in ran.err.replace("\n", "")


def test_no_copy_is_shown_where_none_is_held(processes: Processes, patients: Make) -> None:
    ran = shows(processes, patients(grant=False))
    assert ran.code == 1 and "no such copy" in ran.err


def test_copies_are_listed_without_what_is_in_them(processes: Processes, patients: Make) -> None:
    patient = patients()
    tag = asks(processes, patient, "--json").json["tag"]
    before = displayed(processes)
    ran = processes.run("south", "records", "list", "--handle", patient.handle)
    assert ran.code == 0 and tag[:16] in ran.out and "3 records from north" in ran.out
    assert "Haemoglobin" not in ran.out and displayed(processes) == before


def test_a_correction_shows_as_a_recall_and_a_new_request_brings_it(
    processes: Processes, patients: Make, tmp_path: Path
) -> None:
    patient = patients("7.40")
    old = asks(processes, patient, "--json").json["tag"]
    again = bundle(tmp_path / "c.json", observation(f"{patient.name}-o1", patient.name, "8.10", status="corrected"))
    assert processes.run("north", "ingest", again, "--system", "his").code == 0

    def recalled() -> Any:
        copies = processes.node("south").get("/copies", handle=patient.handle)
        return next(copy for copy in copies if copy["tag"] == old)["recalled"]

    assert waits(recalled), "the recall did not come"
    ran = shows(processes, patient, "--copy", old)
    assert "RECALLED: corrected since" in ran.out and "do not rely on" in ran.out
    assert f"in copy {old[:16]}" in processes.run("south", "recalls").out
    assert "to south: 1 record, corrected" in processes.run("north", "recalls").out
    new = asks(processes, patient, "--json").json["tag"]
    assert "8.10 g/dL" in shows(processes, patient, "--copy", new).out


def test_what_a_clinician_relied_on_is_kept(processes: Processes, patients: Make) -> None:
    patient = patients()
    tag = asks(processes, patient, "--json").json["tag"]
    record = shows(processes, patient, "--json").lines[0]["id"]
    ran = processes.run(
        "south", "rely", "--copy", tag[:12], "--record", record, "--staff", "S2", "--why", "dose reduced"
    )
    assert ran.code == 0 and "Kept" in ran.out
    ran = processes.run("south", "rely", "--copy", tag, "--record", "00" * 16, "--staff", "S2", "--why", "x")
    assert ran.code == 1 and "not in this copy" in ran.err


def test_a_broken_glass_is_told_reviewed_by_another_and_closed(processes: Processes, patients: Make) -> None:
    patient = patients(grant=False)
    said = ("--handle", patient.handle, "--from", "north", "--encounter", "E1")
    ran = processes.run("south", "break-glass", *said, "--staff", "S2", "--reason", "unconscious", "--json")
    assert ran.code == 0, ran.err
    glass = ran.json["glass"]
    assert ran.json["records"] == 3
    assert shows(processes, patient).code == 0
    assert "unconscious" in processes.run("south", "review").out
    own = processes.run("south", "review", glass[:16], "--staff", "S2", "--finding", "fine")
    assert own.code == 1 and "does not review it" in own.err
    done = processes.run("south", "review", glass[:16], "--staff", "S3", "--finding", "it was right")
    assert done.code == 0 and "it was right" in done.out
    assert glass not in json.dumps(processes.node("south").get("/glass"))
    assert processes.run("south", "review", glass, "--staff", "S3", "--finding", "again").code == 1


def test_a_copy_with_one_byte_altered_says_so_plainly_and_is_not_shown(processes: Processes, patients: Make) -> None:
    patient = patients()
    tag = asks(processes, patient, "--json").json["tag"]
    with sqlite3.connect(load(processes.data("south"), {}).vault_file, timeout=30) as vault:
        (sealed,) = vault.execute(
            "select sealed from papers where drawer = 'copies' and key = ?", (bytes.fromhex(tag),)
        ).fetchone()
        changed = sealed[:100] + bytes([sealed[100] ^ 1]) + sealed[101:]
        vault.execute("update papers set sealed = ? where drawer = 'copies' and key = ?", (changed, bytes.fromhex(tag)))
    vault.close()
    before = displayed(processes)
    ran = processes.run("south", "records", "show", "--copy", tag, "--staff", "S2", "--encounter", "E1")
    assert ran.code == 1
    assert "ALTERED" in ran.err and "Do not rely on it" in ran.err and "Haemoglobin" not in ran.out
    assert displayed(processes) == before
    assert "ALTERED" in processes.run("south", "records", "list", "--handle", patient.handle).out
    assert "ALTERED" not in processes.run("south", "records", "list", "--handle", "00" * 16).out, "it is no one else's"
    assert asks(processes, patient).code == 0, "asked again, it comes again"
    assert shows(processes, patient, "--copy", asks(processes, patient, "--json").json["tag"]).code == 0
