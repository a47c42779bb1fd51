"""The model without one site: near what training without it gives, the same bytes for all, and never nonsense."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from commonward.ledger.rounds.words import Rule
from commonward.records import newton
from commonward.records.aggregation import aggregate
from commonward.records.contributions import Recorded, left_out, pull_of
from commonward.records.model import ONE, Model
from commonward.records.rule_parameters import BILLION, Parameters
from commonward.records.updates import Kind, Update, delta_tensors

STUDY = b"contributions 00"
SITES = ("clinic", "health", "north", "south")
Floats = np.ndarray[Any, Any]


def rows(site: str) -> tuple[Floats, Floats]:
    """Each site has a line of its own, and another number of rows."""
    place = SITES.index(site)
    rng = np.random.default_rng(place)
    x = np.column_stack([rng.normal(0, 1, 20 + 10 * place), np.ones(20 + 10 * place)])
    return x, x @ np.array([1 + 0.5 * place, place - 1.0]) + rng.normal(0, 0.1, len(x))


def change(site: str, line: Floats, steps: int, rate: float = 0.2) -> Floats:
    """So many steps of least squares, from a line."""
    x, y = rows(site)
    at = line.copy()
    for _ in range(steps):
        at -= rate * x.T @ (x @ at - y) / len(y)
    return at - line


def trained(
    sites: Sequence[str], rounds: int, *, rule: Rule = Rule.FEDAVG, steps: int = 5, f: int = 0
) -> tuple[list[Recorded], Model]:
    """What a study of these sites records, and where it ends."""
    base, found = Model.from_floats({"line": np.zeros(2)}), []
    for number in range(1, rounds + 1):
        updates = tuple(
            Update(
                STUDY, number, 1, site, base.digest, Kind.DELTA, len(rows(site)[1]),
                delta_tensors({"line": change(site, base.weights()["line"], steps)}),
            )
            for site in sites
        )  # fmt: skip
        found.append(Recorded(base, updates))
        base = aggregate(rule, Parameters(f=f), base, updates).model
    return found, base


def lines(found: dict[str, Model | str]) -> dict[str, Floats]:
    return {site: made.weights()["line"] for site, made in found.items() if isinstance(made, Model)}


@pytest.mark.parametrize(("rounds", "steps"), [(1, 5), (3, 1), (10, 5), (30, 20)])
def test_the_model_without_a_site_is_near_the_one_that_is_trained_without_it(rounds: int, steps: int) -> None:
    recorded, whole = trained(SITES, rounds, steps=steps)
    found = lines(left_out(SITES, Rule.FEDAVG, Parameters(), rounds, recorded.__getitem__))
    for site in SITES:
        without = trained([each for each in SITES if each != site], rounds, steps=steps)[1].weights()["line"]
        error = np.linalg.norm(found[site] - without)
        assert error < 0.35 * np.linalg.norm(whole.weights()["line"] - without) + 1e-6, (site, error)


def test_after_many_rounds_it_does_not_run_away_as_a_plain_replay_does() -> None:
    recorded, whole = trained(SITES, 40, steps=20)
    found = lines(left_out(SITES, Rule.FEDAVG, Parameters(), 40, recorded.__getitem__))
    ends = [each.base.weights()["line"] for each in recorded]
    plain = ends[0] + sum(
        np.average([each.tensors[0].integers / ONE for each in turn.updates if each.site != "south"], axis=0)
        for turn in recorded
    )
    without = trained(SITES[:3], 40, steps=20)[1].weights()["line"]
    assert np.linalg.norm(plain - without) > 10 * np.linalg.norm(found["south"] - without)
    assert all(np.isfinite(each).all() for each in (*found.values(), whole.weights()["line"]))


def test_a_site_that_was_in_no_round_changes_nothing() -> None:
    recorded, whole = trained(SITES, 4)
    found = left_out(["shield"], Rule.FEDAVG, Parameters(), 4, recorded.__getitem__)
    assert found["shield"] == whole.artefact()


def test_every_member_gets_the_same_bytes_in_whatever_order_its_updates_lie() -> None:
    recorded, _ = trained(SITES, 5)
    turned = [Recorded(each.base, tuple(reversed(each.updates))) for each in recorded]
    one = left_out(SITES, Rule.FEDAVG, Parameters(), 5, recorded.__getitem__)
    assert one == left_out(tuple(reversed(SITES)), Rule.FEDAVG, Parameters(), 5, turned.__getitem__)


def test_where_the_model_moves_little_beside_its_way_the_others_changes_are_taken_as_they_are() -> None:
    slow, _ = trained(SITES, 6, steps=1)
    fast, _ = trained(SITES, 6, steps=200)
    assert 0 < pull_of(6, slow.__getitem__) < ONE // 2 < pull_of(6, fast.__getitem__) <= ONE
    assert pull_of(1, slow.__getitem__) == ONE  # never measured: the one round there is


def test_with_too_few_sites_left_for_the_rule_it_is_not_defined_and_says_so() -> None:
    recorded, _ = trained(SITES[:3], 2, rule=Rule.TRIMMED_MEAN, f=1)
    found = left_out(SITES[:3], Rule.TRIMMED_MEAN, Parameters(f=1), 2, recorded.__getitem__)
    assert all(isinstance(each, str) and "expected at least 3 updates" in each for each in found.values())
    alone, _ = trained(["north"], 1)
    assert isinstance(left_out(["north"], Rule.FEDAVG, Parameters(), 1, alone.__getitem__)["north"], str)


@pytest.mark.parametrize("rule", [Rule.FEDADAM, Rule.FEDADAGRAD, Rule.NORM_CLIP, Rule.MEDIAN])
def test_other_rules_go_the_same_road_and_what_comes_out_has_no_optimisers_state(rule: Rule) -> None:
    recorded, whole = trained(SITES, 5, rule=rule)
    found = left_out(SITES, rule, Parameters(), 5, recorded.__getitem__)
    for made in found.values():
        assert isinstance(made, Model) and [each.name for each in made] == ["line"]
        assert made.digest != whole.digest


def test_newton_leaves_the_site_out_of_the_last_round_which_ends_where_training_without_it_does() -> None:
    parameters, base, recorded = Parameters(ridge=BILLION // 100), Model.from_floats({"coefficients": np.zeros(2)}), []

    def updates_at(base: Model, number: int) -> tuple[Update, ...]:
        made = []
        for site in SITES:
            x, y = rows(site)
            gradient = x.T @ (x @ base.weights()["coefficients"] - y) / len(y)
            tensors = delta_tensors({"gradient": gradient, "hessian": newton.packed(x.T @ x / len(y))})
            made.append(Update(STUDY, number, 1, site, base.digest, Kind.DELTA, len(y), tensors))
        return tuple(made)

    for number in (1, 2, 3):
        recorded.append(Recorded(base, updates_at(base, number)))
        base = aggregate(Rule.NEWTON, parameters, base, recorded[-1].updates).model
    found = left_out(SITES, Rule.NEWTON, parameters, 3, recorded.__getitem__)
    start = recorded[0].base
    for site in SITES:
        made = found[site]
        left = [each for each in recorded[0].updates if each.site != site]
        without = aggregate(Rule.NEWTON, parameters, start, left).model  # of a quadratic one step is the whole way
        assert isinstance(made, Model)
        np.testing.assert_allclose(made.weights()["coefficients"], without.weights()["coefficients"], atol=1e-4)


def test_an_update_at_the_edge_of_what_is_allowed_overflows_nothing() -> None:
    recorded, _ = trained(SITES, 2)
    edge = delta_tensors({"line": np.array([256.0, -256.0])})
    far = [
        Recorded(each.base, tuple(Update(STUDY, each.updates[0].round, 1, update.site, each.base.digest, Kind.DELTA,
                                         update.rows, edge) for update in each.updates))
        for each in recorded
    ]  # fmt: skip
    found = lines(left_out(SITES, Rule.FEDAVG, Parameters(), 2, far.__getitem__))
    assert all(np.abs(each).max() <= 1024 for each in found.values())
    assert all(before.base.digest != after.base.digest for before, after in pairwise(far))
