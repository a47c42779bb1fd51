"""The learner of photographs in its worker process: confined, on a dozen drawn pictures."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commonward.adapters.flower import BUNDLED, FlowerLearner, Limits, digest_of
from commonward.adapters.images import slitlamp
from commonward.ledger.rounds.words import Rule
from commonward.records.images.photograph import PATHOGENS
from commonward.records.model import Model
from commonward.records.table import Column, Table, Type
from commonward.workflows.training.ports import LearnerFailed, Task

SMALL = {"image": 64}
SIDE = 160


def jpeg(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def table(rows) -> Table:
    return Table((Column("photograph", Type.BYTES), Column("label", Type.TEXT)), tuple(rows))


@pytest.fixture(scope="module")
def drawn() -> list[tuple[bytes, str]]:
    """Twelve SYNTHETIC patients."""
    pictures = slitlamp.photographs("north", 12, 5, each=1, size=SIDE)
    return [(jpeg(each.pixels), str(each.label)) for each in pictures]


@pytest.fixture(scope="module")
def learner(drawn) -> Iterator[FlowerLearner]:
    """One worker for the module: PyTorch takes seconds to import."""
    limits = Limits(start_seconds=600.0)  # of a machine with other work
    with FlowerLearner("keratitis", digest_of(BUNDLED, "keratitis"), limits=limits) as found:
        found.load(table(drawn[:8]), table(drawn[8:]))
        yield found


@pytest.fixture(autouse=True)
def its_rows(learner, drawn):
    """Whatever a test loaded, the next finds the module's rows."""
    yield
    learner.load(table(drawn[:8]), table(drawn[8:]))


def task(rule: Rule = Rule.FEDAVG, number: int = 1, **settings: Any) -> Task:
    return Task(bytes(16), number, 1, rule, {**SMALL, **settings})


def after(base: Model, trained) -> Model:
    changes = {each.name: each.integers / (1 << 24) for each in trained.tensors}
    return Model.from_floats({name: each + changes[name] for name, each in base.weights().items()})


def test_the_first_model_knows_nothing_and_says_what_it_is_of(learner):
    weights = learner.first_model(SMALL).weights()

    assert {name: each.shape for name, each in weights.items()} == {
        "form": (5,),
        "head/bias": (4,),
        "head/weight": (4, 1280),
        "temperature": (1,),
    }
    assert weights["form"].tolist() == [0, 64, 1280, 1, 500_000]
    assert not weights["head/weight"].any()


def test_a_round_learns_its_rows_and_can_be_repeated(learner):
    base = learner.first_model(SMALL)
    given: dict[str, Any] = {"steps": 200, "learning_rate": 8_000_000_000, "calibration": 0, "ridge": 0}
    trained = learner.train(base, task(**given))
    again = learner.train(base, task(**given))

    assert trained.rows == 8 and trained.tensors == again.tensors
    model = after(base, trained)
    assert np.array_equal(model.weights()["form"], base.weights()["form"])
    # It knows by heart what it learnt from: the road from bytes to classes is whole.
    drawn_rows = learner._rows
    assert drawn_rows is not None
    learner.load(Table.parse(drawn_rows[1]), Table.parse(drawn_rows[0]))
    counts = {each.name: each.integers for each in learner.evaluate(model, task(**given))}
    assert counts["confusion"].trace() == counts["confusion"].sum() == 8 - int(counts["refused_quality"][0])


def test_judging_counts_every_row_once(learner):
    counts = {each.name: each.integers for each in learner.evaluate(learner.first_model(SMALL), task())}

    judged = 4 - int(counts["refused_quality"][0])
    assert counts["rows"].tolist() == [4]
    assert counts["confusion"].sum() == counts["confidence"].sum() == judged
    for name in PATHOGENS:
        assert counts[f"histogram_{name}"].sum() == judged
        assert counts[f"histogram_{name}"][:, 16].sum() == judged  # a quarter each: nothing is known
    assert counts["abstained"].tolist() == [0, judged]
    assert counts["squared_error"].tolist() == [judged * (9 + 3) * (1 << 24) // 16]


def test_a_private_round_draws_fresh_noise_and_touches_neither_form_nor_temperature(learner):
    given: dict[str, Any] = {"noise": 1_000_000, "steps": 2, "width": 64}
    base = learner.first_model({**SMALL, **given})
    one = {each.name: each.integers for each in learner.train(base, task(**given)).tensors}
    other = {each.name: each.integers for each in learner.train(base, task(**given)).tensors}

    assert not np.array_equal(one["head/weight"], other["head/weight"])
    assert not one["form"].any() and not one["temperature"].any()


def test_the_first_round_of_a_centred_model_finds_the_centre_and_the_next_learns(learner):
    given: dict[str, Any] = {"centre": 1, "width": 32, "noise": 1_000_000, "steps": 4, "abstain": 400_000_000}
    base = learner.first_model({**SMALL, **given})
    centred = after(base, learner.train(base, task(**given)))
    learnt = after(centred, learner.train(centred, task(number=2, **given)))

    assert base.weights()["centre"].shape == (32,) and not base.weights()["centre"].any()
    assert centred.weights()["centre"].any() and not centred.weights()["head/weight"].any()
    assert np.array_equal(learnt.weights()["centre"], centred.weights()["centre"])
    assert learnt.weights()["head/weight"].any()
    assert learner.evaluate(learnt, task(number=2, **given))


def test_noise_with_a_seed_or_with_the_whole_network_is_refused(learner):
    base = learner.first_model(SMALL)
    for settings, why in (
        ({"noise": 1_000_000, "seed": 3}, "no seed with noise"),
        ({"noise": 1_000_000, "train": "all"}, "train = head with noise"),
        ({"noise": 1_000_000, "features_norm": 0}, "features_norm = 1 with noise"),
        ({"noise": 1_000_000, "centre": 1, "rate": 10_000_000}, "rate of 10.9 with a centre"),
        ({"momentum": 1_000_000_000}, "momentum below"),
        ({"steps": 0}, "1 to 100,000 steps"),
    ):
        with pytest.raises(LearnerFailed, match=why):
            learner.train(base, task(**settings))


def test_settings_that_are_not_the_models_are_refused(learner):
    with pytest.raises(LearnerFailed, match="expected a model as the study's settings say"):
        learner.train(learner.first_model(SMALL), task(width=32))
    with pytest.raises(LearnerFailed, match="with a tensor 'form'"):
        learner.train(Model.from_floats({"coefficients": np.zeros(14)}), task())
    with pytest.raises(LearnerFailed, match="expected a backbone of lite0, lite1, lite2"):
        learner.first_model({"backbone": "resnet"})


def test_the_whole_network_learns_with_its_norms_frozen(learner):
    given: dict[str, Any] = {"train": "all", "steps": 1, "batch": 2, "calibration": 0}
    base = learner.first_model({**SMALL, **given})
    assert sum(each.size for each in base.weights().values()) == 3_328_992 + 4 * 1280 + 4 + 1 + 5

    # The head is zero at first, so the backbone feels nothing until it is not.
    trained = after(base, learner.train(base, task(**given)))
    changed = {each.name: each.integers for each in learner.train(trained, task(number=2, **given)).tensors}
    assert changed["backbone/stem.weight"].any() and changed["head/weight"].any()
    assert learner.evaluate(trained, task(**given))


def test_a_file_that_is_no_picture_is_refused_by_its_row(learner, drawn):
    learner.load(table([*drawn[:3], (b"%PDF-1.7", "viral")]), table(drawn[8:]))

    with pytest.raises(LearnerFailed, match="row 3: expected a JPEG or PNG file"):
        learner.train(learner.first_model(SMALL), task(calibration=0))


def test_one_file_in_two_rows_is_refused(learner, drawn):
    learner.load(table(drawn[:4]), table([drawn[9], drawn[2]]))

    with pytest.raises(LearnerFailed, match="rows train 2, test 1: expected one photograph of a patient"):
        learner.train(learner.first_model(SMALL), task())


def test_a_row_without_picture_or_of_another_class_is_refused(learner, drawn):
    for row in ((None, "viral"), (drawn[0][0], "tumour"), (drawn[0][0], None)):
        learner.load(table([drawn[1], row]), table(drawn[8:]))
        with pytest.raises(LearnerFailed, match="row 1: expected a photograph and a label of bacterial, fungal"):
            learner.train(learner.first_model(SMALL), task())


def test_a_model_that_explodes_is_no_update(learner):
    """NaN or infinity never leave: what a learner answers is judged as a stranger's."""
    with pytest.raises(LearnerFailed, match=r"finite|exploded|at most 256"):
        learner.train(
            learner.first_model({**SMALL, "features_norm": 0}),
            task(learning_rate=10**15, steps=50, features_norm=0, calibration=0),
        )


def test_a_study_that_only_counts_gets_the_classes(learner, drawn):
    summed = learner.train(Model.from_floats({"none": np.zeros(1)}), task(Rule.SUM))

    assert summed.tensors[0].integers.tolist() == [sum(label == name for _, label in drawn[:8]) for name in PATHOGENS]


def test_one_photograph_is_read_with_a_map_of_where_the_model_looked(learner, drawn):
    base = learner.first_model({**SMALL, "abstain": 0})
    model = after(base, learner.train(base, task(steps=50, learning_rate=8_000_000_000, abstain=0)))
    reading = learner.read(model, drawn[0][0])

    assert sum(reading.probabilities) == 1_000_000_000 and not reading.abstained and not reading.findings
    with Image.open(io.BytesIO(reading.heat_map), formats=("PNG",)) as heat_map:
        assert heat_map.size == (SIDE, SIDE) and heat_map.mode == "RGB"


def test_a_reading_abstains_where_nothing_is_likely_and_refuses_a_dark_picture(learner, drawn):
    model = learner.first_model(SMALL)
    unsure = learner.read(model, drawn[0][0])
    dark = learner.read(model, jpeg(np.zeros((SIDE, SIDE, 3), np.uint8)))

    assert unsure.abstained and unsure.probabilities == (250_000_000,) * 4
    assert dark.abstained and not dark.probabilities and "too dark" in " ".join(dark.findings)
    with pytest.raises(LearnerFailed, match="the photograph: expected a JPEG or PNG"):
        learner.read(model, b"nothing")


def test_it_runs_confined_as_every_learner(learner):
    network, files = learner.confined

    assert isinstance(network, bool) and isinstance(files, bool)
    assert learner.describe().classes == PATHOGENS
