"""`commonward ingest` and `dead-letters`: good files and bad, killed and run again."""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from commonward.apps.intake import CourteousVault, Form, Intake, NothingToTake, find, runs
from commonward.apps.preparing import zone
from commonward.apps.samples import samples
from commonward.apps.settings import BadSettings, load
from commonward.workflows.member_log import Event
from tests.cli_world import Ran, begun, commonward, copied, found_pilot

PATIENCE_S = 120.0
"""How long a condition may take on a loaded machine."""


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return found_pilot(tmp_path_factory.mktemp("pilot") / "c")


@pytest.fixture
def data(pilot: Path, tmp_path: Path) -> Path:
    return copied(pilot, tmp_path / "north")


def ingest(data: Path, *paths: object) -> Ran:
    return commonward("ingest", "--data", data, "--json", *paths)


def observation(number: int, text: str = "x") -> dict[str, object]:
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "code": {"text": text},
        "subject": {"reference": f"Patient/p{number % 7}"},
    }


def bundle(path: Path, count: int, text: str = "x") -> Path:
    entries = [{"resource": observation(number, text)} for number in range(count)]
    path.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    return path


def shipped(folder: str, to: Path) -> Path:
    to.mkdir()
    for file in samples(folder):
        (to / file.name).write_bytes(file.read_bytes())
    return to


def test_the_shipped_samples_are_taken_in_once_however_often_they_are_sent(data: Path, tmp_path: Path) -> None:
    both = shipped("fhir", tmp_path / "fhir"), shipped("hl7v2", tmp_path / "hl7v2")
    first, again = ingest(data, *both), ingest(data, *both)
    assert (first.code, again.code) == (0, 0)
    assert first.json["new"] > 250 and first.json["messages"] == 13 and first.json["dead_letters"] == 0
    assert first.json["corrections"] > 0 and first.json["kept_aside"] == 1
    assert again.json["new"] == again.json["messages"] == again.json["corrections"] == 0
    assert again.json["already_there"] == first.json["new"] + first.json["messages"] + first.json["already_there"]


def test_a_merge_that_a_message_says_is_a_link_once_and_stays_taken_back(data: Path, tmp_path: Path) -> None:
    a40 = tmp_path / "a40.hl7"
    a40.write_bytes(next(file for file in samples("hl7v2") if "A40" in file.name).read_bytes())
    assert ingest(data, a40).json["merged"] == 1
    with Intake(load(data)) as intake:
        linked = [entry for _, _, entry in intake.log.entries() if entry.event is Event.LINKED]
        assert len(linked) == 1 and "A40" in linked[0].detail
        link = next(link for _, link in intake.identity._same.every())
        assert intake.identity.everyone(link.left) == {link.left, link.right}
        intake.identity.unmerge(link.left, link.right, "the desk was wrong")
    assert ingest(data, a40).json["merged"] == 0
    with Intake(load(data)) as intake:
        assert intake.identity.everyone(link.left) == {link.left}


def test_what_cannot_be_read_goes_to_the_dead_letters_and_the_rest_goes_on(data: Path, tmp_path: Path) -> None:
    ran = ingest(data, shipped("malformed", tmp_path / "bad"))
    assert ran.code == 1 and ran.json["new"] >= 5 and ran.json["dead_letters"] == 9
    letters = commonward("dead-letters", "list", "--data", data, "--json").lines
    assert len(letters) == 9
    told = {Path(letter["where"].split()[0]).name: letter["why"] for letter in letters}
    assert "MSH" in told["no-msh.hl7"] and "ends inside" in told["cut-short.json"]
    assert "trailer says 3" in told["batch-short-count.hl7"]
    text = commonward("dead-letters", "list", "--data", data)
    assert text.code == 0 and "9 dead letters" in text.out


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("empty.json", b"", "empty file"),
        ("empty.hl7", b"", "empty file"),
        ("cut.json", b'{"resourceType":"Patient","id":"p1","name":[{"fam', "ends inside"),
        ("wrong.json", b'{"resourceType":"Patiant","id":"p1"}', "Patient"),
        ("field.json", b'{"resourceType":"Patient","id":"p1","gender":"f"}', "/gender"),
        ("list.json", b"[1,2,3]", "expected a JSON object"),
        ("nan.json", b'{"resourceType":"Observation","id":"a","status":"final","code":{},"valueInteger":NaN}', "JSON"),
        ("no-msh.hl7", b"PID|1||4711\r", "expected MSH"),
        ("binary.hl7", bytes(range(256)), "expected MSH"),
    ],
)
def test_a_bad_file_says_where_and_why(data: Path, tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    ran = ingest(data, tmp_path / name)
    assert ran.code == 1 and ran.json["dead_letters"] == 1 and ran.json["new"] == 0
    (letter,) = commonward("dead-letters", "list", "--data", data, "--json").lines
    assert letter["where"].startswith(name) and why in letter["why"]
    shown = commonward("dead-letters", "show", letter["id"][:6], "--data", data)
    assert shown.code == 0 and letter["id"] in shown.out


def test_a_line_without_end_does_not_fill_the_memory_nor_stop_the_file(data: Path, tmp_path: Path) -> None:
    with (tmp_path / "huge.ndjson").open("wb") as file:
        file.write(json.dumps(observation(1)).encode() + b"\n")
        file.write(b'{"resourceType":"Observation","id":"big","note":[{"text":"' + b"y" * (20 << 20) + b'"}]}\n')
        file.write(json.dumps(observation(2)).encode() + b"\n")
    ran = ingest(data, tmp_path / "huge.ndjson")
    assert ran.code == 1 and ran.json["new"] == 2 and ran.json["dead_letters"] == 1


def test_paths_that_are_nothing_end_before_anything_is_taken_in(data: Path, tmp_path: Path) -> None:
    good = bundle(tmp_path / "good.json", 3)
    for bad, said in ((tmp_path / "absent.json", "no such file"), (tmp_path / "picture.png", "--form")):
        if bad.suffix == ".png":
            bad.write_bytes(b"\x89PNG\r\n")
        ran = ingest(data, good, bad)
        assert ran.code == 2 and said in ran.err and str(bad.name) in ran.err.replace("\n", "")
    assert ingest(data, good).json["new"] == 3


def test_a_directory_gives_its_known_files_and_names_those_it_cannot_read(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "export" / "day"
    folder.mkdir(parents=True)
    bundle(folder / "one.json", 2)
    (folder / "notes.pdf").write_bytes(b"%PDF")
    (folder / "gone.json").symlink_to(tmp_path / "nowhere")
    ran = ingest(data, tmp_path / "export")
    assert ran.code == 1 and ran.json["new"] == 2 and ran.json["skipped_files"] == 1
    assert ran.json["unreadable"][0]["file"] == "export/day/gone.json"


class Capabilities(ctypes.Structure):
    """What this thread may do beyond its user (capset(2), version 3): two words of each set."""

    _fields_ = [
        (f"{kind}_{word}", ctypes.c_uint32) for word in "01" for kind in ("effective", "permitted", "inheritable")
    ]


@contextmanager
def by_permission_alone() -> Iterator[None]:
    """Root may read every file, unless it lays down for a while what lets it: CAP_DAC_OVERRIDE and _READ_SEARCH."""
    system, head = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(0x20080522, 0)

    def put(wanted: Capabilities) -> None:
        assert system.capset(head, ctypes.byref(wanted)) == 0, os.strerror(ctypes.get_errno())

    held, less = Capabilities(), Capabilities()
    for each in (held, less):
        assert system.capget(head, ctypes.byref(each)) == 0, os.strerror(ctypes.get_errno())
    less.effective_0 &= ~0b110
    put(less)
    try:
        yield
    finally:
        put(held)


def test_a_file_without_permission_is_named(data: Path, tmp_path: Path) -> None:
    secret = bundle(tmp_path / "secret.json", 1)
    secret.chmod(0)
    with by_permission_alone():
        ran = ingest(data, secret)
    assert ran.code == 1 and ran.json["unreadable"][0]["why"] == "Permission denied"


def test_first_bytes_tell_the_form_where_the_name_does_not(tmp_path: Path) -> None:
    for name, content, form in (
        ("a.dat", b"\x0bMSH|^~\\&|", Form.HL7V2),
        ("b.txt", b"\xef\xbb\xbfMSH|^~\\&|", Form.HL7V2),
        ("c", b'\n {"resourceType"', Form.FHIR),
    ):
        (tmp_path / name).write_bytes(content)
        assert find([tmp_path / name]).sources[0].form is form
    with pytest.raises(NothingToTake, match="plain file"):
        find([Path("/dev/null")])


def test_the_system_is_part_of_what_a_record_is(data: Path, tmp_path: Path) -> None:
    file = bundle(tmp_path / "b.json", 2)
    assert ingest(data, file, "--system", "lab").json["new"] == 2
    assert ingest(data, file, "--system", "ward").json["new"] == 2
    assert ingest(data, file, "--system", "lab").json["already_there"] == 2


def test_a_dead_letter_is_replayed_saved_and_discarded(data: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(b"[red]\x1b[2Jnot json")
    ingest(data, tmp_path / "bad.json")
    (letter,) = commonward("dead-letters", "list", "--data", data, "--json").lines
    shown = commonward("dead-letters", "show", letter["id"], "--data", data)
    assert "\x1b" not in shown.out and "[red]\\x1b[2Jnot json" in shown.out
    assert commonward("dead-letters", "show", letter["id"], "--data", data, "--save", tmp_path / "raw").code == 0
    assert (tmp_path / "raw").read_bytes() == b"[red]\x1b[2Jnot json"
    assert (tmp_path / "raw").stat().st_mode & 0o777 == 0o600
    again = commonward("dead-letters", "replay", letter["id"][:8], "--data", data, "--json")
    assert again.code == 1 and again.json == {"new": 0, "messages": 0, "already_there": 0, "still_dead": 1, "left": 1}
    assert commonward("dead-letters", "list", "--data", data, "--json").json["attempts"] == 2
    assert commonward("dead-letters", "replay", "--data", data).code == 2
    assert commonward("dead-letters", "show", "zz", "--data", data).code == 2
    assert commonward("dead-letters", "discard", letter["id"], "--data", data).code == 0
    assert "No dead letters" in commonward("dead-letters", "list", "--data", data).out


def test_killed_at_any_moment_nothing_is_lost_and_nothing_doubled(data: Path, tmp_path: Path) -> None:
    file, count = bundle(tmp_path / "many.json", 9_000, "y" * 900), 9_000  # large enough for workers and slabs
    assert file.stat().st_size > (8 << 20)
    stored = 0
    for _ in range(3):
        child = begun("ingest", "--data", data, file, "--json")
        with Intake(load(data)) as intake:
            deadline = time.monotonic() + PATIENCE_S
            while intake.vault.last_number() == stored and time.monotonic() < deadline and child.poll() is None:
                time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
        with Intake(load(data)) as intake:
            now = intake.vault.last_number()
        assert now >= stored
        stored = now
    assert 0 < stored <= count
    ran = ingest(data, file)
    assert ran.code == 0 and ran.json["new"] == count - stored and ran.json["already_there"] == stored
    with Intake(load(data)) as intake:
        assert intake.vault.last_number() == count
        assert len(set(intake.vault.fingerprints(1, count))) == count


def test_ctrl_c_says_what_stays_and_exits_as_shells_expect(data: Path, tmp_path: Path) -> None:
    file = bundle(tmp_path / "many.json", 12_000, "y" * 900)
    child = begun("ingest", "--data", data, file, "--json")
    with Intake(load(data)) as intake:
        deadline = time.monotonic() + PATIENCE_S
        while intake.vault.last_number() == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 130, err
    told = json.loads(out)
    assert told["interrupted"] and b"Traceback" not in err
    with Intake(load(data)) as intake:
        assert intake.vault.last_number() >= told["new"] > 0
    assert ingest(data, file).json["already_there"] >= told["new"]


def test_a_full_disk_stops_with_a_sentence_and_goes_on_once_there_is_room(data: Path, tmp_path: Path) -> None:
    file = bundle(tmp_path / "some.json", 4_000, "z" * 900)
    # A file size limit is what a full disk is to the process: writes fail in the middle.
    small = 2 << 20
    full = subprocess.run(
        [sys.executable, "-m", "commonward", "ingest", "--data", str(data), str(file)],
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (small, small)),
        timeout=120,
        check=False,
    )
    assert full.returncode == 2 and b"make room" in full.stderr and b"Traceback" not in full.stderr, full.stderr
    with Intake(load(data)) as intake:
        stored = intake.vault.last_number()
    assert 0 <= stored < 4_000
    ran = ingest(data, file)
    assert ran.code == 0 and ran.json["new"] == 4_000 - stored and ran.json["already_there"] == stored


def test_a_wrong_passphrase_is_named(data: Path, tmp_path: Path) -> None:
    (data / "passphrase").write_text("another one entirely")
    ran = ingest(data, bundle(tmp_path / "b.json", 1))
    assert ran.code == 2 and "passphrase" in ran.err and "Traceback" not in ran.err


def test_time_zones_are_offsets_or_names() -> None:
    assert str(zone("+08:00")) == "UTC+08:00" and str(zone("-03:30")) == "UTC-03:30"
    assert str(zone("Asia/Shanghai")) == "Asia/Shanghai"
    for bad in ("", "8", "+8", "Nowhere/Town", "+99:00", "../etc/passwd"):
        with pytest.raises(BadSettings, match="time_zone"):
            zone(bad)


def test_beside_a_node_each_transaction_leaves_the_node_as_long_as_it_took(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    assert not runs(load(data))
    with CourteousVault(data / "vault.sqlite") as vault:
        monkeypatch.setattr("commonward.apps.intake.time.sleep", pauses.append)
        before = time.monotonic()
        with vault.transaction():
            began = time.monotonic()
            while time.monotonic() < began + 0.02:
                pass
        longest = time.monotonic() - before
        vault.put("drawer", b"k", b"v")
    assert len(pauses) == 2 and 0.02 <= pauses[0] <= longest
