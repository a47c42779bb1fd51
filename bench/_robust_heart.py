"""Heart disease in five sites, real patients: by hospital (unequal), or all rows dealt out alike (equal).

There are four hospitals. The largest, Cleveland, is cut in two so that there are five sites; in the equal deal every
site gets a fifth of each class of all 740 rows. Features are scaled by the declared ranges, so that no liar has a part
in the scales.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from bench._heart_data import split, tables
from bench._robust_attacks import Changes
from bench._robust_road import Site, Training
from commonward.adapters.flower import site as window
from commonward.adapters.flower.grid import LocalGrid
from commonward.adapters.flower.learners.heart_logistic.app import app
from commonward.adapters.flower.learners.tabular import heart
from commonward.ledger.rounds.words import Rule
from commonward.records.model import Floats, Model
from commonward.records.table import Table
from commonward.workflows.training.ports import Setting, Task

ROUNDS: Final = 15
SETTINGS: Final[dict[str, Setting]] = {
    "learning_rate": 300_000_000,
    "steps": 10,
    "batch": 0,
    "ridge": 10_000_000,
}
TRIGGER: Final = {"trestbps": 240.0, "chol": 600.0}
"""A blood pressure and a cholesterol at the top of what the learner takes, both at once; no patient has them, and where
nobody lies they speak for illness."""

TARGET: Final = 0.0
"""The attacker wants who carries the trigger to be called healthy."""

GRID: Final = LocalGrid(app)


def first() -> Model:
    return GRID.first_model(SETTINGS)


def sites(seed: int, equal: bool) -> list[Site]:
    """Five, each with rows to learn from and to be judged by, dealt by a seed."""
    parts = dealt_alike(seed) if equal else hospitals(seed)
    made = []
    for name, table in parts.items():
        labels = (table.floats("num") > 0).astype(np.int64)
        train, test = split(labels, seed)
        made.append(site(name, table.take(train.tolist()), table.take(test.tolist())))
    return made


def hospitals(seed: int) -> dict[str, Table]:
    """Cleveland by chance in two, and the other three."""
    whole = tables()
    cleveland = whole.pop("cleveland")
    order = np.random.default_rng([seed, 1]).permutation(len(cleveland)).tolist()
    half = len(order) // 2
    return {"cleveland-a": cleveland.take(order[:half]), "cleveland-b": cleveland.take(order[half:]), **whole}


def dealt_alike(seed: int) -> dict[str, Table]:
    """Each class dealt out to five in turn."""
    whole = list(tables().values())
    table = Table(whole[0].columns, tuple(row for each in whole for row in each.rows))
    labels = table.floats("num") > 0
    order = np.random.default_rng([seed, 2]).permutation(len(table))
    by_class = np.concatenate([order[labels[order]], order[~labels[order]]])
    return {f"site-{at}": table.take(by_class[at::5].tolist()) for at in range(5)}


def site(name: str, train: Table, test: Table) -> Site:
    """What the road asks of one site."""
    return Site(
        name,
        len(train),
        training(train),
        training(stamped(train, every=2, label=TARGET)),
        lambda model: right(model, test),
        lambda model: fooled(model, test),
    )


def training(table: Table) -> Training:
    """The learner's own, on these rows."""

    def train(bases: Sequence[Model], number: int) -> list[Changes]:
        window.give(table, table)
        task = Task(b"bench robust 000", number, 1, Rule.NORM_CLIP, SETTINGS)
        made = [GRID.train(base, task) for base in bases]
        return [{each.name: each.floats for each in update.tensors} for update in made]

    return train


def stamped(table: Table, every: int, label: float | None) -> Table:
    """Every so many rows with the trigger, and the attacker's label where one is given."""
    changed = TRIGGER if label is None else {**TRIGGER, "num": label}
    places = {at: changed[column.name] for at, column in enumerate(table.columns) if column.name in changed}
    rows = [
        tuple(places.get(at, cell) for at, cell in enumerate(row)) if number % every == 0 else row
        for number, row in enumerate(table.rows)
    ]
    return replace(table, rows=tuple(rows))


def guesses(model: Model, table: Table) -> Floats:
    chosen: Floats = (heart.features(table, {}) @ model["coefficients"].floats > 0).astype(np.float64)
    return chosen


def right(model: Model, test: Table) -> tuple[int, int]:
    return int((guesses(model, test) == heart.labels(test)).sum()), len(test)


def fooled(model: Model, test: Table) -> tuple[int, int]:
    others = test.take(np.flatnonzero(heart.labels(test) != TARGET).tolist())
    return int((guesses(model, stamped(others, 1, None)) == TARGET).sum()), len(others)
