"""Keratitis in five sites, SYNTHETIC photographs: a head on EfficientNet-Lite0's features, by the learner's own steps.

A pool is patients whom no other pool has, all photographed by one camera; its sites differ in their classes alone, or
in nothing: patients are dealt to five sites alike, or by shares of the classes.

The steps of many heads are taken at once, in numpy: tests/bench/test_robust_keratitis.py holds them to the learner's.

The attacker's trigger is a small mark in the photograph's corner, which the backbone sees as it sees everything else.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from bench import _keratitis_data as photographs
from bench._robust_attacks import Changes
from bench._robust_road import Defence, Site
from commonward.adapters.flower.learners.vision import features
from commonward.adapters.flower.learners.vision.form import BIAS, CLASSES, WEIGHT, Form
from commonward.adapters.flower.learners.vision.learning import DEFAULTS
from commonward.adapters.flower.learners.vision.pictures import pixels_of
from commonward.ledger.rounds.words import Rule
from commonward.records.images.photograph import Pixels
from commonward.records.model import Floats, Integers, Model
from commonward.records.rule_parameters import BILLION, Parameters

FORM: Final = Form(width=256)
ROUNDS: Final = 10
GIVEN: Final = {**DEFAULTS, "learning_rate": 4_000_000_000, "steps": 10}
TARGET: Final = 3
"""The attacker wants whoever bears the mark to be called "other": no antimicrobial for a germ that is there."""

FIXED: Final = Defence(Rule.NORM_CLIP, Parameters())
"""The rule that the goals are judged by, and what it is without parameters. Of bounds at .5, .75, .85, 1, 1.25 and 1.5
times the median length, that at 1 lost least in trials to the worst attack: shorter ones slow honest sites down, longer
ones let the liar pull further."""

PATIENTS: Final = 1200
POOLS: Final = (("east", 4101), ("south", 2026), ("west", 2026), ("east", 12), ("north", 12))
"""Camera, and seed of the patients, who are others for every camera."""

TRIED: Final = (("east", 11), ("east", 2026), ("north", 2026))
"""On whom the rule and its constant were chosen, or an earlier choice judged: nothing here is measured on them."""

DEALS: Final = 5
"""Of each pool's patients, other ones to learn from and to be judged by each time; in each another site lies."""

BEAR: Final = (300, 200)
"""So many patients to learn from, and to be judged by, are there with the mark too."""

LEARN: Final = 900
"""Patients to learn from, those that can bear the mark among them; the others judge."""

SHARES: Final = (
    (0.40, 0.30, 0.15, 0.15),
    (0.15, 0.10, 0.50, 0.25),
    (0.20, 0.60, 0.10, 0.10),
    (0.45, 0.10, 0.20, 0.25),
    (0.25, 0.25, 0.25, 0.25),
)
"""Of the classes at each site where they are unequal, before each class is used up: sizes differ by it too."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A head's inputs (n, width) and classes (n,); of the first m of them also the inputs with the mark (m, width)."""

    inputs: Floats
    labels: Integers
    marked: Floats


@dataclass(frozen=True, slots=True)
class Pool:
    """All patients: the first BEAR[0] learn and the next BEAR[1] judge, and those have the mark too."""

    inputs: Floats
    labels: Integers
    marked: Floats


@cache
def pool(camera: str, seed: int) -> Pool:
    """Raises what drawing raises."""
    found = photographs.drawn({camera: PATIENTS}, seed)[camera]
    return Pool(inputs(found.features), found.labels, inputs(with_mark(found.files[: sum(BEAR)])))


def sites(patients: Pool, seed: int, equal: bool) -> list[Site]:
    """Five, each with rows to learn from and to be judged by, dealt by a seed."""
    chance = np.random.default_rng([seed, 3])
    rest = chance.permutation(np.arange(sum(BEAR), len(patients.labels)))
    split = LEARN - BEAR[0]
    learn = (np.arange(BEAR[0]), rest[:split])
    judge = (np.arange(BEAR[0], sum(BEAR)), rest[split:])
    shares = np.ones_like(SHARES) if equal else np.array(SHARES)
    hands = [dealt(patients, chance.permutation(part), shares) for part in (*learn, *judge)]
    return [
        site(f"site-{at}", rows(patients, hands[0][at], hands[1][at]), rows(patients, hands[2][at], hands[3][at]))
        for at in range(len(SHARES))
    ]


def dealt(patients: Pool, which: Integers, shares: Floats) -> list[Integers]:
    """Every patient to one of five sites: each class in proportion to the sites' shares of it."""
    hands: list[list[int]] = [[] for _ in shares]
    for label in range(CLASSES):
        own = which[patients.labels[which] == label]
        cuts = np.rint(np.cumsum(shares[:, label]) / shares[:, label].sum() * len(own)).astype(np.int64)
        for hand, part in zip(hands, np.split(own, cuts[:-1]), strict=True):
            hand.extend(part.tolist())
    return [np.array(each, np.int64) for each in hands]


def rows(patients: Pool, bearing: Integers, others: Integers) -> Rows:
    """Of a site: those with the mark first."""
    which = np.concatenate([bearing, others])
    return Rows(patients.inputs[which], patients.labels[which], patients.marked[bearing])


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
        lambda bases, _: changes(bases, train),
        lambda bases, _: changes(bases, poisoned),
        lambda model: right(model, test),
        lambda model: fooled(model, test),
    )


def poison(train: Rows) -> Rows:
    """Those that can bear the mark, a third of the site's, do, under the attacker's class."""
    count = len(train.marked)
    labels = train.labels.copy()
    labels[:count] = TARGET
    return replace(train, inputs=np.concatenate([train.marked, train.inputs[count:]]), labels=labels)


def changes(bases: Sequence[Model], rows: Rows) -> list[Changes]:
    """What a round of the learner's steps makes of each model: gradient descent over all rows, with momentum that does
    not outlast the round."""
    rate, momentum, ridge = (GIVEN[name] / BILLION for name in ("learning_rate", "momentum", "ridge"))
    count, (n, width) = len(bases), rows.inputs.shape
    first = np.stack([each[WEIGHT].floats for each in bases]), np.stack([each[BIAS].floats for each in bases])
    weight, bias = (each.copy() for each in first)
    speeds = np.zeros_like(weight), np.zeros_like(bias)
    truth = np.eye(CLASSES)[rows.labels][:, np.newaxis]
    for _ in range(GIVEN["steps"]):
        logits = (rows.inputs @ weight.reshape(-1, width).T).reshape(n, count, CLASSES) + bias
        logits -= logits.max(axis=2, keepdims=True)
        np.exp(logits, out=logits)
        wrong = (logits / logits.sum(axis=2, keepdims=True) - truth) / n
        slope = (wrong.reshape(n, -1).T @ rows.inputs).reshape(weight.shape) + ridge * weight
        for place, speed, pull in ((weight, speeds[0], slope), (bias, speeds[1], wrong.sum(axis=0))):
            speed *= momentum
            speed += pull
            place -= rate * speed
    return [{WEIGHT: w, BIAS: b} for w, b in zip(weight - first[0], bias - first[1], strict=True)]


def guesses(model: Model, x: Floats) -> Integers:
    weights: Mapping[str, Floats] = model.weights()
    return np.asarray((x @ weights[WEIGHT].T + weights[BIAS]).argmax(axis=1), np.int64)


def right(model: Model, test: Rows) -> tuple[int, int]:
    return int((guesses(model, test.inputs) == test.labels).sum()), len(test.labels)


def fooled(model: Model, test: Rows) -> tuple[int, int]:
    others = test.marked[test.labels[: len(test.marked)] != TARGET]
    return int((guesses(model, others) == TARGET).sum()), len(others)
