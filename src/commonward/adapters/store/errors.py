"""What can go wrong with a disk, in our words. Errors of RocksDB, SQLite and the system stop here.

A full disk and an altered file ask for different things of an operator, so each says where, and what to do.
"""

import errno
from pathlib import Path

__all__ = ["StoreClosed", "StoreCorrupt", "StoreError", "StoreFull", "StoreLocked", "from_os"]

# A file at its size limit (EFBIG) and a spent quota (EDQUOT) are a full disk to whoever has to make room.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class StoreError(Exception):
    """A store could not do what was asked. `where` is the file or directory concerned."""

    def __init__(self, where: Path | str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = str(where)
        self.what = what


class StoreFull(StoreError):
    """No room to write. What was acknowledged before stands; the change refused now may be offered again as it is."""

    def __init__(self, where: Path | str, what: str = "the disk is full") -> None:
        super().__init__(where, f"{what}; make room and try again: nothing that was acknowledged is lost")


class StoreCorrupt(StoreError):
    """Bytes on disk are not those that were written. Never repaired in silence."""


class StoreLocked(StoreError):
    """Another process holds the directory; two writers would each undo the other's work."""


class StoreClosed(StoreError):
    """Used after `close`."""


def from_os(cause: OSError, where: Path | str) -> StoreError:
    """Translate an error of the system into ours."""
    if cause.errno in FULL:
        return StoreFull(where)
    return StoreError(where, f"cannot read or write ({cause.strerror or cause})")
