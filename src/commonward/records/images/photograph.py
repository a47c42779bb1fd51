"""A photograph of an eye as learners get it: pixels and what must be known to use them fairly. Nothing else is kept.

Whatever read it (DICOM, a folder, the generator) hands over this, so checks of burnt-in text, quality, duplicates and
patients are the same for all. Metadata of a file (EXIF, private tags) ends at the adapter that read it.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
"""(height, width, 3), red, green, blue."""

PATHOGENS: Final = ("bacterial", "fungal", "viral", "other")
"""The flagship's classes, in the order of the learner's outputs."""

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?")


class Why(StrEnum):
    """For what kind of reason a picture is refused, so that a hospital sees at once what to mend."""

    TEXT = "writing"  # burnt in: flagged by the camera, or found
    SIZE = "size"  # too small to show anything, or so large that it may be a bomb
    FORM = "form"  # not a picture of a form that we read, or damaged
    PATIENT = "patient"  # none, or one that cannot be
    LISTED = "list"  # what the list says of it: no such file, outside the folder, twice
    LABEL = "class"  # of no class there is, or of two


class ImageRefused(ValueError):
    """A picture that may not or cannot be used: which, what was expected, what was got. `why`: the kind of reason."""

    def __init__(self, what: str, why: Why = Why.FORM) -> None:
        super().__init__(what)
        self.why = why


class Eye(StrEnum):
    """Which eye, in the words of DICOM's Image Laterality (0020,0062)."""

    RIGHT = "R"
    LEFT = "L"
    BOTH = "B"
    UNKNOWN = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may be before it is opened any further: decoders are attacked through sizes.

    Attributes:
        file_bytes: of the file as stored.
        pixels: width times height, read from the header before anything is decoded.
        least_side, greatest_side: of each side in pixels. 160 is the least that shows a lesion of a millimetre.
    """

    file_bytes: int = 64 << 20
    pixels: int = 50_000_000
    least_side: int = 160
    greatest_side: int = 16_384

    def check_file(self, name: str, size: int) -> None:
        """Raises ImageRefused."""
        if not 0 < size <= self.file_bytes:
            raise ImageRefused(f"{name}: expected a file of 1 to {self.file_bytes} bytes, got {size}", Why.SIZE)

    def check_frame(self, name: str, width: int, height: int) -> None:
        """Raises ImageRefused."""
        if not all(self.least_side <= side <= self.greatest_side for side in (width, height)):
            raise ImageRefused(
                f"{name}: expected sides of {self.least_side} to {self.greatest_side} pixels, got {width} x {height}",
                Why.SIZE,
            )
        if width * height > self.pixels:
            raise ImageRefused(f"{name}: expected at most {self.pixels} pixels, got {width * height}", Why.SIZE)


@dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    """One picture of one eye.

    Attributes:
        pixels: (height, width, 3) uint8.
        patient: the hospital's own key; never leaves it. Two pictures of one patient have the same.
        eye: right, left, both, or not said.
        device: maker and model of the camera, for the page on how sites differ.
        source: where it came from, for messages to the hospital's own people.
        label: what is to be learnt, or None.
        synthetic: drawn by a program. Every figure from such pictures must say so.
        taken: the day (YYYY-MM-DD) or the moment (with a zone) as FHIR's dateTime; "" where it is not known.
    """

    pixels: Pixels
    patient: str
    source: str
    eye: Eye = Eye.UNKNOWN
    device: str = "unknown"
    label: str | None = None
    synthetic: bool = False
    taken: str = ""

    def __post_init__(self) -> None:
        shape, kind = self.pixels.shape, self.pixels.dtype
        if kind != np.uint8 or len(shape) != 3 or shape[2] != 3 or not self.pixels.size:
            raise ImageRefused(f"{self.source}: expected (height, width, 3) of uint8, got {shape} of {kind}")
        if not self.patient:
            raise ImageRefused(
                f"{self.source}: expected a patient, got none; patients must not be on both sides", Why.PATIENT
            )
        if self.taken and not _is_time(self.taken):
            raise ImageRefused(
                f"{self.source}: expected the day it was taken as 2025-05-31, or with a time and zone "
                f"2025-05-31T08:30:00+08:00, got {self.taken[:40]!r}",
                Why.LISTED,
            )

    @property
    def digest(self) -> bytes:
        """SHA-256 over the size and the pixels: the same picture in another file has the same."""
        height, width, _ = self.pixels.shape
        return sha256(b"commonward photograph v1\0" + b"%d %d\0" % (height, width) + self.pixels.tobytes()).digest()


def _is_time(text: str) -> bool:
    """A FHIR dateTime to the day, or to the second with a zone."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return False
    return _TIME.fullmatch(text) is not None and (len(text) == 10 or found.tzinfo is not None)


def luminance(pixels: Pixels) -> NDArray[np.int64]:
    """(height, width), 0 to 255: (77 R + 150 G + 29 B) / 256, ITU-R BT.601 in whole numbers: alike on every machine."""
    whole = pixels.astype(np.int64)
    return (77 * whole[:, :, 0] + 150 * whole[:, :, 1] + 29 * whole[:, :, 2]) >> 8


def shrunk(plane: NDArray[np.int64], height: int, width: int) -> NDArray[np.int64]:
    """Means of areas, in whole numbers: (height, width). Areas differ by at most a row and a column in size.

    Raises ImageRefused where the picture is smaller than that.
    """
    if plane.shape[0] < height or plane.shape[1] < width:
        raise ImageRefused(f"expected at least {height} x {width} pixels, got {plane.shape}")
    rows = [plane.shape[0] * at // height for at in range(height + 1)]
    columns = [plane.shape[1] * at // width for at in range(width + 1)]
    sums = np.add.reduceat(np.add.reduceat(plane, rows[:-1], axis=0), columns[:-1], axis=1)
    areas = np.diff(rows)[:, None] * np.diff(columns)[None, :]
    means: NDArray[np.int64] = sums // areas
    return means


def devices(photographs: Iterable[Photograph]) -> dict[str, int]:
    """How many pictures each camera took: a site's scanner, for the page on how sites differ."""
    return dict(Counter(each.device for each in photographs).most_common())
