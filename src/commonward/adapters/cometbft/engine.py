"""CometBFT as this member's engine: its home, its process, our application on its socket, our bundles to it.

    engine = CometEngine(replica, genesis=..., home=..., listen=..., peers=..., seed=keys.seed, cosigned=...)
    await engine.run()          until cancelled; raises EngineFailed when this node can go on no longer

CometBFT is this member's own process, as trusted as this one; only its p2p listens on the network. When it dies it is
started again, and this node goes on serving what it holds. When our own execution fails, nothing is answered, CometBFT
is stopped, and `run` raises: a node that cannot execute what the members agreed on must not go on voting.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from commonward.adapters.cometbft.abci import AbciServer
from commonward.adapters.cometbft.application import CometApplication
from commonward.adapters.cometbft.home import (
    ABCI_SOCKET,
    RPC_SOCKET,
    Facts,
    Home,
    StateSync,
    Tuning,
    chain_id,
    first_height,
    node_id,
)
from commonward.adapters.cometbft.light import Ask, LightDoor, LightServers, state_sync, trusted_start
from commonward.adapters.cometbft.line import Line
from commonward.adapters.cometbft.process import Child, find_binary
from commonward.adapters.cometbft.rpc import Rpc, RpcAway, Standing
from commonward.adapters.cometbft.snapshots import Snapshots
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import MemberId, Purpose
from commonward.workflows.agreeing import AgreeingReplica
from commonward.workflows.ports import PeerAway

__all__ = ["CometEngine", "EngineFailed", "EngineStatus"]

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 10.0
_STEADY_S: Final = 30.0  # a process that lived this long is begun anew without a pause
_LOOK_S: Final = 1.0
_REDIAL_S: Final = 15.0
_TURN_S: Final = 5.0
_SYNC_S: Final = 150.0  # longer than CometBFT waits for a chunk before it tries another snapshot

_log = structlog.get_logger(__name__)


class EngineFailed(RuntimeError):
    """Our own execution failed where no answer is the only right one; the process must stop."""


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """`height`: of CometBFT's last block. `power`: this node's as a validator. `peers`: connected, by member."""

    running: bool
    catching_up: bool
    height: int
    power: int
    signed_height: int
    peers: tuple[MemberId, ...]
    of: tuple[MemberId, ...]
    trouble: str = ""


class CometEngine:
    """One member's, over its replica."""

    def __init__(
        self,
        replica: AgreeingReplica,
        *,
        genesis: Genesis,
        home: Path,
        listen: str,
        peers: Mapping[MemberId, str],
        seed: Callable[[Purpose], bytes],
        cosigned: Callable[[], None],
        external: str = "",
        tuning: Tuning | None = None,
        binary: Path | None = None,
        snapshots: Snapshots | None = None,
        ask: Ask | None = None,
    ) -> None:
        """
        Args:
            home: CometBFT's own directory, this member's alone.
            listen: HOST:PORT for the other members' CometBFT.
            peers: where theirs listen; who has no live node key on the ledger is left out until it has one.
            seed: the private key in use for NODE and for VALIDATE, 32 bytes.
            cosigned: called when this node has cosigned: the others are to hear (`CosignExchange.cosigned`).
            external: HOST:PORT by which others reach us, where that differs from `listen`.
            binary: else `find_binary`.
            snapshots: of this node, for members who join, and to start from when this one does.
            ask: `Peers.ask`; with it, a node whose CometBFT has no block yet starts from a snapshot of the others.

        Raises BinaryMissing.
        """
        self._replica = replica
        self._genesis = genesis
        self._home = Home(home)
        self._listen = listen
        self._external = external
        self._addresses = dict(peers)
        self._seed = seed
        self._cosigned = cosigned
        self._tuning = tuning or Tuning()
        self._application = CometApplication(
            replica, chain_id(genesis), snapshots, first_height(genesis), self._home.begin
        )
        self._ask = ask
        self._door = LightDoor(self._call, lambda: [each.height for each in snapshots.offers()] if snapshots else [])
        self._child = Child(binary or find_binary(), home, self._tuning.go_collector)
        self._standing: Standing | None = None
        self._trouble = "CometBFT has not started yet"

    def meet(self, peers: Mapping[MemberId, str]) -> None:
        """Where the others' CometBFT listen from now on: who is not connected is dialled there within seconds."""
        self._addresses = dict(peers)

    @property
    def pid(self) -> int | None:
        """Of CometBFT's process, while it lives."""
        return self._child.pid

    async def run(self) -> None:
        """Until cancelled. Raises EngineFailed, OSError when the home cannot be written, HomeDamaged."""
        server = AbciServer(self._home.socket(ABCI_SOCKET), self._application, self._home.conceal)
        await server.start()
        try:
            supervising: asyncio.Future[Any] = asyncio.create_task(self._supervise())
            try:
                await asyncio.wait([supervising, server.failed], return_when=asyncio.FIRST_COMPLETED)
            finally:
                supervising.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([supervising])
            if server.failed.done():
                cause = server.failed.result()
                raise EngineFailed(f"this node cannot go on: {cause}") from cause
            supervising.result()
        finally:
            await self._child.stop()
            await server.stop()
            self._home.conceal()
            self._home.close()

    # ----------------------------------------------------------------------------------------------------- the process

    async def _supervise(self) -> None:
        """Start CometBFT, follow how it stands, and start it again when it ends."""
        pause = _FIRST_PAUSE_S
        while True:
            begun = time.monotonic()
            servers = LightServers(self._home.socket, self._ask or _nobody, self._others())
            try:
                start = await self._start_from(servers)
                facts = self._facts(start)
                self._home.write(self._genesis, facts, self._tuning)
                self._home.reveal(self._seed(Purpose.NODE), self._seed(Purpose.VALIDATE))
                await self._child.start()
                watching = asyncio.create_task(self._watch(syncing=start is not None))
                try:
                    code = await self._child.wait()
                finally:
                    watching.cancel()
                    await asyncio.gather(watching, return_exceptions=True)
            finally:
                self._home.conceal()
                self._standing = None
                await servers.stop()
            pause = _FIRST_PAUSE_S if time.monotonic() - begun > _STEADY_S else min(2 * pause, _LONGEST_PAUSE_S)
            self._trouble = f"CometBFT ended with {code}: {self._child.last_words(1)[:300]}"
            _log.error("cometbft_ended", code=code, last_words=self._child.last_words(), again_in_s=pause)
            await asyncio.sleep(pause)

    async def _start_from(self, servers: LightServers) -> StateSync | None:
        """Where CometBFT should start instead of at the first block: nowhere else once it has one."""
        if self._ask is None or self._home.begun():
            return None
        self._trouble = "asking the others for a snapshot to start from"
        start = await self._start()
        if start is None:
            return None
        if start[0] > self._replica.info()[0]:
            self._home.start_over()
        _log.info("state_sync", from_height=start[0], header=start[1])
        return state_sync(await servers.start(), start)

    async def _start(self) -> tuple[int, str] | None:
        if self._ask is None:
            return None
        start = await trusted_start(self._ask, self._replica.member, self._weights())
        if start is not None and self._replica.info()[0] == 0 and start[0] < self._tuning.snapshot_from:
            return None
        return start

    def _weights(self) -> dict[MemberId, int]:
        """Of the members whose word on a header counts: as our state has them, or genesis where we have none yet."""
        if self._replica.info()[0] == 0:
            return {each.id: each.weight for each in self._genesis.members}
        roll = self._replica.machine.view().roll
        return {member: roll.must(member).weight for member in roll.active()}

    def _others(self) -> list[MemberId]:
        return [member for member, weight in self._weights().items() if weight and member != self._replica.member]

    def _facts(self, start: StateSync | None) -> Facts:
        return Facts(
            member=self._replica.member,
            listen=self._listen,
            external=self._external,
            peers={node: self._addresses[member] for member, node in self._nodes().items()},
            state_sync=start,
        )

    def _nodes(self) -> dict[MemberId, str]:
        """Node ids of the active members whose addresses we have, by their newest live key: a suspended member's node
        would turn ours away, as ours does it."""
        roll = self._replica.machine.view().roll
        now = max(self._replica.tip_time(), self._replica.machine.applied.time)
        found = {}
        for member in self._addresses:
            if member == self._replica.member:
                continue
            held = roll.get(member)
            keys = roll.live(member, Purpose.NODE, now) if held is not None and held.active else ()
            if keys:
                found[member] = node_id(max(keys, key=lambda key: (key.starts, key.id)).public)
        return found

    async def _watch(self, *, syncing: bool) -> None:
        """One process's life, seen through its RPC: on the line once it has caught up; peers that were lost are dialled
        again; one that is no member's any more is dropped."""
        rpc = Rpc(self._home.socket(RPC_SOCKET))
        line = Line(self._replica, rpc, self._cosigned)
        attached = False
        dialled = moved = time.monotonic()
        steps = self._application.sync_steps
        try:
            while True:
                try:
                    standing = self._standing = await rpc.standing()
                    self._trouble = ""
                    if standing.height:
                        self._home.begin()  # else the application did, with the first block
                    elif syncing and steps != self._application.sync_steps:
                        steps, moved = self._application.sync_steps, time.monotonic()
                    elif syncing and time.monotonic() - moved > _SYNC_S:
                        moved = time.monotonic()
                        if await self._stalled():
                            await self._child.stop()
                            return
                except RpcAway as why:
                    self._trouble = str(why)
                    await asyncio.sleep(_LOOK_S / 4)
                    continue
                if not attached and not standing.catching_up:
                    attached = True
                    self._replica.attach(line)
                    _log.info("cometbft_attached", height=standing.height, peers=len(standing.peers))
                if time.monotonic() - dialled > _REDIAL_S:
                    dialled = time.monotonic()
                    self._child.bound_log()
                    await self._redial(rpc, standing)
                    if await self._unwanted(standing):
                        await self._child.stop()
                        return
                    if not standing.height and not syncing and await self._start() is not None:
                        # The others may have been away when this process began, and keep no block from the first on.
                        await self._child.stop()
                        return
                await asyncio.sleep(_LOOK_S)
        finally:
            await line.end()
            await rpc.close()

    async def _stalled(self) -> bool:
        """Whether a state sync that no longer moves can begin anew: CometBFT's may end without its process, hold every
        member for a liar, or have restored a state whose next block nobody keeps."""
        start = await self._start()
        if start is None or start[0] <= self._replica.info()[0]:
            return False
        _log.warning("state_sync_stalled", do="CometBFT starts again, from what the others have now")
        return True

    async def _unwanted(self, standing: Standing) -> bool:
        """Whether a node is connected that is no member's any more, and it is our turn to do something about it.

        CometBFT cannot hang up on a peer when asked; at its next start it lets this one in no more. Members start again
        one after another, so that the ledger goes on meanwhile.
        """
        strangers = [node for node in standing.peers if not self._replica.admits(node)]
        if not strangers:
            return False
        roll = self._replica.machine.view().roll
        turn = sorted({*roll.active(), self._replica.member}).index(self._replica.member)
        _log.warning("peer_no_longer_admitted", nodes=strangers, do=f"CometBFT starts again in {turn * _TURN_S:.0f} s")
        await asyncio.sleep(turn * _TURN_S)
        return True

    async def _redial(self, rpc: Rpc, standing: Standing) -> None:
        """CometBFT dials a lost peer ever more rarely, and gives up at last; members come back after any time."""
        away = [
            f"{node}@{self._addresses[member]}" for member, node in self._nodes().items() if node not in standing.peers
        ]
        if away:
            with contextlib.suppress(RpcAway):
                await rpc.dial(away)

    def status(self) -> EngineStatus:
        """How CometBFT stood when we last looked, a second ago or so."""
        standing, nodes = self._standing, self._nodes()
        connected = standing.peers if standing is not None else ()
        return EngineStatus(
            running=self._child.running, catching_up=standing is None or standing.catching_up,
            height=standing.height if standing is not None else 0, power=standing.power if standing is not None else 0,
            signed_height=self._home.signed_height(),
            peers=tuple(member for member, node in nodes.items() if node in connected),
            of=tuple(nodes), trouble=self._trouble,
        )  # fmt: skip

    async def answer_light(self, member: MemberId, body: bytes) -> bytes:
        """Answers `light.LIGHT_PATH`: headers, for a member who joins."""
        return await self._door.answer(member, body)

    async def call(self, method: str, **params: Any) -> Any:
        """CometBFT's own answer, for whoever must look closely (doctor, tests). Raises RpcAway."""
        return await self._call(method, params)

    async def _call(self, method: str, params: Mapping[str, Any]) -> Any:
        rpc = Rpc(self._home.socket(RPC_SOCKET))
        try:
            return await rpc.call(method, params)
        finally:
            await rpc.close()


async def _nobody(member: MemberId, path: str, body: bytes) -> bytes:
    raise PeerAway(f"no way to {member}")
