"""How good models are at all sites together: counts and histograms of the sites' own test rows, added up.

Only the sum over all sites of a round comes out. In masked mode counts travel under masks of the attempt's own keys,
after each round that is judged; in open mode under masks of pairs, once, when the last round is final. The last round's
counts of each site leave by themselves only where the study was approved with `per_site`, to its sites.

None of it is on the ledger; each site's countersignature commits to its own counts, so it can be held to them. A site
that lies changes the sums by what it lies about its own rows, and nothing else.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from commonward.ledger.encoding import Encodable, decode, encode
from commonward.ledger.ids import MemberId, StudyId
from commonward.ledger.rounds import Mode, Status
from commonward.ledger.rounds.study import Round, Study
from commonward.records.masking import Vector
from commonward.records.model import DType, ModelError, Tensor
from commonward.records.openings import commit
from commonward.workflows.training.masks import flat
from commonward.workflows.training.pairs import Pairs
from commonward.workflows.training.papers import (
    COUNTS,
    METRICS_COMMITMENT,
    Asked,
    Given,
    LeftOutPaper,
    RoundPaper,
    read_tensors,
    tensors_bytes,
)
from commonward.workflows.training.sidecar import metrics_signed
from commonward.workflows.training.site import Answered, NotServed, Site

__all__ = ["Counting", "Tally", "counted_by"]

_ROOM: Final = 1 << 10
"""Bytes that an answer may have beside what is asked for."""

OWN: Final = b"own"
"""`Asked.name` of a question for one site's own counts, which `per_site` lets leave."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What one model gets right at this site, and at all. `left_out`: of the model without that site; "" for the
    round's own model. `metrics`, `counts`, `sums`: as in `papers.RoundPaper`."""

    round: int
    left_out: str
    metrics: bytes
    counts: bytes = b""
    sums: bytes = b""


def counted_by(ended: Round) -> list[MemberId]:
    """The sites whose counts of a final round are added up: those whose updates are in it."""
    return [each.site for each in ended.updates if each.site not in (ended.exclusions or ())]


def _form(metrics: bytes) -> bytes:
    """Names and shapes, without a number in them."""
    form: list[Encodable] = [[each.name, list(each.shape)] for each in read_tensors(metrics)]
    return encode(form)


class Counting:
    """Of one site, in all its studies."""

    def __init__(self, site: Site, pairs: Pairs) -> None:
        self._site = site
        self._pairs = pairs
        self._done: set[tuple[StudyId, int]] = set()

    # rounds

    async def tend(self, study: Study) -> bool:
        """Adds up what can be had now, for every final round that was judged here and is not added up yet.

        Returns whether every round of which this site can know the sum by now is added up.
        """
        name = study.terms.study
        if study.terms.mode == Mode.OPEN and not _may_leave(study):
            return True  # nothing yet
        wanted: dict[int, tuple[RoundPaper, Round]] = {}
        whole = True
        for number in range(1, study.round + 1):
            if (name, number) in self._done:
                continue
            paper = self._site.store.final(name, number)
            if paper is None or not paper.metrics_salt:
                whole = False  # it may yet be judged here
                continue
            ended = Round.parse(paper.final)
            lost = study.terms.mode == Mode.MASKED and not paper.counts
            if not paper.metrics or paper.sums or self._site.id not in counted_by(ended) or lost:
                self._done.add((name, number))
                continue
            wanted[number] = (paper, ended)
        by_sites: dict[tuple[MemberId, ...], list[int]] = {}
        for number, (_, ended) in wanted.items():
            by_sites.setdefault(tuple(counted_by(ended)), []).append(number)
        for sites, numbers in by_sites.items():
            tallies = [Tally(number, "", wanted[number][0].metrics, wanted[number][0].counts) for number in numbers]
            added = [each for each in await self.added_up(study, sites, tallies) if each.sums]
            with self._site.member.ports.vault.transaction():
                for made in added:
                    paper = replace(wanted[made.round][0], counts=made.counts, sums=made.sums)
                    self._site.store.put_round(name, paper)
            self._done.update((name, each.round) for each in added)
            whole = whole and len(added) == len(tallies)
        return whole

    # any models

    async def added_up(self, study: Study, sites: Sequence[MemberId], tallies: Sequence[Tally]) -> list[Tally]:
        """The same tallies, masked as far as seeds can be had, with sums as far as all the others' counts can be had.

        What is masked is kept before anyone is given it (by `_keep`), so that masks serve one vector only.
        """
        others = [each for each in sites if each != self._site.id]
        masked = await self._masked(study, others, tallies)
        sums = await asyncio.gather(*(self._sum(study, others, each) for each in masked))
        return [replace(each, sums=found) for each, found in zip(masked, sums, strict=True)]

    async def _masked(self, study: Study, others: Sequence[MemberId], tallies: Sequence[Tally]) -> list[Tally]:
        if all(each.counts for each in tallies):
            return list(tallies)
        name = study.terms.study
        seeds = await self._pairs.seeds(name, others)
        if seeds is None:
            return list(tallies)
        made = []
        for each in tallies:
            if not each.counts:
                vector = flat(read_tensors(each.metrics))
                self._pairs.mask(vector, (name, each.round, each.left_out), seeds)
                each = replace(each, counts=vector.astype("<u8", copy=False).tobytes())
            made.append(each)
        with self._site.member.ports.vault.transaction():
            for each in made:
                self._keep(name, each)
        self._site.reach("study.counts.masked")
        return made

    def _keep(self, study: StudyId, tally: Tally) -> None:
        if tally.left_out:
            left = self._site.store.left_out(study, tally.left_out)
            if left is not None:
                self._site.store.put_left_out(study, replace(left, counts=tally.counts, sums=tally.sums))
            return
        paper = self._site.store.final(study, tally.round)
        if paper is not None:
            self._site.store.put_round(study, replace(paper, counts=tally.counts, sums=tally.sums))

    async def _sum(self, study: Study, others: Sequence[MemberId], tally: Tally) -> bytes:
        """Of all sites; empty while one is missing: a sum of fewer would be of other people."""
        if not tally.counts:
            return b""
        wanted = Asked(study.terms.study, tally.round, site=tally.left_out)
        most = len(tally.counts)  # of one form, they are as many
        got = await asyncio.gather(*(self._site.ask(each, COUNTS, wanted, most=most) for each in others))
        total, form = np.frombuffer(tally.counts, "<u8").copy(), _form(tally.metrics)
        for answer in got:
            part = None if answer is None else _numbers(answer, form, total.size)
            if part is None:
                return b""
            total += part
        at, sums = 0, []
        for each in read_tensors(tally.metrics):
            values = total[at : at + each.size].view("<i8").reshape(each.shape)
            sums.append(Tensor.of(each.name, DType.I64, values.astype(np.int64)))
            at += each.size
        return tensors_bytes(sums)

    # one site's own, where that was approved

    async def of_sites(self, study: Study, *, patient: bool) -> dict[MemberId, bytes] | None:
        """Each site's counts of the last round, as its countersignature commits to them; None while one is missing.

        A site whose countersignature does not stand is waited for while we are `patient`, then left out: nothing holds
        it to its counts.
        """
        name = study.terms.study
        paper = self._site.store.final(name, study.round)
        if paper is None or not paper.metrics:
            return None
        ended = self._site.rounds.round(name, study.round) or Round.parse(paper.final)  # who signed since counts too
        signed = metrics_signed(self._site, name, ended)
        wanted = [each for each in counted_by(ended) if each in signed]
        if patient and len(wanted) < len(counted_by(ended)):
            return None
        most = len(paper.metrics) + _ROOM
        got = await asyncio.gather(*(self._own(study, each, signed[each], most) for each in wanted))
        if any(each is None for each in got):
            return None
        return {site: counts for site, counts in zip(wanted, got, strict=True) if counts}

    async def _own(self, study: Study, other: MemberId, signed: bytes, most: int) -> bytes | None:
        """None: not given yet. Empty: what was given is not what it signed."""
        name = study.terms.study
        if other == self._site.id:
            paper = self._site.store.final(name, study.round)
            return None if paper is None else paper.metrics
        answer = await self._site.ask(other, COUNTS, Asked(name, study.round, name=OWN), most=most)
        if answer is None:
            return None
        try:
            match decode(answer.data):
                case [bytes(metrics), bytes(salt)] if commit(METRICS_COMMITMENT, salt, metrics) == signed:
                    read_tensors(metrics)
                    return metrics
        except (ValueError, ModelError):
            pass
        return b""

    # giving

    async def give(self, asker: MemberId, body: bytes) -> bytes:
        """Our counts of a final round, for its other sites. Raises NotServed, MessageError."""
        asked = Asked.parse(body)
        study, paper = self._site.rounds.study(asked.study), self._site.store.final(asked.study, asked.round)
        if study is None or paper is None or not paper.metrics:
            return Given().to_bytes()
        if asker not in Round.parse(paper.final).voters:
            raise NotServed(f"counts of study {asked.study.hex()} are for its sites, not for {asker}")
        if study.terms.mode == Mode.OPEN and not _may_leave(study):
            return Given().to_bytes()
        if asked.name == OWN:
            return self._give_own(study, paper, asked)
        held: RoundPaper | LeftOutPaper | None = paper
        if asked.site:
            held = self._site.store.left_out(asked.study, asked.site)
        if held is None or not held.counts:
            return Given().to_bytes()
        return Given.piece(held.counts, asked.part, beside=_form(held.metrics)).to_bytes()

    def _give_own(self, study: Study, paper: RoundPaper, asked: Asked) -> bytes:
        papers = self._site.office.studying.held(asked.study)
        if papers is None or not papers.protocol.per_site or paper.round != study.round:
            raise NotServed(f"study {asked.study.hex()} was not approved to show its sites' own results")
        return Given.piece(encode([paper.metrics, paper.metrics_salt]), asked.part).to_bytes()


def _may_leave(study: Study) -> bool:
    return study.status in (Status.COMPLETE, Status.CLOSED)


def _numbers(answer: Answered, form: bytes, size: int) -> Vector | None:
    """What a site counted, under its masks, if it is of our form; None otherwise."""
    if answer.beside != form or len(answer.data) != 8 * size:
        return None
    return np.frombuffer(answer.data, "<u8")
