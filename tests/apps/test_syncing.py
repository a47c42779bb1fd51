"""A member joins an agreed ledger by a snapshot, over real files, and goes on with the others."""

import asyncio
from pathlib import Path

import pytest

from commonward.adapters.store.blocks import BlockFiles
from commonward.adapters.store.restoring import RestoreFiles
from commonward.adapters.store.snapshots import SnapshotFiles
from commonward.adapters.store.state import MemoryStore, RocksStore
from commonward.adapters.store.tiles import TileFiles
from commonward.apps.syncing import open_snapshots
from commonward.ledger.ids import MemberId
from commonward.workflows.agreeing import AgreeingReplica
from commonward.workflows.snapshots import ChunkAnswer, OfferAnswer, SnapshotStore
from tests.agreeing_world import AgreeingWorld
from tests.ledgerkit import commitment
from tests.memory_engine import MAP_BITS, SoftKeys
from tests.snapshotkit import MemoryGround, a_release


class Files:
    """As a node's own: `apps.engines.ChainFiles`."""

    state: RocksStore
    tiles: TileFiles
    blocks: BlockFiles

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        RestoreFiles(directory)
        self.reopen()

    def reopen(self) -> None:
        self.blocks = BlockFiles(self.directory / "blocks")
        self.tiles = TileFiles(self.directory / "tiles")
        self.state = RocksStore(self.directory / "state", first=self.tiles.sync)

    def close(self) -> None:
        self.state.close()
        self.tiles.close()
        self.blocks.close()


class Joining(AgreeingWorld):
    """Four members whose ledger lives, and shield, who comes later with files."""

    def __init__(self) -> None:
        super().__init__()
        self.north = MemoryStore()
        self.disks["north"].store = self.north  # type: ignore[assignment]

    def replica(self, files: Files) -> AgreeingReplica:
        return AgreeingReplica(
            keys=SoftKeys(MemberId("shield")), genesis=self.genesis, store=files.state, log_store=files.tiles,
            blocks=files.blocks, clock=self.clock, submit_ms=5000, map_bits=MAP_BITS,
        )  # fmt: skip

    def join(self, node: AgreeingReplica) -> None:
        self.nodes["shield"] = node
        self.waiting["shield"] = {}

    async def live(self, rounds: int, tag: str) -> None:
        node = self.nodes["north"]
        for number in range(rounds):
            expiry = max(self.clock.now(), node.tip_time()) + 60_000
            raw = self.kit.sign(a_release((tag, number)), by="north", recent=node.recent(), expiry=expiry)
            await self.hand("north", self.bundle([raw], "north"))
            await self.round()

    async def giver(self, shelf: Path) -> SnapshotStore:
        """North's snapshots, with one at the height where it is."""
        disk = self.disks["north"]
        giver = SnapshotStore(
            genesis=self.genesis, state=self.north, log_store=disk.log, flush=self.nodes["north"].flush,
            shelf=SnapshotFiles(shelf, self.clock.now), ground=MemoryGround(), adopt=_never, every=1, map_bits=MAP_BITS,
        )  # fmt: skip
        await giver.committed(self.nodes["north"].height)
        await giver.made()
        return giver


async def _never(_manifest: object) -> None:
    raise AssertionError("a giver takes no snapshot")


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_member_joins_by_a_snapshot_and_executes_what_follows_with_the_others(
    tmp_path: Path, restarted: bool
) -> None:
    async with Joining() as world:
        world.stop("shield")
        await world.live(5, "before")
        giver = await world.giver(tmp_path / "theirs")
        files = Files(tmp_path / "ours")
        node = world.replica(files)
        assert node.info()[0] == 0
        joiner = open_snapshots(
            replica=node, files=files, directory=files.directory, shelf=tmp_path / "shelf", genesis=world.genesis,
            clock=world.clock, every=2, map_bits=MAP_BITS,
        )  # fmt: skip
        (offered,) = giver.offers()
        assert joiner.offer(offered, world.nodes["north"].info()[1]) == OfferAnswer.ACCEPT
        for index in range(offered.chunks):
            chunk = giver.chunk(offered.height, offered.format, index)
            assert (await joiner.apply(index, chunk, "north")).answer == ChunkAnswer.ACCEPT
        assert node.info() == world.nodes["north"].info()
        if restarted:
            node.close()
            files.close()
            files.reopen()
            node = world.replica(files)
            assert node.info() == world.nodes["north"].info()
            joiner.moved(files.state, files.tiles, node.flush)
        world.join(node)
        await world.live(3, "after")
        assert len(world.roots()) == 1
        await joiner.committed(8)
        await joiner.made()
        theirs = await world.giver(tmp_path / "theirs again")
        assert joiner.offers()[-1] == theirs.offers()[-1]  # a newcomer can fetch from both
        for store in (giver, joiner, theirs):
            store.close()
        world.stop("shield")
        files.close()


async def test_a_chunk_that_lies_leaves_the_node_where_it_was(tmp_path: Path) -> None:
    async with Joining() as world:
        world.stop("shield")
        await world.live(3, commitment("x").hex())
        giver = await world.giver(tmp_path / "theirs")
        files = Files(tmp_path / "ours")
        node = world.replica(files)
        before = node.info()
        joiner = open_snapshots(
            replica=node, files=files, directory=files.directory, shelf=tmp_path / "shelf", genesis=world.genesis,
            clock=world.clock, map_bits=MAP_BITS,
        )  # fmt: skip
        (offered,) = giver.offers()
        joiner.offer(offered, world.nodes["north"].info()[1])
        last = offered.chunks - 1
        for index in range(last):
            await joiner.apply(index, giver.chunk(offered.height, 1, index), "north")
        true = giver.chunk(offered.height, 1, last)
        lie = await joiner.apply(last, true[:-1] + bytes((true[-1] ^ 1,)), "liar")
        assert lie.answer == ChunkAnswer.RETRY and lie.reject == ("liar",)
        assert node.info() == before
        assert (await joiner.apply(last, true, "north")).answer == ChunkAnswer.ACCEPT
        assert node.info() == world.nodes["north"].info()
        for store in (giver, joiner):
            store.close()
        node.close()
        files.close()
        await asyncio.sleep(0)
