"""Evidence that the command line exports convinces `commonward verify`, with no node and no data directory."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.apps.conftest import Patient, Processes, waits
from tests.cli_world import Ran, commonward

Make = Callable[..., Patient]


def exported(processes: Processes, member: str, folder: Path, *arguments: object) -> Path:
    out = folder / "e.cwe"
    ran = processes.run(member, "evidence", *arguments, "--out", out)
    assert ran.code == 0, ran.err
    assert f"commonward verify {out}" in ran.out.replace("\n", "")
    return out


def verified(file: Path, *more: object) -> Ran:
    return commonward("verify", file, *more)


def fetch(processes: Processes, patient: Patient) -> None:
    said = ("--handle", patient.handle, "--from", "north", "--staff", "S1", "--encounter", "E1")
    assert processes.run("south", "request", *said).code == 0


def record_of(processes: Processes, patient: Patient) -> str:
    return str(processes.node("north").get("/patients/records", handle=patient.handle)[1]["id"])


def test_a_records_evidence_convinces_with_the_trust_file_beside_it(
    processes: Processes, patients: Make, tmp_path: Path
) -> None:
    file = exported(processes, "north", tmp_path, "record", record_of(processes, patients()))
    assert file.stat().st_mode & 0o077 == 0, "a record is inside"
    ran = verified(file)
    assert ran.code == 0, ran.out + ran.err
    altered = tmp_path / "altered.cwe"
    data = bytearray(file.read_bytes())
    data[400] = ord("A") if data[400] != ord("A") else ord("B")
    altered.write_bytes(bytes(data))
    assert verified(altered).code in (1, 2)


def test_a_closed_records_evidence_needs_the_record_itself(
    processes: Processes, patients: Make, tmp_path: Path
) -> None:
    file = exported(processes, "north", tmp_path, "record", record_of(processes, patients()), "--closed")
    assert verified(file).code == 1
    assert file.stat().st_size < 4096 * 1.2


def test_a_releases_evidence_convinces_and_a_bystander_has_none(
    processes: Processes, patients: Make, tmp_path: Path
) -> None:
    patient = patients()
    fetch(processes, patient)
    file = exported(processes, "north", tmp_path, "release", "--handle", patient.handle, 1)
    ran = verified(file)
    assert ran.code == 0, ran.out + ran.err
    none = processes.run("clinic", "evidence", "release", "--handle", patient.handle, 1)
    assert none.code == 1 and "no mark 1" in none.err
    assert processes.run("north", "evidence", "release", "--handle", patient.handle, 9).code == 1


@pytest.mark.parametrize("member", ["north", "south"])
def test_a_consents_evidence_convinces_at_custodian_and_requester(
    processes: Processes, patients: Make, tmp_path: Path, member: str
) -> None:
    patient = patients(grant=False)
    consent = patient.grants()
    file = exported(processes, member, tmp_path, "consent", "--handle", patient.handle, consent)
    ran = verified(file)
    assert ran.code == 0, ran.out + ran.err
    closed = processes.run("clinic", "evidence", "consent", "--handle", patient.handle, consent)
    assert closed.code == 1 and "not opened to this member" in closed.err


def test_trust_files_of_two_members_say_the_same_though_their_bytes_may_differ(
    processes: Processes, tmp_path: Path
) -> None:
    def fingerprints() -> list[tuple[str, str]]:
        found = []
        for member in ("north", "south"):
            ran = processes.run(member, "evidence", "trust", "--out", tmp_path / member, "--json")
            assert ran.code == 0, ran.err
            found.append((ran.json["genesis"], ran.json["fingerprint"]))
        return found

    # Each proves a change of authority only once it has heard a quorum under it, so one may be a moment ahead.
    assert waits(lambda: len(set(fingerprints())) == 1, 60.0)
    assert "Compare both" in processes.run("north", "evidence", "trust", "--out", tmp_path / "north").out


def test_what_is_not_held_has_no_evidence(processes: Processes) -> None:
    ran = processes.run("north", "evidence", "record", "00" * 16)
    assert ran.code == 1 and "no such record" in ran.err
