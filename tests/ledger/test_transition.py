"""Blocks become outcomes and checkpoints: the same ones, whenever a node is stopped and started again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.ledger.encoding import decode
from commonward.ledger.merkle.log import MemoryLogStore, leaf_hash, verify_inclusion
from commonward.ledger.merkle.map import verify_absence, verify_presence
from commonward.ledger.registry import ticks_key
from commonward.ledger.state import MemoryStore
from commonward.ledger.transactions import AnchorBatch, Release
from commonward.ledger.transition import block_leaf, outcome_leaf
from tests.ledgerkit import START, Kit, commitment


def a_release(n: object) -> Release:
    return Release(commitment("tag", n), *(commitment(n, i) for i in range(6)))  # type: ignore[arg-type]


def test_a_fresh_ledger_has_a_checkpoint_over_its_genesis_state():
    tip = Kit().machine.tip
    assert (tip.height, tip.time, tip.size) == (0, START, 1)


def test_each_transaction_has_a_leaf_and_the_block_has_one_behind_them():
    kit = Kit()
    staged = kit.block([kit.sign(AnchorBatch(kit.tick(), commitment("root")), by="north"), b"nonsense"])
    accepted, refused = staged.outcomes
    assert (accepted.code, refused.code) == (0, 101)
    tip = kit.machine.tip
    assert staged.leaves == (
        outcome_leaf(accepted.digest, 1, tip.time, 0),
        outcome_leaf(refused.digest, 1, tip.time, 101),
        block_leaf(1, tip.time, tip.state_root),
    )
    path = kit.machine.log.prove_inclusion(accepted.index, tip.size)
    assert verify_inclusion(leaf_hash(staged.leaves[0]), accepted.index, tip.size, path, tip.root)
    leaf = decode(staged.leaves[0])
    assert isinstance(leaf, list) and leaf[:2] == [1, accepted.digest]


def test_state_is_proven_present_and_absent_under_the_root():
    kit = Kit()
    key = ticks_key("north")
    assert verify_absence(kit.machine.tip.state_root, key, kit.machine.prove_state(key))
    kit.accept(AnchorBatch(kit.tick(), commitment("root")), by="north")
    value = kit.machine.get(key)
    assert value is not None
    assert verify_presence(kit.machine.tip.state_root, key, value, kit.machine.prove_state(key))


def test_staging_changes_nothing_until_it_is_committed():
    kit = Kit()
    before, key = kit.machine.tip, ticks_key("north")
    block = kit.block_bytes([kit.sign(AnchorBatch(kit.tick(), commitment("root")), by="north")])
    first = kit.machine.stage(block)
    assert kit.machine.tip == before and kit.machine.get(key) is None
    assert verify_absence(before.state_root, key, kit.machine.prove_state(key))  # proofs show the committed state
    again = kit.machine.stage(block)
    assert again.checkpoint == first.checkpoint
    kit.machine.commit(again)
    assert (kit.machine.tip.size, kit.machine.tip.root) == again.checkpoint


def test_an_idle_block_changes_nothing():
    kit = Kit()
    before = kit.machine.tip
    staged = kit.block()
    assert staged.idle and not staged.leaves and staged.checkpoint == (before.size, before.root)
    assert kit.machine.tip == before and kit.machine.applied.height == 1
    kit.reopen()
    assert kit.machine.applied.height == 1 and kit.machine.tip == before


class FailingStore(MemoryStore):
    """Fails on cue, before or after its effect."""

    fail: str = ""

    def write(self, changes):
        if self.fail == "before":
            raise OSError("no room")
        super().write(changes)
        if self.fail == "after":
            raise OSError("power cut")


def test_a_store_that_fails_leaves_the_machine_where_it_was_and_the_block_can_be_tried_again():
    store = FailingStore()
    kit = Kit(store=store)
    before = kit.machine.tip
    block = kit.block_bytes([kit.sign(a_release(1), by="north")])
    for fail in ("before", "after"):
        store.fail = fail
        with pytest.raises(OSError):
            kit.machine.commit(kit.machine.stage(block))
        assert kit.machine.tip == before
    store.fail = ""
    kit.machine.commit(kit.machine.stage(block))
    assert kit.machine.tip.height == 1


def test_a_log_store_ahead_of_the_state_after_a_crash_is_cut_back():
    store = FailingStore()
    kit = Kit(store=store)
    kit.block([kit.sign(a_release(0), by="north")])
    before = kit.machine.tip
    staged = kit.machine.stage(kit.block_bytes([kit.sign(a_release(1), by="north")]))
    assert staged.append is not None
    for level, index, hashes in staged.append.rows:  # the log's hashes were written, then the machine died
        kit.log_store.append(level, index, hashes)
    kit.reopen()
    assert kit.machine.tip == before and kit.machine.log.root() == before.root


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_the_same_blocks_give_the_same_roots_in_any_pattern_of_restarts(data):
    steady = Kit()
    blocks, roots = [], []
    for n in range(8):
        steady.later(data.draw(st.integers(1, 1_500_000), label="pause"))
        count = data.draw(st.integers(0, 3), label="transactions")
        raws = [steady.sign(a_release((n, i)), by="south") for i in range(count)]
        raws.append(steady.sign(AnchorBatch(steady.tick(), commitment(n)), by="north"))
        if data.draw(st.booleans(), label="repeats one"):
            raws.append(raws[0])
        block = steady.block_bytes(raws)
        steady.machine.commit(steady.machine.stage(block))
        blocks.append(block)
        roots.append(steady.machine.tip)
    other = Kit(store=MemoryStore(), log_store=MemoryLogStore(), map_bits=4)
    for block, expected in zip(blocks, roots, strict=True):
        if data.draw(st.booleans(), label="restart"):
            other.reopen()
        staged = other.machine.stage(block)
        if data.draw(st.booleans(), label="restart between stage and commit"):
            other.reopen()
            staged = other.machine.stage(block)
        other.machine.commit(staged)
        assert other.machine.tip == expected
