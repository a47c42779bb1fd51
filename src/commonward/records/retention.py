"""What may be erased when: retention, legal holds, and copies received from others.

Erasure is destroying salt and key (`envelope`). It waits for the law's retention and for every legal hold, then it
may be done and is marked on the ledger. Withdrawal is another thing: it stops use at once and erases nothing by itself.
A copy received from another member expires, but what a clinician relied on has become part of that member's own
records and is kept as long as those.

Pure: times are passed in, in ms since the Unix epoch, UTC. Years are calendar years.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from functools import cache
from importlib.resources import files
from typing import Final

import orjson

from commonward.ledger.encoding import Digest, digest
from commonward.records.jurisdiction import TableError
from commonward.records.stored import parse

TABLE_LABEL: Final = "commonward retention table v1"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = 86_400_000


class Ground(IntEnum):
    """Why something is to be erased."""

    RETENTION_OVER = 1
    PATIENT_REQUEST = 2
    WRONG_PATIENT = 3
    COURT_ORDER = 4
    COPY_EXPIRED = 5


class Obstacle(IntEnum):
    """What stands against erasing."""

    NONE = 0
    RETENTION = 1
    LEGAL_HOLD = 2
    RELIED_ON = 3
    NOT_EXPIRED = 4


@dataclass(frozen=True, slots=True)
class Kept:
    """A record as retention sees it.

    Attributes:
        classes: of the sensitivity table.
        last: ms of the record's last time: the end of what it tells of, or when it came in if it does not say.
        born: ms of the patient's birth, or None when it is not known.
        patient: opaque id of the patient, for holds that name one.
        record: opaque id of the record, for holds that name one.
        received_from: member that a copy came from; None for the custodian's own.
        received_at: ms when a copy came.
        emergency: whether a copy came by breaking the glass.
        relied_on: whether a clinician relied on a copy.
    """

    classes: frozenset[str]
    last: int
    born: int | None
    patient: bytes
    record: bytes
    received_from: str | None = None
    received_at: int = 0
    emergency: bool = False
    relied_on: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold. What it names must fit; None is any. It stands until it is lifted or its end.

    Attributes:
        name: by which it is lifted.
        patients: opaque ids, or None for all.
        records: opaque ids, or None for all.
        classes: or None for all.
        until: ms, or None for until lifted.
    """

    name: str
    patients: frozenset[bytes] | None = None
    records: frozenset[bytes] | None = None
    classes: frozenset[str] | None = None
    until: int | None = None

    def holds(self, kept: Kept, now: int) -> bool:
        return (
            (self.until is None or now < self.until)
            and (self.patients is None or kept.patient in self.patients)
            and (self.records is None or kept.record in self.records)
            and (self.classes is None or not self.classes.isdisjoint(kept.classes))
        )


@dataclass(frozen=True, slots=True)
class Erasure:
    """Whether something may be erased now.

    Attributes:
        allowed: yes or no.
        obstacle: what stands against it.
        not_before: ms from which it may be, when that is known; None when a hold must be lifted first.
        holds: names of the holds that stand.
    """

    allowed: bool
    obstacle: Obstacle
    not_before: int | None
    holds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RetentionTable:
    """A parsed table.

    Attributes:
        name: and version, as people cite it.
        digest: over the stored bytes of the file.
        default_years: for classes that are not listed.
        of_age: and years_after_age: records of minors are kept at least until then.
        years: class to years; the longest of a record's classes counts.
        copy_days: and copy_days_emergency: how long a received copy may be kept.
    """

    name: str
    version: int
    digest: Digest
    default_years: int
    of_age: int
    years_after_age: int
    years: Mapping[str, int]
    copy_days: int
    copy_days_emergency: int

    @classmethod
    def parse(cls, data: bytes) -> "RetentionTable":
        """Read a table file. Raises TableError, or NotStorable when it is no JSON."""
        stored = parse(data).stored
        table = orjson.loads(stored)
        try:
            return cls(
                table["table"],
                table["version"],
                digest(TABLE_LABEL, stored),
                int(table["default_years"]),
                int(table["of_age"]),
                int(table["years_after_age"]),
                {each["class"]: int(each["years"]) for each in table["classes"]},
                int(table["copy_days"]),
                int(table["copy_days_emergency"]),
            )
        except (KeyError, TypeError, ValueError) as cause:
            raise TableError(f"expected a retention table; wrong or missing: {cause}") from cause

    def retained_until(self, kept: Kept) -> int:
        """Ms from which the law no longer asks to keep it."""
        years = max([self.years[name] for name in kept.classes if name in self.years], default=self.default_years)
        until = years_after(kept.last, years)
        if kept.born is not None and kept.last < years_after(kept.born, self.of_age):
            until = max(until, years_after(kept.born, self.of_age + self.years_after_age))
        return until

    def copy_expires(self, kept: Kept) -> int:
        """Ms from which a received copy must no longer be kept or used."""
        return kept.received_at + _DAY * (self.copy_days_emergency if kept.emergency else self.copy_days)


@cache
def default_retention() -> RetentionTable:
    """The table that comes with the project: an example to adopt or replace."""
    return RetentionTable.parse((files("commonward.records") / "data" / "retention.json").read_bytes())


def may_erase(kept: Kept, ground: Ground, holds: Iterable[Hold], table: RetentionTable, now: int) -> Erasure:
    """Whether a record or a received copy may be erased now.

    1. a legal hold stands against everything, a court's order to erase alike: who holds two orders asks the court;
    2. a copy that nobody relied on goes when it expires, or at once at the patient's wish or if it is another's;
    3. a record of the wrong patient, and what a court orders, need not wait for retention;
    4. all else waits for retention, also at the patient's wish: the law asks the hospital to keep it.
    """
    standing = tuple(sorted(hold.name for hold in holds if hold.holds(kept, now)))
    if standing:
        return Erasure(False, Obstacle.LEGAL_HOLD, None, standing)
    if kept.received_from is not None and not kept.relied_on:
        expires = table.copy_expires(kept)
        if now >= expires or ground in (Ground.PATIENT_REQUEST, Ground.WRONG_PATIENT, Ground.COURT_ORDER):
            return Erasure(True, Obstacle.NONE, now)
        return Erasure(False, Obstacle.NOT_EXPIRED, expires)
    if ground in (Ground.WRONG_PATIENT, Ground.COURT_ORDER):
        return Erasure(True, Obstacle.NONE, now)
    until = table.retained_until(kept)
    if now >= until:
        return Erasure(True, Obstacle.NONE, now)
    return Erasure(False, Obstacle.RELIED_ON if kept.received_from else Obstacle.RETENTION, until)


def must_expire(kept: Kept, holds: Iterable[Hold], table: RetentionTable, now: int) -> bool:
    """Whether a received copy is due to be erased: expired, relied on by nobody, held by nothing."""
    if kept.received_from is None or kept.relied_on:
        return False
    return now >= table.copy_expires(kept) and may_erase(kept, Ground.COPY_EXPIRED, holds, table, now).allowed


def may_use_copy(kept: Kept, consent_live: bool, table: RetentionTable, now: int) -> bool:
    """Whether a received copy may be shown: withdrawal and expiry stop use at once.

    What was relied on stays readable as part of the own record; who reads it is logged there.
    """
    return kept.relied_on or (consent_live and now < table.copy_expires(kept))


def years_after(at: int, years: int) -> int:
    """The same moment so many calendar years on; 29 February becomes 1 March. Far beyond 9999 it stays there."""
    start = _EPOCH + timedelta(milliseconds=at)
    year = min(start.year + years, 9999)
    try:
        then = start.replace(year=year)
    except ValueError:
        then = start.replace(year=year, month=3, day=1)
    return (then - _EPOCH) // timedelta(milliseconds=1)
