"""What a learner of photographs does with a site's rows: a round of training, and judging. No Flower here.

head   the backbone stays ImageNet's; a linear head on its features is learnt. Features are computed once.
all    the convolutions are learnt too, in every round anew from the pictures, with BatchNorm frozen.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from commonward.records.images.decode import decoded
from commonward.records.images.photograph import ImageRefused
from commonward.records.model import Floats, Integers

from . import head
from .centring import mean_privately
from .features import backbone_of, device_of, features
from .form import BIAS, CENTRE, STEPS, TEMPERATURE, WEIGHT, Form, WrongForm, centre_of, first_weights
from .judging import counts, fitted_temperature, probabilities
from .pictures import LIMITS, shrunk, tensor_of
from .private import descend_privately
from .rows import Photographs, findings

_BILLION: Final = 1_000_000_000
DEFAULTS: Final = {
    "learning_rate": 2 * _BILLION,
    "momentum": 900_000_000,
    "steps": 50,
    "batch": 0,
    "mu": 0,
    "ridge": 100_000,
    "seed": 0,
    "clip": _BILLION,
    "noise": 0,
    "rate": _BILLION,
    "calibration": 100,
    "fall": 0,
}
"""Settings in numbers. Of `train` = all: a learning_rate of 10,000,000 and a batch of 16 where they are not given."""

KEPT: Final = 12
"""Tables of inputs in one process: rows to learn from, to fit the temperature on, to be judged by; of several sites."""

_ready: dict[bytes, Tensor] = {}
_MANY: Final = 100_000
_WHOLE: Final = {"learning_rate": 10_000_000, "batch": 16, "steps": 20}


def constants(given: Mapping[str, Any]) -> dict[str, int]:
    """The protocol's numbers or their defaults. Raises ValueError for what cannot be."""
    usual = DEFAULTS | (_WHOLE if given.get("train") == "all" else {})
    found = {name: given.get(name, default) for name, default in usual.items()}
    if any(not isinstance(value, int) or value < 0 for value in found.values()):
        raise ValueError(f"expected whole numbers from 0, got {found}")
    if not 1 <= found["steps"] <= 100_000 or not found["clip"] or not found["learning_rate"]:
        raise ValueError(f"expected 1 to 100,000 steps, a clip and a learning rate above 0, got {found}")
    if not 1 <= found["rate"] <= _BILLION or found["momentum"] >= _BILLION or found["calibration"] > 500:
        raise ValueError(
            "expected a rate of 1 to 10^9 billionths, a momentum below 10^9 and a calibration of at most 500 "
            f"thousandths, got {found['rate']}, {found['momentum']}, {found['calibration']}"
        )
    if found["fall"] > _MANY:
        raise ValueError(f"expected a fall over at most {_MANY} rounds, got {found['fall']}")
    if given.get("carry") and not found["momentum"]:
        raise ValueError("expected a momentum above 0 with carry: there is nothing to carry")
    if found["noise"] and "seed" in given:
        raise ValueError("expected no seed with noise: noise is never seeded, and every step draws its patients anew")
    if found["noise"] and given.get("train") == "all":
        raise ValueError(
            "expected train = head with noise: over three million weights noise for one patient's privacy drowns what "
            "a hospital's patients say; the head has few enough"
        )
    if found["noise"] and given.get("centre") and found["rate"] != _BILLION:
        raise ValueError(f"expected a rate of 10^9 with a centre: its sum is over all rows, got {found['rate']}")
    if found["noise"] and given.get("features_norm", 1) != 1:
        raise ValueError("expected features_norm = 1 with noise: else bright pictures alone fill the clip")
    return {name: int(value) for name, value in found.items()}


def first(given: Mapping[str, Any]) -> dict[str, Floats]:
    """The model that a study starts from."""
    form = Form.of_settings(given)
    constants(given)
    return first_weights(form, backbone_of(form.backbone) if form.whole else None)


def form_of(weights: Mapping[str, Floats], given: Mapping[str, Any]) -> Form:
    """The model's form, which must be the settings'. Raises WrongForm."""
    found, wanted = Form.of_model(weights), Form.of_settings(given)
    if found != wanted:
        raise WrongForm(f"expected a model as the study's settings say, {wanted}, got {found}")
    return found


def train(weights: Mapping[str, Floats], given: Mapping[str, Any], number: int, rows: Photographs) -> dict[str, Floats]:
    """A site's weights after one round.

    Args:
        weights: the round's model.
        given: the protocol's settings.
        number: of the round.
        rows: to learn from; without noise a share of them is kept back to fit the temperature on.

    Raises:
        WrongForm, ValueError, ImageRefused, WeightsRefused, NotPrivate.
    """
    wanted = constants(given)
    form = form_of(weights, given)
    device = str(given.get("device", "cpu"))
    if not len(rows):
        raise ValueError("expected at least one row to learn from")
    new = {name: np.array(each) for name, each in weights.items()}
    if form.centred and not weights[CENTRE].any():  # the first round finds the centre, and learns no class yet
        x = inputs(form, rows, device).numpy()
        return new | {CENTRE: mean_privately(x, wanted) if wanted["noise"] else x.mean(axis=0)}
    wanted["learning_rate"] = fallen(wanted, number - form.centred)
    momentum = {name: weights[name] for name in STEPS.values()} if form.carried else {}
    if wanted["noise"]:
        network = head.head_of(weights)
        x = inputs(form, rows, device, centre_of(weights)).numpy()
        last = descend_privately(network, x, rows.labels, wanted, _joined(momentum) if momentum else None)
        if momentum:
            new |= {STEPS[WEIGHT]: last[:, :-1], STEPS[BIAS]: last[:, -1]}
        return new | head.weights_of(network)
    learnt, kept = rows.held_back(wanted["calibration"])
    if kept.labels.size:
        # Of the model as it came: this site has not yet learnt it better by heart.
        logits = head.logits_of(*_reader(weights, form, kept, device), len(kept))
        new[TEMPERATURE] = np.array([fitted_temperature(logits, kept.labels)])
    network, batches = _reader(weights, form, learnt, device)
    new |= head.descend(network, batches, learnt.labels, wanted, number, momentum)
    return new | head.weights_of(network)


def fallen(given: Mapping[str, int], number: int) -> int:
    """Billionths: the learning rate of this round, the first that learns being 1. It falls linearly over `fall` rounds,
    to its `fall`th part: what the last steps' noise (of batches, or of privacy) does to a model is averaged out (Shamir
    and Zhang 2013), and every site computes the same."""
    if not given["fall"]:
        return given["learning_rate"]
    return max(1, given["learning_rate"] * max(1, given["fall"] + 1 - max(1, number)) // given["fall"])


def _joined(momentum: Mapping[str, Floats]) -> Floats:
    """(4, width + 1), the bias last."""
    return np.concatenate([momentum[STEPS[WEIGHT]], momentum[STEPS[BIAS]][:, None]], axis=1)


def evaluate(weights: Mapping[str, Floats], given: Mapping[str, Any], rows: Photographs) -> dict[str, Integers]:
    """Counts of the rows to be judged by (`judging.counts`)."""
    form, device = form_of(weights, given), str(given.get("device", "cpu"))
    good = [at for at, file in enumerate(rows.files) if not findings(file, f"row {at}")]
    seen = rows.take(np.array(good, np.int64))
    logits = head.logits_of(*_reader(weights, form, seen, device), len(seen))
    chances = probabilities(logits, float(weights[TEMPERATURE][0]))
    return counts(chances, seen.labels, len(rows), form.abstain / _BILLION)


def inputs(form: Form, rows: Photographs, device: str = "cpu", centre: Tensor | None = None) -> Tensor:
    """(n, width) float64: what a head reads. Kept from round to round, so callers change nothing in it."""
    said = repr((form, b"" if centre is None else centre.numpy().tobytes())).encode()
    key = sha256(b"".join(rows.digests) + said).digest()
    if key not in _ready:
        found = features(rows.files, form.backbone, form.side, device, digests=rows.digests)
        while len(_ready) >= KEPT:
            _ready.pop(next(iter(_ready)))
        _ready[key] = form.inputs(torch.from_numpy(found.astype(np.float64)), centre)
    return _ready[key]


def forget() -> None:
    """Of rows that a `load` replaced."""
    _ready.clear()


def _reader(
    weights: Mapping[str, Floats], form: Form, rows: Photographs, device: str
) -> tuple[nn.Module, head.Batches]:
    """A network with these weights, and what it reads of rows."""
    if not form.whole:
        ready = inputs(form, rows, device, centre_of(weights))
        return head.head_of(weights), lambda places: ready[places]
    network = head.whole_of(backbone_of(form.backbone), form, weights).to(device_of(device))
    pictures = [_small(file, f"row {at}", form.side) for at, file in enumerate(rows.files)]

    def batch(places: Integers) -> Tensor:
        if not len(places):
            return torch.zeros((0, 3, form.side, form.side), device=device_of(device))
        return tensor_of([pictures[each] for each in places]).to(device_of(device))

    return network, batch


def _small(data: bytes, name: str, side: int) -> np.typing.NDArray[np.uint8]:
    try:
        return shrunk(decoded(data, name, LIMITS), side)
    except ValueError as cause:
        raise ImageRefused(f"{name}: {cause}") from cause
