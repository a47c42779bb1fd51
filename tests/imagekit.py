"""Files for the tests of photographs: DICOM objects as slit lamps export them, pictures with writing in them."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit

from commonward.records.images.photograph import Photograph, Pixels

OPHTHALMIC = UID("1.2.840.10008.5.1.4.1.1.77.1.5.1")


def dicom(pixels: Pixels, changes: Mapping[str, Any] | None = None, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """An ophthalmic photograph; `changes` by keyword, None takes a tag out."""
    height, width, samples = pixels.shape
    dataset = Dataset()
    dataset.SOPClassUID = OPHTHALMIC
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.PatientID = "P-1"
    dataset.PatientName = "Never^Kept"
    dataset.ImageLaterality = "R"
    dataset.Manufacturer, dataset.ManufacturerModelName = "Maker", "SL-1"
    dataset.BurnedInAnnotation = "NO"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = height, width, samples
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.NumberOfFrames = 1
    if samples == 3:
        dataset.PlanarConfiguration = 0
    if syntax == JPEGBaseline8Bit:
        dataset.PhotometricInterpretation = "YBR_FULL_422"
        dataset.PixelData = encapsulate([jpeg(pixels)])
        dataset["PixelData"].is_undefined_length = True
    else:
        dataset.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
        dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    for keyword, value in (changes or {}).items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = OPHTHALMIC
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def jpeg(pixels: Pixels, **options: Any) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95, **options)
    return out.getvalue()


def png(pixels: Pixels) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def written(photograph: Photograph, words: str, size: int = 16, *, boxed: bool = True) -> Photograph:
    """The same with words burnt in at the top left, white, on a black box."""
    image = Image.fromarray(photograph.pixels)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=size)
    if boxed:
        draw.rectangle((2, 2, 8 + draw.textlength(words, font=font), size + 10), fill=(0, 0, 0))
    draw.text((5, 4), words, fill=(255, 255, 255), font=font)
    return Photograph(np.asarray(image), photograph.patient, photograph.source)
