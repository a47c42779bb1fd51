"""A consortium on disk and in processes of its own, driven over pipes (for `bench.submit`)."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import structlog

from commonward.adapters.keys import MemberKeys
from commonward.adapters.solo.follower import Follower
from commonward.adapters.solo.stream import Stream
from commonward.adapters.solo.wire import VERSION, Bundle, Checked, Hello, Message, Sealed
from commonward.apps import sequencer as sequencer_process
from commonward.apps.engines import ChainFiles
from commonward.apps.founding import DEMO, Founded, MemberPlan, found
from commonward.apps.settings import Address, Settings, load
from commonward.apps.wiring import WallClock, contexts, open_keys, read_genesis, tls_resolver
from commonward.ledger.encoding import Digest
from commonward.ledger.ids import Algorithm, LedgerId, Purpose, parse_member_id
from commonward.ledger.merkle.log import MemoryLogStore
from commonward.ledger.proofs import ProofKind, member_proof
from commonward.ledger.transactions import (
    Receipt,
    assemble,
    build_body,
    build_bundle,
    parse_block,
    parse_transaction,
    transaction_digest,
)
from commonward.ledger.transition import Machine, MemoryStore
from commonward.workflows.blocklog import Record
from commonward.workflows.carrying import Carrier
from commonward.workflows.following import FollowingReplica
from commonward.workflows.replica import Replica

SPAWN = get_context("spawn")


def founded(directory: Path, *, tick_ms: int = 1000) -> Founded:
    """The five members of the demo, on free ports of loopback."""
    ports = _free_ports(1 + 2 * len(DEMO))
    members = [
        MemberPlan(
            id=member, name=name, kind=kind, tier=tier,
            listen=Address(host="127.0.0.1", port=ports[1 + 2 * at]),
            signing=Address(host="127.0.0.1", port=ports[2 + 2 * at]),
        )
        for at, (member, name, kind, tier) in enumerate((parse_member_id(each[0]), *each[1:]) for each in DEMO)
    ]  # fmt: skip
    return found(
        directory, members, name="Bench", operator=members[-1].id,
        sequencer=Address(host="127.0.0.1", port=ports[0]), now=WallClock().now(), tables={}, tick_ms=tick_ms,
    )  # fmt: skip


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def signed(keys: MemberKeys, ledger: LedgerId, recent: tuple[int, bytes], first: int, count: int) -> list[bytes]:
    """Receipts by a member's operate key: they change no state, as most transactions of a consortium."""
    _, _, key = keys.public(Purpose.OPERATE)
    raws = []
    expiry = WallClock().now() + 500_000
    for n in range(first, first + count):
        some = Digest(n.to_bytes(32, "big"))
        nonce = n.to_bytes(16, "big")
        body = build_body(ledger, Receipt(some, some, some), nonce, recent, expiry, author=key)
        proof = member_proof(
            Algorithm.EDDSA, key, lambda message: keys.sign(Purpose.OPERATE, message), transaction_digest(body)
        )
        raws.append(assemble(body, ProofKind.MEMBER, proof))
    return raws


class Process:
    """A process that answers commands one at a time."""

    def __init__(self, main: Callable[..., None], *args: object) -> None:
        self._pipe, theirs = SPAWN.Pipe()
        self._process = SPAWN.Process(target=main, args=(theirs, *args), daemon=True)
        self._process.start()
        theirs.close()

    def tell(self, *command: object) -> None:
        self._pipe.send(command)

    def answer(self, patience_s: float = 300) -> Any:
        if not self._pipe.poll(patience_s):
            raise TimeoutError(f"a process of the benchmark did not answer in {patience_s:.0f} s")
        said = self._pipe.recv()
        if isinstance(said, Exception):
            raise said
        return said

    def ask(self, *command: object) -> Any:
        self.tell(*command)
        return self.answer()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def sequencer_main(pipe: Connection, data: str) -> None:
    """The operator's sequencer, as `commonward` starts it."""
    quiet()

    async def run() -> None:
        asyncio.get_running_loop().run_in_executor(None, _answer_cpu, pipe)
        await sequencer_process.run(load(Path(data)))

    asyncio.run(run())


def _answer_cpu(pipe: Connection) -> None:
    """Processor seconds this process has used, whenever asked."""
    with suppress(EOFError, OSError):
        while True:
            pipe.recv()
            pipe.send(time.process_time())


def node_main(pipe: Connection, data: str) -> None:
    """A member's node: replays, cosigns, and submits what it is told to."""
    quiet()
    asyncio.run(_node(pipe, load(Path(data))))


def quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


async def _node(pipe: Connection, settings: Settings) -> None:
    genesis, keys = read_genesis(settings), open_keys(settings)
    files = ChainFiles(settings.ledger_directory)
    replica = FollowingReplica(
        keys=keys, genesis=genesis, store=files.state, log_store=files.tiles, blocks=files.blocks, clock=WallClock(),
        submit_ms=60_000,
    )  # fmt: skip
    _, client = contexts(keys, genesis)
    resolve = tls_resolver(lambda key: replica.key_holder(key, Purpose.TLS))
    address = settings.sequencer
    assert address is not None, "the solo engine has a sequencer"
    follower = Follower(replica, client, resolve, address.host, address.port)
    following = asyncio.create_task(follower.run())
    loop = asyncio.get_running_loop()
    raws: list[bytes] = []
    while True:
        command = await loop.run_in_executor(None, pipe.recv)
        match command:
            case ("ready",):
                while not replica.connected:
                    await asyncio.sleep(0.02)
                pipe.send(True)
            case ("sign", int(first), int(count)):
                raws = signed(keys, replica.ledger_id, replica.recent(), first, count)
                pipe.send(len(raws[0]))
            case ("burst", int(window)):
                pipe.send(await _burst(replica, raws, window))
            case ("lone", int(count)):
                pipe.send(await lone(replica, raws[:count]))
            case ("caught up", int(size)):
                await replica.cosigned(size, 120_000)
                pipe.send(time.time())
            case ("tip",):
                pipe.send(tuple(replica.machine.tip))
            case ("cpu",):
                pipe.send(time.process_time())
            case ("stop",):
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                replica.close()
                files.close()
                pipe.send(True)
                return


async def _burst(replica: FollowingReplica, raws: Sequence[bytes], window: int) -> tuple[float, float, list[float]]:
    """Keep `window` submissions under way. When it began and ended (wall), and how long each took (s)."""
    took: list[float] = []
    waiting = iter(raws)

    async def submitter() -> None:
        for raw in waiting:
            began = time.perf_counter()
            committed = await replica.submit(raw)
            took.append(time.perf_counter() - began)
            assert committed.code == 0

    began = time.time()
    await asyncio.gather(*(submitter() for _ in range(window)))
    return began, time.time(), took


async def lone(replica: Replica, raws: Sequence[bytes]) -> tuple[list[float], list[float]]:
    """One at a time: seconds until in our node's block, and until proven by a quorum."""
    committed_after, proven_after = [], []
    for raw in raws:
        began = time.perf_counter()
        committed = await replica.submit(raw)
        committed_after.append(time.perf_counter() - began)
        await replica.cosigned(committed.index + 1)
        proven_after.append(time.perf_counter() - began)
        await asyncio.sleep(0.01)
    return committed_after, proven_after


# ------------------------------------------------------------------------------------------- a submitter and no node


def submitter_main(pipe: Connection, data: str) -> None:
    """A member's program that submits and does not replay: what the sequencer alone can take."""
    quiet()
    asyncio.run(_submitter(pipe, load(Path(data))))


async def _submitter(pipe: Connection, settings: Settings) -> None:
    genesis, keys = read_genesis(settings), open_keys(settings)
    machine = Machine(genesis, MemoryStore(), MemoryLogStore(), map_bits=8)  # genesis only: the recent root, the keys
    view = machine.view()

    def holder(key: Any) -> Any:
        found = view.roll.key(key)
        return found.member if found is not None else None

    _, client = contexts(keys, genesis)
    _, _, carry = keys.public(Purpose.CARRY)
    began: dict[Digest, float] = {}
    took: list[float] = []
    landed = asyncio.Event()

    def wrap(transactions: Sequence[bytes]) -> bytes:
        return build_bundle(genesis.ledger_id, carry, transactions, lambda digest: keys.sign(Purpose.CARRY, digest))

    def refused(digest: Digest, code: int, text: str) -> None:
        raise AssertionError(f"refused ({code}): {text}")

    carrier = Carrier(wrap, refused)

    def received(stream: Stream, message: Message) -> None:
        match message:
            case Checked(number, refusals, why):
                carrier.checked(number, refusals, why)
            case Sealed(_, record):
                now = time.perf_counter()
                done = []
                for bundle in parse_block(Record.parse(record).block, genesis.ledger_id).bundles:
                    for raw in bundle.transactions:
                        digest = by_raw[raw]
                        took.append(now - began[digest])
                        done.append(digest)
                carrier.landed(done)
                landed.set()

    def opened(stream: Stream) -> None:
        stream.send(Hello(VERSION, genesis.ledger_id, machine.applied.height, b""))
        carrier.connected(lambda number, bundle: stream.send(Bundle(number, bundle)))

    by_raw: dict[bytes, Digest] = {}
    loop = asyncio.get_running_loop()
    while True:
        command = await loop.run_in_executor(None, pipe.recv)
        match command:
            case ("sign", int(first), int(count)):
                raws = signed(keys, genesis.ledger_id, (machine.tip.size, machine.tip.root), first, count)
                by_raw = {raw: parse_transaction(raw).digest for raw in raws}
                pipe.send(len(raws[0]))
            case ("burst", int(window)):
                assert settings.sequencer is not None, "the solo engine has a sequencer"
                await loop.create_connection(
                    lambda: Stream(tls_resolver(holder), opened, received, lambda _, why: None),
                    settings.sequencer.host, settings.sequencer.port, ssl=client, server_hostname="127.0.0.1",
                )  # fmt: skip
                await asyncio.sleep(0.2)
                waiting = iter(raws)
                sent = 0
                start = time.time()
                while len(took) < len(raws):
                    landed.clear()
                    while sent - len(took) < window and (raw := next(waiting, None)) is not None:
                        digest = by_raw[raw]
                        began[digest] = time.perf_counter()
                        carrier.add(digest, raw)
                        sent += 1
                    await landed.wait()
                pipe.send((start, time.time(), took))
            case ("cpu",):
                pipe.send(time.process_time())
