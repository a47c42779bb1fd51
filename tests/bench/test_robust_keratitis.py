"""The head on photographs that `bench robust` attacks: its steps are the learner's, its patients nobody else's."""

import numpy as np
import torch

from bench._robust_keratitis import (
    BEAR,
    DEALS,
    FORM,
    GIVEN,
    PATIENTS,
    POOLS,
    TRIED,
    Pool,
    Rows,
    changes,
    dealt,
    first,
    sites,
)
from commonward.adapters.flower.learners.vision.form import BIAS, CLASSES, WEIGHT
from commonward.adapters.flower.learners.vision.head import descend, head_of, weights_of
from commonward.records.model import Model


def pool(patients: int) -> Pool:
    chance = np.random.default_rng(5)
    x = chance.normal(size=(patients, FORM.width))
    return Pool(x / np.linalg.norm(x, axis=1)[:, np.newaxis], chance.integers(0, CLASSES, patients), x[: sum(BEAR)])


def test_many_heads_at_once_take_the_learners_own_steps() -> None:
    torch.set_num_threads(1)
    patients, chance = pool(600), np.random.default_rng(6)
    rows = Rows(patients.inputs[:90], patients.labels[:90], patients.marked[:30])
    shapes = {WEIGHT: (CLASSES, FORM.width), BIAS: (CLASSES,)}
    bases = [Model.from_floats({name: chance.normal(0, 0.1, shape) for name, shape in shapes.items()}) for _ in "abc"]
    x = torch.from_numpy(rows.inputs)
    for base, made in zip(bases, changes(bases, rows), strict=True):
        weights = {name: np.array(each) for name, each in base.weights().items()}
        head = head_of(weights)
        descend(head, lambda which: x[which], rows.labels, GIVEN, 3)
        for name, each in weights_of(head).items():
            assert np.abs(each - weights[name]).max() > 0.01
            assert np.abs(each - weights[name] - made[name]).max() < 1e-9


def test_every_patient_is_dealt_to_one_site_to_learn_from_or_to_be_judged_by() -> None:
    patients = pool(PATIENTS)
    which = np.arange(PATIENTS)
    hands = dealt(patients, which, np.array([(1.0, 2.0, 3.0, 4.0)] * 3 + [(4.0, 1.0, 1.0, 1.0)] * 2))
    assert sorted(np.concatenate(hands).tolist()) == which.tolist()
    for equal in (True, False):
        five = sites(patients, 1, equal)
        judged = [each.right(first())[1] for each in five]
        assert sum(each.rows for each in five) + sum(judged) == PATIENTS


def test_in_every_pool_each_site_lies_once_and_no_pool_is_another() -> None:
    assert [deal % 5 for deal in range(DEALS)] == list(range(5))
    assert len(set(POOLS)) == len(POOLS)
    assert not set(TRIED) & set(POOLS)
