"""The custodian's commands against a real node: what was released, erasure with its obstacles, holds, merges."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.apps.conftest import Patient, Processes, bundle, observation, waits

Make = Callable[..., Patient]


def fetch(processes: Processes, patient: Patient) -> str:
    said = ("--handle", patient.handle, "--from", "north", "--staff", "S1", "--encounter", "E1", "--json")
    ran = processes.run("south", "request", *said)
    assert ran.code == 0, ran.err
    return str(ran.json["tag"])


def holdings(processes: Processes, patient: Patient) -> list[dict[str, object]]:
    return processes.run("north", "holdings", "--handle", patient.handle, "--json").lines


def old_record(processes: Processes, patient: Patient, tmp_path: Path) -> str:
    """An observation of forty years ago: no retention stands against erasing it. Its id."""
    made = observation(f"{patient.name}-old", patient.name, "1.5", effectiveDateTime="1980-01-01")
    file = bundle(tmp_path / "old.json", made)
    assert processes.run("north", "ingest", file, "--system", "his").code == 0
    found = processes.node("north").get("/patients/records", handle=patient.handle)
    return next(str(each["id"]) for each in found if each["source_id"] == f"{patient.name}-old")


def test_releases_are_listed_by_number_as_the_patient_sees_them(processes: Processes, patients: Make) -> None:
    patient = patients()
    assert "Nothing of this patient" in processes.run("north", "releases", "--handle", patient.handle).out
    tag = fetch(processes, patient)
    ran = processes.run("north", "releases", "--handle", patient.handle)
    assert ran.code == 0 and f"1  {tag[:16]}" in ran.out and "sent" in ran.out


def test_holdings_say_what_is_sound_and_anchored(processes: Processes, patients: Make) -> None:
    patient = patients()
    ran = processes.run("north", "holdings", "--handle", patient.handle)
    assert ran.code == 0 and ran.out.count("sound, anchored at index") == 3
    assert "is the handle linked" in processes.run("north", "holdings", "--handle", "00" * 16).out


def test_retention_refuses_an_erasure_with_its_reason(processes: Processes, patients: Make) -> None:
    patient = patients()
    record = holdings(processes, patient)[1]["id"]
    ran = processes.run("north", "erase", record, "--words", "she asked", "--staff", "N2")
    assert ran.code == 1 and "RETENTION" in ran.err
    assert len(holdings(processes, patient)) == 3


def test_a_hold_refuses_an_erasure_until_it_is_lifted_and_recipients_are_told(
    processes: Processes, patients: Make, tmp_path: Path
) -> None:
    patient = patients()
    record = old_record(processes, patient, tmp_path)
    fetch(processes, patient)
    assert processes.run("north", "hold", "add", "case 7/2026", "--record", record).code == 0
    ran = processes.run("north", "erase", record, "--words", "she asked", "--staff", "N2")
    assert ran.code == 1 and "case 7/2026" in ran.err
    assert "case 7/2026: 1 record, until it is lifted" in processes.run("north", "hold", "list").out
    assert processes.run("north", "hold", "remove", "case 8").code == 1, "a slip is no lifted hold"
    assert processes.run("north", "hold", "remove", "case 7/2026").code == 0
    ran = processes.run("north", "erase", record, "--words", "she asked", "--staff", "N2")
    assert ran.code == 0 and "salt and key are destroyed" in ran.out, ran.err
    assert record not in {each["id"] for each in holdings(processes, patient)}

    def destroyed() -> bool:
        return not processes.node("south").get("/copies", handle=patient.handle)

    assert waits(destroyed), "who received it is told, and lets go of its copy"
    again = processes.run("north", "erase", record, "--words", "she asked", "--staff", "N2")
    assert again.code == 1 and "erased" in again.err


@pytest.mark.parametrize("record", ["00" * 16, "xyz"])
def test_what_is_not_held_cannot_be_erased(processes: Processes, record: str) -> None:
    ran = processes.run("north", "erase", record, "--words", "x", "--staff", "N2")
    assert ran.code == 1 and ran.err


def test_merged_names_are_one_person_until_they_are_parted_and_then_recipients_are_told(
    processes: Processes, patients: Make, tmp_path: Path
) -> None:
    patient = patients()
    other = f"{patient.name}-twin"
    file = bundle(tmp_path / "twin.json", observation(f"{other}-o", other, "3.3"))
    assert processes.run("north", "ingest", file, "--system", "his").code == 0
    pair = ("--system", "his", "--patient", patient.name, "--other-patient", other, "--why", "same identity card")
    assert processes.run("north", "merge", *pair).code == 0
    assert len(holdings(processes, patient)) == 4
    fetch(processes, patient)
    ran = processes.run("north", "unmerge", *pair)
    assert ran.code == 0 and "1 recipient told" in ran.out
    assert len(holdings(processes, patient)) == 3
    assert processes.run("north", "unmerge", *pair).code == 1
