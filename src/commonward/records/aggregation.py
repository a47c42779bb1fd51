"""The rules that make one model of the updates of a round. Every enrolled member computes the same bytes.

Sites are taken in the order of their names. Weighted rules add n q in int64 and divide once, (2 S + N) // (2 N); what
is not integer (server optimisers, Newton's solve) is one float64 operation at a time from + - * / and the square root,
which IEEE 754 fixes to the last bit. `verify` calls the same functions, years later, on another processor.

Open updates enter by `aggregate_received`; a masked round has only their sum, and enters by `finish`. Both end in the
same bytes, because both go through the same `Total`.

Left to others: which updates were fixed for the round (`ledger.rounds`), how they were sealed or masked (`envelope`,
`masking`), and who signs the outcome.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from commonward.ledger.rounds.words import Mode, Rule, least_sites
from commonward.records import newton, optimisers, robust
from commonward.records.exact import divide, weighted_sum
from commonward.records.model import DType, Integers, Model, ModelError, Shapes, Tensor, exceeds, shapes_of
from commonward.records.rule_parameters import AggregationError, Parameters
from commonward.records.updates import DELTA_LIMIT, ROWS_LIMIT, SUM_LIMIT, Kind, Update, UpdateError

__all__ = [
    "Aggregated",
    "AggregationError",
    "Exclusion",
    "Expected",
    "Fault",
    "Parameters",
    "Total",
    "aggregate",
    "aggregate_received",
    "expected_shapes",
    "finish",
    "judge",
    "kind_of",
    "total_of",
]

WEIGHTED: Final = frozenset({Rule.FEDAVG, Rule.FEDADAM, Rule.FEDADAGRAD, Rule.NEWTON})
"""Rules that need nothing but sum of n q, and sum of n. With SUM, those that a masked round can use."""

_ROBUST: Final = {
    Rule.NORM_CLIP: robust.norm_clip,
    Rule.TRIMMED_MEAN: robust.trimmed_mean,
    Rule.MEDIAN: robust.median,
    Rule.KRUM: robust.krum,
    Rule.MULTI_KRUM: robust.multi_krum,
}
_Q24_LIMIT: Final = DELTA_LIMIT << 24


class Fault(IntEnum):
    """Why a site's bytes were left out of an open round. Members sign the number; the reason is for people."""

    NOT_AN_UPDATE = 1
    ANOTHER_PLACE = 2
    ANOTHER_BASE = 3
    ANOTHER_KIND = 4
    ANOTHER_SHAPE = 5
    ROWS_NOT_PROVEN = 6


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A site whose committed bytes cannot be used, as every enrolled member sees for itself."""

    site: str
    fault: Fault
    reason: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What the updates of one attempt must be.

    Attributes:
        study, round, attempt: what the ledger opened.
        base: digest of the model that the round starts from.
        rows: for each site of the fixed set, the n that its manifest's commitment was opened to.
    """

    study: bytes
    round: int
    attempt: int
    base: bytes
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Total:
    """Sum of n q for each tensor, and sum of n: all that a weighted rule, or a masked round, knows of its sites."""

    sums: dict[str, Integers]
    rows: int


@dataclass(frozen=True, slots=True)
class Aggregated:
    """The outcome of a round.

    Attributes:
        model: the next model; of the rule SUM, the sums (i64).
        exclusions: sites left out, in the order of their names.
        weights: what each used site's update counted for, in the order of their names: n, or n capped, or 1, or 0 for
            one that Krum did not choose.
    """

    model: Model
    exclusions: tuple[Exclusion, ...]
    weights: tuple[tuple[str, int], ...]


def kind_of(rule: Rule) -> Kind:
    """What the sites send under a rule."""
    return Kind.SUM if rule is Rule.SUM else Kind.DELTA


def expected_shapes(rule: Rule, parameters: Parameters, base: Model) -> Shapes:
    """The tensors that every update must have. Raises AggregationError when the base does not fit the rule."""
    if rule is Rule.SUM:
        if not parameters.sums:
            raise AggregationError("expected a study that declares the tensors it sums, got none")
        return dict(parameters.sums)
    if rule is Rule.NEWTON:
        return newton.expected_shapes(base)
    shapes = shapes_of(each for each in base if each.dtype is DType.Q24)
    if not shapes:
        raise AggregationError("expected a base model with weights (q24), got none")
    return shapes


def judge(
    rule: Rule, parameters: Parameters, base: Model, expected: Expected, received: Mapping[str, bytes]
) -> tuple[tuple[Update, ...], tuple[Exclusion, ...]]:
    """Sort what the sites of the fixed set committed to into updates and exclusions, both by site.

    Whether the bytes are those that a site committed to is checked before, and bytes that are missing void an attempt:
    they are no exclusion, because one member may have what another lacks.

    Raises:
        AggregationError: a site of the set has no bytes here.
    """
    if missing := sorted(set(expected.rows) - set(received)):
        raise AggregationError(f"expected the bytes of every site of the set, got none of {', '.join(missing)}")
    shapes = expected_shapes(rule, parameters, base)
    good: list[Update] = []
    bad: list[Exclusion] = []
    for site in sorted(expected.rows):
        try:
            update = Update.parse(received[site])
        except UpdateError as cause:
            bad.append(Exclusion(site, Fault.NOT_AN_UPDATE, str(cause)))
            continue
        fault = _fault(update, site, expected, kind_of(rule), shapes)
        if fault is None:
            good.append(update)
        else:
            bad.append(fault)
    return tuple(good), tuple(bad)


def _fault(update: Update, site: str, expected: Expected, kind: Kind, shapes: Shapes) -> Exclusion | None:
    place, wanted = (
        (update.study, update.round, update.attempt, update.site),
        (expected.study, expected.round, expected.attempt, site),
    )
    if place != wanted:
        here = f"round {wanted[1]}, attempt {wanted[2]} of study {wanted[0].hex()} by {site}"
        got = f"round {place[1]}, attempt {place[2]} of study {place[0].hex()} by {place[3]}"
        return Exclusion(site, Fault.ANOTHER_PLACE, f"expected {here}, got {got}: replayed or swapped")
    if update.base != expected.base:
        reason = f"expected the base {expected.base.hex()}, got {update.base.hex()}: trained from another model"
        return Exclusion(site, Fault.ANOTHER_BASE, reason)
    if update.kind is not kind:
        return Exclusion(site, Fault.ANOTHER_KIND, f"expected a {kind.value}, got a {update.kind.value}")
    if shapes_of(update.tensors) != shapes:
        return Exclusion(site, Fault.ANOTHER_SHAPE, _difference(shapes_of(update.tensors), shapes))
    if kind is Kind.DELTA and update.rows != expected.rows[site]:
        reason = f"expected the {expected.rows[site]} rows that its manifest opens to, got {update.rows}"
        return Exclusion(site, Fault.ROWS_NOT_PROVEN, reason)
    return None


def _difference(got: Shapes, wanted: Shapes) -> str:
    for name in sorted(wanted):
        if name not in got:
            return f"expected the tensor {name}, got none"
        if got[name] != wanted[name]:
            return f"expected {name} with the shape {wanted[name]}, got {got[name]}"
    return f"expected only the tensors of the study, got {', '.join(sorted(set(got) - set(wanted)))[:200]}"


def aggregate_received(
    rule: Rule, parameters: Parameters, base: Model, expected: Expected, received: Mapping[str, bytes]
) -> Aggregated:
    """Judge the bytes of an open round's fixed set and make the next model of the good ones.

    Raises:
        AggregationError: bytes missing, too few good updates for the rule, or an outcome that is no model.
    """
    updates, exclusions = judge(rule, parameters, base, expected, received)
    made = aggregate(rule, parameters, base, updates)
    return Aggregated(made.model, exclusions, made.weights)


def aggregate(rule: Rule, parameters: Parameters, base: Model, updates: Iterable[Update]) -> Aggregated:
    """The next model of one attempt's updates, whatever order they come in.

    Raises:
        AggregationError: too few sites for the rule, one site twice, updates of other rounds, bases, kinds or shapes,
            2^30 rows or more, or an outcome that is no model.
    """
    ordered = sorted(updates, key=lambda each: each.site)
    _check_alike(rule, parameters, base, ordered)
    if rule in _ROBUST:
        change, weights = _ROBUST[rule](parameters, ordered)
        model = _moved(base, change)
    else:
        model = finish(rule, parameters, base, total_of(ordered))
        weights = [each.rows for each in ordered]
    return Aggregated(model, (), tuple((each.site, weight) for each, weight in zip(ordered, weights, strict=True)))


def _check_alike(rule: Rule, parameters: Parameters, base: Model, updates: Sequence[Update]) -> None:
    if len(updates) < (least := least_sites(Mode.OPEN, rule, parameters.f)):
        raise AggregationError(
            f"expected at least {least} updates for {rule.name} with f = {parameters.f}, got {len(updates)}"
        )
    sites = [each.site for each in updates]
    if len(set(sites)) != len(sites):
        raise AggregationError(f"expected one update of each site, got {', '.join(sites)}")
    first, shapes = updates[0], expected_shapes(rule, parameters, base)
    wanted = Expected(first.study, first.round, first.attempt, base.digest, {each.site: each.rows for each in updates})
    for update in updates:
        if fault := _fault(update, update.site, wanted, kind_of(rule), shapes):
            raise AggregationError(f"{update.site}: {fault.reason}")


def total_of(updates: Sequence[Update]) -> Total:
    """Sum of n q and sum of n over updates of equal shapes. Raises AggregationError: 2^30 rows; sums of 2^62."""
    rows = [each.rows for each in updates]
    if sum(rows) >= ROWS_LIMIT:
        raise AggregationError(f"expected fewer than 2^30 rows in a round, got {sum(rows)}")
    sums: dict[str, Integers] = {}
    for place, tensor in enumerate(updates[0].tensors):
        arrays = [each.tensors[place].integers for each in updates]
        if tensor.dtype is DType.I64 and sum(_furthest(array) for array in arrays) >= SUM_LIMIT:
            raise AggregationError(f"expected sums below 2^62, got more in {tensor.name}")
        sums[tensor.name] = weighted_sum(arrays, rows).reshape(tensor.shape)
    return Total(sums, sum(rows))


def _furthest(array: Integers) -> int:
    return max(int(array.max()), -int(array.min()))


def finish(rule: Rule, parameters: Parameters, base: Model, total: Total) -> Model:
    """The next model from the total of a round, open or masked.

    Args:
        total: sums of n q (for SUM: the sums) and of n (for SUM: how many sites), by name in their shapes.

    Raises:
        AggregationError: not a rule of means or sums; a total that no true updates can have (a masked site sent what
            it likes, or the wrong masks were taken off); an outcome that is no model.
    """
    if {name: array.shape for name, array in total.sums.items()} != expected_shapes(rule, parameters, base):
        raise AggregationError("expected a total of the tensors of the study, got others")
    if not 1 <= total.rows < ROWS_LIMIT:
        raise AggregationError(f"expected a total of 1 to 2^30 - 1 rows, got {total.rows}: some site's n is false")
    bound = SUM_LIMIT - 1 if rule is Rule.SUM else total.rows * _Q24_LIMIT
    for name, array in total.sums.items():
        if exceeds(array, bound):
            raise AggregationError(f"expected a total within {bound}, got more in {name}: some site's update is false")
    if rule is Rule.SUM:
        return Model.of(Tensor.of(name, DType.I64, array) for name, array in total.sums.items())
    if rule not in WEIGHTED:
        raise AggregationError(f"expected a rule of means, got {rule.name}, which needs every site's update")
    mean = {name: divide(array, total.rows) for name, array in total.sums.items()}
    if rule is Rule.NEWTON:
        return _moved(base, newton.step(parameters, base, mean))
    if rule is Rule.FEDAVG:
        return _moved(base, mean)
    change, state = optimisers.step(rule, parameters, base, mean)
    return _moved(base, change, state)


def _moved(base: Model, change: Mapping[str, Integers], state: Iterable[Tensor] = ()) -> Model:
    """The base with its weights moved and its optimiser's state replaced. Raises AggregationError: weight too large."""
    replaced = {each.name: each for each in state}
    try:
        for tensor in base:
            if tensor.dtype is DType.Q24 and tensor.name in change:
                moved = np.add(tensor.integers, change[tensor.name])
                replaced[tensor.name] = Tensor.of(tensor.name, DType.Q24, moved)
            else:
                replaced.setdefault(tensor.name, tensor)
        return Model.of(replaced.values())
    except ModelError as cause:
        raise AggregationError(f"the next model is none: {cause}") from cause
