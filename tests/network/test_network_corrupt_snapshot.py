"""Members whose snapshots were damaged on disk do not hurt a newcomer: it refuses the chunks and asks elsewhere, and
where all are damaged it begins anew with the next ones."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from commonward.adapters.cometbft import engine
from commonward.ledger.snapshot import SnapshotRefused
from commonward.workflows.restoring import Restoring
from commonward.workflows.snapshots import Applied, SnapshotStore
from tests.network.net import QUICK, Net, until
from tests.network.test_network_joining import forgets_its_first_blocks, newest_snapshot
from tests.workflows.test_replica import release


def damage(net: Net, name: str) -> int:
    """Turns a bit in every chunk. Later snapshots of the same state share the files."""
    chunks = list((net.nodes[name].disk.folder / "snapshots").glob("0*/chunk-*"))  # type: ignore[union-attr]
    for chunk in {each.stat().st_ino: each for each in chunks}.values():
        data = bytearray(chunk.read_bytes())
        data[-1] ^= 1
        with chunk.open("r+b") as file:
            file.write(data)
    return len(chunks)


@asynccontextmanager
async def gone_on_for_long() -> AsyncIterator[Net]:
    """Four members, none of whom has the first blocks any more: a newcomer needs a snapshot.

    Blocks come slowly where nothing happens, so that a snapshot lives for a minute, as it does for a quarter of an hour
    in a real ledger.
    """
    tuning = replace(QUICK, empty_block_ms=3_000, snapshot_from=1)
    with TemporaryDirectory() as folder:
        few = {"keep_blocks": 2}
        async with Net(Path(folder), durable=True, snapshots_every=4, tuning=tuning, replica_options=few) as net:
            landed = [await net.submit(release(n), by=name) for n, name in enumerate(net.members * 2)]
            for name in net.members:
                await until(partial(holds, net, name, landed[-1].height), f"a snapshot of {name} holds all of it")
                await until(partial(forgets_its_first_blocks, net, name), f"{name} keeps only its last blocks")
            yield net


def holds(net: Net, name: str, height: int) -> bool:
    return newest_snapshot(net, name) > height


async def is_one_of_them(net: Net, name: str) -> None:
    later = await net.submit(release(1_000_000), by=net.members[-1])
    await net.agree(size=later.index + 2)
    assert len(net.roots()) == 1
    assert net.nodes[name].disk.blocks.first > 1, "it took the blocks one by one"


async def test_a_newcomer_passes_over_members_whose_snapshots_are_damaged() -> None:
    async with gone_on_for_long() as net:
        assert all(damage(net, name) for name in net.members[:-1])
        await net.start("shield")
        await net.ready(["shield"])
        await is_one_of_them(net, "shield")


async def test_a_newcomer_to_whom_everyone_gave_damaged_chunks_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """CometBFT asks a member that gave one bad chunk never again: left to itself, it would wait for ever."""
    monkeypatch.setattr(engine, "_SYNC_S", 20.0)
    refused: set[str] = set()
    judged = SnapshotStore._refused

    def noted(self: SnapshotStore, restoring: Restoring, index: int, sender: str, why: SnapshotRefused) -> Applied:
        refused.add(sender)
        return judged(self, restoring, index, sender, why)

    monkeypatch.setattr(SnapshotStore, "_refused", noted)
    async with gone_on_for_long() as net:
        assert all(damage(net, name) for name in net.members)
        shield = await net.start("shield")
        await until(lambda: len(refused) == len(net.members), "shield holds every member for a liar")
        stalled = shield.engine.pid
        assert shield.replica.height == 0
        # The ledger goes on: what it holds now is written to new files.
        landed = await net.submit(release(1_000), by="north")
        for name in net.members:
            await until(partial(holds, net, name, landed.height), f"{name} has a snapshot that is whole")
        await net.ready(["shield"])
        assert shield.engine.pid != stalled
        await is_one_of_them(net, "shield")
