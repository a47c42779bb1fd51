"""Fingerprints and batches: anyone with a proof can check a record, nobody learns how many there were."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.records.fingerprint import (
    DEPTH,
    MAX_LEAVES,
    BatchProof,
    Fingerprint,
    build_batch,
    fingerprint,
    source_fingerprint,
    verify_in_batch,
)
from commonward.records.stored import Stored

VECTORS = Path(__file__).parents[1] / "vectors"
RECORDS = json.loads((VECTORS / "fingerprint.json").read_text())["fingerprints"]
BATCHES = json.loads((VECTORS / "batch.json").read_text())["batches"]
SEED = bytes(range(32))


def _some(count: int) -> list[Fingerprint]:
    rng = random.Random(count)
    return [Fingerprint(rng.randbytes(32)) for _ in range(count)]


@pytest.mark.parametrize("vector", RECORDS, ids=lambda v: v["name"])
def test_fingerprint_vectors(vector: dict[str, str]) -> None:
    salt, data = bytes.fromhex(vector["salt"]), bytes.fromhex(vector["data"])
    made = fingerprint(Stored(data), salt) if vector["of"] == "record" else source_fingerprint(data, salt)
    assert str(made) == vector["fingerprint"]
    assert Fingerprint.parse(str(made)) == made


@pytest.mark.parametrize("vector", BATCHES, ids=lambda v: v["name"])
def test_batch_vectors(vector: dict[str, Any]) -> None:
    fps = [Fingerprint(bytes.fromhex(each)) for each in vector["fingerprints"]]
    tree = build_batch(fps, bytes.fromhex(vector["seed"]))
    assert tree.root.hex() == vector["root"]
    for proof in vector["proofs"]:
        fp = Fingerprint(bytes.fromhex(proof["fingerprint"]))
        assert tree.prove(fp).to_bytes().hex() == proof["proof"]
        assert verify_in_batch(fp, BatchProof.parse(bytes.fromhex(proof["proof"])), tree.root)


def test_a_salt_of_another_length_cannot_blur_where_the_record_begins() -> None:
    for length in (0, 31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            fingerprint(Stored(b"{}"), b"s" * length)


def test_a_source_message_never_has_the_fingerprint_of_a_record() -> None:
    assert fingerprint(Stored(b"{}"), SEED) != source_fingerprint(b"{}", SEED)


@given(st.integers(0, 200), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_a_restart_builds_the_same_batch_in_whatever_order_the_store_returns(count: int, rng: random.Random) -> None:
    fps = _some(count)
    tree = build_batch(fps, SEED)
    again = fps[:]
    rng.shuffle(again)
    assert build_batch(again, SEED).root == tree.root
    proofs = dict(tree.proofs())
    assert set(proofs) == set(fps)
    for fp, proof in proofs.items():
        assert len(proof.path) == DEPTH
        assert verify_in_batch(fp, proof, tree.root)


def test_another_seed_gives_another_root_and_other_places() -> None:
    fps = _some(50)
    one, other = build_batch(fps, SEED), build_batch(fps, bytes(32))
    assert one.root != other.root
    assert [one.prove(fp).index for fp in fps] != [other.prove(fp).index for fp in fps]


def test_an_empty_batch_has_a_root_like_any_other() -> None:
    tree = build_batch([], SEED)
    assert len(tree) == 0
    assert len(tree.root) == 32
    assert tree.root != build_batch([], bytes(32)).root


def test_the_index_of_a_lone_record_does_not_show_that_it_is_alone() -> None:
    fp = _some(1)[0]
    indexes = {build_batch([fp], seed.to_bytes(32, "big")).prove(fp).index for seed in range(32)}
    assert len(indexes) > 24
    assert max(indexes) > MAX_LEAVES // 2


def test_a_full_batch_proves_and_one_more_is_refused() -> None:
    fps = _some(MAX_LEAVES)
    tree = build_batch(fps, SEED)
    for fp in fps[::4096]:
        assert verify_in_batch(fp, tree.prove(fp), tree.root)
    with pytest.raises(ValueError, match="at most 65536"):
        build_batch([*fps, Fingerprint(bytes(32))], SEED)


def test_a_fingerprint_twice_is_refused_because_a_salt_has_repeated() -> None:
    with pytest.raises(ValueError, match="salts must not repeat"):
        build_batch(_some(1) * 2, SEED)


def test_a_proof_that_is_altered_anywhere_does_not_verify() -> None:
    fps = _some(5)
    tree = build_batch(fps, SEED)
    proof = tree.prove(fps[0])
    assert not verify_in_batch(fps[1], proof, tree.root)
    assert not verify_in_batch(fps[0], proof, bytes(32))
    data = bytearray(proof.to_bytes())
    for at in range(len(data)):
        data[at] ^= 1
        assert not verify_in_batch(fps[0], BatchProof.parse(bytes(data)), tree.root), at
        data[at] ^= 1


@pytest.mark.parametrize(
    "bent",
    [
        lambda p: BatchProof(p.index, p.path[:-1]),
        lambda p: BatchProof(p.index, (*p.path, bytes(32))),
        lambda p: BatchProof(p.index + MAX_LEAVES, p.path),
        lambda p: BatchProof(-1, p.path),
        lambda p: BatchProof(p.index, (p.path[0] + p.path[1], b"", *p.path[2:])),
    ],
)
def test_a_proof_of_another_shape_does_not_verify(bent: Any) -> None:
    fp = _some(1)[0]
    tree = build_batch([fp], SEED)
    assert not verify_in_batch(fp, bent(tree.prove(fp)), tree.root)


def test_an_inner_node_cannot_pass_for_a_record() -> None:
    fps = _some(4)
    tree = build_batch(fps, SEED)
    proof = tree.prove(fps[0])
    from commonward.records.padded_tree import root_from

    inner = Fingerprint(root_from(fps[0].digest, proof.index & 1, proof.path[:1]))
    assert not verify_in_batch(inner, BatchProof(proof.index >> 1, proof.path[1:]), tree.root)


@pytest.mark.parametrize("text", ["", "sha256:", "sha256:" + "0" * 63, "sha256:" + "A" * 64, "md5:" + "0" * 64])
def test_a_fingerprint_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected 'sha256:'"):
        Fingerprint.parse(text)
