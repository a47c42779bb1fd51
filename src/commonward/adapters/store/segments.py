"""Reading segment files: walk the frames, and tell a torn tail (a crash) from an altered frame (someone, or the disk).

A crash can leave the last frames incomplete, or with pages of zeros that were never written. Everything else that does
not check was whole once and has been changed since: it is named, and nothing is dropped.
"""

import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from .errors import StoreCorrupt
from .frames import FRAME, MAGIC, MAX_BODY, SEGMENT, Head, chained, parse_head, parse_segment

__all__ = ["Segment", "Torn", "Walk", "open_segment", "read_frame", "walk"]

PAGE = 4096
STRIDE = 16
"""One offset in memory for so many blocks; the rest is found by stepping from head to head."""


class Segment:
    """An open file and where in it each 16th block starts."""

    def __init__(self, path: Path, file: int, first: int, chain: bytes) -> None:
        self.path = path
        self.file = file
        self.first = first  # height of its first block
        self.before = chain
        self.count = 0
        self.end = SEGMENT
        self.offsets = array("Q")

    def add(self, offset: int, end: int) -> None:
        if self.count % STRIDE == 0:
            self.offsets.append(offset)
        self.count += 1
        self.end = end

    def offset_of(self, height: int) -> int:
        """Where a block starts. Heads stepped over are checked, so a bad one is named and not followed."""
        steps, at = (height - self.first) % STRIDE, self.offsets[(height - self.first) // STRIDE]
        for passed in range(height - steps, height):
            head = parse_head(os.pread(self.file, FRAME, at))
            if head is None or head.height != passed:
                raise StoreCorrupt(self.path, f"block {passed} at byte {at} was altered while in use: its head is bad")
            at += FRAME + head.length
        return at


@dataclass(frozen=True, slots=True)
class Torn:
    """What a crash left at the end of a file and was cut off when it was opened. Never acknowledged."""

    file: Path
    offset: int
    dropped: int  # bytes
    height: int  # of the block that was being written

    def __str__(self) -> str:
        return (
            f"{self.file}: the last write was cut short at byte {self.offset} (block {self.height}); "
            f"dropped {self.dropped} bytes that were never acknowledged"
        )


@dataclass(frozen=True, slots=True)
class Walk:
    """One good frame."""

    offset: int
    height: int
    length: int
    chain: bytes
    body: bytes

    @property
    def end(self) -> int:
        return self.offset + FRAME + self.length


def open_segment(path: Path, file: int) -> tuple[int, bytes]:
    """(first height, chain before it). Raises StoreCorrupt."""
    found = parse_segment(os.pread(file, SEGMENT, 0))
    if found is None:
        raise StoreCorrupt(path, f"not a segment of a block log: its first {SEGMENT} bytes were altered")
    return found


def read_frame(path: Path, file: int, offset: int, height: int, before: bytes | None) -> Walk | None:
    """The frame at `offset`, checked; with `before`, its chain too. None at the end of the file.

    Raises StoreCorrupt naming file, offset and height.
    """
    head_bytes = os.pread(file, FRAME, offset)
    if not head_bytes:
        return None
    head = parse_head(head_bytes)
    if head is None or head.length > MAX_BODY:
        raise _altered(path, offset, height, "its head does not match its checksum")
    if head.height != height:
        raise _altered(path, offset, height, f"it says that it is block {head.height}")
    body = os.pread(file, head.length, offset + FRAME)
    if len(body) < head.length:
        raise _altered(path, offset, height, f"expected {head.length} bytes, got {len(body)}")
    if crc32(body) != head.crc:
        raise _altered(path, offset, height, "its bytes do not match their checksum")
    if before is not None and chained(before, height, body) != head.chain:
        raise _altered(
            path, offset, height, "it does not follow the block before it, though its checksums were made to fit"
        )
    return Walk(offset, height, head.length, head.chain, body)


def walk(path: Path, file: int, first: int, chain: bytes, *, is_last: bool) -> Iterator[Walk | Torn]:
    """Every frame of a segment in order, checked. In the last segment a torn tail ends the walk as a `Torn`."""
    offset, height, size = SEGMENT, first, os.fstat(file).st_size
    while offset < size:
        try:
            found = read_frame(path, file, offset, height, chain)
        except StoreCorrupt:
            if is_last and _is_torn(file, offset, size):
                yield Torn(path, offset, size - offset, height)
                return
            raise
        if found is None:
            return
        yield found
        offset, height, chain = found.end, height + 1, found.chain


def _is_torn(file: int, offset: int, size: int) -> bool:
    """Whether a bad frame at `offset`, and all after it, is what a crash leaves."""
    if _whole_frame_after(file, offset + 1, size):
        return False  # something whole was written later: this was whole too
    head = parse_head(os.pread(file, FRAME, offset))
    if head is not None:
        if offset + FRAME + head.length > size:
            return True  # the body ends where the write was cut
        size = offset + FRAME + head.length
    elif size - offset < FRAME:
        return True
    return _has_unwritten_page(os.pread(file, size - offset, offset), offset)


def _whole_frame_after(file: int, offset: int, size: int) -> bool:
    data = os.pread(file, size - offset, offset)
    at = data.find(MAGIC)
    while at >= 0:
        head: Head | None = parse_head(data[at : at + FRAME])
        if head is not None and crc32(data[at + FRAME : at + FRAME + head.length]) == head.crc:
            return True
        at = data.find(MAGIC, at + 1)
    return False


def _has_unwritten_page(data: bytes, offset: int) -> bool:
    """Whether a page that `data` (at this file offset) reaches holds zeros alone: sized, but never written."""
    start = 0
    while start < len(data):
        end = min(len(data), start + PAGE - (offset + start) % PAGE)
        if not any(data[start:end]):
            return True
        start = end
    return False


def _altered(path: Path, offset: int, height: int, what: str) -> StoreCorrupt:
    return StoreCorrupt(
        path,
        f"block {height} at byte {offset} was altered or damaged: {what}. Keep the file as evidence, and fetch the "
        "blocks again from another member into an empty directory",
    )
