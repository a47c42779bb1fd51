"""Decisions: nothing said means no, a deny stands, and nothing tells that something was withheld."""

import inspect
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.ledger.encoding import decode, encode
from commonward.records.decide import (
    Answer,
    Ask,
    Decision,
    Facts,
    Given,
    Reason,
    compile_rules,
    decide,
    decide_as_requester,
    names_requester,
    outward,
)
from commonward.records.jurisdiction import Basis, JurisdictionTable, TableError, default_jurisdiction
from commonward.records.propagation import decide_set, propagate, references_within
from commonward.records.record import Period, Record, Source
from commonward.records.rules import Carve, Effect, Rule, RuleError, Scope, check_numbers, everything_but
from commonward.records.sensitivity import default_sensitivity

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "decide.json").read_text())["decisions"]
TABLE = default_jurisdiction()
TREAT = frozenset({"TREAT"})
SOUTH = frozenset({"south"})
CARE = Ask("south", 1, "north", "TREAT", "clinician", 1_000)
ALL = Rule(1, Effect.PERMIT, Scope(members=SOUTH, purposes=TREAT))
NO_MENTAL = Rule(2, Effect.DENY, Scope(classes=frozenset({"mental-health"})))


def facts(*classes: str, kind: str = "Observation", classified: bool = True, period: Period | None = None) -> Facts:
    sensitive = frozenset(classes) & {"mental-health", "hiv", "genetic"}
    return Facts(kind, frozenset(classes), sensitive, classified, frozenset(), period)


def names(*some: str) -> st.SearchStrategy[frozenset[str] | None]:
    return st.none() | st.sets(st.sampled_from(some), min_size=1).map(frozenset)


PERIODS = st.none() | st.builds(
    lambda start, length: Period(start, None if length is None else start + length),
    st.integers(0, 5),
    st.none() | st.integers(1, 5),
)
CLASSES = names("laboratory", "problem", "imaging", "mental-health", "hiv")
SCOPES = st.builds(
    Scope,
    members=names("south", "west"),
    kinds=st.none() | st.just(frozenset({1})) | st.just(frozenset({2})),
    roles=names("clinician", "nurse"),
    purposes=names("TREAT", "HPAYMT"),
    custodians=names("north", "east"),
    classes=CLASSES,
    labels=names("R", "PSY"),
    period=PERIODS,
)
CARVES = st.recursive(st.builds(Carve, SCOPES), lambda inner: st.builds(Carve, SCOPES, st.tuples(inner)), max_leaves=3)
EXCEPTIONS = st.just(()) | st.tuples(CARVES)
EXPIRES = st.none() | st.sampled_from([500, 1_000, 1_001])
DENIES = st.builds(Rule, st.integers(1, 99), st.just(Effect.DENY), SCOPES, EXPIRES, EXCEPTIONS)
PERMITS = st.builds(
    lambda number, scope, expires, carves: Rule(
        number,
        Effect.PERMIT,
        replace(scope, members=scope.members or SOUTH, purposes=scope.purposes or TREAT),
        expires,
        carves,
    ),
    st.integers(100, 199),
    SCOPES,
    EXPIRES,
    EXCEPTIONS,
)
GIVENS = st.lists(
    st.builds(
        Given,
        st.binary(min_size=16, max_size=16),
        st.lists(DENIES | PERMITS, max_size=4).map(tuple),
        st.integers(1, 3),
        st.none() | st.sampled_from([1_000, 2_000]),
    ),
    max_size=3,
)
FACTS = st.builds(
    lambda classes, classified, labels, period: Facts(
        "Observation", classes, classes & {"mental-health", "hiv"}, classified, labels, period
    ),
    CLASSES.map(lambda some: some or frozenset({"laboratory"})),
    st.booleans(),
    st.sets(st.sampled_from(["R", "PSY"])).map(frozenset),
    PERIODS,
)
ASKS = st.builds(
    Ask,
    st.sampled_from(["south", "west"]),
    st.sampled_from([1, 2]),
    st.just("north"),
    st.sampled_from(["TREAT", "ETREAT", "HPAYMT"]),
    st.sampled_from(["clinician", "claims-officer"]),
    st.just(1_000),
    st.sampled_from([Basis.CONSENT, Basis.CONSENT, Basis.VITAL_INTEREST, Basis.CONTRACT]),
)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_decision_vectors(vector: dict[str, Any]) -> None:
    ask = vector["ask"]
    given_facts = vector["facts"]
    givens = [
        Given(
            bytes([number]) * 16,
            tuple(Rule.from_value(decode(bytes.fromhex(rule))) for rule in each["rules"]),
            each["assurance"],
            each["ends"],
        )
        for number, each in enumerate(vector["consents"])
    ]
    decision = decide(
        Ask(
            ask["requester"],
            ask["kind"],
            ask["custodian"],
            ask["purpose"],
            ask["role"],
            ask["at"],
            Basis(ask["ground"]),
        ),
        Facts(
            given_facts["type"],
            frozenset(given_facts["classes"]),
            frozenset(given_facts["sensitive"]),
            given_facts["classified"],
            frozenset(given_facts["labels"]),
            given_facts["period"] and Period(*given_facts["period"]),
        ),
        givens,
        TABLE,
    )
    named = [f"{consent[0]}.{number}" for consent, number in decision.rules]
    assert (decision.permit, decision.reason.name, named) == (vector["permit"], vector["reason"], vector["rules"])
    assert (decision.basis is not None) == decision.permit


@given(ASKS, FACTS, GIVENS, DENIES)
@settings(max_examples=50, deadline=None)
def test_adding_a_deny_never_permits_more(ask: Ask, record: Facts, givens: list[Given], deny: Rule) -> None:
    if decide(ask, record, [*givens, Given(b"n" * 16, (deny,))], TABLE).permit:
        assert decide(ask, record, givens, TABLE).permit


@given(ASKS, FACTS, GIVENS, PERMITS)
@settings(max_examples=50, deadline=None)
def test_removing_a_permit_never_permits_more(ask: Ask, record: Facts, givens: list[Given], permit: Rule) -> None:
    if decide(ask, record, givens, TABLE).permit:
        assert decide(ask, record, [*givens, Given(b"n" * 16, (permit,))], TABLE).permit


@given(ASKS, FACTS, GIVENS, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_order_and_the_splitting_of_rules_do_not_matter(ask: Ask, record: Facts, givens: list[Given], rng: Any) -> None:
    before = decide(ask, record, givens, TABLE)
    apart = [each._replace(rules=(rule,)) for each in givens for rule in each.rules]
    rng.shuffle(apart)
    assert decide(ask, record, apart, TABLE) == before
    decider = compile_rules(ask, apart, TABLE)
    assert decider.decide(record) == decider.decide(record) == before


@given(ASKS, FACTS, GIVENS)
@settings(max_examples=50, deadline=None)
def test_what_the_custodian_permits_the_requester_finds_permitted(ask: Ask, record: Facts, givens: list[Given]) -> None:
    opened = [
        each._replace(
            rules=tuple(rule for rule in each.rules if names_requester(rule, ask.requester, ask.requester_kind))
        )
        for each in givens
    ]
    if decide(ask, record, givens, TABLE).permit:
        assert decide_as_requester(ask, record, opened, TABLE).permit


@given(ASKS, FACTS, GIVENS)
@settings(max_examples=50, deadline=None)
def test_consent_permits_only_by_a_permit_that_names_the_asker(ask: Ask, record: Facts, givens: list[Given]) -> None:
    decision = decide(ask, record, givens, TABLE)
    if decision.permit and decision.basis is Basis.CONSENT:
        by_name = {(each.consent, rule.number): rule for each in givens for rule in each.rules}
        assert decision.rules
        assert all(names_requester(by_name[name], ask.requester, ask.requester_kind) for name in decision.rules)


@given(DENIES | PERMITS)
@settings(max_examples=50, deadline=None)
def test_a_rule_comes_back_from_its_one_encoding(rule: Rule) -> None:
    value = decode(encode(rule.to_value()))
    assert encode(Rule.from_value(value).to_value()) == encode(value)


@pytest.mark.parametrize(
    "value",
    [
        [],
        {1: 1, 2: 2},
        {1: 1, 2: 3, 3: {}},
        {1: 0, 2: 2, 3: {}},
        {1: 1, 2: 2, 3: {}, 6: 1},
        {1: 1, 2: 2, 3: {9: ["x"]}},
        {1: 1, 2: 2, 3: {6: []}},
        {1: 1, 2: 2, 3: {6: ["b", "a"]}},
        {1: 1, 2: 2, 3: {6: ["a", "a"]}},
        {1: 1, 2: 2, 3: {6: [1]}},
        {1: 1, 2: 2, 3: {8: {}}},
        {1: 1, 2: 2, 3: {8: {1: 5, 2: 5}}},
        {1: 1, 2: 2, 3: {8: {1: "5"}}},
        {1: 1, 2: 2, 3: {}, 4: "never"},
        {1: 1, 2: 2, 3: {}, 5: []},
        {1: 1, 2: 2, 3: {}, 5: 7},
        {1: 1, 2: 2, 3: {}, 5: [[{}]]},
        {1: 1, 2: 1, 3: {}},
        {1: 1, 2: 1, 3: {1: ["south"]}},
    ],
)
def test_a_rule_of_unknown_or_careless_form_is_refused_whole(value: Any) -> None:
    with pytest.raises(RuleError):
        Rule.from_value(decode(encode(value)))


def test_exceptions_nested_too_deep_are_refused() -> None:
    value: Any = [{}, []]
    for _ in range(4):
        value = [{}, [value]]
    with pytest.raises(RuleError, match="4 deep"):
        Rule.from_value({1: 1, 2: 2, 3: {}, 5: [value]})


def test_two_rules_with_one_number_are_refused() -> None:
    with pytest.raises(RuleError, match="each rule number once"):
        check_numbers((ALL, Rule(1, Effect.DENY)))


def test_withheld_none_and_unknown_look_alike_to_who_asks() -> None:
    """The outward answer is made from what the asker presented: there is no way to hand it anything else."""
    assert list(inspect.signature(outward).parameters) == ["ask", "presented", "jurisdiction"]
    presented = [Given(b"c" * 16, (ALL,))]
    held = [Given(b"c" * 16, (ALL, NO_MENTAL))]
    withheld = decide(CARE, facts("problem", "mental-health"), held, TABLE)
    assert not withheld.permit
    assert outward(CARE, presented, TABLE) is Answer.NOTHING_TO_RELEASE
    assert outward(CARE, held, TABLE) is Answer.NOTHING_TO_RELEASE, "a deny that was shown by mistake changes nothing"
    assert outward(CARE, [Given(b"c" * 16, (ALL, Rule(9, Effect.DENY)))], TABLE) is Answer.NOTHING_TO_RELEASE


def test_the_insurer_is_told_why_it_is_refused_in_terms_of_what_it_presented() -> None:
    insurer = Ask("harbour-mutual", 2, "north", "HPAYMT", "claims-officer", 1_000)
    assert outward(insurer, [], TABLE) is Answer.NO_PERMIT
    assert outward(insurer, [Given(b"c" * 16, (ALL,))], TABLE) is Answer.NO_PERMIT
    assert outward(insurer._replace(purpose="TREAT"), [], TABLE) is Answer.NO_BASIS
    assert all(answer.text for answer in Answer)


def test_the_decision_names_law_and_rules_for_the_auditor() -> None:
    decision = decide(CARE, facts("laboratory"), [Given(b"c" * 16, (ALL, NO_MENTAL))], TABLE)
    assert decision == Decision(
        True, Basis.CONSENT, "commonward-example 1/consent-treatment", Reason.PERMITTED, ((b"c" * 16, 1),)
    )
    assert decode(encode(decision.to_value())) == [1, 1, decision.law, 1, [[b"c" * 16, 1]]]


def test_a_jurisdiction_table_with_a_hole_is_refused() -> None:
    with pytest.raises(TableError, match="entries"):
        JurisdictionTable.parse(b'{"table":"x","version":1,"assurance":{}}')
    entry = '{"law":"x","basis":"consent","purposes":"any","kinds":["hospital"],"roles":"any","classes":"any"}'
    with pytest.raises(TableError):
        JurisdictionTable.parse(f'{{"table":"x","version":1,"assurance":{{}},"entries":[{entry}]}}'.encode())


HISTORY = {
    "patient": facts("demographics", kind="Patient"),
    "ward": facts("encounter", "mental-health", kind="Encounter"),
    "pressure": facts("vital-signs"),
    "report": facts("laboratory", kind="DiagnosticReport"),
    "hiv-test": facts("laboratory", "hiv"),
    "referral": facts("order", kind="ServiceRequest"),
    "visit": facts("encounter", kind="Encounter"),
    "sugar": facts("laboratory"),
    "local": facts("laboratory", classified=False),
    "summary": facts("laboratory", kind="DiagnosticReport"),
}
REFERENCES = {
    "ward": ["patient"],
    "pressure": ["patient", "ward"],
    "report": ["hiv-test"],
    "referral": ["report"],
    "sugar": ["patient", "visit"],
    "summary": ["local", "sugar"],
}


def test_classes_spread_to_who_refers_near_and_far_and_not_back() -> None:
    spread = propagate(HISTORY, REFERENCES)
    assert "mental-health" in spread["pressure"].sensitive
    assert "hiv" in spread["report"].sensitive
    assert "hiv" in spread["referral"].classes
    assert not spread["patient"].sensitive
    assert not spread["sugar"].sensitive
    assert spread["visit"] == HISTORY["visit"]


def test_references_in_a_circle_end() -> None:
    circle = {"a": facts("problem"), "b": facts("problem", "hiv"), "c": facts("problem")}
    spread = propagate(circle, {"a": ["b"], "b": ["c"], "c": ["a"]})
    assert all(each.sensitive == {"hiv"} for each in spread.values())


def test_no_released_record_refers_to_one_that_is_held_back() -> None:
    permit = Rule(3, Effect.PERMIT, Scope(members=SOUTH, purposes=TREAT, classes=frozenset({"hiv"})))
    decider = compile_rules(CARE, [Given(b"c" * 16, (ALL, NO_MENTAL, permit))], TABLE)
    decisions = decide_set(decider, HISTORY, REFERENCES)
    released = {key for key, each in decisions.items() if each.permit}
    assert released == {"patient", "report", "hiv-test", "referral", "visit", "sugar"}
    assert decisions["summary"].reason is Reason.REFERS_TO_WITHHELD
    for key in released:
        assert not any(decisions[target].hidden for target in REFERENCES.get(key, ()))


def test_a_lab_permit_still_gives_labs_whose_encounter_was_never_asked_for() -> None:
    permit = Rule(4, Effect.PERMIT, Scope(members=SOUTH, purposes=TREAT, classes=frozenset({"laboratory"})))
    decisions = decide_set(compile_rules(CARE, [Given(b"c" * 16, (permit,))], TABLE), HISTORY, REFERENCES)
    assert decisions["sugar"].permit
    assert decisions["visit"].reason is Reason.NOTHING_PERMITS


GRAPHS = st.dictionaries(st.integers(0, 6), st.lists(st.integers(0, 6), max_size=3), max_size=7)


@given(ASKS, GIVENS, st.dictionaries(st.integers(0, 6), FACTS, max_size=7), GRAPHS, DENIES)
@settings(max_examples=50, deadline=None)
def test_over_a_history_too_a_deny_never_permits_more(
    ask: Ask, givens: list[Given], history: dict[int, Facts], graph: dict[int, list[int]], deny: Rule
) -> None:
    more = decide_set(compile_rules(ask, [*givens, Given(b"n" * 16, (deny,))], TABLE), history, graph)
    less = decide_set(compile_rules(ask, givens, TABLE), history, graph)
    assert {key for key, each in more.items() if each.permit} <= {key for key, each in less.items() if each.permit}
    for key, each in less.items():
        if each.permit:
            assert not any(less[target].hidden for target in graph.get(key, ()) if target in less)


def test_twins_with_and_without_a_withheld_record_get_the_same_records() -> None:
    decider = compile_rules(CARE, [Given(b"c" * 16, (ALL, NO_MENTAL))], TABLE)
    without = {key: each for key, each in HISTORY.items() if key not in ("ward", "pressure", "local", "summary")}
    released = [key for key, each in decide_set(decider, HISTORY, REFERENCES).items() if each.permit]
    assert released == [key for key, each in decide_set(decider, without, REFERENCES).items() if each.permit]


def test_references_are_joined_by_type_and_id_by_uuid_and_by_url() -> None:
    source = Source("his", "1", "fhir-r4")

    def record(kind: str, ident: str, *references: str) -> Record:
        inner = ",".join(f'{{"reference":"{each}"}}' for each in references)
        return Record.parse(f'{{"resourceType":"{kind}","id":"{ident}","related":[{inner}]}}'.encode(), source)

    records = {
        1: record("Encounter", "e1"),
        2: record("Observation", "o1", "Encounter/e1", "Observation/o1", "Patient/gone"),
        3: record("Observation", "o2", "urn:uuid:e1"),
        4: record("Observation", "o3", "https://his.example/fhir/Encounter/e1/_history/3"),
        5: record("Encounter", "e1"),
    }
    joined = references_within(records)
    assert joined == {1: set(), 2: {1, 5}, 3: {1, 5}, 4: {1, 5}, 5: set()}


def test_everything_but_one_class_gives_all_else_and_does_not_tell_the_requester_what_is_missing() -> None:
    sensitive = default_sensitivity().sensitive

    def rules(*denied: str) -> tuple[Rule, ...]:
        return everything_but(frozenset(denied), members=SOUTH, purposes=TREAT, sensitive=sensitive)

    held = [Given(b"c" * 16, rules("mental-health"))]
    assert decide(CARE, facts("laboratory"), held, TABLE).permit
    assert decide(CARE, facts("laboratory", "hiv"), held, TABLE).permit
    assert decide(CARE, facts("problem", "mental-health"), held, TABLE).reason is Reason.DENIED
    assert decide(CARE._replace(requester="west"), facts("laboratory"), held, TABLE).reason is Reason.NOTHING_PERMITS

    def opened(all_rules: tuple[Rule, ...]) -> list[Rule]:
        return [rule for rule in all_rules if names_requester(rule, "south", 1)]

    assert opened(rules("mental-health")) == opened(rules("hiv")) == opened(rules())
