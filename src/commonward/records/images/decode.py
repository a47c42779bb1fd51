"""A JPEG or PNG file's bytes to pixels, within limits; whatever else it carries (EXIF, comments, profiles) is dropped.

Pillow decodes, and is asked for these two formats alone: its other decoders are never reached. Size is read from the
header before a pixel is decoded. EXIF's orientation is applied first, as it is part of what is seen; its place, time,
camera serial number and thumbnail go no further. Needs Pillow (the extra `learning`); who imports this has it.
"""

import warnings
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from commonward.records.images.photograph import ImageRefused, Limits, Pixels, Why

_MODES = ("RGB", "L", "P", "RGBA", "LA")
_SCAN = b"\xff\xda"  # SOS, ITU-T T.81 B.2.3; within a scan every 0xff is followed by 0, so none is missed
_MOST_SCANS = 32
"""A progressive JPEG has about ten. Each costs a pass over all pixels, and can be made of 14 bytes: a file of the size
allowed could hold a decoder for days."""


def decoded(data: bytes, name: str, limits: Limits | None = None) -> Pixels:
    """The pixels of one picture.

    Args:
        data: the file's bytes.
        name: for messages.

    Raises:
        ImageRefused: not a JPEG or PNG, too large, animated, of a colour space we do not convert (CMYK, 16 bits), with
            transparent parts, or damaged.
    """
    asked = limits or Limits()
    asked.check_file(name, len(data))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(BytesIO(data), formats=("JPEG", "PNG")) as image:
                asked.check_frame(name, *image.size)
                if image.format != "PNG" and data.count(_SCAN) > _MOST_SCANS:
                    raise ImageRefused(f"{name}: expected a JPEG of at most {_MOST_SCANS} scans, got more", Why.SIZE)
                frames = getattr(image, "n_frames", 1)
                if frames != 1:
                    raise ImageRefused(f"{name}: expected a still picture, got {frames} frames")
                if image.mode not in _MODES:
                    raise ImageRefused(f"{name}: expected 8-bit grey or RGB colours, got {image.mode}")
                image.load()
                upright = ImageOps.exif_transpose(image)
                if upright.has_transparency_data:
                    if upright.convert("RGBA").getchannel("A").getextrema() != (255, 255):
                        raise ImageRefused(f"{name}: expected an opaque picture, got one with transparent parts")
                    upright = upright.convert("RGBA")
                return np.array(upright.convert("RGB"), dtype=np.uint8)
    except ImageRefused:
        raise
    except UnidentifiedImageError as cause:
        raise ImageRefused(f"{name}: expected a JPEG or PNG file, got {data[:8]!r}...") from cause
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as cause:
        raise ImageRefused(f"{name}: expected at most {asked.pixels} pixels: {cause}", Why.SIZE) from cause
    except Exception as cause:
        # Pillow fails in a dozen ways on damaged bytes (struct.error on a tag of EXIF, say): none may stop the others.
        raise ImageRefused(
            f"{name}: expected a whole JPEG or PNG file, got {type(cause).__name__}: {cause!s:.200}"
        ) from cause
