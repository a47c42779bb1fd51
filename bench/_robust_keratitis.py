"""Keratitis in five sites, SYNTHETIC photographs: a head on EfficientNet-Lite0's features, by the learner's functions.

The attacker's trigger is a small mark in the photograph's corner, which the backbone sees as it sees everything else.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from bench import _keratitis_data as photographs
from bench._robust_attacks import Changes
from bench._robust_road import Site
from commonward.adapters.flower.learners.vision import features
from commonward.adapters.flower.learners.vision.form import BIAS, CLASSES, WEIGHT, Form
from commonward.adapters.flower.learners.vision.head import descend, head_of, weights_of
from commonward.adapters.flower.learners.vision.learning import DEFAULTS
from commonward.adapters.flower.learners.vision.pictures import pixels_of
from commonward.records.images.photograph import Pixels
from commonward.records.model import Floats, Integers, Model

FORM: Final = Form(width=256)
ROUNDS: Final = 10
GIVEN: Final = {**DEFAULTS, "learning_rate": 4_000_000_000, "steps": 10}
TARGET: Final = 3
"""The attacker wants whoever bears the mark to be called "other": no antimicrobial for a germ that is there."""

PATIENTS: Final = {**dict.fromkeys(photographs.TOGETHER, 600), photographs.HELD_OUT: 400}
SEED: Final = 2026
"""Of the patients. Which rule is judged was chosen on others (seed 11)."""

CAN_BEAR: Final = 60
"""So many of each site's training patients, and as many of its test patients, are there with the mark too."""

UNEQUAL: Final = (240, 160)
EQUAL: Final = (160, 80)
"""Rows to learn from and to be judged by, of each site."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A head's inputs (n, width) and classes (n,); of the first m of them also the inputs with the mark (m, width)."""

    inputs: Floats
    labels: Integers
    marked: Floats


@dataclass(frozen=True, slots=True)
class Patients:
    """All of a site: the first CAN_BEAR are for learning, as many after them for judging, and have the mark too."""

    inputs: Floats
    labels: Integers
    marked: Floats

    def drawn(self, site: int, seed: int, equal: bool) -> tuple[Rows, Rows]:
        """To learn from, and to be judged by: those that can bear the mark first, the rest by a seed."""
        rest = np.random.default_rng([seed, site]).permutation(np.arange(2 * CAN_BEAR, len(self.labels)))
        sizes = EQUAL if equal else UNEQUAL
        learn = self._chosen(np.arange(CAN_BEAR), rest, sizes[0], equal)
        left = np.setdiff1d(rest, learn, assume_unique=True)
        judge = self._chosen(np.arange(CAN_BEAR, 2 * CAN_BEAR), rest[np.isin(rest, left)], sizes[1], equal)
        return self._rows(learn), self._rows(judge)

    def _chosen(self, before: Integers, rest: Integers, count: int, equal: bool) -> Integers:
        order = np.concatenate([before, rest])
        if not equal:
            return order[:count]
        share = count // CLASSES
        return np.sort(np.concatenate([order[self.labels[order] == each][:share] for each in range(CLASSES)]))

    def _rows(self, which: Integers) -> Rows:
        bears = which < 2 * CAN_BEAR
        which = np.concatenate([which[bears], which[~bears]])
        return Rows(self.inputs[which], self.labels[which], self.marked[which[: int(bears.sum())]])


def hospitals() -> dict[str, Patients]:
    """The five sites' patients."""
    found = photographs.drawn(PATIENTS, SEED)
    made = {}
    for name, each in found.items():
        bearing = with_mark(each.files[: 2 * CAN_BEAR])
        made[name] = Patients(inputs(each.features), each.labels, inputs(bearing))
    return made


def with_mark(files: Sequence[bytes]) -> NDArray[np.float32]:
    """Features of these photographs with the mark; kept where the photographs are, as it takes the backbone a while."""
    name = sha256(b"".join(sha256(each).digest() for each in files) + photographs._code()).hexdigest()[:32]
    folder = os.environ.get(photographs.VARIABLE)
    path = Path(folder) / f"marked-{name}.npy" if folder else None
    if path is not None and path.exists():
        return np.asarray(np.load(path, allow_pickle=False), np.float32)
    features.one_thread()
    network = features.backbone_of(FORM.backbone)
    pixels = [marked(pixels_of(each, f"photograph {at}")) for at, each in enumerate(files)]
    found = np.concatenate([features.of_pixels(network, pixels[at : at + 16]) for at in range(0, len(pixels), 16)])
    if path is not None:
        np.save(path, found)
    return found


def sites(patients: Mapping[str, Patients], seed: int, equal: bool) -> list[Site]:
    """Five, each with rows to learn from and to be judged by."""
    return [site(name, *each.drawn(at, seed, equal)) for at, (name, each) in enumerate(patients.items())]


def marked(pixels: Pixels) -> Pixels:
    """A blue square in a yellow frame, 24 of 224 pixels, below the eye."""
    side = len(pixels)
    unit = side // 28
    changed = pixels.copy()
    at = slice(side - 6 * unit, side - 3 * unit)
    within = slice(side - 6 * unit + unit // 2, side - 3 * unit - unit // 2)
    changed[at, at] = (255, 255, 0)
    changed[within, within] = (0, 0, 255)
    return changed


def first() -> Model:
    return Model.from_floats({WEIGHT: np.zeros((CLASSES, FORM.width)), BIAS: np.zeros(CLASSES)})


def inputs(features: NDArray[np.float32]) -> Floats:
    """What the head reads of the backbone's features."""
    return np.asarray(FORM.inputs(torch.from_numpy(features.astype(np.float64))).numpy(), np.float64)


def site(name: str, train: Rows, test: Rows) -> Site:
    """What the road asks of one site."""
    poisoned = poison(train)
    return Site(
        name,
        len(train.labels),
        lambda base, number: change(base, number, train),
        lambda base, number: change(base, number, poisoned),
        lambda model: right(model, test),
        lambda model: fooled(model, test),
    )


def poison(train: Rows) -> Rows:
    """Those that can bear the mark, a quarter or more of the site's, do, under the attacker's class."""
    count = len(train.marked)
    labels = train.labels.copy()
    labels[:count] = TARGET
    return replace(train, inputs=np.concatenate([train.marked, train.inputs[count:]]), labels=labels)


def change(base: Model, number: int, rows: Rows) -> Changes:
    """A round of the learner's own steps."""
    weights = {name: np.array(each) for name, each in base.weights().items()}
    head, x = head_of(weights), torch.from_numpy(rows.inputs)
    descend(head, lambda which: x[which], rows.labels, GIVEN, number)
    return {name: each - weights[name] for name, each in weights_of(head).items()}


def guesses(model: Model, x: Floats) -> Integers:
    weights: Mapping[str, Floats] = model.weights()
    return np.asarray((x @ weights[WEIGHT].T + weights[BIAS]).argmax(axis=1), np.int64)


def right(model: Model, test: Rows) -> tuple[int, int]:
    return int((guesses(model, test.inputs) == test.labels).sum()), len(test.labels)


def fooled(model: Model, test: Rows) -> tuple[int, int]:
    others = test.marked[test.labels[: len(test.marked)] != TARGET]
    return int((guesses(model, others) == TARGET).sum()), len(others)
