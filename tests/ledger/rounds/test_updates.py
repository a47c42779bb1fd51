"""Updates: one a site and attempt, from the right model, under a manifest that is fresh, within the budget."""

from dataclasses import replace

from commonward.ledger.consent import Withdraw
from commonward.ledger.refusals import Replayed
from commonward.ledger.rounds import LeaveStudy, Status
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
from tests.ledger.rounds.studykit import (
    CHARGE,
    SITES,
    a_round,
    accept_all,
    approve,
    begun,
    enrol,
    enrolment,
    manifest,
    mask_keys,
    masked,
    proposed,
    ready,
    research,
    round_of,
    sign_all,
    study_of,
    submit_all,
    terms,
    update,
)
from tests.ledgerkit import commitment


def test_an_update_cannot_be_replayed_repeated_or_swapped_between_rounds(kit):
    asked = begun(kit)
    first = update(kit, asked, "north")
    raw = kit.sign(first, by="north")
    kit.block([raw])
    kit.refuse_raw(Replayed, raw)
    kit.refuse(UpdateRepeated, first, by="north")
    kit.refuse(UpdateRepeated, update(kit, asked, "north", update=commitment("better, after a look")), by="north")
    kit.refuse(WrongBase, update(kit, asked, "south", base=commitment("another model")), by="south")
    kit.refuse(RoundNotOpen, update(kit, asked, "south", round=2), by="south")
    kit.refuse(RoundNotOpen, update(kit, asked, "south", attempt=2), by="south")
    submit_all(kit, asked, ("clinic", "health", "south"))
    kit.refuse(RoundNotOpen, first, by="north")
    sign_all(kit, asked)
    kit.refuse(RoundNotOpen, first, by="north")
    kit.refuse(WrongBase, replace(first, round=2), by="north")


def test_an_update_after_a_withdrawal_waits_for_a_manifest_without_that_patient(kit):
    asked = begun(kit)
    kit.accept(research(kit, asked, "north", "second"), by="north")
    kit.accept(Withdraw(research(kit, asked, "north").id, commitment("reason")), by="north")
    kit.refuse(ManifestStale, update(kit, asked, "north"), by="north")
    kit.accept(manifest(asked, "without", test=commitment("test without")), by="north")
    kit.accept(update(kit, asked, "north"), by="north")


def test_a_withdrawal_in_the_block_of_the_manifest_makes_it_stale(kit):
    asked = begun(kit)
    kit.accept(research(kit, asked, "north", "second"), by="north")
    accept_all(
        kit,
        (manifest(asked, 1), "north"),
        (Withdraw(research(kit, asked, "north").id, commitment("reason")), "north"),
    )
    kit.refuse(ManifestStale, update(kit, asked, "north"), by="north")


def test_a_site_that_is_not_fresh_when_the_next_round_opens_is_not_in_it(kit):
    asked = begun(kit)
    kit.accept(research(kit, asked, "north", "second"), by="north")
    submit_all(kit, asked)
    kit.accept(Withdraw(research(kit, asked, "north").id, commitment("reason")), by="north")
    sign_all(kit, asked)
    assert round_of(kit, asked).sites == ("clinic", "health", "south")
    kit.refuse(ManifestStale, update(kit, asked, "north"), by="north")
    kit.accept(manifest(asked, "without", test=commitment("test without")), by="north")
    kit.refuse(NotInRound, update(kit, asked, "north"), by="north")
    submit_all(kit, asked, ("clinic", "health", "south"))
    sign_all(kit, asked)
    assert round_of(kit, asked).sites == SITES


def test_who_is_not_enrolled_submits_nothing(kit):
    asked = proposed(kit, terms(kit, awaited=None))
    approve(kit, asked)
    enrol(kit, asked, SITES[:3])
    ready(kit, asked, SITES[:3])
    kit.refuse(NotEnrolled, update(kit, asked, "south"), by="south")
    kit.accept(enrolment(asked, "south"), by="south")
    kit.refuse(NotEnrolled, update(kit, asked, "south"), by="south")


def test_a_masked_update_needs_keys_that_stood_when_the_attempt_opened(kit):
    asked = proposed(kit, masked(kit, awaited=None))
    approve(kit, asked)
    enrol(kit, asked)
    accept_all(kit, *((mask_keys(asked, site), site) for site in SITES[:3]))
    accept_all(kit, *((manifest(asked), site) for site in reversed(SITES)))
    assert round_of(kit, asked).sites == SITES[:3]
    kit.refuse(NoMaskKeys, update(kit, asked, "south"), by="south")
    kit.accept(mask_keys(asked, "south"), by="south")
    kit.refuse(NoMaskKeys, update(kit, asked, "south"), by="south")


def test_a_round_over_the_budget_is_refused_and_re_enrolment_refills_nothing(kit):
    """One update takes 4 of the cap's 10: the second passes (8.05 at the last order), the third does not."""
    asked = begun(kit, terms(kit, charge=(4_000_000,) * 16, rounds=5))
    a_round(kit, asked)
    a_round(kit, asked)
    assert kit.machine.view().rounds.spent("north") == (8_000_000,) * 16
    assert study_of(kit, asked).status == Status.WAITING, "nobody is left who could pay for round 3"
    accept_all(kit, *((LeaveStudy(asked.study, commitment("reason")), site) for site in SITES))
    accept_all(kit, *((enrolment(asked, site), site) for site in SITES))
    accept_all(kit, *((manifest(asked, "new"), site) for site in SITES))
    assert study_of(kit, asked).status == Status.WAITING
    assert kit.machine.view().rounds.spent("north") == (8_000_000,) * 16


def test_a_budget_is_one_over_all_studies(kit):
    """Another study with another learner, another consent and another proposer spends from the same purse."""
    first = begun(kit, terms(kit, charge=(4_000_000,) * 16, rounds=2))
    second = begun(kit, terms(kit, "second", charge=(4_000_000,) * 16, rounds=2))
    a_round(kit, first)
    submit_all(kit, first)
    refusal = kit.refuse(BudgetExceeded, update(kit, second, "north"), by="north")
    assert refusal.cap == 10_000_000 and refusal.would == 12_000_000 + 44_605


def test_a_void_attempt_stays_charged(kit):
    asked = begun(kit)
    kit.accept(update(kit, asked, "north"), by="north")
    kit.later(asked.waits.updates + 1000)
    kit.settle()
    assert round_of(kit, asked).attempt == 2 and kit.machine.view().rounds.spent("north") == CHARGE
    kit.accept(update(kit, asked, "north"), by="north")
    assert kit.machine.view().rounds.spent("north") == tuple(2 * each for each in CHARGE)


def test_a_masked_sum_costs_nothing_and_is_always_affordable(kit):
    asked = begun(kit, masked(kit))
    submit_all(kit, asked)
    assert kit.machine.view().rounds.spent("north") == (0,) * 16
