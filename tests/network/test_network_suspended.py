"""A member that the others suspend is hung up on, while the ledger goes on."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from commonward.adapters.cometbft import engine
from commonward.adapters.cometbft.rpc import RpcAway
from commonward.ledger.ids import BlockTime, MemberId, ProposalId, Purpose
from commonward.ledger.members import Propose, Suspend, Vote
from commonward.ledger.members.governance import ProposalClosed
from commonward.ledger.members.validators import validator_address
from tests.ledgerkit import commitment, member_soft_key
from tests.network.net import FOUR, Net, WallClock, until
from tests.workflows.test_replica import release


async def connected(net: Net, name: str, node: str) -> bool:
    found = await net.nodes[name].engine.call("net_info")
    return node in [peer["node_info"]["id"] for peer in found.get("peers", ())]


async def test_a_suspended_members_node_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_REDIAL_S", 1.0)
    monkeypatch.setattr(engine, "_TURN_S", 1.0)
    shield = validator_address(member_soft_key("shield", Purpose.NODE).public).hex()
    with TemporaryDirectory() as folder:
        async with Net(Path(folder), members=(*FOUR, "shield")) as net:
            # Who is not connected to it by now would turn it away later, and need not start again.
            for name in FOUR:
                await until(partial(connected, net, name, shield), f"{name} is connected to shield")
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
            for name in FOUR:
                await until(partial(hung_up, net, name, shield), f"{name} hangs up on shield")
            # CometBFT hangs up by starting again, unless the line broke before its turn came.
            assert any(net.nodes[name].engine.pid != processes[name] for name in FOUR)
            assert MemberId("shield") not in net.nodes["north"].engine.status().of, "nor is it dialled any more"
            await net.ready(FOUR)
            after = await net.submit(release(1), by="north")
            await net.agree(FOUR, size=after.index + 2)
            assert net.nodes["shield"].replica.found(after.digest) is None
            for name in FOUR:
                assert await hung_up(net, name, shield), f"{name} let shield in again"


async def hung_up(net: Net, name: str, node: str) -> bool:
    """Its CometBFT answers, and the node is none of its peers."""
    if net.nodes[name].replica.admits(node):
        return False
    try:
        return not await connected(net, name, node)
    except RpcAway:
        return False  # it is starting again
