"""Synthetic slit-lamp photographs: the same for a seed, marked synthetic, as hard as stated, with the signs drawn."""

from dataclasses import replace

import numpy as np
import pytest

from commonward.adapters.images.canvas import Canvas
from commonward.adapters.images.lesions import DRAWN, Lesion, hypopyon
from commonward.adapters.images.slitlamp import CAMERAS, Case, Difficulty, photograph, photographs
from commonward.records.images.photograph import PATHOGENS
from commonward.records.images.quality import quality

CANVAS = Canvas.of(160, 64.0, (80.0, 80.0))
LESION = Lesion((0.0, 0.0), 0.3, 1.0, 7)


def test_a_seed_draws_the_same_pictures_and_another_draws_others() -> None:
    first, again, other = (next(photographs("east", 1, seed, size=160)) for seed in (1, 1, 2))
    assert np.array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.pixels, other.pixels)


def test_a_patient_does_not_change_with_how_many_there_are() -> None:
    """A site of 300 is the first 300 of a site of 1,000."""
    few, many = (list(photographs("west", count, 4, each=1, size=160)) for count in (2, 3))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(few, many, strict=False))


def test_every_picture_says_that_it_is_synthetic_and_whose_it_is() -> None:
    drawn = list(photographs("north", 3, 1, each=2, size=160))
    assert len(drawn) == 6
    assert all(each.synthetic and each.source.startswith("SYNTHETIC") and "Synthetic" in each.device for each in drawn)
    assert len({each.patient for each in drawn}) == 3
    assert all(
        a.patient == b.patient and a.label == b.label and a.eye == b.eye
        for a, b in zip(drawn[::2], drawn[1::2], strict=True)
    )
    assert not np.array_equal(drawn[0].pixels, drawn[1].pixels)


def test_classes_come_in_the_shares_asked_for() -> None:
    random = [each.label for each in photographs("east", 16, 9, classes=(0.7, 0.3, 0, 0), each=1, size=160)]
    assert set(random) == {"bacterial", "fungal"}
    assert random.count("bacterial") > random.count("fungal")


def test_the_stated_ceiling_is_what_the_patients_show() -> None:
    """Who shows another's signs or none is drawn as often as the ceiling says."""
    hard = Difficulty(0.5)
    assert hard.ceiling == pytest.approx(0.80)
    random = np.random.default_rng(3)
    cases = [Case.drawn(f"p{at}", PATHOGENS[at % 4], random, hard, 0.8) for at in range(4000)]
    early = np.mean([each.look == "early" for each in cases])
    mimics = np.mean([each.look not in ("early", each.pathogen) for each in cases])
    assert early == pytest.approx(hard.early, abs=0.025)
    assert mimics == pytest.approx(hard.mimics, abs=0.015)
    assert 1 - 0.75 * early - mimics == pytest.approx(hard.ceiling, abs=0.03)


@pytest.mark.parametrize("look", sorted(DRAWN))
def test_every_look_leaves_a_mark_on_the_cornea_and_differs_by_seed(look: str) -> None:
    layers = DRAWN[look](CANVAS, LESION)
    cover = np.max([each.cover for each in layers], axis=0)
    assert cover.min() >= 0
    assert cover.max() <= 1.0001
    inside = CANVAS.polar()[0] < 1
    assert cover[inside].max() > 0.2
    assert cover[inside].sum() > 4 * cover[~inside].sum()
    other = DRAWN[look](CANVAS, replace(LESION, seed=8))
    assert not np.array_equal(cover, np.max([each.cover for each in other], axis=0))


def test_a_bacterial_edge_is_rounder_than_a_fungal_one() -> None:
    """Feathery margins are why the two can be told apart: length of the outline squared over the area."""

    def roughness(look: str, seed: int) -> float:
        layers = DRAWN[look](CANVAS, replace(LESION, seed=seed))
        body = layers[1].cover > 0.4
        outline = (body[1:] != body[:-1]).sum() + (body[:, 1:] != body[:, :-1]).sum()
        return float(outline**2 / max(body.sum(), 1))

    bacterial = np.median([roughness("bacterial", seed) for seed in range(9)])
    fungal = np.median([roughness("fungal", seed) for seed in range(9)])
    assert fungal > 1.5 * bacterial


def test_pus_lies_at_the_bottom_of_the_cornea() -> None:
    cover = hypopyon(CANVAS, 0.25, 0.0).cover
    assert cover[80 + 55, 80] > 0.8
    assert cover[:110].max() < 0.01


def test_sites_differ_in_colour_more_than_patients_do() -> None:
    """The scanner shift that a federated model has to live with."""
    reds = {}
    for site in ("north", "south"):
        drawn = list(photographs(site, 6, 2, each=1, size=160))
        reds[site] = [float(each.pixels[:, :, 0].mean() / (1 + each.pixels[:, :, 2].mean())) for each in drawn]
    assert np.median(reds["north"]) > 1.3 * np.median(reds["south"])


def test_most_pictures_pass_the_quality_gate() -> None:
    drawn = [each for site in CAMERAS for each in photographs(site, 2, 8, each=1)]
    assert np.mean([quality(each).usable for each in drawn]) >= 0.8


def test_pictures_have_the_size_asked_for_and_wrong_wishes_are_refused() -> None:
    case = Case.drawn("p", "viral", np.random.default_rng(1), Difficulty(0), 0.5)
    assert photograph(case, CAMERAS["east"], np.random.default_rng(2), 192).shape == (192, 192, 3)
    for wish in (
        lambda: Difficulty(1.5),
        lambda: next(photographs("nowhere", 1, 1)),
        lambda: next(photographs("east", 1, 1, classes=(0.5, 0.5, 0.5, 0.5))),
    ):
        with pytest.raises(ValueError, match=r"expected|no camera"):
            wish()


def test_a_patient_is_the_same_wherever_drawing_starts() -> None:
    whole = list(photographs("north", 3, 5, each=1, size=64))
    (last,) = photographs("north", 1, 5, each=1, size=64, first=2)
    assert (last.patient, last.label, last.digest) == (whole[2].patient, whole[2].label, whole[2].digest)
