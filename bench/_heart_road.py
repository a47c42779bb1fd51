"""Our road in one process: each site's Flower ClientApp through our Grid, updates as bytes, our aggregation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench._heart_data import Client
from bench._heart_plain import Rows
from commonward.adapters.flower import site
from commonward.adapters.flower.grid import LocalGrid
from commonward.adapters.flower.learners.heart_logistic.app import app as logistic_app
from commonward.adapters.flower.learners.heart_newton.app import app as newton_app
from commonward.adapters.flower.learners.tabular import heart
from commonward.ledger.rounds.words import Rule
from commonward.records.aggregation import Expected, aggregate_received
from commonward.records.model import EMPTY_MODEL, ONE, Floats, Model
from commonward.records.rule_parameters import BILLION, Parameters
from commonward.records.standardise import fixed_point, joined, sum_shapes
from commonward.records.updates import Update
from commonward.workflows.training.ports import Setting, Task

STUDY = b"bench heart 0000"
APPS = {"newton": LocalGrid(newton_app), "logistic": LocalGrid(logistic_app)}
LEAST = 20


@dataclass(frozen=True, slots=True)
class Study:
    """What sites agree on beforehand."""

    learner: str
    rule: Rule
    rounds: int
    parameters: Parameters
    settings: Mapping[str, Setting]
    own_scales: bool = False
    """Each site standardises by its own rows, as FLamby's protocol has it; else by what the settings say."""


def newton_study(ridge: float, rounds: int, settings: Mapping[str, Setting]) -> Study:
    return Study("newton", Rule.NEWTON, rounds, Parameters(ridge=round(ridge * BILLION)), settings)


def one_round(study: Study, clients: Sequence[Client], base: Model, number: int) -> Model:
    """Every site trains, sends bytes, and the rule makes the next model of them, as each member would."""
    received, rows = {}, {}
    for client in clients:
        site.give(client.train, client.test)
        settings = {**study.settings, **own_scales(client)} if study.own_scales else study.settings
        task = Task(STUDY, number, 1, study.rule, settings)
        made = APPS[study.learner].train(base, task)
        update = Update(STUDY, number, 1, client.site, base.digest, made.kind, made.rows, made.tensors)
        received[client.site], rows[client.site] = update.to_bytes(), made.rows
    expected = Expected(STUDY, number, 1, base.digest, rows)
    outcome = aggregate_received(study.rule, study.parameters, base, expected, received)
    assert not outcome.exclusions, outcome.exclusions
    return outcome.model


def scales(clients: Sequence[Client]) -> dict[str, Setting]:
    """Mean and deviation of each column over all sites, from one round of sums: as the protocol's settings."""
    study = Study("newton", Rule.SUM, 1, Parameters(sums=sum_shapes(heart.COLUMNS)), {})
    found = joined(heart.COLUMNS, one_round(study, clients, EMPTY_MODEL, 1), LEAST)
    return {
        "mean": tuple(found[each.name].mean for each in heart.COLUMNS),
        "deviation": tuple(found[each.name].deviation for each in heart.COLUMNS),
    }


def own_scales(client: Client) -> dict[str, Setting]:
    """Mean and deviation of one site's own rows; 1 where a column does not vary or was never measured."""
    values, there = fixed_point(heart.COLUMNS, heart.raw(client.train))
    kept = np.maximum(there.sum(axis=0), 1)
    mean = values.sum(axis=0) / kept
    spread = np.sqrt((np.where(there, values - mean, 0.0) ** 2).sum(axis=0) / kept)
    return {
        "mean": tuple(round(each) for each in mean.tolist()),
        "deviation": tuple(round(each) or ONE for each in spread.tolist()),
    }


def learn(study: Study, clients: Sequence[Client]) -> Floats:
    """The coefficients after the last round."""
    model = APPS[study.learner].first_model(study.settings)
    for number in range(1, study.rounds + 1):
        model = one_round(study, clients, model, number)
    return np.array(model.weights()["coefficients"])


def rows_of(client: Client, settings: Mapping[str, Setting]) -> tuple[Rows, Rows]:
    """A site's train and test rows as the learner sees them."""
    config = {name: list(each) if isinstance(each, tuple) else each for name, each in settings.items()}
    train, test = ((heart.features(table, config), heart.labels(table)) for table in (client.train, client.test))
    return train, test


def fewer(client: Client, rows: int) -> Client:
    """The same site with so many rows to learn from."""
    return replace(client, train=client.train.take(range(rows)))
