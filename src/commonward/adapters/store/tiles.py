"""The hashes of the RFC 9162 log in flat files, one for each tile level (`ledger.merkle.log.LogStore`).

File `level-0` holds leaf hashes, `level-1` the hashes of each 256 leaves, and so on: 32 bytes each, so hash i of a
level lies at 32 i. No index, no cache: memory does not grow with the log. What is appended survives a power cut after
`sync`, which the state store calls before each of its writes (`RocksStore(path, first=tiles.sync)`): the state never
names a log longer than the files. After a crash the files may be longer; the machine truncates them at start.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from commonward.ledger.merkle.log import NotHeld, tile_base

from .errors import StoreClosed, StoreCorrupt, from_os

__all__ = ["TileFiles"]

HASH = 32
BEGINS = "begins"


class TileFiles:
    """A directory of tile levels."""

    def __init__(self, path: Path) -> None:
        """Open or create the directory (0700). A torn hash at the end of a level is dropped."""
        self.path = path
        self._files: list[int] = []
        self._held: list[int] = []  # hashes in each level
        self._unsynced: set[int] = set()
        self._new_names = False
        self._closed = False
        self._begins = 0
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
            while self._name(len(self._files)).exists():
                self._open_level()
            self._begins = self._read_begins()
        except OSError as cause:
            raise from_os(cause, path) from cause
        if strays := [name for name in path.glob("level-*") if name.name not in self._names()]:
            raise StoreCorrupt(strays[0], f"expected {self._name(len(self._files)).name} below it, which is missing")

    def _name(self, level: int) -> Path:
        return self.path / f"level-{level}"

    def _names(self) -> set[str]:
        return {self._name(level).name for level in range(len(self._files))}

    def _open_level(self) -> None:
        name = self._name(len(self._files))
        self._new_names = self._new_names or not name.exists()
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(file).st_size
        if size % HASH:
            os.ftruncate(file, size - size % HASH)
        self._files.append(file)
        self._held.append(size // HASH)

    def _read_begins(self) -> int:
        name = self.path / BEGINS
        if not name.exists():
            return 0
        text = name.read_text()
        if not (text.isascii() and text.isdigit()):
            raise StoreCorrupt(name, f"expected the number of a leaf, got {text!r:.40}")
        return int(text)

    @property
    def begins(self) -> int:
        """The leaf from which on this log is held; 0 when it is whole."""
        return self._begins

    def begin(self, size: int, rows: Sequence[bytes]) -> None:
        """Empty the directory, and hold a log from leaf `size` on; `rows` as `FrontierStore.begin` says."""
        self.truncate(0)
        try:
            with (self.path / BEGINS).open("w") as file:
                file.write(str(size))
                file.flush()
                os.fsync(file.fileno())
            self._new_names = True
            self._begins = size
            for level, row in enumerate(rows):
                while len(self._files) <= level:
                    self._open_level()
                base = tile_base(size, level)
                os.ftruncate(self._files[level], HASH * base)
                self._held[level] = base
                self.append(level, base, row)
        except OSError as cause:
            raise from_os(cause, self.path) from cause

    def fill(self, level: int, index: int, hashes: bytes) -> None:
        """Write hashes of the beginning into their holes. Raises ValueError beyond it."""
        self._check_open()
        if index + len(hashes) // HASH > tile_base(self._begins, level):
            raise ValueError(f"expected hashes of level {level} from before leaf {self._begins}")
        try:
            done = 0
            while done < len(hashes):
                done += os.pwrite(self._files[level], memoryview(hashes)[done:], HASH * index + done)
            self._unsynced.add(level)
        except OSError as cause:
            raise from_os(cause, self._name(level)) from cause

    def whole(self) -> None:
        """The beginning is there, all of it, and durable when this returns."""
        self.sync()
        try:
            (self.path / BEGINS).unlink(missing_ok=True)
            self._sync_names()
        except OSError as cause:
            raise from_os(cause, self.path) from cause
        self._begins = 0

    def held(self, level: int = 0) -> int:
        """How many hashes a level has."""
        return self._held[level] if level < len(self._held) else 0

    def read(self, level: int, index: int, count: int = 1) -> bytes:
        """`count` hashes, joined. Raises LookupError when they are not all there."""
        self._check_open()
        if not 0 <= index <= index + count <= self.held(level):
            raise LookupError(
                f"expected hashes {index} to {index + count} of {self._name(level)}, but it holds {self.held(level)}"
            )
        if count == 0:
            return b""
        if self._begins and index < tile_base(self._begins, level):
            raise NotHeld(level, index, self._begins)
        try:
            found = os.pread(self._files[level], HASH * count, HASH * index)
        except OSError as cause:
            raise from_os(cause, self._name(level)) from cause
        if len(found) != HASH * count:
            raise StoreCorrupt(self._name(level), f"hash {index} was cut off while in use; replay the block log")
        return found

    def append(self, level: int, index: int, hashes: bytes) -> None:
        """Write hashes from `index` on; what the level held from there is dropped.

        Raises:
            LookupError: `index` would leave a gap.
            StoreFull: no room. The level then ends at `index`, and the same append may be tried again.
        """
        self._check_open()
        try:
            while len(self._files) <= level:
                self._open_level()
            if not 0 <= index <= self._held[level]:
                raise LookupError(f"expected to write at {self._held[level]} of level {level} or before, got {index}")
            file = self._files[level]
            self._unsynced.add(level)
            if index < self._held[level]:
                os.ftruncate(file, HASH * index)
                self._held[level] = index
            done = 0
            while done < len(hashes):
                done += os.pwrite(file, memoryview(hashes)[done:], HASH * index + done)
            self._held[level] = index + len(hashes) // HASH
        except OSError as cause:
            raise from_os(cause, self._name(level)) from cause

    def truncate(self, size: int) -> None:
        """Keep what a log of `size` leaves has: size // 256^level hashes at each level.

        Raises StoreCorrupt when a level holds fewer: its file was cut or replaced.
        """
        self._check_open()
        if size == 0 and self._begins:
            self._begins = 0
            (self.path / BEGINS).unlink(missing_ok=True)
        if size < self._begins:
            raise StoreCorrupt(self.path, f"expected a log of at least {self._begins} leaves, got one of {size}")
        for level, file in enumerate(self._files):
            keep = size >> (8 * level)
            if self._held[level] < keep:
                raise StoreCorrupt(
                    self._name(level),
                    f"expected {keep} hashes for a log of {size} leaves, got {self._held[level]}; "
                    "delete the state and the tiles together: the node replays its block log",
                )
            if self._held[level] > keep:
                try:
                    os.ftruncate(file, HASH * keep)
                except OSError as cause:
                    raise from_os(cause, self._name(level)) from cause
                self._held[level] = keep
                self._unsynced.add(level)

    def sync(self) -> None:
        """Return once everything appended would survive a power cut. Free when nothing was."""
        if self._closed or not self._unsynced:
            return
        # Taken before the work: another thread may append meanwhile, and what it adds is for the next call.
        levels, self._unsynced = self._unsynced, set()
        try:
            for level in sorted(levels):
                os.fdatasync(self._files[level])
            if self._new_names:
                self._sync_names()
        except OSError as cause:
            self._unsynced |= levels
            raise from_os(cause, self.path) from cause
        self._new_names = False

    def _sync_names(self) -> None:
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def close(self) -> None:
        """Sync and close. Closing twice is harmless."""
        if not self._closed:
            self.sync()
            self._closed = True
            for file in self._files:
                os.close(file)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed(self.path, "the tiles are closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
