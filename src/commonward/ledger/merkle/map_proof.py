"""Proofs that a map holds a value under a key, or nothing: all that a verifier in another language must write again.

The map is a canonical compressed sparse Merkle tree. With kh = SHA-256(key) and vh = SHA-256(value), a leaf is
SHA-256(00 | kh | vh), an inner node SHA-256(01 | left | right), and nothing is 32 zero bytes. Bits of kh, most
significant first, say left or right. A subtree with no leaf is nothing; with one leaf it *is* that leaf (which floats
up); with more it is an inner node, even if one side holds nothing. So a set of pairs has one root, whatever the order
in which they came and went.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from commonward.ledger.encoding import Value

EMPTY: Final = bytes(32)
"""The hash of nothing, and the root of the empty map."""


@dataclass(frozen=True, slots=True)
class MapProof:
    """Siblings from the deepest to the root's child. `other` is the leaf (kh, vh) that stands where the key would.

    For presence `other` is None. For absence the path ends at nothing (`other` is None), or at another leaf that
    shares the first len(siblings) bits with the key.
    """

    siblings: tuple[bytes, ...]
    other: tuple[bytes, bytes] | None = None

    def to_value(self) -> Value:
        """[siblings joined, other joined or empty]."""
        return [b"".join(self.siblings), b"".join(self.other) if self.other else b""]

    @classmethod
    def from_value(cls, value: Value) -> "MapProof":
        """Raises ValueError for anything but what `to_value` makes."""
        if type(value) is not list or len(value) != 2:
            raise ValueError("expected a map proof of [siblings, other]")
        joined, other = value
        if type(joined) is not bytes or len(joined) % 32 or len(joined) > 256 * 32:
            raise ValueError("expected the siblings of a map proof as at most 256 hashes of 32 bytes, joined")
        if type(other) is not bytes or len(other) not in (0, 64):
            raise ValueError("expected the other leaf of a map proof as 64 bytes or none")
        siblings = tuple(joined[at : at + 32] for at in range(0, len(joined), 32))
        return cls(siblings, (other[:32], other[32:]) if other else None)


def leaf_hash(key_hash: bytes, value_hash: bytes) -> bytes:
    return hashlib.sha256(b"\0" + key_hash + value_hash).digest()


def verify_presence(root: bytes, key: bytes, value: bytes, proof: MapProof) -> bool:
    """Does the map with this root hold exactly this value under this key?"""
    if proof.other is not None:
        return False
    kh = hashlib.sha256(key).digest()
    return _climb(kh, leaf_hash(kh, hashlib.sha256(value).digest()), proof.siblings) == root


def verify_absence(root: bytes, key: bytes, proof: MapProof) -> bool:
    """Does the map with this root hold nothing under this key?"""
    kh = hashlib.sha256(key).digest()
    if proof.other is None:
        return _climb(kh, EMPTY, proof.siblings) == root
    other, value_hash = proof.other
    if len(other) != 32 or len(value_hash) != 32 or other == kh:
        return False
    # Without this, any leaf of the map would show that any other key is absent.
    depth = len(proof.siblings)
    if depth > 256 or int.from_bytes(other, "big") >> 256 - depth != int.from_bytes(kh, "big") >> 256 - depth:
        return False
    return _climb(kh, leaf_hash(other, value_hash), proof.siblings) == root


def _climb(kh: bytes, found: bytes, siblings: Sequence[bytes]) -> bytes | None:
    """The root that these siblings lead to, or None if they are not hashes."""
    depth = len(siblings)
    if depth > 256 or any(len(sibling) != 32 for sibling in siblings):
        return None
    path = int.from_bytes(kh, "big") >> 256 - depth
    sha256 = hashlib.sha256
    for sibling in siblings:
        found = sha256(b"\1" + sibling + found if path & 1 else b"\1" + found + sibling).digest()
        path >>= 1
    return found
