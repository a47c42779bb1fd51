"""The state is written after the block log, and nothing is lost or misread by it."""

import sys
import threading
from collections.abc import Mapping

import pytest

from commonward.adapters.store.errors import StoreFull
from commonward.adapters.store.state import MemoryStore
from commonward.workflows.behind import WriteBehind


class Slow(MemoryStore):
    """A disk that writes only when let."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.writes: list[dict[bytes, bytes | None]] = []

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        assert self.go.wait(5)
        self.writes.append(dict(changes))
        super().write(changes)


def test_what_was_written_is_read_back_while_the_disk_is_slow() -> None:
    disk = Slow()
    store = WriteBehind(disk)
    store.write({b"a": b"1", b"b": b"1"})
    for n in range(2, 50):
        store.write({b"a": b"%d" % n, b"b": None})
    assert store.get(b"a") == b"49" and store.get(b"b") is None
    assert disk.get(b"a") is None
    disk.go.set()
    store.flush()
    assert disk.get(b"a") == b"49" and disk.get(b"b") is None
    assert len(disk.writes) <= 3  # those that came meanwhile joined into one
    store.close()


class Full(MemoryStore):
    """A disk that is full until told otherwise."""

    full = True

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        if self.full:
            raise StoreFull("state")
        super().write(changes)


def test_a_full_disk_is_told_and_loses_nothing_once_there_is_room() -> None:
    disk = Full()
    store = WriteBehind(disk)
    store.write({b"a": b"1", b"b": b"1"})
    with pytest.raises(StoreFull):
        store.flush()
    with pytest.raises(StoreFull):
        store.write({b"a": b"2"})
    assert store.get(b"a") == b"1"
    disk.full = False
    store.write({b"a": b"3"})
    store.close()
    assert disk.get(b"a") == b"3" and disk.get(b"b") == b"1"


def test_many_writes_and_reads_agree_with_a_plain_store() -> None:
    plain, behind = MemoryStore(), WriteBehind(MemoryStore())
    for n in range(2000):
        change: dict[bytes, bytes | None] = {b"%d" % (n % 37): None if n % 5 == 0 else b"%d" % n}
        plain.write(change)
        behind.write(change)
        probe = b"%d" % (n * 7 % 37)
        assert behind.get(probe) == plain.get(probe)
    behind.close()


def test_a_write_that_meets_the_end_of_the_one_before_is_taken() -> None:
    """The other thread forgets its job between any two looks at it: threads change places here as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(5):
            behind = WriteBehind(MemoryStore())
            for n in range(1500):
                behind.write({b"key": b"%d" % n})
                assert behind.get(b"key") == b"%d" % n
            behind.close()
    finally:
        sys.setswitchinterval(usual)
