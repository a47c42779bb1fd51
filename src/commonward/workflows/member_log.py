"""The member's own log: uses, refusals, emergencies. Chained by hash, and anchored at each tick by a `LogRoot`.

An entry is durable when `note` returns. The chain's head is committed to with a salt, so the ledger shows
neither what was logged nor how much. An auditor is given entries and salts, and checks that nothing between two
roots was added, changed or left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from commonward.ledger.encoding import Digest, digest, encode
from commonward.ledger.ids import BlockTime, Handle
from commonward.workflows.ports import Clock, LogRow, LogVault
from commonward.workflows.sealing import Altered, Sealing
from commonward.workflows.wire import Message

_TRIES: Final = 100

START: Final = Digest(bytes(32))
"""What the first entry is chained to."""


class Event(IntEnum):
    """What was logged. Numbers never change meaning."""

    DISPLAYED = 1
    DISPLAY_REFUSED = 2
    RELEASED = 3
    RELEASE_REFUSED = 4
    GLASS_BROKEN = 5
    GRACE_USED = 6
    RECEIVED = 7
    RECEIVED_WRONG = 8  # what came did not check
    RECALLED = 9
    ERASED = 10
    FLAGGED = 11  # same source id with other content, a late preliminary, an altered row
    LINKED = 12
    REVIEWED = 13
    OPENED_LATE = 14  # a consent or withdrawal was seen on the ledger before its opening came
    STUDY = 15  # proposed, voted on, enrolled in, left
    PHOTOGRAPH = 16  # taken in though writing on it was suspected: who had looked and found none
    TWO_PICTURES = 17  # held to be copies of each other: who had looked and found them to be of two patients


@dataclass(frozen=True, slots=True)
class LogEntry(Message):
    """`who` is the opaque number of a staff certificate, `staff` the certificate's digest; both "" for a service."""

    event: Event
    who: str
    staff: bytes
    detail: str
    handle: Handle | None = None
    request: bytes | None = None


class MemberLog:
    """One member's log over its vault."""

    def __init__(self, vault: LogVault, sealing: Sealing, clock: Clock) -> None:
        self._vault = vault
        self._sealing = sealing
        self._clock = clock

    def note(
        self,
        event: Event,
        detail: str,
        *,
        who: str = "",
        staff: bytes = b"",
        handle: Handle | None = None,
        request: bytes | None = None,
    ) -> int:
        """Appends and returns the entry's number. Joins the caller's vault transaction, if there is one."""
        entry = LogEntry(event, who, staff, detail, handle, request).to_bytes()
        for _ in range(_TRIES):
            last = self._vault.last_log()
            number, before = (last.number + 1, Digest(last.hash)) if last else (1, START)
            at = self._clock.now()
            sealed = self._sealing.seal("log", number.to_bytes(8, "big"), entry)
            try:
                self._vault.append_log(LogRow(number, at, chained(before, number, at, entry), sealed))
            except KeyError:
                continue  # another process of this member wrote the entry between; chain to that one
            return number
        raise RuntimeError(f"another process wrote to the member's log {_TRIES} times in the same moment")

    def head(self) -> tuple[int, Digest]:
        last = self._vault.last_log()
        return (last.number, Digest(last.hash)) if last else (0, START)

    def entries(self, first: int = 1) -> Iterator[tuple[int, BlockTime, LogEntry]]:
        """Checks the chain as it reads. Raises Altered where it breaks."""
        before = START
        if first > 1:
            rows = self._vault.log_rows(first - 1, 1)
            if not rows:
                return
            before = Digest(rows[0].hash)
        while rows := self._vault.log_rows(first, 500):
            for row in rows:
                entry = self._sealing.open("log", row.number.to_bytes(8, "big"), row.sealed)
                if row.number != first or chained(before, row.number, row.at, entry) != row.hash:
                    raise Altered(f"the member's log breaks at entry {first}: changed, moved or taken out")
                yield row.number, row.at, LogEntry.parse(entry)
                before = Digest(row.hash)
                first += 1


def chained(before: Digest, number: int, at: int, entry: bytes) -> Digest:
    """The hash that stands for an entry and all before it."""
    return digest("commonward member log v1", before, encode([number, at, entry]))


def log_root(salt: bytes, number: int, head: Digest) -> Digest:
    """What a `LogRoot` transaction carries: hides how long the log is. `salt`: 32 bytes, kept to open it."""
    return digest("commonward member log root v1", salt, encode([number, head]))


def check_entries(
    entries: Sequence[tuple[int, int, bytes]], before: Digest, number: int, head: Digest, salt: bytes, root: bytes
) -> None:
    """For an auditor: (number, at, entry bytes) in order lead from `before` to the head that `root` commits to.

    Raises Altered.
    """
    for n, at, entry in entries:
        before = chained(before, n, at, entry)
    if before != head or (entries and entries[-1][0] != number) or log_root(salt, number, head) != root:
        raise Altered("these entries do not lead to the anchored root")
