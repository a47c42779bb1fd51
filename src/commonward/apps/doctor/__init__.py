"""Looks a member's data directory over, and its node's place in the world: each finding with what to do about it.

Changes nothing. Works beside a running node and without one; what needs a thing that is broken is left out, so that one
fault is named once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from commonward.apps import settings as node_settings
from commonward.apps.doctor import folder, process, stores, world
from commonward.apps.doctor.findings import Finding, Level, fail, ok
from commonward.apps.doctor.keys import keys_findings, keys_of
from commonward.apps.doctor.process import stored_fault
from commonward.apps.preparing import zone
from commonward.apps.settings import BadSettings
from commonward.workflows.ports import Clock

__all__ = ["Finding", "Level", "examine", "stored_fault"]


def examine(data: Path, clock: Clock, *, deep: bool = False) -> Iterator[Finding]:
    """Every finding, as it is made. `deep` also executes the whole ledger again."""
    yield folder.program()
    try:
        settings = node_settings.load(data)
        zone(settings.time_zone)
    except BadSettings as why:
        yield fail("settings", str(why), "mend that entry; docs/operations.md explains each")
        return
    yield ok("settings", f"{settings.member}, in {data}")
    yield from folder.files(data)
    yield folder.room(data)
    genesis = folder.genesis_of(settings)
    if isinstance(genesis, Finding):
        yield genesis
        return
    yield from folder.genesis_findings(settings, genesis)
    keys = keys_of(settings)
    if isinstance(keys, Finding):
        yield keys
    else:
        yield from keys_findings(settings, genesis, keys, clock.now())
        yield from stores.vault(settings)
    yield from stores.blocks(settings, genesis, clock.now(), deep=deep)
    status = process.status_of(settings)
    yield from process.node(settings, status)
    yield process.operator(settings, status)
    if not isinstance(keys, Finding):
        yield from world.world(settings, genesis, keys)
