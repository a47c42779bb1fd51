"""Trees in files give the proofs that the tree itself gives, or None, and never a wrong one."""

import random
import stat
from pathlib import Path

import pytest

from commonward.adapters.store.trees import TreeFiles
from commonward.records.fingerprint import Fingerprint, build_batch


def prints(count: int) -> list[Fingerprint]:
    source = random.Random(count)
    return [Fingerprint(source.randbytes(32)) for _ in range(count)]


SEED = bytes(range(32))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 1000, 1025])
def test_a_kept_tree_gives_the_proofs_of_the_tree_itself(tmp_path: Path, count: int) -> None:
    trees, tree = TreeFiles(tmp_path), build_batch(prints(count), SEED)
    trees.keep(5, tree)
    for fp in prints(count)[:: max(1, count // 100)]:
        assert trees.prove(5, SEED, tree.root, fp) == tree.prove(fp)


def test_what_is_not_in_a_batch_or_not_kept_has_no_proof(tmp_path: Path) -> None:
    trees, tree = TreeFiles(tmp_path), build_batch(prints(100), SEED)
    empty = build_batch([], SEED)
    trees.keep(5, tree)
    trees.keep(6, empty)
    stranger, inside = Fingerprint(bytes(32)), prints(100)[0]
    assert trees.prove(5, SEED, tree.root, stranger) is None
    assert trees.prove(6, SEED, empty.root, stranger) is None
    assert trees.prove(7, SEED, tree.root, inside) is None
    trees.forget(5)
    trees.forget(5)
    assert trees.prove(5, SEED, tree.root, inside) is None


def test_an_altered_or_torn_tree_gives_no_proof_rather_than_a_wrong_one(tmp_path: Path) -> None:
    trees, tree, source = TreeFiles(tmp_path), build_batch(prints(300), SEED), random.Random(1)
    trees.keep(5, tree)
    (name,) = tmp_path.iterdir()
    whole = name.read_bytes()
    for _ in range(200):
        data = bytearray(whole)
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
        name.write_bytes(data if source.random() < 0.7 else data[: source.randrange(len(data))])
        for fp in prints(300)[:5]:
            assert trees.prove(5, SEED, tree.root, fp) in (None, tree.prove(fp))


def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    TreeFiles(tmp_path / "trees").keep(1, build_batch(prints(3), SEED))
    (name,) = (tmp_path / "trees").iterdir()
    assert stat.S_IMODE((tmp_path / "trees").stat().st_mode) == 0o700
    assert stat.S_IMODE(name.stat().st_mode) == 0o600
