"""The one loop of federated studies: every enrolled member runs it, and nobody coordinates.

    manifest fresh? mask keys posted? -> attempt open: train, commit -> fixed: exchange, aggregate, countersign
    -> final: keep the model -> ... -> complete: lineage; its proposer closes -> time for disputes over: destroy

A pass looks at the ledger and at what is kept, and does what comes next: nothing else is remembered. So a pass that
dies at any step is taken up by the next one, after a restart too, and a member that was away joins in where the others
are. `run` makes a pass whenever a block brought something, and now and then because peers may have come back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final, Protocol

from commonward.ledger.encoding import Digest
from commonward.ledger.ids import MemberId, StudyId
from commonward.ledger.rounds import Mode, Status
from commonward.ledger.rounds.budget import affords
from commonward.ledger.rounds.study import Round, Study
from commonward.records.model import Model, Tensor
from commonward.workflows.member_log import Event
from commonward.workflows.office import Office
from commonward.workflows.ports import Committed as Landed
from commonward.workflows.ports import WorldError
from commonward.workflows.replica import Executed
from commonward.workflows.study_papers import StudyPapers
from commonward.workflows.submitting import LedgerRefused
from commonward.workflows.training.alone import alone
from commonward.workflows.training.attempts import Attempts
from commonward.workflows.training.cohorts import Cohorts
from commonward.workflows.training.contributing import Contributing
from commonward.workflows.training.counting import Counting
from commonward.workflows.training.ending import Ending
from commonward.workflows.training.exchange import Exchange
from commonward.workflows.training.manifests import Manifests
from commonward.workflows.training.masks import Masks
from commonward.workflows.training.models import Learners, MakeLearner, Models
from commonward.workflows.training.outcome import Committed, Outcomes
from commonward.workflows.training.pairs import Pairs
from commonward.workflows.training.papers import COUNTS, DEAL, MODEL, OUTCOME, REVEAL, SEED, UPDATE, RoundPaper
from commonward.workflows.training.progress import StudyProgress, progress_of
from commonward.workflows.training.releases import RELEASE, Releases
from commonward.workflows.training.replaying import Replayed, replay
from commonward.workflows.training.reports import Contributions, Report
from commonward.workflows.training.site import Site, Waits
from commonward.workflows.training.stages import Stages
from commonward.workflows.training.withdrawn import Withdrawn

__all__ = ["Heard", "Training"]

_SOON_S: Final = 0.02
_LOOK_S: Final = 2.0


class Heard(Protocol):
    """A node that tells of its blocks (`workflows.replica.Replica`)."""

    def listen(self, listener: Callable[[Executed], None]) -> None: ...


async def _wait(event: asyncio.Event, at_most_s: float) -> bool:
    """Whether it came in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(at_most_s):
            await event.wait()
    return event.is_set()


class Training:
    """One member in all its studies."""

    def __init__(self, office: Office, cohorts: Cohorts, learners: MakeLearner, *, auto_close: bool = True) -> None:
        """`auto_close`: as a proposer, close a study once its last round is final and its lineage is kept."""
        self._site = site = Site(office)
        self._learners = Learners(site, learners)
        self._models = Models(site, self._learners)
        self._masks = Masks(site)
        self._exchange = Exchange(site)
        self._manifests = Manifests(site, cohorts)
        self._withdrawn = Withdrawn(site)
        self._attempts = Attempts(site, self._exchange, self._masks, self._learners, self._models)
        self._pairs = Pairs(site)
        self._counting = Counting(site, self._pairs)
        self._outcomes = Outcomes(site)
        self.releases = Releases(site)
        contributing = Contributing(site, self._counting, self._exchange, self._learners, self._models)
        self._ending = Ending(site, self._counting, contributing, self._outcomes, auto_close=auto_close)
        self._waits: dict[StudyId, str] = {}
        self._turns: dict[StudyId, asyncio.Lock] = {}
        self._papers: dict[StudyId, StudyPapers] = {}  # held against the ledger once: neither can change
        self._settled: set[StudyId] = set()  # studies of which nothing is left to do
        self._done: set[tuple[StudyId, int]] = set()  # rounds of which nothing is left to do
        self._here: set[tuple[StudyId, int]] = set()  # rounds whose model this site holds: models stay
        self.handlers: dict[str, Callable[[MemberId, bytes], Awaitable[bytes]]] = {
            UPDATE: self._exchange.give,
            DEAL: self._masks.give_deal,
            REVEAL: self._masks.give_reveal,
            MODEL: self._models.give,
            COUNTS: self._counting.give,
            SEED: self._pairs.give,
            OUTCOME: self._outcomes.give,
            RELEASE: self.releases.give,
        }

    def close(self) -> None:
        """Ends the learners' processes and the thread that calls them."""
        self._learners.close()
        self._site.close()

    # --------------------------------------------------------------------------------------------------------- running

    async def run(self, node: Heard) -> None:
        """Passes until cancelled, for each study its own: one that trains for long holds up no other."""
        called: dict[StudyId, asyncio.Event] = {}
        workers: dict[StudyId, asyncio.Task[None]] = {}
        new, stages = asyncio.Event(), Stages(self._site)

        def heard(executed: Executed) -> None:
            for study, event in called.items():
                if stages.moved(study):
                    event.set()
            if executed.transactions and stages.others():
                new.set()

        node.listen(heard)
        try:
            while True:
                new.clear()
                for study in self.studies():
                    if study not in workers or workers[study].done():
                        event = called[study] = asyncio.Event()
                        workers[study] = asyncio.create_task(self._work(study, event))
                await _wait(new, _LOOK_S)
        finally:
            for each in workers.values():
                each.cancel()
            await asyncio.gather(*workers.values(), return_exceptions=True)

    async def _work(self, study: StudyId, called: asyncio.Event) -> None:
        """Passes over one study: when the ledger brought it to another stage; where a pass lacked something that other
        sites hold, soon again, then ever more seldom, because it is often ready a moment later."""
        pause = _SOON_S
        while True:
            called.clear()
            lacks = await self._pass(study)
            moved = await _wait(called, pause if lacks else _LOOK_S)
            pause = _SOON_S if moved or not lacks else min(2 * pause, _LOOK_S)

    async def tick(self) -> list[str]:
        """One pass over all studies; what could not be done, in words."""
        studies = self.studies()
        await asyncio.gather(*(self._pass(each) for each in studies))
        return [f"study {each.hex()[:12]} waits for {why}" for each in studies if (why := self._waits.get(each, ""))]

    def studies(self) -> list[StudyId]:
        """Those that this member has a part in: as a site, or as their proposer."""
        found = []
        for each in self._site.office.studying.known():
            study = self._site.rounds.study(each)
            if each in self._settled or study is None:
                continue
            # A site that never had a row has a vote, and holds what the others sent: that is to be destroyed, too.
            mine = self._site.enrolment(each) is not None or self._site.office.studying.took_part(each)
            if mine or study.proposer == self._site.id:
                found.append(each)
        return found

    async def _pass(self, study: StudyId) -> bool:
        """Whether something lacked that others may bring at any time."""
        async with self._turns.setdefault(study, asyncio.Lock()):
            try:
                whole = await self._advance(study)
                self._waits.pop(study, None)
                return not whole
            except (Waits, WorldError) as cause:
                self._waits[study] = str(cause)
            except LedgerRefused as refused:
                if self._waits.get(study) != str(refused):
                    self._site.member.log.note(Event.FLAGGED, f"study {study.hex()}: {refused}")
                self._waits[study] = str(refused)
            return True

    # ---------------------------------------------------------------------------------------------------------- a pass

    async def _advance(self, name: StudyId) -> bool:
        """Whether all was done that can be done before the ledger goes on. Raises Waits: something else lacks."""
        study = self._found(name)
        if study.status in (Status.PROPOSED, Status.REJECTED):
            return True
        if self._withdrawn.let_go(name) or study.status.over:
            await self._learners.release(name)
        papers = self._papers.get(name) or await self._site.office.studying.papers(name)
        self._papers[name] = papers
        if study.terms.mode == Mode.MASKED:
            self._masks.tidy_void(study)
        whole = await self._keep_final(study, papers)  # 1. what became final since
        if study.status.over:
            whole = await self._ending.closed(study, papers)
            if study.status == Status.SETTLED:
                self._settled.add(name)
            return whole
        mine = self._site.enrolment(name)
        if mine is not None and mine.enrolled:
            if study.terms.mode == Mode.MASKED:
                await self._masks.fetch_ahead(study)
            await self._attempt(study, papers)  # 2. the attempt that is open, also if we are leaving
        study = self._found(name)
        if study.status == Status.COMPLETE:
            return await self._ending.complete(study, papers)  # 3. the end
        return whole

    async def _attempt(self, study: Study, papers: StudyPapers) -> None:
        name = study.terms.study
        mine = self._site.enrolment(name)
        assert mine is not None
        later: Waits | None = None
        current = self._site.current(study)
        if current is not None and current.fixed is not None and self._to_sign(study, current):
            await self._attempts.countersign(study, current, papers)
            study = self._found(name)
            await self._keep_final(study, papers)
        if not mine.leaving and study.status not in (Status.COMPLETE, Status.STALLED):
            manifest = await self._manifests.tend(name, papers, study.terms.row_cap)
            try:
                await self._masks.post(self._found(name))
            except Waits as cause:
                later = cause  # the attempt that is open needs no more keys
        else:
            found = self._manifests.standing(name)
            if found is None:
                return
            manifest = found
        study, current = self._found(name), self._site.current(self._found(name))
        if current is not None and self._to_submit(study, current):
            await self._attempts.submit(study, current, papers, manifest)
        if later is not None:
            raise later
        terms, rounds = study.terms, self._site.rounds
        if not affords(rounds.spent(self._site.id), terms.charge, terms.delta, rounds.cap()):
            raise Waits("privacy budget: what its patients' privacy may cost is spent, over all studies")

    def _to_sign(self, study: Study, current: Round) -> bool:
        signed = any(each.site == self._site.id for each in current.signed)
        return study.status == Status.RUNNING and current.open and self._site.id in current.voters and not signed

    def _to_submit(self, study: Study, current: Round) -> bool:
        awaited = self._site.id in current.sites and current.update_of(self._site.id) is None
        return study.status == Status.RUNNING and current.open and current.fixed is None and awaited

    def _found(self, name: StudyId) -> Study:
        found = self._site.rounds.study(name)
        assert found is not None  # a study never leaves the ledger
        return found

    async def _keep_final(self, study: Study, papers: StudyPapers) -> bool:
        """Every final round with what we made of it; where that is another model, people are told. Whether nothing of
        them lacks yet."""
        name, whole = study.terms.study, True
        for number in range(1, study.round + 1):
            if (name, number) in self._done:
                continue
            kept = self._site.store.final(name, number)
            if kept is not None and (kept.metrics_salt or number < study.round):
                if not kept.metrics_salt and study.terms.mode == Mode.MASKED:
                    for attempt in range(1, kept.attempt + 1):
                        self._masks.tidy(name, number, attempt)  # what it never computed, it computes no more
                self._done.add((name, number))
                continue
            ended = self._site.rounds.round(name, number)
            if ended is None or ended.model is None or ended.state is None:
                continue  # settled before this site looked: nothing is left of it here
            paper = self._site.store.round(name, number, ended.attempt)
            if paper is None and self._site.id in ended.voters:
                # The others were quicker. What two thirds say, we still find out for ourselves, now or at a later pass.
                try:
                    await self._attempts.catch_up(study, ended, papers)
                except Waits:
                    whole = False
                paper = self._site.store.round(name, number, ended.attempt)
            if paper is None and kept is not None:
                continue
            if paper is None:
                paper = RoundPaper(number, ended.attempt, ended.model, ended.state, b"", b"")
            elif (paper.model, paper.state) != (ended.model, ended.state):
                self._site.flag(
                    f"study {name.hex()}, round {number}: two thirds countersigned the model {ended.model.hex()}, this "
                    f"site computed {paper.model.hex()}: look, and dispute it (`commonward study dispute`)"
                )
            settled = bool(paper.metrics_salt) or number < study.round
            with self._site.member.ports.vault.transaction():
                for attempt in range(1, ended.attempt + 1):
                    if settled and study.terms.mode == Mode.MASKED:
                        self._masks.tidy(name, number, attempt)
                self._attempts.forget_sent(name, number, ended.attempt)
                self._site.store.put_round(name, replace(paper, final=ended.to_bytes()))
            self._site.reach("study.round.kept")
        here = (name, study.round)
        if (
            study.round and here not in self._here
            and self._site.enrolment(name) is not None and study.status != Status.SETTLED
        ):  # fmt: skip
            await self._models.after(study, study.round)
            self._here.add(here)
        if not study.status.over:
            whole = await self._counting.tend(study) and whole
        return whole

    # --------------------------------------------------------------------------------------------------------- reading

    def progress(self, study: StudyId) -> StudyProgress | None:
        """Rounds with their counts, and what is waited for; None for a study that does not stand on the ledger."""
        return progress_of(self._site, study, self._waits.get(study, ""))

    async def model(self, study: StudyId) -> Model | None:
        """The model of the last final round, without the optimiser's state: what a study publishes.

        From here, or from its sites where this member may have it; None before round 1 is final, or while nobody
        gives it.
        """
        found = self._site.rounds.study(study)
        if found is None or not found.round or found.state is None:
            return None
        held = self._site.store.model(study, found.model, found.state)
        held = held or await self._models.fetch(study, found.model, found.state)
        return None if held is None else held.artefact()

    def touched(self, study: StudyId, *, consent: bytes = b"", record: bytes = b"") -> tuple[tuple[int, Digest], ...]:
        """(round, model digest) of every final round in which this site's update was made of rows under a consent (16
        bytes), or of a record (its fingerprint): what a withdrawal does not unlearn. Models after them hold it too."""
        found = []
        for number in range(1, self._site.office.studying.study(study).round + 1):
            paper = self._site.store.final(study, number)
            ended = self._site.rounds.round(study, number) if paper is None else Round.parse(paper.final)
            mine = None if ended is None else ended.update_of(self._site.id)
            if ended is None or mine is None or ended.model is None or self._site.id in (ended.exclusions or ()):
                continue
            if self._manifests.used(study, mine.manifest, consent=consent, record=record):
                found.append((number, ended.model))
        return tuple(found)

    async def alone(self, study: StudyId) -> tuple[Tensor, ...]:
        """How this site's test rows judge a model of its own training rows alone. Raises Waits, NoSuchStudy."""
        found = self._site.office.studying.study(study)
        papers = await self._site.office.studying.papers(study)
        if self._withdrawn.let_go(study):
            await self._learners.release(study)
        return await alone(self._site, self._learners, self._models, found, papers)

    async def ends(self, study: StudyId, words: str) -> Landed:
        """As its proposer's people will: closes it, or takes a proposal back. Commits to what is known by now, and to
        their words. Raises NoSuchStudy, LedgerRefused, LedgerAway."""
        found = self._site.office.studying.study(study)
        if found.proposer != self._site.id:
            return await self._site.office.studying.close(study)  # which is refused: no reason to fetch its papers here
        return await self._ending.close(found, await self._site.office.studying.papers(study), words)

    async def outcome(self, study: StudyId) -> tuple[Report, Contributions | None] | None:
        """What comes out beside the model: as its proposer committed to it, once it is closed; before, as far as this
        site knows it. None before the last round is final, or while nobody gives it."""
        return await self._outcomes.shown(study)

    async def committed(self, study: StudyId) -> Committed:
        """Whether what the proposer committed to when it closed a study is what this site made itself."""
        return await self._outcomes.committed(self._site.office.studying.study(study))

    def sidecar(self, study: StudyId) -> bytes | None:
        """The lineage of its last model (`records.lineage`); None until its last round is final and cosigned."""
        return self._site.store.lineage(study)

    async def replay(self, study: StudyId) -> tuple[Replayed, ...]:
        """Every final round computed again from the sealed updates kept here. Raises Waits, NoSuchStudy."""
        found = self._site.office.studying.study(study)
        papers = await self._site.office.studying.papers(study)
        first = await self._models.first(found, papers)
        return await replay(self._site, found, papers, first, self._exchange, self._masks)
