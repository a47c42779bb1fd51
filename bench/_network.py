"""A validator in a process of its own: CometBFT as its child, a member's replica over real stores, driven over a pipe.

As a member's node runs them: keys and settings from its folder, RocksDB, tiles and block log synced, cosignatures over
mutual TLS, transactions signed and submitted by the member itself while the clock runs. Only the vault, patients and
the member's pages are left out.
"""

import asyncio
import itertools
import os
import socket
import time
from array import array
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from bench._consortium import quiet
from commonward.adapters.cometbft.engine import CometEngine
from commonward.adapters.cometbft.home import Tuning
from commonward.adapters.cometbft.rpc import Rpc, RpcAway
from commonward.adapters.keys import MemberKeys
from commonward.adapters.peers import PeerClient, PeerRefused, PeerServer
from commonward.apps.engines import ChainFiles
from commonward.apps.founding import Founded, found
from commonward.apps.memory import keep_loaded
from commonward.apps.planning import DEMO, NOBODY, MemberPlan
from commonward.apps.settings import Address, Settings, load
from commonward.apps.wiring import WallClock, contexts, open_keys, read_genesis, tls_resolver
from commonward.ledger.encoding import Digest
from commonward.ledger.ids import Algorithm, MemberId, Purpose, Tag, parse_member_id
from commonward.ledger.proofs import ProofKind, member_proof
from commonward.ledger.registry import PublicType
from commonward.ledger.transactions import (
    AnchorBatch,
    AnchorPublic,
    Payload,
    Receipt,
    Release,
    assemble,
    build_body,
    build_bundle,
    transaction_digest,
)
from commonward.workflows.agreeing import AgreeingReplica
from commonward.workflows.carrying import CONSENSUS_PACE_S
from commonward.workflows.exchange import COSIGNED_PATH, CosignExchange
from commonward.workflows.ports import LedgerAway
from commonward.workflows.replica import Executed

__all__ = ["FOLLOWER", "TICK_MS", "Load", "Window", "founded_network", "free_ports", "validator_main"]

TICK_MS = 100
FOLLOWER = "insurer"
_QUIET_S = 0.004

_SINGLES = 96
"""Bundles of one that a node hands to CometBFT's RPC at once."""


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def founded_network(directory: Path) -> Founded:
    """The demo's five on free ports of loopback: four validators of equal weight, and the insurer, who follows."""
    ports = free_ports(3 * len(DEMO))
    members = []
    for place, (name, title, kind, tier) in enumerate(DEMO):
        addresses = (Address(host="127.0.0.1", port=port) for port in ports[3 * place : 3 * place + 3])
        listen, signing, p2p = addresses
        members.append(
            MemberPlan(
                id=parse_member_id(name), name=title, kind=kind, tier=tier, listen=listen, signing=signing, p2p=p2p,
                weight=0 if name == FOLLOWER else 1,
            )
        )  # fmt: skip
    return found(
        directory, members, name="Bench", operator=NOBODY, sequencer=None, now=WallClock().now(), tables={},
        tick_ms=TICK_MS,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one node submits. `window`: at most so many under way. `rate`: so many a second are begun, 0 for as many as
    the window lets. `kind`: receipt (about 350 bytes), public (1,000 bytes), anchor, or single: a receipt in a bundle
    of its own. For `seconds`; those still under way then are waited for."""

    kind: str
    window: int
    seconds: float
    rate: float = 0.0


class Window(NamedTuple):
    """What came of a load at one node: wall times (s) when each was begun and when it stood in a block executed here,
    as arrays of doubles; sizes; processor seconds of this process and of its CometBFT."""

    begun: bytes
    ended: bytes
    size: int
    own_cpu: float
    comet_cpu: float
    failed: int

    def spans(self) -> Iterator[tuple[float, float]]:
        return zip(array("d", self.begun), array("d", self.ended), strict=True)


def comet_cpu(pid: int | None) -> float:
    """Processor seconds of a process so far; 0 when it is not there."""
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


class Signing:
    """Makes this member's transactions, each signed when it is asked for."""

    def __init__(self, keys: MemberKeys, replica: AgreeingReplica, publishes: PublicType | None) -> None:
        self._keys = keys
        self._replica = replica
        _, _, self._key = keys.public(Purpose.OPERATE)
        self._publishes = publishes
        self._number = itertools.count(time.time_ns())
        self._tick = 0

    def one(self, kind: str) -> bytes:
        number = next(self._number)
        some = Digest(number.to_bytes(32, "big"))
        payload: Payload
        if kind == "public":
            payload = AnchorPublic(self._publishes or PublicType.BULLETIN, number.to_bytes(32, "big") * 23 + bytes(16))
        elif kind == "anchor":
            self._tick = max(self._tick + 1, WallClock().now() // TICK_MS - 400)
            payload = AnchorBatch(self._tick, some)
        elif kind == "release":
            payload = Release(Tag(some), some, some, some, some, some, some)
        else:
            payload = Receipt(some, some, some)
        body = build_body(
            self._replica.ledger_id, payload, number.to_bytes(16, "big"), self._replica.recent(),
            max(WallClock().now(), self._replica.tip_time()) + 300_000, author=self._key,
        )  # fmt: skip
        proof = member_proof(
            Algorithm.EDDSA, self._key, lambda message: self._keys.sign(Purpose.OPERATE, message),
            transaction_digest(body),
        )  # fmt: skip
        return assemble(body, ProofKind.MEMBER, proof)


class Validator:
    """One member's node for the benchmark. Names of methods are the commands."""

    def __init__(self, settings: Settings, tuning: Tuning) -> None:
        genesis, keys = read_genesis(settings), open_keys(settings)
        self.genesis, self.keys = genesis, keys
        self.files = ChainFiles(settings.ledger_directory)
        self.replica = AgreeingReplica(
            keys=keys, genesis=genesis, store=self.files.state, log_store=self.files.tiles, blocks=self.files.blocks,
            clock=WallClock(), submit_ms=60_000, pace_s=CONSENSUS_PACE_S,
        )  # fmt: skip
        server, client = contexts(keys, genesis)
        resolve = tls_resolver(lambda key: self.replica.key_holder(key, Purpose.TLS))
        addresses = {MemberId(name): (each.host, each.port) for name, each in settings.peers.items()}
        self.peers = PeerClient(keys.member, client, addresses, resolve, self._answer)
        self.server = PeerServer(server, resolve, self._answer)
        self.exchange = CosignExchange(self.replica, self.peers)
        self.home = settings.comet_home
        self.engine = CometEngine(
            self.replica, genesis=genesis, home=settings.comet_home, listen=str(settings.p2p),
            peers={MemberId(name): str(each) for name, each in settings.p2p_peers.items()}, seed=keys.seed,
            cosigned=self.exchange.cosigned, tuning=tuning,
        )  # fmt: skip
        self.settings = settings
        kind = next(each.kind for each in genesis.members if each.id == keys.member)
        publishes = next((type_ for type_, kinds in genesis.publishers.items() if kind in kinds), None)
        self.publishes = publishes
        self.signing = Signing(keys, self.replica, publishes)

    async def _answer(self, asker: MemberId, path: str, body: bytes) -> bytes:
        if path != COSIGNED_PATH:
            raise PeerRefused(0, f"nothing answers {path} here")
        return await self.exchange.answer(asker, body)

    async def start(self) -> list["asyncio.Task[None]"]:
        await self.server.start(self.settings.listen.host, self.settings.listen.port)
        keep_loaded()
        return [asyncio.create_task(each) for each in (self.engine.run(), self.exchange.run(), self.replica.run())]

    async def end(self, tasks: list["asyncio.Task[None]"]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.server.stop()
        await self.peers.close()
        self.replica.close()
        self.files.close()

    # ------------------------------------------------------------------------------------------------------- commands

    async def ready(self, peers: int) -> bool:
        """Once this node is on the line, and connected to so many others."""
        while not self.replica.connected or len(self.engine.status().peers) < peers:
            await asyncio.sleep(0.05)
        return True

    async def publisher(self) -> bool:
        """Whether this member may publish originals."""
        return self.publishes is not None

    async def tip(self) -> tuple[int, int, bytes]:
        tip = self.replica.machine.tip
        return self.replica.height, tip.size, tip.root

    async def status(self) -> tuple[int, int, bool, str]:
        """Height, connected peers, whether on the line, trouble."""
        found = self.engine.status()
        return self.replica.height, len(found.peers), self.replica.connected, found.trouble

    async def reach(self, height: int) -> float:
        """Until this node has executed a height: when (wall, s)."""
        while self.replica.height < height:
            await asyncio.sleep(0.005)
        return time.time()

    async def cpu(self) -> tuple[float, float]:
        return time.process_time(), comet_cpu(self.engine.pid)

    async def load(self, load: Load) -> Window:
        began = await self.cpu()
        runner = _Singles(self) if load.kind == "single" else _Bundled(self)
        begun, ended, size, failed = await runner.run(load)
        own, comet = await self.cpu()
        return Window(begun.tobytes(), ended.tobytes(), size, own - began[0], comet - began[1], failed)

    async def marks(self, count: int, pause_s: float) -> list[tuple[float, float]]:
        """Releases' marks one at a time: seconds until executed here, and until a quorum's cosignatures prove it."""
        spans = []
        for _ in range(count):
            raw = self.signing.one("release")
            began = time.perf_counter()
            committed = await self.replica.submit(raw)
            stands = time.perf_counter() - began
            await self.replica.cosigned(committed.index + 1, 30_000)
            spans.append((stands, time.perf_counter() - began))
            assert committed.code == 0, f"a mark was refused with {committed.code}"
            await asyncio.sleep(pause_s)
        return spans

    async def blocks(self, until: int) -> int:
        """Light blocks, one receipt in every other, until a height."""
        while self.replica.height < until:
            await self.replica.submit(self.signing.one("receipt"))
        return self.replica.height


class _Bundled:
    """As the workflows do: sign, `submit`, wait until it stands."""

    def __init__(self, node: Validator) -> None:
        self._node = node
        self.begun, self.ended = array("d"), array("d")
        self.failed = 0
        self.size = 0

    async def run(self, load: Load) -> tuple["array[float]", "array[float]", int, int]:
        until = time.monotonic() + load.seconds
        if load.rate:
            await self._paced(load, until)
        else:
            await asyncio.gather(*(self._steadily(load.kind, until) for _ in range(load.window)))
        return self.begun, self.ended, self.size, self.failed

    async def _steadily(self, kind: str, until: float) -> None:
        while time.monotonic() < until:
            await self._one(kind)

    async def _paced(self, load: Load, until: float) -> None:
        """Begun on a timetable whatever became of those before, but for the window."""
        start, count = time.monotonic(), 0
        under_way: set[asyncio.Task[None]] = set()
        while (now := time.monotonic()) < until:
            due = int((now - start) * load.rate) - count
            for _ in range(due):
                count += 1
                if len(under_way) >= load.window:
                    self.failed += 1
                    continue
                task = asyncio.create_task(self._one(load.kind))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(_QUIET_S)
        await asyncio.gather(*under_way)

    async def _one(self, kind: str) -> None:
        begun = time.time()
        raw = self._node.signing.one(kind)
        self.size = len(raw)
        try:
            committed = await self._node.replica.submit(raw)
        except LedgerAway:
            self.failed += 1
            return
        assert committed.code == 0, f"a {kind} was refused with {committed.code}"
        self.begun.append(begun)
        self.ended.append(time.time())


class _Singles:
    """Each transaction in a bundle of its own, straight into CometBFT's mempool: what bundling saves is lost."""

    def __init__(self, node: Validator) -> None:
        self._node = node
        self._under_way: dict[bytes, float] = {}
        self.begun, self.ended = array("d"), array("d")
        self._room = asyncio.Event()

    async def run(self, load: Load) -> tuple["array[float]", "array[float]", int, int]:
        node = self._node
        _, _, carry = node.keys.public(Purpose.CARRY)
        ledger = node.replica.ledger_id
        node.replica.listen(self._landed)
        until = time.monotonic() + load.seconds
        rpc = Rpc(node.home / "rpc.sock")
        size = failed = 0

        async def hand() -> None:
            nonlocal size, failed
            while time.monotonic() < until:
                while len(self._under_way) >= load.window:
                    self._room.clear()
                    await self._room.wait()
                begun = time.time()
                raw = node.signing.one("receipt")
                size = len(raw)
                self._under_way[raw] = begun
                bundle = build_bundle(ledger, carry, [raw], lambda digest: node.keys.sign(Purpose.CARRY, digest))
                try:
                    handed = await rpc.hand_in(bundle)
                except RpcAway:  # it may stand yet: the block tells, or the end of the load
                    continue
                if handed.why or handed.refusals:
                    self._under_way.pop(raw, None)
                    failed += 1

        await asyncio.gather(*(hand() for _ in range(min(_SINGLES, load.window))))
        deadline = time.monotonic() + 30
        while self._under_way and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        await rpc.close()
        failed += len(self._under_way)
        self._under_way.clear()
        return self.begun, self.ended, size, failed

    def _landed(self, executed: Executed) -> None:
        now = time.time()
        for transaction, outcome in executed.transactions:
            if transaction is None:
                continue
            begun = self._under_way.pop(transaction.raw, None)
            if begun is not None and outcome.code == 0:
                self.begun.append(begun)
                self.ended.append(now)
        self._room.set()


def validator_main(pipe: Connection, data: str, tuning: Mapping[str, object]) -> None:
    """`tuning`: what differs from `Tuning`'s defaults."""
    quiet()
    asyncio.run(_validator(pipe, load(Path(data)), Tuning(**tuning)))  # type: ignore[arg-type]


async def _validator(pipe: Connection, settings: Settings, tuning: Tuning) -> None:
    node = Validator(settings, tuning)
    tasks = await node.start()
    loop = asyncio.get_running_loop()
    with suppress(EOFError, OSError):
        while True:
            command: tuple[Any, ...] = await loop.run_in_executor(None, pipe.recv)
            if command[0] == "end":
                await node.end(tasks)
                pipe.send(True)
                return
            try:
                answer = await getattr(node, command[0])(*command[1:])
            except Exception as error:
                answer = RuntimeError(f"{settings.member} could not {command[0]}: {error!r}")
            stopped = [task for task in tasks if task.done()]
            if stopped and not isinstance(answer, Exception):
                answer = RuntimeError(f"{settings.member} stopped: {stopped[0].exception()!r}")
            pipe.send(answer)
