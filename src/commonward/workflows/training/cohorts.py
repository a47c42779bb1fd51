"""The rows that a site may learn from now: of patients who consented to this study at this site, and of nobody else.

What a view makes of the records of those patients is the cohort; each row remembers the records that it was made of,
and the consent that it is used under.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from commonward.ledger.encoding import Digest, digest, encode
from commonward.ledger.ids import StudyId
from commonward.records.images.duplicates import Pair
from commonward.records.table import Table
from commonward.workflows.research_consents import ResearchConsents
from commonward.workflows.study_papers import StudyPapers

__all__ = ["CohortFailed", "Cohorts", "Copies", "Gather", "Gathered", "Rows", "Source", "VaultCohorts", "record_of"]

_SEVERAL_LABEL: Final = "commonward cohort row v1"


class CohortFailed(Exception):
    """The cohort cannot be built here; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A cohort at this site. `records` (32 bytes) and `consents` (16 bytes) stand beside the table's rows.

    `patients`: what the hospital's own systems call them, for sentences that its own people read; it goes nowhere else.
    `copies`: pairs of rows that have the same picture, or nearly: one person under two names, or a picture filed wrong.
    """

    table: Table
    records: tuple[bytes, ...]
    consents: tuple[bytes, ...]
    patients: tuple[str, ...] = ()
    copies: tuple[Pair, ...] = ()


class Cohorts(Protocol):
    """Builds a study's cohort from what this member holds. Trusted: it sees patients' records."""

    async def rows(self, study: StudyId, papers: StudyPapers) -> Rows:
        """Of every patient whose consent to this study at this site is open. Raises CohortFailed."""
        ...


class Source(NamedTuple):
    """How a record is known: its fingerprint, and the consent that its patient gave."""

    fingerprint: bytes
    consent: bytes


class Gathered(Protocol):
    """What a view made: a table, and beside each row the records it was made of."""

    @property
    def patients(self) -> Sequence[str]: ...

    @property
    def table(self) -> Table: ...

    @property
    def sources(self) -> Sequence[Sequence[Source]]: ...


Gather = Callable[[bytes, Iterable[tuple[Source, bytes]]], Gathered]
"""(the cohort's definition, records as stored bytes) -> its rows. Raises ValueError for what it cannot read."""


Copies = Callable[[Table], Sequence[Pair]]
"""Pairs of rows whose pictures are the same, or nearly; none for a table without pictures."""


def _no_copies(table: Table) -> Sequence[Pair]:
    return ()


def record_of(fingerprints: Iterable[bytes]) -> Digest:
    """What a manifest calls a row: the fingerprint of its record, or a digest over those of several, ascending."""
    ordered = sorted(set(fingerprints))
    return Digest(ordered[0]) if len(ordered) == 1 else digest(_SEVERAL_LABEL, encode(ordered))


class VaultCohorts:
    """From the vault, through views."""

    def __init__(self, consents: ResearchConsents, gather: Gather, copies: Copies = _no_copies) -> None:
        self._consents = consents
        self._gather = gather
        self._copies = copies

    async def rows(self, study: StudyId, papers: StudyPapers) -> Rows:
        """As `Cohorts.rows`."""
        records = [
            (Source(held.row.fingerprint, patient.consent), bytes(held.stored))
            for patient in await self._consents.rows(study)
            for held in patient.held
        ]
        try:
            gathered, copies = await asyncio.to_thread(self._looked, papers.cohort, records)
        except ValueError as cause:
            raise CohortFailed(f"the cohort of study {study.hex()} cannot be read here: {cause}") from cause
        names, consents = [], []
        for sources in gathered.sources:
            under = {each.consent for each in sources}
            if len(under) != 1:
                raise CohortFailed(f"expected a row of one patient's records, got one under {len(under)} consents")
            names.append(record_of(each.fingerprint for each in sources))
            consents.append(under.pop())
        return Rows(gathered.table, tuple(names), tuple(consents), tuple(gathered.patients), tuple(copies))

    def _looked(self, cohort: bytes, records: list[tuple[Source, bytes]]) -> tuple[Gathered, Sequence[Pair]]:
        gathered = self._gather(cohort, records)
        return gathered, self._copies(gathered.table)
