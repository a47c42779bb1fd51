"""Patient-level privacy of a head's training: Opacus's gradients of each patient, clipped and noised by our own hand.

Opacus computes every patient's gradient (GradSampleModule) and steps (DPOptimizer). What makes it private is replaced:
each patient's gradient is clipped as one vector over all parameters and rounded to whole units of 2^-20, the sum is an
integer, and the noise is a discrete Gaussian drawn exactly from the operating system's entropy (`tabular.gaussians`;
Canonne, Kamath and Steinke 2020). Opacus would add floating-point noise of PyTorch's generator, which is seeded, and
its secure mode wants a package that does not install. So no seed reaches the noise, and no rounding of a float is there
to be attacked (Mironov 2012). What is left: who can read the process's memory or time its steps, and clipping itself is
computed in binary64, on the hospital's own machine.

One row is one patient. Neighbours differ in one patient's gradient; how many rows there are is known to the members.
Accounting is the ledger's (RDP), not Opacus's.
"""

import os
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

import numpy as np
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from opacus.validators import ModuleValidator
from torch import Tensor, nn
from torch.nn import functional

from commonward.records.model import Floats, Integers

from ..tabular.gaussians import discrete_gaussians
from ..tabular.noise import GRID, Entropy, clipped_sum
from .head import Pulls

_BILLION: Final = 1_000_000_000
_MILLION: Final = 1_000_000


class NotPrivate(ValueError):
    """A network or settings with which one patient's part cannot be bounded."""


def check_private(network: nn.Module) -> None:
    """Every patient's gradient must be of that patient alone.

    Raises NotPrivate: a norm over the batch mixes patients; a layer that Opacus cannot take apart.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise NotPrivate(
                f"{name or 'the network'}: expected no BatchNorm where noise is set, as it mixes patients into each "
                "other's gradients: freeze it, or use GroupNorm"
            )
    if refused := ModuleValidator.validate(network, strict=False):
        raise NotPrivate(f"Opacus cannot take this network's gradients apart: {refused[0]}")


class ExactOptimizer(DPOptimizer):
    """Opacus's optimiser with integer clipping and exact noise."""

    def __init__(
        self, optimizer: Any, *, multiplier: Fraction, clip: float, rows: float, entropy: Entropy = os.urandom
    ) -> None:
        """`rows`: how many a step has on average, by which the sum is divided. `entropy` is passed by tests alone."""
        super().__init__(
            optimizer,
            noise_multiplier=float(multiplier),
            max_grad_norm=clip,
            expected_batch_size=rows,
            loss_reduction="mean",
        )
        self._sigma, self._entropy = multiplier * Fraction(int(clip * GRID)), entropy

    def clip_and_accumulate(self) -> None:
        """Sum of patients' gradients, each at most `max_grad_norm` long, in whole units."""
        parts = torch.cat([each.flatten(1).to(torch.float64) for each in self.grad_samples], dim=1)
        if not bool(torch.isfinite(parts).all()):
            raise NotPrivate("expected finite gradients: a learning rate is too large, or the round's model is broken")
        whole = torch.from_numpy(clipped_sum(parts.cpu().numpy(), self.max_grad_norm))
        for each in self.params:
            each.summed_grad, whole = whole[: each.numel()].reshape(each.shape), whole[each.numel() :]

    def add_noise(self) -> None:
        """A discrete Gaussian for each parameter, from the system's entropy."""
        for each in self.params:
            noise = discrete_gaussians(self._sigma, each.numel(), self._entropy)
            noisy = each.summed_grad + torch.from_numpy(noise).reshape(each.shape)
            each.grad = (noisy.to(torch.float64) / GRID).to(each.dtype)


def descend_privately(network: nn.Module, inputs: Floats, labels: Integers, given: Mapping[str, int]) -> None:
    """The steps of a round, in place.

    Args:
        network: a head on inputs.
        inputs: (n, width).
        labels: (n,) classes.
        given: learning_rate, momentum, ridge, mu, clip, rate in billionths; noise in millionths; steps.

    Raises:
        NotPrivate: as `check_private`; gradients that are not finite.
    """
    check_private(network)
    pulls = Pulls(network, given)
    sampled = GradSampleModule(network, loss_reduction="sum")
    rate, clip = given["rate"] / _BILLION, given["clip"] / _BILLION
    plain = torch.optim.SGD(
        sampled.parameters(), lr=given["learning_rate"] / _BILLION, momentum=given["momentum"] / _BILLION
    )
    optimiser = ExactOptimizer(
        plain, multiplier=Fraction(given["noise"], _MILLION), clip=clip, rows=max(1.0, rate * len(labels))
    )
    x, target = torch.from_numpy(np.ascontiguousarray(inputs)), torch.from_numpy(labels)
    for _ in range(given["steps"]):
        optimiser.zero_grad(set_to_none=True)
        _gradients(sampled, x, target, drawn(len(labels), given["rate"]))
        optimiser.pre_step()
        pulls.add()
        plain.step()
    sampled.to_standard_module()


def _gradients(sampled: Any, x: Tensor, target: Tensor, rows: Integers) -> None:
    if len(rows):
        functional.cross_entropy(sampled(x[rows]), target[rows], reduction="sum").backward()
        return
    for each in sampled.parameters():  # nobody was drawn: the step is noise alone
        each.grad_sample = torch.zeros((0, *each.shape), dtype=each.dtype)


def drawn(rows: int, rate: int, entropy: Entropy = os.urandom) -> Integers:
    """Who is in a step: all at a rate of 10^9, else each by itself with that probability, from the system's entropy
    (Poisson sampling, as the ledger's charge assumes)."""
    if rate >= _BILLION:
        return np.arange(rows, dtype=np.int64)
    chances = np.frombuffer(entropy(8 * rows), ">u8")
    return np.flatnonzero(chances < np.uint64(rate * (1 << 64) // _BILLION)).astype(np.int64)
