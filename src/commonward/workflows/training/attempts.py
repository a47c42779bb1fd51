"""One attempt at a round, at one site: train, commit, exchange, aggregate, countersign.

    open     -> train off the loop, seal, keep, commit (SubmitUpdate)           bytes stay here
    fixed    -> [masked: reveal our shares] -> collect -> aggregate -> judge     bytes travel
             -> keep the model -> countersign

Every step is kept before the next, so a site that is killed goes on where it was, and what it says twice is the same.
Who only has a vote (it was not ready when the attempt opened) collects, aggregates and countersigns as the others do.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from commonward.ledger.ids import Digest, MemberId, StudyId
from commonward.ledger.rounds import Countersign, Manifest, Mode, band_of, first_link, manifest_digest
from commonward.ledger.rounds.countersigning import link_of
from commonward.ledger.rounds.study import Round, Study
from commonward.records.aggregation import (
    Aggregated,
    AggregationError,
    Exclusion,
    Expected,
    aggregate_received,
    expected_shapes,
    finish,
    judge,
    kind_of,
)
from commonward.records.manifest import Manifest as ManifestTree
from commonward.records.manifest import ManifestError, opened_rows
from commonward.records.masking import Attempt, Masked, MaskingError
from commonward.records.model import Model
from commonward.records.openings import commit
from commonward.records.updates import Update, UpdateError
from commonward.workflows.study_papers import StudyPapers
from commonward.workflows.training.exchange import Exchange, Opened, largest
from commonward.workflows.training.judging import is_judged, judged
from commonward.workflows.training.manifests import manifest_of
from commonward.workflows.training.masks import Masks
from commonward.workflows.training.models import Learners, Models
from commonward.workflows.training.papers import (
    METRICS_COMMITMENT,
    KeptUpdate,
    ManifestPaper,
    RoundPaper,
)
from commonward.workflows.training.ports import LearnerError, Task
from commonward.workflows.training.site import Site, Waits

__all__ = ["Attempts", "aggregate", "updates_of"]

_SMALL: Final = 1 << 16
"""Bytes of all updates of a round below which they are aggregated at once."""
_TRIES: Final = 2
"""How often a learner that fails is asked again for one attempt."""


class Attempts:
    """Of one site, in all its studies."""

    def __init__(self, site: Site, exchange: Exchange, masks: Masks, learners: Learners, models: Models) -> None:
        self._site = site
        self._exchange = exchange
        self._masks = masks
        self._learners = learners
        self._models = models
        self._failed: dict[bytes, int] = {}
        self._manifests: dict[StudyId, tuple[Digest, ManifestTree]] = {}

    # ------------------------------------------------------------------------------------------------- while it is open

    async def submit(self, study: Study, current: Round, papers: StudyPapers, manifest: ManifestPaper) -> None:
        """Our update, committed to. Raises Waits, LedgerAway, LedgerRefused."""
        name = study.terms.study
        kept = self._site.store.update(name, current.round, current.attempt, self._site.id)
        keep: Callable[[], None] | None = None
        if kept is None or kept.manifest != manifest.payload or kept.base != current.base:
            kept = await self._made(study, current, papers, manifest)
            keep = partial(self._exchange.keep, name, [kept])
        if self._site.ledger.next_time() >= current.deadline:
            raise Waits("another attempt: its update was not made by the deadline of this one")
        payload = self._exchange.committed(name, kept)
        await self._site.land("update", payload, name, current.round, current.attempt, manifest.digest, beside=keep)
        self._site.reach("study.update.committed")

    async def _made(self, study: Study, current: Round, papers: StudyPapers, manifest: ManifestPaper) -> KeptUpdate:
        name, masked = study.terms.study, study.terms.mode == Mode.MASKED
        opened = self._manifest(study, manifest)
        attempt = await self._masks.attempt(study, current) if masked else None  # before work that may be in vain
        update = await self._trained(study, current, papers, manifest, opened.rows)
        self._site.reach("study.trained")
        try:
            plain = update.to_bytes() if attempt is None else self._masks.masked(attempt, update).to_bytes()
        except MaskingError as cause:
            raise Waits(f"another attempt: {cause}") from cause
        kept = self._exchange.seal(
            name, current, plain, manifest=manifest.payload, opening=opened.rows_opening.to_bytes(), rows=update.rows,
            shown=not masked,
        )  # fmt: skip
        self._site.reach("study.update.made")
        return kept

    def _manifest(self, study: Study, paper: ManifestPaper) -> ManifestTree:
        """Its rows and proofs, built once: a manifest serves many rounds."""
        held = self._manifests.get(study.terms.study)
        if held is None or held[0] != paper.digest:
            held = self._manifests[study.terms.study] = paper.digest, manifest_of(paper, study.terms.row_cap)
        return held[1]

    async def _trained(
        self, study: Study, current: Round, papers: StudyPapers, manifest: ManifestPaper, rows: int
    ) -> Update:
        name, rule = study.terms.study, study.terms.rule
        place = name + current.round.to_bytes(4, "big") + bytes((current.attempt,)) + manifest.digest
        if self._failed.get(place, 0) >= _TRIES:
            raise Waits("another attempt: its learner failed in this one")
        base = await self._models.base(study, papers)
        learner = await self._learners.with_rows(name, manifest)
        task = Task(name, current.round, current.attempt, rule, papers.protocol.learner_settings)
        try:
            made = await self._site.off_loop(name, learner.train, base.artefact(), task)
            update = Update(
                name, current.round, current.attempt, self._site.id, current.base, made.kind, made.rows, made.tensors
            )
        except (LearnerError, UpdateError) as cause:
            self._failed[place] = self._failed.get(place, 0) + 1
            raise Waits(f"its learner, which failed: {cause}") from cause
        expected = rows if kind_of(rule).value == "delta" else 1
        if made.kind is not kind_of(rule) or made.rows != expected:
            self._failed[place] = _TRIES
            raise Waits(
                f"another learner: expected a {kind_of(rule).value} of {expected} rows, as its manifest says, "
                f"got a {made.kind.value} of {made.rows}"
            )
        return update

    # ------------------------------------------------------------------------------------------------ once it is fixed

    async def countersign(self, study: Study, current: Round, papers: StudyPapers) -> None:
        """What we compute from the fixed set, signed. Raises Waits, LedgerAway, LedgerRefused."""
        name = study.terms.study
        paper, keep = self._site.store.round(name, current.round, current.attempt), None
        if paper is None:
            paper, keep = await self._computed(study, current, papers)
        excluded = tuple(MemberId(each) for each in paper.excluded)
        metrics = commit(METRICS_COMMITMENT, paper.metrics_salt, paper.metrics)
        unlinked = Countersign(
            name, current.round, current.attempt, excluded, paper.state, paper.model, current.base, metrics
        )
        chain = link_of(study.chain, unlinked, current)
        payload = Countersign(name, current.round, current.attempt, excluded, paper.state, paper.model, chain, metrics)
        await self._site.land("countersign", payload, name, current.round, current.attempt, beside=keep)
        self._site.reach("study.countersigned")

    def forget_sent(self, study: StudyId, number: int, attempts: int) -> None:
        """A round is final: what was signed in its attempts is sent no more. Joins the caller's vault transaction."""
        for attempt in range(1, attempts + 1):
            self._site.landed("countersign", study, number, attempt)
            kept = self._site.store.update(study, number, attempt, self._site.id)
            if kept is not None:
                named = manifest_digest(self._site.id, Manifest.parse(kept.manifest))
                self._site.landed("update", study, number, attempt, named)

    async def catch_up(self, study: Study, ended: Round, papers: StudyPapers) -> None:
        """What we compute from the set of a round that two thirds made final without us; signed, if it is the same.

        Raises Waits: something of it cannot be had, and nothing was kept.
        """
        name, rounds = study.terms.study, self._site.rounds
        before = None if ended.round == 1 else rounds.round(name, ended.round - 1)
        then = replace(
            study,
            round=ended.round - 1,
            model=ended.base,
            chain=first_link(study.proposer, study.terms) if before is None else before.chain or study.chain,
        )
        paper = self._site.store.round(name, ended.round, ended.attempt)
        if paper is None:
            paper, keep = await self._computed(then, ended, papers)
            with self._site.member.ports.vault.transaction():
                keep()
        same = (paper.model, paper.state) == (ended.model, ended.state)
        if same and not study.status.over and all(each.site != self._site.id for each in ended.signed):
            await self.countersign(then, ended, papers)

    async def _computed(
        self, study: Study, current: Round, papers: StudyPapers
    ) -> tuple[RoundPaper, Callable[[], None]]:
        """And what keeps it, in a transaction of the caller's: with the model, and the updates that it was made of."""
        name = study.terms.study
        base = await self._models.base(study, papers)
        excluded: tuple[str, ...] = ()
        attempt: Attempt | None = None
        if study.terms.mode == Mode.MASKED:
            attempt = await self._masks.attempt(study, current)
            made, new = await self._summed(study, current, papers, base, attempt)
        else:
            made, excluded, new = await self._aggregated(study, current, papers, base)
        self._site.reach("study.aggregated")
        metrics = await self._judged(study, current, papers, made)
        counts = b"" if attempt is None else self._masks.counts(attempt, current, made.digest, metrics)
        paper = RoundPaper(
            current.round, current.attempt, made.digest, made.state_digest, metrics, self._site.entropy(32),
            excluded, counts,
        )  # fmt: skip
        self._site.reach("study.model.made")

        def keep() -> None:
            self._exchange.keep(name, new)
            self._site.store.put_model(name, made, made.state_digest)
            self._site.store.put_round(name, paper)

        return paper, keep

    async def _aggregated(
        self, study: Study, current: Round, papers: StudyPapers, base: Model
    ) -> tuple[Model, tuple[str, ...], list[KeptUpdate]]:
        got = await self._exchange.gather(study.terms.study, Mode.OPEN, current, _largest(study, papers, base))
        new = [each.kept for each in got.values() if each.new]
        missing = tuple(str(each.site) for each in current.updates if each.site not in got)
        settled = current.final is not None and set(missing) <= set(current.exclusions or ())
        if missing and not settled and (current.final is not None or not self._patience_over(study, current)):
            self._keep(study.terms.study, new)
            raise Waits(f"the updates of {', '.join(missing)}, which nobody has given yet")
        try:
            made = await self._made_of(study, current, papers, base, got)
        except AggregationError as cause:
            self._keep(study.terms.study, new)
            raise Waits(f"another attempt: {cause}") from cause
        for each in made.exclusions:
            self._site.flag(f"study {study.terms.study.hex()}, round {current.round}: {each.site}: {each.reason}")
        excluded = tuple(sorted((*missing, *(each.site for each in made.exclusions))))
        return made.model, excluded, new

    async def _made_of(
        self, study: Study, current: Round, papers: StudyPapers, base: Model, got: dict[MemberId, Opened]
    ) -> Aggregated:
        """In a thread, unless it takes no longer than the way there."""
        if sum(len(each.plain) for each in got.values()) < _SMALL:
            return aggregate(study, current, papers, base, got)
        return await asyncio.to_thread(aggregate, study, current, papers, base, got)

    def _keep(self, study: StudyId, new: list[KeptUpdate]) -> None:
        if new:
            with self._site.member.ports.vault.transaction():
                self._exchange.keep(study, new)

    def _patience_over(self, study: Study, current: Round) -> bool:
        """Half of the time for signatures is over: what is missing then is left out, if two thirds lack it."""
        assert current.sign_by is not None
        return self._site.ledger.next_time() >= current.sign_by - study.terms.waits.signatures // 2

    async def _summed(
        self, study: Study, current: Round, papers: StudyPapers, base: Model, attempt: Attempt
    ) -> tuple[Model, list[KeptUpdate]]:
        try:
            self._masks.reveal(attempt, current)
        except MaskingError as cause:
            raise Waits(f"another attempt: {cause}") from cause
        got, reveals = await asyncio.gather(
            self._exchange.gather(study.terms.study, Mode.MASKED, current, _largest(study, papers, base)),
            self._masks.reveals(attempt, current),
        )
        new = [each.kept for each in got.values() if each.new]
        missing = [str(each.site) for each in current.updates if each.site not in got]
        if missing:
            self._keep(study.terms.study, new)
            raise Waits(f"the masked updates of {', '.join(missing)}, which nobody has given yet")
        try:
            vectors = [Masked.parse(got[each.site].plain) for each in current.updates]
            if any(vector.site != each.site for vector, each in zip(vectors, current.updates, strict=True)):
                raise MaskingError("a site committed to another site's vector")
            shapes = expected_shapes(study.terms.rule, papers.protocol.rule_parameters, base)
            total = await self._masks.total(attempt, kind_of(study.terms.rule), shapes, vectors, reveals)
            made = await asyncio.to_thread(finish, study.terms.rule, papers.protocol.rule_parameters, base, total)
            return made, new
        except (MaskingError, AggregationError) as cause:
            self._keep(study.terms.study, new)
            raise Waits(f"another attempt: {cause}") from cause

    async def _judged(self, study: Study, current: Round, papers: StudyPapers, made: Model) -> bytes:
        """What our test rows say of the new model, where it is time for it; empty otherwise, or if we cannot say."""
        name = study.terms.study
        manifest = self._site.store.manifest(name)
        if manifest is None or not is_judged(study, papers, current.round):
            return b""
        try:
            return await judged(
                self._site, self._learners, study, papers, manifest, made, (current.round, current.attempt)
            )
        except (LearnerError, Waits) as cause:
            self._site.flag(f"study {name.hex()}, round {current.round}: not judged here: {cause}")
            return b""


def _largest(study: Study, papers: StudyPapers, base: Model) -> int:
    """As `exchange.largest`. Raises Waits: the study's rule does not fit its model."""
    try:
        return largest(study, papers, base)
    except AggregationError as cause:
        raise Waits(f"another study: {cause}") from cause


def aggregate(
    study: Study, current: Round, papers: StudyPapers, base: Model, got: dict[MemberId, Opened]
) -> Aggregated:
    """The outcome of an open round by the bytes at hand. Raises AggregationError."""
    received = {str(site): opened.plain for site, opened in got.items()}
    expected = _expected(study, current, got)
    return aggregate_received(study.terms.rule, papers.protocol.rule_parameters, base, expected, received)


def updates_of(
    study: Study, current: Round, papers: StudyPapers, base: Model, got: dict[MemberId, Opened]
) -> tuple[tuple[Update, ...], tuple[Exclusion, ...]]:
    """The same bytes, opened: what can be used, and what cannot. Raises AggregationError."""
    received = {str(site): opened.plain for site, opened in got.items()}
    expected = _expected(study, current, got)
    return judge(study.terms.rule, papers.protocol.rule_parameters, base, expected, received)


def _expected(study: Study, current: Round, got: dict[MemberId, Opened]) -> Expected:
    consents = {each.site: each.consents for each in current.updates}
    rows = {str(site): _rows(opened.kept, consents[site], study.terms.row_cap) for site, opened in got.items()}
    return Expected(study.terms.study, current.round, current.attempt, current.base, rows)


def _rows(kept: KeptUpdate, consents: int, row_cap: int) -> int:
    """n by its manifest, within what its consents allow and the bands that it showed; 0 where it is not."""
    manifest = Manifest.parse(kept.manifest)
    try:
        rows = opened_rows(kept.opening, manifest.exact_rows, consents, row_cap)
    except ManifestError:
        return 0
    return rows if band_of(rows) <= manifest.rows else 0
