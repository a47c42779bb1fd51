"""Federated Newton for ridge logistic regression: few rounds, and the same optimum as on pooled rows.

Each site sends the means over its rows of gradient and Hessian, as a delta weighted by its rows, so that their mean
over sites is that of all rows together. The Hessian travels as its lower triangle, row by row. The step solves

    (H + ridge) s = g + ridge w          w becomes w - rate s

by LDL^T in a fixed order, column by column: one float64 multiplication, subtraction or division of an array at a time,
and no sum over elements, so no library may reorder it. Clamped features keep g and H within the 256 of a delta; a
study standardises and clamps (`standardise`).
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from commonward.records.model import DType, Floats, Integers, Model, Shapes, from_q24
from commonward.records.optimisers import constant, fixed
from commonward.records.rule_parameters import AggregationError, Parameters

COEFFICIENTS: Final = "coefficients"
GRADIENT: Final = "gradient"
HESSIAN: Final = "hessian"
MAX_COEFFICIENTS: Final = 1024


def expected_shapes(base: Model) -> Shapes:
    """gradient (p,) and hessian (p (p + 1) / 2,) for a base whose one weight tensor is coefficients (p,)."""
    weights = [each for each in base if each.dtype is DType.Q24]
    if len(weights) != 1 or weights[0].name != COEFFICIENTS or len(weights[0].shape) != 1:
        got = ", ".join(f"{each.name} {each.shape}" for each in weights[:5]) or "none"
        raise AggregationError(f"expected a base with one vector of {COEFFICIENTS!r}, got {got}")
    p = weights[0].size
    if p > MAX_COEFFICIENTS:
        raise AggregationError(f"expected at most {MAX_COEFFICIENTS} coefficients for Newton, got {p}")
    return {GRADIENT: (p,), HESSIAN: (p * (p + 1) // 2,)}


def packed(hessian: Floats) -> Floats:
    """The lower triangle of a (p, p) matrix, row by row: what a site sends."""
    lower: Floats = hessian[np.tril_indices(hessian.shape[0])]
    return lower


def step(parameters: Parameters, base: Model, mean: Mapping[str, Integers]) -> dict[str, Integers]:
    """The change of the coefficients (Q24).

    Raises:
        AggregationError: the penalised Hessian is not positive definite (a site sent no Hessian, or the ridge is too
            small for columns that repeat each other), or the step is too far.
    """
    w = base[COEFFICIENTS].floats
    p = w.size
    matrix = np.zeros((p, p), np.float64)
    matrix[np.tril_indices(p)] = from_q24(mean[HESSIAN])
    penalty = np.full(p, constant(parameters.ridge), np.float64)
    if parameters.intercept:
        penalty[-1] = 0.0
    diagonal = np.arange(p)
    matrix[diagonal, diagonal] = np.add(matrix[diagonal, diagonal], penalty)
    right = np.add(from_q24(mean[GRADIENT]), np.multiply(penalty, w))
    solved = solve(matrix, right)
    return {COEFFICIENTS: fixed(COEFFICIENTS, np.multiply(solved, -constant(parameters.learning_rate)))}


def solve(lower: Floats, right: Floats) -> Floats:
    """x with A x = b, A symmetric positive definite and given by its lower triangle (p, p); b is (p,).

    A = L D L^T by columns (right-looking): column j is divided by its pivot, then its outer product leaves the rest.

    Raises:
        AggregationError: a pivot is not above zero.
    """
    a, x = lower.copy(), right.copy()
    p = x.size
    for j in range(p):
        pivot = float(a[j, j])
        if not pivot > 0.0:
            raise AggregationError(f"expected a positive definite Hessian, got the pivot {pivot!r} in column {j}")
        below = a[j + 1 :, j].copy()
        a[j + 1 :, j] = np.divide(below, pivot)
        rest = a[j + 1 :, j + 1 :]
        np.subtract(rest, np.multiply(a[j + 1 :, j : j + 1], below.reshape(1, -1)), out=rest)
    for j in range(p):  # L z = b
        x[j + 1 :] = np.subtract(x[j + 1 :], np.multiply(a[j + 1 :, j], float(x[j])))
    x = np.divide(x, a[np.arange(p), np.arange(p)])
    for j in range(p - 1, -1, -1):  # L^T x = z
        x[:j] = np.subtract(x[:j], np.multiply(a[j, :j], float(x[j])))
    return x
