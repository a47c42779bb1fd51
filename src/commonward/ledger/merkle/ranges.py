"""Parts of a log: any stretch of leaves as the complete subtrees that cover it, and the root over such parts.

A log of RFC 9162 is the same tree however it is cut: stretches that follow each other from leaf 0 on fold to the root.
So a part can be fetched and checked by itself against hashes that were checked against the root.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from commonward.ledger.encoding import Digest
from commonward.ledger.merkle.log import TILE_BITS, bag, node_hash, pairs, tile_base

__all__ = ["Node", "cover", "fold_stretch", "frontier_nodes", "nodes_of", "root_over"]


class Node(NamedTuple):
    """The hash over leaves [place 2^level, (place + 1) 2^level)."""

    level: int
    place: int
    hash: bytes


def cover(low: int, high: int) -> Iterator[tuple[int, int]]:
    """(level, index) of the largest complete subtrees over leaves [low, high), from left to right."""
    while low < high:
        level = (high - low).bit_length() - 1
        if low:
            level = min(level, (low & -low).bit_length() - 1)
        yield level, low >> level
        low += 1 << level


def fold_stretch(first: int, hashes: bytes) -> list[Node]:
    """The cover of a stretch of leaves, from their leaf hashes, joined."""
    nodes, at = [], 0
    for level, index in cover(first, first + len(hashes) // 32):
        row = hashes[at : at + (32 << level)]
        at += 32 << level
        for _ in range(level):
            row = pairs(row)
        nodes.append(Node(level, index, row))
    return nodes


def nodes_of(low: int, high: int, hashes: bytes) -> list[Node]:
    """The cover of [low, high) with the hashes that someone says it has. Raises ValueError unless they are as many."""
    places = list(cover(low, high))
    if len(hashes) != 32 * len(places):
        raise ValueError(f"expected {len(places)} hashes over leaves {low} to {high}, got {len(hashes)} bytes")
    return [Node(level, index, hashes[32 * n : 32 * n + 32]) for n, (level, index) in enumerate(places)]


def frontier_nodes(size: int, rows: Sequence[bytes]) -> list[Node]:
    """The log of `size` leaves as the last tile of each level: `rows[t]` of level t, from leaf hashes up.

    These are the hashes that a store needs to append from there on, and to prove what is appended. Raises ValueError.
    """
    levels = (size.bit_length() + TILE_BITS - 1) // TILE_BITS
    if len(rows) != levels:
        raise ValueError(f"expected the tiles of {levels} levels before leaf {size}, got {len(rows)}")
    nodes = []
    for tile_level in range(levels - 1, -1, -1):
        level, base, row = TILE_BITS * tile_level, tile_base(size, tile_level), rows[tile_level]
        count = (size >> level) - base
        if len(row) != 32 * count:
            raise ValueError(f"expected {count} hashes of level {tile_level} before leaf {size}, got {len(row)} bytes")
        nodes += [Node(level, base + n, row[32 * n : 32 * n + 32]) for n in range(count)]
    return nodes


def root_over(nodes: Iterable[Node]) -> Digest:
    """The root of the log that nodes make up, which follow each other from leaf 0 on. Raises ValueError at a gap."""
    stack: list[Node] = []
    end = 0
    for node in nodes:
        if node.place << node.level != end:
            raise ValueError(f"expected a subtree that begins at leaf {end}, got one at {node.place << node.level}")
        end += 1 << node.level
        while stack and stack[-1].level == node.level and node.place & 1:
            left = stack.pop()
            node = Node(node.level + 1, node.place >> 1, node_hash(left.hash, node.hash))
        stack.append(node)
    return bag([node.hash for node in reversed(stack)])
