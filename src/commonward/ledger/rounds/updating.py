"""Submitting updates, until the set of an attempt is fixed.

A set is fixed in the block in which the last site that may submit has done so, or at the deadline if enough have; the
bytes leave then, and not before, so nobody's update can depend on another's. What is fixed counts from the next block
on: a block's dues run before its transactions, and fixing comes after them.
"""

from dataclasses import replace

from commonward.ledger.dues import DueKind
from commonward.ledger.ids import MemberId
from commonward.ledger.rounds.budget import affords, after, epsilon
from commonward.ledger.rounds.means import Means, cursor, fresh, least_updates, live, read_cursor, whole_second
from commonward.ledger.rounds.opening import end_as_void
from commonward.ledger.rounds.refusals import NotEnrolled
from commonward.ledger.rounds.round_refusals import (
    BudgetExceeded,
    ManifestStale,
    NoMaskKeys,
    NotInRound,
    RoundNotOpen,
    UpdateRepeated,
    WrongBase,
)
from commonward.ledger.rounds.study import Placed, Round, Study, Submitted
from commonward.ledger.rounds.transactions import SubmitUpdate
from commonward.ledger.rounds.words import Mode, Status
from commonward.ledger.rules import Header, MemberSigner

__all__ = ["deadline", "submit_update"]


def submit_update(asked: SubmitUpdate, signer: MemberSigner, header: Header, *, means: Means) -> None:
    study = live(asked.study, header, means.rounds)
    current = _open_for_updates(asked, study, header, means)
    member = signer.member
    if member not in current.voters:
        raise NotEnrolled(asked.study, member)
    if current.update_of(member) is not None:
        raise UpdateRepeated(member)
    if asked.base != current.base:
        raise WrongBase(current.base, asked.base)
    placed = _fresh_manifest(study, member, means)
    if study.terms.mode == Mode.MASKED and not _has_keys(current, study, member, means):
        raise NoMaskKeys(member)
    _charge(study, member, means)
    if member not in current.sites:
        raise NotInRound(member)
    consents = means.counter(asked.study, member).open
    update = Submitted(member, asked.update, asked.ciphertext, asked.rows, placed.digest, consents)
    updates = tuple(sorted((*current.updates, update), key=lambda each: each.site))
    current = replace(current, updates=updates)
    if len(updates) == len(current.sites):
        fix(study, current, header, means)
    else:
        means.rounds.put_round(asked.study, current)


def _open_for_updates(asked: SubmitUpdate, study: Study, header: Header, means: Means) -> Round:
    current = means.rounds.round(asked.study, study.round + 1)
    if study.status != Status.RUNNING or current is None:
        raise RoundNotOpen(asked.round, asked.attempt, f"the study is {study.status.name}")
    if (asked.round, asked.attempt) != (current.round, current.attempt):
        raise RoundNotOpen(asked.round, asked.attempt, f"round {current.round}, attempt {current.attempt} is")
    if current.fixed is not None:
        raise RoundNotOpen(asked.round, asked.attempt, f"its set was fixed in block {current.fixed}")
    if header.time >= current.deadline:
        raise RoundNotOpen(asked.round, asked.attempt, f"its deadline was {current.deadline} ms")
    return current


def _fresh_manifest(study: Study, member: MemberId, means: Means) -> Placed:
    site, count = means.rounds.site(study.terms.study, member), means.counter(study.terms.study, member)
    assert site is not None  # it is among the voters
    if site.manifest is None or not fresh(site.manifest, count):
        raise ManifestStale(member, count.withdrawn_at)
    return site.manifest


def _has_keys(current: Round, study: Study, member: MemberId, means: Means) -> bool:
    site = means.rounds.site(study.terms.study, member)
    used = None if site is None else site.used
    return used is not None and (used.round, used.attempt) == (current.round, current.attempt)


def _charge(study: Study, member: MemberId, means: Means) -> None:
    """By member, whatever the study, the site's enrolment or what becomes of the attempt."""
    terms, cap = study.terms, means.rounds.cap()
    if terms.charge is None or terms.delta is None:
        return
    spent = after(means.rounds.spent(member), terms.charge)
    if not affords(means.rounds.spent(member), terms.charge, terms.delta, cap):
        raise BudgetExceeded(member, epsilon(spent, terms.delta), cap.epsilon)
    means.rounds.put_spent(member, spent)


def fix(study: Study, current: Round, header: Header, means: Means) -> None:
    """From the next block on the set stands, and the sites countersign what they compute from it."""
    sign_by = whole_second(header.time + study.terms.waits.signatures)
    fixed = replace(current, fixed=header.height, sign_by=sign_by)
    means.rounds.put_round(study.terms.study, fixed)
    means.dues.add(sign_by, DueKind.ROUND_SIGN_BY, cursor(study.terms.study, fixed))


def deadline(ref: bytes, header: Header, *, means: Means) -> None:
    """Due: the set is fixed with those that came, if they are enough; else the attempt is void."""
    name, number, attempt = read_cursor(ref)
    study, current = means.rounds.study(name), means.rounds.round(name, number)
    if study is None or current is None or not current.open or current.attempt != attempt:
        return
    if current.fixed is not None:
        return
    if len(current.updates) >= least_updates(study.terms, len(current.sites)):
        fix(study, current, header, means)
    else:
        end_as_void(study, current, header, means=means)
