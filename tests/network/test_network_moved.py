"""A ledger that a sequencer ordered goes on under real CometBFT processes: same log, same heights, same proofs."""

import time
from pathlib import Path

from commonward.apps.signing.history import ReplicaHistory
from commonward.ledger.ids import BlockTime
from commonward.ledger.merkle.log import leaf_hash, verify_inclusion
from commonward.ledger.staging import outcome_leaf
from commonward.records.trust import load_trust
from commonward.workflows.memory import SteppedClock
from tests.ledgerkit import MEMBERS, demo_genesis
from tests.memory_engine import MemoryEngine
from tests.migration_world import MovedWorld, move
from tests.network.net import FOUR, PATIENCE_MS, Net
from tests.workflows.test_replica import release


async def moved_from_solo() -> tuple[MovedWorld, int]:
    """What the members have on disk once they moved, and where a mark from before stands. Time before the move is
    stepped, and lies in the past of this machine's clock: CometBFT would wait for a genesis of the future."""
    began = time.time_ns() // 1_000_000 - 180_000
    weights = {name: 10 if name in FOUR else 0 for name in MEMBERS}
    engine = MemoryEngine(demo_genesis(weights=weights, created=BlockTime(began)), SteppedClock(began + 1000))
    async with engine:
        landed = await engine.nodes["north"].submit(engine.sign(release(1), by="north"))
        await engine.settle()
        moved = await move(engine)
    return moved, landed.index


async def test_a_ledger_goes_on_under_cometbft_and_a_node_of_it_restarts(tmp_path: Path) -> None:
    moved, index = await moved_from_solo()
    imported = moved.genesis.imported
    assert imported is not None
    net = Net(tmp_path, genesis=moved.genesis)
    net._disks.update({name: moved.disks[name] for name in FOUR})
    async with net:
        committed = await net.submit(release(2), by="south")
        assert committed.code == 0
        assert committed.height > moved.genesis.height and committed.index > imported.size
        await net.agree(size=committed.index + 2)
        assert len(net.roots()) == 1

        node = net.nodes["north"].replica
        entry = node.entry(index)
        assert entry is not None, "what stood before is found where it was"
        proven = await node.cosigned(committed.index + 1, PATIENCE_MS)
        leaf = leaf_hash(outcome_leaf(entry.digest, entry.height, entry.time, entry.code))
        path = node.prove_inclusion(index, proven.size)
        assert verify_inclusion(leaf, index, proven.size, path, proven.root)
        assert node.prove_consistency(imported.size, proven.size), "and the old log is the beginning of this one"
        trust = load_trust(ReplicaHistory(node, moved.file.to_bytes()).trust_file())
        assert trust.follows(imported.ledger) and trust.quorum(proven.note).weight > 20

        await net.crash("clinic")
        await net.start("clinic")
        await net.ready(["clinic"])
        last = await net.submit(release(3), by="clinic")
        await net.agree(size=last.index + 2)
        assert len(net.roots()) == 1
