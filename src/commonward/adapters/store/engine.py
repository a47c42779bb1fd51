"""How the vault talks to SQLite: every setting that durability, erasure and several processes rest on."""

import os
import sqlite3
from pathlib import Path

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from commonward.workflows.ports import VaultFull

from .errors import FULL, StoreClosed, StoreCorrupt, StoreError, StoreLocked

__all__ = ["LONE_READS", "open_engine", "translate"]

BUSY_MS = 30_000
"""How long a writer waits for another process (an import at the command line beside the node)."""

LONE_READS = "lone_reads"
"""Execution option of a connection that only reads."""


def open_engine(path: Path, *, cache_mib: int) -> Engine:
    """An engine over the file at `path`, created 0600 in a directory of 0700."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        # Before SQLite does, so that there is no moment in which others could open it. Its -wal and -shm files
        # take the mode of the main one.
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        assert isinstance(connection, sqlite3.Connection)
        connection.isolation_level = None  # transactions begin when we say so, below, not when the driver guesses
        for pragma in (
            f"busy_timeout = {BUSY_MS}",
            "page_size = 8192",  # takes effect in a new file; a third less work than 4096 for records of 1.5 KB
            "journal_mode = wal",
            "synchronous = full",  # WAL with NORMAL would forget acknowledged commits in a power cut
            "foreign_keys = on",
            "secure_delete = on",  # what is deleted is overwritten with zeros
            f"cache_size = -{cache_mib * 1024}",
            "wal_autocheckpoint = 4000",  # 32 MiB: a page changed by many rows is copied back once
            "temp_store = memory",  # nothing of the vault in a temporary file
        ):
            connection.execute(f"pragma {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get(LONE_READS):
            return  # each statement alone, in no transaction: it takes no lock and sees the last commit
        # Taken at the start: a read that later wants to write would fail at once when another process wrote between.
        connection.exec_driver_sql("begin immediate")

    return engine


def translate(cause: Exception, path: Path) -> Exception:
    """SQLite's errors in the words of the port (`VaultFull`) or of this package."""
    original = cause.orig if isinstance(cause, DBAPIError) else cause
    code = getattr(original, "sqlite_errorcode", 0) & 0xFF  # extended codes keep the primary one in the low byte
    if isinstance(original, OSError):
        full = original.errno in FULL
        return VaultFull(f"{path}: {original.strerror}") if full else StoreError(path, str(original))
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return VaultFull(
            f"{path}: cannot write ({original}); make room or mend the disk and try again: "
            "the change was undone whole, and nothing acknowledged before is lost"
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreCorrupt(path, f"altered or damaged ({original}); keep the file and restore the last good copy")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreLocked(path, f"another process has been writing for {BUSY_MS // 1000} s; try again when it is done")
    if isinstance(original, sqlite3.ProgrammingError) and "closed" in str(original):
        return StoreClosed(path, "the vault is closed")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return StoreError(
            path, f"cannot open or write ({original}); the file and its directory must belong to this user"
        )
    return StoreError(path, f"the vault failed ({original})")
