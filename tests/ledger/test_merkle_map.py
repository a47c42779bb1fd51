"""The map against its rules written down naively, and against proofs that lie."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.ledger.merkle import buckets
from commonward.ledger.merkle.map import EMPTY_ROOT, AuthenticatedMap, MapProof, verify_absence, verify_presence


def sha(data):
    return hashlib.sha256(data).digest()


def naive_root(pairs, depth=0):
    """The rules as sentences: {key hash: value hash} to root."""
    if not pairs:
        return bytes(32)
    if len(pairs) == 1:
        [(kh, vh)] = pairs.items()
        return sha(b"\0" + kh + vh)
    sides: tuple[dict[bytes, bytes], dict[bytes, bytes]] = ({}, {})
    for kh, vh in pairs.items():
        sides[int.from_bytes(kh, "big") >> (255 - depth) & 1][kh] = vh
    return sha(b"\1" + naive_root(sides[0], depth + 1) + naive_root(sides[1], depth + 1))


def root_of(values):
    return naive_root({sha(k): sha(v) for k, v in values.items()})


class Store(dict[bytes, bytes]):
    """A store that takes what update returned, as the caller of the map does."""

    def take(self, writes):
        for key, value in writes.items():
            if value is None:
                self.pop(key, None)
            else:
                self[key] = value


def apply(store, tree, changes):
    store.take(tree.update(changes))
    tree.commit()


def filled(count, bits=4):
    store, values = Store(), {b"key %d" % n: b"value %d" % n for n in range(count)}
    tree = AuthenticatedMap(store, bits)
    apply(store, tree, values)
    return store, tree, values


def grind(prefix_bits, count, start=0):
    """Keys whose hashes share their first bits, as an attacker finds them."""
    found: list[bytes] = []
    n = start
    target = int.from_bytes(sha(b"the victim"), "big") >> (256 - prefix_bits)
    while len(found) < count:
        key = b"ground %d" % n
        if int.from_bytes(sha(key), "big") >> (256 - prefix_bits) == target:
            found.append(key)
        n += 1
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.integers(0, 150), st.one_of(st.none(), st.binary(max_size=3)), max_size=120),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([4, 5, 7]),
    st.data(),
)
def test_whatever_comes_and_goes_the_root_is_that_of_what_is_left(rounds, bits, data):
    store = Store()
    values: dict[bytes, bytes] = {}
    tree = AuthenticatedMap(store, bits)
    for changes in rounds:
        named = {b"%d" % n: v for n, v in changes.items()}
        apply(store, tree, named)
        values = {k: v for k, v in (values | named).items() if v is not None}
        if data.draw(st.booleans()):
            tree = AuthenticatedMap(store, bits)
        assert tree.root == root_of(values)
    for n in range(0, 160, 7):
        key = b"%d" % n
        proof = tree.prove(key)
        assert MapProof.from_value(proof.to_value()) == proof
        if key in values:
            assert verify_presence(tree.root, key, values[key], proof)
            assert not verify_absence(tree.root, key, proof)
        else:
            assert verify_absence(tree.root, key, proof)
            assert not verify_presence(tree.root, key, b"", proof)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 17, 200, 3000])
def test_how_a_node_stores_the_map_never_enters_the_root(count):
    roots = {filled(count, bits)[1].root for bits in (4, 6, 9, 12)}
    assert roots == {root_of({b"key %d" % n: b"value %d" % n for n in range(count)})}


def test_every_key_of_a_map_with_split_buckets_is_proven_and_no_other():
    store, tree, values = filled(2000)
    assert any(record[0] == 1 for key, record in store.items() if key[:1] == b"b")
    for key, value in list(values.items())[::13]:
        assert verify_presence(tree.root, key, value, tree.prove(key))
        assert not verify_presence(tree.root, key, value + b"!", tree.prove(key))
    for n in range(150):
        assert verify_absence(tree.root, b"absent %d" % n, tree.prove(b"absent %d" % n))


def test_ground_keys_cannot_bloat_a_bucket():
    keys = grind(12, 200)
    store, values = Store(), dict.fromkeys(keys, b"x")
    tree = AuthenticatedMap(store, 4)
    for start in range(0, 200, 20):
        apply(store, tree, dict.fromkeys(keys[start : start + 20], b"x"))
    sizes = [len(record) for key, record in store.items() if key[:1] == b"b" and record[0] == 0]
    assert max(sizes) <= 1 + 64 * buckets.SPLIT_ABOVE
    assert tree.root == root_of(values)
    assert all(verify_presence(tree.root, key, b"x", tree.prove(key)) for key in keys[::20])
    assert verify_absence(tree.root, b"the victim", tree.prove(b"the victim"))
    writes = tree.update({keys[0]: b"y"})
    assert sum(len(record or b"") for record in writes.values()) < 8000


def test_a_split_bucket_that_empties_is_joined_and_leaves_nothing_behind():
    store, tree, values = filled(1500)
    apply(store, tree, dict.fromkeys(list(values)[:1400]))
    assert tree.root == root_of(dict(list(values.items())[1400:]))
    assert not any(record[0] == 1 for key, record in store.items() if key[:1] == b"b")
    apply(store, tree, dict.fromkeys(values))
    assert tree.root == EMPTY_ROOT
    assert not store


def test_rollback_puts_everything_back():
    store, tree, values = filled(500)
    before, held = tree.root, dict(store)
    tree.update({b"key 3": None, b"new": b"1"})
    tree.update({b"key 4": b"changed", b"new": None, b"newer": b"2"})
    assert tree.root == root_of(
        {k: v for k, v in (values | {b"key 4": b"changed", b"newer": b"2"}).items() if k != b"key 3"}
    )
    tree.rollback()
    assert tree.root == before
    assert store == held
    assert verify_presence(before, b"key 3", b"value 3", tree.prove(b"key 3"))
    apply(store, tree, {b"key 3": b"again"})
    assert tree.root == root_of(values | {b"key 3": b"again"})


def test_staged_changes_are_seen_by_proofs_before_they_are_written():
    store, tree, _ = filled(100)
    writes = tree.update({b"staged": b"1"})
    assert verify_presence(tree.root, b"staged", b"1", tree.prove(b"staged"))
    more = tree.update({b"staged": b"2", b"key 1": None})
    assert verify_presence(tree.root, b"staged", b"2", tree.prove(b"staged"))
    store.take(writes | more)
    tree.commit()
    assert AuthenticatedMap(store, 4).root == tree.root


def test_deleting_what_is_not_there_changes_nothing():
    _, tree, _ = filled(50)
    before = tree.root
    tree.update({b"never was": None})
    assert tree.root == before
    tree = AuthenticatedMap(Store(), 4)
    assert tree.update({b"never was": None}).keys()
    assert tree.root == EMPTY_ROOT


def test_the_empty_map_shows_that_anything_is_absent_and_nothing_present():
    tree = AuthenticatedMap(Store(), 4)
    proof = tree.prove(b"x")
    assert proof == MapProof(())
    assert verify_absence(EMPTY_ROOT, b"x", proof)
    assert not verify_presence(EMPTY_ROOT, b"x", b"", proof)


# ------------------------------------------------------------------------------------------------------------- attacks


def test_a_floated_leaf_does_not_show_that_its_neighbours_absence_holds_for_itself():
    """Absence by another leaf: the leaf must be another, and lie on the key's own path."""
    _, tree, values = filled(300)
    for key, value in list(values.items())[:40]:
        own = (sha(key), sha(value))
        honest = tree.prove(key)
        assert not verify_absence(tree.root, key, MapProof(honest.siblings, own))
        for stranger in list(values)[100:110]:
            theirs = tree.prove(stranger)
            assert not verify_absence(tree.root, key, MapProof(theirs.siblings, (sha(stranger), sha(values[stranger]))))


def test_a_single_leaf_floats_to_the_root_and_shows_the_absence_of_all_others_only():
    store = Store()
    tree = AuthenticatedMap(store, 4)
    apply(store, tree, {b"only": b"1"})
    assert tree.prove(b"only") == MapProof(())
    proof = tree.prove(b"other")
    assert proof == MapProof((), (sha(b"only"), sha(b"1")))
    assert verify_absence(tree.root, b"other", proof)
    assert not verify_absence(tree.root, b"only", proof)


def test_a_shortened_proof_does_not_show_that_an_inner_node_is_empty():
    _, tree, values = filled(300)
    for key, value in list(values.items())[:20]:
        proof = tree.prove(key)
        for cut in range(len(proof.siblings)):
            assert not verify_absence(tree.root, key, MapProof(proof.siblings[cut:]))
            assert not verify_absence(tree.root, key, MapProof(proof.siblings[:cut]))
            if cut:
                assert not verify_presence(tree.root, key, value, MapProof(proof.siblings[cut:]))
                assert not verify_presence(tree.root, key, value, MapProof(proof.siblings[:cut]))


def test_hashes_of_another_length_are_refused_even_if_the_bytes_would_line_up():
    """Inner preimages are 64 bytes: one sibling of 31 and one of 33 could be shifted against each other."""
    _, tree, values = filled(300)
    key = b"key 7"
    siblings = tree.prove(key).siblings
    for bad in (siblings[0][:31], siblings[0] + b"\0", b"", siblings[0] + siblings[1]):
        assert not verify_presence(tree.root, key, values[key], MapProof((bad, *siblings[1:])))
    absent = tree.prove(b"absent 1")
    for other in ((b"", b""), (bytes(31), bytes(33)), (bytes(32), bytes(31))):
        assert not verify_absence(tree.root, b"absent 1", MapProof(absent.siblings, other))
    assert not verify_presence(tree.root[:31], key, values[key], MapProof(siblings))
    assert not verify_presence(tree.root, key, values[key], MapProof((bytes(32),) * 257))
    assert not verify_absence(tree.root, key, MapProof((bytes(32),) * 257, (bytes(32), bytes(32))))


def test_a_path_replayed_for_another_key_or_root_shows_nothing():
    store, tree, values = filled(100)
    old_root, old = tree.root, tree.prove(b"key 5")
    assert not verify_presence(tree.root, b"key 6", values[b"key 6"], old)
    assert not verify_absence(tree.root, b"key 6", old)
    apply(store, tree, {b"key 5": None})
    assert not verify_presence(tree.root, b"key 5", b"value 5", old)
    assert verify_presence(old_root, b"key 5", b"value 5", old)
    assert not verify_absence(old_root, b"key 5", tree.prove(b"key 5"))


def test_a_proof_of_presence_names_no_other_leaf():
    _, tree, values = filled(10)
    proof = tree.prove(b"key 1")
    assert not verify_presence(tree.root, b"key 1", values[b"key 1"], MapProof(proof.siblings, (bytes(32), bytes(32))))


def test_an_inner_node_does_not_pass_for_a_leaf():
    """Second preimage: 64 bytes read as (left, right) under 01 and as (key hash, value hash) under 00 differ."""
    tree = AuthenticatedMap(store := Store(), 4)
    apply(store, tree, {b"a": b"1", b"b": b"2"})
    left, right = sorted([(sha(b"a"), sha(b"1")), (sha(b"b"), sha(b"2"))])
    leaves = [sha(b"\0" + kh + vh) for kh, vh in (left, right)]
    assert not verify_absence(tree.root, b"c", MapProof((), (leaves[0], leaves[1])))


@pytest.mark.parametrize(
    "value", [[], [b""], [b"", b"", b""], [b"x" * 31, b""], [b"", b"x" * 63], [1, b""], b"", [bytes(257 * 32), b""]]
)
def test_a_misshapen_proof_is_refused_at_the_door(value):
    with pytest.raises(ValueError, match="expected"):
        MapProof.from_value(value)


def test_a_damaged_record_is_named():
    store, tree, _ = filled(100)
    place = next(key for key in store if key[:1] == b"b")
    store[place] = store[place][:-1]
    with pytest.raises(buckets.DamagedMap, match=place.hex()):
        for n in range(100):
            tree.prove(b"key %d" % n)
    row = next(key for key in store if key[:1] == b"r")
    store[row] = store[row][:-1]
    with pytest.raises(ValueError, match="row of 528 bytes"):
        AuthenticatedMap(store, 4)


VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "map.json").read_text())


@pytest.mark.parametrize("row", VECTORS["trees"], ids=lambda row: f"{row['count']} keys")
def test_vectors_of_the_map_hold_by_its_rules_alone(row):
    values = {b"key %d" % n: b"value %d" % n for n in range(row["count"])}
    root = bytes.fromhex(row["root"])
    assert root == root_of(values)
    for shown in row["presence"]:
        proof = MapProof(tuple(bytes.fromhex(one) for one in shown["siblings"]))
        assert verify_presence(root, shown["key"].encode(), shown["value"].encode(), proof)
        assert not verify_presence(root, shown["key"].encode(), b"another", proof)
    for shown in row["absence"]:
        other = None
        if shown["other"]:
            key_hash, value_hash = (bytes.fromhex(one) for one in shown["other"])
            other = key_hash, value_hash
        proof = MapProof(tuple(bytes.fromhex(one) for one in shown["siblings"]), other)
        assert verify_absence(root, shown["key"].encode(), proof)
        assert not verify_absence(bytes([root[0] ^ 1]) + root[1:], shown["key"].encode(), proof)
