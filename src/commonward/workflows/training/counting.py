"""How good a model is at all sites together: counts and histograms of the sites' own test rows, added up.

In masked mode the counts of a round travel under the masks of pairs and only their sum comes out, after each round that
is judged. In open mode each site's counts leave once, when the last round is final: that is what its approval covers.
Neither is on the ledger; each site's countersignature commits to its own counts, so it can be held to them.
"""

import asyncio
from dataclasses import replace

import numpy as np

from commonward.ledger.encoding import Encodable, decode, encode
from commonward.ledger.ids import MemberId, StudyId
from commonward.ledger.rounds import Mode, Status
from commonward.ledger.rounds.study import Round, Study
from commonward.records.masking import Vector
from commonward.records.model import DType, ModelError, Tensor
from commonward.workflows.training.masks import flat
from commonward.workflows.training.papers import COUNTS, Asked, Given, RoundPaper, read_tensors, tensors_bytes
from commonward.workflows.training.site import Answered, NotServed, Site

__all__ = ["Counting"]


def _form(metrics: bytes) -> bytes:
    """Names and shapes, without a number in them."""
    form: list[Encodable] = [[each.name, list(each.shape)] for each in read_tensors(metrics)]
    return encode(form)


class Counting:
    """Of one site, in all its studies."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._done: set[tuple[StudyId, int]] = set()

    async def tend(self, study: Study) -> None:
        """Adds up what can be had now, for every final round that was judged here and is not added up yet."""
        over = study.status in (Status.COMPLETE, Status.CLOSED)
        if study.terms.mode == Mode.OPEN and not over:
            return
        for number in range(1, study.round + 1):
            if (study.terms.study, number) in self._done:
                continue
            paper = self._site.store.final(study.terms.study, number)
            if paper is None or not paper.metrics_salt:
                continue  # it may yet be judged here
            if not paper.metrics or paper.sums or await self._add_up(study, paper):
                self._done.add((study.terms.study, number))

    async def _add_up(self, study: Study, paper: RoundPaper) -> bool:
        """Whether the sum is known now, or never will be."""
        ended = Round.parse(paper.final)
        sites = [each.site for each in ended.updates if each.site not in (ended.exclusions or ())]
        if self._site.id not in sites or (study.terms.mode == Mode.MASKED and not paper.counts):
            return True
        wanted = Asked(study.terms.study, paper.round)
        others = [each for each in sites if each != self._site.id]
        got = await asyncio.gather(*(self._site.ask(each, COUNTS, wanted) for each in others))
        masked = study.terms.mode == Mode.MASKED
        total = np.frombuffer(paper.counts, "<u8").copy() if masked else flat(read_tensors(paper.metrics))
        for answer in got:
            part = None if answer is None else _numbers(answer, _form(paper.metrics), total.size, masked)
            if part is None:
                return False  # one is missing: a sum of fewer would be of other people
            total += part
        at, sums = 0, []
        for each in read_tensors(paper.metrics):
            values = total[at : at + each.size].view("<i8").reshape(each.shape)
            sums.append(Tensor.of(each.name, DType.I64, values.astype(np.int64)))
            at += each.size
        self._site.store.put_round(study.terms.study, replace(paper, sums=tensors_bytes(sums)))
        return True

    async def give(self, asker: MemberId, body: bytes) -> bytes:
        """Our counts of a final round, for its other sites. Raises NotServed, MessageError."""
        asked = Asked.parse(body)
        study, paper = self._site.rounds.study(asked.study), self._site.store.final(asked.study, asked.round)
        if study is None or paper is None or not paper.metrics:
            return Given().to_bytes()
        if asker not in Round.parse(paper.final).voters:
            raise NotServed(f"counts of study {asked.study.hex()} are for its sites, not for {asker}")
        if study.terms.mode == Mode.MASKED:
            data = paper.counts
        else:
            data = encode([paper.metrics, paper.metrics_salt]) if _may_leave(study) else b""
        if not data:
            return Given().to_bytes()
        return Given.piece(data, asked.part, beside=_form(paper.metrics)).to_bytes()


def _may_leave(study: Study) -> bool:
    return study.status in (Status.COMPLETE, Status.CLOSED)


def _numbers(answer: Answered, form: bytes, size: int, masked: bool) -> Vector | None:
    """What a site counted, if it is of our form; None otherwise."""
    if answer.beside != form:
        return None
    if masked:
        return np.frombuffer(answer.data, "<u8") if len(answer.data) == 8 * size else None
    try:
        match decode(answer.data):
            case [bytes(metrics), bytes()] if _form(metrics) == form:
                return flat(read_tensors(metrics))
    except (ValueError, ModelError):
        return None
    return None
