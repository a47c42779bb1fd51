"""A member joins a ledger that has gone on for long: from a snapshot of the others, proven before it is used."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.network.net import QUICK, Net, until
from tests.workflows.test_replica import release


def newest_snapshot(net: Net, name: str) -> int:
    """Its height; 0 for none."""
    shelf = net.nodes[name].disk.folder / "snapshots"  # type: ignore[union-attr]
    return max((int(each.name) for each in shelf.glob("0*")), default=0)


async def first_block(net: Net, name: str) -> int:
    """The first that its CometBFT still has."""
    status = await net.nodes[name].engine.call("status")
    return int(status["sync_info"]["earliest_block_height"])


async def forgets_its_first_blocks(net: Net, name: str) -> bool:
    return await first_block(net, name) > 1


async def test_a_newcomer_starts_from_a_snapshot_and_goes_on_with_the_others() -> None:
    """Headers come from the members over their own links; what is restored must lead to the app hash they signed."""
    # Blocks come slowly where nothing happens: a snapshot must outlive the newcomer's looking round, as real ones do.
    tuning = replace(QUICK, empty_block_ms=3_000, snapshot_from=1)
    with TemporaryDirectory() as folder:
        few = {"keep_blocks": 2}  # the others forget their first blocks: nobody can bring them to a newcomer
        async with Net(Path(folder), durable=True, snapshots_every=4, tuning=tuning, replica_options=few) as net:
            landed = [await net.submit(release(n), by=name) for n, name in enumerate(net.members * 3)]
            await until(
                lambda: max(newest_snapshot(net, name) for name in net.members) > landed[-1].height,
                "a snapshot holds all of it",
            )
            for name in net.members:
                await until(partial(forgets_its_first_blocks, net, name), f"{name} keeps only its last blocks")
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
