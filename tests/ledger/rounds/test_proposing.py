"""Proposing and approving: terms that cannot work are refused before anybody votes; ethics roles decide."""

from dataclasses import replace

from commonward.ledger.ids import BlockTime, MemberId
from commonward.ledger.members import Suspend
from commonward.ledger.refusals import Malformed
from commonward.ledger.rounds import Mode, Rule, Status
from commonward.ledger.rounds.refusals import (
    AlreadyJudged,
    ApprovalClosed,
    ChargeNotSound,
    ModeAgainstRule,
    PrivacyNotWaived,
    StudyOutOfBounds,
    StudyOver,
    StudyTaken,
    StudyUnknown,
    TooFewSitesForRule,
    TooManyStudies,
    WaiverNotAsked,
)
from commonward.ledger.rounds.round_refusals import NotProposer
from commonward.ledger.rulebook import NotYourRole
from tests.ledger.rounds.studykit import (
    CHARGE,
    DAY,
    HOUR,
    SITES,
    WAITS,
    accept_all,
    approve,
    closing,
    masked,
    proposed,
    study_of,
    terms,
    vote,
)


def test_terms_that_cannot_work_are_refused_when_proposed(kit):
    def refused(why, asked, by="north"):
        kit.refuse(why, asked, by=by)

    refused(ModeAgainstRule, terms(kit, mode=Mode.MASKED, rule=Rule.MEDIAN))
    refused(ModeAgainstRule, terms(kit, rule=Rule.SUM))
    refused(TooFewSitesForRule, terms(kit, rule=Rule.MEDIAN, f=2, min_sites=4))
    refused(TooFewSitesForRule, terms(kit, rule=Rule.KRUM, f=1, min_sites=4))
    refused(TooFewSitesForRule, masked(kit, min_sites=2))
    refused(StudyOutOfBounds, terms(kit, f=1))
    refused(StudyOutOfBounds, terms(kit, awaited=2))
    refused(StudyOutOfBounds, terms(kit, end=kit.next_time()))
    refused(StudyOutOfBounds, terms(kit, end=BlockTime(kit.next_time() + 6 * 366 * DAY)))
    refused(PrivacyNotWaived, terms(kit, charge=None, delta=None))
    refused(ChargeNotSound, terms(kit, delta=None))
    refused(ChargeNotSound, terms(kit, charge=None))
    refused(ChargeNotSound, terms(kit, charge=tuple(range(16, 0, -1))))
    refused(ChargeNotSound, terms(kit, delta=4))
    refused(ChargeNotSound, terms(kit, charge=(20_000_000,) * 16))
    refused(NotYourRole, terms(kit), by="shield")
    accept_all(kit, (terms(kit, rule=Rule.KRUM, f=1, min_sites=5, awaited=5), "south"))


def test_waits_charges_and_counts_out_of_bounds_are_malformed(kit):
    for bent in (
        {"min_sites": 65, "awaited": None},
        {"rounds": 0},
        {"rounds": 1001},
        {"waits": replace(WAITS, updates=0)},
        {"charge": CHARGE[:15]},
        {"charge": (0, *CHARGE[1:])},
        {"delta": 2},
    ):
        kit.refuse(Malformed, terms(kit, **bent), by="north")


def test_an_id_never_stands_for_two_studies(kit):
    """Research consents name it: whoever could take it over would take over the consents."""
    asked = proposed(kit)
    kit.refuse(StudyTaken, asked, by="south")
    kit.accept(closing(kit, asked), by="north")
    assert study_of(kit, asked).status == Status.REJECTED
    kit.refuse(StudyTaken, asked, by="north")
    kit.refuse(StudyOver, closing(kit, asked), by="north")


def test_a_member_has_eight_studies_open_at_most(kit):
    accept_all(kit, *((terms(kit, str(n)), "north") for n in range(8)))
    refusal = kit.refuse(TooManyStudies, terms(kit, "8"), by="north")
    assert refusal.whose == "north"
    kit.accept(terms(kit, "8"), by="south")
    kit.accept(closing(kit, terms(kit, "0")), by="north")
    kit.accept(terms(kit, "9"), by="north")


def test_more_than_two_thirds_of_those_with_ethics_roles_approve_and_once_each(kit):
    """Three of four: an insurer has no ethics role, votes not, and counts not."""
    asked = proposed(kit)
    kit.refuse(StudyUnknown, vote(terms(kit, "other")), by="north")
    kit.refuse(NotYourRole, vote(asked), by="shield")
    kit.refuse(WaiverNotAsked, vote(asked, waiver=True), by="north")
    accept_all(kit, (vote(asked), "clinic"), (vote(asked, choice=False), "south"), (vote(asked), "health"))
    kit.refuse(AlreadyJudged, vote(asked), by="south")
    kit.refuse(AlreadyJudged, vote(asked), by="clinic")
    assert study_of(kit, asked).status == Status.PROPOSED
    kit.accept(vote(asked), by="north")
    assert study_of(kit, asked).status == Status.APPROVED and study_of(kit, asked).noes == ("south",)
    kit.refuse(ApprovalClosed, vote(asked), by="south")


def test_a_study_that_few_want_is_rejected_by_itself_and_takes_no_vote_after(kit):
    asked = proposed(kit)
    approve(kit, asked, SITES[:2])
    kit.later(HOUR)
    kit.refuse(ApprovalClosed, vote(asked), by="north")
    kit.later(2000)
    kit.settle()
    assert study_of(kit, asked).status == Status.REJECTED and kit.machine.view().rounds.studies() == ()


def test_a_waiver_of_privacy_counts_only_where_it_was_given(kit):
    """Nobody approves an open study without patient-level privacy by oversight."""
    asked = proposed(kit, terms(kit, charge=None, delta=None, waiver=True))
    accept_all(kit, *((vote(asked), each) for each in SITES[:3]))
    assert study_of(kit, asked).status == Status.PROPOSED
    kit.accept(vote(asked, waiver=True), by="south")
    assert study_of(kit, asked).status == Status.PROPOSED and study_of(kit, asked).waivers == ("south",)
    other = proposed(kit, terms(kit, "other", charge=None, delta=None, waiver=True))
    approve(kit, other)
    assert study_of(kit, other).status == Status.APPROVED


def test_a_suspended_members_vote_does_not_count(kit):
    asked = proposed(kit)
    accept_all(kit, (vote(asked), "clinic"), (vote(asked), "health"))
    kit.decide(Suspend(MemberId("clinic")))
    kit.accept(vote(asked), by="north")
    assert study_of(kit, asked).status == Status.PROPOSED, "two of the three that are left are not more than two thirds"
    kit.accept(vote(asked), by="south")
    assert study_of(kit, asked).status == Status.APPROVED


def test_only_its_proposer_takes_a_study_back(kit):
    asked = proposed(kit)
    kit.refuse(NotProposer, closing(kit, asked), by="south")
    kit.refuse(StudyUnknown, replace(closing(kit, asked), study=terms(kit, "other").study), by="north")
