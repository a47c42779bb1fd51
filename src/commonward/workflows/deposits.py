"""Sealed openings that wait at a member, for their transaction or for their addressee: bounded, and found by entry.

Whoever holds an entry's digest can bring any number of bytes for it, and nobody can open them here. So each member
has its share of the room, the whole has an end, what waits too long is let go, and no request walks over all of it.
The patient's client sees who has not acknowledged, and delivers again, through another member if need be.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from commonward.ledger.ids import Digest, MemberId
from commonward.workflows.member import Member
from commonward.workflows.messages import OpeningDeposit
from commonward.workflows.sealing import Altered, Drawer
from commonward.workflows.wire import Message, MessageError

ROOM: Final = 2_048
ROOM_BYTES: Final = 32 << 20
SHARE: Final = 256
SHARE_BYTES: Final = 4 << 20


class DepositRefused(ValueError):
    """An opening is not kept here; the sentence may leave."""


@dataclass(frozen=True, slots=True)
class Waiting(Message):
    """A deposit, whose share of the room it takes, and since when it waits (ms)."""

    deposit: OpeningDeposit
    share: MemberId
    at: int


@dataclass(frozen=True, slots=True)
class _Place:
    entry: Digest
    share: MemberId
    at: int
    size: int


class Deposits:
    """One drawer of them. The index of what waits is made once, at first use, and kept in step."""

    def __init__(self, member: Member, name: str, lasts_ms: int) -> None:
        self._member = member
        self._name = name
        self._lasts = lasts_ms
        self._drawer = Drawer(member.ports.vault, member.sealing, name, Waiting)
        self._known: dict[bytes, _Place] | None = None
        self._of_entry: dict[Digest, dict[bytes, None]] = {}

    def keep(self, deposit: OpeningDeposit, share: MemberId) -> bytes:
        """Durable once it returns: the key to `forget` it by. The same bytes again take no more room.

        Raises DepositRefused when the share, or the whole room, is taken.
        """
        places = self._places()
        key = self._member.sealing.name(self._name, share, deposit.to, deposit.entry, deposit.sealed)
        if key in places:
            return key
        theirs = [place.size for place in places.values() if place.share == share]
        size = len(deposit.sealed)
        if len(theirs) >= SHARE or sum(theirs) + size > SHARE_BYTES:
            raise DepositRefused(
                f"{len(theirs)} openings ({sum(theirs)} bytes) of {share} wait at {self._member.id} already: at most "
                f"{SHARE} and {SHARE_BYTES} bytes may. Deliver it through another member, or again in a while"
            )
        if len(places) >= ROOM or sum(place.size for place in places.values()) + size > ROOM_BYTES:
            raise DepositRefused(
                f"{len(places)} openings wait at {self._member.id} already, and there is no room for more. Deliver it "
                "through another member, or again in a while"
            )
        waiting = Waiting(deposit, share, self._member.now())
        self._drawer.put(key, waiting)
        self._add(key, waiting)
        return key

    def forget(self, key: bytes) -> None:
        self._drawer.remove(key)
        place = self._places().pop(key, None)
        if place is not None:
            of_entry = self._of_entry[place.entry]
            of_entry.pop(key, None)
            if not of_entry:
                del self._of_entry[place.entry]

    def later(self, key: bytes) -> None:
        """Behind all others from now on."""
        places = self._places()
        if key in places:
            places[key] = places.pop(key)

    def of(self, entry: Digest) -> Iterator[tuple[bytes, OpeningDeposit]]:
        """What waits for one transaction."""
        self._places()
        yield from self._open(list(self._of_entry.get(entry, ())))

    def entries(self) -> list[Digest]:
        """The transactions that something waits for."""
        self._places()
        return list(self._of_entry)

    def every(self) -> Iterator[tuple[bytes, OpeningDeposit]]:
        yield from self._open(list(self._places()))

    def let_go(self) -> None:
        """Forgets what waited too long."""
        now = self._member.now()
        for key, place in list(self._places().items()):
            if now - place.at > self._lasts:
                self.forget(key)

    def _open(self, keys: list[bytes]) -> Iterator[tuple[bytes, OpeningDeposit]]:
        for key in keys:
            with suppress(Altered, MessageError):  # it waits no longer than others do
                waiting = self._drawer.get(key)
                if waiting is not None:
                    yield key, waiting.deposit

    def _places(self) -> dict[bytes, _Place]:
        if self._known is None:
            self._known = {}
            for key in self._drawer.places():
                try:
                    waiting = self._drawer.get(key)
                except (Altered, MessageError):  # opens for nobody: the patient's client delivers anew
                    self._drawer.remove(key)
                    continue
                if waiting is not None:
                    self._add(key, waiting)
        return self._known

    def _add(self, key: bytes, waiting: Waiting) -> None:
        assert self._known is not None
        deposit = waiting.deposit
        self._known[key] = _Place(deposit.entry, waiting.share, waiting.at, len(deposit.sealed))
        self._of_entry.setdefault(deposit.entry, {})[key] = None
