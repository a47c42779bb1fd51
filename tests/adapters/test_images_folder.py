"""Folders of photographs: read with patients and labels, refused with file and line."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commonward.adapters.images import decoded, read_folder, read_list
from commonward.adapters.images.slitlamp import photographs
from commonward.records.images.photograph import PATHOGENS, Eye, ImageRefused, Limits, Why
from tests.imagekit import jpeg, png, put, written

EYES = list(photographs("south", 2, 5, each=1))


def test_class_folders_are_read_in_order_with_each_file_its_own_patient(tmp_path: Path) -> None:
    put(tmp_path / "normal" / "b.png", png(EYES[0].pixels))
    put(tmp_path / "keratitis" / "a.jpg", jpeg(EYES[1].pixels))
    read = list(read_folder(tmp_path))
    assert [(each.label, each.patient) for each in read] == [
        ("keratitis", "keratitis/a.jpg"),
        ("normal", "normal/b.png"),
    ]
    assert np.array_equal(read[1].pixels, EYES[0].pixels)


def test_a_list_names_patients_labels_eyes_and_devices(tmp_path: Path) -> None:
    put(tmp_path / "pictures" / "1.png", png(EYES[0].pixels))
    listed = put(tmp_path / "list.csv", b"file,patient,label,eye,device\npictures/1.png,P-7,fungal,L,SL-9\n")
    (read,) = read_list(listed, PATHOGENS)
    assert (read.patient, read.label, read.eye, read.device) == ("P-7", "fungal", Eye.LEFT, "SL-9")


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        (b"file,label\n1.png,fungal\n", "columns"),
        (b"file,patient,label,name\n1.png,P,fungal,Li\n", "columns"),
        (b"file,patient,label\n1.png,,fungal\n", "line 2"),
        (b"file,patient,label\n1.png,P,mould\n", "line 2.*mould"),
        (b"file,patient,label\n1.png,P,fungal\n1.png,P,fungal\n", "line 3.*again"),
        (b"file,patient,label\n1.png,P\n", "line 2.*cells"),
        (b"file,patient,label\n../outside.png,P,fungal\n", "inside"),
        (b"file,patient,label\nlink.png,P,fungal\n", "inside"),
        (b"file,patient,label\nnone.png,P,fungal\n", "inside"),
        (b"file,patient,label\na\0b.png,P,fungal\n", "inside"),
        (b"file,patient,label\n" + b"x" * 300 + b".png,P,fungal\n", "inside"),
        (b"file,patient,label\nloop.png,P,fungal\n", "inside"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_a_wrong_list_is_refused_with_its_line(tmp_path: Path, rows: bytes, named: str) -> None:
    put(tmp_path / "outside.png", png(EYES[0].pixels))
    put(tmp_path / "in" / "1.png", png(EYES[0].pixels))
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "in" / "loop.png").symlink_to("loop.png")
    with pytest.raises(ImageRefused, match=named):
        list(read_list(put(tmp_path / "in" / "list.csv", rows), PATHOGENS))


def test_pictures_with_writing_are_refused_unless_a_person_looked(tmp_path: Path) -> None:
    put(tmp_path / "normal" / "a.png", png(written(EYES[0], "Smith, Anna 1971").pixels))
    with pytest.raises(ImageRefused, match=r"normal/a\.png.*letters"):
        list(read_folder(tmp_path))
    assert len(list(read_folder(tmp_path, refuse_text=False))) == 1


def test_where_and_when_a_picture_was_taken_is_dropped_but_which_way_up_it_is_kept() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x0110] = 6, "Phone of Dr. Li"  # orientation: turned; model
    upright = decoded(jpeg(EYES[0].pixels, exif=exif), "one")
    assert isinstance(upright, np.ndarray)
    assert np.abs(upright.astype(int) - np.rot90(EYES[0].pixels, -1)).mean() < 6


def _animated() -> bytes:
    out = BytesIO()
    first, second = (Image.fromarray(each.pixels) for each in EYES)
    first.save(out, "PNG", save_all=True, append_images=[second])
    return out.getvalue()


def _saved(kind: str, mode: str) -> bytes:
    out = BytesIO()
    Image.fromarray(EYES[0].pixels).convert(mode).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (_animated(), "2 frames"),
        (_saved("GIF", "P"), "JPEG or PNG"),
        (_saved("TIFF", "RGB"), "JPEG or PNG"),
        (_saved("JPEG", "CMYK"), "CMYK"),
        (png(EYES[0].pixels)[:3000], "whole"),
        (jpeg(EYES[0].pixels)[:3000], "whole"),
        (png(EYES[0].pixels[:100]), "224 x 100"),
        (b"<svg/>", "JPEG or PNG"),
        (b"", "bytes"),
    ],
)
def test_other_formats_animations_and_damage_are_refused(data: bytes, named: str) -> None:
    with pytest.raises(ImageRefused, match=named):
        decoded(data, "one")


def test_a_tag_of_exif_that_no_number_fits_refuses_its_picture_and_stops_no_other() -> None:
    """Pillow writes EXIF anew to turn a picture; on a tag of another type it raises struct.error, no ValueError."""
    turned = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    sub_ifd_of_doubles = struct.pack("<HHII", 0x014A, 12, 1, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + turned + sub_ifd_of_doubles + bytes(68)
    out = BytesIO()
    Image.fromarray(EYES[0].pixels).save(out, "JPEG", exif=exif)
    with pytest.raises(ImageRefused, match="whole JPEG or PNG file, got error"):
        decoded(out.getvalue(), "one")


def test_a_bomb_is_refused_by_its_header() -> None:
    """16,000 x 16,000 pixels of nothing are a few kilobytes as PNG and 768 MB decoded."""
    data = bytearray(png(EYES[0].pixels))
    data[16:24] = (16_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    with pytest.raises(ImageRefused, match="256000000"):
        decoded(bytes(data), "one")
    with pytest.raises(ImageRefused, match="100 bytes"):
        decoded(bytes(data), "one", Limits(file_bytes=100))


def test_a_jpeg_of_countless_scans_is_refused_and_a_progressive_one_is_read() -> None:
    whole = jpeg(EYES[0].pixels, progressive=True)
    assert decoded(whole, "one").shape == EYES[0].pixels.shape
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    with pytest.raises(ImageRefused, match="at most 32 scans") as refused:
        decoded(whole[:-2] + 1000 * scan + whole[-2:], "one")
    assert refused.value.why is Why.SIZE


def test_transparent_parts_are_refused_as_they_hide_pixels() -> None:
    image = Image.fromarray(EYES[0].pixels).convert("RGBA")
    out = BytesIO()
    image.save(out, "PNG")
    assert decoded(out.getvalue(), "opaque").shape == EYES[0].pixels.shape
    image.putpixel((3, 3), (0, 0, 0, 0))
    out = BytesIO()
    image.save(out, "PNG")
    with pytest.raises(ImageRefused, match="transparent"):
        decoded(out.getvalue(), "one")
