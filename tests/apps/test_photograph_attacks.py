"""What somebody might put among a hospital's photographs, and what becomes of it."""

import struct
import zlib
from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from commonward.adapters.images.slitlamp import photographs
from commonward.apps.photographs.finding import Found, find
from commonward.apps.photographs.paper import DICOM, IMAGE, MOST_KEPT, Asked
from commonward.apps.photographs.reading import PhotographCutter, Refused, examine, read
from commonward.records.images.photograph import ImageRefused, Limits, Why
from commonward.workflows.ports import Cut, Piece
from tests.imagekit import dicom, jpeg, png, put, written

EYE = next(photographs("east", 1, 5, each=1, size=192))
GOOD = jpeg(EYE.pixels)


def refused(asked: Asked) -> ImageRefused:
    with pytest.raises(ImageRefused) as found:
        read(asked, "it")
    return found.value


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_a_pixel_bomb_is_refused_before_it_is_decoded() -> None:
    data = bytearray(png(EYE.pixels))
    data[16:24] = (16_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    assert refused(Asked(IMAGE, bytes(data), "P-1")).why is Why.SIZE


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_zip_bomb_in_a_text_or_profile_of_a_picture_is_refused_or_dropped(kind: bytes) -> None:
    whole, packed = png(EYE.pixels), zlib.compress(bytes(64 << 20), 9)
    held = {b"zTXt": b"note\0\0" + packed, b"iTXt": b"note\0\1\0\0\0" + packed, b"iCCP": b"note\0\0" + packed}[kind]
    asked = Asked(IMAGE, whole[:33] + chunk(kind, held) + whole[33:], "P-1", "viral")
    (found,) = examine((("it", asked.to_bytes()),))
    assert isinstance(found, Refused) or len(str(found.trees)) < 300_000


def test_a_deflated_dicom_file_is_refused_before_it_is_unpacked() -> None:
    data = dicom(EYE.pixels, syntax=DeflatedExplicitVRLittleEndian)
    assert "Transfer Syntax" in str(refused(Asked(DICOM, data, label="viral")))


def test_what_hangs_behind_a_picture_does_not_come_in_with_it() -> None:
    found = read(Asked(IMAGE, GOOD + b"PK\3\4<script>", "P-1", "viral"), "it")
    assert found.trees[1]["content"]["contentType"] == "image/jpeg"
    assert b"script" not in str(found.trees).encode()
    again = read(Asked(IMAGE, GOOD, "P-1", "viral"), "another name")
    assert again.trees == found.trees  # the same pixels of the same patient are the same record


def test_text_burnt_in_is_refused_and_a_person_can_overrule_the_search_but_not_the_camera() -> None:
    words = written(EYE, "Smith, Anna 1971", 12).pixels
    assert refused(Asked(IMAGE, png(words), "P-1")).why is Why.TEXT
    assert read(Asked(IMAGE, png(words), "P-1", looked="R1"), "it").suspected
    said = dicom(EYE.pixels, {"BurnedInAnnotation": "YES"})
    assert refused(Asked(DICOM, said, looked="R1")).why is Why.TEXT


def test_a_list_or_a_link_that_leads_out_of_its_folder_gives_nothing_to_read(tmp_path: Path) -> None:
    outside = put(tmp_path / "secret.jpg", GOOD)
    put(tmp_path / "secret.dcm", dicom(EYE.pixels))
    folder = tmp_path / "in"
    (folder / "viral").mkdir(parents=True)
    (folder / "viral" / "link.jpg").symlink_to(outside)
    lines = ["file,patient,label", "../secret.jpg,P-1,viral", f"{outside},P-1,viral", "viral/link.jpg,P-1,viral"]
    listed = put(folder / "list.csv", "\n".join(lines).encode())
    for path, count in ((listed, 3), (folder, 1)):
        found = list(find(path))
        assert len(found) == count and all(isinstance(each, ImageRefused) for each in found)
    loose = tmp_path / "dicom"
    loose.mkdir()
    (loose / "link.dcm").symlink_to(tmp_path / "secret.dcm")
    assert [type(each) for each in find(loose)] == [ImageRefused]
    assert [type(each) for each in find(tmp_path / "nowhere")] == [ImageRefused]
    assert [type(each) for each in find(outside)] == [ImageRefused]  # a picture alone does not say whose it is


@pytest.mark.parametrize("key", ["../Patient/1", "a b", "x" * 65, "P?identifier=1", "名"])
def test_a_patients_key_that_could_mean_another_resource_is_refused(key: str) -> None:
    assert refused(Asked(IMAGE, GOOD, key, "viral")).why is Why.PATIENT


def test_a_dicom_file_of_another_patient_than_the_list_says_is_refused() -> None:
    data = dicom(EYE.pixels, {"PatientID": "P-2"})
    assert refused(Asked(DICOM, data, "P-1", "viral")).why is Why.PATIENT
    assert read(Asked(DICOM, data, "P-2", "viral"), "it").patient == "P-2"


def test_a_class_that_is_none_and_a_day_that_is_none_are_refused() -> None:
    assert refused(Asked(IMAGE, GOOD, "P-1", "mould")).why is Why.LABEL
    for taken in ("yesterday", "2025-13-01", "20250301", "2025-03-01T10:00:00"):
        assert refused(Asked(IMAGE, GOOD, "P-1", taken=taken)).why is Why.LISTED


def test_a_file_above_the_limit_is_never_read_and_one_too_large_to_keep_is_not_kept(tmp_path: Path) -> None:
    put(tmp_path / "viral" / "a.jpg", GOOD)
    (found,) = find(tmp_path)
    assert isinstance(found, Found)
    with pytest.raises(ImageRefused, match="100 bytes"):
        found.asked("", Limits(file_bytes=100))
    large = Asked(IMAGE, bytes(MOST_KEPT + 1), "P-1", looked="R1").kept()
    assert (large.data, large.left_out, large.looked) == (b"", MOST_KEPT + 1, "")
    assert "take the file in again" in str(refused(large))


def test_a_dead_letter_of_a_picture_is_read_again_by_whoever_replays_it() -> None:
    good, bad = Asked(IMAGE, GOOD, "P-1", "viral"), Asked(IMAGE, GOOD[:500], "P-1", "viral")
    pieces = [Piece("his", "photograph", "it", each) for each in (good.to_bytes(), bad.to_bytes(), b"\xff")]
    first, second, third = (list(PhotographCutter().cut(each)) for each in pieces)
    assert [each.tree["resourceType"] for each in first if isinstance(each, Cut)] == ["Condition", "Media"]
    assert isinstance(second[0], Piece) and second[0].trouble.startswith("form: it")
    assert isinstance(third[0], Piece) and third[0].trouble
