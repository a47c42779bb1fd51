"""One suite over every state store, and what only the one on disk can get wrong."""

import multiprocessing
import resource
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.adapters.store.errors import StoreClosed, StoreCorrupt, StoreFull, StoreLocked
from commonward.adapters.store.state import FaultyStore, MemoryStore, RocksStore


@pytest.fixture(params=["memory", "rocks", "faulty"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MemoryStore | RocksStore | FaultyStore]:
    made: MemoryStore | RocksStore | FaultyStore
    if request.param == "rocks":
        made = RocksStore(tmp_path / "state")
    else:
        made = MemoryStore() if request.param == "memory" else FaultyStore(MemoryStore())
    yield made
    made.close()


# --- every store


def test_values_are_set_replaced_and_deleted(store: MemoryStore | RocksStore | FaultyStore) -> None:
    assert store.get(b"a") is None
    store.write({b"a": b"1", b"b": b"", bytes(40): bytes(5000)})
    store.write({b"a": b"2", b"b": None, b"never there": None})
    assert [store.get(key) for key in (b"a", b"b", bytes(40))] == [b"2", None, bytes(5000)]
    store.write({})


def test_an_empty_value_is_not_absence(store: MemoryStore | RocksStore | FaultyStore) -> None:
    store.write({b"a": b""})
    assert store.get(b"a") == b""


@settings(max_examples=30, deadline=None)
@given(st.lists(st.dictionaries(st.binary(max_size=2), st.none() | st.binary(max_size=40), max_size=6), max_size=8))
def test_the_store_on_disk_holds_what_a_dictionary_would(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[dict[bytes, bytes | None]]
) -> None:
    path, twin = tmp_path_factory.mktemp("state"), MemoryStore()
    for at, changes in enumerate(blocks):
        with RocksStore(path, cache_bytes=1 << 20) as disk:  # opened anew for each
            disk.write(changes)
            twin.write(changes)
            for key in {key for block in blocks[: at + 1] for key in block}:
                assert disk.get(key) == twin.get(key)


def test_a_faulty_store_fails_on_cue_before_or_after_the_effect() -> None:
    store = FaultyStore(MemoryStore())
    store.fail_next_write()
    with pytest.raises(StoreFull):
        store.write({b"a": b"1"})
    assert store.get(b"a") is None
    store.fail_next_write(but_keep=True)
    with pytest.raises(StoreFull):
        store.write({b"a": b"1"})
    assert store.get(b"a") == b"1"
    store.write({b"a": b"2"})
    assert store.get(b"a") == b"2"


# --- on disk


def test_what_the_state_refers_to_is_made_durable_first(tmp_path: Path) -> None:
    seen: list[bytes | None] = []
    with RocksStore(tmp_path, first=lambda: seen.append(disk.get(b"a"))) as disk:
        disk.write({b"a": b"1"})
        disk.write({b"a": b"2"})
    assert seen == [None, b"1"]


def test_the_directory_belongs_to_one_process_and_its_owner(tmp_path: Path) -> None:
    with RocksStore(tmp_path / "state"), pytest.raises(StoreLocked, match="in use by another process"):
        RocksStore(tmp_path / "state")
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    RocksStore(tmp_path / "state").close()


def _try_to_open(path: Path) -> str:
    try:
        RocksStore(path).close()
    except StoreLocked as refused:
        return str(refused)
    return "opened"


def test_another_process_is_told_that_the_directory_is_in_use(tmp_path: Path) -> None:
    with RocksStore(tmp_path), multiprocessing.get_context("spawn").Pool(1) as pool:
        assert "stop that node first" in pool.apply(_try_to_open, (tmp_path,))


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = RocksStore(tmp_path)
    store.close()
    store.close()
    with pytest.raises(StoreClosed):
        store.get(b"a")
    with pytest.raises(StoreClosed):
        store.write({b"a": b"1"})


def _fill_until_full(path: Path) -> tuple[int, bool, bool]:
    """(acknowledged writes, whether it wrote again once there was room, whether all acknowledged are there)."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    store, done = RocksStore(path, cache_bytes=1 << 20), 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        while done < 1000:
            store.write({b"%d" % done: bytes(10_000)})
            done += 1
    except StoreFull:
        pass
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    store.write({b"again": b"yes"})
    wrote = store.get(b"again") == b"yes"
    kept = all(store.get(b"%d" % index) == bytes(10_000) for index in range(done))
    store.close()
    with RocksStore(path) as reopened:
        kept = kept and all(reopened.get(b"%d" % index) == bytes(10_000) for index in range(done))
    return done, wrote, kept


def test_a_full_disk_stops_with_a_clear_error_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        done, wrote, kept = pool.apply(_fill_until_full, (tmp_path,))
    assert 0 < done < 1000
    assert wrote
    assert kept


def _write_and_die(path: Path, writes: int) -> None:
    store = RocksStore(path)
    for index in range(writes):
        store.write({b"%d" % index: b"x" * 500})
    signal.raise_signal(signal.SIGKILL)  # no close: everything is in the write-ahead log


def _killed(path: Path, writes: int) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_write_and_die, args=(path, writes))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_a_byte_altered_in_the_middle_of_the_write_ahead_log_is_named_not_skipped(tmp_path: Path) -> None:
    _killed(tmp_path, 200)
    log = max(tmp_path.glob("*.log"), key=lambda name: name.stat().st_size)
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    log.write_bytes(data)
    with pytest.raises(StoreCorrupt, match=str(tmp_path)):
        RocksStore(tmp_path)


def test_a_torn_write_ahead_log_loses_the_last_write_whole(tmp_path: Path) -> None:
    _killed(tmp_path, 200)
    log = max(tmp_path.glob("*.log"), key=lambda name: name.stat().st_size)
    log.write_bytes(log.read_bytes()[:-100])
    with RocksStore(tmp_path) as store:
        assert store.get(b"198") == b"x" * 500
        assert store.get(b"199") is None


def test_an_altered_table_is_named_when_it_is_read(tmp_path: Path) -> None:
    with RocksStore(tmp_path) as store:
        store.write({b"%04d" % index: b"value" * 50 for index in range(2000)})
        store.compact()
    table = max(tmp_path.glob("*.sst"), key=lambda name: name.stat().st_size)
    data = bytearray(table.read_bytes())
    data[1000] ^= 1
    table.write_bytes(data)
    with pytest.raises(StoreCorrupt, match="altered or damaged"), RocksStore(tmp_path) as store:
        for index in range(2000):
            store.get(b"%04d" % index)
