"""The mean of a site's unit feature vectors, with patient-level privacy: one noisy sum instead of a round's steps."""

from collections.abc import Mapping
from fractions import Fraction
from math import isqrt
from typing import Final

from commonward.records.model import Floats

from ..tabular.gaussians import noisy_sum

_MILLION: Final = 1_000_000


def multiplier(noise: int, steps: int) -> Fraction:
    """Noise of one release that costs what `steps` releases with `noise` (millionths) do: noise / sqrt(steps), rounded
    up. The RDP of a Gaussian is inverse to its square, and the ledger charges a round for its steps."""
    return Fraction(noise, _MILLION) / Fraction(isqrt(steps * _MILLION * _MILLION), _MILLION)


def mean_privately(x: Floats, given: Mapping[str, int]) -> Floats:
    """(width,) of (n, width) unit vectors: clipped to 1, summed in whole units, noised once.

    Args:
        given: noise in millionths, steps.
    """
    return noisy_sum(x, 1.0, multiplier(given["noise"], given["steps"])) / len(x)
