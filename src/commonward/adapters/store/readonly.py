"""Looking at a node's files while it runs: the block log and single values of the state, with no lock and no write.

What is seen is a moment: a block that is being appended meanwhile is not there yet.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rocksdict import AccessType, Options, Rdict

from .blocks import BEGINS
from .errors import StoreCorrupt, StoreError, from_os
from .frames import NO_CHAIN, SEGMENT, parse_segment
from .segments import Torn, open_segment, walk

__all__ = ["peek", "peeking", "read_blocks"]


def read_blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """(height, record) of every block in the log's directory `path`, each checked; none when there is no such log.

    The first is block 1, unless the log begins later.

    Raises:
        StoreCorrupt: a frame or a file was altered or is missing; says which.
        StoreError: a file cannot be read.
    """
    try:
        height, before = _before(path)
        names = sorted(each for each in path.glob("blocks-*") if each.name >= f"blocks-{height + 1:012d}")
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


def _before(path: Path) -> tuple[int, bytes]:
    """Height and chain before the first block held: a log may begin later than at block 1, and says so in a file."""
    try:
        found = parse_segment((path / BEGINS).read_bytes())
    except FileNotFoundError:
        return 0, NO_CHAIN
    if found is None:
        raise StoreCorrupt(path / BEGINS, "expected the height at which this log begins")
    return found[0] - 1, found[1]


def peek(path: Path, key: bytes) -> bytes | None:
    """One value of the state in `path` as it last stood on disk; None when there is none. Raises StoreError."""
    with peeking(path) as read:
        return read(key) if read is not None else None


@contextmanager
def peeking(path: Path) -> Iterator[Callable[[bytes], bytes | None] | None]:
    """Reads values of the state in `path`, all as of one moment; None where there is no state. Raises StoreError."""
    if not (path / "CURRENT").exists():
        yield None
        return
    try:
        state = Rdict(str(path), Options(raw_mode=True), access_type=AccessType.read_only())
    except Exception as cause:  # the library has one kind of error for everything
        raise StoreError(path, f"the state cannot be opened to be read ({cause})") from cause
    try:
        yield state.get
    finally:
        state.close()
