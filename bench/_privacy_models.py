"""Heads on features of photographs, trained by the learner's own functions, for attacks on who was in the training.

Two views of the same patients: what one hospital's training makes of its own rows (in an open study the other members
see its updates, and a model of it alone shows at least as much), and the model that four hospitals publish together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from bench._robust_road import Defence, joined
from commonward.adapters.flower.learners.vision.form import BIAS, CLASSES, WEIGHT
from commonward.adapters.flower.learners.vision.head import descend, head_of, weights_of
from commonward.adapters.flower.learners.vision.private import descend_privately
from commonward.ledger.rounds.words import Rule
from commonward.records.model import Floats, Integers, Model
from commonward.records.privacy import RATE_UNIT, least_noise
from commonward.records.rule_parameters import BILLION, Parameters

DELTA: Final = 5
ROUNDS: Final = 20
PLAIN: Final = Defence(Rule.FEDAVG, Parameters())


@dataclass(frozen=True, slots=True)
class Rows:
    """A head's inputs (n, width) and the classes (n,)."""

    inputs: Floats
    labels: Integers

    def take(self, which: "np.typing.NDArray[np.bool_]") -> "Rows":
        return Rows(self.inputs[which], self.labels[which])


@dataclass(frozen=True, slots=True)
class Training:
    """How a study trains.

    Attributes:
        given: the learner's settings; `noise` 0 trains without privacy.
        rounds: of the study.
    """

    given: Mapping[str, int]
    rounds: int


def undefended() -> Training:
    """Many steps on few patients, nothing to hold them back."""
    return Training(
        {"learning_rate": 4 * BILLION, "momentum": 900_000_000, "ridge": 0, "mu": 0, "batch": 0, "seed": 0, "steps": 20,
         "noise": 0, "clip": BILLION, "rate": RATE_UNIT}, 10,
    )  # fmt: skip


def private(epsilon: float, rounds: int = ROUNDS, learning_rate: float = 5.0) -> Training:
    """One noisy step of all rows a round."""
    noise = least_noise(round(epsilon * 1e6), RATE_UNIT, 1, rounds, DELTA)
    return Training(
        {"learning_rate": round(learning_rate * BILLION), "momentum": 0, "ridge": 0, "mu": 0, "steps": 1,
         "noise": noise, "clip": BILLION // 2, "rate": RATE_UNIT}, rounds,
    )  # fmt: skip


def first(width: int) -> dict[str, Floats]:
    return {WEIGHT: np.zeros((CLASSES, width)), BIAS: np.zeros(CLASSES)}


def trained(weights: Mapping[str, Floats], rows: Rows, training: Training, number: int) -> dict[str, Floats]:
    """A site's weights after its part of a round."""
    head = head_of(weights)
    if training.given["noise"]:
        descend_privately(head, rows.inputs, rows.labels, training.given)
    else:
        x = torch.from_numpy(np.ascontiguousarray(rows.inputs))
        descend(head, lambda which: x[which], rows.labels, training.given, number)
    return weights_of(head)


def alone(rows: Rows, training: Training) -> dict[str, Floats]:
    """One hospital's head after all rounds."""
    weights = first(rows.inputs.shape[1])
    for number in range(1, training.rounds + 1):
        weights = trained(weights, rows, training, number)
    return weights


def together(sites: Sequence[Rows], training: Training) -> dict[str, Floats]:
    """The head that sites publish: updates as bytes, our aggregation."""
    model = Model.from_floats(first(sites[0].inputs.shape[1]))
    rows = {f"site-{at}": len(each.labels) for at, each in enumerate(sites)}
    for number in range(1, training.rounds + 1):
        base = {name: np.array(each) for name, each in model.weights().items()}
        changes = {}
        for name, each in zip(rows, sites, strict=True):
            new = trained(base, each, training, number)
            changes[name] = {tensor: new[tensor] - base[tensor] for tensor in base}
        model = joined(model, number, PLAIN, changes, rows)
    return {name: np.array(each) for name, each in model.weights().items()}


def true_class(weights: Mapping[str, Floats], rows: Rows) -> Floats:
    """The probability that a head gives to each row's own class."""
    logits = rows.inputs @ weights[WEIGHT].T + weights[BIAS]
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(chances[np.arange(len(rows.labels)), rows.labels] / chances.sum(axis=1), np.float64)


def accuracy(weights: Mapping[str, Floats], rows: Rows) -> float:
    guesses = (rows.inputs @ weights[WEIGHT].T + weights[BIAS]).argmax(axis=1)
    return float((guesses == rows.labels).mean())
