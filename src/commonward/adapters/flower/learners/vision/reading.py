"""One photograph read by a model: the quality gate, calibrated chances, abstaining, and a map of what spoke for it.

The map is a class activation map (Zhou et al. 2016): how much each place of the last convolutions' map adds to the
likeliest class. Where features are divided by their length the share of each feature is its slope at this picture
(Selvaraju et al. 2017), which for a plain linear head is the same thing. It says where the model looked, in some 30
pixels, and not why, nor whether it was right.
"""

import io
from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from PIL import Image

from commonward.records.images.photograph import Pixels
from commonward.records.images.reading import BILLION, Reading
from commonward.records.model import Floats

from . import head
from .features import backbone_of, device_of
from .form import TEMPERATURE, Form, centre_of
from .judging import probabilities, usable
from .pictures import pixels_of, shrunk, square, tensor_of

GREATEST_MAP: Final = 1024
"""Pixels a side of the map's file."""

_STRENGTH: Final = 0.6


def read_photograph(weights: Mapping[str, Floats], data: bytes, device: str = "cpu") -> Reading:
    """What a model says of a JPEG or PNG file's bytes.

    Raises:
        ImageRefused: no picture; a picture that cannot be judged is a reading with findings.
        WrongForm: no model of photographs.
    """
    form = Form.of_model(weights)
    pixels = pixels_of(data, "the photograph")
    if found := usable(pixels, "the photograph"):
        return Reading((), True, found)
    backbone = backbone_of(form.backbone)
    network = head.head_of(weights)
    if form.whole:
        whole = head.whole_of(backbone, form, weights)
        backbone, network = whole.backbone, whole.head
    backbone.to(device_of(device))
    with torch.no_grad():
        seen = backbone.last_map(tensor_of([shrunk(pixels, form.side)]).to(device_of(device))).cpu().to(torch.float64)
    features = seen.mean(dim=(2, 3)).requires_grad_(True)
    logits = network(form.inputs(features, centre_of(weights)))
    chances = probabilities(logits.detach().numpy(), float(weights[TEMPERATURE][0]))[0]
    top = int(chances.argmax())
    # Against the mean of all classes: adding the same to every class changes no chance.
    (logits[0, top] - logits[0].mean()).backward()
    activation = torch.einsum("k,khw->hw", features.grad[0], seen[0]).numpy()
    parts = billionths(chances)
    return Reading(parts, parts[top] < form.abstain, (), heat_map(pixels, activation))


def billionths(chances: Floats) -> tuple[int, ...]:
    """Whole numbers that sum to 10^9: what rounding leaves goes to the greatest."""
    parts = [int(each * BILLION) for each in chances]
    parts[int(chances.argmax())] += BILLION - sum(parts)
    return tuple(parts)


def heat_map(pixels: Pixels, activation: Floats) -> bytes:
    """A PNG of the square that was seen: grey, with red where the map is high and nothing where it is not above 0."""
    middle = Image.fromarray(np.ascontiguousarray(square(pixels)))
    side = min(middle.width, GREATEST_MAP)
    middle = middle.resize((side, side), Image.Resampling.BICUBIC)
    above = np.maximum(activation, 0.0)
    share = above / above.max() if above.max() > 0 else above
    small = Image.fromarray((share * 255).astype(np.uint8))
    heat = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC), np.float64)[:, :, None] / 255 * _STRENGTH
    grey = np.asarray(middle.convert("L").convert("RGB"), np.float64)
    red = np.array([255.0, 40.0, 0.0])
    laid = Image.fromarray((grey * (1 - heat) + red * heat).astype(np.uint8))
    file = io.BytesIO()
    laid.save(file, "PNG")
    return file.getvalue()
