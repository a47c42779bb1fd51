"""Looking at a node's files while it runs: the block log and single values of the state, with no lock and no write.

What is seen is a moment: a block that is being appended meanwhile is not there yet.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from rocksdict import AccessType, Options, Rdict

from .errors import StoreCorrupt, StoreError, from_os
from .frames import NO_CHAIN, SEGMENT
from .segments import Torn, open_segment, walk

__all__ = ["peek", "read_blocks"]


def read_blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """(height, record) of every block in the log's directory `path`, each checked; none when there is no such log.

    Raises:
        StoreCorrupt: a frame or a file was altered or is missing; says which.
        StoreError: a file cannot be read.
    """
    try:
        names = sorted(path.glob("blocks-*"))
        height, before = 0, NO_CHAIN
        for at, name in enumerate(names):
            is_last = at == len(names) - 1
            file = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if is_last and os.fstat(file).st_size < SEGMENT:
                    return  # being made, or what a crash left of one
                first, chain = open_segment(name, file)
                if first != height + 1 or chain != before:
                    raise StoreCorrupt(name, f"expected the file that goes on with block {height + 1}: one is missing")
                for found in walk(name, file, first, chain, is_last=is_last):
                    if isinstance(found, Torn):
                        return
                    height, before = found.height, found.chain
                    yield height, found.body
            finally:
                os.close(file)
    except OSError as cause:
        raise from_os(cause, path) from cause


def peek(path: Path, key: bytes) -> bytes | None:
    """One value of the state in `path` as it last stood on disk; None when there is none. Raises StoreError."""
    if not (path / "CURRENT").exists():
        return None
    try:
        state = Rdict(str(path), Options(raw_mode=True), access_type=AccessType.read_only())
    except Exception as cause:  # the library has one kind of error for everything
        raise StoreError(path, f"the state cannot be opened to be read ({cause})") from cause
    try:
        value: bytes | None = state.get(key)
        return value
    finally:
        state.close()
