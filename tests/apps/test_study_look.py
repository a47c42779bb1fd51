"""The page before enrolment: classes beside the proposer's, cameras by class, copies, no pictures."""

from typing import Any

import numpy as np
import pytest

from commonward.apps.studies.file import BadStudyFile, read
from commonward.apps.studies.look import look, page_digest
from commonward.apps.studies.look_pictures import camera_table, pictures_of
from commonward.apps.studies.pictures import copies, picture_columns
from commonward.records.images.photograph import Pixels
from commonward.records.table import Column, Table, Type
from commonward.workflows.training.cohorts import Rows
from tests.apps.study_world import STUDY
from tests.imagekit import jpeg, png

COLUMNS = (Column("photograph", Type.BYTES), Column("device", Type.TEXT), Column("label", Type.TEXT))
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
    assert any("5 rows are viral" in each for each in page(labelled(one="bf" * 10 + "v" * 5), SHARES)["warnings"])


def test_a_class_that_comes_from_one_camera_alone_is_told_of() -> None:
    found = page(labelled(clinic="f" * 20 + "b", ward="b" * 20))
    assert camera_table(found) == (
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


def test_a_table_without_pictures_is_not_looked_at() -> None:
    table = Table((Column("scan", Type.BYTES), Column("x", Type.INTEGER)), ((b"\0\1", 1), (b"\0\1", 2)))
    assert picture_columns(table) == () and copies(table) == []
    assert pictures_of(Rows(table, (), ())) is None


def test_a_study_file_says_how_the_classes_are_shared_out_at_the_proposer() -> None:
    text = STUDY.format(mode="masked", rounds=3, min_sites=3, updates="10m", waiver="false")
    shared = text.replace("label_share = 0.46", "label_share = {bacterial = 0.4, fungal = 0.35, viral = 0.25}")
    protocol = read(shared, "study.toml").protocol
    assert protocol.class_shares == {"bacterial": 400, "fungal": 350, "viral": 250} and protocol.label_share is None
    with pytest.raises(BadStudyFile, match="add up to 1"):
        read(shared.replace("0.25}", "0.3}"), "study.toml")
