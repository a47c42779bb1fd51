"""Models at a site: the first from its own learner, the others from its own aggregation, or from another site."""

from collections.abc import Callable

from commonward.ledger.encoding import Digest
from commonward.ledger.ids import MemberId, StudyId
from commonward.ledger.rounds import Rule
from commonward.ledger.rounds.study import Study
from commonward.records.model import EMPTY_MODEL, Model, ModelError
from commonward.records.table import Table
from commonward.workflows.study_papers import StudyPapers
from commonward.workflows.training.papers import MODEL, Asked, Given, ManifestPaper, model_bytes, read_model_bytes
from commonward.workflows.training.ports import Learner, LearnerError
from commonward.workflows.training.releases import counts
from commonward.workflows.training.site import LARGEST, NotServed, Site, Waits

__all__ = ["Learners", "MakeLearner", "Models"]


MakeLearner = Callable[[str, Digest], Learner]
"""(name, approved digest) -> an installed learner. Raises LearnerError: nothing of that name, or another digest."""


class Learners:
    """The learners of this site, by study: made when first needed, given their rows when these change."""

    def __init__(self, site: Site, make: MakeLearner) -> None:
        self._site = site
        self._make = make
        self._live: dict[StudyId, Learner] = {}
        self._loaded: dict[StudyId, Digest] = {}

    async def of(self, study: StudyId) -> Learner:
        """Raises Waits: nobody here approved one, or what is installed is another."""
        found = self._live.get(study)
        if found is None:
            enrolled = self._site.office.studying.enrolment(study)
            if enrolled is None:
                raise Waits("this site's people to enrol it with a learner")
            try:
                found = await self._site.off_loop(study, self._make, enrolled.learner, enrolled.digest)
            except LearnerError as cause:
                raise Waits(f"its learner: {cause}") from cause
            self._live[study] = found
        return found

    async def with_rows(self, study: StudyId, manifest: ManifestPaper) -> Learner:
        """Loaded with the rows of this manifest. Raises Waits."""
        learner = await self.of(study)
        if self._loaded.get(study) != manifest.digest:
            tables = self._site.store.tables(study)
            if tables is None or tables.manifest != manifest.digest:
                raise Waits("rows: those of its manifest are not here any more")
            try:
                await self._site.off_loop(study, learner.load, Table.parse(tables.train), Table.parse(tables.test))
            except LearnerError as cause:
                raise Waits(f"its learner: {cause}") from cause
            self._loaded[study] = manifest.digest
        return learner

    async def release(self, study: StudyId) -> None:
        """The study is over here: its process ends."""
        self._loaded.pop(study, None)
        found = self._live.pop(study, None)
        if found is not None:
            await self._site.off_loop(study, found.close)
            self._site.end_thread(study)

    def close(self) -> None:
        for found in self._live.values():
            found.close()
        self._live.clear()
        self._loaded.clear()


class Models:
    """Of one site, in all its studies."""

    def __init__(self, site: Site, learners: Learners) -> None:
        self._site = site
        self._learners = learners

    async def base(self, study: Study, papers: StudyPapers) -> Model:
        """What the next round starts from. Raises Waits."""
        if study.round:
            return await self.after(study, study.round)
        return await self.first(study, papers)

    async def first(self, study: Study, papers: StudyPapers) -> Model:
        """What round 1 starts from: of the learner, held against the proposal. Raises Waits."""
        terms = study.terms
        found = self._site.store.model(terms.study, terms.model, None)
        if found is not None:
            return found
        if terms.rule == Rule.SUM and terms.model == EMPTY_MODEL.digest:
            return EMPTY_MODEL
        learner = await self._learners.of(terms.study)
        try:
            made = await self._site.off_loop(terms.study, learner.first_model, papers.protocol.learner_settings)
        except LearnerError as cause:
            raise Waits(f"its learner: {cause}") from cause
        if made.digest != terms.model:
            raise Waits(
                f"another learner or other settings: expected the first model {terms.model.hex()}, "
                f"its learner makes {made.digest.hex()}"
            )
        self._site.store.put_model(terms.study, made, None)
        return made

    async def after(self, study: Study, number: int) -> Model:
        """Of a final round: from here, or from another site, held against what was countersigned. Raises Waits."""
        name, ended = study.terms.study, self._site.rounds.round(study.terms.study, number)
        if ended is None or ended.model is None or ended.state is None:
            raise Waits(f"round {number} to be final")
        found = self._site.store.model(name, ended.model, ended.state)
        if found is None:
            found = await self.fetch(name, ended.model, ended.state)
        if found is None:
            raise Waits(f"the model of round {number}, which this site did not compute and nobody has given yet")
        return found

    async def fetch(self, study: StudyId, digest: Digest, state: Digest) -> Model | None:
        """A model from any site of the study, checked and kept."""
        for other in self._site.rounds.sites(study):
            if other == self._site.id:
                continue
            answer = await self._site.ask(other, MODEL, Asked(study, name=digest, site=state.hex()), most=LARGEST)
            if answer is None:
                continue
            try:
                made = read_model_bytes(answer.data)
            except ModelError:
                continue
            if (made.digest, made.state_digest) == (digest, state):
                self._site.store.put_model(study, made, state)
                return made
        return None

    async def give(self, asker: MemberId, body: bytes) -> bytes:
        """Models are for the study's sites, its proposer, and who may view what comes out; the sums of statistics are
        for its sites alone, and the others see the tables made of them (`releases`). Raises NotServed."""
        asked = Asked.parse(body)
        found = self._site.rounds.study(asked.study)
        papers = self._site.office.studying.held(asked.study)
        viewers = () if papers is None else papers.viewers
        viewing = found is not None and (asker == found.proposer or asker in viewers)
        exact = papers is not None and counts(papers)
        if found is None or (self._site.rounds.site(asked.study, asker) is None and (exact or not viewing)):
            raise NotServed(f"models of study {asked.study.hex()} are not for {asker}")
        try:
            digest, state = Digest(asked.name), Digest(bytes.fromhex(asked.site))
        except ValueError:
            return Given().to_bytes()
        held = self._site.store.model(asked.study, digest, state)
        return (Given() if held is None else Given.piece(model_bytes(held), asked.part)).to_bytes()
