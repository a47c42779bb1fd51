"""A photograph's file to what the backbone sees: a square from the middle, shrunk, in the numbers its weights expect.

The middle is where the cornea is. Pictures are shrunk with Pillow's bicubic filter and the numbers are (value - 127) /
128, as the weights were trained (efficientnet_lite_builder.py of tensorflow/tpu: MEAN_RGB 127, STDDEV_RGB 128). The
usual mean and deviation of ImageNet are not meant here.
"""

from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from commonward.records.images.decode import decoded
from commonward.records.images.photograph import Limits, Pixels

MEAN: Final = 127.0
DEVIATION: Final = 128.0
LEAST_SIDE: Final = 64
"""Of what the backbone is given: below it the last map has one place."""

GREATEST_SIDE: Final = 512

LIMITS: Final = Limits(file_bytes=16 << 20, pixels=50_000_000, least_side=64)
"""Of a file in a cohort. Its hospital saw to the least size of a useful photograph when it took it in."""


def pixels_of(data: bytes, name: str) -> Pixels:
    """(height, width, 3) of a JPEG or PNG file's bytes. Raises ImageRefused."""
    return decoded(data, name, LIMITS)


def square(pixels: Pixels) -> Pixels:
    """The largest square from the middle."""
    tall, wide, _ = pixels.shape
    side = min(tall, wide)
    top, left = (tall - side) // 2, (wide - side) // 2
    return pixels[top : top + side, left : left + side]


def shrunk(pixels: Pixels, side: int) -> Pixels:
    """(side, side, 3) of the square in the middle. Raises ValueError for a side that no backbone takes."""
    if not LEAST_SIDE <= side <= GREATEST_SIDE:
        raise ValueError(f"expected pictures of {LEAST_SIDE} to {GREATEST_SIDE} pixels a side, got {side}")
    middle = Image.fromarray(np.ascontiguousarray(square(pixels)))
    return np.asarray(middle.resize((side, side), Image.Resampling.BICUBIC), dtype=np.uint8)


def tensor_of(pictures: list[Pixels]) -> Tensor:
    """(n, 3, side, side) float32 of pictures that `shrunk` made."""
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(torch.float32)
    return ((stacked - MEAN) / DEVIATION).contiguous(memory_format=torch.channels_last)
