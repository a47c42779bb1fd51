"""The road test on photographs: fair splits, honest intervals, and an error where there are no photographs."""

from pathlib import Path

import numpy as np
import pytest

from bench.__main__ import main
from bench.results import Unavailable
from bench.roadtest import FOLDS, VARIABLE, cross_validated, folds, gathered, run, wilson
from commonward.adapters.images.slitlamp import Difficulty, photographs
from tests.imagekit import png, put


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sites of synthetic eyes, two classes each, and one picture stored twice."""
    root = tmp_path_factory.mktemp("photographs")
    for site in ("north", "south"):
        for kind, shares in (("bacterial", (1, 0, 0, 0)), ("viral", (0, 0, 1, 0))):
            drawn = photographs(site, 6, 3, classes=shares, each=1, difficulty=Difficulty(0), size=160)
            for at, each in enumerate(drawn):
                put(root / site / kind / f"{at:02}.png", png(each.pixels))
    first = root / "north" / "viral" / "00.png"
    put(root / "north" / "viral" / "99.png", first.read_bytes())
    return root


def test_every_figure_stands_beside_chance_with_its_interval(folder: Path) -> None:
    results = {each.name: each for each in run(scale=0.1, data=folder)}
    assert results["copies and near copies"].value >= 1
    for each in results.values():
        if each.unit == "accuracy":
            assert 0 <= each.value <= 1
            assert each.reference == "largest class" and each.reference_value is not None
            assert "95 %" in each.conditions
    site = results["site, from the same colours"]
    assert site.value > 0.7, "these two cameras differ in colour, and the test must say so"


def test_pictures_that_may_be_of_one_eye_stay_on_one_side(folder: Path) -> None:
    read, pictures = gathered(folder)
    copy = next(at for at, each in enumerate(read) if each.source == "viral/99.png")
    first = next(at for at, each in enumerate(read) if each.source == "viral/00.png")
    for seed in range(5):
        parts = folds(pictures.label, pictures.group, np.random.default_rng(seed))
        assert len(parts) == FOLDS
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(read)))
        assert any({copy, first} <= set(each.tolist()) for each in parts)


def test_labels_by_chance_are_not_found_to_mean_anything(folder: Path) -> None:
    _, pictures = gathered(folder)
    random = np.random.default_rng(2)
    means = [cross_validated(pictures, random.permutation(pictures.label), 2)[0] for _ in range(8)]
    assert 0.25 <= float(np.mean(means)) <= 0.7


def test_the_interval_of_a_share_is_wilsons() -> None:
    low, high = wilson(8, 10)
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)


def test_without_photographs_it_says_so_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert main(["roadtest"]) == 2
    assert "not measured: no real photographs" in capsys.readouterr().err
    with pytest.raises(Unavailable, match="two sites"):
        list(run(data=tmp_path))
    (tmp_path / "a" / "normal").mkdir(parents=True)
    put(tmp_path / "a" / "normal" / "x.png", b"no picture")
    with pytest.raises(Unavailable, match="cannot be used"):
        list(run(data=tmp_path))


def test_the_folder_can_be_named_by_option_or_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["roadtest", "--scale", "0.05", "--data", str(folder)]) == 0
    monkeypatch.setenv(VARIABLE, str(folder))
    assert main(["roadtest", "--scale", "0.05"]) == 0
    assert "class, from colours alone" in capsys.readouterr().out
