"""Countersignatures: more than two thirds of the sites enrolled at a round's opening make it final.

The ledger does not aggregate. It holds each countersignature to the set that was fixed, and to the chain: what a site
signs must follow from the round before, from the updates that stand here, and from what it says itself.
"""

from dataclasses import replace

from commonward.ledger.encoding import Digest
from commonward.ledger.ids import MemberId
from commonward.ledger.rounds.chain import Link, link
from commonward.ledger.rounds.means import Means, live, read_cursor
from commonward.ledger.rounds.opening import end_as_final, end_as_void
from commonward.ledger.rounds.refusals import NotEnrolled
from commonward.ledger.rounds.round_refusals import (
    AgainstFinal,
    AlreadyCountersigned,
    NotToExclude,
    RoundNotOpen,
    SetNotFixed,
    TooFewLeft,
    WrongLink,
)
from commonward.ledger.rounds.study import Round, Signed, Study
from commonward.ledger.rounds.transactions import Countersign
from commonward.ledger.rounds.words import Mode, quorum
from commonward.ledger.rules import Header, MemberSigner

__all__ = ["countersign", "link_of", "sign_by"]


def countersign(asked: Countersign, signer: MemberSigner, header: Header, *, means: Means) -> None:
    study = live(asked.study, header, means.rounds)
    current = means.rounds.round(asked.study, asked.round)
    if current is None or current.attempt != asked.attempt or current.void:
        raise RoundNotOpen(asked.round, asked.attempt, "it never opened, or came to nothing")
    if signer.member not in current.voters:
        raise NotEnrolled(asked.study, signer.member)
    if any(each.site == signer.member for each in current.signed):
        raise AlreadyCountersigned(signer.member)
    if current.final is not None:
        _join(asked, signer.member, current, means)
        return
    _check_time(asked, current, header)
    _check_exclusions(asked, study, current)
    expected = link_of(study.chain, asked, current)
    if asked.chain != expected:
        raise WrongLink(expected, asked.chain)
    current = _with(current, signer.member, asked.chain)
    wanted, alike = quorum(len(current.voters)), _alike(current, asked.chain)
    if alike >= wanted:
        end_as_final(
            study, current, header, exclusions=asked.exclusions, state=asked.state, model=asked.model,
            chain=asked.chain, means=means,
        )  # fmt: skip
        return
    most = max(_alike(current, each.chain) for each in current.signed)
    if most + len(current.voters) - len(current.signed) < wanted:
        end_as_void(study, current, header, means=means)  # no two thirds can agree any more
    else:
        means.rounds.put_round(asked.study, current)


def link_of(before: Digest, asked: Countersign, current: Round) -> Digest:
    """The link of the chain that a countersignature of this attempt must name, given what it says of its result."""
    updates = [(each.site, each.update, each.manifest) for each in current.updates]
    return link(
        before,
        Link(
            asked.study, current.round, current.attempt, current.base, current.voters, updates, asked.exclusions,
            asked.state, asked.model,
        ),
    )  # fmt: skip


def _join(asked: Countersign, member: MemberId, current: Round, means: Means) -> None:
    """The round is final: one more site that found the same."""
    assert current.chain is not None
    if asked.chain != current.chain:
        raise AgainstFinal(current.round, current.chain)
    means.rounds.put_round(asked.study, _with(current, member, asked.chain))


def _with(current: Round, member: MemberId, chain: Digest) -> Round:
    signed = sorted((*current.signed, Signed(member, chain)), key=lambda each: each.site)
    return replace(current, signed=tuple(signed))


def _alike(current: Round, chain: Digest) -> int:
    return sum(each.chain == chain for each in current.signed)


def _check_time(asked: Countersign, current: Round, header: Header) -> None:
    if current.fixed is None or current.fixed >= header.height:
        raise SetNotFixed(asked.round, asked.attempt)
    if current.sign_by is None or header.time >= current.sign_by:
        raise RoundNotOpen(asked.round, asked.attempt, f"it was to be signed before {current.sign_by} ms")


def _check_exclusions(asked: Countersign, study: Study, current: Round) -> None:
    exclusions = asked.exclusions
    if list(exclusions) != sorted(set(exclusions)):
        raise NotToExclude("expected each site once, in ascending order")
    if exclusions and study.terms.mode == Mode.MASKED:
        raise NotToExclude("a masked sum is of the whole set: what is missing makes the attempt void")
    for site in exclusions:
        if current.update_of(site) is None:
            raise NotToExclude(f"{site} has no update in the set")
    left = len(current.updates) - len(exclusions)
    if left < study.terms.min_sites:
        raise TooFewLeft(left, study.terms.min_sites)


def sign_by(ref: bytes, header: Header, *, means: Means) -> None:
    """Due: an attempt that too few signed alike in time is void."""
    name, number, attempt = read_cursor(ref)
    study, current = means.rounds.study(name), means.rounds.round(name, number)
    if study is None or current is None or not current.open or current.attempt != attempt:
        return
    end_as_void(study, current, header, means=means)
