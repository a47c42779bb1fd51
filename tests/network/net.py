"""A real network in one test: CometBFT processes, and each member's node in this process over disks that survive it.

    async with Net(tmp_path) as net:                       four validators, `shield` without weight not started
        committed = await net.submit(release(1), by="north")
        await net.agree()                                  all nodes at one height, with one app hash
        net.kill_comet("south")                            kill -9; its engine starts it again
        await net.stop("south"); await net.start("south")  a node that restarts, over its disk
        net.crash("south")                                 as after kill -9 of node and CometBFT; then `start`

Each node's CometBFT listens on a loopback address of its own (127.x.y.z, always free: nobody else uses it), so no port
is raced for. Time is real. Waits are on conditions, with patience for a loaded machine.
"""

import asyncio
import inspect
import itertools
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from commonward.adapters.cometbft.engine import CometEngine
from commonward.adapters.cometbft.home import Tuning
from commonward.adapters.cometbft.light import LIGHT_PATH
from commonward.apps.syncing import open_snapshots
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import BlockTime, MemberId, Purpose
from commonward.ledger.parameters import Parameter
from commonward.ledger.transactions import Payload
from commonward.workflows.agreeing import AgreeingReplica
from commonward.workflows.exchange import CosignExchange
from commonward.workflows.memory import MemoryPeers
from commonward.workflows.ports import Committed, LedgerAway
from commonward.workflows.snapshots import SnapshotStore
from tests.ledgerkit import MEMBERS, SoftPasskey, demo_genesis, member_soft_key
from tests.memory_engine import MAP_BITS, Disk, SoftKeys, signed
from tests.network.disk import FileDisk
from tests.network.telling import story

ROOT = Path(__file__).parents[2]
VERSIONS = ("0.38.25", "0.39.4")
FOUR = ("clinic", "health", "north", "south")
PATIENCE_S = 180.0
"""An upper bound alone: what waits goes on as soon as what it waits for holds."""
PATIENCE_MS = int(PATIENCE_S * 1000)

QUICK = Tuning(
    commit_ms=100,
    propose_ms=2_000,
    vote_ms=500,
    empty_block_ms=2_000,
    log_level="statesync:info,blocksync:info,*:error",
)
"""For tests: shorter waits. An idle block every 2 s."""

_hosts = itertools.count(1)
_running: "list[Net]" = []


def binary_of(version: str) -> Path:
    binary = ROOT / ".tools" / f"cometbft-{version}" / "cometbft"
    assert binary.exists(), f"CometBFT {version} is not here: run `make cometbft COMETBFT={version}`"
    return binary


def own_address() -> str:
    """A loopback address that no other test process, and no other node of this one, uses."""
    number, process = next(_hosts), os.getpid()
    return f"127.{64 + (process >> 10) % 64}.{(process >> 2) % 256}.{(process % 4) * 64 + number % 63 + 1}:26656"


class InVain(AssertionError):
    """What was waited for did not come; tells how each node stands."""


async def until(true: Callable[[], object | Awaitable[object]], what: str, seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while True:
        found = true()
        if await found if inspect.isawaitable(found) else found:
            return
        if time.monotonic() > deadline:
            raise InVain("\n".join([f"waited {seconds:.0f} s in vain: {what}", *map(story, _running)]))
        await asyncio.sleep(0.02)


class WallClock:
    def __init__(self) -> None:
        self.off_ms = 0

    def now(self) -> BlockTime:
        return BlockTime(time.time_ns() // 1_000_000 + self.off_ms)


class Watched(AgreeingReplica):
    """Remembers which node ids it turned away."""

    def __init__(self, **arguments: Any) -> None:
        self.turned_away: set[str] = set()
        super().__init__(**arguments)

    def admits(self, node: str) -> bool:
        admitted = super().admits(node)
        if not admitted:
            self.turned_away.add(node)
        return admitted


class NetNode:
    """One member's node, running."""

    def __init__(self, net: "Net", name: str, seed: Callable[[Purpose], bytes]) -> None:
        self.net = net
        self.name = name
        self.disk = net.disk(name)
        self.clock = net.clocks[name]
        self.replica = net.kinds.get(name, Watched)(
            keys=SoftKeys(MemberId(name)), genesis=net.genesis, store=self.disk.store, log_store=self.disk.log,
            blocks=self.disk.blocks, clock=self.clock, submit_ms=PATIENCE_MS, map_bits=MAP_BITS,
            **net.replica_options,
        )  # fmt: skip
        self.exchange = CosignExchange(self.replica, net.peers.of(MemberId(name)))
        net.peers.open_door(MemberId(name), self._answer)
        self.snapshots: SnapshotStore | None = None
        if net.snapshots_every:
            assert isinstance(self.disk, FileDisk), "snapshots are made of files: Net(durable=True)"
            self.snapshots = open_snapshots(
                replica=self.replica, files=self.disk, directory=self.disk.folder, shelf=self.disk.folder / "snapshots",
                genesis=net.genesis, clock=self.clock, every=net.snapshots_every, map_bits=MAP_BITS,
            )  # fmt: skip
        self.engine = CometEngine(
            self.replica,
            genesis=net.genesis,
            home=net.home(name),
            listen=net.addresses[name],
            peers={MemberId(other): net.addresses[other] for other in net.dials.get(name, net.addresses)},
            seed=seed,
            cosigned=self.exchange.cosigned,
            tuning=net.tuning,
            binary=binary_of(net.versions[name]),
            snapshots=self.snapshots,
            ask=net.peers.of(MemberId(name)).ask if net.snapshots_every else None,
            **net.engine_options.get(name, {}),
        )
        self._running = asyncio.create_task(self.engine.run(), name=f"engine-{name}")
        self._tasks = [
            self._running,
            asyncio.create_task(self.exchange.run(), name=f"exchange-{name}"),
            asyncio.create_task(self.replica.run(1.0), name=f"replica-{name}"),
        ]

    async def _answer(self, member: MemberId, path: str, body: bytes) -> bytes:
        return await (self.engine.answer_light if path == LIGHT_PATH else self.exchange.answer)(member, body)

    @property
    def failure(self) -> BaseException | None:
        """Why the engine stopped by itself, if it did."""
        return self._running.exception() if self._running.done() and not self._running.cancelled() else None

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.snapshots is not None:
            self.snapshots.close()
        self.replica.close()

    def kill(self) -> None:
        """kill -9 of CometBFT."""
        pid = self.engine.pid
        assert pid is not None, f"the CometBFT of {self.name} does not run"
        os.kill(pid, signal.SIGKILL)


class Net:
    """Members of `tests.ledgerkit` on CometBFT."""

    def __init__(
        self,
        folder: Path,
        *,
        version: str = VERSIONS[0],
        members: Iterable[str] = FOUR,
        genesis: Genesis | None = None,
        parameters: Mapping[Parameter, int] | None = None,
        tuning: Tuning = QUICK,
        durable: bool = False,
        snapshots_every: int = 0,
        replica_options: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            durable: real files under each node, else disks in memory that survive a node but not this process.
            snapshots_every: blocks between snapshots (with `durable`); 0 for none. Who starts anew fetches one.
        """
        self.folder = folder
        self.versions = dict.fromkeys(MEMBERS, version)
        self.members = tuple(members)
        created = BlockTime(time.time_ns() // 1_000_000 - 1000)
        weights = {name: 10 if name in FOUR else 0 for name in MEMBERS}
        self.genesis = genesis or demo_genesis(parameters, weights=weights, created=created, consensus=True)
        self.tuning = tuning
        self.addresses = {name: own_address() for name in MEMBERS}
        self.dials: dict[str, tuple[str, ...]] = {}  # whom a node dials; all by default
        self.snapshots_every = snapshots_every
        self.replica_options = dict(replica_options or {})
        self.engine_options: dict[str, dict[str, Any]] = {}
        self.kinds: dict[str, type[Watched]] = {}  # a false member's node is another kind than an honest one's
        self.clocks = {name: WallClock() for name in MEMBERS}
        self.peers = MemoryPeers()
        self.nodes: dict[str, NetNode] = {}
        self._durable = durable
        self._disks: dict[str, Disk | FileDisk] = {}
        self._nonces = itertools.count(1)

    async def __aenter__(self) -> Self:
        _running.append(self)
        try:
            for name in self.members:
                await self.start(name)
            await self.ready()
        except BaseException as error:
            await self._leave(error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._leave(error)

    async def _leave(self, error: BaseException | None) -> None:
        if isinstance(error, Exception) and not isinstance(error, InVain):
            error.add_note(story(self))
        _running.remove(self)
        await self.end()

    # ---------------------------------------------------------------------------------------------- starting, failing

    def home(self, name: str) -> Path:
        return self.folder / name / "cometbft"

    def disk(self, name: str) -> Disk | FileDisk:
        if name not in self._disks:
            self._disks[name] = FileDisk(self.folder / name / "ledger") if self._durable else Disk()
        return self._disks[name]

    async def start(self, name: str, seed: Callable[[Purpose], bytes] | None = None) -> NetNode:
        """Start a member's node and its CometBFT over what it has on disk. `seed`: other keys than its own."""
        node = self.nodes[name] = NetNode(self, name, seed or (lambda purpose: member_soft_key(name, purpose).seed))
        return node

    async def stop(self, name: str) -> None:
        """Stop a node in order. Its disk stays for the next `start`."""
        node = self.nodes.pop(name)
        await node.end()
        disk = self._disks[name]
        if isinstance(disk, FileDisk):
            disk.close()
            del self._disks[name]

    def kill_comet(self, name: str) -> None:
        """kill -9 one node's CometBFT; its engine starts another."""
        self.nodes[name].kill()

    async def crash(self, name: str) -> None:
        """CometBFT is killed -9 and the node goes with it. What the node had not kept is lost."""
        if self.nodes[name].engine.pid is not None:  # else it was killed just before
            self.nodes[name].kill()
        await self.stop(name)

    async def end(self) -> None:
        for name in list(self.nodes):
            await self.stop(name)

    # ------------------------------------------------------------------------------------------------------- waiting

    async def ready(self, names: Iterable[str] | None = None) -> None:
        """Until these nodes (all by default) are on the line."""
        for name in names or list(self.nodes):
            node = self.nodes[name]
            await until(
                lambda node=node: node.replica.connected or node.failure is not None,  # type: ignore[misc]
                f"{name} comes on the line",
            )
            assert node.failure is None, f"{name}: {node.failure}"

    async def agree(self, names: Iterable[str] | None = None, *, height: int = 0, size: int = 0) -> bytes:
        """Until these nodes stand at one app hash, at least at a height and a log size. The app hash."""
        chosen = [self.nodes[name] for name in names or self.nodes]

        def same() -> bool:
            infos = [each.replica.info() for each in chosen]
            return (
                len({app_hash for _, app_hash in infos}) == 1
                and min(at for at, _ in infos) >= height
                and chosen[0].replica.machine.tip.size >= size
            )

        await until(same, f"one app hash from height {height} and size {size}")
        return chosen[0].replica.info()[1]

    def roots(self, names: Iterable[str] | None = None) -> set[tuple[bytes, bytes]]:
        """(log root, state root) of nodes: one element when they agree."""
        tips = [self.nodes[name].replica.machine.tip for name in names or self.nodes]
        return {(tip.root, tip.state_root) for tip in tips}

    # --------------------------------------------------------------------------------------------------------- using

    def sign(self, payload: Payload, *, by: "str | SoftPasskey", at: str = "") -> bytes:
        """A transaction, fresh by what the node of `at` knows (the signer's own by default)."""
        home = by if isinstance(by, str) and by in self.nodes else next(iter(self.nodes))
        node = self.nodes[at or home].replica
        expiry = max(node.tip_time(), WallClock().now()) + 100_000
        return signed(self.genesis.ledger_id, payload, by, next(self._nonces), node.recent(), expiry)

    async def submit(self, payload: Payload, *, by: str, at: str = "") -> Committed:
        """Sign and submit through the node of `at` (the signer's by default), as often as it takes."""
        return await self.land(self.sign(payload, by=by, at=at or by), at or by)

    async def land(self, raw: bytes, at: str) -> Committed:
        """Submit until it stands, over restarts of the node `at`. A refusal of its rule raises."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await self.nodes[at].replica.submit(raw)
            except LedgerAway:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)
