"""Server optimisers and Newton's step against plain float64 written as the papers have it."""

from typing import Any

import numpy as np
import pytest

from commonward.ledger.rounds.words import Rule
from commonward.records import newton
from commonward.records.aggregation import AggregationError, Parameters, aggregate, expected_shapes
from commonward.records.model import ONE, DType, Model, Tensor
from commonward.records.updates import Kind, Update, delta_tensors

STUDY = b"s" * 16
Array = np.ndarray[Any, Any]


def _round(base: Model, rule: Rule, parameters: Parameters, parts: list[tuple[int, dict[str, Array]]]) -> Model:
    updates = [
        Update(STUDY, 1, 1, f"site-{at}", base.digest, Kind.DELTA, rows, delta_tensors(changes))
        for at, (rows, changes) in enumerate(parts)
    ]
    return aggregate(rule, parameters, base, updates).model


@pytest.mark.parametrize("rule", [Rule.FEDADAM, Rule.FEDADAGRAD])
def test_thirty_rounds_follow_reddi_et_al(rule: Rule) -> None:
    rng = np.random.default_rng(7)
    model = Model.from_floats({"w": rng.normal(size=40)})
    x, m, v = model.weights()["w"], np.zeros(40), np.full(40, 1e-3**2)
    given = Parameters(learning_rate=10_000_000, tau=1_000_000)
    for _ in range(30):
        changes = [(int(rng.integers(10, 90)), rng.normal(0.01, 0.05, 40)) for _ in range(4)]
        model = _round(model, rule, given, [(rows, {"w": each}) for rows, each in changes])
        d = np.average([each for _, each in changes], axis=0, weights=[rows for rows, _ in changes])
        m = 0.9 * m + 0.1 * d
        v = 0.99 * v + 0.01 * d**2 if rule is Rule.FEDADAM else v + d**2
        x = x + 0.01 * m / (np.sqrt(v) + 1e-3)
    assert np.abs(model["w"].floats - x).max() < 1e-5
    assert np.allclose(model["optimiser/v/w"].floats, v, rtol=1e-3)


def test_a_second_moment_below_the_grain_of_q24_still_counts() -> None:
    model = Model.from_floats({"w": np.zeros(1)})
    given = Parameters(tau=1_000)  # 10^-6
    model = _round(model, Rule.FEDADAM, given, [(1, {"w": np.array([1e-5])})])
    assert 0 < model["optimiser/v/w"].floats[0] < 1 / ONE


def test_a_state_of_another_shape_is_refused() -> None:
    base = Model.of([*Model.from_floats({"w": np.zeros(3)}), Tensor.of("optimiser/m/w", DType.F64, np.zeros(2))])
    with pytest.raises(AggregationError, match="optimiser/m/w as f64"):
        _round(base, Rule.FEDADAM, Parameters(), [(1, {"w": np.ones(3)})])


def test_a_step_that_explodes_is_refused() -> None:
    base = Model.from_floats({"w": np.zeros(1)})
    first = Tensor.of("optimiser/m/w", DType.F64, np.array([1e30]))
    second = Tensor.of("optimiser/v/w", DType.F64, np.array([0.0]))
    with pytest.raises(AggregationError, match="exploded"):
        _round(Model.of([*base, first, second]), Rule.FEDADAM, Parameters(), [(1, {"w": np.zeros(1)})])


# -------------------------------------------------------------------------------------------------------------- Newton


def _logistic(x: Array, y: Array, w: Array) -> tuple[Array, Array]:
    """Means over rows of gradient and Hessian of the log-loss."""
    p = 1 / (1 + np.exp(-(x @ w)))
    return x.T @ (p - y) / len(y), (x * (p * (1 - p))[:, None]).T @ x / len(y)


def _sites(seed: int = 5, columns: int = 8) -> list[tuple[Array, Array]]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=columns + 1)
    made = []
    for rows, shift in ((60, -0.5), (140, 0.0), (35, 0.8), (90, 0.3)):
        x = np.hstack([rng.normal(shift, 1, (rows, columns)), np.ones((rows, 1))])
        made.append((x, (rng.random(rows) < 1 / (1 + np.exp(-(x @ truth)))).astype(float)))
    return made


def test_newton_over_four_sites_finds_the_pooled_optimum() -> None:
    sites, ridge = _sites(), 0.01
    model = Model.from_floats({"coefficients": np.zeros(9)})
    given = Parameters(ridge=10_000_000)
    for _ in range(8):
        w = model.weights()["coefficients"]
        parts = []
        for x, y in sites:
            gradient, hessian = _logistic(x, y, w)
            parts.append((len(y), {"gradient": gradient, "hessian": newton.packed(hessian)}))
        model = _round(model, Rule.NEWTON, given, parts)
    x, y = np.vstack([x for x, _ in sites]), np.concatenate([y for _, y in sites])
    pooled, penalty = np.zeros(9), np.diag([ridge] * 8 + [0.0])
    for _ in range(30):
        gradient, hessian = _logistic(x, y, pooled)
        pooled -= np.linalg.solve(hessian + penalty, gradient + penalty @ pooled)
    assert np.abs(model["coefficients"].floats - pooled).max() < 1e-5


def test_ldl_solves_what_numpy_solves() -> None:
    rng = np.random.default_rng(2)
    for size in (1, 2, 5, 40):
        root = rng.normal(size=(size, size))
        matrix, right = root @ root.T + np.eye(size), rng.normal(size=size)
        assert np.allclose(newton.solve(np.tril(matrix), right), np.linalg.solve(matrix, right))


@pytest.mark.parametrize("matrix", [np.zeros((2, 2)), -np.eye(2), np.array([[1.0, 0], [1.0, 1.0]])])
def test_a_hessian_that_is_not_positive_definite_is_refused(matrix: Array) -> None:
    with pytest.raises(AggregationError, match="positive definite"):
        newton.solve(matrix, np.ones(2))


def test_a_site_that_sends_a_false_hessian_cannot_make_the_round_produce_nonsense() -> None:
    model = Model.from_floats({"coefficients": np.zeros(3)})
    false = {"gradient": np.full(3, 1.0), "hessian": np.full(6, -1.0)}
    with pytest.raises(AggregationError, match="positive definite"):
        _round(model, Rule.NEWTON, Parameters(), [(100, false)])


def test_newton_takes_one_vector_of_coefficients() -> None:
    assert expected_shapes(Rule.NEWTON, Parameters(), Model.from_floats({"coefficients": np.zeros(4)})) == {
        "gradient": (4,),
        "hessian": (10,),
    }
    for shapes in (
        {"w": (4,)},
        {"coefficients": (2, 2)},
        {"coefficients": (3,), "more": (1,)},
        {"coefficients": (1025,)},
    ):
        with pytest.raises(AggregationError, match="coefficients"):
            expected_shapes(Rule.NEWTON, Parameters(), Model.from_floats({n: np.zeros(s) for n, s in shapes.items()}))
