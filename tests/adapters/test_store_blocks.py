"""The block log: nothing acknowledged is lost, a torn tail is dropped and named, an altered frame is named."""

import os
import random
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.adapters.store.blocks import BlockFiles, MemoryBlocks
from commonward.adapters.store.errors import StoreClosed, StoreCorrupt, StoreError, StoreFull, StoreLocked
from commonward.adapters.store.frames import FRAME, SEGMENT, frame
from commonward.workflows.blocklog import BlockLog


def body(height: int) -> bytes:
    source = random.Random(height)
    return source.randbytes(source.randrange(0, 400))


def fill(path: Path, blocks: int, **options: int) -> None:
    with BlockFiles(path, **options) as log:
        log.append_group(1, [body(height) for height in range(1, blocks + 1)])


def only_file(path: Path) -> Path:
    (name,) = path.glob("blocks-*")
    return name


def offset_of(path: Path, height: int) -> int:
    return SEGMENT + sum(FRAME + len(body(h)) for h in range(1, height))


@pytest.fixture(params=["memory", "files"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlockFiles | MemoryBlocks]:
    made = MemoryBlocks() if request.param == "memory" else BlockFiles(tmp_path / "blocks", segment_bytes=4000)
    yield made
    made.close()


# --- every log


def test_blocks_are_read_back_by_height_across_files(log: BlockFiles | MemoryBlocks) -> None:
    port: BlockLog = log
    assert port.height == 0
    for height in range(1, 200):
        port.append(height, body(height))
    log.append_group(200, [body(height) for height in range(200, 301)])
    assert port.height == 300
    for height in (1, 63, 64, 65, 66, 150, 199, 200, 300):
        assert port.read(height) == body(height)
    assert list(log.iterate(130)) == [(height, body(height)) for height in range(130, 301)]
    assert list(log.iterate(301)) == []
    for missing in (0, 301):
        with pytest.raises(LookupError):
            port.read(missing)


def test_a_height_out_of_order_is_refused(log: BlockFiles | MemoryBlocks) -> None:
    log.append(1, b"one")
    for wrong in (1, 3, 0):
        with pytest.raises(ValueError, match="expected block 2"):
            log.append(wrong, b"x")
    assert log.height == 1


def test_the_twin_fails_on_cue_before_or_after_its_effect() -> None:
    log = MemoryBlocks()
    log.fail_next_append()
    with pytest.raises(StoreFull):
        log.append(1, b"a")
    assert log.height == 0
    log.fail_next_append(but_keep=True)
    with pytest.raises(StoreFull):
        log.append(1, b"a")
    assert log.read(1) == b"a"


# --- files


def test_a_reopened_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    fill(tmp_path, 300, segment_bytes=5000)
    with BlockFiles(tmp_path, segment_bytes=5000) as log:
        chain = log.chain
        log.append(301, b"more")
    assert len(list(tmp_path.glob("blocks-*"))) == 2, "a full file is followed by a new one"
    with BlockFiles(tmp_path) as log:
        assert (log.height, log.torn) == (301, None)
        assert log.chain != chain
        assert list(log.iterate()) == [*((h, body(h)) for h in range(1, 301)), (301, b"more")]


def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        fill(tmp_path / "blocks", 3)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "blocks").stat().st_mode) == 0o700
    assert {stat.S_IMODE(name.stat().st_mode) for name in (tmp_path / "blocks").iterdir()} == {0o600}


def test_a_second_process_is_refused_by_name(tmp_path: Path) -> None:
    with BlockFiles(tmp_path), pytest.raises(StoreLocked, match="in use by another process"):
        BlockFiles(tmp_path)
    BlockFiles(tmp_path).close()


def test_a_tail_torn_at_any_byte_is_dropped_and_named(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    name, start = only_file(tmp_path), offset_of(tmp_path, 5)
    whole = name.read_bytes()
    for end in range(start + 1, len(whole)):
        name.write_bytes(whole[:end])
        with BlockFiles(tmp_path) as log:
            assert log.height == 4
            assert log.torn is not None
            assert (log.torn.file, log.torn.offset, log.torn.height) == (name, start, 5)
            assert log.torn.dropped == end - start
            log.append(5, body(5))
        assert name.read_bytes() == whole


def test_pages_that_were_sized_but_never_written_are_a_torn_tail(tmp_path: Path) -> None:
    with BlockFiles(tmp_path) as log:
        log.append(1, b"kept")
        log.append(2, b"\xaa" * 20_000)
    name = only_file(tmp_path)
    data = bytearray(name.read_bytes())
    data[8192:12288] = bytes(4096)
    name.write_bytes(data)
    with BlockFiles(tmp_path) as log:
        assert log.height == 1
        assert log.torn is not None and "block 2" in str(log.torn)


def test_a_file_torn_while_it_was_made_is_dropped(tmp_path: Path) -> None:
    fill(tmp_path, 20, segment_bytes=500)
    with BlockFiles(tmp_path, segment_bytes=500) as log:
        log.append(21, b"next file")
    newest = sorted(tmp_path.glob("blocks-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:30])
    with BlockFiles(tmp_path, segment_bytes=500) as log:
        assert log.height == 20
        assert log.torn is not None and log.torn.file == newest
        log.append(21, b"next file")
        assert log.read(21) == b"next file"


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_altered_byte_is_found_at_open_and_named(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("blocks")
    fill(path, 12)
    name = only_file(path)
    whole = bytearray(name.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    name.write_bytes(whole)
    with pytest.raises(StoreCorrupt) as caught:
        BlockFiles(path)
    assert str(name) in str(caught.value)
    if at >= SEGMENT:
        height = max(h for h in range(1, 13) if offset_of(path, h) <= at)
        assert f"block {height} at byte {offset_of(path, height)}" in str(caught.value)
    assert name.read_bytes() == whole, "what was altered is evidence and stays as it is"


def test_an_alteration_with_checksums_made_to_fit_is_found_by_the_chain(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    name, at = only_file(tmp_path), offset_of(tmp_path, 3)
    data = bytearray(name.read_bytes())
    head = bytearray(data[at : at + FRAME])
    forged = bytes(byte ^ 1 for byte in body(3))
    head[16:20] = crc32(forged).to_bytes(4, "big")
    head[52:56] = crc32(head[:52]).to_bytes(4, "big")
    data[at : at + FRAME + len(forged)] = head + forged
    name.write_bytes(data)
    with pytest.raises(StoreCorrupt, match=r"block 3 .* does not follow the block before it"):
        BlockFiles(tmp_path)


def test_a_frame_forged_whole_breaks_the_chain_of_the_next(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    with BlockFiles(tmp_path) as log:
        true_chain = log.chain
    name, at = only_file(tmp_path), offset_of(tmp_path, 3)
    data = bytearray(name.read_bytes())
    before = bytes(data[offset_of(tmp_path, 2) + 20 : offset_of(tmp_path, 2) + 52])
    forged = bytes(byte ^ 1 for byte in body(3))
    head, _ = frame(before, 3, forged)
    data[at : at + FRAME + len(forged)] = head + forged
    name.write_bytes(data)
    with pytest.raises(StoreCorrupt, match=r"block 4 .* does not follow"):
        BlockFiles(tmp_path)
    assert len(true_chain) == sha256().digest_size


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with BlockFiles(tmp_path, segment_bytes=300) as log:
        for height in range(1, 30):
            log.append(height, body(height))
    names = sorted(tmp_path.glob("blocks-*"))
    assert len(names) > 3
    names[1].unlink()
    with pytest.raises(StoreCorrupt, match="one is missing"):
        BlockFiles(tmp_path)


def test_a_torn_frame_in_an_older_file_is_not_taken_for_a_crash(tmp_path: Path) -> None:
    with BlockFiles(tmp_path, segment_bytes=300) as log:
        for height in range(1, 30):
            log.append(height, body(height))
    first = min(tmp_path.glob("blocks-*"))
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(StoreCorrupt, match=str(first)):
        BlockFiles(tmp_path)


def test_a_block_altered_while_the_log_is_open_is_found_when_read(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    with BlockFiles(tmp_path) as log:
        name, at = only_file(tmp_path), offset_of(tmp_path, 3) + FRAME
        with name.open("r+b") as file:
            file.seek(at)
            file.write(bytes([body(3)[0] ^ 1]))
        with pytest.raises(StoreCorrupt, match="block 3"):
            log.read(3)
        assert log.read(2) == body(2)
        with pytest.raises(StoreCorrupt, match="block 3"):
            list(log.iterate())


def test_a_disk_that_filled_up_leaves_the_log_as_it_was_and_then_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite

    def half_then_full(file: int, data: bytes, offset: int) -> int:
        if len(data) < 10:
            raise OSError(28, "No space left on device")
        return real(file, data[: len(data) // 2], offset)

    with BlockFiles(tmp_path) as log:
        log.append(1, body(1))
        monkeypatch.setattr(os, "pwrite", half_then_full)
        with pytest.raises(StoreFull, match="make room"):
            log.append_group(2, [body(2), body(3)])
        monkeypatch.undo()
        assert log.height == 1
        log.append(2, b"after there was room")
    with BlockFiles(tmp_path) as log:
        assert (log.height, log.torn) == (2, None)
        assert log.read(2) == b"after there was room"


def test_after_a_failed_sync_nothing_is_acknowledged_until_the_log_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_file: int) -> None:
        raise OSError(5, "Input/output error")

    with BlockFiles(tmp_path) as log:
        log.append(1, body(1))
        monkeypatch.setattr(os, "fdatasync", broken)
        with pytest.raises(StoreError):
            log.append(2, body(2))
        monkeypatch.undo()
        with pytest.raises(StoreError, match="open the log again"):
            log.append(2, body(2))
    with BlockFiles(tmp_path) as log:
        log.append(2, body(2))


def test_a_closed_log_says_so(tmp_path: Path) -> None:
    log = BlockFiles(tmp_path)
    log.close()
    log.close()
    with pytest.raises(StoreClosed):
        log.append(1, b"x")
    with pytest.raises(StoreClosed):
        log.read(1)


# --- a log that begins above height 1


def test_a_log_can_begin_at_any_height_and_stays_so(tmp_path: Path) -> None:
    twin = MemoryBlocks()
    twin.begin(500)
    with BlockFiles(tmp_path, segment_bytes=2000) as log:
        log.begin(500)
        assert log.height == twin.height == 499
    with BlockFiles(tmp_path, segment_bytes=2000) as log:
        for each in (log, twin):
            assert (each.height, each.first) == (499, 500)
            for height in range(500, 530):
                each.append(height, body(height))
            with pytest.raises(LookupError, match="from 500 to 529"):
                each.read(499)
            with pytest.raises(ValueError, match="empty log"):
                each.begin(1000)
    with BlockFiles(tmp_path, segment_bytes=2000) as log:
        assert list(log.iterate()) == list(twin.iterate()) == [(height, body(height)) for height in range(500, 530)]


def fill_singly(path: Path, blocks: int) -> None:
    with BlockFiles(path, segment_bytes=4000) as log:
        for height in range(1, blocks + 1):
            log.append(height, body(height))


def test_old_blocks_are_let_go_of_by_whole_files(tmp_path: Path) -> None:
    fill_singly(tmp_path, 200)
    files = len(list(tmp_path.glob("blocks-*")))
    with BlockFiles(tmp_path, segment_bytes=4000) as log:
        assert log.prune(1) == 1
        first = log.prune(120)
        assert 100 < first <= 120 and len(list(tmp_path.glob("blocks-*"))) < files
        with pytest.raises(LookupError):
            log.read(first - 1)
        log.append(201, body(201))
        assert log.prune(150) > first
    with BlockFiles(tmp_path, segment_bytes=4000) as log:
        assert [height for height, _ in log.iterate()] == list(range(log.first, 202))
        assert log.prune(10**9) <= 201
        assert log.read(201) == body(201)


def test_pruning_that_was_cut_short_is_finished_and_a_file_that_is_missing_is_not_taken_for_pruned(
    tmp_path: Path,
) -> None:
    fill_singly(tmp_path, 200)
    names = sorted(tmp_path.glob("blocks-*"))
    kept = {name: name.read_bytes() for name in names[:2]}
    with BlockFiles(tmp_path, segment_bytes=4000) as log:
        first = log.prune(120)
    for name, data in kept.items():  # as if the process had died before they were removed
        name.write_bytes(data)
    with BlockFiles(tmp_path, segment_bytes=4000) as log:
        assert log.first == first and not names[0].exists()
    sorted(tmp_path.glob("blocks-*"))[0].unlink()
    with pytest.raises(StoreCorrupt, match="one is missing"):
        BlockFiles(tmp_path, segment_bytes=4000)
