"""What the members vote for on real CometBFT: another weight counts there, other rules hold from their height on."""

import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from commonward.ledger import versions
from commonward.ledger.ids import BlockTime, Height, MemberId, ProposalId
from commonward.ledger.members import Change, Propose, SetProtocol, SetWeight, Vote
from commonward.ledger.rulebook import VERSION_1
from commonward.ledger.transactions import BreakGlass
from tests.ledgerkit import commitment
from tests.network.net import FOUR, Net, WallClock, until
from tests.workflows.test_replica import release


async def decided(net: Net, change: Change) -> None:
    """All four vote for it: more than two thirds of five."""
    proposal = ProposalId(commitment(repr(change))[:16])
    close = BlockTime(WallClock().now() + 3_600_000)
    asked = await net.submit(Propose(proposal, change, close, commitment("grounds")), by="north")
    assert asked.code == 0, asked
    for name in FOUR:
        await net.agree(size=asked.index + 2)
        asked = await net.submit(Vote(proposal, True), by=name)
        assert asked.code == 0, asked
    await net.agree(size=asked.index + 2)
    assert net.nodes["north"].replica.machine.view().governance.get(proposal) is None


async def test_votes_change_a_validators_power_and_the_rules_at_a_height(monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryDirectory() as folder:
        async with Net(Path(folder)) as net:
            await decided(net, SetWeight(MemberId("north"), 11))
            await until(lambda: net.nodes["north"].engine.status().power == 11, "CometBFT counts north's new weight")

            # No program here knows version 2: each node stops before its height, says so, and has lost nothing.
            height = net.nodes["north"].replica.height + 60
            await decided(net, SetProtocol(2, Height(height)))
            before = net.nodes["north"].replica.machine.tip.size
            numbers = itertools.count(100)
            while net.nodes["north"].replica.height < height - 6:  # the last ones come by themselves, idle
                assert (await net.submit(release(next(numbers)), by="north")).code == 0
            # Two get that far at least: without them the others cannot decide the last block, and those whom the votes
            # for it did not reach in time wait for them.
            await until(lambda: sum(net.nodes[name].failure is not None for name in FOUR) >= 2, "the nodes stop")
            for name in FOUR:
                node = net.nodes[name]
                assert node.replica.height <= height - 1
                if node.failure is not None:
                    assert f"from height {height} the rules are version 2" in str(node.failure)
                    assert node.replica.height == height - 1
                    assert node.replica.machine.tip.size >= before
            stopped = [name for name in FOUR if net.nodes[name].failure is not None]
            assert len(net.roots(stopped)) == 1

            # Upgraded, one after another, they go on with the block at which they stopped.
            second = VERSION_1.but(2, without=(BreakGlass.KIND,))
            monkeypatch.setitem(versions.VERSIONS, 2, second)
            for name in FOUR:
                await net.stop(name)
                await net.start(name)
            await net.ready()
            after = await net.submit(release(1), by="south")
            assert after.code == 0
            await net.agree(height=height, size=after.index + 2)
            assert len(net.roots()) == 1
