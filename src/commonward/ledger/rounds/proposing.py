"""Proposing a study, and the vote of the members' ethics roles on it.

A study is decided as a protocol version is: by more than that part of the active members whose kind may vote. Where it
asks to waive patient-level privacy, only votes that waive it count, so that nobody approves by oversight.
"""

from collections.abc import Collection
from dataclasses import replace

from commonward.ledger.dues import DueKind
from commonward.ledger.ids import MemberKind, StudyId
from commonward.ledger.members import Majority
from commonward.ledger.rounds.budget import affords, sound
from commonward.ledger.rounds.chain import first_link
from commonward.ledger.rounds.means import Means, whole_second
from commonward.ledger.rounds.refusals import (
    AlreadyJudged,
    ApprovalClosed,
    ChargeNotSound,
    ModeAgainstRule,
    PrivacyNotWaived,
    StudyOutOfBounds,
    StudyTaken,
    StudyUnknown,
    TooFewSitesForRule,
    TooManyStudies,
    WaiverNotAsked,
)
from commonward.ledger.rounds.study import NOTHING_SPENT, Rounds, Study
from commonward.ledger.rounds.transactions import ApproveStudy, ProposeStudy
from commonward.ledger.rounds.words import (
    LONGEST_STUDY,
    MAX_OPEN,
    MAX_OPEN_OF_MEMBER,
    Mode,
    Status,
    allows,
    least_sites,
    tolerates,
)
from commonward.ledger.rules import Header, MemberSigner

__all__ = ["approve_study", "propose_study", "votes_close"]


def propose_study(asked: ProposeStudy, signer: MemberSigner, header: Header, *, means: Means) -> None:
    rounds = means.rounds
    if rounds.study(asked.study) is not None:
        raise StudyTaken(asked.study)
    _check_rule(asked)
    _check_privacy(asked, rounds)
    _check_bounds(asked, header)
    listed = rounds.studies()
    if len(listed) >= MAX_OPEN:
        raise TooManyStudies(MAX_OPEN, "all members")
    own = sum(study is not None and study.proposer == signer.member for study in map(rounds.study, listed))
    if own >= MAX_OPEN_OF_MEMBER:
        raise TooManyStudies(MAX_OPEN_OF_MEMBER, signer.member)
    rounds.put(
        Study(
            signer.member, asked, Status.PROPOSED, 0, 0, asked.model, first_link(signer.member, asked), (), (), (),
            header.time,
        )
    )  # fmt: skip
    means.dues.add(header.time + asked.waits.votes, DueKind.STUDY_VOTES_CLOSE, asked.study)
    means.dues.add(asked.end, DueKind.STUDY_ENDS, asked.study)


def _check_rule(asked: ProposeStudy) -> None:
    if not allows(asked.mode, asked.rule):
        raise ModeAgainstRule(asked.mode.name, asked.rule.name)
    if asked.f and not tolerates(asked.rule):
        raise StudyOutOfBounds(f"{asked.rule.name} withstands no number of false sites: expected f = 0, got {asked.f}")
    least = least_sites(asked.mode, asked.rule, asked.f)
    if asked.min_sites < least:
        raise TooFewSitesForRule(asked.rule.name, asked.f, asked.min_sites, least)


def _check_privacy(asked: ProposeStudy, rounds: Rounds) -> None:
    if asked.charge is None and asked.delta is None:
        if asked.mode == Mode.OPEN and not asked.waiver:
            raise PrivacyNotWaived(asked.study)
        return
    if asked.charge is None or asked.delta is None:
        raise ChargeNotSound("expected a charge and its delta, or neither")
    cap = rounds.cap()
    if not sound(asked.charge):
        raise ChargeNotSound("expected RDP that does not fall as the order grows")
    if asked.delta < cap.delta:
        raise ChargeNotSound(f"expected a delta of at most 10^-{cap.delta}, got 10^-{asked.delta}")
    if not affords(NOTHING_SPENT, asked.charge, asked.delta, cap):
        raise ChargeNotSound(f"one update alone would cost more than the cap of {cap.epsilon} millionths of epsilon")


def _check_bounds(asked: ProposeStudy, header: Header) -> None:
    if asked.awaited is not None and asked.awaited < asked.min_sites:
        raise StudyOutOfBounds(f"expected {asked.min_sites} awaited sites at least, got {asked.awaited}")
    latest = header.time + LONGEST_STUDY
    if not header.time < asked.end <= latest:
        raise StudyOutOfBounds(f"expected an end after {header.time} ms and by {latest} ms, got {asked.end} ms")


def approve_study(
    asked: ApproveStudy,
    signer: MemberSigner,
    header: Header,
    *,
    means: Means,
    majority: Majority,
    voters: Collection[MemberKind],
) -> None:
    """`voters`: kinds of member that may vote; all active members of them are what a majority is of."""
    study = means.rounds.study(asked.study)
    if study is None:
        raise StudyUnknown(asked.study)
    closes = study.proposed + study.terms.waits.votes
    if study.status != Status.PROPOSED or min(closes, study.terms.end) <= header.time:
        raise ApprovalClosed(asked.study)
    if signer.member in study.ayes or signer.member in study.noes:
        raise AlreadyJudged(asked.study, signer.member)
    if asked.waiver and not (asked.choice and study.terms.waiver):
        raise WaiverNotAsked(asked.study)
    if not asked.choice:
        means.rounds.put(replace(study, noes=(*study.noes, signer.member)))
        return
    waivers = (*study.waivers, signer.member) if asked.waiver else study.waivers
    study = replace(study, ayes=(*study.ayes, signer.member), waivers=waivers)
    electorate = [each for each in means.roll.active() if means.roll.must(each).kind in voters]
    counted = sum(each in electorate for each in (study.waivers if study.terms.waiver else study.ayes))
    if majority.reached(counted, len(electorate)):
        study = replace(study, status=Status.APPROVED, approved=header.time)
        means.dues.add(awaited_until(study), DueKind.STUDY_SITES_AWAITED, asked.study)
    means.rounds.put(study)


def awaited_until(study: Study) -> int:
    """Until when round 1 waits for the awaited sites; from then on `min_sites` are enough."""
    assert study.approved is not None
    return whole_second(study.approved + study.terms.waits.sites)


def votes_close(study: StudyId, header: Header, *, means: Means) -> None:
    """Due: what has not found its majority is rejected. Its id stays taken."""
    found = means.rounds.study(study)
    if found is not None and found.status == Status.PROPOSED:
        means.rounds.put(replace(found, status=Status.REJECTED, closed=header.time))
