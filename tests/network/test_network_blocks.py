"""Four validators on real CometBFT: they commit, agree, idle, restart, and let no stranger in."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import pytest_asyncio

from commonward.adapters.cometbft.home import node_id
from commonward.ledger.refusals import Replayed
from tests.ledgerkit import SoftKey
from tests.network.net import FOUR, PATIENCE_MS, QUICK, Net, until
from tests.workflows.test_replica import release

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def net() -> AsyncIterator[Net]:
    with TemporaryDirectory() as folder:
        async with Net(Path(folder)) as running:
            yield running


async def test_four_validators_commit_signed_bundles_and_all_roots_are_equal(net: Net) -> None:
    raws = {name: [net.sign(release(100 * at + n), by=name) for n in range(20)] for at, name in enumerate(FOUR)}
    done = await asyncio.gather(*(net.land(raw, name) for name in FOUR for raw in raws[name]))
    assert {each.code for each in done} == {0}
    assert len({each.index for each in done}) == 80
    await net.agree(size=max(each.index for each in done) + 2)
    assert len(net.roots()) == 1
    proven = await net.nodes["south"].replica.cosigned(max(each.index for each in done) + 2, PATIENCE_MS)
    assert len(proven.members) >= 3
    assert net.nodes["north"].engine.status().power == 10
    assert len(await _peers(net, "north")) == 3


async def _peers(net: Net, name: str) -> tuple[str, ...]:
    await until(lambda: len(net.nodes[name].engine.status().peers) == 3, f"{name} has three peers")
    return net.nodes[name].engine.status().peers


async def test_keys_lie_on_disk_only_while_cometbft_starts(net: Net) -> None:
    for name in FOUR:
        config = net.home(name) / "config"
        assert sorted(each.name for each in config.glob("*key*")) == []
        assert (net.home(name) / "data" / "priv_validator_state.json").exists()
        assert net.home(name).stat().st_mode & 0o077 == 0


async def test_an_idle_network_makes_a_block_only_at_its_interval(net: Net) -> None:
    """Nothing happens in these blocks and nothing changes: not the app hash, not the log, not the state."""
    north = net.nodes["north"].replica
    before = await net.agree()
    first = north.height + 3  # past the block that proves the last change
    await until(lambda: north.height >= first + 3, "the idle network goes on")
    height, after = north.info()
    assert after == before
    times = []
    for at in range(first, height + 1):
        block = await net.nodes["north"].engine.call("block", height=str(at))
        assert block["block"]["data"]["txs"] == []
        times.append(_ms(block["block"]["header"]["time"]))
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    # The interval begins when the last block is committed, so no gap is much shorter, however fast the machine is.
    assert min(gaps) >= QUICK.empty_block_ms * 0.9, gaps


def _ms(text: str) -> float:
    return datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00").timestamp() * 1000


async def test_a_transaction_that_stands_is_not_doubled_through_another_member(net: Net) -> None:
    raw = net.sign(release(5_001), by="north")
    first = await net.land(raw, "north")
    await net.agree(size=first.index + 2)
    assert await net.nodes["south"].replica.submit(raw) == first
    verdict = await net.nodes["south"].replica.check(net.nodes["south"].replica._wrap([raw]))
    assert verdict.refusals and verdict.refusals[0][1] == Replayed.code


async def test_a_killed_cometbft_is_started_again_and_its_node_loses_nothing(net: Net) -> None:
    south = net.nodes["south"]
    old = south.engine.pid
    landed = [asyncio.create_task(net.submit(release(6_000 + n), by="south")) for n in range(5)]
    net.kill_comet("south")
    others = [await net.submit(release(6_100 + n), by="north") for n in range(3)]
    mine = await asyncio.gather(*landed)
    assert south.engine.pid not in (None, old)
    await net.agree(size=max(each.index for each in [*mine, *others]) + 2)
    assert len(net.roots()) == 1


async def test_a_node_that_restarts_catches_up_and_goes_on(net: Net) -> None:
    await net.stop("clinic")
    missed = [await net.submit(release(7_000 + n), by="north") for n in range(3)]
    await net.start("clinic")
    await net.ready(["clinic"])
    again = await net.submit(release(7_100), by="clinic")
    await net.agree(size=max(again.index, *(each.index for each in missed)) + 2)
    assert len(net.roots()) == 1


async def test_a_node_that_lost_its_memory_replays_what_the_members_agreed_on(net: Net) -> None:
    """The member's ledger is gone; its CometBFT still has the blocks, and brings them again from the first."""
    await net.stop("health")
    height = net.nodes["north"].replica.height
    del net._disks["health"]
    await net.start("health")
    assert net.nodes["health"].replica.height == 0
    await net.ready(["health"])
    await net.agree(height=height)
    assert len(net.roots()) == 1


async def test_an_unregistered_node_is_turned_away_and_a_members_is_let_in(net: Net) -> None:
    stranger = SoftKey("a stranger's node")
    name = node_id(stranger.public)
    await net.start("shield", seed=lambda _: stranger.seed)
    await until(lambda: any(name in net.nodes[each].replica.turned_away for each in FOUR), "the stranger knocks")
    assert net.nodes["shield"].replica.height == 0
    for each in FOUR:
        found = await net.nodes[each].engine.call("net_info")
        assert name not in [peer["node_info"]["id"] for peer in found["peers"]]
    await net.stop("shield")
    await net.start("shield")
    await net.ready(["shield"])
    await net.agree()
    assert net.nodes["shield"].engine.status().power == 0
    await net.stop("shield")
