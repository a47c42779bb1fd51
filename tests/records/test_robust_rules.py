"""What one false site of five can do under each robust rule, and how many true ones each rule needs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from commonward.ledger.rounds.words import Mode, Rule, least_sites
from commonward.records.aggregation import AggregationError, Parameters, aggregate
from commonward.records.exact import divide, divide_one, median_of, sum_of_squares
from commonward.records.model import ONE, DType, Model, Tensor
from commonward.records.updates import Kind, Update

STUDY = b"s" * 16
SIZE = 50
BASE = Model.from_floats({"w": np.zeros(SIZE)})


def _update(site: str, change: np.ndarray[Any, Any], rows: int = 100) -> Update:
    tensor = Tensor.of("w", DType.Q24, np.rint(change * ONE).astype(np.int64))
    return Update(STUDY, 1, 1, site, BASE.digest, Kind.DELTA, rows, (tensor,))


def _honest(count: int, seed: int = 3) -> tuple[np.ndarray[Any, Any], list[np.ndarray[Any, Any]]]:
    rng = np.random.default_rng(seed)
    aim = rng.normal(0, 0.1, SIZE)
    return aim, [aim + rng.normal(0, 0.01, SIZE) for _ in range(count)]


def _made(rule: Rule, updates: Sequence[Update], f: int = 0) -> np.ndarray[Any, Any]:
    return aggregate(rule, Parameters(f=f), BASE, updates).model["w"].floats


LIES: dict[str, Any] = {
    "garbage": lambda aim: np.random.default_rng(9).uniform(-250, 250, SIZE),
    "a hundred times too long": lambda aim: np.clip(aim * 100, -250, 250),
    "with its sign turned": lambda aim: -10 * aim,
    "nothing at all": lambda aim: 0 * aim,
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("rule", [Rule.TRIMMED_MEAN, Rule.MEDIAN, Rule.KRUM, Rule.MULTI_KRUM])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_one_liar_of_five_cannot_move_a_weight_beyond_the_honest(rule: Rule, lie: str, place: int) -> None:
    aim, honest = _honest(4)
    changes = [*honest[:place], LIES[lie](aim), *honest[place:]]
    updates = [_update(f"site-{at}", each, 1 if at != place else 1 << 29) for at, each in enumerate(changes)]
    made = _made(rule, updates, f=1)
    assert (made >= np.min(honest, axis=0) - 1 / ONE).all()
    assert (made <= np.max(honest, axis=0) + 1 / ONE).all()


@pytest.mark.parametrize("lie", LIES)
def test_norm_clip_bounds_how_far_a_liar_can_pull(lie: str) -> None:
    aim, honest = _honest(4)
    updates = [_update(f"site-{at}", each) for at, each in enumerate([*honest, LIES[lie](aim)])]
    updates[4] = _update("site-4", LIES[lie](aim), 1_000_000)  # and claims ten thousand times the rows
    made = _made(Rule.NORM_CLIP, updates)
    longest = max(np.linalg.norm(each) for each in honest)
    # Its weight is at most twice the median's, 200 of 600; its length at most the median's.
    assert np.linalg.norm(made - np.mean(honest, axis=0)) <= 200 / 600 * 2 * longest + 0.01
    plain = aggregate(Rule.FEDAVG, Parameters(), BASE, updates).model["w"].floats
    if lie in ("garbage", "a hundred times too long"):
        assert np.linalg.norm(made - aim) < np.linalg.norm(plain - aim) / 10


def test_norm_clip_caps_rows_at_twice_the_median() -> None:
    _, honest = _honest(5)
    updates = [
        _update(f"site-{at}", each, rows)
        for at, (each, rows) in enumerate(zip(honest, (10, 20, 30, 60, 90), strict=True))
    ]
    made = aggregate(Rule.NORM_CLIP, Parameters(clip=16_000_000_000), BASE, updates)
    assert [weight for _, weight in made.weights] == [10, 20, 30, 60, 60]
    wanted = np.average(honest, axis=0, weights=[10, 20, 30, 60, 60])
    assert np.abs(made.model["w"].floats - wanted).max() <= 1.5 / ONE


def test_norm_clip_shortens_to_the_median_length_and_keeps_the_direction() -> None:
    direction = np.ones(SIZE) / 10
    updates = [_update("a", direction), _update("b", direction), _update("c", 50 * direction)]
    assert np.abs(_made(Rule.NORM_CLIP, updates) - direction).max() <= 2 / ONE


def test_norm_clip_of_nothing_is_nothing() -> None:
    updates = [_update("a", np.zeros(SIZE)), _update("b", np.zeros(SIZE)), _update("c", np.ones(SIZE))]
    assert (_made(Rule.NORM_CLIP, updates) == 0).all()  # most sites stand still: so does the model


def test_trimmed_mean_and_median_are_what_they_are_called() -> None:
    _, honest = _honest(6)
    updates = [_update(f"site-{at}", each, 10 + at) for at, each in enumerate(honest)]
    ordered = np.sort(honest, axis=0)
    assert np.abs(_made(Rule.TRIMMED_MEAN, updates, f=2) - ordered[2:4].mean(axis=0)).max() <= 1.5 / ONE
    assert np.abs(_made(Rule.TRIMMED_MEAN, updates, f=1) - ordered[1:5].mean(axis=0)).max() <= 1.5 / ONE
    assert np.abs(_made(Rule.MEDIAN, updates, f=1) - np.median(honest, axis=0)).max() <= 1.5 / ONE
    assert np.abs(_made(Rule.MEDIAN, updates[:5], f=1) - np.median(honest[:5], axis=0)).max() <= 1.5 / ONE


def test_krum_chooses_whom_a_plain_reference_chooses() -> None:
    for seed in range(8):
        _, changes = _honest(7, seed)
        changes[seed % 7] = changes[seed % 7] + 3
        flat = np.stack(changes)
        apart = ((flat[:, None] - flat[None]) ** 2).sum(-1)
        scores = [np.sort(np.delete(apart[at], at))[: 7 - 2 - 2].sum() for at in range(7)]
        order = np.argsort(scores, kind="stable")
        updates = [_update(f"site-{at}", each) for at, each in enumerate(changes)]
        one = aggregate(Rule.KRUM, Parameters(f=2), BASE, updates)
        assert [weight for _, weight in one.weights].index(1) == order[0]
        many = aggregate(Rule.MULTI_KRUM, Parameters(f=2, select=5), BASE, updates)
        assert {at for at, (_, weight) in enumerate(many.weights) if weight} == set(order[:5].tolist())
        assert seed % 7 not in order[:5]


def test_among_equals_krum_takes_the_site_whose_name_comes_first() -> None:
    updates = [_update(name, np.ones(SIZE)) for name in ("west", "east", "south", "north", "mid")]
    made = aggregate(Rule.KRUM, Parameters(f=1), BASE, updates)
    assert [site for site, weight in made.weights if weight] == ["east"]


@pytest.mark.parametrize(
    ("rule", "f", "least"),
    [(Rule.KRUM, 1, 5), (Rule.MULTI_KRUM, 2, 7), (Rule.MEDIAN, 2, 5), (Rule.TRIMMED_MEAN, 1, 3), (Rule.KRUM, 0, 3)],
)
def test_a_robust_rule_refuses_fewer_sites_than_its_f_needs(rule: Rule, f: int, least: int) -> None:
    assert least_sites(Mode.OPEN, rule, f) == least
    updates = [_update(f"site-{at}", each) for at, each in enumerate(_honest(least)[1])]
    aggregate(rule, Parameters(f=f), BASE, updates)
    with pytest.raises(AggregationError, match=f"at least {least} updates for {rule.name} with f = {f}"):
        aggregate(rule, Parameters(f=f), BASE, updates[:-1])


def test_multikrum_never_selects_so_many_that_a_liar_is_among_them() -> None:
    updates = [_update(f"site-{at}", each) for at, each in enumerate(_honest(5)[1])]
    with pytest.raises(AggregationError, match="at most 4"):
        aggregate(Rule.MULTI_KRUM, Parameters(f=1, select=5), BASE, updates)


# ----------------------------------------------------------------------------------------------------- exact arithmetic


def test_squares_are_summed_exactly_at_the_bounds() -> None:
    values = np.array([1 << 33, -(1 << 33), (1 << 33) - 1, 0, 1, -1, 65_535, 65_536], np.int64)
    array = np.tile(values, 9_000)  # more than a piece
    assert sum_of_squares(array) == 9_000 * sum(int(each) ** 2 for each in values)


def test_division_rounds_to_the_nearest_and_halves_upwards() -> None:
    for count in (1, 2, 3, 4, (1 << 30) - 1):
        furthest = count << 32
        sums = [-7, -6, -5, -3, -2, -1, 0, 1, 2, 3, 5, 6, 7, furthest, -furthest, furthest - 1, 1 - furthest]
        wanted = [divide_one(each, count) for each in sums]
        assert divide(np.array(sums, np.int64), count).tolist() == wanted
        assert all(abs(each * count - total) * 2 <= count for each, total in zip(wanted, sums, strict=True))
    assert divide(np.array([-1, 1, -3, 3], np.int64), 2).tolist() == [0, 1, -1, 2]
    assert median_of([5, 1]) == 3
    assert median_of([2, 1]) == 2
    assert median_of([9, 1, 4]) == 4
