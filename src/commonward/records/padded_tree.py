"""A Merkle tree of fixed depth, padded with random siblings: a root and a path that tell little of how many leaves.

Used for batches of fingerprints (depth 16) and for the rules of a consent (depth 8). A path always has `depth`
hashes. Pads are 32 bytes that nobody can tell from a leaf or an inner hash. Depth is fixed by the caller, so a leaf
cannot pass for an inner node, nor the other way round. An inner hash is digest(NODE_LABEL, left, right).
"""

from collections.abc import Sequence
from typing import Final

from commonward.ledger.encoding import Digester

NODE_LABEL: Final = "commonward padded tree v1"
HASH_BYTES: Final = 32
_node: Final = Digester(NODE_LABEL)


def build_levels(leaves: Sequence[bytes], pads: Sequence[bytes], flips: int) -> list[list[bytes]]:
    """All levels from the leaves (level 0) to the root.

    A level with an odd number of hashes, and a lowest level with none, gets its pad at the end. At each level, bit
    `level` of `flips` says whether each pair is hashed in swapped order: it moves every leaf's index by XOR, so that
    one path does not tell how many leaves come before it.

    Args:
        leaves: hashes of 32 bytes, at most 2 ** depth.
        pads: `depth` pads of 32 bytes for the levels from the lowest, and one more that is the leaf of an empty tree.
        flips: `depth` bits.
    """
    depth = len(pads) - 1
    if len(leaves) > 1 << depth:
        raise ValueError(f"expected at most {1 << depth} leaves, got {len(leaves)}")
    level = list(leaves) or [pads[depth]]
    levels = [level]
    for height in range(depth):
        if len(level) % 2:
            level.append(pads[height])
        first, second = (level[1::2], level[::2]) if flips >> height & 1 else (level[::2], level[1::2])
        level = [_node(left + right) for left, right in zip(first, second, strict=True)]
        levels.append(level)
    return levels


def path_of(levels: Sequence[Sequence[bytes]], place: int) -> tuple[bytes, ...]:
    """The siblings of the leaf at a place of level 0, deepest first."""
    return tuple(level[place >> height ^ 1] for height, level in enumerate(levels[:-1]))


def root_from(leaf: bytes, index: int, path: Sequence[bytes]) -> bytes:
    """The root that a leaf, its index (bit k set: it is the right child at height k) and its siblings lead to."""
    at = leaf
    for sibling in path:
        at = _node(sibling + at) if index & 1 else _node(at + sibling)
        index >>= 1
    return at
