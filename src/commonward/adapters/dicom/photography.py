"""Reads Ophthalmic Photography 8 Bit Image objects (DICOM PS3.3 A.41) as slit lamps export them.

Kept: pixels, patient's key, laterality, maker and model, the day. Everything else, names and private tags included,
ends here. Checked in this order: size of the file; transfer syntax, from the file meta information alone (a deflated
data set is a bomb before its first tag is read); SOP class; burnt-in annotation; how pixels are described; how many
there are; then they are decoded. Every refusal names tag and value.

Not read: lossless and progressive JPEG, JPEG 2000, RLE, JPEG XL, video, palettes, 16 bits, several frames. A hospital's
archive converts those to one of the syntaxes here; each further decoder is more for an attacker to try.
"""

import struct
import warnings
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from PIL import Image
from pydicom.config import disable_value_validation
from pydicom.encaps import generate_frames

from commonward.records.images.photograph import Eye, ImageRefused, Limits, Photograph, Pixels, Why
from commonward.records.images.text import text_lines

OPHTHALMIC_8_BIT: Final = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
IMPLICIT, EXPLICIT, JPEG_BASELINE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"
NATIVE: Final = (IMPLICIT, EXPLICIT)

_MOST_READS: Final = 50_000
"""Pieces that a file is read in, two or more for each element; a slit lamp writes some hundred elements."""

# PS3.3 C.8.17.2.1 and PS3.5 8.2.1: which photometric interpretations (0028,0004) we read, by samples and syntax.
_COLOURS: Final = {
    (1, "native"): ("MONOCHROME2",),
    (3, "native"): ("RGB", "YBR_FULL"),
    (1, "jpeg"): ("MONOCHROME2",),
    (3, "jpeg"): ("YBR_FULL_422", "YBR_FULL"),
}


def read_photography(
    source: Path | bytes,
    *,
    name: str | None = None,
    label: str | None = None,
    limits: Limits | None = None,
    refuse_text: bool = True,
) -> Photograph:
    """One photograph out of a DICOM file.

    Args:
        source: the file, or its bytes.
        name: for messages; the path by default.
        label: what is to be learnt of it; DICOM has no place for a proven pathogen.
        refuse_text: look for burnt-in text where the file does not say that there is none. False where a person looked.

    Raises:
        ImageRefused: naming tag and value: another object, not readable here, too large, with annotation burnt
            in, or without a patient.
    """
    asked = limits or Limits()
    called = name or (str(source) if isinstance(source, Path) else "DICOM object")
    data = _bytes(source, called, asked)
    syntax = _transfer_syntax(data, called)
    if syntax not in (*NATIVE, JPEG_BASELINE):
        raise _refused(called, "Transfer Syntax UID (0002,0010)", "uncompressed little endian or JPEG baseline", syntax)
    try:
        # Its warnings, and its log, would quote values: names of patients among them.
        with warnings.catch_warnings(), disable_value_validation():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(_Counted(data, called))
            return _photograph(dataset, syntax, called, label, asked, refuse_text)
    except ImageRefused:
        raise
    except Exception as cause:
        # pydicom fails in a dozen ways on damaged bytes. Its words may quote values, so only the kind is told.
        raise ImageRefused(f"{called}: expected a whole DICOM file, got {type(cause).__name__}") from cause


class _Counted(BytesIO):
    """Bytes of which only so many pieces are read: millions of empty elements fit into a file of the size allowed, and
    would take gigabytes as objects."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self._name, self._left = name, _MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file. Raises ImageRefused for a piece too many."""
        self._left -= 1
        if self._left < 0:
            raise ImageRefused(f"{self._name}: expected a header of at most {_MOST_READS // 2} elements", Why.SIZE)
        return super().read(size)


def _photograph(
    dataset: Any, syntax: str, name: str, label: str | None, limits: Limits, refuse_text: bool
) -> Photograph:
    kind = str(dataset.get("SOPClassUID", ""))
    if kind != OPHTHALMIC_8_BIT:
        raise _refused(name, "SOP Class UID (0008,0016)", f"{OPHTHALMIC_8_BIT} (ophthalmic photography, 8 bit)", kind)
    annotated = str(dataset.get("BurnedInAnnotation", "") or "").strip().upper()
    if annotated not in ("NO", ""):
        raise _refused(name, "Burned In Annotation (0028,0301)", "NO", annotated, Why.TEXT)
    patient = str(dataset.get("PatientID", "") or "").strip()
    if not patient:
        raise _refused(name, "Patient ID (0010,0020)", "the patient's key", "nothing", Why.PATIENT)
    side = str(dataset.get("ImageLaterality", "") or "").strip()
    if side not in set(Eye):
        raise _refused(name, "Image Laterality (0020,0062)", "R, L or B", side)
    maker = str(dataset.get("Manufacturer", "") or "").strip()
    model = str(dataset.get("ManufacturerModelName", "") or "").strip()
    found = Photograph(
        pixels=_pixels(dataset, syntax, name, limits),
        patient=patient,
        source=name,
        eye=Eye(side),
        device=f"{maker} {model}".strip()[:128] or "unknown",
        label=label,
        taken=_day(dataset),
    )
    if not annotated and refuse_text and (lines := text_lines(found)):
        raise _refused(
            name,
            "Burned In Annotation (0028,0301)",
            "NO, or a picture without writing",
            f"nothing, and what looks like {len(lines[0])} letters at row {lines[0][0].top}, column {lines[0][0].left}",
            Why.TEXT,
        )
    return found


def _day(dataset: Any) -> str:
    """The day it was taken, YYYY-MM-DD: of the picture, else of the study; "" where no tag says it. The time of day has
    no zone in most files, so it is left."""
    for keyword in ("AcquisitionDateTime", "ContentDate", "AcquisitionDate", "StudyDate"):
        text = str(dataset.get(keyword, "") or "")[:8]
        if len(text) == 8 and text.isascii() and text.isdigit():
            try:
                return date(int(text[:4]), int(text[4:6]), int(text[6:])).isoformat()
            except ValueError:
                continue
    return ""


def _pixels(dataset: Any, syntax: str, name: str, limits: Limits) -> Pixels:
    width, height = _whole(dataset, "Columns", "(0028,0011)", name), _whole(dataset, "Rows", "(0028,0010)", name)
    limits.check_frame(name, width, height)
    frames = dataset.get("NumberOfFrames", 1)
    if int(1 if frames is None else frames) != 1:
        raise _refused(name, "Number of Frames (0028,0008)", "1", frames)
    for keyword, tag, wanted in (
        ("BitsAllocated", "(0028,0100)", 8),
        ("BitsStored", "(0028,0101)", 8),
        ("HighBit", "(0028,0102)", 7),
        ("PixelRepresentation", "(0028,0103)", 0),
    ):
        if (got := _whole(dataset, keyword, tag, name)) != wanted:
            raise _refused(name, f"{keyword} {tag}", str(wanted), got)
    samples = _whole(dataset, "SamplesPerPixel", "(0028,0002)", name)
    colours = str(dataset.get("PhotometricInterpretation", ""))
    way = "jpeg" if syntax == JPEG_BASELINE else "native"
    known = _COLOURS.get((samples, way), ())
    if colours not in known:
        readable = " or ".join(known) or "1 or 3 samples"
        raise _refused(name, "Photometric Interpretation (0028,0004)", readable, f"{colours} of {samples} samples")
    if "PixelData" not in dataset:
        raise _refused(name, "Pixel Data (7FE0,0010)", "pixels", "nothing")
    if way == "jpeg":
        return _jpeg(bytes(dataset.PixelData), samples, width, height, name)
    return _native(dataset, bytes(dataset.PixelData), colours, (height, width, samples), name)


def _native(dataset: Any, data: bytes, colours: str, shape: tuple[int, int, int], name: str) -> Pixels:
    height, width, samples = shape
    size = height * width * samples
    if len(data) != size + size % 2:  # PS3.5 8.1.1: padded to even length
        raise _refused(name, "Pixel Data (7FE0,0010)", f"{size + size % 2} bytes", f"{len(data)} bytes")
    flat = np.frombuffer(data, np.uint8, size)
    if samples == 1:
        return np.repeat(flat.reshape(height, width, 1), 3, axis=2)
    planar = _whole(dataset, "PlanarConfiguration", "(0028,0006)", name)
    if planar not in (0, 1):
        raise _refused(name, "Planar Configuration (0028,0006)", "0 or 1", planar)
    picture = flat.reshape(shape) if planar == 0 else flat.reshape(3, height, width).transpose(1, 2, 0)
    if colours == "YBR_FULL":
        return np.array(Image.fromarray(np.ascontiguousarray(picture), "YCbCr").convert("RGB"), dtype=np.uint8)
    return np.array(picture)


def _jpeg(data: bytes, samples: int, width: int, height: int, name: str) -> Pixels:
    frames = list(generate_frames(data, number_of_frames=1))
    if len(frames) != 1:
        raise _refused(name, "Pixel Data (7FE0,0010)", "one frame", f"{len(frames)} frames")
    with Image.open(BytesIO(frames[0]), formats=("JPEG",)) as image:
        # What the JPEG says of itself must be what the tags promised, before anything is decoded.
        if image.size != (width, height) or len(image.getbands()) != samples or image.info.get("progressive"):
            got = f"{image.mode} of {image.size[0]} x {image.size[1]}{' progressive' * ('progressive' in image.info)}"
            raise _refused(name, "Pixel Data (7FE0,0010)", f"a baseline JPEG of {width} x {height}, {samples}", got)
        return np.array(image.convert("RGB"), dtype=np.uint8)


def _bytes(source: Path | bytes, name: str, limits: Limits) -> bytes:
    if isinstance(source, bytes):
        limits.check_file(name, len(source))
        return source
    if not source.is_file():
        raise ImageRefused(f"{name}: expected a file")
    limits.check_file(name, source.stat().st_size)
    with source.open("rb") as file:
        data = file.read(limits.file_bytes + 1)
    limits.check_file(name, len(data))
    return data


def _transfer_syntax(data: bytes, name: str) -> str:
    """Of the file meta information (PS3.10 7.1), read by hand: 128 bytes, DICM, then explicit VR little endian."""
    if data[128:132] != b"DICM":
        raise ImageRefused(f"{name}: expected a DICOM file (DICM after 128 bytes), got {data[128:132]!r}")
    at = 132
    while at + 8 <= len(data):
        group, element, kind, length = struct.unpack_from("<HH2sH", data, at)
        if group != 0x0002:
            break
        at += 8
        if kind in (b"OB", b"UN"):  # these have a length of four bytes
            if at + 4 > len(data):
                break
            (length,) = struct.unpack_from("<I", data, at)
            at += 4
        if element == 0x0010:
            return data[at : at + length].rstrip(b"\0 ").decode("ascii", "replace")
        at += length
    raise _refused(name, "Transfer Syntax UID (0002,0010)", "a transfer syntax", "nothing")


def _whole(dataset: Any, keyword: str, tag: str, name: str) -> int:
    value = dataset.get(keyword)
    if not isinstance(value, int):
        raise _refused(name, f"{keyword} {tag}", "a whole number", "nothing" if value is None else value)
    return value


def _refused(name: str, tag: str, expected: str, got: object, why: Why = Why.FORM) -> ImageRefused:
    return ImageRefused(f"{name}: {tag}: expected {expected}, got {str(got)[:80]}", why)
