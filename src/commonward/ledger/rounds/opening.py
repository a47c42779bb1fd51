"""Opening an attempt at a round, and ending it: as final, or as void.

    open_if_ready     opens the next attempt as soon as enough sites are ready, in whatever block makes them so
    end_as_final      the round stands; the next opens in the same block, or waits for sites, or there is none
    end_as_void       another attempt, up to three; then the study stalls

What was charged for a void attempt stays charged: its updates may have left.
"""

from dataclasses import replace

from commonward.ledger.dues import DueKind
from commonward.ledger.ids import Digest, MemberId, StudyId
from commonward.ledger.rounds.means import Lack, Means, cursor, lacks, whole_second
from commonward.ledger.rounds.proposing import awaited_until
from commonward.ledger.rounds.study import Round, Study, Used
from commonward.ledger.rounds.words import ATTEMPTS, Mode, Status
from commonward.ledger.rules import Header

__all__ = ["end_as_final", "end_as_void", "open_if_ready", "sites_awaited"]


def open_if_ready(study: StudyId, header: Header, *, means: Means) -> None:
    """Fixes (round, attempt, base, sites) where a study waits for an attempt and enough sites are ready."""
    found = means.rounds.study(study)
    if found is None or found.status not in (Status.APPROVED, Status.WAITING) or found.terms.end <= header.time:
        return
    terms = found.terms
    missing = {each: lacks(study, each, terms, means) for each in means.rounds.sites(study)}
    voters = tuple(each for each, what in missing.items() if Lack.PART not in what and Lack.MEMBERSHIP not in what)
    ready = tuple(each for each in voters if not missing[each])
    if len(ready) < _wanted(found, header):
        return
    opened = Round(
        found.round + 1, found.attempt + 1, found.model, header.time, header.height,
        whole_second(header.time + terms.waits.updates), voters, ready, (), (), False,
    )  # fmt: skip
    if terms.mode == Mode.MASKED:
        _take_keys(study, opened, means)
    means.rounds.put_round(study, opened)
    means.rounds.put(replace(found, status=Status.RUNNING, attempt=opened.attempt))
    means.dues.add(opened.deadline, DueKind.ROUND_DEADLINE, cursor(study, opened))


def _wanted(study: Study, header: Header) -> int:
    """How many ready sites open the next attempt: round 1 first waits for more than it needs."""
    terms = study.terms
    if study.status == Status.APPROVED and header.time < awaited_until(study):
        return terms.awaited or terms.min_sites
    return terms.min_sites


def _take_keys(study: StudyId, opened: Round, means: Means) -> None:
    """One attempt, one set of keys: those that stood are used now and never again."""
    for member in opened.sites:
        site = means.rounds.site(study, member)
        assert site is not None and site.masks is not None  # it was ready
        used = Used(opened.round, opened.attempt, site.masks)
        means.rounds.put_site(study, member, replace(site, masks=None, used=used))


def end_as_final(
    study: Study,
    ended: Round,
    header: Header,
    *,
    exclusions: tuple[MemberId, ...],
    state: Digest,
    model: Digest,
    chain: Digest,
    means: Means,
) -> None:
    """More than two thirds signed this. The next round opens in the same block, if enough sites are ready."""
    name, last = study.terms.study, ended.round >= study.terms.rounds
    means.rounds.put_round(
        name,
        replace(ended, final=header.height, exclusions=exclusions, state=state, model=model, chain=chain),
    )
    means.rounds.put(
        replace(
            study, status=Status.COMPLETE if last else Status.WAITING, round=ended.round, attempt=0, model=model,
            chain=chain, state=state,
        )
    )  # fmt: skip
    let_go(name, means)
    open_if_ready(name, header, means=means)


def end_as_void(study: Study, ended: Round, header: Header, *, means: Means) -> None:
    """The attempt came to nothing. After the third the study stalls: whoever holds a third of its sites can do that."""
    name, stalls = study.terms.study, ended.attempt >= ATTEMPTS
    means.rounds.put_round(name, replace(ended, void=True))
    means.rounds.put(replace(study, status=Status.STALLED if stalls else Status.WAITING))
    let_go(name, means)
    open_if_ready(name, header, means=means)


def let_go(study: StudyId, means: Means) -> None:
    """Sites that wanted to leave have left, now that no attempt is open."""
    for member in means.rounds.sites(study):
        site = means.rounds.site(study, member)
        if site is not None and site.leaving:
            means.rounds.put_site(study, member, replace(site, enrolled=False, leaving=False, masks=None))


def sites_awaited(study: StudyId, header: Header, *, means: Means) -> None:
    """Due: round 1 no longer waits for more sites than it needs."""
    open_if_ready(study, header, means=means)
