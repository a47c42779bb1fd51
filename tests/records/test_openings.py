"""Openings: one rule can be shown alone, and who is shown all knows that it is all."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.ledger.encoding import decode, digest, encode
from commonward.records.openings import (
    DEPTH,
    MAX_RULES,
    OpenedRule,
    Opening,
    OpeningError,
    RulesTree,
    commit,
    open_all_rules,
)

SEED, SALT = bytes(range(32)), bytes(range(32, 64))
RULES: list[Any] = [{1: 1, 2: 1}, {1: 2, 2: 2}, {1: 3, 2: 2}]


def test_a_commitment_is_the_labelled_digest_of_salt_and_value() -> None:
    assert commit("x v1", SALT, ["a", 1]) == digest("x v1", SALT, encode(["a", 1]))
    with pytest.raises(ValueError, match="salt of 32"):
        commit("x v1", b"short", 1)


def test_an_opening_shows_its_value_and_no_other() -> None:
    opening = Opening("x v1", SALT, ["a", 1])
    again = Opening.parse(opening.to_bytes())
    assert again.check(opening.commitment, "x v1") == ["a", 1]
    for bent in (Opening("x v1", SALT, ["a", 2]), Opening("x v1", SEED, ["a", 1])):
        with pytest.raises(OpeningError, match="does not lead"):
            bent.check(opening.commitment, "x v1")
    with pytest.raises(OpeningError, match="'y v1'"):
        opening.check(opening.commitment, "y v1")


@pytest.mark.parametrize("data", [b"", b"\xff", encode([1, 2]), encode(["x", b"short", 1]), encode(["x", SALT])])
def test_bytes_that_are_no_opening_are_refused(data: bytes) -> None:
    with pytest.raises(OpeningError):
        Opening.parse(data)
    with pytest.raises(OpeningError):
        open_all_rules(data, bytes(32))


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=20, unique=True), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_each_rule_opens_alone_and_the_order_of_rules_does_not_show(numbers: list[int], rng: Any) -> None:
    values = [{1: number} for number in numbers]
    tree = RulesTree(values, SEED)
    rng.shuffle(values)
    assert RulesTree(values, SEED).root == tree.root
    for opened in tree.open_some(values):
        again = OpenedRule.from_value(decode(encode(opened.to_value())))
        assert again.check(tree.root) in values
        assert len(again.path) == DEPTH


def test_a_rule_that_was_altered_or_moved_does_not_open() -> None:
    tree = RulesTree(RULES, SEED)
    opened = tree.open_some([RULES[0]])[0]
    for bent in (
        OpenedRule({1: 1, 2: 2}, opened.salt, opened.slot, opened.path),
        OpenedRule(opened.value, SALT, opened.slot, opened.path),
        OpenedRule(opened.value, opened.salt, opened.slot ^ 1, opened.path),
        OpenedRule(opened.value, opened.salt, opened.slot + MAX_RULES, opened.path),
        OpenedRule(opened.value, opened.salt, opened.slot, opened.path[:-1]),
        OpenedRule(opened.value, opened.salt, opened.slot, (*opened.path[:-1], bytes(32))),
    ):
        with pytest.raises(OpeningError):
            bent.check(tree.root)


def test_who_is_opened_all_rules_knows_that_none_was_kept_back() -> None:
    tree = RulesTree(RULES, SEED)
    assert open_all_rules(tree.open_all(), tree.root).values() == tree.values()
    with pytest.raises(OpeningError, match="the consent says"):
        open_all_rules(encode([SEED, RULES[:2]]), tree.root)  # a deny left out
    with pytest.raises(OpeningError, match="the consent says"):
        open_all_rules(encode([SEED, [*RULES, {1: 4}]]), tree.root)  # or one put in


def test_what_a_requester_is_opened_does_not_tell_how_many_rules_there_are() -> None:
    few, many = RulesTree(RULES[:1], SEED), RulesTree([*RULES, *({1: n} for n in range(50))], SEED)
    for tree in (few, many):
        opened = tree.open_some(RULES[:1])[0]
        assert len(encode(opened.to_value())) == len(encode(few.open_some(RULES[:1])[0].to_value()))
        assert len(set(opened.path)) == DEPTH
    slots = {RulesTree(RULES[:1], bytes([n]) * 32).open_some(RULES[:1])[0].slot for n in range(40)}
    assert len(slots) > 25, "a rule's slot tells nothing either"


def test_salts_of_rules_do_not_lead_back_to_the_seed_or_to_each_other() -> None:
    opened = RulesTree(RULES, SEED).open_some(RULES)
    assert len({each.salt for each in opened}) == 3
    assert SEED not in [each.salt for each in opened]


@pytest.mark.parametrize("rules", [[], [{1: 1}, {1: 1}], [{1: n} for n in range(257)]])
def test_no_rule_a_rule_twice_or_too_many_are_refused(rules: list[Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        RulesTree(rules, SEED)


def test_a_rule_of_another_consent_cannot_be_opened() -> None:
    with pytest.raises(ValueError, match="a rule of this consent"):
        RulesTree(RULES, SEED).open_some([{1: 9}])
    with pytest.raises(ValueError, match="seed of 32"):
        RulesTree(RULES, b"short")


@pytest.mark.parametrize("value", [1, [], [1, 2, 3, 4], [{1: 1}, SALT, 0, b"short"], [{1: 1}, b"", 0, bytes(256)]])
def test_a_value_that_is_no_opened_rule_is_refused(value: Any) -> None:
    with pytest.raises(OpeningError):
        OpenedRule.from_value(value)
