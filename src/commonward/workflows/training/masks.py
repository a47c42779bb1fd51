"""Masked mode, as one site lives it: keys posted ahead, deals exchanged, shares revealed once, the sum opened.

Keys are fresh for each attempt and stand on the ledger before it opens; the deals behind them travel ahead, and whoever
has one serves it, so a site that dies once its keys stand holds up nobody. Shares are revealed only when a cosigned
checkpoint covers the block that fixed the set: nobody can be shown another set by a ledger that is not the members'.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from commonward.ledger.encoding import Digest, digest
from commonward.ledger.ids import MemberId, StudyId
from commonward.ledger.rounds import MaskKeys, Mode, Status
from commonward.ledger.rounds.study import Masks as Posted
from commonward.ledger.rounds.study import Round, Study
from commonward.ledger.rounds.study import Site as Enrolment
from commonward.records.aggregation import Total
from commonward.records.masking import (
    Attempt,
    Masked,
    MaskingError,
    Reveal,
    TooFewSurvivors,
    Vector,
    add_mask,
    mask,
    pair_key,
    reveal,
    unmask,
)
from commonward.records.masking_keys import MIN_HOLDERS, Deal, Held, Secrets, deal, open_dealt
from commonward.records.model import Shapes, Tensor
from commonward.records.updates import Kind, Update
from commonward.workflows.training.papers import DEAL, REVEAL, Asked, Given, SecretPaper, read_tensors
from commonward.workflows.training.site import NotServed, Site, Waits

__all__ = ["Masks", "flat"]

_COUNTS_LABEL: Final = "commonward masked counts v1"


def flat(tensors: Iterable[Tensor]) -> Vector:
    """Integers of all tensors, in order, modulo 2^64; a copy."""
    return np.concatenate([each.integers.reshape(-1) for each in tensors]).astype("<i8").view("<u8").copy()


class Masks:
    """Of one site, in all its masked studies."""

    def __init__(self, site: Site) -> None:
        self._site = site

    # ahead of an attempt

    async def post(self, study: Study) -> None:
        """Brings keys for the next attempt onto the ledger, if none stand and one may come.

        Raises LedgerAway, Waits.
        """
        name, mine = study.terms.study, self._site.enrolment(study.terms.study)
        if study.terms.mode != Mode.MASKED or mine is None:
            return
        paper = self._site.store.planned_keys(name)
        if paper is not None and self._landed(mine, paper):
            # Killed once they stood, before that was kept: others wait for the deal, whether more may be posted or not.
            self._keep(name, paper)
            paper = None
        if not mine.enrolled or mine.leaving or mine.masks:
            return
        if study.status == Status.RUNNING and study.round + 1 >= study.terms.rounds:
            return  # the last round: should this attempt come to nothing, keys are posted then
        if study.status not in (Status.APPROVED, Status.WAITING, Status.RUNNING):
            return
        if paper is None:
            paper = self._planned(study)
        made = Deal.parse(paper.deal)
        payload = MaskKeys(name, (made.public,), (Digest(made.commitment),), made.digest)
        await self._site.land("keys", payload, name, made.public)
        self._keep(name, paper)
        self._site.reach("study.keys.posted")

    def _landed(self, mine: Enrolment, paper: SecretPaper) -> bool:
        """Whether keys that were planned stand on the ledger, or were taken by an attempt."""
        posted = (mine.masks, None if mine.used is None else mine.used.masks)
        return any(each is not None and each.shares == Deal.parse(paper.deal).digest for each in posted)

    def _keep(self, study: StudyId, paper: SecretPaper) -> None:
        """Keys stand: from now on their deal is given, and their secrets are found by the public key."""
        public = Deal.parse(paper.deal).public
        with self._site.member.ports.vault.transaction():
            self._site.store.keys_posted(study, public, paper)
            self._site.store.put_deal(study, public, paper.deal)
            self._site.landed("keys", study, public)

    def _planned(self, study: Study) -> SecretPaper:
        name, terms = study.terms.study, study.terms
        holders = {}
        for each in self._site.rounds.sites(name):
            found = self._site.rounds.site(name, each)
            if found is not None and found.enrolled and not found.leaving:
                holders[str(each)] = found.sealing
        least = max(MIN_HOLDERS, terms.min_sites)
        if study.status == Status.APPROVED:
            least = max(least, terms.awaited or 0)
        if len(holders) < least:
            raise Waits(f"{least} sites to be enrolled, who hold shares of each other's masks: {len(holders)} are")
        seed = self._site.entropy(32)
        made = deal(name, self._site.id, Secrets.derive(seed), holders)
        paper = SecretPaper(seed, made.to_bytes())
        self._site.store.plan_keys(name, paper)
        self._site.reach("study.keys.planned")
        return paper

    async def fetch_ahead(self, study: Study) -> None:
        """Deals behind the keys that stand, of every site: asked for as soon as they can be."""
        name = study.terms.study
        wanted = []
        for each in self._site.rounds.sites(name):
            found = self._site.rounds.site(name, each)
            if found is not None and found.masks is not None:
                wanted.append(self._deal(name, each, found.masks))
        await asyncio.gather(*wanted)

    async def _deal(self, study: StudyId, dealer: MemberId, posted: Posted) -> Deal | None:
        """The deal that a site's posted keys commit to: from here, from its dealer, or from any other site."""
        data = self._site.store.deal(study, posted.keys[0])
        if data is not None:
            return Deal.parse(data)
        for holder in (dealer, *(each for each in self._site.rounds.sites(study) if each != dealer)):
            if holder == self._site.id:
                continue
            answer = await self._site.ask(holder, DEAL, Asked(study, site=dealer, name=posted.keys[0]))
            if answer is None:
                continue
            try:
                found = Deal.parse(answer.data)
                found.check(posted.keys, posted.seeds, posted.shares)
                if (found.site, found.study) != (dealer, study):
                    raise MaskingError(f"expected a deal of {dealer}, got one of {found.site}")
            except MaskingError:
                continue
            self._site.store.put_deal(study, posted.keys[0], answer.data)
            return found
        return None

    async def give_deal(self, asker: MemberId, body: bytes) -> bytes:
        """Deals are for the enrolled sites. Raises NotServed, MessageError."""
        asked = Asked.parse(body)
        enrolled = self._site.rounds.site(asked.study, asker)
        if enrolled is None or not enrolled.enrolled:
            raise NotServed(f"deals of study {asked.study.hex()} are for its sites, not for {asker}")
        data = self._site.store.deal(asked.study, asked.name)
        return (Given() if data is None else Given.piece(data, asked.part)).to_bytes()

    # within an attempt

    async def attempt(self, study: Study, current: Round) -> Attempt:
        """All deals of an attempt. Raises Waits: one cannot be had."""
        name = study.terms.study
        deals: dict[str, Deal] = {}
        for site in current.sites:
            kept = self._site.store.deal_of(name, current.round, current.attempt, site)
            if kept is not None:
                deals[site] = Deal.parse(kept)
                continue
            found = self._site.rounds.site(name, site)
            used = None if found is None else found.used
            if used is None or (used.round, used.attempt) != (current.round, current.attempt):
                raise Waits(f"an attempt that {site}'s keys are for")
            made = await self._deal(name, site, used.masks)
            if made is None:
                raise Waits(f"the deal behind {site}'s mask keys, which nobody has given yet")
            deals[site] = made
            self._site.store.put_deal_of(name, current.round, current.attempt, site, made.to_bytes())
        return Attempt(name, current.round, current.attempt, current.base, deals)

    def masked(self, attempt: Attempt, update: Update) -> Masked:
        """Our update under the masks of this attempt. Raises Waits: its secrets are gone."""
        study = StudyId(attempt.study)
        paper = self._site.store.secret(study, attempt.deals[self._site.id].public)
        if paper is None:
            raise Waits("an attempt for which this site has the secrets of its keys")
        return mask(attempt, update, Secrets.derive(paper.seed))

    def reveal(self, attempt: Attempt, current: Round) -> None:
        """Our shares, once: kept before anyone is given them. Raises Waits, TooFewSurvivors."""
        study = StudyId(attempt.study)
        proven = self._site.ledger.proven()
        if current.fixed is None or proven is None or proven.height < current.fixed:
            raise Waits(f"a cosigned checkpoint over block {current.fixed}, which fixed the set")
        place = (study, attempt.round, attempt.attempt, self._site.id)
        earlier = self._site.store.reveal(*place)
        if earlier is not None:
            return
        held: dict[str, Held] = {}
        for dealer, each in attempt.deals.items():
            if self._site.id not in each.dealt:
                continue  # it dealt before we enrolled
            try:
                held[dealer] = open_dealt(each, self._site.id, self._site.member.ports.keys.open_sealed)
            except MaskingError as cause:
                self._site.flag(f"study {study.hex()}: {cause}")
        made = reveal(attempt, [each.site for each in current.updates], self._site.id, held)
        self._site.store.put_reveal(*place, made.to_bytes())
        self._site.reach("study.revealed")

    async def give_reveal(self, asker: MemberId, body: bytes) -> bytes:
        """Our shares of an attempt, for who had a vote in it. Raises NotServed, MessageError."""
        asked = Asked.parse(body)
        current = self._site.rounds.round(asked.study, asked.round)
        if current is None or current.attempt != asked.attempt or asker not in current.voters:
            raise NotServed(f"shares of study {asked.study.hex()} are for the sites of that round, not for {asker}")
        data = self._site.store.reveal(asked.study, asked.round, asked.attempt, self._site.id)
        return (Given() if data is None else Given.piece(data, asked.part)).to_bytes()

    async def reveals(self, attempt: Attempt, current: Round) -> list[Reveal]:
        """What holders have revealed so far, asked of each."""
        study = StudyId(attempt.study)
        survivors = tuple(sorted(str(each.site) for each in current.updates))
        wanted = Asked(study, current.round, current.attempt)

        async def of(holder: MemberId) -> Reveal | None:
            data = self._site.store.reveal(study, current.round, current.attempt, holder)
            if data is None and holder != self._site.id:
                answer = await self._site.ask(holder, REVEAL, wanted)
                data = None if answer is None else answer.data
            if data is None:
                return None
            try:
                found = Reveal.parse(data)
            except MaskingError:
                return None
            place = (found.study, found.round, found.attempt, found.holder, found.survivors)
            if place != (study, current.round, current.attempt, holder, survivors):
                return None
            self._site.store.put_reveal(study, current.round, current.attempt, holder, data)
            return found

        got = await asyncio.gather(*(of(each) for each in current.voters))
        return [each for each in got if each is not None]

    async def total(
        self, attempt: Attempt, kind: Kind, shapes: Shapes, vectors: Sequence[Masked], reveals: Sequence[Reveal]
    ) -> Total:
        """The sum. Raises Waits: too few shares yet, or a sum that cannot be opened."""
        try:
            made, false = await asyncio.to_thread(unmask, attempt, kind, shapes, vectors, reveals)
        except TooFewSurvivors as cause:
            raise Waits(f"shares to open the sum: {cause}") from cause
        except MaskingError as cause:
            raise Waits(f"another attempt, since this sum cannot be opened: {cause}") from cause
        for holder in false:
            self._site.flag(f"study {attempt.study.hex()}, round {attempt.round}: {holder} revealed a false share")
        return made

    def counts(self, attempt: Attempt, current: Round, model: Digest, metrics: bytes) -> bytes:
        """Our counts by which a model is judged, under the masks of the pairs of the fixed set: they cancel in the sum
        of all of it, and in no other. Own masks were opened with the round, so there are none: who is missing is
        missed by all. Empty where we have no counts, or no secrets any more."""
        study, me = StudyId(attempt.study), self._site.id
        paper = self._site.store.secret(study, attempt.deals[me].public) if me in attempt.deals else None
        survivors = [str(each.site) for each in current.updates]
        if not metrics or paper is None or me not in survivors:
            return b""
        place = replace(attempt, base=digest(_COUNTS_LABEL, model))  # masks of their own: none serves twice
        vector = flat(read_tensors(metrics))
        secrets = Secrets.derive(paper.seed)
        for other in survivors:
            if other != me:
                add_mask(vector, pair_key(place, me, secrets.private, other), 1 if me < other else -1)
        return vector.astype("<u8", copy=False).tobytes()

    def tidy_void(self, study: Study) -> None:
        """The same of every attempt at the round to come that came to nothing, the last one too: of a study that stalls
        or is closed, no other opens after it."""
        current = self._site.current(study)
        over = study.attempt if current is None or not current.open else study.attempt - 1
        for attempt in range(1, over + 1):
            self.tidy(study.terms.study, study.round + 1, attempt)

    def tidy(self, study: StudyId, number: int, attempt: int) -> None:
        """Our secrets of an attempt that is over go: what it masked stays masked, whoever breaks in later."""
        dealt = self._site.store.deal_of(study, number, attempt, self._site.id)
        if dealt is not None:
            self._site.store.forget_secret(study, Deal.parse(dealt).public)
