"""What a round of noisy training costs the privacy of one patient: RDP of the sampled Gaussian, rounded up.

A study declares its noise multiplier, sampling rate and steps a round as integers, so that each approver computes the
same charge and nothing of a site's n shows in it. At an integer order a, for noise s and rate q (Mironov, Talwar, Zhang
2019, section 3.3; Opacus and TensorFlow Privacy compute the same):

    RDP(a) = ln( sum over k = 0..a of C(a, k) (1 - q)^(a - k) q^k exp((k^2 - k) / (2 s^2)) ) / (a - 1)

computed to fifty digits by `decimal`, whose exp and ln are correctly rounded, because a binary64 exp differs between
libraries and a charge must not. It holds for Poisson sampling, where each row is in a batch with probability q by
itself; the charge of a round is `steps` times that. A learner is shown rows and no patients, so it clips by row: a
study that is charged takes one row of a patient (`workflows.study_papers` holds its row cap to that).

Left to others: that the noise was added at all, which is attested and cannot be proven (docs/trust.md); adding up over
studies and the conversion to epsilon (`ledger.rounds.budget`).
"""

from decimal import ROUND_CEILING, Context, Decimal
from functools import lru_cache
from math import comb
from typing import Final

from commonward.ledger.rounds.budget import ORDERS, epsilon

MICRO: Final = 1_000_000
NOISE_UNIT: Final = 1_000_000
"""Noise multipliers are given in millionths."""

RATE_UNIT: Final = 1_000_000_000
"""Sampling rates are given in billionths."""

MAX_STEPS: Final = 1_000_000
LARGEST: Final = 1 << 40
"""A charge stops here: a thousand times any budget there can be."""

_CONTEXT: Final = Context(prec=50, Emax=10**15, Emin=-(10**15))


class PrivacyError(ValueError):
    """A declaration that no mechanism has."""


@lru_cache(maxsize=64)  # 12 ms, and asked for whenever a study's papers are held against the ledger
def charge(noise: int, rate: int, steps: int) -> tuple[int, ...]:
    """micro-RDP of one round, at each of the sixteen orders.

    Args:
        noise: standard deviation of the noise over the clipping norm, in millionths: 1,100,000 is 1.1.
        rate: probability that a row is in a step's batch, in billionths; 10^9 takes all.
        steps: noisy steps in a round.

    Raises:
        PrivacyError: noise below 0.1 or above 10,000, a rate outside 0 to 1, steps outside 1 to a million.
    """
    if not 100_000 <= noise <= 10_000 * NOISE_UNIT:
        raise PrivacyError(f"expected noise from 100,000 to 10^10 millionths, got {noise}")
    if not 1 <= rate <= RATE_UNIT or not 1 <= steps <= MAX_STEPS:
        raise PrivacyError(f"expected a rate of 1 to 10^9 billionths and 1 to {MAX_STEPS} steps, got {rate}, {steps}")
    return tuple(_rounded(rdp(order, noise, rate), steps) for order in ORDERS)


def rdp(order: int, noise: int, rate: int) -> Decimal:
    """RDP of one step at one integer order from 2 (arguments as in `charge`), to about fifty digits."""
    x = _CONTEXT
    sigma, q = x.divide(Decimal(noise), Decimal(NOISE_UNIT)), x.divide(Decimal(rate), Decimal(RATE_UNIT))
    twice = x.multiply(Decimal(2), x.multiply(sigma, sigma))
    if rate == RATE_UNIT:
        return x.divide(Decimal(order), twice)
    total = Decimal(0)
    for k in range(order + 1):
        chance = x.multiply(x.power(x.subtract(Decimal(1), q), order - k), x.power(q, k))
        moment = x.exp(x.divide(Decimal(k * k - k), twice))
        total = x.add(total, x.multiply(Decimal(comb(order, k)), x.multiply(chance, moment)))
    return x.divide(x.ln(total), Decimal(order - 1))


def _rounded(step: Decimal, steps: int) -> int:
    """Upwards, and above the last of the fifty digits; at least 1."""
    exact = _CONTEXT.multiply(step, Decimal(steps * MICRO))
    above = _CONTEXT.add(exact, Decimal("1e-20"))
    return max(1, min(LARGEST, int(above.to_integral_value(rounding=ROUND_CEILING, context=_CONTEXT))))


def spent(noise: int, rate: int, steps: int, rounds: int, delta: int) -> int:
    """micro-epsilon at a delta of 10^-`delta` after so many rounds, as the ledger counts it."""
    return epsilon([each * rounds for each in charge(noise, rate, steps)], delta)


def least_noise(target: int, rate: int, steps: int, rounds: int, delta: int) -> int:
    """The least noise (millionths, in steps of a thousandth) with which so many rounds stay within `target`.

    Args:
        target: micro-epsilon.

    Raises:
        PrivacyError: no noise up to 10,000 does.
    """
    low, high = 100, 10_000 * 1000
    if spent(high * 1000, rate, steps, rounds, delta) > target:
        raise PrivacyError(f"expected an epsilon that {rounds} rounds can keep to, got {target} millionths")
    while low < high:
        middle = (low + high) // 2
        if spent(middle * 1000, rate, steps, rounds, delta) <= target:
            high = middle
        else:
            low = middle + 1
    return low * 1000
