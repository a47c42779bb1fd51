"""What is asked of every photograph: no writing, good enough, no copies, no patient on both sides."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from commonward.adapters.images.slitlamp import photographs
from commonward.records.images.duplicates import NEAR, Pair, Seen, check_disjoint, groups, near_pairs, pairs, seen
from commonward.records.images.photograph import ImageRefused, Photograph, devices, luminance, shrunk
from commonward.records.images.quality import quality
from commonward.records.images.text import has_text
from tests.imagekit import jpeg, written

EYES = [each for site in ("east", "north", "south") for each in photographs(site, 5, 21, each=1)]


def changed(photograph: Photograph, pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> Photograph:
    return Photograph(np.ascontiguousarray(pixels), "another", "copy")


def test_writing_is_found_and_eyes_are_not_taken_for_writing() -> None:
    assert sum(has_text(each) for each in EYES) <= 1
    found = [
        has_text(written(each, words, size))
        for each in EYES
        for words, size in (("WANG LI 1962", 14), ("ID 0048211", 18))
    ]
    assert np.mean(found) >= 0.8, "white on a black box, as cameras write"


def test_a_photograph_needs_a_patient_and_eight_bit_colours() -> None:
    with pytest.raises(ImageRefused, match="patient"):
        replace(EYES[0], patient="")
    with pytest.raises(ImageRefused, match="uint8"):
        replace(EYES[0], pixels=EYES[0].pixels.astype(np.float64))
    with pytest.raises(ImageRefused, match="uint8"):
        replace(EYES[0], pixels=EYES[0].pixels[:, :, 0])


def test_luminance_and_shrinking_are_whole_numbers_by_definition() -> None:
    white = np.full((3, 3, 3), 255, np.uint8)
    assert (luminance(white) == 255).all()
    assert shrunk(np.arange(12).reshape(3, 4), 1, 2).tolist() == [
        [(0 + 1 + 4 + 5 + 8 + 9) // 6, (2 + 3 + 6 + 7 + 10 + 11) // 6]
    ]


def test_copies_are_found_when_stored_again_resized_cropped_or_brightened() -> None:
    for each in EYES:
        image = Image.fromarray(each.pixels)
        stored = np.asarray(Image.open(BytesIO(jpeg(each.pixels))))
        smaller = np.asarray(image.resize((180, 180)))
        brighter = np.minimum(each.pixels * 1.15, 255).astype(np.uint8)
        cropped = each.pixels[2:-2, 2:-2]
        for copy in (stored, smaller, brighter, cropped):
            assert seen(each).distance(seen(changed(each, copy))) <= NEAR


def test_a_pair_is_named_by_its_two_pictures_and_is_certain_where_nothing_differs() -> None:
    brighter = changed(EYES[0], np.minimum(EYES[0].pixels * 1.15, 255).astype(np.uint8))
    near, other_way = pairs([EYES[0], brighter]), pairs([EYES[1], brighter, EYES[0]])
    assert near[0].name == other_way[0].name and len(near[0].name) == 16, "wherever the two stand"
    assert not near[0].exact and not near[0].certain
    (same,) = pairs([EYES[0], replace(EYES[0], patient="another")])
    assert same.exact and same.certain and same.name != near[0].name
    assert Pair(0, 1, 0, False).certain, "stored again: other pixels, and none of 512 bits differs"


def test_pictures_of_different_eyes_are_no_copies() -> None:
    assert pairs(EYES) == []
    (pair,) = pairs([EYES[0], EYES[1], replace(EYES[0], patient="another")])
    assert (pair.first, pair.second, pair.exact) == (0, 2, True)


def test_pictures_that_are_near_by_chance_in_their_hashes_but_not_in_their_shades_are_no_copies() -> None:
    rising, falling = bytes(range(0, 256)) * 4, bytes(range(255, -1, -1)) * 4
    brighter = bytes(min(each + 10, 255) for each in rising)
    looks = [Seen(0, 0, rising), Seen(7, 7, falling), Seen(7, 7, brighter)]
    assert [(each.first, each.second) for each in near_pairs(looks, [b"a", b"b", b"c"])] == [(0, 2)]
    assert [each.exact for each in near_pairs(looks[:2], [b"a", b"a"])] == [True]


def test_pairs_join_to_groups() -> None:
    chain = [EYES[0], EYES[0], EYES[1], EYES[1], EYES[2]]
    assert groups(len(chain), pairs(chain)) == [0, 0, 2, 2, 4]


def test_a_patient_in_train_and_test_is_refused() -> None:
    check_disjoint(EYES[:5], EYES[5:])
    with pytest.raises(ImageRefused, match=EYES[0].patient):
        check_disjoint(EYES[:5], [EYES[6], replace(EYES[7], patient=EYES[0].patient)])


def test_a_copy_under_another_patients_name_is_refused() -> None:
    stored = np.asarray(Image.open(BytesIO(jpeg(EYES[0].pixels))))
    with pytest.raises(ImageRefused, match="filed twice"):
        check_disjoint(EYES[:5], [changed(EYES[0], stored)])


def test_the_quality_gate_says_what_to_do_about_a_bad_picture() -> None:
    good = EYES[0]
    assert quality(good).usable, quality(good).reasons
    height, width, _ = good.pixels.shape
    flat = np.full_like(good.pixels, 120)
    spot = good.pixels.copy()
    spot[80:150, 80:150] = 255
    edge = np.zeros_like(good.pixels)
    edge[:, :70] = 255
    edge[::2, :70] = 90
    for pixels, word in (
        (flat, "blurred"),
        (good.pixels // 8, "dark"),
        (np.full((height, width, 3), 252, np.uint8), "overexposed"),
        (spot, "glare"),
        (edge, "centre the cornea"),
    ):
        reasons = quality(changed(good, pixels)).reasons
        assert any(word in each for each in reasons), (word, reasons)


def test_a_sites_cameras_are_counted_for_the_page_on_differences() -> None:
    assert devices(EYES) == {"Synthetic Optics SL-1": 5, "Synthetic Optics SL-9": 5, "Synthetic Phone Adapter": 5}
