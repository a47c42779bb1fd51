"""A backup is made beside a running node, is whole or refused, and never brings a validator's forgotten votes back."""

import json
import sqlite3
import tarfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from commonward.adapters.store.blocks import BlockFiles
from commonward.adapters.store.copying import copy_vault
from commonward.apps.backup import MANIFEST, VOTES
from commonward.apps.intake import Intake
from commonward.apps.settings import load
from commonward.apps.wiring import open_keys
from commonward.ledger.ids import Digest, Purpose
from commonward.ledger.registry import AnchorBatch
from tests.cli_world import Chain, Ran, commonward, copied, found_pilot

DOCTOR_RECORDS = Path(__file__).parents[1] / "data" / "hl7v2"


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A member with records in its vault and blocks in its log."""
    data = found_pilot(tmp_path_factory.mktemp("pilot") / "c", port=17_440)
    chain = Chain(data)
    for _ in range(3):
        chain.block(AnchorBatch(chain.machine.applied.time // 1000, Digest(bytes(32))))
    ran = commonward("ingest", "--data", data, sorted(DOCTOR_RECORDS.glob("*.hl7"))[0])
    assert ran.code == 0, ran.err
    return data


@pytest.fixture
def data(pilot: Path, tmp_path: Path) -> Path:
    return copied(pilot, tmp_path / "north")


def backed_up(data: Path, to: Path, *more: object) -> dict[str, object]:
    ran = commonward("backup", "--data", data, "--to", to, "--json", *more)
    assert ran.code == 0, ran.err
    found = ran.json
    assert isinstance(found, dict)
    return found


def restored(file: Path, data: Path, *more: object) -> Ran:
    ran = commonward("restore", file, "--data", data, *more)
    assert "Traceback" not in ran.err, ran.err
    return ran


def vote(data: Path, height: int) -> None:
    (data / VOTES).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    (data / VOTES).write_text(json.dumps({"height": str(height), "round": 0, "step": 3}))
    (data / VOTES).chmod(0o600)


def voted(data: Path) -> int:
    return int(json.loads((data / VOTES).read_text())["height"])


def test_what_was_backed_up_comes_back_and_works(data: Path, tmp_path: Path) -> None:
    said = backed_up(data, tmp_path / "b.tar")
    assert said["height"] == 3 and said["passphrase"] is False
    there = tmp_path / "new" / "north"
    assert restored(tmp_path / "b.tar", there, "--passphrase-file", data / "passphrase").code == 0
    before, after = load(data), load(there)
    assert open_keys(before).public(Purpose.OPERATE) == open_keys(after).public(Purpose.OPERATE)
    with Intake(before) as old, Intake(after) as new:
        assert new.vault.last_number() == old.vault.last_number() > 0
    with BlockFiles(there / "ledger" / "blocks") as blocks:
        assert blocks.height == 3 and blocks.torn is None
    assert all(not path.stat().st_mode & 0o077 for path in there.rglob("*"))
    assert not (there / "trees").exists(), "what is made anew is not carried"


def test_the_passphrase_is_in_a_backup_only_when_asked_for(data: Path, tmp_path: Path) -> None:
    words = (data / "passphrase").read_bytes().strip()
    backed_up(data, tmp_path / "without")
    assert words not in (tmp_path / "without").read_bytes()
    backed_up(data, tmp_path / "with", "--with-passphrase")
    assert words in (tmp_path / "with").read_bytes()
    assert "passphrase" in restored(tmp_path / "without", tmp_path / "one").out
    assert restored(tmp_path / "with", tmp_path / "two").code == 0
    open_keys(load(tmp_path / "two"))
    assert (tmp_path / "with").stat().st_mode & 0o077 == 0


def test_a_backup_beside_a_running_node_is_of_one_moment(data: Path, tmp_path: Path) -> None:
    """Writers go on meanwhile: the copy has each of their transactions whole or not at all."""
    vault = load(data).vault_file
    with closing(sqlite3.connect(vault, isolation_level=None, timeout=30)) as made:
        made.execute("create table pairs (a integer, b integer)")
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(vault, isolation_level=None, timeout=30)) as own:
            number = 0
            while not stop.is_set():
                own.execute("begin immediate")
                own.execute("insert into pairs values (?, 0)", (number,))
                own.execute("update pairs set b = a where a = ?", (number,))
                own.execute("commit")
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            copy_vault(vault, tmp_path / f"copy{number}")
    finally:
        stop.set()
        writer.join()
    for number in range(5):
        with closing(sqlite3.connect(tmp_path / f"copy{number}")) as copy:
            count, last, torn = copy.execute(
                "select count(*), coalesce(max(a), -1), coalesce(sum(a != b), 0) from pairs"
            ).fetchone()
            assert count == last + 1 and not torn


def test_a_running_nodes_half_written_block_is_left_out(data: Path, tmp_path: Path) -> None:
    (log,) = (data / "ledger" / "blocks").glob("blocks-*")
    whole = log.read_bytes()
    log.write_bytes(whole + whole[61:150])  # the start of a frame, its rest not yet there
    assert backed_up(data, tmp_path / "b")["height"] == 3
    assert restored(tmp_path / "b", tmp_path / "new").code == 0
    assert next((tmp_path / "new" / "ledger" / "blocks").glob("blocks-*")).read_bytes() == whole


def test_an_old_backup_is_never_overwritten(data: Path, tmp_path: Path) -> None:
    backed_up(data, tmp_path / "b")
    before = (tmp_path / "b").read_bytes()
    ran = commonward("backup", "--data", data, "--to", tmp_path / "b")
    assert ran.code == 2 and "never overwritten" in ran.err
    assert (tmp_path / "b").read_bytes() == before


def test_an_altered_block_log_is_no_backup(data: Path, tmp_path: Path) -> None:
    (log,) = (data / "ledger" / "blocks").glob("blocks-*")
    whole = log.read_bytes()
    log.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    ran = commonward("backup", "--data", data, "--to", tmp_path / "b")
    assert ran.code == 2 and "block 1" in ran.err
    assert not list(tmp_path.glob("*b*")), "nothing is left of it"


def cut_short(file: Path) -> None:
    with tarfile.open(file) as tar:
        last = tar.getmember(MANIFEST)
    file.write_bytes(file.read_bytes()[: last.offset])


def cut_inside(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_byte(file: Path) -> None:
    with tarfile.open(file) as tar:
        at = tar.getmember("vault.sqlite").offset_data + 5000
    whole = bytearray(file.read_bytes())
    whole[at] ^= 1
    file.write_bytes(whole)


def climb_out(file: Path) -> None:
    with tarfile.open(file, "w") as tar:
        tar.addfile(tarfile.TarInfo("keys/../../evil"))


def link_out(file: Path) -> None:
    with tarfile.open(file, "w") as tar:
        info = tarfile.TarInfo("keys/operate-1.pem")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)


def no_archive(file: Path) -> None:
    file.write_bytes(b"nothing of the kind" * 100)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut_short, "cut short"),
        (cut_inside, "not a whole backup"),
        (flip_a_byte, "vault.sqlite is not what the manifest says"),
        (climb_out, "which no backup of ours does"),
        (link_out, "which no backup of ours does"),
        (no_archive, "not a whole backup"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_spoilt_backup_is_refused_whole(data: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    backed_up(data, tmp_path / "b")
    spoil(tmp_path / "b")
    ran = restored(tmp_path / "b", tmp_path / "new")
    assert ran.code == 2 and said in ran.err, ran.err
    assert not (tmp_path / "new").exists() and not list(tmp_path.glob(".new*")) and not (tmp_path / "evil").exists()


def test_what_is_there_is_set_aside_and_never_overwritten(data: Path, tmp_path: Path) -> None:
    backed_up(data, tmp_path / "b")
    (data / "mine").write_text("kept")
    ran = restored(tmp_path / "b", data)
    assert ran.code == 2 and "--replace" in ran.err
    assert restored(tmp_path / "b", data, "--replace").code == 0
    (aside,) = tmp_path.glob("north.replaced-*")
    assert (aside / "mine").read_text() == "kept" and not (data / "mine").exists()
    open_keys(load(data))  # the passphrase that was there opens the keys again


def test_nothing_is_brought_back_under_a_running_node(data: Path, tmp_path: Path) -> None:
    backed_up(data, tmp_path / "b")
    with BlockFiles(data / "ledger" / "blocks"):
        ran = restored(tmp_path / "b", data, "--replace")
    assert ran.code == 2 and "stop it first" in ran.err


def test_a_validators_older_votes_never_come_back_over_newer_ones(data: Path, tmp_path: Path) -> None:
    vote(data, 100)
    assert backed_up(data, tmp_path / "b")["validator"] == 100
    vote(data, 250)
    assert restored(tmp_path / "b", data, "--replace").code == 0
    assert voted(data) == 250


def test_a_validator_comes_back_on_a_new_machine_only_with_something_newer_than_its_backup(
    data: Path, tmp_path: Path
) -> None:
    vote(data, 100)
    backed_up(data, tmp_path / "b")
    ran = restored(tmp_path / "b", tmp_path / "new")
    assert ran.code == 2 and "could vote twice" in ran.err and "--network-height" in ran.err
    older = tmp_path / "older.json"
    older.write_text(json.dumps({"height": "99", "round": 0, "step": 1}))
    ran = restored(tmp_path / "b", tmp_path / "new", "--validator-state", older)
    assert ran.code == 2 and "an older state, of height 99" in ran.err
    ran = restored(tmp_path / "b", tmp_path / "new", "--network-height", 70)
    assert ran.code == 2 and not (tmp_path / "new").exists()
    ran = restored(tmp_path / "b", tmp_path / "new", "--network-height", 4000)
    assert ran.code == 0 and "above 4,001 only" in ran.out
    state = json.loads((tmp_path / "new" / VOTES).read_text())
    assert state == {"height": "4001", "round": 2**31 - 1, "step": 3}


def test_look_says_what_a_backup_holds_and_brings_nothing_back(data: Path, tmp_path: Path) -> None:
    backed_up(data, tmp_path / "b")
    ran = restored(tmp_path / "b", tmp_path / "new", "--look")
    assert ran.code == 0 and "Backup of north" in ran.out and "blocks up to 3" in ran.out
    assert not (tmp_path / "new").exists()
