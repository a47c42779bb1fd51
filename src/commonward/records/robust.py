"""Rules for open rounds in which some sites may lie: each bounds what `f` of them, or one, can do.

All is integer: medians by sorting, norms and distances as exact sums of squares, ties by the name of the site. Each
rule takes updates in the order of their sites and gives the change of each weight (Q24), and what each site counted
for. How many sites a rule needs is `ledger.rounds.words.least_sites`; the caller has checked it.

- norm-clip: n is capped at twice the median n, and an update longer than the bound is shortened to it; then the
  weighted mean. The bound is a multiple of the median length. It limits a liar's weight, it does not find him.
- median, trimmed mean (Yin et al. 2018): each weight by itself; n is ignored, because a liar would choose it.
- Krum, MultiKrum (Blanchard et al. 2017): the update, or the `select` updates, nearest to their n - f - 2 neighbours.
"""

from collections.abc import Sequence
from math import isqrt
from typing import Final

import numpy as np

from commonward.records.exact import divide, median_of, pieces, sum_of_squares, weighted_sum
from commonward.records.model import Integers
from commonward.records.rule_parameters import BILLION, AggregationError, Parameters
from commonward.records.updates import ROWS_LIMIT, Update

_SCALE_BITS: Final = 30  # a factor up to 1 in Q30 times |q| <= 2^32 stays within 2^62


def norm_clip(parameters: Parameters, updates: Sequence[Update]) -> tuple[dict[str, Integers], list[int]]:
    """Weighted mean of updates whose weight and length are bounded by those of the others."""
    rows = [each.rows for each in updates]
    cap = max(2 * median_of(rows), 1)
    weights = [min(n, cap) for n in rows]
    if sum(weights) >= ROWS_LIMIT:
        raise AggregationError(f"expected fewer than 2^30 rows in a round, got {sum(weights)}")
    lengths = [isqrt(sum(sum_of_squares(each.integers) for each in update.tensors)) for update in updates]
    bound = median_of(lengths) * parameters.clip // BILLION
    factors = [1 << _SCALE_BITS if length <= bound else (bound << _SCALE_BITS) // length for length in lengths]
    change = {}
    for place, tensor in enumerate(updates[0].tensors):
        arrays = [
            _scaled(update.tensors[place].integers, factor) for update, factor in zip(updates, factors, strict=True)
        ]
        change[tensor.name] = divide(weighted_sum(arrays, weights), sum(weights)).reshape(tensor.shape)
    return change, weights


def _scaled(array: Integers, factor: int) -> Integers:
    """array * factor / 2^30, halves upwards."""
    if factor == 1 << _SCALE_BITS:
        return array
    half = 1 << (_SCALE_BITS - 1)
    return np.right_shift(np.add(np.multiply(array, factor), half), _SCALE_BITS)


def median(parameters: Parameters, updates: Sequence[Update]) -> tuple[dict[str, Integers], list[int]]:
    """The median of each weight; of an even number of sites, the middle two's mean."""
    half = (len(updates) - 1) // 2
    return _middle(updates, half), [1] * len(updates)


def trimmed_mean(parameters: Parameters, updates: Sequence[Update]) -> tuple[dict[str, Integers], list[int]]:
    """The mean of each weight without its f lowest and f highest."""
    return _middle(updates, parameters.f), [1] * len(updates)


def _middle(updates: Sequence[Update], off: int) -> dict[str, Integers]:
    """The mean of each weight without its `off` lowest and highest values."""
    kept = len(updates) - 2 * off
    change = {}
    for place, tensor in enumerate(updates[0].tensors):
        flat = [each.tensors[place].integers.reshape(-1) for each in updates]
        out = np.empty(tensor.size, np.int64)
        for piece in pieces(tensor.size):
            ordered = np.sort(np.stack([array[piece] for array in flat]), axis=0)
            total = ordered[off].copy()
            for row in ordered[off + 1 : off + kept]:
                np.add(total, row, out=total)
            out[piece] = divide(total, kept)
        change[tensor.name] = out.reshape(tensor.shape)
    return change


def krum(parameters: Parameters, updates: Sequence[Update]) -> tuple[dict[str, Integers], list[int]]:
    """The one update nearest to its neighbours."""
    return _nearest(parameters.f, updates, 1)


def multi_krum(parameters: Parameters, updates: Sequence[Update]) -> tuple[dict[str, Integers], list[int]]:
    """The mean of the `select` updates nearest to their neighbours, n - f - 2 of them unless the study says more.

    Raises:
        AggregationError: `select` is more than n - f, so that a liar would be among them.
    """
    select = parameters.select or len(updates) - parameters.f - 2
    if select > len(updates) - parameters.f:
        raise AggregationError(f"expected at most {len(updates) - parameters.f} updates to select, got {select}")
    return _nearest(parameters.f, updates, select)


def _nearest(f: int, updates: Sequence[Update], select: int) -> tuple[dict[str, Integers], list[int]]:
    scores = krum_scores(f, updates)
    order = sorted(range(len(updates)), key=lambda at: (scores[at], updates[at].site))
    chosen = sorted(order[:select])
    change = {}
    for place, tensor in enumerate(updates[0].tensors):
        arrays = [updates[at].tensors[place].integers for at in chosen]
        change[tensor.name] = divide(weighted_sum(arrays, [1] * select), select).reshape(tensor.shape)
    return change, [int(at in chosen) for at in range(len(updates))]


def krum_scores(f: int, updates: Sequence[Update]) -> list[int]:
    """For each update, the sum of its squared distances to the n - f - 2 nearest others, exactly."""
    count = len(updates)
    distances = [[0] * count for _ in updates]
    for one in range(count):
        for other in range(one):
            distance = sum(
                sum_of_squares(np.subtract(mine.integers, theirs.integers))
                for mine, theirs in zip(updates[one].tensors, updates[other].tensors, strict=True)
            )
            distances[one][other] = distances[other][one] = distance
    return [
        sum(sorted(distances[at][other] for other in range(count) if other != at)[: count - f - 2])
        for at in range(count)
    ]
