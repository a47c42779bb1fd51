"""Replay: the aggregation of every final round computed again from the sealed updates kept, and compared.

What `commonward study verify` calls. It trusts nothing that was computed before: updates are opened and held against
their commitments again, the sum is unmasked again, and the model must have the digest that two thirds countersigned.
"""

import asyncio
from dataclasses import dataclass
from typing import NamedTuple

from commonward.ledger.ids import MemberId, StudyId
from commonward.ledger.rounds import Mode, Status
from commonward.ledger.rounds.study import Round, Study
from commonward.records.aggregation import AggregationError, expected_shapes, finish, kind_of
from commonward.records.masking import Attempt, Masked, MaskingError, Reveal, unmask
from commonward.records.masking_keys import Deal
from commonward.records.model import Model
from commonward.workflows.study_papers import StudyPapers
from commonward.workflows.training.attempts import aggregate
from commonward.workflows.training.exchange import Exchange, Opened, largest, opened_as
from commonward.workflows.training.masks import Masks
from commonward.workflows.training.papers import KeptUpdate
from commonward.workflows.training.site import Site, Waits

__all__ = ["Replayed", "replay"]


class _Lacking(Exception):
    """Something that a replay needs is not here."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One round. `same`: the model came out as countersigned; None where it cannot be computed here, and `why`."""

    round: int
    same: bool | None
    why: str = ""


async def replay(
    site: Site, study: Study, papers: StudyPapers, first: Model, exchange: Exchange, masks: Masks
) -> tuple[Replayed, ...]:
    """Every final round, from the first model on. What is not here is asked of the other sites, while they keep it."""
    found = []
    for number in range(1, study.round + 1):
        paper = site.store.final(study.terms.study, number)
        try:
            if paper is None:
                raise _Lacking("nothing of this round was kept")
            ended = Round.parse(paper.final)
            base = first if number == 1 else _model(site, study.terms.study, number - 1)
            if not study.status.over or study.status is Status.CLOSED:
                most = largest(study, papers, first)
                await _fetch(study, ended, exchange, masks, most)
            held = _held(site, study, ended)  # the vault is read here, and not from the thread that computes
            made = await asyncio.to_thread(_again, study, papers, ended, base, held)
            same = (made.digest, made.state_digest) == (ended.model, ended.state)
            found.append(Replayed(number, same, "" if same else f"another model comes out: {made.digest.hex()}"))
        except _Lacking as cause:
            found.append(Replayed(number, None, str(cause)))
        except (AggregationError, MaskingError) as cause:
            found.append(Replayed(number, False, str(cause)))
    return tuple(found)


async def _fetch(study: Study, ended: Round, exchange: Exchange, masks: Masks, most: int) -> None:
    await exchange.collect(study.terms.study, study.terms.mode, ended, most)
    if study.terms.mode == Mode.MASKED:
        try:
            await masks.reveals(await masks.attempt(study, ended), ended)
        except Waits as cause:
            raise _Lacking(str(cause)) from cause


def _model(site: Site, study: StudyId, number: int) -> Model:
    paper = site.store.final(study, number)
    ended = None if paper is None else Round.parse(paper.final)
    found = None if ended is None or ended.model is None else site.store.model(study, ended.model, ended.state)
    if found is None:
        raise _Lacking(f"the model of round {number}, from which this one starts, is not here")
    return found


class _Held(NamedTuple):
    """What is kept of one round."""

    updates: list[KeptUpdate]
    deals: dict[str, Deal]
    reveals: list[Reveal]


def _held(site: Site, study: Study, ended: Round) -> _Held:
    name, at = study.terms.study, (ended.round, ended.attempt)
    found = [site.store.update(name, *at, each.site) for each in ended.updates]
    updates = [each for each in found if each is not None]
    if study.terms.mode == Mode.OPEN:
        return _Held(updates, {}, [])
    deals = {}
    for each in ended.sites:
        data = site.store.deal_of(name, *at, each)
        if data is None:
            raise _Lacking(f"the deal behind {each}'s mask keys is not here")
        deals[each] = Deal.parse(data)
    shown = [site.store.reveal(name, *at, holder) for holder in ended.voters]
    return _Held(
        updates, {str(each): deal for each, deal in deals.items()}, [Reveal.parse(each) for each in shown if each]
    )


def _again(study: Study, papers: StudyPapers, ended: Round, base: Model, held: _Held) -> Model:
    name, mode = study.terms.study, study.terms.mode
    kept = {each.site: each for each in held.updates}
    got: dict[MemberId, Opened] = {}
    for submitted in ended.updates:
        opened = opened_as(name, mode, ended, submitted, kept[submitted.site]) if submitted.site in kept else None
        if opened is not None:
            got[submitted.site] = opened
        elif mode == Mode.MASKED or submitted.site not in (ended.exclusions or ()):
            raise _Lacking(f"the update of {submitted.site} is not here: never received, or destroyed in time")
    if mode == Mode.MASKED:
        return _unmasked(study, papers, ended, base, got, held)
    return aggregate(study, ended, papers, base, got).model


def _unmasked(
    study: Study, papers: StudyPapers, ended: Round, base: Model, got: dict[MemberId, Opened], held: _Held
) -> Model:
    name, rule, parameters = study.terms.study, study.terms.rule, papers.protocol.rule_parameters
    attempt = Attempt(name, ended.round, ended.attempt, ended.base, held.deals)
    vectors = [Masked.parse(got[each.site].plain) for each in ended.updates]
    total, _ = unmask(attempt, kind_of(rule), expected_shapes(rule, parameters, base), vectors, held.reveals)
    return finish(rule, parameters, base, total)
