"""A log is read beside the process that writes it, wherever it begins."""

from pathlib import Path

import pytest

from commonward.adapters.store.blocks import BlockFiles
from commonward.adapters.store.errors import StoreCorrupt
from commonward.adapters.store.readonly import peek, peeking, read_blocks
from commonward.adapters.store.state import RocksStore


def block(height: int) -> bytes:
    return b"block %d " % height * 20


def test_a_log_is_read_while_another_process_holds_it(tmp_path: Path) -> None:
    with BlockFiles(tmp_path / "log", segment_bytes=600) as log:
        for height in range(1, 12):
            log.append(height, block(height))
        assert list(read_blocks(tmp_path / "log")) == [(height, block(height)) for height in range(1, 12)]


def test_a_log_that_begins_later_or_was_pruned_is_read_from_there(tmp_path: Path) -> None:
    with BlockFiles(tmp_path / "later", segment_bytes=600) as log:
        log.begin(500)
        for height in range(500, 512):
            log.append(height, block(height))
        assert [height for height, _ in read_blocks(tmp_path / "later")] == list(range(500, 512))
        first = log.prune(507)
        assert 500 < first <= 507
        assert [height for height, _ in read_blocks(tmp_path / "later")] == list(range(first, 512))


def test_a_log_that_lost_its_first_file_is_not_taken_for_a_pruned_one(tmp_path: Path) -> None:
    with BlockFiles(tmp_path / "log", segment_bytes=600) as log:
        for height in range(1, 12):
            log.append(height, block(height))
    min((tmp_path / "log").glob("blocks-*")).unlink()
    with pytest.raises(StoreCorrupt, match="one is missing"):
        list(read_blocks(tmp_path / "log"))


def test_a_state_is_looked_into_while_it_is_written(tmp_path: Path) -> None:
    assert peek(tmp_path / "state", b"a") is None
    store = RocksStore(tmp_path / "state")
    store.write({b"a": b"1"})
    with peeking(tmp_path / "state") as read:
        assert read is not None
        store.write({b"a": b"2", b"b": b"3"})
        assert (read(b"a"), read(b"b")) == (b"1", None), "as of one moment"
    assert peek(tmp_path / "state", b"a") == b"2"
    store.close()
