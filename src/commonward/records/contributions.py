"""What a study's model would be without one site: made again from the recorded updates, nobody trains anew.

This is the reconstruction of Song, Tong and Wei (2019, "Profit allocation for federated learning"), with a correction.
Their replay adds the other sites' recorded changes to a model that drifts away from the one that those changes were
trained from; after many rounds it runs far past where training without the site would have come to rest (measured in
docs/learning.md). So each recorded change is carried over to the drifted model: a site that goes a part `pull` of the
way to its own optimum in a round goes that much less, the nearer it is already. `pull` is measured from the study
itself, as the slope of the mean change against the model's own move, over all rounds.

- pull 0 is their one-round reconstruction; pull 1 leaves the site out of the last round alone.
- Newton's updates are slope and curvature at their own base, no change of weights: there the site is left out of the
  last round, from the model that this round started from. One Newton step from an optimum is all but the whole way.

All is integer or one float64 operation at a time, like the aggregation that it calls: every member gets the same bytes.
What differs from training anew: others would have trained otherwise, and learners' noise would have been drawn anew.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from commonward.ledger.rounds.words import Rule
from commonward.records.aggregation import aggregate
from commonward.records.exact import divide, sum_of_squares, weighted_sum
from commonward.records.model import FRACTION_BITS, ONE, DType, Integers, Model, Tensor
from commonward.records.rule_parameters import AggregationError, Parameters
from commonward.records.updates import DELTA_LIMIT, Update

__all__ = ["Recorded", "left_out", "pull_of"]

_FURTHEST: Final = DELTA_LIMIT << FRACTION_BITS
"""2^32: as far as one update may move a weight. What is beyond is taken for this, so that nothing overflows."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A final round: the model that it started from, and the updates that the next one was made of."""

    base: Model
    updates: tuple[Update, ...]


Load = Callable[[int], Recorded]
"""A round by its place, from 0. Read when it is needed: all rounds of a large model would fill the memory."""


def left_out(
    sites: Iterable[str], rule: Rule, parameters: Parameters, rounds: int, load: Load
) -> dict[str, Model | str]:
    """For each site, the last model without it, the optimiser's state left off; or why there is none: with one site
    less, too few are left for the rule."""
    if rule is Rule.NEWTON:
        last = load(rounds - 1)
        return {each: _once(each, rule, parameters, last.base, last.updates) for each in sites}
    pull = pull_of(rounds, load)
    found: dict[str, Model | str] = {}
    for place in range(rounds):
        recorded = load(place)
        for each in sites:
            base = found.setdefault(each, recorded.base)
            if isinstance(base, Model):
                moved = [_carried(update, recorded.base, base, pull) for update in recorded.updates]
                found[each] = _once(each, rule, parameters, base, moved)
    return {site: made.artefact() if isinstance(made, Model) else made for site, made in found.items()}


def _once(site: str, rule: Rule, parameters: Parameters, base: Model, updates: Sequence[Update]) -> Model | str:
    left = [each for each in updates if each.site != site]
    if not left:
        return "no other site's update is left in some round"
    try:
        return aggregate(rule, parameters, base, left).model
    except AggregationError as cause:
        return str(cause)


def _carried(update: Update, base: Model, to: Model, pull: int) -> Update:
    """An update trained from `base`, as it would about be from `to`."""
    if base.digest == to.digest:
        return replace(update, base=to.digest)
    tensors = []
    for each in update.tensors:
        away = np.clip(np.subtract(to[each.name].integers, base[each.name].integers), -2 * _FURTHEST, 2 * _FURTHEST)
        back = np.right_shift(np.add(np.multiply(away, pull), ONE >> 1), FRACTION_BITS)
        change = np.clip(np.subtract(each.integers, back), -_FURTHEST, _FURTHEST)
        tensors.append(Tensor.of(each.name, DType.Q24, change))
    return replace(update, base=to.digest, tensors=tuple(tensors))


def pull_of(rounds: int, load: Load) -> int:
    """How much of the way to their own optimum the sites go in one round, in Q24, from 0 to 1.

    The least-squares slope of (mean change in the next round - mean change in this one) against how the model moved
    between the two, turned around; of sites that are in both rounds. 1 where the model never moved.
    """
    against = moved = 0
    before = load(0)
    for place in range(1, rounds):
        after = load(place)
        both = sorted({each.site for each in before.updates} & {each.site for each in after.updates})
        if both:
            here, there = _mean(before.updates, both, before.updates), _mean(after.updates, both, before.updates)
            for name, change in here.items():
                steps = np.subtract(after.base[name].integers, before.base[name].integers).reshape(-1)
                steps = np.clip(steps, -_FURTHEST, _FURTHEST)
                against += _inner(np.clip(np.subtract(change, there[name]), -_FURTHEST, _FURTHEST), steps)
                moved += sum_of_squares(steps)
        before = after
    return ONE if moved == 0 else min(ONE, max(0, against * ONE // moved))


def _mean(updates: Sequence[Update], sites: Sequence[str], weighed_by: Sequence[Update]) -> dict[str, Integers]:
    """By rows, flat, of some sites."""
    rows = {each.site: each.rows for each in weighed_by}
    chosen = [each for each in updates if each.site in sites]
    weights = [rows[each.site] for each in chosen]
    return {
        tensor.name: divide(weighted_sum([each.tensors[at].integers for each in chosen], weights), sum(weights))
        for at, tensor in enumerate(chosen[0].tensors)
    }


def _inner(one: Integers, other: Integers) -> int:
    """Exactly: 4 <x, y> = |x + y|^2 - |x - y|^2. |x|, |y| <= 2^32."""
    return (sum_of_squares(np.add(one, other)) - sum_of_squares(np.subtract(one, other))) // 4
