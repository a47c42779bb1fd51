"""Learning a head on features, or head and backbone together, in minibatches that the protocol's seed draws."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from commonward.records.model import Floats, Integers

from .backbone import Backbone
from .form import BACKBONE, BIAS, CLASSES, STEPS, WEIGHT, Form

_BILLION: Final = 1_000_000_000
Batches = Callable[[Integers], Tensor]
"""Rows' places to what the network reads of them."""


class Whole(nn.Module):
    """Pictures to logits: backbone, form and head in one."""

    def __init__(self, backbone: Backbone, form: Form, head: nn.Linear) -> None:
        super().__init__()
        self.backbone, self.form, self.head = backbone, form, head

    def forward(self, pictures: Tensor) -> Tensor:
        """(n, 3, side, side) to (n, 4)."""
        return self.head(self.form.inputs(self.backbone(pictures).to(self.head.weight.dtype)))


def head_of(weights: Mapping[str, Floats]) -> nn.Linear:
    """The linear head of a model, in double precision: sums over a thousand features cost nothing."""
    shape = weights[WEIGHT].shape
    head = nn.Linear(shape[1], shape[0], dtype=torch.float64)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(np.array(weights[WEIGHT])))
        head.bias.copy_(torch.from_numpy(np.array(weights[BIAS])))
    return head


def whole_of(pretrained: Backbone, form: Form, weights: Mapping[str, Floats]) -> Whole:
    """A network with a model's weights in a copy of a backbone. Raises ValueError for weights of another shape."""
    backbone = copy.deepcopy(pretrained).requires_grad_(True)
    with torch.no_grad():
        for name, each in backbone.named_parameters():
            found = weights.get(f"{BACKBONE}{name}")
            if found is None or found.shape != tuple(each.shape):
                raise ValueError(f"{BACKBONE}{name}: expected the shape {tuple(each.shape)} in the model")
            each.copy_(torch.from_numpy(np.array(found, np.float32)))
    return Whole(backbone, form, head_of(weights))


def weights_of(network: nn.Module) -> dict[str, Floats]:
    """What was learnt, by the model's names."""
    head = network.head if isinstance(network, Whole) else network
    found = {WEIGHT: _array(head.weight), BIAS: _array(head.bias)}
    if isinstance(network, Whole):
        found |= {f"{BACKBONE}{name}": _array(each) for name, each in network.backbone.named_parameters()}
    return found


def descend(
    network: nn.Module,
    batches: Batches,
    labels: Integers,
    given: Mapping[str, int],
    number: int,
    momentum: Mapping[str, Floats] | None = None,
) -> dict[str, Floats]:
    """Steps of a round, in place; batches without repetition until the rows are used up.

    Args:
        network: a head or a Whole.
        batches: what it reads of rows.
        labels: (n,) classes.
        given: learning_rate, momentum, ridge, mu in billionths; steps; batch, 0 takes all; seed.
        number: of the round: every round draws other batches.
        momentum: of a head, the step before this round by the names of STEPS, which later ones go on from.

    Returns: of a head that was given one, the last step; else nothing.
    """
    chance = np.random.Generator(np.random.PCG64([given["seed"], number, len(labels)]))
    size = min(given["batch"] or len(labels), len(labels))
    pulls = Pulls(network, given)
    rate = given["learning_rate"] / _BILLION
    optimiser = torch.optim.SGD(network.parameters(), lr=rate, momentum=given["momentum"] / _BILLION)
    if momentum:
        for each, name in zip(network.parameters(), STEPS.values(), strict=True):
            optimiser.state[each]["momentum_buffer"] = torch.from_numpy(momentum[name] / rate)
    target = torch.from_numpy(labels)
    whole = batches(np.arange(size)) if size == len(labels) and not isinstance(network, Whole) else None
    order = np.empty(0, np.int64)
    for _ in range(given["steps"]):
        if whole is not None:  # all of a head's rows: their order tells nothing, and a copy in each step costs time
            batch = np.arange(size)
        else:
            if len(order) < size:
                order = chance.permutation(len(labels))
            batch, order = order[:size], order[size:]
        optimiser.zero_grad()
        logits = network(batches(batch) if whole is None else whole)
        functional.cross_entropy(logits, target[batch].to(logits.device)).backward()
        pulls.add()
        optimiser.step()
    if not momentum:
        return {}
    buffers = [_array(optimiser.state[each]["momentum_buffer"]) * rate for each in network.parameters()]
    return dict(zip(STEPS.values(), buffers, strict=True))


class Pulls:
    """What draws weights back: FedProx's mu to the round's model, ridge on the head's weights but not its bias."""

    def __init__(self, network: nn.Module, given: Mapping[str, int]) -> None:
        head = network.head if isinstance(network, Whole) else network
        self._all: list[Any] = list(network.parameters()) if given["mu"] else []
        self._base = [each.detach().clone() for each in self._all]
        self._weight, self._mu, self._ridge = head.weight, given["mu"] / _BILLION, given["ridge"] / _BILLION

    def add(self) -> None:
        """To the gradients that are there."""
        with torch.no_grad():
            for each, base in zip(self._all, self._base, strict=True):
                each.grad += self._mu * (each - base)
            if self._ridge:
                self._weight.grad += self._ridge * self._weight


def logits_of(network: nn.Module, batches: Batches, rows: int, size: int = 16) -> Floats:
    """(rows, 4)."""
    starts = range(0, rows, size)
    with torch.no_grad():
        made = [_array(network(batches(np.arange(at, min(rows, at + size))))) for at in starts]
    return np.concatenate([np.zeros((0, CLASSES)), *made])


def _array(tensor: Any) -> Floats:
    return np.asarray(tensor.detach().cpu().to(torch.float64).numpy(), np.float64)
