"""The append-only log of blocks on disk: what a node has seen, and so what it has signed.

Promises: `append` returns once the blocks would survive a power cut, one sync for a group; when it raises, nothing of
the group stays; a tail that a crash tore off is dropped at open and named (`torn`); an altered frame is found at open,
or when read, and named by file, offset and height. Memory does not grow with what was read, and by half a byte a block.
`frames` says how it lies on disk.

A log may begin above height 1: a member joined by a snapshot (`begin`), or let go of old blocks (`prune`). The file
`begins` says so, with the chain before it, and is written first: files that are missing otherwise are found missing.
What came before can be joined later: a whole log of its own, in the folder `before`.
"""

import fcntl
import os
import shutil
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

from .blocks_memory import MemoryBlocks
from .errors import StoreClosed, StoreCorrupt, StoreError, StoreFull, StoreLocked, from_os
from .frames import FRAME, MAX_BODY, NO_CHAIN, SEGMENT, frame, parse_head, parse_segment, segment_head
from .segments import Segment, Torn, open_segment, read_frame, walk

__all__ = ["BlockFiles", "MemoryBlocks", "Torn"]

SEGMENT_BYTES = 64 << 20
BEGINS = "begins"
BEFORE = "before"


class BlockFiles:
    """A directory of segment files, locked by one process. Heights are first, first + 1, ...; first is 1 at first."""

    def __init__(self, path: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Open or create the log (0700, files 0600) and check every frame in it.

        Raises:
            StoreLocked: another process has it open.
            StoreCorrupt: a frame or a file was altered or is missing; says which.
        """
        self.path = path
        self.torn: Torn | None = None
        self._segment_bytes = segment_bytes
        self._segments: list[Segment] = []
        self._chain = NO_CHAIN
        self._height = 0
        self._failed: StoreError | None = None
        self._closed = False
        self._retired: list[Segment] = []
        self._first = 1
        self._before: BlockFiles | None = None
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
            self._lock = os.open(path / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as cause:
                os.close(self._lock)
                raise StoreLocked(path, "in use by another process; stop that node first") from cause
            try:
                self._open_all()
            except BaseException:
                self.close()
                raise
        except OSError as cause:
            raise from_os(cause, path) from cause

    def _open_all(self) -> None:
        names = sorted(self.path.glob("blocks-*"))
        if (self.path / BEGINS).exists():
            self._first, self._chain = self._read_begins()
            self._height = self._first - 1
            if (self.path / BEFORE).is_dir():
                self._open_before()
            for name in [each for each in names if each < self._name(self._first)]:
                name.unlink()  # a crash came between saying that they go, and their going
                names.remove(name)
        for at, name in enumerate(names):
            is_last = at == len(names) - 1
            file = os.open(name, os.O_RDWR | os.O_CLOEXEC)
            if is_last and os.fstat(file).st_size < SEGMENT:
                # A crash while the file was being made: it holds no block yet.
                self.torn = Torn(name, 0, os.fstat(file).st_size, self._height + 1)
                os.close(file)
                name.unlink()
                break
            segment = Segment(name, file, self._height + 1, self._chain)
            self._segments.append(segment)
            first, chain = open_segment(name, file)
            if first != self._height + 1 or name != self._name(first):
                raise StoreCorrupt(
                    name, f"expected a file that starts with block {self._height + 1}, got {first}: one is missing"
                )
            if chain != self._chain:
                raise StoreCorrupt(name, f"does not follow the file before it: block {self._height} was replaced")
            for found in walk(name, file, first, chain, is_last=is_last):
                if isinstance(found, Torn):
                    os.ftruncate(file, found.offset)
                    os.fdatasync(file)
                    self.torn = found
                    break
                segment.add(found.offset, found.end)
                self._height, self._chain = found.height, found.chain

    def _read_begins(self) -> tuple[int, bytes]:
        name = self.path / BEGINS
        found = parse_segment(name.read_bytes())
        if found is None:
            raise StoreCorrupt(name, "expected the height at which this log begins")
        return found

    def _write_begins(self, first: int, chain: bytes) -> None:
        name, new = self.path / BEGINS, self.path / (BEGINS + ".new")
        try:
            with new.open("wb") as file:
                file.write(segment_head(first, chain))
                file.flush()
                os.fsync(file.fileno())
            new.rename(name)
            self._sync_names()
        except OSError as cause:
            raise from_os(cause, name) from cause
        self._first = first

    def _sync_names(self) -> None:
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def begin(self, height: int) -> None:
        """Let an empty log begin at `height`. Raises ValueError when it holds or held blocks."""
        self._check_open()
        if self._segments or self._first > 1 or height < 1:
            raise ValueError(f"expected an empty log and a height from 1 on, got {self._height} blocks and {height}")
        self._write_begins(height, NO_CHAIN)
        self._height = height - 1

    def _open_before(self) -> None:
        before = BlockFiles(self.path / BEFORE, segment_bytes=self._segment_bytes)
        if before.height != self._first - 1:
            before.close()
            raise StoreCorrupt(
                before.path, f"expected blocks up to {self._first - 1}, got {before.height}: one is missing"
            )
        self._before = before

    def join(self, other: "BlockFiles") -> None:
        """Take over a log that ends right before this one begins; it is closed, and its folder moves in here."""
        self._check_open()
        if self._before is not None or other.height != self._first - 1:
            raise ValueError(f"expected a log that ends with block {self._first - 1}, got one of {other.height}")
        other.close()
        try:
            other.path.rename(self.path / BEFORE)
            self._sync_names()
        except OSError as cause:
            raise from_os(cause, self.path / BEFORE) from cause
        self._open_before()

    def prune(self, height: int) -> int:
        """Let go of whole files of blocks below `height`; the first block still held. Not while one is appended.

        No node does: consents that stand, marks and anchors are read from their blocks for as long as they count.
        """
        self._check_open()
        if self._before is not None:
            if height < self._first:
                return self._before.prune(height)
            self._before.close()
            shutil.rmtree(self._before.path)
            self._before = None
        gone = [one for one, after in pairwise(self._segments) if after.first <= height]
        if gone:
            kept = self._segments[len(gone)]
            self._write_begins(kept.first, kept.before)
            # A reader in another thread may still hold a file: it is closed at the next call only.
            for segment in self._retired:
                os.close(segment.file)
            self._segments, self._retired = self._segments[len(gone) :], gone
            for segment in gone:
                segment.path.unlink(missing_ok=True)
        return self._first

    @property
    def first(self) -> int:
        """Of the first block that is, or would be, held."""
        return self._first if self._before is None else self._before.first

    def _name(self, first: int) -> Path:
        return self.path / f"blocks-{first:012d}.log"

    @property
    def height(self) -> int:
        """Of the last block; 0 when there is none."""
        return self._height

    @property
    def chain(self) -> bytes:
        """32 bytes that stand for every block so far, in order."""
        return self._chain

    # --- writing

    def append(self, height: int, record: bytes) -> None:
        """Append one block, durably. Raises ValueError unless `height` is one above the last."""
        self.append_group(height, [record])

    def append_group(self, height: int, records: Sequence[bytes]) -> None:
        """Append blocks height, height + 1, ... with one sync. A crash meanwhile may keep the first few of them.

        Raises:
            ValueError: `height` is not one above the last, or a block is over 256 MiB.
            StoreFull: no room; nothing of the group stays, and it may be tried again.
            StoreError: the disk failed. The log takes no more until it is opened again and checked.
        """
        self._check_open()
        if self._failed is not None:
            raise StoreError(self.path, "an earlier write failed; open the log again") from self._failed
        if height != self._height + 1:
            raise ValueError(f"expected block {self._height + 1}, got {height}")
        if not records:
            return
        parts: list[bytes] = []
        chain, lengths = self._chain, []
        for number, record in enumerate(records, height):
            if len(record) > MAX_BODY:
                raise ValueError(f"expected a block of at most {MAX_BODY} bytes, got {len(record)}")
            head, chain = frame(chain, number, record)
            parts += (head, record)
            lengths.append(FRAME + len(record))
        segment = self._segment_for(height)
        self._write(segment, b"".join(parts))
        for length in lengths:
            segment.add(segment.end, segment.end + length)
        self._chain = chain
        self._height += len(records)

    def _segment_for(self, height: int) -> Segment:
        if self._segments and self._segments[-1].end < self._segment_bytes:
            return self._segments[-1]
        name = self._name(height)
        try:
            file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.write(file, segment_head(height, self._chain))
                if os.fstat(file).st_size != SEGMENT:
                    raise StoreFull(name)
                os.fdatasync(file)
                self._sync_names()  # the name too must survive
            except (OSError, StoreError):
                os.close(file)
                name.unlink()
                raise
        except OSError as cause:
            raise from_os(cause, name) from cause
        segment = Segment(name, file, height, self._chain)
        self._segments.append(segment)
        return segment

    def _write(self, segment: Segment, data: bytes) -> None:
        written = False
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(segment.file, memoryview(data)[done:], segment.end + done)
            written = True
            os.fdatasync(segment.file)
        except OSError as cause:
            error = from_os(cause, segment.path)
            if written:
                # A failed sync tells nothing about which pages reached the disk, and a second one would say "done".
                self._failed = error
            try:
                os.ftruncate(segment.file, segment.end)
            except OSError:
                self._failed = error
            raise error from cause

    # --- reading

    def read(self, height: int) -> bytes:
        """The block at a height, checked against its checksums and chain.

        Raises:
            LookupError: there is no such block.
            StoreCorrupt: it was altered since the log was opened.
        """
        self._check_open()
        if self._before is not None and height < self._first:
            return self._before.read(height)
        if not self._first <= height <= self._height:
            raise LookupError(f"expected a height from {self._first} to {self._height}, got {height}")
        segment = self._segments[self._segment_at(height)]
        if height == segment.first:
            offset, before = SEGMENT, segment.before
        else:
            previous = segment.offset_of(height - 1)
            head = parse_head(os.pread(segment.file, FRAME, previous))
            if head is None:
                raise StoreCorrupt(segment.path, f"block {height - 1} at byte {previous} was altered: its head is bad")
            offset, before = previous + FRAME + head.length, head.chain
        found = read_frame(segment.path, segment.file, offset, height, before)
        if found is None:
            raise StoreCorrupt(segment.path, f"was cut short at byte {offset} while in use; block {height} is missing")
        return found.body

    def iterate(self, start: int = 1) -> Iterator[tuple[int, bytes]]:
        """(height, block) from `start` to the last, each checked; one in memory at a time."""
        if self._before is not None:
            yield from self._before.iterate(start)
        height = max(start, self._first)
        while height <= self._height:
            segment = self._segments[self._segment_at(height)]
            offset = segment.offset_of(height)
            chain: bytes | None = None if height > segment.first else segment.before
            while height < segment.first + segment.count:
                found = read_frame(segment.path, segment.file, offset, height, chain)
                if found is None:
                    raise StoreCorrupt(segment.path, f"was cut short at byte {offset} while in use")
                yield height, found.body
                offset, chain, height = found.end, found.chain, height + 1

    def _segment_at(self, height: int) -> int:
        return bisect_right(self._segments, height, key=lambda segment: segment.first) - 1

    # --- closing

    def close(self) -> None:
        """Close the files and release the directory. Closing twice is harmless."""
        if not self._closed:
            self._closed = True
            if self._before is not None:
                self._before.close()
            for segment in (*self._segments, *self._retired):
                os.close(segment.file)
            os.close(self._lock)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed(self.path, "the block log is closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
