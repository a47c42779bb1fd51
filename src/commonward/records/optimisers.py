"""Server optimisers: FedAdagrad and FedAdam, as in Reddi et al. 2021 (arXiv:2003.00295, algorithm 2), in fixed steps.

The mean change of a round is taken as a pseudo-gradient. Each line below is one float64 operation over an array, from
+ - * / and the square root, which IEEE 754 rounds correctly: no fused step, no sum over elements, no power or
exponential, whose last bit depends on processor and library. Constants enter as k / 10^9.

    FedAdagrad   m = b1 m + (1 - b1) d      v = v + d d                   change = rate m / (sqrt(v) + tau)
    FedAdam      the same                   v = b2 v + (1 - b2) d d       the same

v begins at tau^2. There is no correction for the first rounds' bias: neither has the paper. FedAdagrad takes b1 = 0 to
be as published; what the study says is what is used.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from commonward.ledger.rounds.words import Rule
from commonward.records.model import (
    ONE,
    STATE_PREFIX,
    WEIGHT_LIMIT,
    DType,
    Floats,
    Integers,
    Model,
    Tensor,
    from_q24,
)
from commonward.records.rule_parameters import BILLION, AggregationError, Parameters

FIRST: Final = STATE_PREFIX + "m/"
SECOND: Final = STATE_PREFIX + "v/"


def constant(billionths: int) -> float:
    """k / 10^9: both are binary64 exactly, and their quotient is the nearest binary64."""
    return float(billionths) / float(BILLION)


def step(
    rule: Rule, parameters: Parameters, base: Model, mean: Mapping[str, Integers]
) -> tuple[dict[str, Integers], list[Tensor]]:
    """The change of each weight (Q24) and the optimiser's new state (f64), from the mean change of a round.

    Raises:
        AggregationError: the base holds a state of another shape, or a change is no number or too far.
    """
    held = {each.name: each for each in base if each.name.startswith(STATE_PREFIX)}
    rate, tau = constant(parameters.learning_rate), constant(parameters.tau)
    beta1, rest1 = constant(parameters.beta1), constant(BILLION - parameters.beta1)
    beta2, rest2 = constant(parameters.beta2), constant(BILLION - parameters.beta2)
    changes: dict[str, Integers] = {}
    state: list[Tensor] = []
    for name, array in mean.items():
        d = from_q24(array)
        m = _state(held, FIRST + name, array.shape, 0.0)
        v = _state(held, SECOND + name, array.shape, tau * tau)
        m = np.add(np.multiply(m, beta1), np.multiply(d, rest1))
        squared = np.multiply(d, d)
        if rule is Rule.FEDADAM:
            v, squared = np.multiply(v, beta2), np.multiply(squared, rest2)
        v = np.add(v, squared)
        moved = np.divide(np.multiply(m, rate), np.add(np.sqrt(v), tau))
        changes[name] = fixed(name, moved)
        state += [Tensor.of(FIRST + name, DType.F64, m), Tensor.of(SECOND + name, DType.F64, v)]
    return changes, state


def fixed(name: str, array: Floats) -> Integers:
    """Back to Q24, rint(x * 2^24). Raises AggregationError for what cannot be a change of a weight."""
    limit = float(WEIGHT_LIMIT)
    if not np.isfinite(array).all() or float(array.max()) > limit or float(array.min()) < -limit:
        raise AggregationError(f"{name}: expected a change of at most 2^28, got NaN, infinity or more: it exploded")
    scaled: Integers = np.rint(np.multiply(array, float(ONE))).astype(np.int64)
    return scaled


def _state(held: Mapping[str, Tensor], name: str, shape: tuple[int, ...], start: float) -> Floats:
    tensor = held.get(name)
    if tensor is None:
        return np.full(shape, start, np.float64)
    if tensor.dtype is not DType.F64 or tensor.shape != shape:
        raise AggregationError(f"expected {name} as f64 {shape}, got {tensor.dtype.value} {tensor.shape}")
    return tensor.floats
