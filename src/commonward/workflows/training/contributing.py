"""What the last model would be without each site, measured at this one: leave-one-out, once the last round is final.

Every site makes the same models again from the recorded updates (`records.contributions`), judges them by its own test
rows, and the counts are added up like those of a round: only sums over all sites come out. It costs a site as many
evaluations more as there are sites. Open studies whose protocol asks for it only: elsewhere nobody has the updates.
"""

import asyncio
from dataclasses import replace
from typing import Final

from commonward.ledger.ids import MemberId
from commonward.ledger.rounds import Mode, Rule
from commonward.ledger.rounds.study import Round, Study
from commonward.records.contributions import Recorded, left_out
from commonward.records.model import Model
from commonward.workflows.study_papers import StudyPapers
from commonward.workflows.training.attempts import updates_of
from commonward.workflows.training.counting import Counting, Tally, counted_by
from commonward.workflows.training.exchange import Exchange, Opened, largest, opened_as
from commonward.workflows.training.judging import is_judged, judged
from commonward.workflows.training.models import Learners, Models
from commonward.workflows.training.papers import KeptUpdate, LeftOutPaper
from commonward.workflows.training.ports import LearnerError
from commonward.workflows.training.site import Site, Waits

__all__ = ["Contributing"]

_READ_S: Final = 60.0
"""How long the computing thread waits to be read to: a node that stops reads nothing more."""


class Contributing:
    """Of one site, in all its studies."""

    def __init__(self, site: Site, counting: Counting, exchange: Exchange, learners: Learners, models: Models) -> None:
        self._site = site
        self._counting = counting
        self._exchange = exchange
        self._learners = learners
        self._models = models

    async def tend(self, study: Study, papers: StudyPapers, sites: list[MemberId]) -> bool:
        """What comes next of it; whether nothing is left to do here. `sites`: those that the study has updates of.

        Raises Waits: something that it needs is not here.
        """
        name = study.terms.study
        wanted = papers.protocol.contributions and study.terms.mode == Mode.OPEN
        last = self._site.store.final(name, study.round)
        if not wanted or last is None or not is_judged(study, papers, study.round):
            return True
        ended = Round.parse(last.final)
        if self._site.id not in counted_by(ended):
            return True  # it is not in the sum; what comes of it, the others say
        if any(self._site.store.left_out(name, each) is None for each in sites):
            if study.status.over:
                return True  # closed before this site had measured them
            await self._measure(study, papers, ended, sites)
        held = {each: self._site.store.left_out(name, each) for each in sites}
        tallies = [
            Tally(study.round, site, paper.metrics, paper.counts)
            for site, paper in held.items()
            if paper is not None and paper.model and not paper.sums
        ]
        if not tallies:
            return True
        made = await self._counting.added_up(study, counted_by(ended), tallies)
        with self._site.member.ports.vault.transaction():
            for each in made:
                paper = held[MemberId(each.left_out)]
                assert paper is not None
                self._site.store.put_left_out(name, replace(paper, counts=each.counts, sums=each.sums))
        self._site.reach("study.left_out.summed")
        return all(each.sums for each in made)

    async def _measure(self, study: Study, papers: StudyPapers, ended: Round, sites: list[MemberId]) -> None:
        name, terms = study.terms.study, study.terms
        manifest = self._site.store.manifest(name)
        if manifest is None:
            raise Waits("contributions: the rows to judge models by are not here any more")
        first = await self._models.first(study, papers)
        most = largest(study, papers, first)
        numbers = [study.round] if terms.rule is Rule.NEWTON else list(range(1, study.round + 1))
        for number in numbers:
            await self._exchange.collect(name, Mode.OPEN, self._final(study, number), most)

        loop = asyncio.get_running_loop()

        def load(place: int) -> Recorded:
            """In the thread that computes; what is kept is read where the vault is used."""
            read = asyncio.run_coroutine_threadsafe(self._kept(study, first, place + 1), loop)
            return self._recorded(study, papers, *read.result(_READ_S))

        parameters = papers.protocol.rule_parameters
        made = await asyncio.to_thread(left_out, sites, terms.rule, parameters, study.round, load)
        self._site.reach("study.left_out.made")
        for site in sites:
            if self._site.store.left_out(name, site) is not None:
                continue  # judged before this site was killed
            model = made[site]
            if isinstance(model, Model):
                try:
                    counts = await judged(
                        self._site, self._learners, study, papers, manifest, model, (study.round, ended.attempt)
                    )
                except LearnerError as cause:
                    raise Waits(f"contributions: its learner, which failed: {cause}") from cause
                paper = LeftOutPaper(site, model.digest, counts)
            else:
                paper = LeftOutPaper(site, b"", b"", model)
            self._site.store.put_left_out(name, paper)
            self._site.reach("study.left_out.judged")

    def _final(self, study: Study, number: int) -> Round:
        paper = self._site.store.final(study.terms.study, number)
        if paper is None:
            raise Waits(f"contributions: nothing of round {number} was kept here")
        return Round.parse(paper.final)

    async def _kept(self, study: Study, first: Model, number: int) -> tuple[Round, Model | None, list[KeptUpdate]]:
        """A round, the model that it started from, and the updates kept of it."""
        name, ended = study.terms.study, self._final(study, number)
        base: Model | None = first
        if number > 1:
            before = self._final(study, number - 1)
            base = None if before.model is None else self._site.store.model(name, before.model, before.state)
        kept = [self._site.store.update(name, number, ended.attempt, each) for each in counted_by(ended)]
        return ended, base, [each for each in kept if each is not None]

    def _recorded(
        self, study: Study, papers: StudyPapers, ended: Round, base: Model | None, kept: list[KeptUpdate]
    ) -> Recorded:
        """A round as it was: of the sites that its model was made of. Raises Waits."""
        got: dict[MemberId, Opened] = {}
        for each in kept:
            submitted = ended.update_of(each.site)
            assert submitted is not None  # it is counted by
            opened = opened_as(study.terms.study, Mode.OPEN, ended, submitted, each)
            if opened is not None:
                got[each.site] = opened
        if base is None or len(got) < len(counted_by(ended)):
            raise Waits(f"contributions: the updates of round {ended.round}, or the model before it, are not all here")
        made, _ = updates_of(study, ended, papers, base, got)
        return Recorded(base, made)
