"""What the keratitis learner counts is what a report of its study reads: two programs that never meet but in counts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from commonward.adapters.flower import BUNDLED
from commonward.adapters.flower.installed import describe
from commonward.adapters.flower.learners.vision.judging import counts
from commonward.apps.studies.metrics import variants
from commonward.apps.studies.report import render
from commonward.records.images.photograph import PATHOGENS
from commonward.records.model import DType, Tensor
from tests.reportkit import open_study


def test_the_figures_of_a_report_are_those_of_the_rows_that_the_learner_counted() -> None:
    random = np.random.default_rng(7)
    truth = random.integers(0, 4, 200)
    scores = random.normal(size=(200, 4)) + 1.5 * np.eye(4)[truth]
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    held = counts(chances, truth, 205, 0.5)
    tensors = [Tensor.of(name, DType.I64, array) for name, array in sorted(held.items())]
    found = variants(tensors)[""]
    guess, top = chances.argmax(axis=1), chances.max(axis=1)
    assert found["rows"] == 200 and found["refused_quality"] == 5, "what the gate refused is in no figure"
    assert found["accuracy"] == pytest.approx(np.mean(guess == truth))
    assert found["brier"] == pytest.approx(((chances - np.eye(4)[truth]) ** 2).sum() / 200, abs=1e-6)
    assert found["abstained"] == pytest.approx(np.mean(top < 0.5))
    assert found["kept_accuracy"] == pytest.approx(np.mean((guess == truth)[top >= 0.5]))
    assert set(found["classes"]) == set(PATHOGENS) and 0 < found["ece"] < 0.5
    study = open_study()
    page = render({**study, "local": {**study["local"], "all": {"": found}}})
    assert f"{found['accuracy']:.3f}" in page and f"{found['abstained']:.0%}" in page


def test_the_learner_names_its_classes_in_the_order_in_which_it_counts_them() -> None:
    assert describe(BUNDLED, "keratitis").classes == PATHOGENS
    said = json.loads((BUNDLED / "keratitis" / "learner.json").read_bytes())
    assert said["classes"] == list(PATHOGENS)
    one_fungal = counts(np.eye(4)[[1]] * 0.97 + 0.0075, np.array([PATHOGENS.index("fungal")]), 1, 0.4)
    assert one_fungal["confusion"][1][1] == 1 and one_fungal["histogram_fungal"][1].sum() == 1
