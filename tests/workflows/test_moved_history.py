"""Who joins a moved ledger by a snapshot, or is restored by one, fetches and proves what came before the move too."""

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from commonward.adapters.store.state import MemoryStore
from commonward.apps.settings import BadSettings
from commonward.apps.syncing import read_line
from commonward.ledger.encoding import Value
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import BlockTime, MemberId, ProposalId
from commonward.ledger.members import Propose, SetWeight, Vote
from commonward.ledger.merkle.log import MemoryLogStore
from commonward.ledger.rules import Header
from commonward.ledger.transactions import Payload, build_block
from commonward.ledger.transition import FORGET_AFTER
from commonward.records.line import Line, LineBroken, line_of
from commonward.records.succession import Before
from commonward.records.trust import TrustFile, load_trust
from commonward.workflows.agreeing import AgreeingReplica
from commonward.workflows.history import History, NotHistory
from commonward.workflows.migrating import ending, member_keys, signed, successor
from commonward.workflows.past import PastIndexes
from commonward.workflows.ports import PeerAway
from commonward.workflows.requests import RequestRefused
from commonward.workflows.snapshots import ChunkAnswer, SnapshotStore
from tests import memory_engine
from tests.consortium import Consortium, Person, deny, observation, permit
from tests.ledgerkit import MEMBERS, START, commitment, demo_genesis, sign_genesis
from tests.memory_engine import MAP_BITS, Disk
from tests.migration_world import ChainKeys, MovedWorld, move, take_along
from tests.snapshotkit import MemoryGround, MemoryShelf
from tests.workflows.test_history import LIES, Asked, MemoryStaging, leaves_of, swap, turned, until

_numbers = count(1)


async def votes(world: Any, weight: int) -> None:
    """Everybody wants south to have this weight."""
    north = world.nodes["north"]

    async def says(payload: Payload, by: str) -> None:
        expiry = max(world.clock.now(), north.tip_time()) + 60_000
        raw = memory_engine.signed(world.genesis.ledger_id, payload, by, next(_numbers) + 10**6, north.recent(), expiry)
        assert (await north.submit(raw)).code == 0

    proposal = ProposalId(commitment("weight", next(_numbers))[:16])
    close = BlockTime(max(world.clock.now(), north.tip_time()) + 3_600_000)
    await says(Propose(proposal, SetWeight(MemberId("south"), weight), close, commitment("grounds")), "north")
    for voter in ("clinic", "health", "north", "south"):
        if north.machine.view().governance.open():
            await says(Vote(proposal, True), voter)
    for _ in range(50):
        await world.settle()
        changes = [node.authority_changes() for node in world.nodes.values()]
        if len({len(each) for each in changes}) == 1 and all(each and each[-1].note for each in changes):
            return
        await world.pass_time(31_000)
    raise AssertionError("the change is not cosigned")


def again(moved: MovedWorld) -> MovedWorld:
    """The members move once more, from consensus to another order of it."""
    node = moved.nodes["north"]
    end = ending(node, moved.trust())
    at = BlockTime(max(moved.clock.now(), node.tip_time()) + 1)
    signers = [(MemberId(each), ChainKeys(MemberId(each))) for each in MEMBERS]
    keys = {member: member_keys(node.machine, member, its, at) for member, its in signers}
    genesis = successor(node.machine, end.imported, keys, at, pilot=False)
    for each in moved.nodes.values():
        each.flush()
    return MovedWorld(signed(genesis, end.before, signers), end, moved.clock, moved)  # type: ignore[arg-type]


def viewed(moved: MovedWorld, name: str = "clinic") -> MovedWorld:
    """Of this member's state a snapshot can be made."""
    store, disk = MemoryStore(), moved.disks[name]
    cells = disk.store._values if isinstance(disk.store, MemoryStore) else disk.store.cells
    store.write(dict(cells))
    disk.store = store  # type: ignore[assignment]
    return moved


class Restored:
    """North's node begins from a snapshot of clinic's: `north` and its stores, and what fetches the rest."""

    def __init__(self, moved: MovedWorld) -> None:
        self.moved, self.staging, self.peers = moved, MemoryStaging(), Asked(moved)  # type: ignore[arg-type]

    async def begin(self) -> None:
        moved, giver_disk, ground = self.moved, self.moved.disks["clinic"], MemoryGround()
        moved.stop("north")
        node = moved.nodes["clinic"]
        giver = SnapshotStore(
            genesis=moved.genesis, state=giver_disk.store, log_store=giver_disk.log, flush=node.flush,  # type: ignore[arg-type]
            shelf=MemoryShelf(), ground=MemoryGround(), adopt=_nothing, every=1, map_bits=MAP_BITS,
            first=line_of(moved.file).first,
        )  # fmt: skip
        await giver.committed(node.height)
        await giver.made()
        joiner = SnapshotStore(
            genesis=moved.genesis, state=MemoryStore(), log_store=MemoryLogStore(), flush=lambda: None,
            shelf=MemoryShelf(), ground=ground, adopt=_nothing, every=0, map_bits=MAP_BITS,
        )  # fmt: skip
        offered = giver.offers()[-1]
        joiner.offer(offered, node.info()[1])
        for index in range(offered.chunks):
            done = await joiner.apply(index, giver.chunk(offered.height, offered.format, index), "clinic")
            assert done.answer == ChunkAnswer.ACCEPT
        giver.close()
        joiner.close()
        fresh = ground.completed
        assert fresh is not None and fresh.blocks.first == node.height + 1
        moved.disks["north"] = Disk(fresh.state, fresh.tiles, fresh.blocks)  # type: ignore[arg-type]
        self.start()

    def start(self) -> None:
        disk = self.moved.disks["north"]
        self.node: AgreeingReplica = self.moved.start("north")
        self.history = History(
            replica=self.node, stores=lambda: (disk.blocks, disk.log), staging=self.staging,
            line=line_of(self.moved.file), peers=self.peers,
        )  # fmt: skip

    def restart(self) -> None:
        self.moved.stop("north")
        self.start()


async def _nothing(_manifest: object) -> None:
    """The stores are opened by hand."""


async def practised(c: Consortium) -> tuple[Person, Person]:
    """Ada and Bob permit south, and Bob then denies everybody by a paper that no later permit lifts."""
    ada, bob = await c.patient("ada"), await c.patient("bob")
    await c.north.takes(observation("o1", "ada"), observation("o2", "bob"))
    await c.north.ticks()
    await ada.grants(permit("south"))
    await bob.grants(deny(1))
    await c.south.fetches(ada, "north")
    await votes(c.engine, 9)
    await votes(c.engine, 8)
    return ada, bob


@asynccontextmanager
async def restored(moves: int = 1, since: int = FORGET_AFTER) -> Any:
    """North, restored `since` ms after the ledger moved; what lived on since is a permit of each, and a vote."""
    async with Consortium() as c:
        ada, bob = await practised(c)
        moved = viewed(await move(c.engine))
        for number in range(1, moves):
            async with moved:
                await moved.pass_time(31_000)
                await votes(moved, 10 + number)
                async with moved._one:  # no block is half way
                    following = viewed(again(moved))
            moved = following
        async with moved:
            await take_along(c, moved)
            ada.through("clinic")
            bob.through("clinic")
            await bob.grants(permit("south"))
            await votes(moved, 7)
            await moved.pass_time(since)
            await ada.grants(permit("south"))
            await moved.pass_time(31_000)
            shield = Restored(moved)
            await shield.begin()
            c.houses["north"].wakes()
            await moved.pass_time(31_000)
            yield c, moved, shield, ada, bob


async def same_reads(moved: MovedWorld, patients: tuple[Person, ...]) -> None:
    """Whatever can be asked of a node, north answers as south does, who was there."""
    south, north = moved.nodes["south"], moved.nodes["north"]
    await until(lambda: len(moved.roots()) == 1 and south.height == north.height)  # no block is half way
    size = south.recent()[0]
    assert size == north.recent()[0]
    for index in range(size):
        assert north.entry(index) == south.entry(index), index
        assert index == 0 or north.leaf(index) == south.leaf(index)
        assert north.prove_inclusion(index, size) == south.prove_inclusion(index, size)
    for height in range(1, south.height + 1):
        assert north.block(height) == south.block(height)
        assert north.raw_block(height) == south.raw_block(height)
    for entry in south.entries(0, size):
        assert north.found(entry.digest) == south.found(entry.digest)
    for patient in patients:
        assert len(south.consents_of(patient.handle)) == 2
        assert north.consents_of(patient.handle) == south.consents_of(patient.handle)
    # Those before the move stand in the trust file of this genesis; each heard other cosignatures beyond the quorum.
    ours, theirs = [[replace(each, note=b"") for each in node.authority_changes()] for node in (north, south)]
    assert ours == theirs and len(ours) == 1
    assert load_trust(moved.trust("north")).fingerprint == load_trust(moved.trust("south")).fingerprint


async def refused(c: Consortium, patient: Person) -> None:
    with pytest.raises(RequestRefused):
        await c.south.fetches(patient, "north")


@pytest.mark.parametrize(("moves", "since"), [(1, 1000), (1, FORGET_AFTER), (2, FORGET_AFTER)])
async def test_a_restored_member_knows_denies_from_before_the_move_and_releases_nothing_until_it_does(
    moves: int, since: int
) -> None:
    async with restored(moves, since) as (c, moved, north, ada, bob):
        assert len(line_of(moved.file).geneses) == moves + 1
        assert north.history.missing and north.node.awaits_past()
        await refused(c, ada)
        await refused(c, bob)
        await north.history.fetch(MemberId("south"))
        assert not north.history.missing and not north.node.awaits_past()
        await same_reads(moved, (ada, bob))
        await c.south.fetches(ada, "north")
        await refused(c, bob)
        await same_reads(moved, (ada, bob))
        north.restart()
        assert not north.history.missing and not north.node.awaits_past()
        await same_reads(moved, (ada, bob))


def at_the_move(genesis: Genesis, change: Callable[[list[Value], int], Value]) -> Callable[[list[Value]], Value]:
    return lambda value: change(value, int(genesis.height) - 1)


def another_time(genesis: Genesis) -> bytes:
    return build_block(Header(genesis.height, BlockTime(genesis.created + 1)), ())


async def test_a_peer_that_lies_of_the_past_before_or_at_the_move_is_refused() -> None:
    async with restored() as (_, moved, north, ada, bob):
        genesis = moved.genesis
        lies = {name: LIES[name] for name in ("a member's proof turned", "a passkey's proof turned", "nothing")}
        lies["an old state root turned"] = LIES["a state root turned"]
        lies["the block of the move left out"] = at_the_move(genesis, lambda value, at: value[:at] + value[at + 1 :])
        lies["another time of the move"] = at_the_move(
            genesis, lambda value, at: swap(value, at, 0, another_time(genesis))
        )
        lies["another state at the move"] = at_the_move(
            genesis, lambda value, at: swap(value, at, 1, [turned(leaves_of(value, at)[0])])
        )
        lies["no leaf of the move"] = at_the_move(genesis, lambda value, at: swap(value, at, 1, []))
        lies["the last old block without its leaves"] = at_the_move(
            genesis,
            lambda value, at: swap(value, max(n for n in range(at) if leaves_of(value, n)), 1, []),
        )
        for name, lie in lies.items():
            north.peers.lies = {"south": lie}
            with pytest.raises(NotHistory):
                await north.history.fetch(MemberId("south"))
            assert north.node.awaits_past() and north.node.entry(3) is None, name
            north.staging.wipe()
        await asyncio.wait_for(north.history.complete(every_s=0.01), 90)
        await same_reads(moved, (ada, bob))


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_fetching_that_was_cut_short_at_the_move_goes_on_after_a_restart(more: int) -> None:
    """It ended with the last old block, with the move, or with the first block since."""
    async with restored() as (_, moved, north, ada, bob):
        wanted = int(moved.genesis.height) + more

        def some(value: list[Value]) -> Value:
            if north.staging.blocks.height == wanted:
                raise PeerAway("the line broke")
            return value[: wanted - north.staging.blocks.height]

        north.peers.lies = {"south": some}
        with pytest.raises(PeerAway):
            await north.history.fetch(MemberId("south"))
        assert north.staging.blocks.height == wanted and north.node.awaits_past()
        north.restart()
        north.peers.lies = {}
        await north.history.fetch(MemberId("south"))
        assert not north.node.awaits_past()
        await same_reads(moved, (ada, bob))


@pytest.mark.parametrize("after", [0, 1])
async def test_indexing_that_was_cut_short_at_the_move_is_finished_after_a_restart(
    after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCut(Exception):
        pass

    async with restored() as (_, moved, north, ada, bob):
        true, at = PastIndexes.add, int(moved.genesis.height) + after

        def cut(self: PastIndexes, height: int, *more: Any) -> None:
            if height == at:
                raise PowerCut
            true(self, height, *more)

        with monkeypatch.context() as patch:
            patch.setattr(PastIndexes, "add", cut)
            with pytest.raises(PowerCut):
                await north.history.fetch(MemberId("south"))
        assert north.node.awaits_past()
        north.restart()
        await asyncio.wait_for(north.history.complete(every_s=0.01), 90)
        await same_reads(moved, (ada, bob))


async def test_a_line_is_told_by_the_genesis_file_and_bound_by_its_ids() -> None:
    async with Consortium() as c:
        await c.north.ticks()
        moved = await move(c.engine)
        line = line_of(moved.file)
        old, new = c.engine.genesis, moved.genesis
        assert line.geneses == (old, new)
        assert line.at(0) == line.at(int(new.height) - 1) == old
        assert line.at(int(new.height)) == line.at(int(new.height) + 9) == new
        assert line.moved_at(int(new.height)) == new and line.moved_at(int(new.height) + 1) is None
        for geneses in ((), (new,), (new, old), (old, old)):
            with pytest.raises(LineBroken):
                Line.of(*geneses)


async def test_a_genesis_file_whose_line_is_damaged_or_of_another_ledger_is_refused(tmp_path: Path) -> None:
    """What stands before genesis lies outside its hash: a node says so, and does not take another past for its own."""
    async with Consortium() as c:
        await c.north.ticks()
        moved = await move(c.engine)
        shown = Before.parse(moved.file.before)
        foreign = TrustFile(sign_genesis(demo_genesis(created=BlockTime(START + 5))).to_bytes()).to_bytes()
        file = tmp_path / "genesis.cwg"
        for before in (b"nonsense", replace(shown, trust=b"none").to_bytes(), replace(shown, trust=foreign).to_bytes()):
            damaged = replace(moved.file, before=before)
            with pytest.raises(LineBroken):
                line_of(damaged)
            file.write_bytes(damaged.to_bytes())
            with pytest.raises(BadSettings, match="copy it from another member"):
                read_line(file, moved.genesis)
        with pytest.raises(BadSettings, match="cannot read"):
            read_line(tmp_path / "nowhere", moved.genesis)
        file.write_bytes(moved.file.to_bytes())
        assert read_line(file, moved.genesis) == line_of(moved.file)
        assert read_line(tmp_path / "nowhere", c.engine.genesis).first == c.engine.genesis
