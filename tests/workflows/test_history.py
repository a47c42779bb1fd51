"""A member who joined by a snapshot fetches what came before, believes it for the log's root, and is then whole."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from commonward.adapters.store.blocks import BlockFiles, MemoryBlocks
from commonward.adapters.store.history import HistoryFiles
from commonward.adapters.store.state import MemoryStore
from commonward.ledger.consent import Assurance, Consent, Enrol, Withdraw
from commonward.ledger.encoding import Value, decode, encode
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import BlockTime, ConsentId, Handle, Height, LedgerId, MemberId, ProposalId, Purpose, Tag
from commonward.ledger.members import Propose, SetWeight, Vote
from commonward.ledger.merkle.log import MemoryLogStore
from commonward.ledger.proofs import ProofKind
from commonward.ledger.refusals import Refusal
from commonward.ledger.transactions import AnchorBatch, Payload, parse_block, parse_transaction
from commonward.ledger.transition import FORGET_AFTER
from commonward.ledger.window import burns
from commonward.records.line import Line
from commonward.workflows.agreeing import AgreeingReplica
from commonward.workflows.history import HISTORY_PATH, History, HistoryDesk, NotHistory
from commonward.workflows.past import PastIndexes
from commonward.workflows.past_authority import AUTHORITY_PATH, changes_to_bytes, read_changes
from commonward.workflows.past_proofs import PastProofs
from commonward.workflows.ports import PeerAway
from commonward.workflows.snapshots import ChunkAnswer, SnapshotStore
from tests.agreeing_world import AgreeingWorld
from tests.ledgerkit import SoftKey, SoftPasskey, commitment, handle_of
from tests.memory_engine import MAP_BITS, SoftKeys
from tests.snapshotkit import MemoryGround, MemoryShelf, a_release

DAY = 86_400_000
PATIENTS = ("ann", "bob", "cy")
Lie = Callable[[list[Value]], Value]


async def until(done: Callable[[], bool]) -> None:
    """Waits for what runs beside; a minute is far more than it takes."""
    async with asyncio.timeout(60):
        while not done():
            await asyncio.sleep(0.01)


@dataclass
class MemoryStaging:
    blocks: MemoryBlocks = field(default_factory=MemoryBlocks)
    leaves: MemoryBlocks = field(default_factory=MemoryBlocks)
    tiles: MemoryLogStore = field(default_factory=MemoryLogStore)
    keys: MemoryStore = field(default_factory=MemoryStore)

    def wipe(self) -> None:
        self.blocks, self.leaves, self.tiles = MemoryBlocks(), MemoryBlocks(), MemoryLogStore()
        self.keys = MemoryStore()

    done = wipe

    def close(self) -> None:
        """Nothing to let go of."""


class Asked:
    """Implements `Peers` over the others' desks. `lies`: what a member makes of its answers."""

    def __init__(self, world: "Story") -> None:
        self.world = world
        self.lies: dict[str, Lie] = {}
        self.away: set[str] = set()
        self.altered: Callable[[bytes], bytes] = lambda data: data
        self.asked: list[str] = []

    async def ask(self, member: MemberId, path: str, body: bytes) -> bytes:
        self.asked.append(member)
        if member in self.away or member not in self.world.nodes:
            raise PeerAway(member)
        if path == AUTHORITY_PATH:
            said = await HistoryDesk(self.world.nodes[member]).answer_authority(MemberId("shield"), body)
            return self.altered(said)
        assert path == HISTORY_PATH
        said = await HistoryDesk(self.world.nodes[member]).answer(MemberId("shield"), body)
        lie = self.lies.get(member)
        if lie is None:
            return said
        value = decode(said)
        assert isinstance(value, list)
        return encode(lie(value))


class Story(AgreeingWorld):
    """Patients consent and withdraw, members anchor, release and register keys; then shield joins."""

    def __init__(self) -> None:
        super().__init__()
        self.north = MemoryStore()
        self.disks["north"].store = self.north  # type: ignore[assignment]
        self.numbers = 0
        self.later: list[tuple[Payload, SoftPasskey]] = []

    async def land(self, *signed: tuple[Payload, "str | SoftPasskey | SoftKey"], copies: int = 1) -> None:
        node = self.nodes["north"]
        expiry = max(self.clock.now(), node.tip_time()) + 60_000
        raws = [self.kit.sign(each, by=by, recent=node.recent(), expiry=expiry) for each, by in signed]
        header = self.header()
        await self.decide(header, [self.bundle(raws, "north")] * copies)

    def consent(self, name: str, number: int) -> Consent:
        end = BlockTime((self.clock.now() // DAY + 30) * DAY)
        return Consent(
            ConsentId(commitment(name, number)[:16]), handle_of(name), Assurance.PASSKEY, end, commitment("rules"),
            commitment("recipients"), commitment("form"), False,
        )  # fmt: skip

    async def tell(self) -> None:
        for number in range(5):  # so that the log has tiles from before the snapshot's window
            await self.decide(self.header(), [self.bundle([b"%d %d" % (number, n) for n in range(70)], "clinic")])
        ledger, spare = self.genesis.ledger_id, SoftKey("a second key of south")
        for name in PATIENTS:
            passkey = SoftPasskey(name)
            enrol = Enrol(handle_of(name), passkey.enrolled(ledger, handle_of(name)), passkey.sealing, commitment(name))
            await self.land((enrol, "north"))
            given = [self.consent(name, number) for number in range(3)]
            await self.land(*((each, passkey) for each in given))
            await self.land((Withdraw(given[1].id, commitment("why")), passkey))
            self.later.append((Withdraw(given[2].id, commitment("later")), passkey))
        starts = self.clock.now()
        added = spare.add(ledger, "south", Purpose.OPERATE, starts, starts + DAY)
        await self.land((added, "south"))
        for weight in (9, 8):
            asked = Propose(
                ProposalId(commitment("weight", weight)[:16]), SetWeight(MemberId("south"), weight),
                BlockTime(self.clock.now() + DAY // 24), commitment("grounds"),
            )  # fmt: skip
            await self.land((asked, "north"))
            for voter in ("clinic", "health", "north", "south"):
                await self.land((Vote(asked.proposal, True), voter))
        await until(lambda: len([each for each in self.nodes["north"].authority_changes() if each.note]) == 2)
        self.clock.move(FORGET_AFTER)
        for number in range(8):
            tick = (self.clock.now() + 500) // 1000
            await self.land(
                (AnchorBatch(tick, commitment(number)), "clinic"),
                (a_release(number), spare),
                (a_release(number), "north"),
                copies=1 + number % 2,
            )
            await self.decide(self.header(), [])

    async def giver(self) -> SnapshotStore:
        disk = self.disks["north"]
        giver = SnapshotStore(
            genesis=self.genesis, state=self.north, log_store=disk.log, flush=self.nodes["north"].flush,
            shelf=MemoryShelf(), ground=MemoryGround(), adopt=_never, every=1, map_bits=MAP_BITS,
        )  # fmt: skip
        await giver.committed(self.nodes["north"].height)
        await giver.made()
        return giver


async def _never(_manifest: object) -> None:
    raise AssertionError("a giver takes no snapshot")


class Shield:
    """Has joined by a snapshot; `files` keeps what it fetches."""

    def __init__(self, world: Story, ground: MemoryGround) -> None:
        stores = ground.completed
        assert stores is not None
        self.world, self.stores, self.staging, self.peers = world, stores, MemoryStaging(), Asked(world)
        self.open()

    def open(self) -> None:
        world, stores = self.world, self.stores
        self.node = AgreeingReplica(
            keys=SoftKeys(MemberId("shield")), genesis=world.genesis, store=stores.state, log_store=stores.tiles,
            blocks=stores.blocks, clock=world.clock, submit_ms=5000, map_bits=MAP_BITS,
        )  # fmt: skip
        world.nodes["shield"] = self.node
        world.waiting["shield"] = {}
        self.history = History(
            replica=self.node, stores=lambda: (stores.blocks, stores.tiles), staging=self.staging,
            line=Line.of(world.genesis), peers=self.peers,
        )  # fmt: skip

    def restart(self) -> None:
        self.world.stop("shield")
        self.open()


async def joined(world: Story) -> Shield:
    world.stop("shield")
    await world.tell()
    ground, giver = MemoryGround(), await world.giver()
    joiner = SnapshotStore(
        genesis=world.genesis, state=MemoryStore(), log_store=MemoryLogStore(), flush=lambda: None, shelf=MemoryShelf(),
        ground=ground, adopt=_adopted, every=0, map_bits=MAP_BITS,
    )  # fmt: skip
    offered = giver.offers()[-1]
    joiner.offer(offered, world.nodes["north"].info()[1])
    for index in range(offered.chunks):
        done = await joiner.apply(index, giver.chunk(offered.height, offered.format, index), "north")
        assert done.answer == ChunkAnswer.ACCEPT
    giver.close()
    joiner.close()
    return Shield(world, ground)


async def _adopted(_manifest: object) -> None:
    """The stores are opened by hand."""


async def live_on(world: Story) -> None:
    """What happens between the snapshot and the day when the history is there."""
    for withdraw, passkey in world.later:
        await world.land((withdraw, passkey), (world.consent(passkey.name, 9), passkey))
    await world.land((a_release("since"), "north"))


def same_reads(world: Story) -> None:
    """Whatever can be asked of a node, shield answers as north does."""
    north, shield = world.nodes["north"], world.nodes["shield"]
    size = north.recent()[0]
    assert size == shield.recent()[0]
    for index in range(size):
        assert shield.entry(index) == north.entry(index), index
        assert index == 0 or shield.leaf(index) == north.leaf(index)
        assert shield.prove_inclusion(index, size) == north.prove_inclusion(index, size)
    for entry in north.entries(0, size):
        assert shield.found(entry.digest) == north.found(entry.digest)
    for name in PATIENTS:
        assert len(north.consents_of(handle_of(name))) == 6
        assert shield.consents_of(handle_of(name)) == north.consents_of(handle_of(name))
    for number in (*range(8), "since"):
        for member in ("south", "north"):
            tag = Tag(commitment("tag", number))
            assert shield.mark(tag, MemberId(member)) == north.mark(tag, MemberId(member))
    assert len(north.authority_changes()) == 2
    assert shield.authority_changes() == north.authority_changes()
    for height in range(1, north.height + 1):
        assert shield.block(height) == north.block(height)
    ticks = [entry for entry in north.entries(0, size, [AnchorBatch.KIND]) if entry.code == 0]
    assert len(ticks) == 8


async def test_a_joiner_finds_what_came_before_once_it_has_the_history() -> None:
    async with Story() as world:
        shield = await joined(world)
        assert shield.history.missing
        assert shield.node.consents_of(Handle(handle_of("ann"))) == []
        await live_on(world)
        await shield.history.complete()
        assert not shield.history.missing and shield.staging.blocks.height == 0
        same_reads(world)
        shield.restart()
        assert not shield.history.missing
        same_reads(world)
        await world.land((a_release("at last"), "north"))
        assert len(world.roots()) == 1


async def test_a_withdrawal_after_the_snapshot_is_found_even_before_the_history_is() -> None:
    async with Story() as world:
        shield = await joined(world)
        await live_on(world)
        found = shield.node.consents_of(handle_of("ann"))
        assert [entry.kind for entry in found] == [Withdraw.KIND, Consent.KIND]


async def test_who_has_fetched_the_history_can_give_it() -> None:
    async with Story() as world:
        shield = await joined(world)
        await shield.history.complete()
        asked = encode([1])
        ours = await HistoryDesk(world.nodes["shield"]).answer(MemberId("south"), asked)
        assert ours == await HistoryDesk(world.nodes["north"]).answer(MemberId("south"), asked)


async def test_who_has_no_history_answers_that_it_has_none() -> None:
    async with Story() as world:
        await joined(world)
        assert await HistoryDesk(world.nodes["shield"]).answer(MemberId("south"), encode([1])) == encode([])
        with pytest.raises(NotHistory):
            await HistoryDesk(world.nodes["shield"]).answer(MemberId("south"), encode([0]))


def swap(value: list[Value], at: int, part: int, to: Value) -> list[Value]:
    block = value[at]
    assert isinstance(block, list)
    return [*value[:at], [*block[:part], to, *block[part + 1 :]], *value[at + 1 :]]


def leaves_of(value: list[Value], at: int) -> list[Value]:
    block = value[at]
    assert isinstance(block, list) and isinstance(block[1], list)
    return block[1]


def turned(data: Value) -> bytes:
    assert isinstance(data, bytes)
    return data[:-1] + bytes((data[-1] ^ 1,))


def reproved(kind: int) -> Lie:
    """Turns a bit of the first proof of this kind, which no leaf commits to."""

    def lie(value: list[Value]) -> list[Value]:
        for at, each in enumerate(value):
            assert isinstance(each, list) and isinstance(each[0], bytes)
            for raw in [
                raw for bundle in parse_block(each[0], LedgerId(bytes(32))).bundles for raw in bundle.transactions
            ]:
                with suppress(Refusal):
                    if parse_transaction(raw).proof_kind == kind and leaves_of(value, at):
                        return swap(value, at, 0, each[0].replace(raw, turned(raw)))
        raise AssertionError("no such proof")

    return lie


LIES: dict[str, Lie] = {
    "a member's proof turned": reproved(ProofKind.MEMBER),
    "a passkey's proof turned": reproved(ProofKind.PASSKEY),
    "nothing": lambda value: [],
    "not an array": lambda value: b"",
    "a form of its own": lambda value: [[1, 2]],
    "one block left out": lambda value: value[1:],
    "two blocks swapped": lambda value: [value[1], value[0], *value[2:]],
    "an outcome code turned": lambda value: swap(
        value, 0, 1, [turned(leaves_of(value, 0)[0]), *leaves_of(value, 0)[1:]]
    ),
    "a state root turned": lambda value: swap(
        value, 0, 1, [*leaves_of(value, 0)[:-1], turned(leaves_of(value, 0)[-1])]
    ),
    "a leaf left out": lambda value: swap(value, 1, 1, leaves_of(value, 1)[1:]),
    "a leaf doubled": lambda value: swap(value, 1, 1, [leaves_of(value, 1)[0], *leaves_of(value, 1)]),
    "leaves that are none": lambda value: swap(value, 1, 1, [b"\x00", *leaves_of(value, 1)[1:]]),
    "transactions of another block": lambda value: swap(
        value, 1, 0, value[2][0] if isinstance(value[2], list) else b""
    ),
    "a block that is none": lambda value: swap(value, 1, 0, b"nonsense"),
    "leaves that are no bytes": lambda value: swap(value, 1, 1, [1]),
}


async def test_a_member_who_lies_about_the_past_is_refused_and_the_next_is_asked() -> None:
    async with Story() as world:
        shield = await joined(world)
        for name, lie in LIES.items():
            shield.peers.lies = {"clinic": lie}
            with pytest.raises(NotHistory):
                await shield.history.fetch(MemberId("clinic"))
            assert shield.history.missing and shield.node.entry(5) is None, name
            shield.staging.wipe()
        shield.peers.away = {"health"}
        await asyncio.wait_for(shield.history.complete(every_s=0.01), 60)
        assert shield.peers.asked[-1] == "north"
        await live_on(world)
        same_reads(world)


async def test_changes_of_authority_that_are_not_proven_are_refused() -> None:
    async with Story() as world:
        shield = await joined(world)
        true = await HistoryDesk(world.nodes["north"]).answer_authority(MemberId("shield"), b"")
        first, second = read_changes(true)
        bad = {
            "gap": [second],
            "order": [second, first],
            "one too few": [first],
            "none": [],
            "height": [replace(first, height=Height(first.height + 1)), second],
            "root": [replace(first, state_root=commitment("root")), second],
            "value": [replace(first, authority=second.authority), second],
            "proof": [replace(first, proof=second.proof), second],
            "size": [replace(first, size=first.size + 1), second],
            "note of nobody": [replace(first, note=first.note[: first.note.index(b"\n\n") + 2]), second],
            "note of another": [replace(first, note=b"nonsense"), second],
        }
        for name, changes in bad.items():
            shield.peers.altered = lambda _, changes=changes: changes_to_bytes(changes)  # type: ignore[misc]
            with pytest.raises(NotHistory):
                await shield.history.fetch(MemberId("clinic"))
            assert shield.node.authority_changes() == [], name
        for junk in (b"", b"\xff", encode(7), encode([[1]])):
            shield.peers.altered = lambda _, junk=junk: junk  # type: ignore[misc]
            with pytest.raises(NotHistory):
                await shield.history.fetch(MemberId("clinic"))
        shield.peers.altered = lambda data: data
        await asyncio.wait_for(shield.history.complete(every_s=0.01), 60)
        await live_on(world)
        same_reads(world)


@pytest.mark.parametrize("after", [0, 2])
async def test_fetching_that_was_cut_short_goes_on_after_a_restart(after: int) -> None:
    async with Story() as world:
        shield = await joined(world)
        count = 0

        def few(value: list[Value]) -> Value:
            nonlocal count
            count += 1
            if count == after + 2:
                raise PeerAway("the line broke")
            return value[:4]

        shield.peers.lies = {"clinic": few}
        with pytest.raises(PeerAway):
            await shield.history.fetch(MemberId("clinic"))
        assert shield.staging.blocks.height == 4 * (after + 1)
        shield.restart()
        shield.peers.lies = {}
        await shield.history.fetch(MemberId("clinic"))
        await live_on(world)
        same_reads(world)


@pytest.mark.parametrize("step", ["join", "fill", "whole", "add"])
async def test_adopting_that_was_cut_short_at_any_step_is_finished_after_a_restart(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCut(Exception):
        pass

    calls = 0

    def cut(*arguments: object, **more: object) -> None:
        nonlocal calls
        calls += 1
        if step != "add" or calls == 5:
            raise PowerCut
        true(*arguments, **more)

    async with Story() as world:
        shield = await joined(world)
        await live_on(world)
        where = {"join": MemoryBlocks, "fill": MemoryLogStore, "whole": MemoryLogStore, "add": PastIndexes}[step]
        true = getattr(where, step)
        with monkeypatch.context() as patch:
            patch.setattr(where, step, cut)
            with pytest.raises(PowerCut):
                await shield.history.fetch(MemberId("clinic"))
        shield.restart()
        await asyncio.wait_for(shield.history.complete(every_s=0.01), 60)
        same_reads(world)


async def test_history_over_real_files_is_joined_and_kept(tmp_path: Path) -> None:
    async with Story() as world:
        shield = await joined(world)
        files, blocks = HistoryFiles(tmp_path / "history"), BlockFiles(tmp_path / "blocks")
        blocks.begin(shield.stores.blocks.first)
        shield.stores.blocks = blocks  # type: ignore[assignment]
        shield.staging = files  # type: ignore[assignment]
        shield.restart()
        await live_on(world)
        await shield.history.complete()
        same_reads(world)
        assert not (tmp_path / "history").exists()
        blocks.close()
        shield.stores.blocks = BlockFiles(tmp_path / "blocks")  # type: ignore[assignment]
        shield.restart()
        same_reads(world)
        shield.stores.blocks.close()


def test_everything_that_ever_counted_is_found_proven_by_its_author() -> None:
    """All the stories of the vectors: every kind of transaction, every refusal, keys and passkeys that come and go."""
    found = json.loads((Path(__file__).parents[1] / "vectors" / "refusals.json").read_text())
    genesis, counted = Genesis.parse(bytes.fromhex(found["genesis"])), 0
    for story in found["stories"]:
        proofs = PastProofs(genesis, MemoryStore())
        for each in story["blocks"]:
            block = parse_block(bytes.fromhex(each["block"]), genesis.ledger_id)
            raws = [raw for bundle in block.bundles for raw in bundle.transactions]
            for raw, code in zip(raws, each["codes"], strict=True):
                with suppress(Refusal):
                    tx = parse_transaction(raw)
                    proofs.take(tx, code)
                    counted += burns(code)
            proofs.keep()
    assert counted > 100
