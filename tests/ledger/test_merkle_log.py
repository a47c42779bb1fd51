"""The log against RFC 9162 written down word by word, and against proofs that lie."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.ledger.merkle.log import (
    EMPTY_ROOT,
    Log,
    MemoryLogStore,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)


def mth(leaves):
    """RFC 9162 2.1.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m, leaves):
    """RFC 9162 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m, leaves, known):
    """RFC 9162 2.1.4.1."""
    if m == len(leaves):
        return [] if known else [mth(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*subproof(m, leaves[:k], known), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def entries(count, start=0):
    return [b"entry %d" % n for n in range(start, start + count)]


def log_of(count):
    log = Log(MemoryLogStore())
    log.append(entries(count))
    return log


def test_small_logs_agree_with_the_rfc_in_every_root_and_proof():
    leaves = entries(20)
    log = log_of(20)
    for size in range(21):
        assert log.root(size) == mth(leaves[:size])
        for index in range(size):
            proof = log.prove_inclusion(index, size)
            assert list(proof) == path(index, leaves[:size])
            assert verify_inclusion(leaf_hash(leaves[index]), index, size, proof, log.root(size))
        for old in range(1, size + 1):
            proof = log.prove_consistency(old, size)
            assert list(proof) == subproof(old, leaves[:size], True)
            assert verify_consistency(old, size, log.root(old), log.root(size), proof)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=6), st.data())
def test_however_it_is_batched_or_reopened_the_log_is_the_rfcs(batches, data):
    store = MemoryLogStore()
    log = Log(store)
    total = 0
    for count in batches:
        log.append(entries(count, total))
        total += count
        if data.draw(st.booleans()):
            log = Log(store, total)
    leaves = entries(total)
    assert log.size == total
    assert log.root() == mth(leaves)
    if total:
        size = data.draw(st.integers(1, total))
        index = data.draw(st.integers(0, size - 1))
        proof = log.prove_inclusion(index, size)
        assert list(proof) == path(index, leaves[:size])
        assert verify_inclusion(leaf_hash(leaves[index]), index, size, proof, mth(leaves[:size]))
        old = data.draw(st.integers(0, size))
        proof = log.prove_consistency(old, size)
        assert verify_consistency(old, size, mth(leaves[:old]), mth(leaves[:size]), proof)


def test_a_log_of_three_tile_levels_proves_old_and_new_entries():
    log = Log(MemoryLogStore())
    for start in range(0, 70_000, 7_000):
        log.append(entries(7_000, start))
    for index in (0, 255, 256, 65_535, 65_536, 69_999):
        for size in (65_536, 65_537, 66_000, 70_000):
            if index < size:
                proof = log.prove_inclusion(index, size)
                assert verify_inclusion(leaf_hash(b"entry %d" % index), index, size, proof, log.root(size))
    for old in (1, 255, 256, 257, 65_535, 65_536, 65_537):
        assert verify_consistency(old, 70_000, log.root(old), log.root(), log.prove_consistency(old))


def test_staging_writes_nothing_and_tells_the_root_to_come():
    log = log_of(300)
    before = log.root()
    staged = log.stage(entries(77, 300))
    assert (log.size, log.root()) == (300, before)
    assert staged.root == mth(entries(377))
    log.commit(staged)
    assert (log.size, log.root()) == (377, staged.root)


def test_what_was_staged_over_another_log_is_not_committed():
    log = log_of(3)
    staged = log.stage([b"late"])
    log.append([b"first"])
    with pytest.raises(ValueError, match="stage again"):
        log.commit(staged)


def test_a_block_that_was_written_but_not_kept_is_overwritten_after_a_crash():
    store = MemoryLogStore()
    log = Log(store)
    log.append(entries(500))
    log.append([b"never kept"] * 300)
    log = Log(store, 500)
    log.append(entries(300, 500))
    assert log.root() == mth(entries(800))
    assert list(log.prove_inclusion(3)) == path(3, entries(800))


@pytest.mark.parametrize("size", [0, 1, 255, 256, 300, 511, 512, 600])
def test_truncating_goes_back_to_the_earlier_log(size):
    log = log_of(600)
    log.prove_inclusion(5)
    log.truncate(size)
    assert log.root() == mth(entries(size))
    log.append([b"other"] * 400)
    assert log.root() == mth(entries(size) + [b"other"] * 400)


@pytest.fixture(scope="module")
def seven():
    log = log_of(7)
    return log, log.root(), [log.prove_inclusion(n) for n in range(7)]


def test_the_empty_log_has_the_root_of_the_rfc_and_no_entry(seven):
    assert Log(MemoryLogStore()).root() == EMPTY_ROOT
    assert not verify_inclusion(leaf_hash(b""), 0, 0, (), EMPTY_ROOT)


def test_an_entry_is_not_shown_at_another_index_or_size(seven):
    _, root, proofs = seven
    for index in range(8):
        for size in range(9):
            good = index == 3 and size == 7
            # A path fixes index and size together only as far as its turns go: 7 and 8 leaves share those of entry 3,
            # and there it is the same statement, for the root says nothing of its size. The checkpoint names the size.
            if verify_inclusion(leaf_hash(b"entry 3"), index, size, proofs[3], root):
                assert good or (index == 3 and 4 < size <= 8)


def test_truncated_lengthened_or_misshapen_proofs_are_refused(seven):
    _, root, proofs = seven
    leaf = leaf_hash(b"entry 2")
    good = list(proofs[2])
    assert verify_inclusion(leaf, 2, 7, good, root)
    assert not verify_inclusion(leaf, 2, 7, good[:-1], root)
    assert not verify_inclusion(leaf, 2, 7, good[1:], root)
    assert not verify_inclusion(leaf, 2, 7, [*good, bytes(32)], root)
    assert not verify_inclusion(leaf, 2, 7, [good[0][:31], *good[1:]], root)
    assert not verify_inclusion(leaf, 2, 7, [good[0] + good[1], *good[2:]], root)
    assert not verify_inclusion(leaf[:31], 2, 7, good, root)
    assert not verify_inclusion(leaf, 2, 7, good, root[:31])
    assert not verify_inclusion(leaf, -1, 7, good, root)
    assert not verify_inclusion(leaf, 7, 7, good, root)


def test_an_inner_node_does_not_pass_for_an_entry(seven):
    """Second preimage: data that reads like the two children of an inner node has another hash than that node."""
    _, root, proofs = seven
    left, right = leaf_hash(b"entry 0"), leaf_hash(b"entry 1")
    inner = hashlib.sha256(b"\1" + left + right).digest()
    assert leaf_hash(left + right) != inner
    assert not verify_inclusion(leaf_hash(left + right), 0, 4, proofs[0][1:], root)
    assert not verify_inclusion(leaf_hash(b"\1" + left + right), 0, 7, proofs[0][1:], root)


def test_another_entrys_path_shows_nothing(seven):
    _, root, proofs = seven
    for index in range(7):
        for other in range(7):
            shown = verify_inclusion(leaf_hash(b"entry %d" % index), index, 7, proofs[other], root)
            assert shown == (index == other)


def test_a_rewritten_log_is_not_consistent_with_what_was_seen():
    honest = log_of(50)
    forked = Log(MemoryLogStore())
    forked.append([*entries(20), b"rewritten", *entries(29, 21)])
    for old in range(21, 50):
        proof = forked.prove_consistency(old, 50)
        assert not verify_consistency(old, 50, honest.root(old), forked.root(), proof)
        assert verify_consistency(20, 50, honest.root(20), forked.root(), forked.prove_consistency(20, 50))


def test_misshapen_consistency_proofs_are_refused():
    log = log_of(13)
    proof = list(log.prove_consistency(6, 13))
    old_root, root = log.root(6), log.root()
    assert verify_consistency(6, 13, old_root, root, proof)
    assert not verify_consistency(6, 13, old_root, root, proof[:-1])
    assert not verify_consistency(6, 13, old_root, root, [*proof, bytes(32)])
    assert not verify_consistency(6, 13, old_root, root, [])
    assert not verify_consistency(7, 13, old_root, root, proof)
    assert not verify_consistency(13, 6, root, old_root, proof)
    assert not verify_consistency(6, 13, old_root, root, [proof[0][:31], *proof[1:]])
    assert not verify_consistency(6, 6, old_root, root, [])
    assert not verify_consistency(6, 6, old_root, old_root, [bytes(32)])
    assert not verify_consistency(0, 13, old_root, root, [])
    assert verify_consistency(0, 13, EMPTY_ROOT, root, [])


def test_asking_for_what_is_not_there_says_so():
    log = log_of(5)
    with pytest.raises(ValueError, match="below 5"):
        log.prove_inclusion(5)
    with pytest.raises(ValueError, match="at most 5"):
        log.prove_inclusion(0, 6)
    with pytest.raises(ValueError, match="at most 5"):
        log.root(6)
    with pytest.raises(ValueError, match="at most 3"):
        log.prove_consistency(4, 3)
    with pytest.raises(LookupError, match="level 0"):
        Log(MemoryLogStore(), 5)


VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "log.json").read_text())
ROOTS = {row["size"]: bytes.fromhex(row["root"]) for row in VECTORS["roots"]}


def unhex(texts):
    return [bytes.fromhex(text) for text in texts]


def test_vectors_of_the_log_hold_by_the_rfc_alone():
    assert all(root == mth(entries(size)) for size, root in ROOTS.items())
    for row in VECTORS["inclusion"]:
        leaves = entries(row["size"])
        assert unhex(row["path"]) == path(row["index"], leaves)
        assert verify_inclusion(
            bytes.fromhex(row["leaf_hash"]), row["index"], row["size"], unhex(row["path"]), mth(leaves)
        )
    for row in VECTORS["consistency"]:
        old, new = entries(row["old"]), entries(row["new"])
        if row["old"]:
            assert unhex(row["path"]) == subproof(row["old"], new, True)
        assert verify_consistency(row["old"], row["new"], mth(old), mth(new), unhex(row["path"]))


@pytest.mark.parametrize("row", VECTORS["bad_inclusion"], ids=lambda row: row["why"])
def test_vectors_of_inclusion_that_no_implementation_accepts(row):
    assert not verify_inclusion(
        bytes.fromhex(row["leaf_hash"]), row["index"], row["size"], unhex(row["path"]), mth(entries(8))
    )


@pytest.mark.parametrize("row", VECTORS["bad_consistency"], ids=lambda row: row["why"])
def test_vectors_of_consistency_that_no_implementation_accepts(row):
    roots = mth(entries(row["old"])), mth(entries(row["new"]))
    assert not verify_consistency(row["old"], row["new"], *roots, unhex(row["path"]))
