"""The page before enrolment: classes beside the proposer's, cameras by class, copies, no pictures."""

from collections.abc import Callable
from html import escape
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commonward.apps.cli.study_shown import page as shown_page
from commonward.apps.studies.file import BadStudyFile, read
from commonward.apps.studies.look import look, odd_told, page_digest
from commonward.apps.studies.look_page import _ADVICE, render_look
from commonward.apps.studies.look_pictures import Odd, camera_table, pictured, pictures_of
from commonward.apps.studies.pictures import copies, picture_columns
from commonward.apps.studies.words import LANGUAGES, TEXTS, words_in
from commonward.records.images.photograph import Pixels
from commonward.records.table import Column, Table, Type
from commonward.workflows.training.cohorts import Rows
from tests.apps.study_world import STUDY
from tests.imagekit import jpeg, png
from tests.lookkit import empty_look, fine_look, heart_look, nasty_look, photograph_look
from tests.reportkit import NASTY

COLUMNS = (Column("photograph", Type.BYTES), Column("device", Type.TEXT), Column("label", Type.TEXT))
SIGNED = ("rows", "consents", "columns", "label", "classes", "cameras", "pictures", "odd")
SHARES = {"bacterial": 500, "fungal": 500}


def picture(seed: int) -> Pixels:
    """Blots that differ from seed to seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((24, 24, 1), dtype=np.uint8))


def rows(*cells: tuple[bytes, str, str]) -> Rows:
    numbered = range(len(cells))
    ids = tuple(b"%d" % at for at in numbered)
    return Rows(Table(COLUMNS, tuple(cells)), ids, ids, tuple(f"P-{at}" for at in numbered))


def labelled(**cameras: str) -> Rows:
    """Rows without pictures: of each camera the classes, a letter each."""
    names = {"b": "bacterial", "f": "fungal", "v": "viral"}
    return rows(*((b"", camera, names[each]) for camera, classes in cameras.items() for each in classes))


def page(found: Rows, classes: dict[str, int] | None = None) -> dict[str, Any]:
    return look(found.table, 10, ("photograph",), "label", None, classes, pictures_of(found))


def test_classes_are_shown_beside_the_proposers_and_told_of_where_they_differ() -> None:
    found = page(labelled(one="b" * 27 + "f" * 3), SHARES)
    first, second = found["classes"]["shares"]
    assert (first["class"], first["count"], first["share"], first["proposer"]) == ("bacterial", 27, 0.9, 0.5)
    assert second["low"] < 0.1 < second["high"]
    assert any("bacterial is 90% of rows here, 50% at the proposer" in each for each in found["warnings"])
    assert found["label"] is None and found["digest"] == page_digest(found).hex()


def test_a_class_that_is_not_here_or_not_there_is_told_of() -> None:
    warnings = page(labelled(one="b" * 30), SHARES)["warnings"]
    assert any("every row here is bacterial" in each for each in warnings)
    assert any("no row is fungal here; 50%" in each for each in warnings)
    assert any(
        "viral in 5 of the rows here" in each for each in page(labelled(one="bf" * 10 + "v" * 5), SHARES)["warnings"]
    )


def test_a_class_that_comes_from_one_camera_alone_is_told_of() -> None:
    found = page(labelled(clinic="f" * 20 + "b", ward="b" * 20))
    assert camera_table(found, words_in("en")) == (
        ["camera", "rows", "bacterial", "fungal"],
        [["clinic", "21", "1", "20"], ["ward", "20", "20", "0"]],
    )
    told = [each for each in found["warnings"] if "learn the camera" in each]
    assert len(told) == 2 and "20 of 20 pictures of fungal are from clinic, and of the other classes 1 of 21" in told[1]
    mixed = page(labelled(clinic="fb" * 20, ward="fb" * 20))
    assert not any("camera" in each for each in mixed["warnings"])
    assert not any("camera" in each for each in page(labelled(only="fb" * 20))["warnings"])


def test_copies_under_two_patients_and_files_that_are_no_pictures_are_named() -> None:
    dark = (picture(2) * 0.9).astype(np.uint8)
    made = rows(
        (jpeg(picture(1)), "c", "fungal"),
        (jpeg(picture(2)), "c", "viral"),
        (jpeg(picture(1)), "c", "fungal"),
        (png(dark), "c", "viral"),
        (jpeg(picture(3))[:500], "c", "viral"),
        (jpeg(picture(4)), "c", "viral"),
    )
    found = Rows(made.table, made.records, made.consents, made.patients, tuple(copies(made.table)))
    assert [(each.first, each.second, each.exact) for each in found.copies] == [(0, 2, True), (1, 3, False)]
    seen = page(found)
    assert (seen["pictures"]["read"], seen["pictures"]["unreadable"]) == (5, ["P-4"])
    assert any("P-0 and P-2" in each and "same picture under two" in each for each in seen["warnings"])
    assert any("P-1 and P-3" in each and "nearly" in each for each in seen["warnings"])
    assert any("P-4" in each and "cannot be read" in each for each in seen["warnings"])


def test_a_pair_that_a_person_looked_at_is_shown_and_no_longer_odd() -> None:
    dark = (picture(2) * 0.9).astype(np.uint8)
    made = rows((jpeg(picture(2)), "c", "fungal"), (png(dark), "c", "viral"), (png(picture(3)), "c", "viral"))
    (near,) = copies(made.table)
    found = Rows(made.table, made.records, made.consents, made.patients, (near,))
    by_r1, by_nobody = pictures_of(found, {near.name: "R1"}), pictures_of(found)
    assert by_r1 is not None and by_nobody is not None
    odd: list[Odd] = []
    told = pictured(by_r1, odd)
    assert odd == [] and [(each["looked"], each["certain"]) for each in told["copies"]] == [("R1", False)]
    assert pictured(by_nobody, odd)["copies"][0]["looked"] == "" and [each["what"] for each in odd] == ["near-picture"]


def test_one_picture_in_two_files_is_one_picture_whoever_looked() -> None:
    """Attack: a copy is stored again without loss, so that somebody may say that it is another."""
    again = BytesIO()
    Image.fromarray(picture(1)).save(again, "PNG", compress_level=0)
    made = rows((png(picture(1)), "c", "fungal"), (again.getvalue(), "c", "fungal"))
    (pair,) = copies(made.table)
    assert made.table.cells("photograph")[0] != made.table.cells("photograph")[1] and pair.exact and pair.certain
    shown = pictures_of(Rows(made.table, (), (), (), (pair,)), {pair.name: "R1"})
    assert shown is not None and shown.copies[0].certain and shown.copies[0].looked == ""


LOOKS = {"heart": heart_look, "photographs": photograph_look, "fine": fine_look, "empty": empty_look}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("made", LOOKS.values(), ids=LOOKS)
def test_the_page_as_a_file_tells_all_that_is_odd_and_what_to_do_in_either_language(
    made: Callable[[], dict[str, Any]], language: str
) -> None:
    found, text = made(), words_in(language)
    html = render_look(found, language, found["now"])
    for each in found["odd"]:
        assert escape(odd_told(text, each)) in html
    assert (text("look-fine") in html) == (not found["odd"])
    assert found["digest"] in html and (text("synthetic-banner") in html) == found["synthetic"]
    assert "<script" not in html and "https://" not in html
    assert "\n\n" not in shown_page(found, language)


def test_every_kind_of_odd_thing_has_its_sentence_and_its_advice_in_both_languages() -> None:
    odd = {key.removeprefix("odd-") for key in TEXTS if key.startswith("odd-")} - {"pair", "pairs", "list"}
    advised = {key.removeprefix("do-") for key in TEXTS if key.startswith("do-")}
    assert advised <= odd and {_ADVICE.get(each, each) for each in odd} == advised


def test_what_others_wrote_is_text_in_the_page() -> None:
    assert NASTY not in render_look(nasty_look(), "en") and NASTY not in render_look(nasty_look(), "zh")


def test_the_officer_signs_the_same_page_in_either_language() -> None:
    found = heart_look()
    assert page_digest({**{key: found[key] for key in SIGNED}, "warnings": ["told otherwise"]}).hex() == found["digest"]


def test_a_table_without_pictures_is_not_looked_at() -> None:
    table = Table((Column("scan", Type.BYTES), Column("x", Type.INTEGER)), ((b"\0\1", 1), (b"\0\1", 2)))
    assert picture_columns(table) == () and copies(table) == []
    assert pictures_of(Rows(table, (), ())) is None


def test_a_damaged_first_picture_does_not_hide_that_the_others_are_copies() -> None:
    same = jpeg(picture(1))
    table = rows((b"damaged", "A", "fungal"), (same, "A", "fungal"), (same, "A", "fungal")).table
    assert picture_columns(table) == ("photograph",)
    assert [(each.first, each.second) for each in copies(table)] == [(1, 2)]


def test_a_study_file_says_how_the_classes_are_shared_out_at_the_proposer() -> None:
    text = STUDY.format(mode="masked", rounds=3, min_sites=3, updates="10m", waiver="false")
    shared = text.replace("label_share = 0.46", "label_share = {bacterial = 0.4, fungal = 0.35, viral = 0.25}")
    protocol = read(shared, "study.toml").protocol
    assert protocol.class_shares == {"bacterial": 400, "fungal": 350, "viral": 250} and protocol.label_share is None
    with pytest.raises(BadStudyFile, match="add up to 1"):
        read(shared.replace("0.25}", "0.3}"), "study.toml")
