"""The log's hashes in files: the same answers as in memory, through restarts, torn ends and truncation."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.adapters.store.errors import StoreClosed, StoreCorrupt, StoreFull
from commonward.adapters.store.tiles import TileFiles
from commonward.ledger.merkle.log import Log, LogStore, MemoryLogStore, NotHeld, leaf_hash, tile_base, verify_inclusion


def hashes(first: int, count: int) -> bytes:
    return b"".join(index.to_bytes(32, "big") for index in range(first, first + count))


@pytest.fixture(params=["memory", "files"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogStore]:
    if request.param == "memory":
        yield MemoryLogStore()
    else:
        with TileFiles(tmp_path / "tiles") as files:
            yield files


# --- every store


def test_hashes_are_read_back_by_level_and_index(store: LogStore) -> None:
    store.append(0, 0, hashes(0, 300))
    store.append(1, 0, hashes(7, 1))
    assert store.read(0, 299) == hashes(299, 1)
    assert store.read(0, 256, 44) == hashes(256, 44)
    assert store.read(1, 0) == hashes(7, 1)
    assert store.read(0, 5, 0) == b""


def test_what_is_not_held_is_not_made_up(store: LogStore) -> None:
    store.append(0, 0, hashes(0, 3))
    for level, index, count in ((0, 3, 1), (0, 2, 2), (1, 0, 1), (0, -1, 1)):
        with pytest.raises(LookupError):
            store.read(level, index, count)
    with pytest.raises(LookupError):
        store.append(0, 4, hashes(4, 1))


def test_an_append_drops_what_a_crash_left_from_there_on(store: LogStore) -> None:
    store.append(0, 0, hashes(0, 10))
    store.append(0, 4, hashes(100, 2))
    assert store.read(0, 3, 3) == hashes(3, 1) + hashes(100, 2)
    with pytest.raises(LookupError):
        store.read(0, 6)


def test_truncation_keeps_what_a_log_of_that_size_has(store: LogStore) -> None:
    store.append(0, 0, hashes(0, 700))
    store.append(1, 0, hashes(0, 2))
    store.truncate(511)
    assert store.read(0, 510) == hashes(510, 1)
    assert store.read(1, 0) == hashes(0, 1)
    for level, index in ((0, 511), (1, 1)):
        with pytest.raises(LookupError):
            store.read(level, index)


# --- files


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.data())
def test_a_log_in_files_has_the_root_of_one_in_memory_in_any_restart_pattern(
    tmp_path_factory: pytest.TempPathFactory, groups: list[int], data: st.DataObject
) -> None:
    path, twin, size = tmp_path_factory.mktemp("tiles"), Log(MemoryLogStore()), 0
    for count in groups:
        with TileFiles(path) as files:
            log = Log(files, size)
            if data.draw(st.booleans()):  # a block that was written here but never kept
                log.append([b"lost"] * data.draw(st.integers(1, 300)))
                files.truncate(size)
                log = Log(files, size)
            leaves = [b"%d" % (size + index) for index in range(count)]
            assert log.append(leaves) == twin.append(leaves)
            size += count
    with TileFiles(path) as files:
        log, index = Log(files, size), data.draw(st.integers(0, size - 1))
        assert verify_inclusion(leaf_hash(b"%d" % index), index, size, log.prove_inclusion(index), twin.root())


def test_a_torn_hash_is_dropped_at_open(tmp_path: Path) -> None:
    with TileFiles(tmp_path) as files:
        files.append(0, 0, hashes(0, 5))
    with (tmp_path / "level-0").open("ab") as file:
        file.write(b"\xff" * 17)
    with TileFiles(tmp_path) as files:
        assert files.held() == 5
        files.append(0, 5, hashes(5, 1))
        assert files.read(0, 4, 2) == hashes(4, 2)


def test_a_cut_or_missing_file_is_named(tmp_path: Path) -> None:
    with TileFiles(tmp_path) as files:
        files.append(0, 0, hashes(0, 600))
        files.append(1, 0, hashes(0, 2))
    with (tmp_path / "level-0").open("r+b") as file:
        file.truncate(32 * 599)
    with TileFiles(tmp_path) as files, pytest.raises(StoreCorrupt, match=r"level-0.*expected 600 hashes .* got 599"):
        files.truncate(600)
    (tmp_path / "level-0").unlink()
    with pytest.raises(StoreCorrupt, match="level-1"):
        TileFiles(tmp_path)


def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    with TileFiles(tmp_path / "tiles") as files:
        files.append(0, 0, hashes(0, 1))
    assert stat.S_IMODE((tmp_path / "tiles").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "tiles" / "level-0").stat().st_mode) == 0o600


def test_a_full_disk_is_named_and_the_append_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite

    def half_then_full(file: int, data: bytes, offset: int) -> int:
        if len(data) < 40:
            raise OSError(28, "No space left on device")
        return real(file, data[: len(data) // 2], offset)

    with TileFiles(tmp_path) as files:
        files.append(0, 0, hashes(0, 5))
        monkeypatch.setattr(os, "pwrite", half_then_full)
        with pytest.raises(StoreFull):
            files.append(0, 5, hashes(5, 5))
        monkeypatch.undo()
        assert files.held() == 5
        files.append(0, 5, hashes(5, 5))
        assert files.read(0, 0, 10) == hashes(0, 10)


def test_closed_tiles_say_so(tmp_path: Path) -> None:
    files = TileFiles(tmp_path)
    files.close()
    files.close()
    with pytest.raises(StoreClosed):
        files.append(0, 0, hashes(0, 1))


# --- a log without its beginning


def test_a_log_without_its_beginning_is_held_and_filled_later(tmp_path: Path) -> None:
    whole = MemoryLogStore()
    log = Log(whole)
    log.append([b"%d" % n for n in range(70_000)])
    rows = [whole.read(t, tile_base(70_000, t), (70_000 >> 8 * t) - tile_base(70_000, t)) for t in range(3)]
    with TileFiles(tmp_path) as files:
        files.append(0, 0, hashes(0, 5))
        files.begin(70_000, rows)
        part = Log(files, 70_000)
        assert part.root() == log.root() and part.append([b"next"]) == log.append([b"next"])
        files.sync()
    assert sum(name.stat().st_blocks for name in tmp_path.iterdir()) * 512 < 100_000  # holes take no room
    with TileFiles(tmp_path) as files:
        files.truncate(70_001)
        assert files.begins == 70_000
        with pytest.raises(NotHeld, match="where this member's copy"):
            Log(files, 70_001).prove_inclusion(4)
        with pytest.raises(StoreCorrupt, match="at least 70000"):
            files.truncate(60_000)
        for level in range(3):
            files.fill(level, 0, whole.read(level, 0, tile_base(70_000, level)))
        with pytest.raises(ValueError, match="from before leaf"):
            files.fill(0, tile_base(70_000, 0), bytes(32))
        files.whole()
    with TileFiles(tmp_path) as files:
        assert files.begins == 0
        assert Log(files, 70_001).prove_inclusion(4) == log.prove_inclusion(4)
        files.begin(70_000, rows)
        files.truncate(0)
        assert files.begins == 0 == files.held()
