"""Patient-level privacy of a head's training: every patient's gradient clipped, summed in whole numbers, and noised.

A linear head's gradient for one patient is an outer product: what its chances are wrong by, times what it reads. Its
length is the product of two lengths, and a sum over patients is one product of two matrices: no patient's gradient need
ever be written out (Goodfellow 2015, arXiv:1510.01799; Opacus calls it ghost clipping). Both factors are rounded to
whole numbers, towards zero, so each patient's part is a vector of integers of at most the clip's length, and the sum
is an integer too. The tests hold the clipped sum against Opacus's on the same rows.

The noise is a discrete Gaussian drawn exactly from the operating system's entropy (`tabular.gaussians`; Canonne, Kamath
and Steinke 2020). Opacus would add floating-point noise of PyTorch's generator, which is seeded, and its secure mode
wants a package that does not install. So no seed reaches the noise, and no rounding of a float is there to be attacked
(Mironov 2012). What is left: who can read the process's memory or time its steps, and clipping itself is computed in
binary64, on the hospital's own machine.

One row is one patient. Neighbours differ in one patient's gradient; how many rows there are is known to the members.
Accounting is the ledger's (RDP).
"""

import os
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from commonward.records.model import Floats, Integers

from ..tabular.gaussians import discrete_gaussians
from ..tabular.noise import Entropy
from .judging import probabilities

_BILLION: Final = 1_000_000_000
_MILLION: Final = 1_000_000
FINE: Final = 1 << 12
"""Units of the greatest length of either factor: what a head of 1280 features reads are some hundred units each."""

WHOLE: Final = FINE * FINE
"""Units in the clip, which no patient's part exceeds."""


class NotPrivate(ValueError):
    """A network or numbers with which one patient's part cannot be bounded."""


def check_private(network: Any) -> None:
    """Raises NotPrivate for all but a linear head with a bias: a norm over the batch would mix patients into each
    other's gradients, and no other layer's are taken apart here."""
    if not isinstance(network, nn.Linear) or network.bias is None:
        raise NotPrivate(
            f"expected a linear head with a bias where noise is set, got {type(network).__name__}: its patients' "
            "gradients are not bounded here"
        )


class Inputs:
    """Patients as what their gradients are made of.

    Attributes:
        floats: (n, width + 1) what the head reads, with a one for the bias.
        lengths: (n,) of those.
        whole: (n, width + 1) each divided by its length, in units of FINE, never longer than FINE: float64 holding
            integers, for one fast product.
    """

    def __init__(self, x: Floats) -> None:
        """Of (n, width). Raises NotPrivate for what is not finite."""
        self.floats = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            self.lengths = np.sqrt((self.floats * self.floats).sum(axis=1))
        if not np.isfinite(self.lengths).all():
            raise NotPrivate("expected finite gradients: a picture's features are infinite, or no numbers")
        self.whole = bounded(self.floats / self.lengths[:, None])

    def clipped_sum(self, w: Floats, truth: Integers, rows: Integers, clip: float) -> Integers:
        """(4, width + 1): the sum over `rows` of log-loss gradients at the head w, each at most `clip` long, in units
        of clip / WHOLE.

        Args:
            w: (4, width + 1), the bias last.
            truth: (n,) classes.

        Raises:
            NotPrivate: gradients that are not finite; so many rows that a product would round.
        """
        if len(rows) * WHOLE >= 1 << 53:
            raise NotPrivate(f"expected fewer than 2^29 rows, got {len(rows)}: their sum would be rounded")
        with np.errstate(over="ignore", invalid="ignore"):
            wrong = probabilities(self.floats[rows] @ w.T)
        wrong[np.arange(len(rows)), truth[rows]] -= 1.0
        if not np.isfinite(wrong).all():
            raise NotPrivate("expected finite gradients: a learning rate is too large, or the round's model is broken")
        sizes = np.sqrt((wrong * wrong).sum(axis=1))
        share = np.minimum(sizes * (self.lengths[rows] / clip), 1.0) / np.maximum(sizes, 1e-300)
        parts = bounded(wrong * share[:, None])
        # Every partial sum is a whole number below 2^53, so float64 adds them without rounding, in whatever order.
        total: Integers = (parts.T @ self.whole[rows]).astype(np.int64)
        return total


def bounded(vectors: Floats) -> Floats:
    """Rows of at most the length 1 in units of 1 / FINE, rounded towards zero: integers, as float64 holds them."""
    whole = np.trunc(vectors * FINE)
    # Rounding before could leave a row one unit too long: such a row is shrunk until it is not.
    while len(over := np.flatnonzero((whole * whole).sum(axis=1) > WHOLE)):
        whole[over] -= np.sign(whole[over])
    return whole


def descend_privately(
    network: nn.Module,
    inputs: Floats,
    labels: Integers,
    given: Mapping[str, int],
    momentum: Floats | None = None,
    entropy: Entropy = os.urandom,
) -> Floats:
    """The steps of a round, in place.

    Args:
        network: a linear head on inputs.
        inputs: (n, width).
        labels: (n,) classes.
        given: learning_rate, momentum, ridge, mu, clip, rate in billionths; noise in millionths; steps.
        momentum: (4, width + 1) the step before this round, which later ones go on from; none: a standing start.
        entropy: passed by tests alone.

    Returns:
        (4, width + 1): the last step. It is made of the noisy sums and of nothing else.

    Raises:
        NotPrivate: as `check_private`; gradients that are not finite.
    """
    check_private(network)
    assert isinstance(network, nn.Linear)
    weight, bias = (each.detach().numpy() for each in (network.weight, network.bias))
    w = np.concatenate([weight, bias[:, None]], axis=1)
    base, step = w.copy(), np.zeros_like(w) if momentum is None else momentum.copy()
    rate, clip = given["rate"] / _BILLION, given["clip"] / _BILLION
    eta, kept = given["learning_rate"] / _BILLION, given["momentum"] / _BILLION
    sigma = Fraction(given["noise"], _MILLION) * WHOLE
    patients, expected = Inputs(inputs), max(1.0, rate * len(labels))
    for _ in range(given["steps"]):
        total = patients.clipped_sum(w, labels, drawn(len(labels), given["rate"]), clip)
        noisy = total + discrete_gaussians(sigma, total.size, entropy).reshape(total.shape)
        gradient = noisy * (clip / WHOLE / expected) + given["mu"] / _BILLION * (w - base)
        gradient[:, :-1] += given["ridge"] / _BILLION * w[:, :-1]
        step = kept * step + eta * gradient
        w = w - step
    with torch.no_grad():
        network.weight.copy_(torch.from_numpy(w[:, :-1]))
        network.bias.copy_(torch.from_numpy(np.ascontiguousarray(w[:, -1])))
    return step


def drawn(rows: int, rate: int, entropy: Entropy = os.urandom) -> Integers:
    """Who is in a step: all at a rate of 10^9, else each by itself with that probability, from the system's entropy
    (Poisson sampling, as the ledger's charge assumes)."""
    if rate >= _BILLION:
        return np.arange(rows, dtype=np.int64)
    chances = np.frombuffer(entropy(8 * rows), ">u8")
    return np.flatnonzero(chances < np.uint64(rate * (1 << 64) // _BILLION)).astype(np.int64)
