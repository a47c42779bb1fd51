"""Trees in parts: a log from any leaf on, a map laid down subtree by subtree, are the same trees."""

import hashlib
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.ledger.merkle.bulk import BulkLoad, Subtree, fold_entries, fold_subtrees
from commonward.ledger.merkle.log import Log, MemoryLogStore, NotHeld, tile_base
from commonward.ledger.merkle.map import AuthenticatedMap
from commonward.ledger.merkle.ranges import cover, fold_stretch, frontier_nodes, nodes_of, root_over
from commonward.ledger.state import MemoryStore


def leaves(first: int, last: int) -> list[bytes]:
    return [b"leaf %d" % index for index in range(first, last)]


def grown(size: int) -> tuple[Log, MemoryLogStore]:
    store = MemoryLogStore()
    log = Log(store)
    log.append(leaves(0, size))
    return log, store


def frontier(store: MemoryLogStore, start: int) -> list[bytes]:
    levels = (start.bit_length() + 7) // 8
    return [store.read(t, tile_base(start, t), (start >> 8 * t) - tile_base(start, t)) for t in range(levels)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 70_000), st.data())
def test_a_log_from_any_leaf_on_gives_the_same_roots_and_proofs(size: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, size))
    whole, store = grown(size)
    rows = frontier(store, start)
    stretch = fold_stretch(start, store.read(0, start, size - start))
    assert [(node.level, node.place) for node in stretch] == list(cover(start, size))
    assert nodes_of(start, size, b"".join(node.hash for node in stretch)) == stretch
    assert root_over(frontier_nodes(start, rows) + stretch) == whole.root()
    part_store = MemoryLogStore()
    part_store.begin(start, rows)
    part = Log(part_store, start)
    assert part.append(leaves(start, size)) == whole.root()
    assert part.append(leaves(size, size + 600)) == whole.append(leaves(size, size + 600))
    for index in data.draw(st.lists(st.integers(start, size + 599), max_size=8)):
        assert part.prove_inclusion(index) == whole.prove_inclusion(index)


def test_a_proof_of_what_lies_before_the_beginning_says_so() -> None:
    _, store = grown(70_000)
    part_store = MemoryLogStore()
    part_store.begin(70_000, frontier(store, 70_000))
    part = Log(part_store, 70_000)
    with pytest.raises(NotHeld, match="joined by a snapshot"):
        part.prove_inclusion(5)


def test_a_beginning_can_be_filled_in_later() -> None:
    whole, store = grown(70_000)
    part_store = MemoryLogStore()
    part_store.begin(70_000, frontier(store, 70_000))
    for level in (0, 1, 2):
        count = tile_base(70_000, level)
        part_store.fill(level, 0, store.read(level, 0, count))
    with pytest.raises(ValueError, match="from before leaf 70000"):
        part_store.fill(0, 70_000, bytes(32))
    part_store.whole()
    assert Log(part_store, 70_000).prove_inclusion(5) == whole.prove_inclusion(5)


@pytest.mark.parametrize("wrong", ["missing", "twice", "swapped"])
def test_parts_of_a_log_that_do_not_follow_each_other_make_no_root(wrong: str) -> None:
    _, store = grown(11)
    nodes = fold_stretch(0, store.read(0, 0, 11))
    bad = {"missing": [nodes[0], nodes[2]], "twice": [nodes[0], nodes[0]], "swapped": [nodes[1], nodes[0]]}[wrong]
    with pytest.raises(ValueError, match="begins at leaf"):
        root_over(bad)


def test_the_wrong_number_of_hashes_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 3 hashes"):
        nodes_of(0, 11, bytes(64))
    with pytest.raises(ValueError, match="of 1 levels"):
        frontier_nodes(11, [])
    with pytest.raises(ValueError, match="11 hashes of level 0"):
        frontier_nodes(11, [bytes(32)])


def entries_of(values: Mapping[bytes, bytes]) -> list[bytes]:
    return sorted(hashlib.sha256(key).digest() + hashlib.sha256(value).digest() for key, value in values.items())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 400), st.sampled_from([4, 6, 9]), st.integers(0, 10))
def test_a_map_laid_down_at_once_has_the_same_root_and_records(count: int, bits: int, depth: int) -> None:
    values = {b"key %d" % n: b"value %d" % n for n in range(count)}
    store = MemoryStore()
    tree = AuthenticatedMap(store, bits)
    store.write(tree.update(values))
    tree.commit()
    load, laid, subtrees = BulkLoad(bits), MemoryStore(), []
    for prefix in range(1 << depth):
        place = Subtree(depth, prefix, 0, b"")
        part = [entry for entry in entries_of(values) if place.holds(entry)]
        folded = load.fold(depth, prefix, part)
        assert (folded.subtree.type, folded.subtree.hash) == fold_entries(part, depth)
        subtrees.append(folded.subtree)
        laid.write(load.keep(folded))
    laid.write(load.finish())
    assert fold_subtrees(subtrees)[1] == tree.root == AuthenticatedMap(laid, bits).root
    assert laid.cells == store.cells


def test_subtrees_that_leave_a_gap_make_no_map() -> None:
    one = Subtree(1, 0, 0, bytes(32))
    with pytest.raises(ValueError, match="none from 8000000000000000"):
        fold_subtrees([one])
    with pytest.raises(ValueError, match="expected a subtree from prefix"):
        fold_subtrees([one, one])
