"""A member that the others suspend is hung up on, while the ledger goes on."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from commonward.adapters.cometbft import engine
from commonward.ledger.ids import BlockTime, MemberId, ProposalId, Purpose
from commonward.ledger.members import Propose, Suspend, Vote
from commonward.ledger.members.governance import ProposalClosed
from commonward.ledger.members.validators import validator_address
from tests.ledgerkit import commitment, member_soft_key
from tests.network.net import FOUR, Net, WallClock, until
from tests.workflows.test_replica import release


async def test_a_suspended_members_node_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_REDIAL_S", 1.0)
    monkeypatch.setattr(engine, "_TURN_S", 1.0)
    shield = validator_address(member_soft_key("shield", Purpose.NODE).public).hex()
    with TemporaryDirectory() as folder:
        async with Net(Path(folder), members=(*FOUR, "shield")) as net:
            processes = {name: net.nodes[name].engine.pid for name in FOUR}
            proposal = ProposalId(commitment("suspend")[:16])
            close = BlockTime(WallClock().now() + 3_600_000)
            asked = await net.submit(
                Propose(proposal, Suspend(MemberId("shield")), close, commitment("grounds")), by="north"
            )
            assert asked.code == 0
            for name in FOUR:
                await net.agree(FOUR, size=asked.index + 2)
                assert (await net.submit(Vote(proposal, True), by=name)).code in (0, ProposalClosed.code), name
            await until(lambda: not net.nodes["north"].replica.admits(shield), "the members suspend shield")
            await until(
                lambda: all(net.nodes[each].engine.pid not in (None, processes[each]) for each in FOUR),
                "each CometBFT starts again, one after another",
            )
            await net.ready(FOUR)
            after = await net.submit(release(1), by="north")
            await net.agree(FOUR, size=after.index + 2)
            assert net.nodes["shield"].replica.found(after.digest) is None
            for name in FOUR:
                found = await net.nodes[name].engine.call("net_info")
                assert shield not in [peer["node_info"]["id"] for peer in found["peers"]]
