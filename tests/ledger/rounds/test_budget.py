"""The privacy budget: the constants are what the formula says, and adding never forgets."""

from dataclasses import replace
from decimal import ROUND_CEILING, Decimal, localcontext

from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.ledger.rounds.budget import (
    CONVERSION,
    MAX_DELTA,
    MIN_DELTA,
    ORDERS,
    USUAL,
    PrivacyBudget,
    affords,
    after,
    epsilon,
    sound,
)
from commonward.ledger.rounds.refusals import ChargeNotSound
from commonward.ledger.rounds.study import NOTHING_SPENT
from tests.ledger.rounds.studykit import CHARGE, proposed, terms
from tests.ledgerkit import Kit, demo_genesis

CHARGES = st.lists(st.integers(1, 3_000_000), min_size=16, max_size=16).map(lambda each: tuple(sorted(each)))


def test_the_conversion_is_what_the_formula_says_rounded_up():
    """c(order, delta) = ln((order - 1) / order) - (ln delta + ln order) / (order - 1), to sixty digits."""
    with localcontext() as context:
        context.prec = 60
        for delta in range(MIN_DELTA, MAX_DELTA + 1):
            for order, found in zip(ORDERS, CONVERSION[delta], strict=True):
                log_delta = Decimal(10).ln() * -delta
                exact = (Decimal(order - 1) / order).ln() - (log_delta + Decimal(order).ln()) / (order - 1)
                assert found == max(0, int((exact * 1_000_000).to_integral_value(ROUND_CEILING)))
    assert set(CONVERSION) == set(range(MIN_DELTA, MAX_DELTA + 1)) and len(ORDERS) == 16


def test_sixteen_orders_lose_little_against_the_best_of_all_orders():
    """Gaussian noise of 4 times the sensitivity costs order / 32 at each order. Over all real orders, by hand: epsilon
    1.0123 at delta 10^-5 for one update, 3.6170 for ten, 10.3113 for sixty."""
    one, spent, found = tuple(-(-order * 1_000_000 // 32) for order in ORDERS), NOTHING_SPENT, []
    assert sound(one) and epsilon(spent, 5) == 0
    for _ in range(60):
        spent = after(spent, one)
        found.append(epsilon(spent, 5))
    assert (found[0], found[9], found[59]) == (1_018_151, 3_627_852, 10_426_692)


@given(st.lists(CHARGES, min_size=1, max_size=12), st.integers(USUAL.delta, MAX_DELTA))
@settings(max_examples=50, deadline=None)
def test_what_is_afforded_stays_under_the_cap_and_more_never_costs_less(charges, delta):
    spent = NOTHING_SPENT
    for charge in charges:
        assert sound(charge)
        before = epsilon(spent, delta)
        if affords(spent, charge, delta, USUAL):
            spent = after(spent, charge)
            assert before <= epsilon(spent, delta) <= USUAL.epsilon
        else:
            assert epsilon(after(spent, charge), delta) > USUAL.epsilon


def test_a_charge_that_no_mechanism_has_is_not_sound():
    assert sound(CHARGE)
    assert not sound((0,) * 16) and not sound(CHARGE[:15]) and not sound((2, 1, *CHARGE[2:]))


def test_genesis_may_name_another_cap_and_without_one_is_as_it_was():
    plain, capped = demo_genesis(), demo_genesis(privacy=PrivacyBudget(300_000, 7))
    assert 16 not in plain.to_value() and type(capped).parse(capped.to_bytes()) == capped
    kit = Kit(capped)
    assert kit.machine.view().rounds.cap() == PrivacyBudget(300_000, 7)
    kit.refuse(ChargeNotSound, terms(kit, delta=7), by="north")
    kit.refuse(ChargeNotSound, terms(kit, charge=(100,) * 16), by="north")
    proposed(kit, terms(kit, charge=(100,) * 16, delta=7))
    assert Kit(plain).machine.view().rounds.cap() == USUAL
    assert replace(capped, privacy=None) == plain
