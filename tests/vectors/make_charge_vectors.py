"""Writes `charges.json` beside itself: micro-RDP of noisy training, by exact fractions and long arithmetic.

`python -m tests.vectors.make_charge_vectors`. Another road than the package's `decimal`: q and noise as fractions, exp
by its series to two hundred bits, ln by bisection of that exp.
"""

import json
import math
from fractions import Fraction
from pathlib import Path

from commonward.ledger.rounds.budget import ORDERS

HERE = Path(__file__).parent
BITS = 260
CASES = [
    (1_100_000, 10_000_000, 100),
    (800_000, 250_000_000, 7),
    (4_000_000, 10_000_000, 10_000),
    (11_775_000, 1_000_000_000, 30),
    (600_000, 1_000_000, 1),
]
NOTE = (
    "micro-RDP of a round at each of the sixteen orders, rounded up, at most 2^40. noise: standard deviation over the "
    "clipping norm, in millionths; rate: of sampling, in billionths; steps: in the round."
)


def trimmed(x: Fraction) -> Fraction:
    """To BITS bits after the point and as many before as there are."""
    return Fraction(round(x * (1 << BITS)), 1 << BITS)


def exp(x: Fraction) -> Fraction:
    """By its series of x / 2^k, squared k times."""
    halvings = max(0, math.ceil(x).bit_length())
    small, term, total = trimmed(x / (1 << halvings)), Fraction(1), Fraction(1)
    for n in range(1, 80):
        term = trimmed(term * small / n)
        total += term
    for _ in range(halvings):
        total = trimmed(total * total)
    return total


def ln(x: Fraction) -> Fraction:
    """x >= 1: Newton's method on exp from a binary64 guess."""
    shift = max(0, x.numerator.bit_length() - x.denominator.bit_length() - 1)
    guess = Fraction(math.log(float(x / (1 << shift))) + shift * math.log(2))
    for _ in range(5):
        guess = trimmed(guess + x / exp(guess) - 1)
    return guess


def charge(noise: int, rate: int, steps: int) -> list[int]:
    q, twice = Fraction(rate, 10**9), 2 * Fraction(noise, 10**6) ** 2
    made = []
    for order in ORDERS:
        if q == 1:
            step = order / twice
        else:
            moments = (
                math.comb(order, k) * (1 - q) ** (order - k) * q**k * exp(Fraction(k * k - k) / twice)
                for k in range(order + 1)
            )
            step = ln(sum(moments, Fraction(0))) / (order - 1)
        made.append(min(1 << 40, max(1, math.ceil(step * steps * 10**6))))
    return made


if __name__ == "__main__":
    cases = [{"noise": n, "rate": q, "steps": steps, "charge": charge(n, q, steps)} for n, q, steps in CASES]
    lines = ",\n".join(json.dumps(each) for each in cases)
    (HERE / "charges.json").write_text(f'{{"note": {json.dumps(NOTE)},\n"cases": [\n{lines}\n]}}\n')
