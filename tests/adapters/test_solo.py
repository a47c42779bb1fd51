"""The embedded engine over mutual TLS: five nodes and a sequencer, and what is tried at its door."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from commonward.adapters.solo.follower import Follower
from commonward.adapters.solo.sequencer import Sequencer, SequencerError
from commonward.adapters.solo.server import SequencerServer, ServerLimits
from commonward.adapters.solo.stream import BadContext, Stream
from commonward.adapters.solo.wire import (
    MAX_FRAME,
    VERSION,
    Bundle,
    Checked,
    Cosigned,
    Frames,
    Hello,
    Message,
    Sealed,
    Welcome,
    WireError,
    frame,
    parse,
)
from commonward.adapters.store.blocks import MemoryBlocks
from commonward.ledger.ids import Digest, Height, LedgerId, MemberId, Purpose
from commonward.ledger.refusals import BadSignature, Malformed
from commonward.ledger.transactions import assemble, build_bundle, parse_transaction
from commonward.workflows.following import FollowingReplica
from commonward.workflows.memory import SteppedClock
from tests.ledgerkit import MEMBERS, START, SoftKey, demo_genesis, member_soft_key
from tests.memory_engine import MAP_BITS, Disk, MemoryEngine, SoftKeys
from tests.tls_world import Contexts, TlsWorld
from tests.workflows.test_replica import release

PATIENCE_S = 60.0
"""How long a condition may take on a loaded machine."""
LIMITS = ServerLimits(handshake_s=20, hello_s=1, connections=16, connections_of_member=3)


class World:
    """A sequencer listening, and whatever nodes a test starts."""

    def __init__(self, folder: Path) -> None:
        self.genesis = demo_genesis()
        self.clock = SteppedClock(START + 1000)
        self.tls = TlsWorld(folder)
        self.contexts = {name: self.tls.member(name) for name in MEMBERS}
        self.tls.authority("ca-stranger")
        self.tls.trust(*self.contexts.values(), but="ca-stranger")
        self.disk = Disk()
        self.disks = {name: Disk() for name in MEMBERS}
        self.nodes: dict[str, FollowingReplica] = {}
        self.following: dict[str, asyncio.Task[None]] = {}
        self.signer = MemoryEngine(self.genesis, self.clock)

    async def start(self, port: int = 0) -> None:
        key = member_soft_key("health", Purpose.SEQUENCE)
        self.sequencer = Sequencer(
            genesis=self.genesis, store=self.disk.store, log_store=self.disk.log, blocks=self.disk.blocks,
            clock=self.clock, public=key.public, sign=key.sign, map_bits=MAP_BITS,
        )  # fmt: skip
        self.signer.sequencer = self.sequencer
        self.server = SequencerServer(self.sequencer, self.contexts["health"].server, self.tls.resolve, LIMITS)
        self.port = await self.server.start("127.0.0.1", port)
        self.running = asyncio.create_task(self.sequencer.run())

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        await self.server.stop()
        self.sequencer.close()

    def node(self, name: str) -> FollowingReplica:
        disk = self.disks[name]
        node = self.nodes[name] = FollowingReplica(
            keys=SoftKeys(MemberId(name)), genesis=self.genesis, store=disk.store, log_store=disk.log,
            blocks=disk.blocks, clock=self.clock, submit_ms=60_000, map_bits=MAP_BITS,
        )  # fmt: skip
        follower = Follower(node, self.contexts[name].client, self.tls.resolve, "127.0.0.1", self.port)
        self.following[name] = asyncio.create_task(follower.run())
        return node

    async def all_nodes(self) -> None:
        for name in MEMBERS:
            self.node(name)
        await until(lambda: all(node.connected for node in self.nodes.values()))

    async def end(self) -> None:
        for task in self.following.values():
            task.cancel()
        await asyncio.gather(*self.following.values(), return_exceptions=True)
        await self.stop()
        for node in self.nodes.values():
            node.close()

    def mark(self, n: int) -> bytes:
        return self.signer.sign(release(n), by="north")


async def until(true: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    running = World(tmp_path)
    await running.start()
    yield running
    await running.end()


class Rough:
    """A connection by hand, to say what no node would."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Message] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.why = ""

    async def connect(self, world: World, contexts: Contexts) -> "Rough":
        def closed(stream: Stream, why: str) -> None:
            self.why = why
            self.gone.set()

        _, self.stream = await asyncio.get_running_loop().create_connection(
            lambda: Stream(
                world.tls.resolve, lambda _: None, lambda _, message: self.heard.put_nowait(message), closed
            ),
            "127.0.0.1", world.port, ssl=contexts.client, server_hostname="127.0.0.1",
        )  # fmt: skip
        return self

    async def hello(self, world: World) -> "Rough":
        self.stream.send(Hello(VERSION, world.genesis.ledger_id, Height(0), b""))
        assert isinstance(await self.next(), Welcome)
        return self

    async def next(self) -> Message:
        async with asyncio.timeout(PATIENCE_S):
            return await self.heard.get()

    async def ended(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.gone.wait()


async def rough(world: World, name: str = "north") -> Rough:
    return await Rough().connect(world, world.contexts[name])


# ------------------------------------------------------------------------------------------------------ the whole road


async def test_five_nodes_execute_and_cosign_what_one_submits(world: World) -> None:
    await world.all_nodes()
    committed = await world.nodes["north"].submit(world.mark(1))
    proven = await world.nodes["clinic"].cosigned(committed.index + 2)
    assert len(proven.members) >= 4
    await until(lambda: len({node.machine.tip for node in world.nodes.values()}) == 1)
    assert world.nodes["south"].found(committed.digest) == committed


async def test_nodes_come_back_when_the_sequencer_does(world: World) -> None:
    await world.all_nodes()
    await world.nodes["north"].submit(world.mark(1))
    await world.stop()
    waiting = asyncio.create_task(world.nodes["south"].submit(world.mark(2)))
    await asyncio.sleep(0.1)
    await world.start(world.port)
    committed = await waiting
    assert committed.code == 0 and committed.height == 2
    assert (await world.nodes["south"].cosigned(committed.index + 2)).size == committed.index + 2


async def test_a_node_that_joins_late_catches_up_and_is_told_the_cosignatures(world: World) -> None:
    for name in ("north", "south", "clinic", "shield"):
        world.node(name)
    await until(lambda: all(node.connected for node in world.nodes.values()))
    for n in range(70):
        await world.nodes["north"].submit(world.mark(n))
    late = world.node("health")
    await until(lambda: late.connected)
    tip = world.nodes["north"].machine.tip
    assert late.machine.tip == tip
    assert (await late.cosigned(tip.size)).size == tip.size


async def test_a_transaction_the_sequencer_refuses_does_not_hold_up_others(world: World) -> None:
    """south's clock ran fast: its own node takes what the sequencer finds too far in the future."""
    north = await (await rough(world)).hello(world)
    good, other = world.mark(1), parse_transaction(world.mark(2))
    bad = assemble(other.body_bytes, other.proof_kind, other.proof[:-1] + bytes([other.proof[-1] ^ 1]))
    north.stream.send(Bundle(1, bundle(world, [good, bad])))
    said = await north.next()
    assert isinstance(said, Checked)
    assert said.refusals == ((other.digest, BadSignature.code, said.refusals[0][2]),)
    assert world.sequencer.height == 0
    north.stream.send(Bundle(2, bundle(world, [good])))
    assert await north.next() == Checked(2, ())
    sealed = await north.next()
    assert isinstance(sealed, Sealed) and sealed.height == 1


def bundle(world: World, raws: list[bytes], key: SoftKey | None = None) -> bytes:
    carry = key or member_soft_key("north", Purpose.CARRY)
    return build_bundle(world.genesis.ledger_id, carry.id, raws, carry.sign)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda world: b"\x00" * 40, "not a bundle"),
        (lambda world: bundle(world, [world.mark(1)], member_soft_key("south", Purpose.CARRY)), "brought by north"),
        (lambda world: bundle(world, [world.mark(1)], member_soft_key("north", Purpose.OPERATE)), "no carry key"),
        (lambda world: bundle(world, [world.mark(1)], SoftKey("unheard of")), "no carry key"),
        (lambda world: bundle(world, [world.mark(1)])[:-1] + b"\0", "not signed by its carry key"),
    ],
    ids=["junk", "another member's key", "an operate key", "an unknown key", "a false signature"],
)
async def test_a_bundle_that_is_not_its_carriers_is_refused_whole(
    world: World, made: Callable[[World], bytes], why: str
) -> None:
    north = await (await rough(world)).hello(world)
    north.stream.send(Bundle(7, made(world)))
    said = await north.next()
    assert isinstance(said, Checked) and said.number == 7 and why in said.why
    assert world.sequencer.height == 0 and not world.sequencer.room


async def test_bytes_that_are_no_transaction_are_refused_by_number(world: World) -> None:
    north = await (await rough(world)).hello(world)
    north.stream.send(Bundle(1, bundle(world, [b"\x00"])))
    said = await north.next()
    assert isinstance(said, Checked) and said.refusals[0][1] == Malformed.code


async def test_the_same_transaction_twice_enters_one_block_once(world: World) -> None:
    north, south = await (await rough(world)).hello(world), await (await rough(world, "south")).hello(world)
    raw = world.mark(1)
    north.stream.send(Bundle(1, bundle(world, [raw])))
    assert await north.next() == Checked(1, ())
    await north.next()
    south.stream.send(Bundle(1, bundle(world, [raw], member_soft_key("south", Purpose.CARRY))))
    while not isinstance(said := await south.next(), Checked):
        pass
    assert [code for _, code, _ in said.refusals] == [105]


# -------------------------------------------------------------------------------------------------- tried at the door


async def speaks_before_hello(world: World, wire: Rough) -> None:
    wire.stream.send(Bundle(1, b""))


async def names_another_ledger(world: World, wire: Rough) -> None:
    wire.stream.send(Hello(VERSION, LedgerId(bytes(32)), Height(0), b""))


async def speaks_another_version(world: World, wire: Rough) -> None:
    wire.stream.send(Hello(99, world.genesis.ledger_id, Height(0), b""))


async def says_nothing(world: World, wire: Rough) -> None:
    pass


async def says_junk(world: World, wire: Rough) -> None:
    wire.stream._transport.write(b"\x00\x00\x00\x03abc")


async def announces_a_huge_frame(world: World, wire: Rough) -> None:
    wire.stream._transport.write(b"\x7f\xff\xff\xff")


async def claims_a_height_we_do_not_have(world: World, wire: Rough) -> None:
    wire.stream.send(Hello(VERSION, world.genesis.ledger_id, Height(10**9), b"junk"))


async def cosigns_as_another(world: World, wire: Rough) -> None:
    await wire.hello(world)
    wire.stream.send(Cosigned(MemberId("south"), 1, Digest(bytes(32)), "line\n"))


async def plays_the_sequencer(world: World, wire: Rough) -> None:
    await wire.hello(world)
    wire.stream.send(Sealed(Height(1), b""))


@pytest.mark.parametrize(
    "attack",
    [
        speaks_before_hello,
        names_another_ledger,
        speaks_another_version,
        says_nothing,
        says_junk,
        announces_a_huge_frame,
        claims_a_height_we_do_not_have,
        cosigns_as_another,
        plays_the_sequencer,
    ],
)
async def test_who_speaks_out_of_turn_is_cut_off(
    world: World, attack: Callable[[World, Rough], Awaitable[None]]
) -> None:
    wire = await rough(world)
    await attack(world, wire)
    await wire.ended()
    other = await (await rough(world, "south")).hello(world)
    other.stream.close("done")
    assert not world.running.done()


async def test_a_key_that_the_ledger_does_not_know_is_told_nothing(world: World) -> None:
    unknown = world.tls.member("north", register=False)
    world.tls.trust(unknown)
    wire = await Rough().connect(world, unknown)
    await wire.ended()
    assert wire.heard.empty()


async def test_a_certificate_of_another_authority_or_none_is_not_let_in(world: World) -> None:
    stranger, nobody = world.tls.member("south", under="ca-stranger"), world.tls.context("nobody", None, None)
    world.tls.trust(stranger, nobody)
    for contexts in (stranger, nobody):
        with contextlib.suppress(OSError):
            wire = await Rough().connect(world, contexts)
            await wire.ended()
            assert wire.heard.empty()


async def test_a_node_does_not_follow_a_member_who_is_not_the_operator(world: World) -> None:
    """south listens at the sequencer's address with its own, registered key."""
    impostor = SequencerServer(world.sequencer, world.contexts["south"].server, world.tls.resolve, LIMITS)
    port = await impostor.start("127.0.0.1", 0)
    world.port, true = port, world.port
    node = world.node("north")
    await asyncio.sleep(0.3)
    assert not node.connected
    await impostor.stop()
    world.port = true


async def test_one_member_cannot_take_all_connections(world: World) -> None:
    wires = [await rough(world) for _ in range(5)]
    for wire in wires[3:]:
        await wire.ended()
    assert await (await rough(world, "south")).hello(world)


async def test_a_node_that_does_not_read_holds_up_nobody(world: World) -> None:
    slow = await (await rough(world, "clinic")).hello(world)
    slow.stream.hold()
    north = world.node("north")
    await until(lambda: north.connected)
    for n in range(30):
        assert (await north.submit(world.mark(n))).code == 0


async def test_a_sequencer_whose_log_lost_its_end_signs_no_second_history(world: World) -> None:
    north = world.node("north")
    await until(lambda: north.connected)
    await north.submit(world.mark(1))
    await world.stop()
    world.disk = Disk()  # restored from nothing
    await world.start(world.port)
    with pytest.raises(SequencerError, match="restore the block log"):
        await asyncio.wait_for(asyncio.shield(world.running), 5)
    assert world.sequencer.height == 0


async def test_a_sequencer_refuses_a_state_ahead_of_its_log_and_a_key_not_registered(world: World) -> None:
    north = world.node("north")
    await until(lambda: north.connected)
    await north.submit(world.mark(1))
    key = member_soft_key("health", Purpose.SEQUENCE)
    with pytest.raises(SequencerError, match="lost its end"):
        Sequencer(
            genesis=world.genesis, store=world.disk.store, log_store=world.disk.log, blocks=MemoryBlocks(),
            clock=world.clock, public=key.public, sign=key.sign, map_bits=MAP_BITS,
        )  # fmt: skip
    other = SoftKey("another")
    with pytest.raises(SequencerError, match="not registered"):
        Sequencer(
            genesis=world.genesis, store=Disk().store, log_store=Disk().log, blocks=MemoryBlocks(), clock=world.clock,
            public=other.public, sign=other.sign, map_bits=MAP_BITS,
        )  # fmt: skip


async def test_a_full_disk_stops_the_sequencer_until_there_is_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commonward.adapters.solo.sequencer._AGAIN_S", 0.01)
    north = world.node("north")
    await until(lambda: north.connected)
    world.disk.blocks.fail_next_append()
    assert (await north.submit(world.mark(1))).height == 1


def test_a_loose_tls_context_is_refused() -> None:
    loose = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    loose.minimum_version = ssl.TLSVersion.TLSv1_3
    with pytest.raises(BadContext):
        SequencerServer(None, loose, lambda _: None)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------- frames


MESSAGES: list[Message] = [
    Hello(1, LedgerId(b"\1" * 32), Height(5), b"note"),
    Welcome(Height(9)),
    Bundle(3, b"data"),
    Checked(3, ((Digest(b"\2" * 32), 105, "there already"),), ""),
    Checked(4, (), "junk"),
    Sealed(Height(2), b"record"),
    Cosigned(MemberId("north"), 7, Digest(b"\3" * 32), "line\n"),
]


def test_messages_survive_any_cutting_of_the_stream() -> None:
    stream = b"".join(frame(message) for message in MESSAGES)
    for step in (1, 3, 7, 64, len(stream)):
        frames = Frames()
        found: list[Message] = []
        for at in range(0, len(stream), step):
            found += [parse(body) for body in frames.feed(stream[at : at + step])]
        assert found == MESSAGES


@pytest.mark.parametrize("body", [b"", b"\x80", b"\x81\x09", b"\x83\x03\x01\x01", b"\xff" * 20, b"\x82\x02\x20"])
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        parse(body)


def test_a_frame_is_bounded_both_ways() -> None:
    with pytest.raises(WireError):
        frame(Sealed(Height(1), bytes(MAX_FRAME)))
    with pytest.raises(WireError):
        Frames(100).feed(b"\0\0\0\x65")
