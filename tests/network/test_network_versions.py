"""The next CometBFT runs as the pinned one does, and a network changes from one to the other a node at a time."""

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.network.net import VERSIONS, Net
from tests.workflows.test_replica import release


async def test_a_network_moves_to_the_next_cometbft_one_node_at_a_time() -> None:
    old, new = VERSIONS
    with TemporaryDirectory() as folder:
        async with Net(Path(folder), version=old) as net:
            first = await net.submit(release(1), by="north")
            for turn, name in enumerate(net.members):
                await net.agree()
                await net.stop(name)
                net.versions[name] = new
                await net.start(name)
                await net.ready([name])
                landed = await net.submit(release(10 + turn), by=name)
                await net.agree(size=landed.index + 2)
            assert len(net.roots()) == 1
            for name in net.members:
                status = await net.nodes[name].engine.call("status")
                assert status["node_info"]["version"] == new
                assert net.nodes[name].replica.found(first.digest) == first


async def test_the_next_cometbft_begins_a_ledger_and_replays_it() -> None:
    with TemporaryDirectory() as folder:
        async with Net(Path(folder), version=VERSIONS[1]) as net:
            landed = [await net.submit(release(n), by=name) for n, name in enumerate(net.members)]
            await net.crash("south")
            later = await net.submit(release(50), by="north")
            await net.start("south")
            await net.ready(["south"])
            await net.agree(size=max(later.index, *(each.index for each in landed)) + 2)
            assert len(net.roots()) == 1
