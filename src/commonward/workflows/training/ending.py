"""The end of a study at one site: lineage, counts and contributions; its proposer closes it; at last, destroyed.

complete -> keep the lineage -> add up counts -> measure contributions -> its proposer closes, committing to both
closed   -> hold what was committed to against our own -> time for disputes over: updates and secrets go
"""

from dataclasses import replace
from typing import Final

from commonward.ledger.ids import StudyId
from commonward.ledger.rounds import Status
from commonward.ledger.rounds.closing import keeps_updates
from commonward.ledger.rounds.study import Study
from commonward.workflows.ports import Committed as Landed
from commonward.workflows.study_papers import StudyPapers
from commonward.workflows.training.contributing import Contributing
from commonward.workflows.training.counting import Counting
from commonward.workflows.training.outcome import Outcomes
from commonward.workflows.training.reports import Contributions, Place, Report
from commonward.workflows.training.sidecar import sidecar
from commonward.workflows.training.site import Site, Waits

__all__ = ["Ending"]

_GRACE_MS: Final = 120_000
"""How long after the last round's set stood its sites may still bring what they counted in earlier rounds."""


class Ending:
    """Of one member, in all its studies."""

    def __init__(
        self, site: Site, counting: Counting, contributing: Contributing, outcomes: Outcomes, *, auto_close: bool
    ) -> None:
        self._site = site
        self._counting = counting
        self._contributing = contributing
        self._outcomes = outcomes
        self._auto_close = auto_close
        self._compared: set[StudyId] = set()

    async def complete(self, study: Study, papers: StudyPapers) -> bool:
        """The last round is final. Whether nothing lacks here. Raises Waits, LedgerAway, LedgerRefused."""
        await self._keep_lineage(study)
        whole = await self._learn(study, papers)
        if study.proposer != self._site.id or not self._auto_close:
            return whole
        report, contributions, lacks = await self._outcomes.completed(study, papers)
        if lacks and not self._patience_over(study, only_earlier=all(_is_earlier(each, study) for each in lacks)):
            raise Waits("the counts of its sites, which its closing commits to")
        await self._commit(study, report, contributions)
        return True

    async def close(self, study: Study, papers: StudyPapers, words: str) -> Landed:
        """As its proposer's people will, with what is known by now. Raises LedgerAway, LedgerRefused."""
        report, contributions, _ = await self._outcomes.completed(study, papers)
        return await self._commit(study, replace(report, words=words), contributions)

    async def closed(self, study: Study, papers: StudyPapers) -> bool:
        """Kept for disputes, then destroyed. Whether nothing lacks here. Raises Waits, LedgerAway."""
        name, whole = study.terms.study, True
        if study.status == Status.CLOSED and study.round:
            await self._keep_lineage(study)
            whole = await self._learn(study, papers)
            await self._compare(study)
        if not keeps_updates(name, self._site.ledger.tip_time(), self._site.rounds):
            self._site.store.destroy(name)
        return whole

    # within

    async def _keep_lineage(self, study: Study) -> None:
        if self._site.store.lineage(study.terms.study) is None:
            made = await sidecar(self._site, study)
            self._site.store.put_lineage(study.terms.study, made.to_bytes())
            self._site.reach("study.lineage.kept")

    async def _learn(self, study: Study, papers: StudyPapers) -> bool:
        """What its models are worth, as far as it can be known now; whether nothing lacks of it. Raises Waits."""
        if self._site.enrolment(study.terms.study) is None:
            return True
        whole = await self._counting.tend(study)
        if papers.protocol.per_site:
            whole = await self._sites(study) and whole
        return await self._contributing.tend(study, papers, self._outcomes.sites(study)) and whole

    async def _sites(self, study: Study) -> bool:
        if self._outcomes.knows_sites(study.terms.study):
            return True
        patient = not study.status.over and not self._patience_over(study)
        found = await self._counting.of_sites(study, patient=patient)
        if found is not None:
            self._outcomes.note_sites(study.terms.study, found)
        return found is not None

    def _patience_over(self, study: Study, *, only_earlier: bool = False) -> bool:
        """The time that the last round's signatures had is over: then it is closed with what is known. What lacks of
        earlier rounds alone is hardly worth waiting for: a site that did not count then never will."""
        last = self._site.rounds.round(study.terms.study, study.round)
        if last is None or last.sign_by is None:
            return True
        early = max(0, study.terms.waits.signatures - _GRACE_MS) if only_earlier else 0
        return self._site.ledger.next_time() >= last.sign_by - early

    async def _commit(self, study: Study, report: Report, contributions: Contributions | None) -> Landed:
        said = b"" if contributions is None else contributions.to_bytes()
        return await self._site.office.studying.close(study.terms.study, report.to_bytes(), said)

    async def _compare(self, study: Study) -> None:
        """What was committed to, held against what we made: told to people once, where it is not the same."""
        name = study.terms.study
        if name in self._compared:
            return
        found = await self._outcomes.committed(study)
        if found.report is None:
            return
        self._compared.add(name)
        if False in (found.report, found.contributions):
            self._site.flag(f"study {name.hex()}: {found.why}: look, and dispute it (`commonward study dispute`)")


def _is_earlier(place: Place, study: Study) -> bool:
    return place[0] == "round" and place[1] != study.round
