"""Consistent copies of a running member's vault and block log, for a backup: no lock held on the node, nothing stopped.

The vault is copied as of one moment (SQLite's own backup, in one step: writers go on beside it). The block log is
append-only, so a copy of it is a prefix that ends with a whole block.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from .engine import BUSY_MS, translate
from .errors import StoreCorrupt, from_os
from .frames import SEGMENT
from .segments import Torn, open_segment, walk

__all__ = ["Prefix", "copy_vault", "prefixes", "vault_fault"]


class Prefix(NamedTuple):
    """So much of one file of the block log is whole blocks. `height`: of the last one in it."""

    path: Path
    length: int
    height: int


def copy_vault(path: Path, to: Path) -> None:
    """Copy the vault at `path` as it stands now to the new file `to` (0600), synced, its pages checked.

    Raises:
        FileExistsError: `to` is there already.
        StoreCorrupt: the copy is damaged, and so is the vault.
        VaultFull, StoreError: it cannot be read, or there is no room.
    """
    os.close(os.open(to, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        # Read-write, since a database in WAL mode may need its shared-memory file made; nothing is written.
        with closing(_opened(path)) as source, closing(_opened(to)) as copy:
            source.execute("pragma query_only = on")
            # A copy that a crash cuts short is thrown away, so no journal; one step, so that no writer makes it begin
            # again and all of it is of one moment.
            copy.execute("pragma synchronous = off")
            source.backup(copy, pages=-1)
            copy.execute("pragma journal_mode = delete")  # one file, no -wal beside it
        fault = vault_fault(to)
        if fault:
            raise StoreCorrupt(path, f"its copy is damaged ({fault}), so keep the file and restore the last good copy")
        with to.open("rb") as done:
            os.fsync(done.fileno())
    except (sqlite3.Error, OSError) as cause:
        to.unlink(missing_ok=True)
        raise translate(cause, path) from cause
    except BaseException:
        to.unlink(missing_ok=True)
        raise


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_MS / 1000)


def vault_fault(path: Path) -> str:
    """What is wrong with a vault that nobody has open; empty when its pages hold together."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as vault:
            (said,) = vault.execute("pragma quick_check(1)").fetchone()
    except sqlite3.Error as cause:
        return str(cause)
    return "" if said == "ok" else str(said)


def prefixes(path: Path, progress: Callable[[int], None] = lambda height: None) -> Iterator[Prefix]:
    """For each file of the block log at `path`, how much of it to copy; every block in it is checked on the way.

    Raises StoreCorrupt when a block was altered: such a log is no backup.
    """
    try:
        names = sorted(path.glob("blocks-*"))
        for at, name in enumerate(names):
            is_last = at == len(names) - 1
            file = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if is_last and os.fstat(file).st_size < SEGMENT:
                    return  # being made
                first, chain = open_segment(name, file)
                end, height = SEGMENT, first - 1
                for found in walk(name, file, first, chain, is_last=is_last):
                    if isinstance(found, Torn):
                        break
                    end, height = found.end, found.height
                    if height % 512 == 0:
                        progress(height)
            finally:
                os.close(file)
            yield Prefix(name, end, height)
    except OSError as cause:
        raise from_os(cause, path) from cause
