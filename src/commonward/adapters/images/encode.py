"""A picture's pixels as the file that goes into the vault: JPEG of quality 95, at most 1,024 pixels a side, no more.

Writing it anew is what takes EXIF, comments, colour profiles, thumbnails and private data out: only pixels go in. The
same pixels give the same bytes on one installation, so a picture that is taken in twice is one record. 1,024 pixels
show a lesion of a tenth of a millimetre on a cornea that fills half the frame; learners look at 224 to 512.
"""

from io import BytesIO
from typing import Final

from PIL import Image

from commonward.records.images.photograph import Pixels

SIDE: Final = 1024
QUALITY: Final = 95
JPEG: Final = "image/jpeg"
PNG: Final = "image/png"


def fitted(width: int, height: int, side: int = SIDE) -> tuple[int, int]:
    """(width, height) at which a picture of this size is kept."""
    longest = max(width, height)
    if longest <= side:
        return width, height
    return max(round(width * side / longest), 1), max(round(height * side / longest), 1)


def encoded(pixels: Pixels, side: int = SIDE, form: str = JPEG) -> bytes:
    """A JPEG file (4:4:4, baseline), or a PNG file where that is asked for.

    Args:
        pixels: (height, width, 3) uint8.
        side: the longer side at most; larger pictures are made smaller (Lanczos), smaller ones stay as they are.
        form: JPEG or PNG, as a MIME type.
    """
    image = Image.fromarray(pixels)
    size = fitted(*image.size, side)
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    out = BytesIO()
    if form == PNG:
        image.save(out, "PNG", optimize=False)
    else:
        # No chroma subsampling: the edge of a dendrite under cobalt light is a difference of colour, not of brightness.
        image.save(out, "JPEG", quality=QUALITY, subsampling=0, optimize=False, progressive=False)
    return out.getvalue()
