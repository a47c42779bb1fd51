"""A ledger that moved is joined by a snapshot whose last 15 minutes lie on both sides of the move."""

import asyncio
import random

import pytest

from commonward.ledger.genesis import Genesis, Imported
from commonward.ledger.ids import BlockTime, Height, MemberId
from commonward.ledger.rules import Header
from commonward.ledger.staging import block_leaf
from commonward.workflows.agreeing import AgreeingReplica
from commonward.workflows.indexes import BlockFacts, leaves_only
from commonward.workflows.memory import SteppedClock
from commonward.workflows.replica import CannotFollow
from commonward.workflows.snapshots import ChunkAnswer, OfferAnswer, SnapshotStore
from tests.ledgerkit import Kit, demo_genesis
from tests.memory_engine import MAP_BITS, Disk, SoftKeys
from tests.snapshotkit import Joiner, MemoryGround, Source, _nothing, a_release


def going_on(kit: Kit) -> Genesis:
    tip, created = kit.machine.tip, BlockTime(kit.machine.applied.time + 1000)
    imported = Imported(kit.ledger, tip.size, tip.root, int(kit.machine.applied.height), kit.ledger)
    return demo_genesis(created=created, consensus=True, imported=imported)


def moved(old: Source) -> Source:
    """The same stores under the genesis that goes on from what they hold."""
    genesis = going_on(old.kit)
    new = Source(genesis)
    new.state, new.log_store = old.state, old.log_store
    new.kit = Kit(genesis, old.state, old.log_store, 8)
    tip = new.kit.machine.tip
    leaf = block_leaf(tip.height, tip.time, tip.state_root)
    new.state.write(leaves_only(BlockFacts(tip.height, tip.size, tip.time), [leaf]))
    new.store = SnapshotStore(
        genesis=genesis, state=new.state, log_store=new.log_store, flush=lambda: None, shelf=new.shelf,
        ground=MemoryGround(), adopt=_nothing, every=1, map_bits=8,
    )  # fmt: skip
    return new


@pytest.mark.parametrize("blocks", [0, 1, 30])
def test_who_joins_by_a_snapshot_goes_on_as_who_was_there_before_the_move(blocks: int) -> None:
    old = Source()
    old.live(60, random.Random(1))
    source = moved(old)
    source.live(blocks, random.Random(2))

    async def joined() -> Kit:
        await source.snapshot()
        joiner = Joiner(source.kit.genesis)
        answer, applied = await joiner.fetch(source.store, source.app_hash)
        assert answer == OfferAnswer.ACCEPT and {each.answer for each in applied} == {ChunkAnswer.ACCEPT}
        return joiner.kit

    kit = asyncio.run(joined())
    assert kit.machine.whole and kit.machine.tip == source.kit.machine.tip
    block = source.kit.block_bytes([source.kit.sign(a_release("next"), by="north")])
    one, other = source.kit.machine.stage(block), kit.machine.stage(block)
    assert one.checkpoint == other.checkpoint and one.state_root == other.state_root


async def test_a_newcomer_without_a_snapshot_executes_nothing_and_cosigns_nothing() -> None:
    """What it could make of genesis alone is no checkpoint of this ledger: its signature would be one of two roots."""
    old = Source()
    old.live(5)
    genesis, disk, clock = going_on(old.kit), Disk(), SteppedClock(int(old.kit.machine.applied.time) + 2000)
    node = AgreeingReplica(
        keys=SoftKeys(MemberId("north")), genesis=genesis, store=disk.store, log_store=disk.log, blocks=disk.blocks,
        clock=clock, map_bits=MAP_BITS,
    )  # fmt: skip
    said: list[object] = []

    class Line:
        def carry(self, number: int, bundle: bytes) -> None: ...

        def cosigned(self, *what: object) -> None:
            said.append(what)

    node.attach(Line())
    clock.move(60_000)
    node.tick()
    assert not said and node.info()[0] == 0
    with pytest.raises(CannotFollow, match="snapshot"):
        await node.execute(Header(Height(genesis.height + 1), BlockTime(genesis.created + 5000)), [])
    node.close()
