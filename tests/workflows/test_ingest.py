"""Taking in: nothing lost, nothing doubled, whatever fails and wherever it dies."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from commonward.records.envelope import open_record, unwrap_key
from commonward.records.stored import compose
from commonward.workflows.ingest import FHIR, Ingest, Report, Tools, in_this_process, prepare
from commonward.workflows.member_log import Event, MemberLog
from commonward.workflows.memory import CountedEntropy, Deadly, Killed, MemoryVault, SteppedClock
from commonward.workflows.ports import Piece, StorageKeys, Translated, Translation, Unreadable, VaultFull
from commonward.workflows.sealing import Sealing

KEYS = StorageKeys(b"w" * 32, b"i" * 32)


class AnyResource:
    """Stands where the official schema stands: a resource without a type is wrong."""

    def errors(self, resource: object) -> list[str]:
        assert isinstance(resource, dict)
        return [] if "resourceType" in resource else ["expected a resourceType"]


@dataclass(frozen=True)
class OneLine:
    """A message form for tests: `control id|filler|status|value`; no filler maps to nothing."""

    def translate(self, raw: bytes) -> Translation:
        parts = raw.decode().split("|")
        if len(parts) != 4:
            raise Unreadable(f"segment 1: expected 4 fields, got {len(parts)}")
        control, filler, status, value = parts
        if not filler:
            return Translation(control, ())
        tree = {"resourceType": "Observation", "status": status, "valueString": value}
        return Translation(control, (Translated(compose(tree), ("lab", filler, "K", "1"), "p1"),))


class Hospital:
    def __init__(self) -> None:
        self.vault = MemoryVault()
        self.clock = SteppedClock()
        self.steps = Deadly()
        self.entropy = CountedEntropy("hospital")
        self.tools = Tools(KEYS, self.entropy, AnyResource(), {"line": OneLine()})
        self.wake()

    def wake(self) -> None:
        sealing = Sealing(KEYS, self.entropy)
        self.log = MemberLog(self.vault, sealing, self.clock)
        self.ingest = Ingest(self.vault, sealing, KEYS, self.log, self.clock, self.steps)

    def takes(self, *pieces: Piece, chunk: int = 2) -> Report:
        return asyncio.run(self.ingest.run(pieces, in_this_process(self.tools), chunk=chunk, window=2))

    def shown(self, patient: str, system: str = "his") -> list[dict[str, object]]:
        key = Sealing(KEYS, self.entropy).name("patient", system, patient)
        out = []
        for _, row in self.vault.current_records([key]):
            stored, _ = open_record(row.sealed, unwrap_key(row.wrapped, KEYS.wrap, row.id), row.id)
            out.append(json.loads(stored))
        return out


@pytest.fixture
def hospital() -> Hospital:
    return Hospital()


def fhir(identity: str, value: str = "7.40", status: str = "final", patient: str = "Patient/p1") -> Piece:
    text = f'{{"resourceType":"Observation","id":"{identity}","status":"{status}","value":{value},'
    text += f'"subject":{{"reference":"{patient}"}}}}'
    return Piece("his", FHIR, f"file {identity}", text.encode())


def line(text: str) -> Piece:
    return Piece("lis", "line", f"line {text[:9]}", text.encode())


def numbered(count: int) -> Iterable[Piece]:
    return [fhir(f"o{n}", f"{n}.0") for n in range(count)]


def test_the_same_record_twice_is_there_once(hospital: Hospital) -> None:
    assert hospital.takes(fhir("a"), fhir("b")).records == 2
    again = hospital.takes(fhir("a"), fhir("b"), fhir("a"))
    assert (again.records, again.duplicates) == (0, 3)
    assert len(hospital.shown("p1")) == 2


def test_numbers_keep_the_digits_of_their_source(hospital: Hospital) -> None:
    hospital.takes(fhir("a", "7.40"))
    ((_, row),) = hospital.vault.current_records([Sealing(KEYS, hospital.entropy).name("patient", "his", "p1")])
    stored, _ = open_record(row.sealed, unwrap_key(row.wrapped, KEYS.wrap, row.id), row.id)
    assert b'"value":7.40' in bytes(stored)


def test_a_patient_is_the_same_however_a_source_refers_to_them(hospital: Hospital) -> None:
    refs = ("Patient/p1", "urn:uuid:p1", "https://his.example/fhir/Patient/p1/_history/3", "Patient/p1/_history/2")
    hospital.takes(*(fhir(f"o{n}", patient=ref) for n, ref in enumerate(refs)))
    assert len(hospital.shown("p1")) == 4


def test_a_correction_is_a_new_version_and_remembers_the_old(hospital: Hospital) -> None:
    hospital.takes(fhir("a", "1.0"))
    report = hospital.takes(fhir("a", "2.0", "corrected"))
    assert report.corrections == 1
    assert [each["value"] for each in hospital.shown("p1")] == [2.0]
    ((old, replaced),) = list(hospital.ingest.replaced.every())
    assert old == replaced.old != replaced.new


def test_a_late_preliminary_never_replaces_a_final(hospital: Hospital) -> None:
    hospital.takes(fhir("a", "2.0", "final"))
    report = hospital.takes(fhir("a", "1.0", "preliminary"))
    assert report.kept_aside == 1
    assert [each["value"] for each in hospital.shown("p1")] == [2.0]
    assert hospital.vault.last_number() == 2, "kept all the same"
    assert hospital.takes(fhir("a", "3.0", "corrected")).corrections == 1
    assert [each["value"] for each in hospital.shown("p1")] == [3.0]


def test_versions_within_one_chunk_follow_each_other(hospital: Hospital) -> None:
    report = hospital.takes(fhir("a", "1.0", "preliminary"), fhir("a", "2.0"), fhir("a", "1.5", "preliminary"), chunk=9)
    assert (report.corrections, report.kept_aside) == (1, 1)
    assert [each["value"] for each in hospital.shown("p1")] == [2.0]


def test_the_same_control_id_with_other_content_is_kept_and_flagged(hospital: Hospital) -> None:
    report = hospital.takes(line("MSG1|f1|final|a"), line("MSG1|f2|final|b"), line("MSG1|f1|final|a"))
    assert (report.sources, report.records, report.flagged, report.duplicates) == (2, 2, 1, 2)
    assert [entry.event for _, _, entry in hospital.log.entries()] == [Event.FLAGGED]


def test_a_message_that_maps_to_nothing_is_kept_raw(hospital: Hospital) -> None:
    report = hospital.takes(line("MSG1||final|x"))
    assert (report.sources, report.records) == (1, 0)
    assert hospital.vault.last_number() == 1


def test_a_malformed_piece_goes_to_the_dead_letters_and_the_rest_goes_on(hospital: Hospital) -> None:
    bad = Piece("his", FHIR, "ward.json /entry/1", b'{"resourceType":"Observation","id":"x","id":"y"}')
    unreadable = Piece("lis", "line", "feed 3", b"MSG|short")
    torn = Piece("his", FHIR, "ward.json byte 9", b"{", trouble="the file ends inside an entry")
    report = hospital.takes(fhir("a"), bad, fhir("b"), unreadable, torn)
    assert (report.records, report.dead) == (2, 3)
    whys = {letter.where: letter.why for _, letter in hospital.ingest.dead_letters.every()}
    assert "each name once" in whys["ward.json /entry/1"]
    assert "expected 4 fields" in whys["feed 3"]
    assert "ends inside" in whys["ward.json byte 9"]


def test_a_dead_letter_is_replayed_once_its_cause_is_mended(hospital: Hospital) -> None:
    hospital.takes(Piece("old", "soon", "feed 1", b"MSG|f|final|v"))
    assert hospital.ingest.replay(hospital.tools).dead == 1
    ((_, letter),) = list(hospital.ingest.dead_letters.every())
    assert letter.attempts == 2
    mended = Tools(KEYS, hospital.entropy, AnyResource(), {"soon": OneLine()})
    assert hospital.ingest.replay(mended).records == 1
    assert hospital.ingest.dead_letters.count() == 0


def test_an_unvalidated_record_is_never_stored(hospital: Hospital) -> None:
    assert hospital.takes(Piece("his", FHIR, "w", b'{"id":"a"}')).dead == 1
    assert hospital.vault.last_number() == 0


@pytest.mark.parametrize("step", ["ingest.before-commit", "ingest.stored"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_kill_at_any_step_loses_nothing_and_doubles_nothing(hospital: Hospital, step: str, after: int) -> None:
    pieces = list(numbered(7))
    for n in range(after):
        hospital.takes(pieces[n])
    hospital.steps.arm(step)
    with pytest.raises(Killed):
        hospital.takes(*pieces)
    hospital.wake()
    hospital.takes(*pieces)
    assert len(hospital.shown("p1")) == 7
    assert hospital.vault.last_number() == 7


@pytest.mark.parametrize("after_effect", [False, True])
def test_a_write_that_fails_can_be_repeated(hospital: Hospital, after_effect: bool) -> None:
    hospital.vault.cue.fail_next("transaction", after_effect=after_effect)
    with pytest.raises(VaultFull):
        hospital.takes(*numbered(3))
    hospital.takes(*numbered(3))
    assert hospital.vault.last_number() == 3


def test_memory_stays_flat(hospital: Hospital) -> None:
    """No more pieces are drawn from the source than the window holds beyond what is stored."""
    drawn = stored = most = 0

    def source() -> Iterable[Piece]:
        nonlocal drawn
        for piece in numbered(100):
            drawn += 1
            yield piece

    def progress(report: Report) -> None:
        nonlocal stored, most
        most = max(most, drawn - stored)
        stored = report.records

    run = hospital.ingest.run(source(), in_this_process(hospital.tools), chunk=5, window=3, progress=progress)
    asyncio.run(run)
    assert most <= 15


def test_columns_tell_nothing_without_the_index_key(hospital: Hospital) -> None:
    hospital.takes(fhir("a"))
    other = Hospital()
    other.tools = Tools(StorageKeys(KEYS.wrap, b"j" * 32), other.entropy, AnyResource())
    other.takes(fhir("a"))
    (_, mine), (_, theirs) = (next(iter(h.vault.versions(h.vault._rows[0].match))) for h in (hospital, other))
    assert {mine.id, mine.match, mine.patient}.isdisjoint({theirs.id, theirs.match, theirs.patient})


def test_prepare_gives_the_same_ids_every_time(hospital: Hospital) -> None:
    first, second = (prepare([fhir("a")], hospital.tools)[0] for _ in range(2))
    assert first.row.id == second.row.id  # type: ignore[union-attr]
    assert first.row.sealed != second.row.sealed  # type: ignore[union-attr]
