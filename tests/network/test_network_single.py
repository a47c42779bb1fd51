"""One validator on real CometBFT: what its mempool says, and what happens when our own part of it fails."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from commonward.adapters.cometbft.engine import EngineFailed
from commonward.adapters.cometbft.home import RPC_SOCKET, Tuning
from commonward.adapters.cometbft.rpc import Handed, Rpc
from commonward.ledger.ids import BlockTime
from commonward.ledger.refusals import BadSignature
from commonward.ledger.rules import Header
from commonward.ledger.transactions import assemble, parse_transaction
from tests.ledgerkit import MEMBERS, demo_genesis
from tests.network.net import QUICK, VERSIONS, Net, WallClock, until
from tests.workflows.test_replica import release


@asynccontextmanager
async def alone(version: str = VERSIONS[0], tuning: Tuning = QUICK) -> AsyncIterator[Net]:
    created = BlockTime(WallClock().now() - 1000)
    weights = {name: 10 if name == "north" else 0 for name in MEMBERS}
    genesis = demo_genesis(weights=weights, pilot=True, created=created, consensus=True)
    with TemporaryDirectory() as folder:
        async with Net(Path(folder), version=version, members=["north"], genesis=genesis, tuning=tuning) as net:
            yield net


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_the_mempool_says_of_a_bundle_is_understood(version: str) -> None:
    """CometBFT gives these errors no codes: a version that words them otherwise must show here."""
    async with alone(version, replace(QUICK, mempool_bundles=2)) as net:
        north = net.nodes["north"]
        rpc = Rpc(net.home("north") / RPC_SOCKET, timeout_s=60)
        a, b, c, d = (north.replica._wrap([net.sign(release(n), by="north")]) for n in range(4))
        assert await rpc.hand_in(a) == Handed()
        await until(lambda: north.replica.machine.tip.size >= 3, "A lands")
        parsed = parse_transaction(net.sign(release(9), by="north"))
        forged = assemble(parsed.body_bytes, parsed.proof_kind, parsed.proof[:-1] + bytes([parsed.proof[-1] ^ 1]))
        refused = await rpc.hand_in(north.replica._wrap([forged]))
        assert [(digest, code) for digest, code, _ in refused.refusals] == [(parsed.digest, BadSignature.code)]

        north.replica.propose = lambda *_: []  # type: ignore[method-assign]  # from now on, what waits goes on waiting
        assert await rpc.hand_in(b) == Handed()
        assert await rpc.hand_in(b) == Handed(), "it waits already"
        assert await rpc.hand_in(a) == Handed(), "it stands already"
        assert await rpc.hand_in(c) == Handed()
        full = await rpc.hand_in(d)
        assert full.later and not full.refusals
        await rpc.close()


async def test_a_node_that_cannot_execute_stops_with_its_cometbft_and_goes_on_once_mended() -> None:
    async with alone() as net:
        north = net.nodes["north"]
        before = await net.submit(release(1), by="north")

        async def full(header: Header, bundles: Sequence[bytes], misbehaved: Sequence[bytes] = ()) -> Any:
            raise OSError("disk full")

        north.replica.execute = full  # type: ignore[method-assign]
        await until(lambda: north.failure is not None, "the node stops")
        assert isinstance(north.failure, EngineFailed) and "disk full" in str(north.failure)
        assert north.engine.pid is None, "CometBFT must not vote on"
        await net.stop("north")
        await net.start("north")
        await net.ready()
        after = await net.submit(release(2), by="north")
        assert after.height > before.height and net.nodes["north"].replica.found(before.digest) == before
