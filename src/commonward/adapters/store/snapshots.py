"""Snapshots on disk: those that others may fetch, and the one that is being made.

    snapshots/000000001000/manifest      written last, then the folder is renamed into place: whole or not there
    snapshots/000000001000/chunk-000000
    snapshots/making/                     gone after a crash

A member that has heard of a snapshot asks for its chunks over the next minutes, so one goes only when `keep` newer ones
are there and nobody has heard of it or asked for it lately; or when there are `MOST` newer ones, for disks are finite.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import StoreCorrupt, from_os

__all__ = ["KEEP", "SnapshotFiles"]

KEEP = 2
MOST = 6
LINGER_MS = 10 * 60 * 1000


class SnapshotFiles:
    """A directory of snapshots. One thread makes, another reads. Implements `workflows.snapshots.SnapshotShelf`."""

    def __init__(self, path: Path, now: Callable[[], int], *, keep: int = KEEP) -> None:
        """Open or create the directory (0700). `now`: milliseconds, for how long ago somebody asked."""
        self.path = path
        self._now = now
        self._keep = keep
        self._asked: dict[int, int] = {}
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
            for name in path.iterdir():
                if name.is_dir() and not (name / MANIFEST).exists():
                    shutil.rmtree(name)
        except OSError as cause:
            raise from_os(cause, path) from cause

    def heights(self) -> list[int]:
        """Of whole snapshots, ascending."""
        try:
            return sorted(int(name.name) for name in self.path.iterdir() if name.name.isdigit())
        except OSError as cause:
            raise from_os(cause, self.path) from cause

    def _folder(self, height: int) -> Path:
        return self.path / f"{height:012d}"

    def manifest(self, height: int) -> bytes:
        """Raises LookupError when there is no such snapshot."""
        return self._read(height, MANIFEST)

    def chunk(self, height: int, index: int) -> bytes:
        """Raises LookupError when there is no such chunk."""
        self.told(height)
        return self._read(height, _chunk_name(index))

    def told(self, height: int) -> None:
        """Somebody has heard of it: it stays for `LINGER_MS` from now, newer ones or not."""
        self._asked[height] = self._now()

    def _read(self, height: int, name: str) -> bytes:
        try:
            return (self._folder(height) / name).read_bytes()
        except FileNotFoundError as cause:
            raise LookupError(f"there is no {name} of a snapshot at height {height}") from cause
        except OSError as cause:
            raise from_os(cause, self._folder(height) / name) from cause

    def make(self) -> "MakingFiles":
        """Begin a snapshot; what an earlier try left is gone."""
        return MakingFiles(self)

    def prune(self) -> None:
        """Remove what is neither new nor asked for."""
        heights, now = self.heights(), self._now()
        for height in heights[: -self._keep]:
            heard = self._asked.get(height)
            if heard is not None and now - heard < LINGER_MS and height in heights[-MOST:]:
                continue
            try:
                # Out of sight first: half a folder must never look like a snapshot.
                gone = self._folder(height).rename(self.path / f"gone-{height}")
                shutil.rmtree(gone)
            except OSError as cause:
                raise from_os(cause, self._folder(height)) from cause
            self._asked.pop(height, None)

    def forget(self, height: int) -> None:
        """Remove a snapshot that turned out to be damaged."""
        shutil.rmtree(self._folder(height), ignore_errors=True)


MANIFEST = "manifest"


def _chunk_name(index: int) -> str:
    return f"chunk-{index:06d}"


class MakingFiles:
    """One snapshot in the making. See `workflows.snapshotting.Making`."""

    def __init__(self, files: SnapshotFiles) -> None:
        self._files = files
        self._path = files.path / "making"
        self._chunks = 0
        self.drop()
        try:
            (self._path / "scratch").mkdir(mode=0o700, parents=True)
        except OSError as cause:
            raise from_os(cause, self._path) from cause

    def spill(self, name: str, piece: bytes) -> None:
        path = self._path / "scratch" / name
        try:
            with path.open("ab") as file:
                file.write(len(piece).to_bytes(4, "big"))
                file.write(piece)
        except OSError as cause:
            raise from_os(cause, path) from cause

    def spilled(self, name: str) -> Iterator[bytes]:
        path = self._path / "scratch" / name
        if not path.exists():
            return
        try:
            with path.open("rb") as file:
                while head := file.read(4):
                    piece = file.read(int.from_bytes(head, "big"))
                    if len(piece) != int.from_bytes(head, "big"):
                        raise StoreCorrupt(path, "was cut short while a snapshot was made")
                    yield piece
            path.unlink()
        except OSError as cause:
            raise from_os(cause, path) from cause

    def chunk(self, data: bytes) -> None:
        self._write(_chunk_name(self._chunks), data)
        self._chunks += 1

    def again(self, height: int) -> None:
        """Take the chunks of another snapshot over, without copying them: the state is the same."""
        source = self._files._folder(height)
        try:
            for name in sorted(source.glob("chunk-*")):
                os.link(name, self._path / name.name)
                self._chunks += 1
        except OSError as cause:
            raise from_os(cause, source) from cause

    def _write(self, name: str, data: bytes) -> None:
        path = self._path / name
        try:
            with path.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as cause:
            raise from_os(cause, path) from cause

    def keep(self, height: int, manifest: bytes) -> None:
        """Whole, durable and in sight when this returns. A snapshot of that height that was there is replaced."""
        try:
            shutil.rmtree(self._path / "scratch")
            self._write(MANIFEST, manifest)
            _sync(self._path)
            self._files.forget(height)
            self._path.rename(self._files._folder(height))
            _sync(self._files.path)
        except OSError as cause:
            raise from_os(cause, self._path) from cause

    def drop(self) -> None:
        """Nothing of it stays. After `keep` there is nothing to drop."""
        shutil.rmtree(self._path, ignore_errors=True)


def _sync(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
