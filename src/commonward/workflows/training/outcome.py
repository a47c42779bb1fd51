"""What comes out of a study beside its model: counts of every judged round, each site's own where approved, and what
the model would be without each site.

Every site that took part makes it from its own papers, and all come to the same bytes. `CloseStudy` commits to these
bytes; the proposer gives them with their salts to who may see them, and each holds them against what it made itself.
What one site cannot know, because it was not in some round, it takes from the others where more than half of that
round's sites say the same.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Final, NamedTuple

from commonward.ledger.ids import MemberId, StudyId
from commonward.ledger.rounds import Mode
from commonward.ledger.rounds.study import Round, Study
from commonward.records.openings import commit
from commonward.workflows.study_papers import StudyPapers
from commonward.workflows.studying import CONTRIBUTIONS, REPORT
from commonward.workflows.training.counting import counted_by
from commonward.workflows.training.judging import is_judged
from commonward.workflows.training.papers import OUTCOME, Asked, Given, RoundPaper
from commonward.workflows.training.reports import (
    Contributions,
    LeftOut,
    Outcome,
    Place,
    Report,
    RoundCounts,
    SiteCounts,
    filled,
    parsed,
    pieces_of,
    rows_alone,
)
from commonward.workflows.training.site import NotServed, Site
from commonward.workflows.wire import MessageError

__all__ = ["Committed", "Outcomes"]

_OPENED: Final = b"opened"
_MAX_BYTES: Final = 64 << 20
"""Of what one site says came out: counts of a thousand rounds."""


class Committed(NamedTuple):
    """Whether what the proposer committed to is what this member knows itself; None where it cannot say, and `why`."""

    report: bool | None
    contributions: bool | None
    why: str = ""


class Outcomes:
    """Of one member, in all its studies."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._per_site: dict[StudyId, tuple[SiteCounts, ...]] = {}

    # what is known here

    def knows_sites(self, study: StudyId) -> bool:
        return study in self._per_site

    def note_sites(self, study: StudyId, counts: dict[MemberId, bytes]) -> None:
        """Each site's own counts, checked."""
        self._per_site[study] = tuple(SiteCounts(site, counts[site]) for site in sorted(counts))

    def report(self, study: Study, words: str = "") -> Report:
        """As far as this site knows it."""
        name = study.terms.study
        rounds = []
        for number in range(1, study.round + 1):
            paper = self._site.store.final(name, number)
            if paper is not None and paper.sums:
                rounds.append(RoundCounts(number, Round.parse(paper.final).model or study.model, paper.sums))
        return Report(name, study.model, study.chain, tuple(rounds), self._per_site.get(name, ()), words)

    def contributions(self, study: Study) -> Contributions | None:
        """As far as this site knows them; None in masked mode, where nobody knows who brought what."""
        name = study.terms.study
        last = self._site.store.final(name, study.round) if study.round else None
        if last is None or study.terms.mode == Mode.MASKED:
            return None
        found = []
        for site in self.sites(study):
            paper = self._site.store.left_out(name, site)
            rows = self._rows(study, last, site) or 0
            found.append(
                LeftOut(site, rows)
                if paper is None
                else LeftOut(site, rows, paper.model, paper.sums if paper.model else b"", paper.why)
            )
        return Contributions(name, last.sums, tuple(found))

    def _rows(self, study: Study, last: RoundPaper, site: MemberId) -> int | None:
        """What a site brought to the last round; None where its update never came, or is destroyed by now."""
        if site not in counted_by(Round.parse(last.final)):
            return 0
        kept = self._site.store.update(study.terms.study, last.round, last.attempt, site)
        return None if kept is None else kept.rows

    def sites(self, study: Study) -> list[MemberId]:
        """Whose updates are in some final round."""
        found: set[MemberId] = set()
        for number in range(1, study.round + 1):
            paper = self._site.store.final(study.terms.study, number)
            found.update(() if paper is None else counted_by(Round.parse(paper.final)))
        return sorted(found)

    # what the others know

    async def completed(
        self, study: Study, papers: StudyPapers
    ) -> tuple[Report, Contributions | None, frozenset[Place]]:
        """Own pieces, with those of the others where they say the same; and what is missing yet."""
        report, contributions = self.report(study), self.contributions(study)
        lacks = self._lacking(study, papers, report, contributions)
        if lacks:
            said = await self._said(study)
            report, contributions = filled(report, contributions, lacks, said)
            lacks = self._lacking(study, papers, report, contributions)
        return report, contributions, frozenset(lacks)

    def _lacking(
        self, study: Study, papers: StudyPapers, report: Report, contributions: Contributions | None
    ) -> dict[Place, list[MemberId]]:
        """What should be there and is not, with the sites that know it."""
        found: dict[Place, list[MemberId]] = {}
        there = {each.round for each in report.rounds}
        counted: list[MemberId] = []
        for number in range(1, study.round + 1):
            ended = self._ended(study, number)
            counted = [] if ended is None else counted_by(ended)
            if number not in there and ended is not None and is_judged(study, papers, number):
                found["round", number] = counted
        if papers.protocol.per_site and not report.per_site:
            found["per site", ""] = counted
        wanted = study.terms.mode == Mode.OPEN and bool(papers.protocol.contributions)
        if contributions is None and study.terms.mode == Mode.OPEN:
            found["left out", ""] = counted
        elif contributions is not None and wanted and is_judged(study, papers, study.round):
            found.update({("left out", ""): counted} if any(map(_unknown, contributions.sites)) else {})
        return found

    def _ended(self, study: Study, number: int) -> Round | None:
        paper = self._site.store.final(study.terms.study, number)
        return self._site.rounds.round(study.terms.study, number) if paper is None else Round.parse(paper.final)

    async def _said(self, study: Study) -> dict[MemberId, tuple[Report, Contributions | None]]:
        """What each site knows so far."""
        name = study.terms.study
        others = [each for each in self._site.rounds.sites(name) if each != self._site.id]
        got = await asyncio.gather(*(self._site.ask(each, OUTCOME, Asked(name), most=_MAX_BYTES) for each in others))
        found = {}
        for site, answer in zip(others, got, strict=True):
            try:
                if answer is not None:
                    found[site] = parsed(Outcome.parse(answer.data))
            except MessageError:
                continue
        return found

    # once it is closed

    async def opened(self, study: Study) -> Outcome | None:
        """What its proposer committed to when it closed it: from here, from the proposer, or from who had it from
        there, held against the ledger. None where nobody gives it, or it was closed without."""
        name = study.terms.study
        kept = self._site.store.outcome(name)
        if kept is not None:
            return Outcome.parse(kept)
        if not self._may_see(study, self._site.id):
            return None
        found = self._own(study)
        holders = (study.proposer, *(each for each in self._site.rounds.sites(name) if each != study.proposer))
        for other in () if found is not None else holders:
            if other == self._site.id:
                continue
            answer = await self._site.ask(other, OUTCOME, Asked(name, name=_OPENED), most=_MAX_BYTES)
            try:
                given = None if answer is None else Outcome.parse(answer.data)
            except MessageError:
                continue
            if given is not None and _opens(study, given):
                found = given
                break
        if found is not None:
            self._site.store.put_outcome(name, found.to_bytes())
        return found

    def _own(self, study: Study) -> Outcome | None:
        """As the proposer: what we committed to."""
        if study.proposer != self._site.id or study.report is None or study.contributions is None:
            return None
        report = self._site.office.studying.said(study.terms.study, REPORT, study.report)
        contributions = self._site.office.studying.said(study.terms.study, CONTRIBUTIONS, study.contributions)
        if report is None or contributions is None:
            return None
        return Outcome(report.said, contributions.said, report.salt, contributions.salt)

    async def shown(self, study: StudyId) -> tuple[Report, Contributions | None] | None:
        """To people of this member: what was committed to, or what is known here so far."""
        found = self._site.rounds.study(study)
        if found is None:
            return None
        if found.report is not None:
            opened = await self.opened(found)
            with suppress(MessageError):
                if opened is not None:
                    return parsed(opened)
        report, contributions = self.report(found), self.contributions(found)
        over = found.status.over or found.round == found.terms.rounds
        return (report, contributions) if over and (report.rounds or contributions) else None

    async def committed(self, study: Study) -> Committed:
        """Holds what the proposer committed to against what this site made itself."""
        if study.report is None or study.contributions is None:
            return Committed(None, None, "it is not closed, or ended without its proposer's word")
        opened = await self.opened(study)
        if opened is None:
            return Committed(
                None, None, "its proposer, and who has it from there, gave nobody here what it committed to"
            )
        try:
            report, contributions = parsed(opened)
        except MessageError:
            return Committed(None, None, "its proposer closed it with words alone")
        theirs = pieces_of(report, contributions)
        own = pieces_of(self.report(study), self._with_rows_of(study, contributions))
        wrong = sorted(f"{kind} {which}".strip() for (kind, which), said in own.items()
                       if theirs.get((kind, which), said) != said and not rows_alone(kind, said))  # fmt: skip
        if (report.model, report.chain) != (study.model, study.chain):
            wrong.append("the model")
        false = {each for each in wrong if each.startswith("left out")}
        why = f"what its proposer committed to differs from what this site made: {', '.join(wrong)}" if wrong else ""
        return Committed(not set(wrong) - false, not false if contributions is not None else None, why)

    def _with_rows_of(self, study: Study, theirs: Contributions | None) -> Contributions | None:
        """Our contributions; rows that this site cannot know stand as they were said: nothing is held against them."""
        own, last = self.contributions(study), self._site.store.final(study.terms.study, study.round)
        if own is None or theirs is None or last is None:
            return own
        said = {each.site: each.rows for each in theirs.sites}
        unknown = {each.site for each in own.sites if self._rows(study, last, each.site) is None}
        sites = (replace(each, rows=said.get(each.site, 0)) if each.site in unknown else each for each in own.sites)
        return replace(own, sites=tuple(sites))

    # giving

    async def give(self, asker: MemberId, body: bytes) -> bytes:
        """For the study's sites, its proposer, and who may view what comes out. Raises NotServed, MessageError."""
        asked = Asked.parse(body)
        study = self._site.rounds.study(asked.study)
        if study is None or not self._may_see(study, asker):
            raise NotServed(f"what comes out of study {asked.study.hex()} is not for {asker}")
        if asked.name == _OPENED:
            kept = self._site.store.outcome(asked.study)
            own = None if kept is not None else self._own(study)
            data = kept if kept is not None else b"" if own is None else own.to_bytes()
        else:
            contributions = self.contributions(study)
            made = Outcome(self.report(study).to_bytes(), b"" if contributions is None else contributions.to_bytes())
            data = made.to_bytes() if study.status.over or study.round == study.terms.rounds else b""
        return (Given.piece(data, asked.part) if data else Given()).to_bytes()

    def _may_see(self, study: Study, member: MemberId) -> bool:
        papers = self._site.office.studying.held(study.terms.study)
        viewers = () if papers is None else papers.viewers
        site = self._site.rounds.site(study.terms.study, member)
        return member == study.proposer or member in viewers or site is not None


def _unknown(part: LeftOut) -> bool:
    return not part.counts and not part.why


def _opens(study: Study, given: Outcome) -> bool:
    try:
        return (
            commit(REPORT, given.report_salt, given.report) == study.report
            and commit(CONTRIBUTIONS, given.contributions_salt, given.contributions) == study.contributions
        )
    except ValueError:
        return False
