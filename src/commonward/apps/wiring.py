"""Joins adapters to ports: the one place where what is outside is chosen.

`open_sequencer` gives the operator's ordering process, `open_node` a member's node. Changing the engine, the vault or
the keys' home is a line here.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from commonward.adapters.keys import MemberKeys, client_context, server_context
from commonward.adapters.solo.sequencer import Sequencer
from commonward.adapters.store.blocks import BlockFiles
from commonward.adapters.store.state import RocksStore
from commonward.adapters.store.tiles import TileFiles
from commonward.apps.founding import GENESIS
from commonward.apps.settings import BadSettings, Settings
from commonward.ledger.genesis import Genesis, GenesisError, SignedGenesis
from commonward.ledger.ids import Algorithm, BlockTime, KeyId, MemberId, Purpose, key_id
from commonward.ledger.proofs import self_test

Resolve = Callable[[bytes], MemberId | None]
_MEMORY: Final = 64
"""Certificates remembered by bytes: a handful of members, their old and their new ones."""


class WallClock:
    """Implements `workflows.ports.Clock`."""

    def now(self) -> BlockTime:
        return BlockTime(time.time_ns() // 1_000_000)


class SystemEntropy:
    """Implements `workflows.ports.Entropy` from the operating system."""

    def bytes(self, count: int) -> bytes:
        return os.urandom(count)


class NoSteps:
    """Implements `workflows.ports.Steps`: nobody listens."""

    def reach(self, name: str) -> None:
        return None


class GridPace:
    """Implements `workflows.member.Pace`: answers leave on a grid, so that their time tells only a coarse class."""

    def start(self) -> float:
        return time.monotonic()

    async def settle(self, started: float, grid_ms: int) -> None:
        grid = grid_ms / 1000
        spent = time.monotonic() - started
        await asyncio.sleep(grid - spent % grid)


def read_genesis(settings: Settings) -> Genesis:
    """The genesis beside the settings, checked whole. Raises BadSettings."""
    path = settings.data / GENESIS
    try:
        return SignedGenesis.parse(path.read_bytes()).genesis
    except OSError as cause:
        raise BadSettings(f"cannot read {path}: {cause.strerror}; copy the consortium's {GENESIS} there") from cause
    except GenesisError as cause:
        raise BadSettings(f"{path} is not a genesis that its members signed: {cause}") from cause


def open_keys(settings: Settings) -> MemberKeys:
    """This member's keys. Raises BadSettings or an error of `adapters.keys`."""
    return MemberKeys.open(settings.data / "keys", MemberId(settings.member), settings.passphrase())


class ChainFiles:
    """State, log and blocks of one process, under one directory."""

    def __init__(self, directory: Path) -> None:
        """Raises StoreLocked when another process has them, StoreCorrupt when they were altered."""
        self.blocks = BlockFiles(directory / "blocks")
        self.tiles = TileFiles(directory / "tiles")
        self.state = RocksStore(directory / "state", first=self.tiles.sync)

    def close(self) -> None:
        self.state.close()
        self.tiles.close()
        self.blocks.close()


def tls_resolver(holder: Callable[[KeyId], MemberId | None]) -> Resolve:
    """Whose registered TLS key a certificate holds, asked anew at each connection; parsing is remembered."""
    parsed: dict[bytes, KeyId | None] = {}

    def resolve(certificate: bytes) -> MemberId | None:
        if certificate not in parsed:
            if len(parsed) >= _MEMORY:
                parsed.clear()
            parsed[certificate] = _key_of(certificate)
        key = parsed[certificate]
        return None if key is None else holder(key)

    return resolve


def _key_of(certificate: bytes) -> KeyId | None:
    try:
        public = x509.load_der_x509_certificate(certificate).public_key()
    except ValueError:
        return None
    if not isinstance(public, Ed25519PublicKey):
        return None
    return key_id(Algorithm.EDDSA, public.public_bytes_raw())


def contexts(keys: MemberKeys, genesis: Genesis) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for listening and for calling. Members admitted later are added by restarting the node."""
    authorities = [member.certificate for member in genesis.members]
    return server_context(keys, authorities), client_context(keys, authorities)


def open_sequencer(settings: Settings) -> tuple[Sequencer, ChainFiles, Resolve, ssl.SSLContext]:
    """The operator's sequencer. Raises BadSettings where this member does not operate it, SequencerError, StoreError."""
    self_test()
    genesis = read_genesis(settings)
    if genesis.operator != settings.member:
        raise BadSettings(f"{settings.member} does not operate this ledger's sequencer; {genesis.operator} does")
    keys = open_keys(settings)
    _, public, _ = keys.public(Purpose.SEQUENCE)
    clock = WallClock()
    files = ChainFiles(settings.data / "sequencer")
    sequencer = Sequencer(
        genesis=genesis,
        store=files.state,
        log_store=files.tiles,
        blocks=files.blocks,
        clock=clock,
        public=public,
        sign=lambda message: keys.sign(Purpose.SEQUENCE, message),
    )

    def holder(key: KeyId) -> MemberId | None:
        view = sequencer.machine.view()
        found = view.roll.key(key)
        if found is None or found.purpose != Purpose.TLS:
            return None
        now = max(sequencer.machine.applied.time, clock.now())
        member = view.roll.get(found.member)
        return found.member if found.covers(now) and member is not None and member.active else None

    server, _ = contexts(keys, genesis)
    return sequencer, files, tls_resolver(holder), server
