"""What a model is of: its backbone and how features become a head's inputs. It lies in the model as a tensor, `form`.

So a model file can be used by who has nothing else of the study, and a site notices when the protocol's settings and
the model that came are not of one kind. Training never changes it: its part of every update is zero.

    raw        features as they are, (n, 1280)
    features_norm 1   each divided by its length: no patient's gradient can be large because a picture is bright, and
                      what bounds it is taken from no data
    width      1280 shrunk to fewer by a fixed matrix of signs (Achlioptas 2003): noise is added to each number that is
               learnt, so fewer are better; the matrix is SHAKE-256 of a sentence, alike everywhere and made of no data
    centre     what all pictures share is taken off, then the length made one again: most of a feature vector tells no
               class from another, and under noise it uses up the clip. The mean is learnt in the first round, a sum
               of unit vectors that is private like every step
    carry      the last step goes from round to round with the model, so that momentum does not begin anew at every site
               in every round (Yu, Jin and Yang 2019, arXiv:1905.03817). With one step a round the sites' mean step is
               then the step of all rows in one place, and sites of unequal classes do not pull apart
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import shake_256
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from commonward.records.images.photograph import PATHOGENS
from commonward.records.model import Floats

from .backbone import VARIANTS, WIDTH, variant
from .pictures import GREATEST_SIDE, LEAST_SIDE

FORM: Final = "form"
WEIGHT, BIAS, TEMPERATURE, CENTRE = "head/weight", "head/bias", "temperature", "centre"
STEPS: Final = {WEIGHT: "momentum/weight", BIAS: "momentum/bias"}
"""Of a carried model: the last step of each part of the head."""

BACKBONE: Final = "backbone/"
CLASSES: Final = len(PATHOGENS)

_BILLION: Final = 1_000_000_000
_MILLIONTH: Final = 1000
_SENTENCE: Final = b"commonward projection of features v1"


class WrongForm(ValueError):
    """Settings or a model that this learner cannot be: which, what was expected, what was got."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a head reads.

    Attributes:
        backbone: a name of VARIANTS.
        side: pixels a side of what the backbone sees.
        width: the head's inputs, 1280 or fewer.
        norm: whether features are divided by their length.
        abstain: least probability of the likeliest class with which a class is named, in billionths; thousands.
        whole: whether the backbone's weights are in the model too.
        centred: whether the features' mean is in the model, and is taken off.
        carried: whether the last step of the head is in the model, and is gone on from.
    """

    backbone: str = "lite0"
    side: int = 224
    width: int = WIDTH
    norm: bool = True
    abstain: int = 500_000_000
    whole: bool = False
    centred: bool = False
    carried: bool = False

    def __post_init__(self) -> None:
        variant(self.backbone)
        if not LEAST_SIDE <= self.side <= GREATEST_SIDE:
            raise WrongForm(f"expected an image of {LEAST_SIDE} to {GREATEST_SIDE} pixels a side, got {self.side}")
        if not 8 <= self.width <= WIDTH:
            raise WrongForm(f"expected a width of 8 to {WIDTH}, got {self.width}")
        if not 0 <= self.abstain <= _BILLION or self.abstain % _MILLIONTH:
            raise WrongForm(f"expected abstain of 0 to {_BILLION} billionths, in whole thousands, got {self.abstain}")
        if self.centred and (self.whole or not self.norm):
            raise WrongForm("expected train = head and features_norm = 1 with a centre")
        if self.carried and self.whole:
            raise WrongForm(
                "expected train = head with carry: the steps of a backbone would double a model of millions"
            )

    @classmethod
    def of_settings(cls, given: Mapping[str, Any]) -> "Form":
        """Of a protocol's settings. Raises WrongForm, ValueError."""
        name = given.get("backbone", "lite0")
        train = given.get("train", "head")
        numbers = {key: given.get(key, 0) for key in ("image", "width", "centre", "carry")}
        numbers["features_norm"], numbers["abstain"] = (
            given.get("features_norm", 1),
            given.get("abstain", _BILLION // 2),
        )
        if not isinstance(name, str) or train not in ("head", "all"):
            raise WrongForm(f"expected a backbone's name, and train of head or all, got {name!r:.40}, {train!r:.40}")
        if any(not isinstance(each, int) or each < 0 for each in numbers.values()) or (
            max(numbers["features_norm"], numbers["centre"], numbers["carry"]) > 1
        ):
            raise WrongForm(
                f"expected whole numbers from 0, and features_norm, centre and carry of 0 or 1, got {numbers}"
            )
        side, width = numbers["image"] or variant(name).side, numbers["width"] or WIDTH
        norm, centred, carried = (bool(numbers[key]) for key in ("features_norm", "centre", "carry"))
        return cls(name, side, width, norm, numbers["abstain"], train == "all", centred, carried)

    @classmethod
    def of_model(cls, weights: Mapping[str, Floats]) -> "Form":
        """As it lies in a model. Raises WrongForm."""
        found = weights.get(FORM)
        if found is None or found.shape != (5,):
            raise WrongForm(f"expected a model of photographs, with a tensor {FORM!r} of 5, got {sorted(weights)[:4]}")
        at, side, width, norm = (int(each) for each in found[:4])
        if not 0 <= at < len(VARIANTS) or norm not in (0, 1):
            raise WrongForm(f"expected a backbone of 0 to {len(VARIANTS) - 1} and a norm of 0 or 1, got {at}, {norm}")
        whole = any(name.startswith(BACKBONE) for name in weights)
        abstain, centred, carried = int(found[4]) * _MILLIONTH, CENTRE in weights, STEPS[WEIGHT] in weights
        form = cls(VARIANTS[at].name, side, width, bool(norm), abstain, whole, centred, carried)
        shapes = {WEIGHT: (CLASSES, form.width), BIAS: (CLASSES,), TEMPERATURE: (1,)}
        if centred:
            shapes[CENTRE] = (form.width,)
        if carried:
            shapes |= {STEPS[name]: shapes[name] for name in STEPS}
        for name, shape in shapes.items():
            got = weights[name].shape if name in weights else "nothing"
            if got != shape:
                raise WrongForm(f"{name}: expected the shape {shape} in the model, got {got}")
        return form

    def tensor(self) -> Floats:
        """(5,): backbone's number, side, width, norm, abstain in millionths: whole numbers, which Q24 holds exactly."""
        at = [each.name for each in VARIANTS].index(self.backbone)
        return np.array([at, self.side, self.width, self.norm, self.abstain // _MILLIONTH], np.float64)

    def inputs(self, features: Tensor, centre: Tensor | None = None) -> Tensor:
        """(n, 1280) features to (n, width) inputs of the head; gradients pass.

        `centre`: (width,) of a centred model; without it, or while it is zero, what the centre is the mean of.
        """
        x = features
        if self.norm:
            x = _unit(x)
        if self.width < WIDTH:
            x = x @ signs(self.width).to(x)
            if self.norm:
                x = _unit(x)
        return x if centre is None else _unit(x - centre.to(x))


def centre_of(weights: Mapping[str, Floats]) -> Tensor | None:
    """A model's centre; None where it has none."""
    return torch.from_numpy(np.array(weights[CENTRE])) if CENTRE in weights else None


def signs(width: int) -> Tensor:
    """(1280, width) of +-1 / sqrt(width): the same on every machine."""
    bits = np.unpackbits(np.frombuffer(shake_256(_SENTENCE).digest(WIDTH * WIDTH // 8), np.uint8)).reshape(WIDTH, WIDTH)
    plus_minus = bits[:width].T.astype(np.float64) * 2 - 1
    return torch.from_numpy(plus_minus / np.sqrt(width))


def _unit(x: Tensor) -> Tensor:
    return x / torch.clamp(torch.linalg.vector_norm(x, dim=1, keepdim=True), min=1e-6)


def first_weights(form: Form, backbone: nn.Module | None) -> dict[str, Floats]:
    """The model that a study starts from: nothing known of the classes, and ImageNet's backbone where it is learnt."""
    found = {
        FORM: form.tensor(),
        WEIGHT: np.zeros((CLASSES, form.width)),
        BIAS: np.zeros(CLASSES),
        TEMPERATURE: np.zeros(1),
    }
    if form.centred:
        found[CENTRE] = np.zeros(form.width)
    if form.carried:
        found |= {step: np.zeros_like(found[name]) for name, step in STEPS.items()}
    if form.whole:
        assert backbone is not None
        found |= {
            f"{BACKBONE}{name}": each.detach().numpy().astype(np.float64) for name, each in backbone.named_parameters()
        }
    return found
