"""Snapshots and restored stores on disk: whole or not there, whatever is cut short; kept while somebody fetches."""

import asyncio
import gc
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from commonward.adapters.store.blocks import BlockFiles
from commonward.adapters.store.errors import StoreClosed
from commonward.adapters.store.restoring import STORES, FreshFiles, RestoreFiles
from commonward.adapters.store.snapshots import LINGER_MS, SnapshotFiles
from commonward.adapters.store.state import RocksStore
from commonward.adapters.store.tiles import TileFiles
from commonward.ledger import snapshot as form
from commonward.ledger.snapshot import Manifest
from commonward.workflows.snapshots import ChunkAnswer, OfferAnswer, SnapshotStore
from tests.ledgerkit import Kit
from tests.snapshotkit import Source, a_release


class Now:
    def __init__(self) -> None:
        self.ms = 0

    def __call__(self) -> int:
        return self.ms


def keep(files: SnapshotFiles, height: int, *chunks: bytes) -> None:
    making = files.make()
    for chunk in chunks:
        making.chunk(chunk)
    making.keep(height, b"manifest %d" % height)


def test_a_snapshot_is_there_when_it_is_kept_and_not_before(tmp_path: Path) -> None:
    files = SnapshotFiles(tmp_path / "snapshots", Now())
    making = files.make()
    making.chunk(b"zero")
    making.chunk(b"one")
    assert files.heights() == []
    making.keep(7, b"the manifest")
    making.drop()
    assert files.heights() == [7]
    assert (files.manifest(7), files.chunk(7, 0), files.chunk(7, 1)) == (b"the manifest", b"zero", b"one")
    for height, index in ((7, 2), (8, 0), (7, -1)):
        with pytest.raises(LookupError):
            files.chunk(height, index)


def test_what_a_crash_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    files = SnapshotFiles(tmp_path, Now())
    keep(files, 5, b"x")
    files.make().chunk(b"half")
    (tmp_path / "000000000009").mkdir()
    files = SnapshotFiles(tmp_path, Now())
    assert files.heights() == [5] and not (tmp_path / "making").exists()


def test_pieces_that_were_spilled_come_back_once_and_in_order(tmp_path: Path) -> None:
    making = SnapshotFiles(tmp_path, Now()).make()
    for piece in (b"one", b"", b"three"):
        making.spill("6-3f", piece)
    assert list(making.spilled("6-3f")) == [b"one", b"", b"three"]
    assert list(making.spilled("6-3f")) == [] == list(making.spilled("never"))


@pytest.mark.parametrize("heard", [SnapshotFiles.told, partial(SnapshotFiles.chunk, index=0)])
def test_a_snapshot_that_somebody_heard_of_or_fetches_outlives_newer_ones_for_a_while(
    tmp_path: Path, heard: Callable[[SnapshotFiles, int], object]
) -> None:
    now = Now()
    files = SnapshotFiles(tmp_path, now)
    for height in (10, 20, 30):
        keep(files, height, b"x")
    heard(files, 10)
    files.prune()
    assert files.heights() == [10, 20, 30]
    now.ms = LINGER_MS
    files.prune()
    assert files.heights() == [20, 30]


def test_no_one_who_keeps_asking_can_fill_the_disk(tmp_path: Path) -> None:
    files = SnapshotFiles(tmp_path, Now())
    for height in range(10, 30):
        keep(files, height, b"x")
        files.chunk(height, 0)
        files.prune()
    assert len(files.heights()) == 6


def test_a_snapshot_of_the_same_state_takes_no_room_and_outlives_the_one_it_came_from(tmp_path: Path) -> None:
    files = SnapshotFiles(tmp_path, Now(), keep=1)
    keep(files, 10, b"zero", b"one")
    making = files.make()
    making.again(10)
    making.keep(20, b"m")
    assert (tmp_path / "000000000020" / "chunk-000001").stat().st_nlink == 2
    files.prune()
    assert files.heights() == [20] and files.chunk(20, 1) == b"one"


# ------------------------------------------------------------------------------------------------------ fresh stores


def old_stores(path: Path) -> None:
    with BlockFiles(path / "blocks") as blocks, TileFiles(path / "tiles") as tiles, RocksStore(path / "state") as state:
        blocks.append(1, b"old")
        tiles.append(0, 0, bytes(32))
        state.write({b"which": b"old"})


def fill(fresh: FreshFiles) -> None:
    fresh.tiles.begin(3, [bytes(96)])
    fresh.blocks.begin(8)
    fresh.state.write({b"which": b"new"})


def which(path: Path) -> tuple[bytes | None, int, int]:
    with BlockFiles(path / "blocks") as blocks, TileFiles(path / "tiles") as tiles, RocksStore(path / "state") as state:
        return state.get(b"which"), tiles.begins, blocks.height


OLD, NEW = (b"old", 0, 1), (b"new", 3, 7)


def test_a_restore_that_was_cut_short_leaves_the_old_stores_and_nothing_else(tmp_path: Path) -> None:
    old_stores(tmp_path)
    fill(RestoreFiles(tmp_path).fresh())  # and the process dies; its locks go with it
    gc.collect()
    RestoreFiles(tmp_path)
    assert which(tmp_path) == OLD and sorted(each.name for each in tmp_path.iterdir()) == sorted(STORES)


@pytest.mark.parametrize("moved", range(len(STORES) + 1))
@pytest.mark.parametrize("emptied", [False, True])
def test_a_change_cut_short_at_any_step_is_finished_at_the_next_start(
    tmp_path: Path, moved: int, emptied: bool
) -> None:
    old_stores(tmp_path)
    files = RestoreFiles(tmp_path)
    fill(files.fresh())
    files.complete()
    for name in STORES[:moved]:
        shutil.rmtree(tmp_path / name)
        (tmp_path / "restored" / name).rename(tmp_path / name)
    if emptied and moved < len(STORES):
        shutil.rmtree(tmp_path / STORES[moved])
    RestoreFiles(tmp_path)
    assert which(tmp_path) == NEW and sorted(each.name for each in tmp_path.iterdir()) == sorted(STORES)
    assert not RestoreFiles(tmp_path).settle()


def test_completing_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="that `fresh` made"):
        RestoreFiles(tmp_path).complete()


# ---------------------------------------------------------------------------------------------------------- all of it


def test_a_member_joins_over_the_disk_and_goes_on_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form, "STRETCH", 64)
    monkeypatch.setattr("commonward.workflows.snapshotting.CELLS", 3000)
    source = Source()
    source.live(60, random.Random(3))
    # The source's own state goes to disk, so that the view is RocksDB's.
    theirs = RocksStore(tmp_path / "theirs")
    theirs.write(source.state._values)
    shelf = SnapshotFiles(tmp_path / "snapshots", Now())
    ground = RestoreFiles(tmp_path / "ours")
    old_stores(tmp_path / "ours")
    adopted: list[Manifest] = []

    async def adopt(manifest: Manifest) -> None:
        assert ground.settle()
        adopted.append(manifest)

    def store(state: RocksStore, shelf: SnapshotFiles) -> SnapshotStore:
        return SnapshotStore(
            genesis=source.kit.genesis, state=state, log_store=source.log_store, flush=lambda: None, shelf=shelf,
            ground=ground, adopt=adopt, every=1, map_bits=8,
        )  # fmt: skip

    async def story() -> None:
        giver = store(theirs, shelf)
        await giver.committed(source.height)
        theirs.write({b"sand so": b"the ledger goes on meanwhile"})
        await giver.made()
        joiner = store(theirs, SnapshotFiles(tmp_path / "none", Now()))
        (offered,) = giver.offers()
        assert joiner.offer(offered, source.app_hash) == OfferAnswer.ACCEPT
        for index in range(offered.chunks):
            data = giver.chunk(offered.height, offered.format, index)
            assert (await joiner.apply(index, data, "s")).answer == ChunkAnswer.ACCEPT
        giver.close()
        joiner.close()

    asyncio.run(story())
    assert len(adopted) == 1
    raw = source.kit.sign(a_release("after"), by="north")
    source.kit.later(1000)
    block = source.kit.block_bytes([raw, *source.sent[-5:]])
    expected = source.kit.machine.stage(block)
    for _ in range(2):
        where = tmp_path / "ours"
        with (
            BlockFiles(where / "blocks") as blocks,
            TileFiles(where / "tiles") as tiles,
            RocksStore(where / "state", first=tiles.sync) as state,
        ):
            kit = Kit(source.kit.genesis, state, tiles, 8)
            assert blocks.height == source.height
            assert kit.machine.stage(block).checkpoint == expected.checkpoint
    theirs.close()


def test_a_view_stands_still_while_the_store_is_written(tmp_path: Path) -> None:
    with RocksStore(tmp_path) as store:
        store.write({b"a1": b"x", b"a2": b"y", b"b": b"z"})
        with store.view() as view:
            store.write({b"a1": b"changed", b"a2": None, b"a3": b"new"})
            assert list(view.items(b"a")) == [(b"a1", b"x"), (b"a2", b"y")]
            assert list(view.items(b"a", b"a2")) == [(b"a2", b"y")]
            assert (view.get(b"a1"), view.get(b"a"), view.get(b"zz")) == (b"x", None, None)
            for key, value in view.items(b"a"):  # one reader does not disturb another
                assert view.get(b"b") == b"z" and view.get(key) == value
        with pytest.raises(StoreClosed, match="let go"):
            view.get(b"a1")
        assert store.get(b"a1") == b"changed"


def test_what_was_loaded_in_bulk_is_there_after_a_flush(tmp_path: Path) -> None:
    with RocksStore(tmp_path, bulk=True) as store:
        store.write({b"%d" % n: bytes(100) for n in range(1000)})
        store.flush()
    with RocksStore(tmp_path) as store:
        assert store.get(b"999") == bytes(100)


def test_a_store_that_is_closed_or_opened_anew_lets_go_of_its_views(tmp_path: Path) -> None:
    store = RocksStore(tmp_path)
    store.write({b"%d" % n: b"" for n in range(100)})
    with store.view() as view:
        items = view.items(b"")
        next(items)
        store.close()
        with pytest.raises(StoreClosed):
            next(items)
        RocksStore(tmp_path).close()
