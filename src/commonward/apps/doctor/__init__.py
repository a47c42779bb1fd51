"""Looks a member's data directory over, and its node's place in the world: each finding with what to do about it.

Changes nothing. Works beside a running node and without one, on either engine; what needs a thing that is broken is
left out, so that one fault is named once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from commonward.adapters.keys import MemberKeys, client_context
from commonward.adapters.store.errors import StoreError
from commonward.apps import settings as node_settings
from commonward.apps.doctor import clocks, consensus, folder, keys, lines, process, stamping, stores, world
from commonward.apps.doctor.findings import Finding, Level, fail, ok
from commonward.apps.doctor.growth import Growth, room
from commonward.apps.doctor.known import Known, known
from commonward.apps.doctor.process import stored_fault
from commonward.apps.errors import FORESEEN
from commonward.apps.preparing import zone
from commonward.apps.settings import BadSettings, Settings
from commonward.apps.wiring import tls_resolver
from commonward.ledger.checkpoint import Note
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import KeyId, MemberId, Purpose
from commonward.workflows.ports import Clock

__all__ = ["Examination", "Finding", "Level", "stored_fault"]


@dataclass
class Examination:
    """One look at a member. `notes` gathers what others signed against our log, while `findings` runs."""

    data: Path
    clock: Clock
    deep: bool = False  # also execute the whole ledger again
    progress: Callable[[str], None] = lambda what: None
    notes: dict[MemberId, Note] = field(default_factory=dict)

    def findings(self) -> Iterator[Finding]:
        """Every finding, as it is made."""
        yield folder.program()
        try:
            settings = node_settings.load(self.data)
            zone(settings.time_zone)
        except BadSettings as why:
            yield fail("settings", str(why), "mend that entry; docs/operations.md explains each")
            return
        yield ok("settings", f"{settings.member}, {settings.engine}, in {self.data}")
        yield from folder.files(settings)
        genesis = folder.genesis_of(settings)
        if isinstance(genesis, Finding):
            yield room(self.data, Growth())
            yield genesis
            return
        yield folder.genesis_findings(genesis)
        try:
            with known(settings, genesis) as at:
                yield from self._member(settings, genesis, at)
        except StoreError as why:
            yield fail("state", str(why), "stop the node, remove DATA/ledger/state, start it: it is made anew")

    def _member(self, settings: Settings, genesis: Genesis, at: Known) -> Iterator[Finding]:
        now = self.clock.now()
        yield from folder.membership(settings, at)
        own = keys.keys_of(settings)
        if isinstance(own, Finding):
            yield own
        else:
            yield from keys.keys_findings(settings, at, own, now)
            yield from keys.others(genesis, at, MemberId(settings.member), now)
            self.progress("the vault")
            yield from stores.vault(settings)
        growth = Growth()
        self.progress("the block log")
        yield from stores.blocks(settings, genesis, now, growth, deep=self.deep, progress=self.progress)
        yield room(self.data, growth)
        kept = clocks.kept()
        if kept is not None:
            yield kept
        self.progress("the node")
        status = process.status_of(settings)
        yield folder.rules(at, int(status["height"]) if status else 0)
        yield from folder.tables(at, genesis)
        yield from process.node(settings, status)
        if genesis.consensus:
            self.progress("CometBFT")
            yield consensus.program(settings)
            yield from consensus.secrets(settings)
            if not isinstance(own, Finding):
                yield from consensus.findings(settings, at, own, status, now)
        else:
            yield process.operator(settings, status)
        yield from consensus.accused(status)
        if not isinstance(own, Finding):
            self.progress("the other members")
            yield from world.world(settings, genesis, at, own, now)
            if status is not None:
                yield from self._lines(settings, genesis, at, own)
        url = str(getattr(settings, "tsa_url", "") or "")
        if url:
            self.progress("the time-stamping authority")
            yield stamping.authority(url)

    def _lines(self, settings: Settings, genesis: Genesis, at: Known, own: MemberKeys) -> Iterator[Finding]:
        """Only beside a running node: its log has the root of every size."""

        def holder(key: KeyId) -> MemberId | None:
            found = at.key(key)
            live = found is not None and found.purpose is Purpose.TLS and found.covers(self.clock.now())
            return found.member if found is not None and live else None

        try:
            context = client_context(own, at.authorities())
        except FORESEEN:
            return  # named by `world`
        self.progress("the others' checkpoints")
        heads = asyncio.run(lines.heads(settings, genesis, context, tls_resolver(holder)))
        for finding, against in lines.compared(settings, genesis, heads):
            if against is not None:
                self.notes[against[0]] = against[1]
            yield finding
