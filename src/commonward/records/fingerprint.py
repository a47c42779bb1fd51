"""Fingerprints of records, and the padded tree that anchors up to 65,536 of them under one root.

A fingerprint commits to a record without revealing it: it may go on the ledger, the record may not. A batch's root,
its proofs and its order follow from the set of fingerprints and one seed of 32 bytes, so a node that was killed
builds the same batch again from what it kept, whatever order its store returns.

Left to others: when a batch is cut, and where seed and proofs are kept (`workflows.ingest`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from commonward.ledger.encoding import Digest, digest
from commonward.records.padded_tree import HASH_BYTES, build_levels, path_of, root_from
from commonward.records.stored import Stored

DEPTH: Final = 16
MAX_LEAVES: Final = 1 << DEPTH
SALT_BYTES: Final = 32
SEED_BYTES: Final = 32
PROOF_BYTES: Final = 2 + DEPTH * HASH_BYTES

RECORD_LABEL: Final = "commonward record v1"
SOURCE_LABEL: Final = "commonward source v1"
_PAD_LABEL: Final = "commonward batch pad v1"
_ORDER_LABEL: Final = "commonward batch order v1"
_FLIPS_LABEL: Final = "commonward batch flips v1"


@dataclass(frozen=True, slots=True, order=True)
class Fingerprint:
    """Commits to a record without revealing it: 32 bytes."""

    digest: bytes

    def __post_init__(self) -> None:
        if type(self.digest) is not bytes or len(self.digest) != HASH_BYTES:
            raise ValueError(f"expected a fingerprint of {HASH_BYTES} bytes, got {self.digest!r:.60}")

    @classmethod
    def parse(cls, text: str) -> "Fingerprint":
        """From `sha256:` and 64 lower-case hex digits, as `str` writes it. Raises ValueError."""
        scheme, _, digits = text.partition(":")
        if scheme != "sha256" or len(digits) != 64 or digits.strip("0123456789abcdef"):
            raise ValueError(f"expected 'sha256:' and 64 lower-case hex digits, got {text!r:.100}")
        return cls(bytes.fromhex(digits))

    def __str__(self) -> str:
        return f"sha256:{self.digest.hex()}"


def fingerprint(stored: Stored, salt: bytes) -> Fingerprint:
    """digest("commonward record v1", salt, stored).

    The salt, 32 random bytes for each record, stays with the custodian: without it a short record could be guessed
    from its hash. Raises ValueError for a salt of another length, which would blur where the record begins.
    """
    return Fingerprint(digest(RECORD_LABEL, _salt(salt), stored))


def source_fingerprint(message: bytes, salt: bytes) -> Fingerprint:
    """The fingerprint of a source message, raw as it came: digest("commonward source v1", salt, message)."""
    return Fingerprint(digest(SOURCE_LABEL, _salt(salt), message))


@dataclass(frozen=True, slots=True)
class BatchProof:
    """That a fingerprint is one of a batch.

    Attributes:
        index: 16 bits; bit k set means that the node at height k is a right child.
        path: 16 sibling hashes, deepest first.
    """

    index: int
    path: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        """514 bytes: the index in big-endian order, then the path."""
        return self.index.to_bytes(2, "big") + b"".join(self.path)

    @classmethod
    def parse(cls, data: bytes) -> "BatchProof":
        """Raises ValueError when the bytes are not 514."""
        if len(data) != PROOF_BYTES:
            raise ValueError(f"expected a batch proof of {PROOF_BYTES} bytes, got {len(data)}")
        return cls(
            int.from_bytes(data[:2], "big"),
            tuple(data[at : at + HASH_BYTES] for at in range(2, PROOF_BYTES, HASH_BYTES)),
        )


class BatchTree:
    """A built batch: its root, and a proof for each fingerprint in it. Holds about 8 MB when full."""

    __slots__ = ("_flips", "_levels", "_places", "root")

    def __init__(self, levels: list[list[bytes]], places: dict[bytes, int], flips: int) -> None:
        self._levels = levels
        self._places = places
        self._flips = flips
        self.root = Digest(levels[-1][0])

    def __len__(self) -> int:
        return len(self._places)

    @property
    def levels(self) -> Sequence[Sequence[bytes]]:
        """The hashes of each height: leaves (in the order of `order_of`) with their pad, ..., the root."""
        return self._levels

    @property
    def flips(self) -> int:
        """16 bits: what the index of a leaf differs from its place by."""
        return self._flips

    def prove(self, fp: Fingerprint) -> BatchProof:
        """Raises KeyError when the fingerprint is not in this batch."""
        place = self._places[fp.digest]
        return BatchProof(place ^ self._flips, path_of(self._levels, place))

    def proofs(self) -> Iterator[tuple[Fingerprint, BatchProof]]:
        """Every fingerprint with its proof, in the order of the tree."""
        for each in self._places:
            fp = Fingerprint(each)
            yield fp, self.prove(fp)


def build_batch(fingerprints: Iterable[Fingerprint], seed: bytes) -> BatchTree:
    """Build the tree over a set of fingerprints; none gives a root like any other.

    The seed expands so (every hash is `digest(label, ...)`):

    1. pad k, for height k of 0 to 15, is digest("commonward batch pad v1", seed, byte k); pad 16 stands for the leaf
       of an empty batch;
    2. leaves are shuffled: sorted by digest("commonward batch order v1", seed, fingerprint);
    3. a level with an odd number of hashes gets its pad at the end;
    4. flips are the first two bytes, big-endian, of digest("commonward batch flips v1", seed): where bit k is set,
       each pair at height k is hashed right before left, and every index has bit k inverted.

    Args:
        fingerprints: at most 65,536, each once, in any order.
        seed: 32 random bytes, kept secret with the batch: they would tell its pads from its leaves.

    Raises:
        ValueError: too many, one twice, or a seed of another length.
    """
    if len(seed) != SEED_BYTES:
        raise ValueError(f"expected a seed of {SEED_BYTES} bytes, got {len(seed)}")
    leaves = [each.digest for each in fingerprints]
    if len(set(leaves)) != len(leaves):
        raise ValueError("expected each fingerprint once in a batch, got one twice: salts must not repeat")
    leaves.sort(key=lambda leaf: order_of(leaf, seed))
    pads = [digest(_PAD_LABEL, seed, bytes((height,))) for height in range(DEPTH + 1)]
    flips = int.from_bytes(digest(_FLIPS_LABEL, seed)[:2], "big")
    places = {leaf: place for place, leaf in enumerate(leaves)}
    return BatchTree(build_levels(leaves, pads, flips), places, flips)


def order_of(leaf: bytes, seed: bytes) -> bytes:
    """What leaves are sorted by (step 2 of `build_batch`)."""
    return digest(_ORDER_LABEL, seed, leaf)


def verify_in_batch(fp: Fingerprint, proof: BatchProof, root: bytes) -> bool:
    """Whether the proof leads from the fingerprint to the root. False for any proof of another shape."""
    if not 0 <= proof.index < MAX_LEAVES or len(proof.path) != DEPTH:
        return False
    if any(len(each) != HASH_BYTES for each in proof.path):
        return False
    return root_from(fp.digest, proof.index, proof.path) == root


def _salt(salt: bytes) -> bytes:
    if len(salt) != SALT_BYTES:
        raise ValueError(f"expected a salt of {SALT_BYTES} bytes, got {len(salt)}")
    return salt
