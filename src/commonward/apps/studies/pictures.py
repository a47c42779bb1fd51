"""The pictures of a cohort, looked at by the hospital whose they are: which cannot be read, and which are the same.

`copies` is what `VaultCohorts` is given, so that a manifest can refuse one picture under two patients; the page before
enrolment shows the same. What a picture looks like is kept by the digest of its file while the node runs: a cohort is
gathered again and again, and reading a picture takes milliseconds.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Final, NamedTuple

from commonward.records.images.duplicates import Pair, Seen, near_pairs, seen
from commonward.records.images.photograph import ImageRefused, Photograph
from commonward.records.table import Table, Type

__all__ = ["Looks", "copies", "looks", "picture_columns"]

_KEPT: Final = 50_000
_MAGIC: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_known: dict[bytes, tuple[Seen, bytes] | None] = {}
"""Of a file's digest: the looks and the digest of the pixels; None where it is no picture."""


class Looks(NamedTuple):
    """One column of pictures: the rows that have a readable one with what each looks like, and those that do not.

    `digests` are of the pixels: one picture in two files is the same picture.
    """

    at: tuple[int, ...]
    seen: tuple[Seen, ...]
    digests: tuple[bytes, ...]
    unreadable: tuple[int, ...]

    def pairs(self) -> list[Pair]:
        """Copies and near copies, by rows of the table."""
        return [
            replace(each, first=self.at[each.first], second=self.at[each.second])
            for each in near_pairs(self.seen, self.digests)
        ]


def picture_columns(table: Table) -> tuple[str, ...]:
    """Columns of bytes that hold JPEG or PNG files: one is enough, so that no damaged first cell hides the others."""
    return tuple(
        each.name
        for each in table.columns
        if each.type is Type.BYTES
        and any(isinstance(cell, bytes) and cell.startswith(_MAGIC) for cell in table.cells(each.name))
    )


def looks(table: Table, column: str) -> Looks:
    """Reads the pictures of a column, once each."""
    at, found, digests, unreadable = [], [], [], []
    for row, cell in enumerate(table.cells(column)):
        if not isinstance(cell, bytes):
            continue
        known = _looked(cell, sha256(cell).digest())
        if known is None:
            unreadable.append(row)
        else:
            at.append(row)
            found.append(known[0])
            digests.append(known[1])
    return Looks(tuple(at), tuple(found), tuple(digests), tuple(unreadable))


def copies(table: Table) -> list[Pair]:
    """Implements `workflows.training.cohorts.Copies`. Pairs of rows whose pictures are the same, or nearly."""
    return [pair for column in picture_columns(table) for pair in looks(table, column).pairs()]


def _looked(data: bytes, digest: bytes) -> tuple[Seen, bytes] | None:
    if digest not in _known:
        from commonward.adapters.images import decoded  # with Pillow: only where there are pictures

        if len(_known) >= _KEPT:
            _known.clear()
        try:
            picture = Photograph(decoded(data, "a picture"), "one", "a picture")
            _known[digest] = seen(picture), picture.digest
        except ImageRefused:
            _known[digest] = None
    return _known[digest]
