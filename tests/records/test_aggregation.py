"""A round's updates make one model, the same for everyone; a false update is named and left out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.ledger.rounds.words import Rule
from commonward.records.aggregation import (
    AggregationError,
    Expected,
    Fault,
    Parameters,
    Total,
    aggregate,
    aggregate_received,
    finish,
    total_of,
)
from commonward.records.model import EMPTY_MODEL, ONE, DType, Model, Tensor
from commonward.records.updates import Kind, Update, delta_tensors, sum_tensors

STUDY = b"s" * 16
SHAPES = {"head/weight": (4, 3), "bias": (4,)}
SITES = ("east", "north", "south", "west", "zenith")
ROUNDING = 1 / ONE
MEANS = [rule for rule in Rule if rule not in (Rule.SUM, Rule.NEWTON)]


def _arrays(rng: np.random.Generator, spread: float) -> dict[str, np.ndarray[Any, Any]]:
    return {name: rng.normal(0, spread, shape) for name, shape in SHAPES.items()}


def _base() -> Model:
    return Model.from_floats(_arrays(np.random.default_rng(0), 1.0))


def _updates(seed: int = 1, sites: Sequence[str] = SITES) -> list[Update]:
    rng, base = np.random.default_rng(seed), _base().digest
    return [
        Update(STUDY, 4, 2, site, base, Kind.DELTA, int(rng.integers(20, 500)), delta_tensors(_arrays(rng, 0.1)))
        for site in sites
    ]


def _expected(updates: Sequence[Update]) -> Expected:
    return Expected(STUDY, 4, 2, _base().digest, {each.site: each.rows for each in updates})


def _received(updates: Sequence[Update]) -> dict[str, bytes]:
    return {each.site: each.to_bytes() for each in updates}


def _stack(updates: Sequence[Update], name: str) -> np.ndarray[Any, Any]:
    return np.stack([next(t for t in each.tensors if t.name == name).floats for each in updates])


def test_fedavg_is_the_mean_of_the_changes_by_rows() -> None:
    updates = _updates()
    made = aggregate(Rule.FEDAVG, Parameters(), _base(), updates)
    for name, start in _base().weights().items():
        wanted = start + np.average(_stack(updates, name), axis=0, weights=[each.rows for each in updates])
        assert np.abs(made.model[name].floats - wanted).max() <= ROUNDING
    assert made.weights == tuple((each.site, each.rows) for each in updates)


def test_one_site_alone_gets_its_own_model_to_the_last_bit() -> None:
    (update,) = _updates(sites=["north"])
    made = aggregate(Rule.FEDAVG, Parameters(), _base(), [update]).model
    for tensor in update.tensors:
        assert (made[tensor.name].integers == _base()[tensor.name].integers + tensor.integers).all()


@pytest.mark.parametrize("rule", MEANS)
@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(5)), seed=st.integers(0, 1000))
def test_the_order_in_which_updates_arrive_does_not_matter(rule: Rule, order: list[int], seed: int) -> None:
    updates = _updates(seed)
    given_order = aggregate(rule, Parameters(f=1), _base(), updates)
    assert aggregate(rule, Parameters(f=1), _base(), [updates[at] for at in order]) == given_order


def test_two_rounds_continue_from_each_other() -> None:
    first = aggregate(Rule.FEDADAM, Parameters(), _base(), _updates()).model
    second = [replace(each, round=5, base=first.digest) for each in _updates(2)]
    made = aggregate(Rule.FEDADAM, Parameters(), first, second).model
    assert made.state_digest != first.state_digest
    forgotten = aggregate(Rule.FEDADAM, Parameters(), first.artefact(), second).model
    assert forgotten.digest != made.digest  # the state matters, though the base's digest leaves it out


def test_more_rows_than_fit_are_refused() -> None:
    huge = [replace(each, rows=(1 << 30) - 5) for each in _updates(sites=["north", "south"])]
    with pytest.raises(AggregationError, match="2\\^30 rows"):
        aggregate(Rule.FEDAVG, Parameters(), _base(), huge)


def test_a_model_that_explodes_over_many_rounds_is_refused() -> None:
    base = Model.from_floats({"w": np.array([2.0**28 - 1])})
    update = Update(STUDY, 1, 1, "north", base.digest, Kind.DELTA, 1, delta_tensors({"w": np.array([200.0])}))
    with pytest.raises(AggregationError, match="exploded"):
        aggregate(Rule.FEDAVG, Parameters(), base, [update])


def test_sums_add_up_and_have_no_base_of_weights() -> None:
    parts = [sum_tensors({"confusion": np.array([[at, 1], [2, -at]])}) for at in range(3)]
    updates = [
        Update(STUDY, 1, 1, site, EMPTY_MODEL.digest, Kind.SUM, 1, tensors)
        for site, tensors in zip(SITES, parts, strict=False)
    ]
    declared = Parameters(sums={"confusion": (2, 2)})
    made = aggregate(Rule.SUM, declared, EMPTY_MODEL, updates).model
    assert made["confusion"].integers.tolist() == [[3, 3], [6, -3]]
    with pytest.raises(AggregationError, match="declares"):
        aggregate(Rule.SUM, Parameters(), EMPTY_MODEL, updates)


def test_sums_that_could_pass_2_to_the_62_are_refused() -> None:
    tensors = sum_tensors({"n": np.array([(1 << 61) + 1])})
    updates = [Update(STUDY, 1, 1, site, EMPTY_MODEL.digest, Kind.SUM, 1, tensors) for site in SITES[:2]]
    with pytest.raises(AggregationError, match="2\\^62"):
        aggregate(Rule.SUM, Parameters(sums={"n": (1,)}), EMPTY_MODEL, updates)


# ------------------------------------------------------------------------------------------------- false and replayed


FALSE: dict[str, tuple[dict[str, Any], Fault]] = {
    "of another study": ({"study": b"t" * 16}, Fault.ANOTHER_PLACE),
    "replayed from another round": ({"round": 3}, Fault.ANOTHER_PLACE),
    "replayed from another attempt": ({"attempt": 1}, Fault.ANOTHER_PLACE),
    "swapped with another site's": ({"site": "north"}, Fault.ANOTHER_PLACE),
    "trained from another model": ({"base": bytes(32)}, Fault.ANOTHER_BASE),
    "with inflated rows": ({"rows": 10_000}, Fault.ROWS_NOT_PROVEN),
    "a sum": ({"kind": Kind.SUM, "rows": 1, "tensors": sum_tensors({"n": np.array([1])})}, Fault.ANOTHER_KIND),
    "of one tensor too few": ({"tensors": delta_tensors({"bias": np.zeros(4)})}, Fault.ANOTHER_SHAPE),
    "of one too many": (
        {"tensors": delta_tensors({"bias": np.zeros(4), "head/weight": np.zeros((4, 3)), "more": np.zeros(1)})},
        Fault.ANOTHER_SHAPE,
    ),
    "of another shape": (
        {"tensors": delta_tensors({"bias": np.zeros(4), "head/weight": np.zeros((3, 4))})},
        Fault.ANOTHER_SHAPE,
    ),
}


@pytest.mark.parametrize("name", FALSE)
def test_a_false_update_is_left_out_by_name_and_the_others_count(name: str) -> None:
    changed, fault = FALSE[name]
    updates = _updates()
    received = _received(updates)
    received["west"] = replace(updates[3], **changed).to_bytes()
    made = aggregate_received(Rule.FEDAVG, Parameters(), _base(), _expected(updates), received)
    assert [(each.site, each.fault) for each in made.exclusions] == [("west", fault)]
    assert made.model == aggregate(Rule.FEDAVG, Parameters(), _base(), [*updates[:3], updates[4]]).model


@pytest.mark.parametrize("garbage", [b"", b"\x80\x05N.", b"PK\x03\x04", bytes(64), b"\xff" * 64], ids=repr)
def test_garbage_is_left_out_and_the_others_count(garbage: bytes) -> None:
    updates = _updates()
    made = aggregate_received(
        Rule.FEDAVG, Parameters(), _base(), _expected(updates), _received(updates) | {"east": garbage}
    )
    assert [(each.site, each.fault) for each in made.exclusions] == [("east", Fault.NOT_AN_UPDATE)]
    assert made.model == aggregate(Rule.FEDAVG, Parameters(), _base(), updates[1:]).model


def test_an_exploding_update_is_left_out() -> None:
    updates = _updates()
    good = next(each for each in updates[2].tensors if each.name == "bias").data
    received = _received(updates)
    received["south"] = received["south"].replace(good, (1 << 33).to_bytes(8, "little") * 4)
    made = aggregate_received(Rule.FEDAVG, Parameters(), _base(), _expected(updates), received)
    assert [(each.site, each.fault) for each in made.exclusions] == [("south", Fault.NOT_AN_UPDATE)]
    assert "exploded" in made.exclusions[0].reason


def test_bytes_that_are_missing_void_the_attempt_because_another_member_may_have_them() -> None:
    updates = _updates()
    received = _received(updates)
    del received["south"]
    with pytest.raises(AggregationError, match="none of south"):
        aggregate_received(Rule.FEDAVG, Parameters(), _base(), _expected(updates), received)


def test_bytes_of_a_site_that_is_not_of_the_set_play_no_part() -> None:
    updates = _updates()
    received = _received(updates) | {"intruder": replace(updates[0], site="intruder").to_bytes()}
    made = aggregate_received(Rule.FEDAVG, Parameters(), _base(), _expected(updates), received)
    assert made == aggregate(Rule.FEDAVG, Parameters(), _base(), updates)


def test_updates_that_were_not_judged_are_held_against_each_other() -> None:
    updates = _updates()
    for changed in ({"round": 9}, {"base": bytes(32)}, {"tensors": delta_tensors({"bias": np.zeros(4)})}):
        with pytest.raises(AggregationError):
            aggregate(Rule.FEDAVG, Parameters(), _base(), [*updates[:4], replace(updates[4], **changed)])
    with pytest.raises(AggregationError, match="one update of each site"):
        aggregate(Rule.FEDAVG, Parameters(), _base(), [*updates, updates[0]])
    with pytest.raises(AggregationError, match="at least 1"):
        aggregate(Rule.FEDAVG, Parameters(), _base(), [])


# ------------------------------------------------------------------------------------------------------ from the total


@pytest.mark.parametrize("rule", [Rule.FEDAVG, Rule.FEDADAM, Rule.FEDADAGRAD])
def test_a_total_ends_in_the_same_bytes_as_the_updates(rule: Rule) -> None:
    updates = _updates()
    assert (
        finish(rule, Parameters(), _base(), total_of(updates)) == aggregate(rule, Parameters(), _base(), updates).model
    )


@pytest.mark.parametrize("rule", [Rule.NORM_CLIP, Rule.TRIMMED_MEAN, Rule.MEDIAN, Rule.KRUM, Rule.MULTI_KRUM])
def test_a_rule_that_needs_every_update_has_no_outcome_from_a_sum(rule: Rule) -> None:
    with pytest.raises(AggregationError, match="every site's update"):
        finish(rule, Parameters(), _base(), total_of(_updates()))


def test_a_total_that_no_true_updates_have_is_refused() -> None:
    total = total_of(_updates())
    huge = {**total.sums, "bias": total.sums["bias"] + total.rows * (257 << 24)}
    for false in (Total(total.sums, 0), Total(total.sums, -3), Total(total.sums, 1 << 30), Total(huge, total.rows)):
        with pytest.raises(AggregationError, match="is false"):
            finish(Rule.FEDAVG, Parameters(), _base(), false)
    with pytest.raises(AggregationError, match="tensors of the study"):
        finish(Rule.FEDAVG, Parameters(), _base(), Total({"bias": total.sums["bias"]}, total.rows))


# ---------------------------------------------------------------------------------------------------------- parameters


def test_parameters_come_back_from_their_bytes() -> None:
    for given_values in (
        Parameters(),
        Parameters(
            f=2, learning_rate=5, beta1=0, ridge=0, intercept=False, clip=7, select=3, sums={"b": (2, 2), "a": ()}
        ),
    ):
        assert Parameters.parse(given_values.to_bytes()) == given_values


@pytest.mark.parametrize(
    "bad",
    [
        {"f": -1},
        {"learning_rate": 0},
        {"beta1": 10**9},
        {"beta2": -1},
        {"tau": 0},
        {"clip": 0},
        {"sums": {"a": (1 << 25,)}},
    ],
    ids=str,
)
def test_parameters_out_of_bounds_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(AggregationError):
        Parameters(**bad)


@pytest.mark.parametrize("data", [b"", b"\xa0", b"\x80", Parameters().to_bytes()[:-1], Parameters().to_bytes() + b"\0"])
def test_bytes_that_are_no_parameters_are_refused(data: bytes) -> None:
    with pytest.raises(AggregationError):
        Parameters.parse(data)


def test_tensors_that_are_no_weights_are_not_trained() -> None:
    base = Model.of([*_base(), Tensor.of("seen", DType.I64, np.array([3]))])
    updates = [replace(each, base=base.digest) for each in _updates()]
    assert aggregate(Rule.FEDAVG, Parameters(), base, updates).model["seen"].integers.tolist() == [3]
