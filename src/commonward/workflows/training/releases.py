"""What a statistics study publishes: its tables with small cells suppressed, made by any site of the exact sum.

The sum itself is for the sites of the study, who add it up and hold it anyway. Its proposer and those who may view what
comes out get the tables alone: from here if this member is a site, else from the sites, each of which makes the same
bytes. What more than half of the sites in the sum say is taken; one site that suppresses nothing shows what it could
show anyone anyway, and one that says something else is outvoted.
"""

import asyncio
import json
from collections import Counter
from typing import Any, Final, NamedTuple

from commonward.ledger.encoding import Digest
from commonward.ledger.ids import MemberId, StudyId
from commonward.ledger.rounds.study import Study
from commonward.records.model import Model
from commonward.records.released import released
from commonward.records.statistics import StatisticsError, described
from commonward.workflows.study_papers import StudyPapers
from commonward.workflows.training.counting import counted_by
from commonward.workflows.training.papers import Asked, Given
from commonward.workflows.training.site import NotServed, Site

__all__ = ["RELEASE", "STATISTICS", "Release", "Releases"]

RELEASE: Final = "study/release"
STATISTICS: Final = "statistics"
"""The setting of the learner that says what is counted."""

_MAX_BYTES: Final = 16 << 20


class Release(NamedTuple):
    """The tables (`records.released`), how many sites say so, and of how many; 0 of 0 where they were made here."""

    tables: dict[str, Any]
    said: int
    of: int


class Releases:
    """Of one member, in all its studies."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._shown: dict[tuple[StudyId, Digest], Release] = {}  # a final sum does not change

    async def shown(self, study: StudyId) -> Release | None:
        """To people of this member. None for a study that is none of statistics, whose sum is not final, or of which
        too few sites say the same."""
        found = self._site.rounds.study(study)
        papers = self._site.office.studying.held(study)
        if found is None or papers is None or not found.round or not counts(papers):
            return None
        known = self._shown.get((study, found.model))
        if known is None:
            known = await self._found(found, papers)
            if known is not None:
                self._shown[study, found.model] = known
        return known

    async def _found(self, study: Study, papers: StudyPapers) -> Release | None:
        own = self._made(study, papers)
        if own is not None:
            return Release(json.loads(own), 0, 0)
        sites = self._sites(study)
        others = [each for each in sites if each != self._site.id]
        wanted = Asked(study.terms.study)
        answers = await asyncio.gather(*(self._site.ask(each, RELEASE, wanted, most=_MAX_BYTES) for each in others))
        said = Counter(each.data for each in answers if each is not None)
        if not said:
            return None
        (most, count), *_ = said.most_common(1)
        tables = _read(most)
        return Release(tables, count, len(sites)) if tables is not None and 2 * count > len(sites) else None

    async def give(self, asker: MemberId, body: bytes) -> bytes:
        """For the study's sites, its proposer, and who may view what comes out. Raises NotServed, MessageError."""
        asked = Asked.parse(body)
        found = self._site.rounds.study(asked.study)
        papers = self._site.office.studying.held(asked.study)
        if found is None or papers is None or not counts(papers) or not self._may_see(found, papers, asker):
            raise NotServed(f"tables of study {asked.study.hex()} are not for {asker}")
        data = self._made(found, papers)
        return (Given() if data is None else Given.piece(data, asked.part)).to_bytes()

    def _may_see(self, study: Study, papers: StudyPapers, member: MemberId) -> bool:
        site = self._site.rounds.site(study.terms.study, member)
        return member == study.proposer or member in papers.viewers or site is not None

    def _sites(self, study: Study) -> list[MemberId]:
        ended = self._site.rounds.round(study.terms.study, study.round)
        return [] if ended is None else counted_by(ended)

    def _made(self, study: Study, papers: StudyPapers) -> bytes | None:
        """The tables as bytes; None where the sum is not here, or not final."""
        if not study.round or study.state is None:
            return None
        sums = self._site.store.model(study.terms.study, study.model, study.state)
        sites = len(self._sites(study))
        return None if sums is None or not sites else tables_of(papers, sums.artefact(), sites)


def counts(papers: StudyPapers) -> bool:
    """Whether this is a study of statistics."""
    return STATISTICS in papers.protocol.learner_settings


def tables_of(papers: StudyPapers, sums: Model, sites: int) -> bytes:
    """JSON, the same bytes at every site. Sums that no rows have give `{"refused": why}`: a site sent false ones."""
    settings = papers.protocol.learner_settings
    noise = settings.get("noise", 0)
    try:
        made = released(described(settings[STATISTICS]), sums, sites, noise if isinstance(noise, int) else 0)
    except StatisticsError as cause:
        made = {"refused": str(cause)}
    return json.dumps(made, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _read(data: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
