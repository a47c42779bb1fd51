"""One suite over every vault: the one in memory, and the one on disk."""

import multiprocessing
import os
import random
import resource
import signal
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from commonward.adapters.store.errors import StoreClosed, StoreCorrupt
from commonward.adapters.store.vault import SqlVault
from commonward.ledger.ids import BlockTime, Digest, Handle, Tag
from commonward.workflows.memory import MemoryVault
from commonward.workflows.ports import BatchRow, LogRow, MarkRow, MarkState, RecordRow, Vault, VaultFull


def octets(name: str, length: int = 16) -> bytes:
    return random.Random(name).randbytes(length)


def record(name: str, *, patient: str = "p", match: str | None = None, version: int = 1) -> RecordRow:
    return RecordRow(
        id=octets(f"id {name}"),
        patient=octets(f"patient {patient}"),
        match=octets(f"match {match or name}"),
        version=version,
        fingerprint=octets(f"fingerprint {name}", 32),
        sealed=octets(f"sealed {name}", 1500),
        wrapped=octets(f"wrapped {name}", 60),
    )


def mark(n: int, *, handle: str = "h", state: MarkState = MarkState.RESERVED, request: str | None = None) -> MarkRow:
    return MarkRow(
        handle=Handle(octets(f"handle {handle}")),
        n=n,
        tag=Tag(octets(f"tag {handle} {n}", 32)),
        request=Digest(octets(f"request {request or (handle, n)}", 32)),
        state=state,
        sealed=b"facts",
        delivery=b"bundle",
    )


def batch(tick: int, first: int, last: int, index: int = -1) -> BatchRow:
    return BatchRow(tick, first, last, octets(f"seed {tick}", 32), octets(f"root {tick}", 32), index)


def entry(number: int) -> LogRow:
    return LogRow(number, BlockTime(1000 + number), octets(f"hash {number}", 32), b"sealed")


@pytest.fixture(params=["memory", "sqlite"])
def vault(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Vault]:
    if request.param == "memory":
        yield MemoryVault()
    else:
        with SqlVault(tmp_path / "vault" / "vault.db") as on_disk:
            yield on_disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault" / "vault.db"


# --- every vault


def test_the_same_record_twice_is_stored_once_and_takes_one_number(vault: Vault) -> None:
    a, b, c = record("a"), record("b"), record("c")
    assert vault.add_records([a, b, a]) == {a.id, b.id}
    assert vault.add_records([b, c]) == {c.id}
    assert vault.last_number() == 3
    assert vault.records([c.id, a.id, octets("nobody")]) == {c.id: (3, c), a.id: (1, a)}
    assert vault.fingerprints(1, 3) == [a.fingerprint, b.fingerprint, c.fingerprint]
    assert vault.fingerprints(3, 2) == []


def test_an_empty_vault_says_so(vault: Vault) -> None:
    assert vault.add_records([]) == frozenset()
    assert vault.last_number() == 0
    assert vault.last_batch() is None
    assert vault.last_log() is None
    assert vault.last_mark(Handle(bytes(16))) is None
    assert vault.records([]) == {}
    assert vault.current_records([]) == []


def test_thousands_of_ids_are_found_at_once(vault: Vault) -> None:
    rows = [record(f"r{i}", patient=f"p{i % 7}") for i in range(2000)]
    assert len(vault.add_records(rows)) == 2000
    assert [number for number, _ in vault.records([row.id for row in rows]).values()] == list(range(1, 2001))
    assert len(vault.heads([row.match for row in rows])) == 2000
    assert len(vault.current_records([octets(f"patient p{i}") for i in range(7)])) == 2000


def test_a_correction_is_current_and_a_late_preliminary_never_is(vault: Vault) -> None:
    first, corrected = record("v1", match="x"), record("v2", match="x", version=2)
    late = record("late", match="x", version=0)
    only_preliminary = record("pre", match="y", version=0)
    vault.add_records([first, corrected, late, only_preliminary])
    assert vault.current_records([first.patient]) == [(2, corrected)]
    assert vault.heads([first.match])[first.match].id == corrected.id
    assert [number for number, _ in vault.versions(first.match)] == [1, 2, 3]


def test_another_thread_reads_while_this_one_writes(vault: Vault) -> None:
    first, second = record("a"), record("b")
    vault.add_records([first])
    found: list[object] = []

    def reads() -> None:
        with vault.reading() as reader:
            found.append(reader.current_records([first.patient, octets("patient nobody")]))

    with vault.transaction():
        vault.put("d", b"k", b"sealed")
        thread = threading.Thread(target=reads)
        thread.start()
        thread.join(90)
    assert not thread.is_alive() and found == [[(1, first)]], "a writer holds no reader up"
    vault.add_records([second])
    reads()
    assert found[1] == vault.current_records([first.patient])


def test_current_records_are_of_the_patients_named_only(vault: Vault) -> None:
    mine, theirs = record("mine", patient="a"), record("theirs", patient="b")
    vault.add_records([mine, theirs])
    assert vault.current_records([mine.patient]) == [(1, mine)]


def test_what_a_correction_moved_to_another_patient_is_no_more_the_first_ones(vault: Vault) -> None:
    first, moved = record("v1", match="x", patient="a"), record("v2", match="x", patient="b", version=2)
    vault.add_records([first, moved, record("v3", match="x", patient="a", version=0)])
    assert vault.current_records([first.patient]) == []
    assert vault.current_records([moved.patient]) == [(2, moved)]
    assert vault.current_records([first.patient, moved.patient]) == [(2, moved)]


def test_an_erased_record_keeps_its_number_and_fingerprint_alone(vault: Vault) -> None:
    gone, stays = record("gone"), record("stays")
    vault.add_records([gone, stays])
    vault.destroy_records([gone.id, octets("nobody")])
    number, row = vault.records([gone.id])[gone.id]
    assert (number, row.fingerprint, row.sealed, row.wrapped) == (1, gone.fingerprint, b"", b"")
    assert vault.records([stays.id])[stays.id] == (2, stays)
    assert vault.add_records([gone]) == frozenset(), "the same message arriving again does not revive it"


def test_batches_lie_side_by_side_over_the_numbers(vault: Vault) -> None:
    for row in (batch(1, 1, 0), batch(2, 1, 5), batch(3, 6, 5), batch(4, 6, 5), batch(5, 6, 9)):
        vault.plan_batch(row)
    assert vault.last_batch() == batch(5, 6, 9)
    assert [vault.batch_of(n) for n in (1, 5, 6, 9, 10)] == [
        batch(2, 1, 5),
        batch(2, 1, 5),
        batch(5, 6, 9),
        batch(5, 6, 9),
        None,
    ]
    for tick in (1, 2, 3):
        vault.anchored_batch(tick, tick * 10)
    assert vault.batch_of(3) == batch(2, 1, 5, index=20)
    assert vault.unanchored_batches() == [batch(4, 6, 5), batch(5, 6, 9)]
    assert vault.forget_batches(5) == 2, "anchored and empty: ticks 1 and 3"
    assert vault.batch_of(3) == batch(2, 1, 5, index=20)
    with pytest.raises(KeyError):
        vault.anchored_batch(99, 1)


def test_two_workers_cannot_share_a_number_a_tag_or_a_request(vault: Vault) -> None:
    vault.reserve_mark(mark(1))
    same_number = mark(1, request="another")
    same_request = MarkRow(mark(2).handle, 2, mark(2).tag, mark(1).request, MarkState.RESERVED, b"", b"")
    for row in (same_number, same_request):
        with pytest.raises(KeyError):
            vault.reserve_mark(row)
    with pytest.raises(KeyError):
        vault.reserve_mark(MarkRow(mark(3).handle, 3, mark(1).tag, mark(3).request, MarkState.RESERVED, b"", b""))
    assert [row.n for row in vault.marks(mark(1).handle)] == [1]


def test_a_mark_is_found_by_number_tag_request_and_state(vault: Vault) -> None:
    for n in (1, 2, 3):
        vault.reserve_mark(mark(n))
    vault.reserve_mark(mark(1, handle="other"))
    vault.change_mark(mark(2, state=MarkState.COMMITTED))
    assert vault.last_mark(mark(1).handle) == mark(3)
    assert vault.mark_for(mark(2).request) == mark(2, state=MarkState.COMMITTED)
    assert vault.mark_by_tag(mark(3).tag) == mark(3)
    assert vault.mark_by_tag(Tag(bytes(32))) is None
    assert [row.n for row in vault.marks(mark(1).handle, first=2, limit=1)] == [2]
    assert vault.marks_in(MarkState.COMMITTED) == [mark(2, state=MarkState.COMMITTED)]
    assert len(vault.marks_in(MarkState.RESERVED)) == 3
    with pytest.raises(KeyError):
        vault.change_mark(mark(9))


def test_drawers_are_listed_by_key_and_by_group(vault: Vault) -> None:
    for key, group in ((b"b", b"g"), (b"a", b"g"), (b"c", b""), (b"\xff\x00", b"g")):
        vault.put("letters", key, b"sealed " + key, under=group)
    vault.put("links", b"a", b"other drawer")
    assert vault.get("letters", b"a") == b"sealed a"
    assert vault.get("letters", b"z") is None
    assert [key for key, _ in vault.every("letters")] == [b"a", b"b", b"c", b"\xff\x00"]
    assert [key for key, _ in vault.under("letters", b"g", after=b"a")] == [b"b", b"\xff\x00"]
    assert [key for key, _ in vault.every("letters", limit=2)] == [b"a", b"b"]
    vault.put("letters", b"a", b"new", under=b"h")
    assert vault.under("letters", b"h") == [(b"a", b"new")]
    vault.remove("letters", b"a")
    vault.remove("letters", b"never there")
    assert vault.count("letters") == 3
    assert vault.get("links", b"a") == b"other drawer"


def test_the_members_log_takes_the_next_number_only(vault: Vault) -> None:
    vault.append_log(entry(1))
    for wrong in (1, 3, 0):
        with pytest.raises(KeyError):
            vault.append_log(entry(wrong))
    vault.append_log(entry(2))
    assert vault.last_log() == entry(2)
    assert vault.log_rows(2, 10) == [entry(2)]
    assert vault.log_rows(1, 1) == [entry(1)]


def test_a_transaction_that_fails_leaves_nothing(vault: Vault) -> None:
    vault.put("d", b"before", b"1")
    with pytest.raises(ZeroDivisionError), vault.transaction():
        vault.add_records([record("a")])
        vault.put("d", b"k", b"v")
        vault.remove("d", b"before")
        vault.append_log(entry(1))
        vault.reserve_mark(mark(1))
        assert vault.last_number() == 1, "seen from inside"
        raise ZeroDivisionError
    assert (vault.last_number(), vault.last_log(), vault.get("d", b"k")) == (0, None, None)
    assert vault.last_mark(mark(1).handle) is None
    assert vault.get("d", b"before") == b"1"


def test_a_transaction_does_not_nest(vault: Vault) -> None:
    with vault.transaction(), pytest.raises(RuntimeError), vault.transaction():
        pass
    vault.put("d", b"k", b"v")
    assert vault.get("d", b"k") == b"v"


# --- on disk


def test_what_was_acknowledged_is_there_after_reopening(path: Path) -> None:
    with SqlVault(path) as vault:
        vault.add_records([record("a")])
        vault.put("d", b"k", b"v")
    with SqlVault(path) as vault:
        assert vault.records([record("a").id]) == {record("a").id: (1, record("a"))}
        assert vault.get("d", b"k") == b"v"


def test_no_one_else_can_open_the_files(path: Path) -> None:
    before = os.umask(0)
    try:
        with SqlVault(path) as vault:
            vault.put("d", b"k", b"v")
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"vault.db": 0o600, "vault.db-wal": 0o600, "vault.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_erased_bytes_stay_in_no_file_of_the_vault(path: Path) -> None:
    needle, paper = record("gone"), octets("paper", 3000)
    with SqlVault(path) as vault:
        vault.add_records([record("a"), needle, record("b")])
        vault.put("d", b"k", paper)
        vault.remove("d", b"k")
        vault.destroy_records([needle.id])
        everything = b"".join(file.read_bytes() for file in path.parent.iterdir())
    for secret in (needle.wrapped, needle.sealed[:64], needle.sealed[-64:], paper[:64], paper[-64:]):
        assert secret not in everything
    assert record("a").wrapped in everything, "the search itself works"


def test_papers_removed_in_a_row_leave_the_write_ahead_log_within_a_second_of_writing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper = octets("paper", 3000)

    def is_there() -> bool:
        return paper[:64] in b"".join(file.read_bytes() for file in path.parent.iterdir())

    with SqlVault(path) as vault:
        vault.put("d", b"k", paper)
        vault.remove("d", b"k")
        later = time.monotonic() + 1
        monkeypatch.setattr(time, "monotonic", lambda: later)
        vault.put("d", b"other", b"v")
        assert not is_there()
        vault.put("d", b"k", paper)
        vault.remove("d", b"k")
    assert not is_there(), "closing empties it too"


def test_an_erasure_inside_a_transaction_empties_the_log_at_its_end(path: Path) -> None:
    with SqlVault(path) as vault:
        vault.add_records([record("gone")])
        with vault.transaction():
            vault.destroy_records([record("gone").id])
            vault.put("d", b"ground", b"asked")
        everything = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert record("gone").wrapped not in everything


def test_an_import_in_another_process_writes_beside_the_node(path: Path) -> None:
    with SqlVault(path) as node, SqlVault(path) as command:
        command.add_records([record("a")])
        assert node.last_number() == 1
        node.plan_batch(batch(1, 1, 1))
        command.add_records([record("b")])
        assert node.fingerprints(1, 2) == [record("a").fingerprint, record("b").fingerprint]


def test_a_file_that_is_no_vault_is_refused_by_name(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database, and long enough to be looked at" * 100)
    with pytest.raises(StoreCorrupt, match=r"vault\.db"):
        SqlVault(path)


def test_a_vault_of_a_later_version_is_refused(path: Path) -> None:
    SqlVault(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute("pragma user_version = 99")
    raw.close()
    with pytest.raises(StoreCorrupt, match="expected a vault of schema 1, got 99"):
        SqlVault(path)


def _fill_until_full(path: Path) -> tuple[int, str, int]:
    """(records acknowledged, what the refusal said, records found once there was room for one more)."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    vault, done, said = SqlVault(path), 0, ""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        while done < 10_000:
            with vault.transaction():
                vault.add_records([record(f"{done + index}") for index in range(10)])
                vault.put("done", done.to_bytes(4, "big"), b"")
            done += 10
    except VaultFull as refused:
        said = str(refused)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert vault.last_number() == done == 10 * vault.count("done")
    vault.add_records([record("more")])
    vault.close()
    with SqlVault(path) as reopened:
        return done, said, reopened.last_number()


def test_a_full_disk_undoes_the_transaction_says_so_and_goes_on_when_there_is_room(path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        done, said, found = pool.apply(_fill_until_full, (path,))
    assert 0 < done < 10_000
    assert "make room" in said and str(path) in said
    assert found == done + 1


def test_a_closed_vault_says_so(path: Path) -> None:
    vault = SqlVault(path)
    vault.close()
    vault.close()
    with pytest.raises(StoreClosed):
        vault.put("d", b"k", b"v")
    with pytest.raises(StoreClosed):
        vault.last_number()
