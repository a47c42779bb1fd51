"""Our road in one process: what the learner does of a round, updates as bytes, our aggregation. No Flower messages.

The learner's own functions (`vision.learning`) train and judge, private ones with noise from the system's entropy; each
site's change is quantised, becomes an update's bytes, and the rule makes the next model of the bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from bench._keratitis_data import Hospital
from commonward.adapters.flower.learners.vision import features, learning
from commonward.adapters.flower.learners.vision.form import BIAS, TEMPERATURE, WEIGHT, Form, centre_of
from commonward.adapters.flower.learners.vision.judging import probabilities
from commonward.adapters.flower.learners.vision.rows import Photographs
from commonward.ledger.rounds.words import Rule
from commonward.records.aggregation import Expected, aggregate_received
from commonward.records.model import Floats, Model
from commonward.records.rule_parameters import Parameters
from commonward.records.updates import Kind, Update, delta_tensors
from commonward.workflows.training.ports import Setting

STUDY: Final = b"bench keratitis0"


@dataclass(frozen=True, slots=True)
class Study:
    """What sites agree on beforehand."""

    rounds: int
    settings: Mapping[str, Setting]
    rule: Rule = Rule.FEDAVG
    parameters: Parameters = field(default_factory=Parameters)


def known(hospital: Hospital) -> Photographs:
    """A site's rows as the learner takes them. What the backbone says of them is known already, as it is to a worker
    after its first round."""
    rows = Photographs(hospital.files, hospital.labels)
    form = Form()
    features.remember(hospital.files, hospital.features, form.backbone, form.side)
    return rows


def learn(study: Study, sites: Sequence[Hospital], each: Callable[[int, Model], None] | None = None) -> Model:
    """The model after the last round; `each` is told of every round's."""
    rows = {site.name: known(site) for site in sites}
    model = Model.from_floats(learning.first(study.settings))
    for number in range(1, study.rounds + 1):
        received = {}
        for name, mine in rows.items():
            weights = model.weights()
            new = learning.train(weights, study.settings, number, mine)
            change = delta_tensors({key: value - weights[key] for key, value in new.items()})
            update = Update(STUDY, number, 1, name, model.digest, Kind.DELTA, len(mine), change)
            received[name] = update.to_bytes()
        expected = Expected(STUDY, number, 1, model.digest, {name: len(mine) for name, mine in rows.items()})
        outcome = aggregate_received(study.rule, study.parameters, model, expected, received)
        assert not outcome.exclusions, outcome.exclusions
        model = outcome.model
        if each is not None:
            each(number, model)
    return model


def alone(study: Study, site: Hospital) -> Model:
    """What one site's rows give by the same learner and as many steps, without updates: itself, or all in one place."""
    mine = known(site)
    weights = dict(learning.first(study.settings))
    for number in range(1, study.rounds + 1):
        weights = learning.train(weights, study.settings, number, mine)
    return Model.from_floats(weights)


def joined(sites: Sequence[Hospital]) -> Hospital:
    """All patients in one place, which is what federated learning avoids."""
    return Hospital(
        "pooled",
        tuple(file for site in sites for file in site.files),
        np.concatenate([site.labels for site in sites]),
        np.concatenate([site.features for site in sites]),
        np.concatenate([site.colours for site in sites]),
    )


def chances(model: Model, hospital: Hospital, *, calibrated: bool = True) -> Floats:
    """(n, 4) probabilities of a site's patients, by the learner's form and temperature."""
    weights = model.weights()
    form = Form.of_model(weights)
    x = learning.inputs(form, known(hospital), centre=centre_of(weights)).numpy()
    logits = x @ weights[WEIGHT].T + weights[BIAS]
    return probabilities(logits, float(weights[TEMPERATURE][0]) if calibrated else 0.0)
