"""DICOM photographs: read when they are what they say, refused by tag and value when not."""

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from commonward.adapters.dicom import read_photography
from commonward.adapters.images.slitlamp import photographs
from commonward.records.images.photograph import Eye, ImageRefused, Limits
from tests.imagekit import dicom, put, written

EYE = next(photographs("east", 1, 5, each=1))


def test_a_photograph_is_read_with_its_patient_eye_and_device_and_nothing_else(tmp_path: Path) -> None:
    path = put(tmp_path / "one.dcm", dicom(EYE.pixels))
    read = read_photography(path, label="fungal")
    assert np.array_equal(read.pixels, EYE.pixels)
    assert (read.patient, read.eye, read.device, read.label) == ("P-1", Eye.RIGHT, "Maker SL-1", "fungal")
    assert "Never" not in repr(read)


def test_implicit_vr_planar_colours_and_grey_are_read() -> None:
    assert np.array_equal(read_photography(dicom(EYE.pixels, syntax=ImplicitVRLittleEndian)).pixels, EYE.pixels)
    planes = np.ascontiguousarray(EYE.pixels.transpose(2, 0, 1)).tobytes()
    changed = {"PlanarConfiguration": 1, "PixelData": planes}
    assert np.array_equal(read_photography(dicom(EYE.pixels, changed)).pixels, EYE.pixels)
    grey = EYE.pixels[:, :, :1]
    assert np.array_equal(read_photography(dicom(grey)).pixels, np.repeat(grey, 3, axis=2))


def test_full_range_luminance_and_chroma_become_red_green_and_blue() -> None:
    """PS3.3 C.7.6.3.1.2: Y 76, CB 85, CR 255 is red."""
    red = np.zeros((200, 200, 3), np.uint8)
    red[:] = (76, 85, 255)
    read = read_photography(dicom(red, {"PhotometricInterpretation": "YBR_FULL"}))
    assert np.abs(read.pixels.astype(int) - (255, 0, 0)).max() <= 3


def test_jpeg_baseline_is_read_through_its_own_decoder() -> None:
    read = read_photography(dicom(EYE.pixels, syntax=JPEGBaseline8Bit))
    assert read.pixels.shape == EYE.pixels.shape
    assert np.abs(read.pixels.astype(int) - EYE.pixels).mean() < 6


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, r"\(0008,0016\).*5\.1\.4\.1\.1\.2"),
        ({"BurnedInAnnotation": "YES"}, r"\(0028,0301\).*YES"),
        ({"PatientID": None}, r"\(0010,0020\).*nothing"),
        ({"ImageLaterality": "X"}, r"\(0020,0062\).*X"),
        ({"NumberOfFrames": 2}, r"\(0028,0008\).*2"),
        ({"BitsStored": 7}, r"\(0028,0101\).*7"),
        ({"PixelRepresentation": 1}, r"\(0028,0103\).*1"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, r"\(0028,0004\).*PALETTE COLOR"),
        ({"PlanarConfiguration": 2}, r"\(0028,0006\).*2"),
        ({"PixelData": None}, r"\(7FE0,0010\).*nothing"),
        ({"PixelData": b"\0" * 10}, r"\(7FE0,0010\).*10 bytes"),
        ({"Rows": 20_000}, "20000"),
        ({"Columns": None}, r"\(0028,0011\).*nothing"),
    ],
)
def test_what_is_not_such_a_photograph_is_refused_by_tag_and_value(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ImageRefused, match=named):
        read_photography(dicom(EYE.pixels, changes))


@pytest.mark.parametrize(
    "syntax", [DeflatedExplicitVRLittleEndian, UID("1.2.840.10008.1.2.5"), UID("1.2.840.10008.1.2.2")]
)
def test_a_deflated_or_unknown_encoding_is_refused_before_anything_is_read(syntax: UID) -> None:
    """A deflated data set can be a bomb: it would be blown up before its first tag."""
    meta = b"\0" * 128 + b"DICM" + b"\x02\x00\x10\x00UI" + len(syntax).to_bytes(2, "little") + syntax.encode()
    with pytest.raises(ImageRefused, match=r"\(0002,0010\)"):
        read_photography(meta + b"\xff" * 64)


def test_a_jpeg_that_is_larger_than_its_tags_say_is_not_decoded() -> None:
    with pytest.raises(ImageRefused, match=r"\(7FE0,0010\)"):
        read_photography(dicom(EYE.pixels, {"Rows": 200}, JPEGBaseline8Bit))


def test_writing_is_looked_for_where_the_file_does_not_say_that_there_is_none() -> None:
    pixels = written(EYE, "WANG LI 1962").pixels
    with pytest.raises(ImageRefused, match="letters"):
        read_photography(dicom(pixels, {"BurnedInAnnotation": None}))
    assert read_photography(dicom(pixels)).patient == "P-1"
    assert read_photography(dicom(pixels, {"BurnedInAnnotation": None}), refuse_text=False).patient == "P-1"
    assert read_photography(dicom(EYE.pixels, {"BurnedInAnnotation": None})).patient == "P-1"


@pytest.mark.parametrize("cut", [lambda d: d[:140], lambda d: d[: len(d) // 2], lambda d: b"x" * 200, lambda d: b""])
def test_damaged_files_are_refused_in_our_words(cut: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ImageRefused):
        read_photography(cut(dicom(EYE.pixels)))


def test_bytes_changed_anywhere_in_the_header_never_raise_anything_else() -> None:
    whole = dicom(EYE.pixels)
    random = np.random.default_rng(1)
    for _ in range(150):
        data = bytearray(whole)
        for at in random.integers(128, 900, 3):
            data[at] = int(random.integers(0, 256))
        with contextlib.suppress(ImageRefused):
            read_photography(bytes(data))


@pytest.mark.parametrize("within", ["the data set", "a sequence"])
def test_a_header_of_countless_empty_elements_is_refused_before_it_fills_the_memory(within: str) -> None:
    whole = dicom(EYE.pixels)
    (length,) = struct.unpack_from("<I", whole, 140)  # of the file meta information, PS3.10 7.1
    start = 144 + length
    bomb = b"".join(struct.pack("<HH2sH", 0x0009, 0x1000 + at % 0xE000, b"LO", 0) for at in range(60_000))
    if within == "a sequence":  # of undefined length (PS3.5 7.5.2), which is read at once
        item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + bomb + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
        bomb = struct.pack("<HH2sHI", 0x0009, 0x1010, b"SQ", 0, 0xFFFFFFFF) + item
        bomb += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    with pytest.raises(ImageRefused, match="expected a header of at most"):
        read_photography(whole[:start] + bomb + whole[start:])


def test_a_file_beyond_the_limit_is_not_read() -> None:
    with pytest.raises(ImageRefused, match="1000 bytes"):
        read_photography(dicom(EYE.pixels), limits=Limits(file_bytes=1000))
