"""Batch trees in files, so that the proof of a record anchored long ago is read and not rebuilt.

Rebuilding a full batch costs a third of a second, and a patient's history may touch a hundred batches. Kept, a tree is
64 bytes a record and a proof about forty short reads. Leaves lie sorted by `order_of`, so the place of a fingerprint is
found by search and no index is stored. What lies here follows from the vault: every proof is checked against the
batch's root before it is given out, and whatever is missing, torn or altered is answered with None: build it again.
"""

import os
import struct
from contextlib import suppress
from math import isqrt
from pathlib import Path

from commonward.records.fingerprint import DEPTH, BatchProof, BatchTree, Fingerprint, order_of, verify_in_batch
from commonward.workflows.ports import VaultFull

from .errors import from_os

__all__ = ["TreeFiles"]

_TITLE = b"commonward batch tree v1\n"
_COUNTS = struct.Struct(">IH")
_HEAD = len(_TITLE) + _COUNTS.size
HASH = 32


def _places(count: int) -> list[int]:
    """Hashes at each height from the leaves to the root, pads included."""
    level, found = max(count, 1), []
    for _ in range(DEPTH):
        level += level % 2
        found.append(level)
        level //= 2
    return [*found, 1]


class TreeFiles:
    """A directory (0700) with one file for each batch (`workflows.ports.Trees`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
        except OSError as cause:
            raise from_os(cause, path) from cause

    def _name(self, batch: int) -> Path:
        return self.path / f"{batch:016x}.tree"

    def keep(self, batch: int, tree: BatchTree) -> None:
        """Write a tree under its batch's number. Not synced: what a power cut takes can be built again.

        Raises VaultFull when it cannot be written (no room, no access); nothing of it stays.
        """
        name = self._name(batch)
        draft = name.with_suffix(".new")
        try:
            file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "wb") as out:
                out.write(_TITLE + _COUNTS.pack(len(tree), tree.flips))
                for level in tree.levels:
                    out.write(b"".join(level))
            draft.replace(name)
        except OSError as cause:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise VaultFull(str(from_os(cause, name))) from cause

    def forget(self, batch: int) -> None:
        """Drop a tree; also when it is not there."""
        self._name(batch).unlink(missing_ok=True)

    def prove(self, batch: int, seed: bytes, root: bytes, fp: Fingerprint) -> BatchProof | None:
        """The proof of a fingerprint in a batch, checked against `root`; None when it cannot be read from here."""
        try:
            file = os.open(self._name(batch), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            head = os.pread(file, _HEAD, 0)
            if len(head) != _HEAD or not head.startswith(_TITLE):
                return None
            count, flips = _COUNTS.unpack_from(head, len(_TITLE))
            place = _find(file, count, seed, fp.digest)
            if place is None:
                return None
            path, start = [], _HEAD
            for height, held in enumerate(_places(count)[:-1]):
                path.append(os.pread(file, HASH, start + HASH * (place >> height ^ 1)))
                start += HASH * held
            proof = BatchProof(place ^ flips, tuple(path))
        except OSError:
            return None
        finally:
            os.close(file)
        return proof if verify_in_batch(fp, proof, root) else None


def _find(file: int, count: int, seed: bytes, leaf: bytes) -> int | None:
    """The place of a leaf among `count` leaves sorted by `order_of`."""
    wanted = order_of(leaf, seed)
    # Orders are uniform, so the place is near where the first bytes say, within a few root(n): mostly in pages that
    # lie together. Should it lie outside, the whole is searched.
    guess, reach = int.from_bytes(wanted[:8], "big") * count >> 64, 3 * isqrt(count) + 8
    for low, high in ((max(guess - reach, 0), min(guess + reach, count)), (0, count)):
        while low < high:
            middle = (low + high) // 2
            found = os.pread(file, HASH, _HEAD + HASH * middle)
            if found == leaf:
                return middle
            if order_of(found, seed) < wanted:
                low = middle + 1
            else:
                high = middle
    return None
