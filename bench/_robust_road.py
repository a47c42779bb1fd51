"""A study of five sites of which one may lie: the learner's own training, updates as bytes, our aggregation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bench._robust_attacks import Attack, Changes, Seen
from commonward.ledger.rounds.words import Rule
from commonward.records.aggregation import Expected, aggregate_received
from commonward.records.model import Model
from commonward.records.rule_parameters import Parameters
from commonward.records.updates import Kind, Update, delta_tensors

STUDY: Final = b"bench robust 000"


@dataclass(frozen=True, slots=True)
class Site:
    """One hospital.

    Attributes:
        name: as members are named.
        rows: that its manifest proves; a liar cannot claim others.
        train: a round's honest change from the round's model, and the number of the round.
        poisoned: the same on rows with the trigger.
        right: of its test rows, how many the model has right, and how many there are.
        fooled: of its test rows that are not of the attacker's class, how many the model takes for it once they carry
            the trigger, and how many there are.
    """

    name: str
    rows: int
    train: Callable[[Model, int], Changes]
    poisoned: Callable[[Model, int], Changes]
    right: Callable[[Model], tuple[int, int]]
    fooled: Callable[[Model], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Defence:
    """A rule with its constants, as a study's protocol fixes them."""

    rule: Rule
    parameters: Parameters

    @property
    def name(self) -> str:
        return self.rule.name.lower().replace("_", " ")


def learn(
    first: Model,
    sites: Sequence[Site],
    rounds: int,
    defence: Defence,
    liar: str | None = None,
    attack: Attack | None = None,
    seed: int = 0,
) -> Model:
    """The model after the last round; `liar` names the site that attacks, where one does."""
    model = first
    for number in range(1, rounds + 1):
        changes = {each.name: each.train(model, number) for each in sites}
        if liar is not None and attack is not None:
            site = next(each for each in sites if each.name == liar)
            seen = Seen(
                own=changes[liar],
                others=[change for name, change in changes.items() if name != liar],
                poisoned=site.poisoned(model, number) if attack.poisons else changes[liar],
                chance=np.random.default_rng([seed, number]),
            )
            changes[liar] = attack.forge(seen)
        rows = {each.name: each.rows for each in sites}
        model = joined(model, number, defence, changes, rows)
    return model


def joined(
    model: Model, number: int, defence: Defence, changes: Mapping[str, Changes], rows: Mapping[str, int]
) -> Model:
    """One round's updates as bytes, and what every member makes of them."""
    received = {
        name: Update(
            STUDY, number, 1, name, model.digest, Kind.DELTA, rows[name], delta_tensors(dict(change))
        ).to_bytes()
        for name, change in changes.items()
    }
    expected = Expected(STUDY, number, 1, model.digest, rows)
    outcome = aggregate_received(defence.rule, defence.parameters, model, expected, received)
    assert not outcome.exclusions, outcome.exclusions
    return outcome.model


def accuracy(model: Model, sites: Sequence[Site]) -> float:
    """Over the test rows of these sites together."""
    return _share([each.right(model) for each in sites])


def success(model: Model, sites: Sequence[Site]) -> float:
    """Of the backdoor, over the test rows of these sites together."""
    return _share([each.fooled(model) for each in sites])


def _share(counts: Sequence[tuple[int, int]]) -> float:
    return sum(hit for hit, _ in counts) / max(1, sum(of for _, of in counts))
