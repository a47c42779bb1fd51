"""The table of a finished logistic regression: odds ratios with intervals, from coefficients and counts of all sites.

At the final model each site adds up, over its training rows, the second derivatives of the log-loss (the information),
the first ones (the score), the loss, and how many rows each coefficient has. Their sum over sites is what one hospital
with all the rows would have, so the intervals are those of the pooled regression: nothing is approximated by sites.

With a ridge the covariance is that of the penalised estimate, A^-1 H A^-1 with A = H + n ridge: it says how far the
estimate scatters, not how far the ridge pulls it towards 0. Numbers leave as text of six digits, the same at any site.
"""

from collections.abc import Mapping
from math import erfc, exp, sqrt
from typing import Any, Final

import numpy as np

from commonward.records.model import ONE, Floats, Integers
from commonward.records.newton import packed
from commonward.records.regression import Measured, Regression, RegressionError

__all__ = ["INFORMATION", "LEARNT", "LEVELS", "LOSS", "SCORE", "counts", "regression_table"]

INFORMATION: Final = "information"
"""(p (p + 1) / 2,): the lower triangle of the sum of second derivatives, Q24."""
SCORE: Final = "score"
"""(p,): the sum of first derivatives, Q24."""
LOSS: Final = "loss"
"""(1,): the sum of the log-loss, Q24."""
LEARNT: Final = "learnt"
"""(2,): training rows, and how many of them have the outcome."""
LEVELS: Final = "levels"
"""(p,): rows whose feature is not 0: of a category, how many are in it."""

_Z: Final = 1.959963984540054
_MANY: Final = 700.0
_CONVERGED: Final = 1e-5


def counts(x: Floats, y: Floats, w: Floats) -> dict[str, Integers]:
    """One site's part, from features (n, p), outcomes (n,) and the model's coefficients (p,)."""
    logits = x @ w
    small = np.exp(-np.abs(logits))
    chance = np.where(logits >= 0, 1.0, small) / (1.0 + small)
    loss = np.maximum(logits, 0) - logits * y + np.log1p(small)
    information = (x * (chance * (1.0 - chance))[:, None]).T @ x
    return {
        INFORMATION: _q24(packed(information)),
        SCORE: _q24(x.T @ (chance - y)),
        LOSS: _q24(np.array([loss.sum()])),
        LEARNT: np.array([len(y), int(y.sum())], np.int64),
        LEVELS: np.count_nonzero(x, axis=0).astype(np.int64),
    }


def _q24(array: Floats) -> Integers:
    return np.rint(array * ONE).astype(np.int64)


def regression_table(
    wanted: Regression,
    coefficients: Floats,
    sums: Mapping[str, Integers],
    ridge: int,
    penalised_intercept: bool = False,
) -> dict[str, Any]:
    """As JSON values; in the columns' own units, so that an odds ratio is for one more of them.

    Args:
        coefficients: of the final model (p,).
        sums: `counts` of all sites, added up.
        ridge: of the rule, in billionths; a row's penalty on half the squared coefficients but the intercept.

    Raises:
        RegressionError: counts of another regression, or features that repeat each other.
    """
    p = wanted.width
    shapes = {INFORMATION: (p * (p + 1) // 2,), SCORE: (p,), LOSS: (1,), LEARNT: (2,), LEVELS: (p,)}
    if coefficients.shape != (p,) or any(name not in sums or sums[name].shape != shapes[name] for name in shapes):
        raise RegressionError(f"expected {p} coefficients and counts of this regression, got others")
    rows, positive = (int(each) for each in sums[LEARNT])
    few = [0 < each < wanted.threshold for each in (rows, positive, rows - positive)]
    said: dict[str, Any] = {"outcome": wanted.outcome.to_value(), "threshold": wanted.threshold, "coefficients": []}
    if any(few) or rows <= 0:
        return {**said, "rows": None, "positive": None, "loss": None, "gradient": None, "converged": None}
    penalty = np.full(p, ridge / 1e9 * rows)
    if not penalised_intercept:
        penalty[-1] = 0.0
    pull = np.abs(sums[SCORE] / ONE + penalty * coefficients).max() / rows
    turn = _back(wanted)
    values, covariance = turn @ coefficients, turn @ _covariance(sums[INFORMATION], penalty) @ turn.T
    names = (*wanted.names, "")
    measured = {each.name for each in wanted.features if isinstance(each, Measured)}
    table = []
    for at, name in enumerate(names):
        shown = name == "" or name in measured or _shown(wanted, name, sums[LEVELS], names, rows)
        table.append({"name": name, **(_row(values[at], sqrt(max(covariance[at, at], 0.0))) if shown else _HIDDEN)})
    return {
        **said,
        "rows": rows,
        "positive": positive,
        "loss": _text(int(sums[LOSS][0]) / ONE / rows),
        "gradient": _text(float(pull)),
        "converged": bool(pull < _CONVERGED),
        "coefficients": table,
    }


_COLUMNS: Final = ("coefficient", "error", "odds_ratio", "low", "high", "p")
_HIDDEN: Final[dict[str, str | None]] = dict.fromkeys(_COLUMNS)


def _shown(wanted: Regression, name: str, levels: Integers, names: tuple[str, ...], rows: int) -> bool:
    """Whether the categories of a feature have rows enough, the reference too: what is left of the rows is in it."""
    feature = next(each for each in wanted.features if name in each.names)
    of = [int(levels[names.index(each)]) for each in feature.names]
    return min(int(levels[names.index(name)]), rows - sum(of)) >= wanted.threshold


def _back(wanted: Regression) -> Floats:
    """(p, p): from coefficients of standardised features to those of the columns' own units."""
    turn = np.eye(wanted.width)
    at = 0
    for each in wanted.features:
        if isinstance(each, Measured):
            turn[at, at] = 1 / float(each.deviation)
            turn[-1, at] = -float(each.mean) / float(each.deviation)
        at += len(each.names)
    return turn


def _covariance(information: Integers, penalty: Floats) -> Floats:
    p = penalty.size
    hessian = np.zeros((p, p))
    hessian[np.tril_indices(p)] = information / ONE
    hessian = hessian + np.tril(hessian, -1).T
    try:
        inverse = np.linalg.inv(hessian + np.diag(penalty))
    except np.linalg.LinAlgError as cause:
        raise RegressionError("expected features that do not repeat each other: the information is singular") from cause
    return np.asarray(inverse @ hessian @ inverse)


def _row(value: float, error: float) -> dict[str, str | None]:
    if not error > 0:
        return {**_HIDDEN, "coefficient": _text(value), "odds_ratio": _odds(value)}
    return {
        "coefficient": _text(value),
        "error": _text(error),
        "odds_ratio": _odds(value),
        "low": _odds(value - _Z * error),
        "high": _odds(value + _Z * error),
        "p": f"{erfc(abs(value / error) / sqrt(2)):.2g}",
    }


def _odds(value: float) -> str | None:
    return _text(exp(value)) if value < _MANY else None


def _text(value: float) -> str:
    return f"{value:.6g}"
