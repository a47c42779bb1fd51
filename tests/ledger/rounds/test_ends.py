"""Ends: a study closes when no round is under way, as what it became; disputes have their time."""

from dataclasses import replace

from commonward.ledger.rounds import Dispute, Status
from commonward.ledger.rounds.closing import keeps_updates
from commonward.ledger.rounds.refusals import NotEnrolled, StudyNotApproved, StudyOver, StudyUnknown
from commonward.ledger.rounds.round_refusals import (
    AlreadyDisputed,
    DisputeLate,
    NotProposer,
    RoundNotFinal,
    RoundUnderWay,
    WrongEnd,
)
from tests.ledger.rounds.studykit import (
    DAY,
    SITES,
    a_round,
    begun,
    closing,
    proposed,
    round_of,
    signature,
    study_of,
    submit_all,
    terms,
    update,
)
from tests.ledgerkit import commitment


def a_dispute(asked, number=1):
    return Dispute(asked.study, number, commitment("claim"))


def test_nobody_closes_a_study_while_a_round_is_under_way_or_as_another_than_it_is(kit):
    asked = begun(kit)
    a_round(kit, asked)
    kit.refuse(WrongEnd, closing(kit, asked, model=commitment("better")), by="north")
    kit.refuse(WrongEnd, closing(kit, asked, chain=commitment("better")), by="north")
    kit.refuse(NotProposer, closing(kit, asked), by="south")
    kit.accept(update(kit, asked, "south"), by="south")
    kit.refuse(RoundUnderWay, closing(kit, asked), by="north")
    submit_all(kit, asked, SITES[:3])
    kit.refuse(RoundUnderWay, closing(kit, asked), by="north")
    for site in SITES:
        kit.accept(signature(kit, asked) if study_of(kit, asked).round == 1 else _again(kit, asked), by=site)
    kit.accept(closing(kit, asked), by="north")
    assert study_of(kit, asked).status == Status.CLOSED and round_of(kit, asked).void
    kit.refuse(StudyOver, update(kit, asked, "north"), by="north")
    kit.refuse(StudyOver, closing(kit, asked), by="north")


def _again(kit, asked):
    """The countersignature of round 2 once it is final."""
    ended = round_of(kit, asked, 2)
    said = signature(kit, asked)
    assert ended.state is not None and ended.model is not None and ended.chain is not None
    return replace(said, round=2, attempt=ended.attempt, state=ended.state, model=ended.model, chain=ended.chain)


def test_a_study_closes_by_itself_at_its_end_whatever_is_under_way(kit):
    asked = begun(kit, terms(kit, end=kit.next_time() + 3_000_000))
    submit_all(kit, asked)
    said = signature(kit, asked)
    kit.later(3_000_000)
    kit.refuse(StudyOver, said, by="north")
    kit.later(1000)
    kit.settle()
    found = study_of(kit, asked)
    assert found.status == Status.CLOSED and found.report is None and found.model == asked.model


def test_disputes_are_of_sites_over_final_rounds_and_in_time(kit):
    asked = proposed(kit)
    kit.refuse(StudyNotApproved, a_dispute(asked), by="north")
    kit.refuse(StudyUnknown, a_dispute(terms(kit, "other")), by="north")
    asked = begun(kit, terms(kit, "second", rounds=1, awaited=None), SITES[:3])
    kit.refuse(RoundNotFinal, a_dispute(asked), by="north")
    a_round(kit, asked, SITES[:3])
    kit.refuse(NotEnrolled, a_dispute(asked), by="south")
    kit.accept(a_dispute(asked), by="north")
    kit.refuse(AlreadyDisputed, a_dispute(asked), by="north")
    kit.accept(closing(kit, asked), by="north")
    kit.accept(a_dispute(asked), by="clinic")
    kit.later(DAY + 1000)
    kit.refuse(DisputeLate, a_dispute(asked), by="health")
    assert study_of(kit, asked).status == Status.SETTLED
    assert not keeps_updates(asked.study, kit.now, kit.machine.view().rounds)


def test_a_site_that_disputes_round_after_round_keeps_the_updates_longer_only_once(kit):
    asked = begun(kit, terms(kit, rounds=3))
    for _ in range(3):
        a_round(kit, asked)
    kit.accept(closing(kit, asked), by="north")
    ends = [study_of(kit, asked).kept_until or 0]
    for site, number in (("south", 1), ("south", 2), ("south", 3), ("clinic", 1)):
        kit.later(DAY // 4)
        kit.accept(a_dispute(asked, number), by=site)
        ends.append(study_of(kit, asked).kept_until or 0)
    first, once, twice, thrice, others = ends
    assert first < once == twice == thrice < others
