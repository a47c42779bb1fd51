"""A study lives on where its ledger moves to another engine: sites, rounds and what was spent go along."""

from commonward.ledger.rounds import Status
from commonward.ledger.rounds.budget import USUAL, PrivacyBudget
from tests.ledger.rounds.studykit import (
    CHARGE,
    SITES,
    a_round,
    approve,
    begun,
    enrol,
    masked,
    proposed,
    ready,
    round_of,
    sign_all,
    study_of,
    submit_all,
    update,
)
from tests.ledger.test_importing import going_on, moved
from tests.ledgerkit import Kit, demo_genesis


def test_a_study_goes_on_in_the_middle_of_a_round_on_the_ledger_that_goes_on() -> None:
    before = Kit()
    asked = begun(before)
    a_round(before, asked)
    submit_all(before, asked, SITES[:2])
    kit = moved(before, going_on(before))
    assert round_of(kit, asked).round == 2 and len(round_of(kit, asked).updates) == 2
    submit_all(kit, asked, SITES[2:])
    sign_all(kit, asked)
    assert study_of(kit, asked).round == 2
    assert kit.machine.view().rounds.spent("north") == tuple(2 * each for each in CHARGE)


def test_what_falls_due_for_a_study_falls_due_after_the_move() -> None:
    before = Kit()
    asked = begun(before)
    before.accept(update(before, asked, "north"), by="north")
    kit = moved(before, going_on(before))
    kit.later(asked.waits.updates + 1000)
    kit.settle()
    assert round_of(kit, asked).attempt == 2 and study_of(kit, asked).status == Status.RUNNING


def test_the_cap_is_what_the_genesis_in_force_says() -> None:
    before = Kit(demo_genesis(privacy=PrivacyBudget(2_000_000, 6)))
    assert before.machine.view().rounds.cap().epsilon == 2_000_000
    kit = moved(before, going_on(before))
    assert kit.machine.view().rounds.cap() == USUAL
    asked = proposed(kit, masked(kit))
    approve(kit, asked)
    enrol(kit, asked)
    ready(kit, asked)
    assert study_of(kit, asked).status == Status.RUNNING
