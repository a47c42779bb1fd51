"""What a network of real CometBFT processes survives: nothing that stood is lost or doubled, and all roots are equal.

Members that are false run a node of a kind of their own; all else is real. Killing whole processes and cutting the
network between hosts is in `test_network_processes`.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from commonward.ledger.checkpoint import Checkpoint, check_quorum, cosign, origin_of, parse_note
from commonward.ledger.ids import BlockTime, Digest, MemberId, Purpose
from commonward.ledger.parameters import Parameter
from commonward.ledger.rules import Header
from commonward.ledger.transactions import build_bundle
from commonward.workflows.ports import Committed, LedgerAway
from tests.ledgerkit import SoftKey, member_soft_key
from tests.network.net import FOUR, PATIENCE_MS, Net, Watched, until
from tests.workflows.test_replica import release

NORTH, SOUTH = MemberId("north"), MemberId("south")
THREE = ("clinic", "health", "north")


class Traffic:
    """Marks that members submit all the while, and what became of each."""

    def __init__(self, net: Net, members: Iterable[str], first: int = 1_000_000) -> None:
        self._net = net
        self._members = tuple(members)
        self._number = first
        self.landed: dict[bytes, Committed] = {}
        self._task: asyncio.Task[None] | None = None

    async def one(self, by: str) -> None:
        self._number += 1
        raw = self._net.sign(release(self._number), by=by)
        self.landed[raw] = await self._net.land(raw, by)

    async def more(self, count: int, what: str) -> None:
        """Until so many have landed beyond now."""
        assert self._task is not None
        wanted = len(self.landed) + count
        await until(lambda: len(self.landed) >= wanted or self._task.done(), what)  # type: ignore[union-attr]
        if self._task.done():
            await self._task

    async def _go_on(self) -> None:
        while True:
            await asyncio.gather(*(self.one(by) for by in self._members for _ in range(3)))

    async def __aenter__(self) -> "Traffic":
        self._task = asyncio.create_task(self._go_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        if self._task.done():
            await self._task
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def whole(net: Net, traffic: Traffic, proven: Sequence[bytes] = (), names: Iterable[str] = FOUR) -> None:
    """No committed transaction lost, none doubled, all roots equal, every earlier checkpoint still a beginning."""
    names = tuple(names)
    assert traffic.landed, "nothing landed: the test has shown nothing"
    last = await net.submit(release(9_999_999), by=names[0])
    await net.agree(names, size=last.index + 2)
    assert len(net.roots(names)) == 1
    for name in names:
        node = net.nodes[name].replica
        entries = node.entries(0, 1_000_000)
        accepted = [entry.digest for entry in entries if entry.code == 0]
        assert len(accepted) == len(set(accepted)), f"{name} holds a transaction twice"
        for raw, committed in traffic.landed.items():
            assert committed.code == 0
            assert node.found(committed.digest) == committed
            entry = node.entry(committed.index)
            assert entry is not None and entry.raw == raw
        for note in proven:
            head = parse_note(note)
            assert node.machine.log.root(head.checkpoint.size) == head.checkpoint.root
            check_quorum(head.checkpoint, head.lines, net.nodes[name].replica.authority)


@asynccontextmanager
async def busy(net: Net, members: Iterable[str] = FOUR) -> AsyncIterator[Traffic]:
    async with Traffic(net, members) as traffic:
        await traffic.more(6, "traffic flows")
        yield traffic


async def proven_now(net: Net, name: str) -> bytes:
    node = net.nodes[name].replica
    return (await node.cosigned(node.machine.tip.size, PATIENCE_MS)).note


# ---------------------------------------------------------------------------------------------- halts, restarts


async def test_one_of_four_killed_in_a_block_costs_nothing_and_two_halt_until_they_are_back(tmp_path: Path) -> None:
    async with Net(tmp_path, durable=True) as net:
        async with busy(net, ("clinic", "north")) as traffic:
            before = await proven_now(net, "north")
            await net.crash("south")
            await traffic.more(12, "three of four go on")
        await net.crash("health")
        height = net.nodes["north"].replica.height
        net.nodes["north"].replica._submit_ms = 3_000
        with pytest.raises(LedgerAway):
            await net.nodes["north"].replica.submit(net.sign(release(1), by="north"))
        # Half of the power decides nothing: at most a block that was under way.
        assert net.nodes["north"].replica.height <= height + 1
        net.nodes["north"].replica._submit_ms = PATIENCE_MS
        await net.start("south")
        await net.start("health")
        await net.ready()
        await whole(net, traffic, [before])


async def test_a_storm_of_restarts_loses_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random(4)
    async with Net(tmp_path, durable=True) as net:
        async with busy(net, ("north",)) as traffic:
            before = await proven_now(net, "north")
            for _ in range(6):
                victim = chance.choice(["clinic", "health", "south"])
                if chance.random() < 0.5 and net.nodes[victim].engine.pid is not None:
                    net.kill_comet(victim)
                else:
                    await net.crash(victim)
                    await net.start(victim)
                await asyncio.sleep(chance.random())
            await net.ready()
            await traffic.more(6, "the network goes on after the storm")
        await whole(net, traffic, [before])


async def test_a_full_disk_stops_one_node_with_its_reason_and_the_others_go_on(tmp_path: Path) -> None:
    async with Net(tmp_path) as net:
        async with busy(net, THREE) as traffic:
            net.disk("south").blocks.fail_next_append()  # type: ignore[union-attr]
            await until(lambda: net.nodes["south"].failure is not None, "the full disk shows")
            assert "could not keep a block" in str(net.nodes["south"].failure)
            await traffic.more(9, "three of four go on")
            await net.stop("south")
            await net.start("south")  # there is room again
            await net.ready(["south"])
        await whole(net, traffic)


async def test_a_store_that_failed_after_its_effect_is_found_whole(tmp_path: Path) -> None:
    async with Net(tmp_path) as net:
        async with busy(net, THREE) as traffic:
            net.disk("south").blocks.fail_next_append(but_keep=True)  # type: ignore[union-attr]
            await until(lambda: net.nodes["south"].failure is not None, "the failure shows")
            await net.stop("south")
            await net.start("south")
            await net.ready(["south"])
        await whole(net, traffic)


async def test_a_corrupt_store_is_named_and_what_was_lost_comes_back_from_the_others(tmp_path: Path) -> None:
    from commonward.adapters.store.errors import StoreCorrupt

    async with Net(tmp_path, durable=True) as net:
        async with busy(net, THREE) as traffic:
            before = await proven_now(net, "south")
            await net.crash("south")
            ledger = tmp_path / "south" / "ledger"
            (blocks,) = (ledger / "blocks").glob("blocks-*")
            held = bytearray(blocks.read_bytes())
            held[len(held) // 2] ^= 1
            blocks.write_bytes(held)
            with pytest.raises(StoreCorrupt, match="blocks"):
                await net.start("south")
            net._disks.pop("south", None)
            # As the docs say: the ledger is moved away, and CometBFT brings every block again.
            ledger.rename(tmp_path / "south" / "ledger-damaged")
            await net.start("south")
            await net.ready(["south"])
        await whole(net, traffic, [before])


# ---------------------------------------------------------------------------------------------- false members


class Differs(Watched):
    """Its state holds a cell that no rule put there: a bug, or a lie, from the next block with transactions on."""

    def _mount(self, *stores: Any) -> None:
        super()._mount(*stores)
        seal = self._machine._seal

        def poisoned(header: Header, state: Any, *rest: Any) -> Any:
            if header.height > 8:
                state.put(b"poison", b"1")
            return seal(header, state, *rest)

        self._machine._seal = poisoned  # type: ignore[assignment,method-assign]


async def test_a_validator_that_computes_another_root_is_named_and_followed_by_nobody(tmp_path: Path) -> None:
    net = Net(tmp_path)
    net.kinds["south"] = Differs
    async with net:
        async with busy(net, THREE) as traffic:
            accusers = [net.nodes[name].replica for name in THREE]
            await until(lambda: any(SOUTH in node.accused for node in accusers), "an honest node names south")
            fault = next(node.accused[SOUTH] for node in accusers if SOUTH in node.accused)
            assert "south cosigned root" in str(fault) and fault.theirs != fault.ours
            await traffic.more(9, "three of four go on")
        await whole(net, traffic, names=THREE)


async def test_a_cosigner_of_two_roots_loses_weight_and_place(tmp_path: Path) -> None:
    async with Net(tmp_path) as net:
        async with busy(net, THREE) as traffic:
            node = net.nodes["north"].replica
            key = member_soft_key("south", Purpose.COSIGN)

            def lie() -> bool:
                """South's key signs another root for the latest size; heard beside its true line, that proves it."""
                size = node.machine.tip.size
                head = Checkpoint(origin_of(node.ledger_id), size, Digest(bytes(32)))
                line = cosign(head, SOUTH, key.public, BlockTime(net.clocks["north"].now()), key.sign)
                node.hear(SOUTH, size, head.root, line.to_text())
                return bool(node.accusations())

            await until(lie, "both lines of south are heard")
            (proof,) = node.accusations()
            shown = await net.submit(proof, by="north")
            assert shown.code == 0
            await until(lambda: net.nodes["north"].engine.status().power == 10, "CometBFT answers")
            await until(lambda: net.nodes["south"].engine.status().power == 0, "south validates no more")
            assert {each.member for each in node.validators()} == set(THREE)
        await whole(net, traffic)


async def test_a_validator_that_signs_twice_loses_its_weight_on_cometbfts_own_proof(tmp_path: Path) -> None:
    """A second machine runs with south's validator key, under shield's node key: both propose and vote."""
    async with Net(tmp_path) as net:
        async with busy(net, THREE) as traffic:
            south, shield = (
                member_soft_key("south", Purpose.VALIDATE).seed,
                member_soft_key("shield", Purpose.NODE).seed,
            )
            await net.start("shield", seed=lambda purpose: south if purpose is Purpose.VALIDATE else shield)
            view = net.nodes["north"].replica.machine.view
            await until(lambda: view().roll.must("south").weight == 0, "the proof stands in a block")
            await net.stop("shield")
            await traffic.more(9, "the three others go on")
        assert {each.member for each in net.nodes["north"].replica.validators()} == set(THREE)
        await whole(net, traffic)


class Repeats(Watched):
    """Proposes every bundle that it ever saw, at its carriers' cost."""

    def __init__(self, **arguments: Any) -> None:
        self.seen: dict[bytes, None] = {}
        self.tried = 0
        super().__init__(**arguments)

    async def check(self, bundle: bytes, *, again: bool = False) -> Any:
        self.seen[bundle] = None
        return await super().check(bundle, again=again)

    def propose(
        self, header: Header, waiting: Sequence[bytes], room: int, misbehaved: Sequence[bytes] = ()
    ) -> list[bytes]:
        self.tried += 1
        return list(self.seen)[-50:]


class Forges(Watched):
    """Proposes bundles under another member's name, and transactions whose proof it broke."""

    def __init__(self, **arguments: Any) -> None:
        self.tried = 0
        super().__init__(**arguments)

    def propose(
        self, header: Header, waiting: Sequence[bytes], room: int, misbehaved: Sequence[bytes] = ()
    ) -> list[bytes]:
        self.tried += 1
        key = member_soft_key("north", Purpose.CARRY)
        return [build_bundle(self.ledger_id, key.id, [b"\x80"], SoftKey("not north's").sign)]


class Reorders(Watched):
    """Turns the order about and puts a broken copy of another's first transaction in front, under its own name."""

    def __init__(self, **arguments: Any) -> None:
        self.tried = 0
        super().__init__(**arguments)

    def propose(
        self, header: Header, waiting: Sequence[bytes], room: int, misbehaved: Sequence[bytes] = ()
    ) -> list[bytes]:
        self.tried += 1
        chosen = super().propose(header, waiting, room, misbehaved)[::-1]
        if not chosen:
            return chosen
        raw = self._raws_of(chosen[0])[0]
        broken = raw[:-1] + bytes((raw[-1] ^ 1,))
        return [self._wrap([broken]), *chosen]


@pytest.mark.parametrize("kind", [Repeats, Forges, Reorders])
async def test_a_false_proposer_costs_a_round_and_nobody_anything_else(tmp_path: Path, kind: type[Any]) -> None:
    net = Net(tmp_path)
    net.kinds["south"] = kind
    async with net:
        async with busy(net, THREE) as traffic:
            before = await proven_now(net, "north")
            await until(lambda: net.nodes["south"].replica.tried >= 2, "south has its turns")  # type: ignore[attr-defined]
            await traffic.more(9, "the network goes on")
        await whole(net, traffic, [before])
        refused = [each for each in net.nodes["north"].replica.entries(0, 1_000_000) if each.code]
        # What south broke in others' names burnt nothing, and stands, if at all, as carried by south.
        assert all(each.member is None for each in refused)


async def test_a_member_that_floods_does_not_keep_another_waiting(tmp_path: Path) -> None:
    # One full bundle of a member a block: the flood needs twelve blocks, the others one.
    async with Net(tmp_path, parameters={Parameter.QUOTA_TRANSACTIONS: 300}) as net:
        flood = [net.sign(release(2_000_000 + n), by="south") for n in range(3_000)]
        south = net.nodes["south"].replica
        flooding = [asyncio.create_task(south.submit(raw)) for raw in flood]
        await until(lambda: any(task.done() for task in flooding), "the flood has begun")
        traffic = Traffic(net, THREE)
        await asyncio.gather(*(traffic.one(name) for name in THREE))
        assert not all(task.done() for task in flooding), "the flood was over before the others asked"
        done = await asyncio.gather(*flooding)
        assert {each.code for each in done} == {0}
        await whole(net, traffic)


# ---------------------------------------------------------------------------------------------- clocks


@pytest.mark.parametrize("off_ms", [-120_000, 120_000])
async def test_a_nodes_wrong_clock_harms_its_own_cosignatures_alone(tmp_path: Path, off_ms: int) -> None:
    net = Net(tmp_path)
    net.clocks["south"].off_ms = off_ms
    async with net:
        async with busy(net, THREE) as traffic:
            node = net.nodes["north"].replica
            proven = await node.cosigned(node.machine.tip.size, PATIENCE_MS)
            assert set(proven.members) == set(THREE)
            assert abs(proven.fresh - net.clocks["north"].now()) < 30_000
            net.clocks["south"].off_ms = 0  # somebody set it right

            async def south_counts() -> bool:
                size = node.machine.tip.size
                return "south" in (await node.cosigned(size, PATIENCE_MS)).members

            await until(south_counts, "south's cosignatures count again")
        await whole(net, traffic)
