"""A study of five sites of which one may lie: the learner's own training, updates as bytes, our aggregation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from bench._robust_attacks import Attack, Changes, Seen
from commonward.ledger.rounds.words import Rule
from commonward.records.aggregation import Expected, aggregate_received
from commonward.records.model import Model
from commonward.records.rule_parameters import Parameters
from commonward.records.updates import Kind, Update, delta_tensors

STUDY: Final = b"bench robust 000"

Training: TypeAlias = Callable[[Sequence[Model], int], Sequence[Changes]]


@dataclass(frozen=True, slots=True)
class Site:
    """One hospital.

    Attributes:
        name: as members are named.
        rows: that its manifest proves; a liar cannot claim others.
        train: a round's honest changes from models of that round, one each, and the number of the round. Many at once,
            because a step of many small models costs little more than one of one.
        poisoned: the same on rows with the trigger.
        right: of its test rows, how many the model has right, and how many there are.
        fooled: of its test rows that are not of the attacker's class, how many the model takes for it once they carry
            the trigger, and how many there are.
    """

    name: str
    rows: int
    train: Training
    poisoned: Training
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


@dataclass(frozen=True, slots=True)
class Run:
    """One study: who takes part under which rule, and which of them attacks how, where one does."""

    sites: Sequence[Site]
    defence: Defence
    liar: str | None = None
    attack: Attack | None = None


def learn(first: Model, rounds: int, runs: Sequence[Run], seed: int = 0) -> list[Model]:
    """The model of each study after its last round. `seed`: of the attackers' dice."""
    models = [first] * len(runs)
    for number in range(1, rounds + 1):
        honest = _changes(runs, models, number, poisoned=False)
        poisoned = _changes(runs, models, number, poisoned=True)
        for at, run in enumerate(runs):
            changes = honest[at]
            if run.liar is not None and run.attack is not None:
                own = changes[run.liar]
                others = [change for name, change in changes.items() if name != run.liar]
                chance = np.random.default_rng([seed, number])
                seen = Seen(own, others, poisoned[at].get(run.liar, own), chance)
                changes[run.liar] = run.attack.forge(seen)
            rows = {each.name: each.rows for each in run.sites}
            models[at] = joined(models[at], number, run.defence, changes, rows)
    return models


def _changes(runs: Sequence[Run], models: Sequence[Model], number: int, *, poisoned: bool) -> list[dict[str, Changes]]:
    """For each study what each of its sites has learnt: all of them, or those that lie by poisoned rows."""
    made: list[dict[str, Changes]] = [{} for _ in runs]
    for site in {id(site): site for run in runs for site in run.sites}.values():
        which = [at for at, run in enumerate(runs) if (_poisons(run, site) if poisoned else _among(run, site))]
        if which:
            train = site.poisoned if poisoned else site.train
            for at, change in zip(which, train([models[at] for at in which], number), strict=True):
                made[at][site.name] = change
    return made


def _among(run: Run, site: Site) -> bool:
    return any(each is site for each in run.sites)


def _poisons(run: Run, site: Site) -> bool:
    return run.attack is not None and run.attack.poisons and run.liar == site.name and _among(run, site)


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
