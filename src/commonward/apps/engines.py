"""What orders the ledger, as one member's node meets it: a sequencer that a member operates, or the members together.

Both give the node a `Replica` and the coroutines that keep it going; nothing else in the node knows which it is.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from commonward.adapters.cometbft.engine import CometEngine
from commonward.adapters.cometbft.home import Tuning
from commonward.adapters.cometbft.light import LIGHT_PATH
from commonward.adapters.cometbft.process import find_binary
from commonward.adapters.keys import MemberKeys
from commonward.adapters.peers import PeerRefused
from commonward.adapters.solo.follower import Follower
from commonward.adapters.store.blocks import BlockFiles
from commonward.adapters.store.restoring import RestoreFiles
from commonward.adapters.store.state import RocksStore
from commonward.adapters.store.tiles import TileFiles
from commonward.apps.forgotten import Forgotten
from commonward.apps.founding import GENESIS
from commonward.apps.settings import Settings
from commonward.apps.syncing import open_history, open_snapshots, read_line
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import MemberId
from commonward.workflows.agreeing import AgreeingReplica
from commonward.workflows.carrying import CONSENSUS_PACE_S
from commonward.workflows.exchange import COSIGNED_PATH, BadTelling, CosignExchange
from commonward.workflows.following import HEAD_PATH, FollowingReplica
from commonward.workflows.history import AUTHORITY_PATH, HISTORY_PATH, History, HistoryDesk
from commonward.workflows.ports import Clock, Peers
from commonward.workflows.replica import Replica

_log = structlog.get_logger(__name__)

Resolve = Callable[[bytes], MemberId | None]
RESTORED: Final = "restored"
"""Stores from a snapshot, complete and not yet in the place of the old ones (`adapters.store.restoring`)."""

Handler = Callable[[MemberId, bytes], Awaitable[bytes]]


class ChainFiles:
    """State, log and blocks of one process, under one directory."""

    def __init__(self, directory: Path) -> None:
        """Raises StoreLocked when another process has them, StoreCorrupt when they were altered."""
        self._directory = directory
        self.reopen()

    def reopen(self) -> None:
        """Open what lies there now, after `close`. Raises as the constructor."""
        self.blocks = BlockFiles(self._directory / "blocks")
        self.tiles = TileFiles(self._directory / "tiles")
        self.state = RocksStore(self._directory / "state", first=self.tiles.sync)

    def close(self) -> None:
        self.state.close()
        self.tiles.close()
        self.blocks.close()


@dataclass(frozen=True, slots=True)
class Line:
    """How a node hangs together with the others: `peers` are those it hears blocks from now, of those it should."""

    peers: tuple[MemberId, ...]
    of: tuple[MemberId, ...]
    catching_up: bool
    trouble: str = ""
    height: int | None = None  # of CometBFT's last block
    power: int | None = None  # of this node as a validator
    signed_height: int | None = None  # of the block it voted on last


class Engine(Protocol):
    """One of the two, opened and not yet running."""

    @property
    def replica(self) -> Replica: ...

    @property
    def paths(self) -> Mapping[str, Handler]:
        """What it answers to other members."""
        ...

    def connect(self, client: ssl.SSLContext, resolve: Resolve, peers: Peers) -> None:
        """Gives it the way to the others; before `work`."""
        ...

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """What runs as long as the node does; one that ends takes the node down, and raises why."""
        ...

    def meet(self, settings: Settings) -> None:
        """Other members' addresses are as in `settings` from now on."""
        ...

    def line(self) -> Line: ...

    def close(self) -> None:
        """Raises what the state store raises when it cannot keep the last blocks: they are replayed at the start."""
        ...


def open_files(settings: Settings, genesis: Genesis) -> ChainFiles:
    """The stores of a node. Raises StoreError."""
    if genesis.consensus and (settings.ledger_directory / RESTORED).exists():
        RestoreFiles(settings.ledger_directory)  # a change to a snapshot's stores was cut short: it is finished first
    return ChainFiles(settings.ledger_directory)


def open_engine(settings: Settings, keys: MemberKeys, genesis: Genesis, files: ChainFiles, clock: Clock) -> Engine:
    """The one that settings and genesis name. Raises as its replica does."""
    made: type[SoloEngine | ConsensusEngine] = ConsensusEngine if genesis.consensus else SoloEngine
    return made(settings, keys, genesis, files, clock)


class SoloEngine:
    """Follows the sequencer, which one member operates, and compares with the others what it was given."""

    def __init__(self, settings: Settings, keys: MemberKeys, genesis: Genesis, files: ChainFiles, clock: Clock) -> None:
        """Raises as `FollowingReplica`."""
        self._settings = settings
        self.replica = FollowingReplica(
            keys=keys, genesis=genesis, store=files.state, log_store=files.tiles, blocks=files.blocks, clock=clock
        )
        self.paths: Mapping[str, Handler] = {HEAD_PATH: self.replica.answer_head}

    def connect(self, client: ssl.SSLContext, resolve: Resolve, peers: Peers) -> None:
        at = self._settings.sequencer
        assert at is not None, "settings for the solo engine name the sequencer"
        self._peers = peers
        self._follower = Follower(self.replica, client, resolve, at.host, at.port)

    def work(self) -> list[Coroutine[Any, Any, None]]:
        return [self._following(), self.replica.comparing(self._peers)]

    async def _following(self) -> None:
        """When the operator is proven at fault the node goes on serving what it holds."""
        await self._follower.run()
        _log.error("ledger_halted", fault=str(self.replica.fault), do="show `commonward doctor` to the other members")
        await asyncio.Event().wait()

    def meet(self, settings: Settings) -> None:
        """The sequencer stays where it is."""

    def line(self) -> Line:
        operator = self.replica.operator
        return Line((operator,) if self.replica.connected else (), (operator,), not self.replica.connected)

    def close(self) -> None:
        self.replica.close()


def _p2p(settings: Settings) -> dict[MemberId, str]:
    return {MemberId(name): str(at) for name, at in settings.p2p_peers.items()}


class ConsensusEngine:
    """Orders together with the other members, through a CometBFT of its own, and tells them its cosignatures."""

    def __init__(self, settings: Settings, keys: MemberKeys, genesis: Genesis, files: ChainFiles, clock: Clock) -> None:
        """Raises as `AgreeingReplica`; BadSettings where the genesis file does not say what the ledger goes on from."""
        self._settings = settings
        self._keys = keys
        self._genesis = genesis
        self._line = read_line(settings.data / GENESIS, genesis)
        self.replica = AgreeingReplica(
            keys=keys, genesis=genesis, store=files.state, log_store=files.tiles, blocks=files.blocks, clock=clock,
            keep_blocks=settings.keep_blocks, pace_s=CONSENSUS_PACE_S,
        )  # fmt: skip
        self._snapshots = open_snapshots(
            replica=self.replica, files=files, directory=settings.ledger_directory, shelf=settings.data / "snapshots",
            genesis=genesis, clock=clock, every=settings.snapshot_every, first=self._line.first,
        )  # fmt: skip
        self._files = files
        self._history: History[BlockFiles] | None = None
        self._desk = HistoryDesk(self.replica)
        self.paths: Mapping[str, Handler] = {
            COSIGNED_PATH: self._told, LIGHT_PATH: self._asked_light, HISTORY_PATH: self._asked_history,
            AUTHORITY_PATH: self._desk.answer_authority,
        }  # fmt: skip

    def connect(self, client: ssl.SSLContext, resolve: Resolve, peers: Peers) -> None:
        """Raises BinaryMissing."""
        settings = self._settings
        assert settings.p2p is not None, "settings for CometBFT name where it listens"
        self._exchange = CosignExchange(self.replica, peers)
        self._history = open_history(
            replica=self.replica, files=self._files, directory=settings.ledger_directory,
            line=self._line, peers=peers,
        )  # fmt: skip
        self._comet = CometEngine(
            self.replica,
            genesis=self._genesis,
            home=settings.comet_home.resolve(),  # CometBFT runs in it, and would look for a relative path there
            listen=str(settings.p2p),
            peers=_p2p(settings),
            seed=self._keys.seed,
            cosigned=self._exchange.cosigned,
            tuning=Tuning(empty_block_ms=settings.idle_block_s * 1000),
            binary=find_binary(settings.cometbft),
            snapshots=self._snapshots,
            ask=peers.ask,
        )
        self._forgotten = Forgotten(self._comet.status, peers.ask)

    async def _told(self, member: MemberId, body: bytes) -> bytes:
        try:
            return await self._exchange.answer(member, body)
        except BadTelling as why:
            raise PeerRefused(0, str(why)) from why

    async def _asked_history(self, member: MemberId, body: bytes) -> bytes:
        try:
            return await self._desk.answer(member, body)
        except ValueError as why:
            raise PeerRefused(0, str(why)) from why

    async def _asked_light(self, member: MemberId, body: bytes) -> bytes:
        return await self._comet.answer_light(member, body)

    def work(self) -> list[Coroutine[Any, Any, None]]:
        history = [self._history.run()] if self._history is not None else []
        return [self._comet.run(), self._exchange.run(), self.replica.run(), self._forgotten.run(), *history]

    def meet(self, settings: Settings) -> None:
        self._comet.meet(_p2p(settings))

    def line(self) -> Line:
        status = self._comet.status()
        return Line(
            status.peers,
            status.of,
            status.catching_up,
            status.trouble or self._forgotten.trouble,
            status.height,
            status.power,
            status.signed_height,
        )

    def close(self) -> None:
        if self._history is not None:
            self._history.close()
        self._snapshots.close()
        self.replica.close()
