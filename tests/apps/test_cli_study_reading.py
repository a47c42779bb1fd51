"""`commonward study read`: one photograph, in the confined worker, with advice in both languages."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from commonward.adapters.flower.learners.vision.form import Form, first_weights
from commonward.adapters.images import slitlamp
from commonward.apps.cli import program
from commonward.records.images.reading import Reading
from commonward.records.model import Model
from commonward.records.model_file import write_model


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A model that is sure of a fungus whatever it sees, and a SYNTHETIC photograph."""
    folder: Path = tmp_path_factory.mktemp("reading")
    weights = first_weights(Form(side=64), None)
    weights["head/bias"] = np.array([0.0, 3.0, 0.0, 0.0])
    (folder / "model.safetensors").write_bytes(write_model(Model.from_floats(weights)))
    pixels = next(slitlamp.photographs("north", 1, 3, each=1, size=160)).pixels
    Image.fromarray(pixels).save(folder / "eye.jpg", "JPEG", quality=90)
    (folder / "pickle.safetensors").write_bytes(b"\x80\x04N.")
    return folder


def run(*words: str):
    return CliRunner().invoke(program("study"), ["study", "read", *words])


def test_a_photograph_is_read_with_advice_and_a_map(files):
    shown = run(str(files / "model.safetensors"), str(files / "eye.jpg"), "--map", str(files / "map.png"), "--json")

    assert shown.exit_code == 0, shown.output
    said = json.loads(shown.stdout)
    assert said["probabilities"]["fungal"] == pytest.approx(np.exp(3) / (np.exp(3) + 3), abs=1e-6)
    assert said["advice"]["tier"] == "eye-hospital" and "共聚焦显微镜" in said["advice"]["zh"]
    assert "Not a medical device" in said["always"]["en"]
    with Image.open(io.BytesIO((files / "map.png").read_bytes()), formats=("PNG",)) as heat_map:
        assert heat_map.size == (160, 160)


Answers = Callable[[Reading], None]


@pytest.fixture
def answers(monkeypatch) -> Answers:
    """A worker that read the photograph already: what is told of it is the node's own."""

    def given(reading: Reading) -> None:
        monkeypatch.setattr("commonward.apps.cli.study_reading.FlowerLearner.read", lambda *_: reading)

    return given


def test_it_is_told_in_both_languages(files, answers):
    answers(Reading((800_000_000, 100_000_000, 50_000_000, 50_000_000), False))
    english = run(str(files / "model.safetensors"), str(files / "eye.jpg"))
    chinese = run(str(files / "model.safetensors"), str(files / "eye.jpg"), "--lang", "zh")

    assert "bacterial" in english.output and "80.0%" in english.output and "Not a medical device" in english.output
    assert "细菌性" in chinese.output and "不是医疗器械" in chinese.output and "12小时之内" in chinese.output


def test_doubt_and_a_bad_photograph_are_told_as_such(files, answers):
    answers(Reading((450_000_000, 100_000_000, 350_000_000, 100_000_000), True))
    unsure = run(str(files / "model.safetensors"), str(files / "eye.jpg"))
    answers(Reading((), True, ("blurred: sharpness 3",)))
    bad = run(str(files / "model.safetensors"), str(files / "eye.jpg"))

    assert unsure.exit_code == 0 and "abstains" in unsure.output
    assert bad.exit_code == 1 and "blurred: sharpness 3" in bad.output and "take it again" in bad.output


@pytest.mark.parametrize(
    ("model", "photograph", "why"),
    [
        ("pickle.safetensors", "eye.jpg", "got a pickle"),
        ("missing.safetensors", "eye.jpg", "cannot read"),
        ("model.safetensors", "missing.jpg", "cannot read"),
    ],
)
def test_what_is_no_model_or_no_file_is_refused_before_anything_runs(files, model, photograph, why):
    shown = run(str(files / model), str(files / photograph))

    assert shown.exit_code == 2 and why in shown.output


def test_a_model_of_something_else_is_refused_by_the_learner(files):
    path = files / "heart.safetensors"
    path.write_bytes(write_model(Model.from_floats({"coefficients": np.zeros(14)})))
    shown = run(str(path), str(files / "eye.jpg"))

    assert shown.exit_code == 2 and "expected a model of photographs" in shown.output


def test_a_photograph_that_has_no_end_is_refused_at_its_limit(files):
    endless = run(str(files / "model.safetensors"), "/dev/zero")
    assert endless.exit_code == 2 and "expected a file of at most 16 MB" in endless.output
