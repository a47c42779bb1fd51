"""CometBFT forgets old blocks and the ledger loses nothing: each node's own log has them, over restarts.

Who was away until the others had forgotten the block that it needs next is told so, and goes on from a snapshot.
"""

import asyncio
import shutil
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from commonward.adapters.cometbft.home import VOTE_STATE
from commonward.apps.forgotten import Forgotten
from commonward.ledger.ids import MemberId
from commonward.ledger.merkle.log import leaf_hash, verify_inclusion
from tests.network.net import PATIENCE_S, QUICK, Net, until
from tests.network.test_network_joining import first_block
from tests.workflows.test_replica import release

AWAY = "south"
OTHERS = ("clinic", "health", "north")


def looking(net: Net, name: str) -> Forgotten:
    """As `apps.engines` sets it up."""
    return Forgotten(net.nodes[name].engine.status, net.peers.of(MemberId(name)).ask)


async def test_blocks_that_cometbft_forgot_stand_in_our_own_log_and_who_needs_one_is_told() -> None:
    tuning = replace(QUICK, empty_block_ms=2_000, snapshot_from=1)
    with TemporaryDirectory() as folder:
        few = {"keep_blocks": 2}
        async with Net(Path(folder), durable=True, snapshots_every=4, tuning=tuning, replica_options=few) as net:
            landed = [await net.submit(release(n), by=name) for n, name in enumerate(net.members)]
            await net.agree(size=landed[-1].index + 2)
            await net.stop(AWAY)
            left_at = max(each.height for each in landed)
            for name in OTHERS:
                deadline = time.monotonic() + PATIENCE_S
                while await first_block(net, name) <= left_at + 10:
                    assert time.monotonic() < deadline, f"{name} keeps all blocks"
                    await asyncio.sleep(0.2)

            # A restart over pruned blocks: CometBFT and the node agree on where they stand, and the past is whole.
            await net.stop("north")
            await net.start("north")
            await net.ready(["north"])
            await net.agree(OTHERS)
            north = net.nodes["north"].replica
            tip = north.machine.tip
            for each in landed:
                entry, leaf = north.entry(each.index), north.leaf(each.index)
                assert entry is not None and entry.digest == each.digest and leaf is not None
                path = north.prove_inclusion(each.index, tip.size)
                assert verify_inclusion(leaf_hash(leaf), each.index, tip.size, path, tip.root)
            assert north.raw_block(1), "our own block log begins with the first block"

            # Nobody has what the one who was away needs next. It says so, and is not taken for one that catches up.
            await net.start(AWAY)
            looks = looking(net, AWAY)

            async def told() -> bool:
                await asyncio.sleep(0.5)
                await looks.look()
                return bool(looks.trouble)

            await until(told, "the others' first blocks are told")
            assert "--replace" in looks.trouble
            found = looking(net, "north")
            await found.look()
            await found.look()
            assert found.trouble == "", "who is on the line asks nobody"

            # As `restore --replace` leaves it: no ledger and no blocks, and what its validator voted on.
            await net.stop(AWAY)
            home = net.home(AWAY)
            votes = (home / VOTE_STATE).read_bytes()
            shutil.rmtree(net.folder / AWAY / "ledger")
            shutil.rmtree(home)
            (home / VOTE_STATE).parent.mkdir(parents=True)
            (home / VOTE_STATE).write_bytes(votes)
            await net.start(AWAY)
            await net.ready([AWAY])
            later = await net.submit(release(100), by=AWAY)
            await net.agree(size=later.index + 2)
            assert len(net.roots()) == 1
            assert net.nodes[AWAY].disk.blocks.first > left_at
