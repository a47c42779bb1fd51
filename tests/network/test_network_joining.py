"""A member joins a ledger that has gone on for long: from a snapshot of the others, proven before it is used."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.network.net import PATIENCE_S, QUICK, Net, until
from tests.workflows.test_replica import release


async def first_block(net: Net, name: str) -> int:
    status = await net.nodes[name].engine.call("status")
    return int(status["sync_info"]["earliest_block_height"])


async def test_a_newcomer_starts_from_a_snapshot_and_goes_on_with_the_others() -> None:
    """Headers come from the members over their own links; what is restored must lead to the app hash they signed."""
    tuning = replace(QUICK, empty_block_ms=1_000, snapshot_from=1)
    with TemporaryDirectory() as folder:
        few = {"keep_blocks": 2}  # the others forget their first blocks: nobody can bring them to a newcomer
        async with Net(Path(folder), durable=True, snapshots_every=4, tuning=tuning, replica_options=few) as net:
            landed = [await net.submit(release(n), by=name) for n, name in enumerate(net.members * 3)]

            def snapshots() -> list[int]:
                return [each.height for name in net.members for each in net.nodes[name].snapshots.offers()]  # type: ignore[union-attr]

            await until(lambda: max(snapshots(), default=0) > landed[-1].height, "a snapshot holds all of it")
            for name in net.members:
                deadline = time.monotonic() + PATIENCE_S
                while await first_block(net, name) == 1:
                    assert time.monotonic() < deadline, f"{name} keeps all blocks"
                    await asyncio.sleep(0.2)
            await net.start("shield")
            shield = net.nodes["shield"]
            await net.ready(["shield"])
            later = await net.submit(release(100), by="north")
            await net.agree(size=later.index + 2)
            assert len(net.roots()) == 1
            assert shield.disk.blocks.first > 1, "it took the blocks one by one"
            assert shield.replica.found(later.digest) == later
            assert not list((net.home("shield") / "config").glob("*key*"))
            await net.stop("shield")
            await net.start("shield")
            await net.ready(["shield"])
            await net.agree()
