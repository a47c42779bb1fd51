"""Features of photographs by a frozen backbone: computed once for each file, kept by its digest.

A worker's rows do not change from round to round, so what the backbone says of them does not either: the first round
takes the time (some 70 ms a picture of 224 pixels on one thread), every later one reads a table.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from commonward.records.images.photograph import ImageRefused, Pixels

from .backbone import WIDTH, Backbone, variant
from .pictures import pixels_of, shrunk, tensor_of
from .weights import pretrained

Features = NDArray[np.float32]
"""(pictures, 1280)."""

BATCH: Final = 16
DEVICES: Final = ("cpu", "gpu", "auto")

_backbones: dict[str, Backbone] = {}
_known: dict[tuple[str, int, bytes], Features] = {}


def device_of(name: str) -> Any:
    """The torch device of a setting: `cpu`, `gpu`, or `auto`: a GPU where there is one.

    Raises ValueError for another word, or where a GPU is asked for and none is there.
    """
    if name not in DEVICES:
        raise ValueError(f"expected a device of {', '.join(DEVICES)}, got {name!r:.40}")
    there = name != "cpu" and torch.cuda.is_available()
    if name == "gpu" and not there:
        raise ValueError("expected a GPU, as the setting `device` says, but PyTorch finds none: set it to auto or cpu")
    return torch.device("cuda" if there else "cpu")


def one_thread() -> None:
    """A node's machine has other work. Called once, before anything is computed."""
    torch.set_num_threads(1)


def backbone_of(name: str, device: str = "cpu") -> Backbone:
    """The backbone with ImageNet's weights, loaded once. Callers do not change it: see `Backbone` for copies."""
    if name not in _backbones:
        loaded = pretrained(name)
        loaded.requires_grad_(False).to(memory_format=torch.channels_last)
        _backbones[name] = loaded
    network = _backbones[name]
    network.to(device_of(device))
    return network


def features(
    pictures: Sequence[bytes],
    backbone: str = "lite0",
    side: int = 0,
    device: str = "cpu",
    what: str = "row",
    digests: Sequence[bytes] = (),
) -> Features:
    """The features of files, in their order.

    Args:
        pictures: JPEG or PNG files.
        backbone: a name of VARIANTS.
        side: pixels a side of what the backbone sees; 0 takes the size of its weights.
        what: for messages: "row 3: expected ...".
        digests: SHA-256 of each file, where they are known.

    Raises:
        ImageRefused: a file that is no picture, by its place in `pictures`, from 0.
        WeightsRefused, ValueError: as `backbone_of`.
    """
    network = backbone_of(backbone, device)
    asked = side or variant(backbone).side
    known = digests or [sha256(each).digest() for each in pictures]
    keys = [(backbone, asked, each) for each in known]
    missing = [at for at, key in enumerate(keys) if key not in _known]
    for start in range(0, len(missing), BATCH):
        places = missing[start : start + BATCH]
        made = of_pixels(network, [_shrunk(pictures[at], f"{what} {at}", asked) for at in places], device)
        _known.update({keys[at]: row for at, row in zip(places, made, strict=True)})
    if not keys:
        return np.zeros((0, WIDTH), np.float32)
    return np.stack([_known[key] for key in keys])


def remember(pictures: Sequence[bytes], rows: Features, backbone: str = "lite0", side: int = 0) -> None:
    """Keep features that were computed elsewhere, as if `features` had been asked for these files."""
    if rows.shape != (len(pictures), WIDTH):
        raise ValueError(f"expected features of the shape {(len(pictures), WIDTH)}, got {rows.shape}")
    asked = side or variant(backbone).side
    _known.update({(backbone, asked, sha256(file).digest()): row for file, row in zip(pictures, rows, strict=True)})


def of_pixels(network: Backbone, pictures: list[Pixels], device: str = "cpu") -> Features:
    """The features of pictures that `pictures.shrunk` made, in one batch."""
    with torch.inference_mode():
        found = network(tensor_of(pictures).to(device_of(device)))
    return np.asarray(found.cpu().numpy(), np.float32)


def forget() -> None:
    """Drop what is known of pictures: of rows that a `load` replaced."""
    _known.clear()


def _shrunk(data: bytes, name: str, side: int) -> Pixels:
    try:
        return shrunk(pixels_of(data, name), side)
    except ImageRefused:
        raise
    except (ValueError, MemoryError) as cause:
        raise ImageRefused(f"{name}: {cause}") from cause
