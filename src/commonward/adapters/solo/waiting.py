"""What waits for a block, shared fairly between the members that carry it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from commonward.ledger.ids import Digest, MemberId

__all__ = ["Full", "Limits", "Waiting", "WaitingRoom"]


_HEAD: Final = 5
"""Bytes that a bundle takes in a block beside its own, at most."""


class Limits(NamedTuple):
    """Of one block, and of one member in it. Sizes in bytes."""

    block_bytes: int
    block_signatures: int
    member_transactions: int
    member_bytes: int


class Full(Exception):
    """A member has more waiting than several blocks could take from it."""

    def __init__(self, member: MemberId, limit: int) -> None:
        super().__init__(f"{member} has {limit} bytes waiting already: wait until some are in a block")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A bundle that was checked. `signatures` counts every one that executing it asks for."""

    carrier: MemberId
    data: bytes
    digests: tuple[Digest, ...]
    signatures: int


class WaitingRoom:
    """Bundles by carrier, each carrier's in the order they came.

    Space is handed out one bundle at a time to whoever has had least of this block, so a member with ten thousand
    bundles waiting cannot keep out one with a single bundle.
    """

    def __init__(self, member_waiting_bytes: int = 16 << 20) -> None:
        self._most = member_waiting_bytes
        self._queues: dict[MemberId, deque[Waiting]] = {}
        self._bytes: dict[MemberId, int] = {}
        self._digests: set[Digest] = set()

    def __bool__(self) -> bool:
        return bool(self._queues)

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._digests

    def add(self, waiting: Waiting) -> None:
        """Queue a bundle. Raises Full."""
        held = self._bytes.get(waiting.carrier, 0) + len(waiting.data)
        if held > self._most:
            raise Full(waiting.carrier, self._most)
        self._bytes[waiting.carrier] = held
        self._queues.setdefault(waiting.carrier, deque()).append(waiting)
        self._digests.update(waiting.digests)

    def cut(self, limits: Limits) -> list[Waiting]:
        """Take out what the next block holds. A bundle is whole or waits."""
        room, signatures = limits.block_bytes, limits.block_signatures
        had = dict.fromkeys(self._queues, 0)
        counts = dict.fromkeys(self._queues, 0)
        taken: list[Waiting] = []
        while had:
            carrier = min(had, key=had.__getitem__)
            queue = self._queues[carrier]
            size, count = len(queue[0].data) + _HEAD, len(queue[0].digests)
            if (
                size > room
                or queue[0].signatures > signatures
                or had[carrier] + size > limits.member_bytes
                or counts[carrier] + count > limits.member_transactions
            ):
                del had[carrier]  # its next bundle waits for the next block; smaller ones behind it keep their order
                continue
            waiting = queue.popleft()
            taken.append(waiting)
            room -= size
            signatures -= waiting.signatures
            had[carrier] += size
            counts[carrier] += count
            self._bytes[carrier] -= len(waiting.data)
            self._digests.difference_update(waiting.digests)
            if not queue:
                del had[carrier], self._queues[carrier], self._bytes[carrier]
        return taken

    def give_back(self, taken: Sequence[Waiting]) -> None:
        """Put bundles back in front, as they were: the block they were for did not come about."""
        for waiting in reversed(taken):
            self._queues.setdefault(waiting.carrier, deque()).appendleft(waiting)
            self._bytes[waiting.carrier] = self._bytes.get(waiting.carrier, 0) + len(waiting.data)
            self._digests.update(waiting.digests)

    def drop_heads(self) -> list[Waiting]:
        """Take out each carrier's first bundle: none of them fits even an empty block (the limits were lowered)."""
        dropped = []
        for carrier in list(self._queues):
            queue = self._queues[carrier]
            waiting = queue.popleft()
            dropped.append(waiting)
            self._bytes[carrier] -= len(waiting.data)
            self._digests.difference_update(waiting.digests)
            if not queue:
                del self._queues[carrier], self._bytes[carrier]
        return dropped
