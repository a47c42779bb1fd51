"""Canaries for the audit of a private head, and one run of its training with them among a hospital's patients.

A canary is one patient's row. Two kinds:

- crafted: inputs of the head that no photograph has, each canary a direction of its own and ten times as long as any
  photograph's, so that nearly all of its clipped gradient lies in that direction, at a right angle to every other's.
  What the model holds there is its trace and noise, and nothing else: the strongest row there is for a linear head
  (Nasr et al. 2023 call such gradients Dirac canaries). They are the only patients of their run.
- mislabelled: true photographs with a wrong diagnosis, which is all that somebody outside the hospital could send in.
  The auditor sees only what the published model says of them.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench._privacy_audit import Found, audit
from bench._privacy_models import DELTA, Rows, Training, alone, true_class
from commonward.adapters.flower.learners.vision.form import CLASSES, WEIGHT
from commonward.records.model import Floats

CANARIES: Final = 1000
GUESSES: Final = 200
"""A hundred for "in" and a hundred for "out": fixed on other runs, before these."""

LENGTH: Final = 10.0


@dataclass(frozen=True, slots=True)
class Planted:
    """Rows to be flipped coins over. `crafted` says how they are scored."""

    rows: Rows
    crafted: bool

    def scores(self, weights: dict[str, Floats]) -> Floats:
        """Higher where the model seems to have seen the canary."""
        if not self.crafted:
            return true_class(weights, self.rows)
        head = weights[WEIGHT]
        own = head[self.rows.labels, np.arange(len(self.rows.labels))]
        return np.asarray(own - head[:, : len(own)].mean(axis=0), np.float64)


def crafted(width: int, count: int = CANARIES) -> Planted:
    """Raises ValueError: fewer inputs than canaries, so that some would share a direction."""
    if width < count:
        raise ValueError(f"expected a head of at least {count} inputs, one for each canary, got {width}")
    return Planted(Rows(LENGTH * np.eye(count, width), np.arange(count, dtype=np.int64) % CLASSES), True)


def mislabelled(true: Rows, seed: int) -> Planted:
    """Each with one of the three diagnoses that it does not have."""
    off = np.random.default_rng([seed, 4]).integers(1, CLASSES, len(true.labels))
    return Planted(replace(true, labels=(true.labels + off) % CLASSES), False)


def one_run(
    planted: Planted, training: Training, seed: int, patients: Rows | None = None, guesses: int = GUESSES
) -> Found:
    """Flip the coins, train once by the learner's own private road on who is in, and the patients; guess, count."""
    taken: NDArray[np.bool_] = np.random.default_rng([seed, 5]).random(len(planted.rows.labels)) < 0.5
    rows = planted.rows.take(taken)
    if patients is not None:
        rows = Rows(np.concatenate([patients.inputs, rows.inputs]), np.concatenate([patients.labels, rows.labels]))
    return audit(planted.scores(alone(rows, training)), taken, guesses, 10.0**-DELTA)
