"""The constants of a rule, as a study's protocol fixes them: integers, so that nobody reads them in two ways."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import prod
from typing import Final

from commonward.ledger.encoding import decode, encode

BILLION: Final = 1_000_000_000
"""Constants are given in billionths: k / 10^9 is one binary64 division, the same everywhere."""

MAX_SUMS: Final = 1 << 24


class AggregationError(ValueError):
    """A round that has no outcome under its rule: what was expected, and what was got."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Of one study. What a rule does not use keeps its default.

    Attributes:
        f: how many sites may be false and the rule still holds (trimmed mean, median, Krum, MultiKrum).
        learning_rate: of the server's optimiser and of Newton's step, in billionths.
        beta1, beta2: memory of FedAdam's first and second moment, in billionths.
        tau: what is added to the root of the second moment, in billionths (Reddi et al. 2021, algorithm 2).
        ridge: Newton's penalty on half the squared coefficients, per row, in billionths.
        intercept: whether Newton's last coefficient is the intercept, which is not penalised.
        clip: norm-clip's bound, as a multiple of the median norm, in billionths.
        select: how many updates MultiKrum averages; 0 stands for n - f - 2.
        sums: name and shape of each tensor that a SUM adds up.
    """

    f: int = 0
    learning_rate: int = BILLION
    beta1: int = 900_000_000
    beta2: int = 990_000_000
    tau: int = 1_000_000
    ridge: int = 1_000_000
    intercept: bool = True
    clip: int = BILLION
    select: int = 0
    sums: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        bounds = {
            "f": (0, 64),
            "learning_rate": (1, 1000 * BILLION),
            "beta1": (0, BILLION - 1),
            "beta2": (0, BILLION - 1),
            "tau": (1, BILLION),
            "ridge": (0, 1000 * BILLION),
            "clip": (1, 16 * BILLION),
            "select": (0, 128),
        }
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise AggregationError(f"expected {name} from {low} to {high}, got {getattr(self, name)}")
        if sum(prod(shape) for shape in self.sums.values()) > MAX_SUMS:
            raise AggregationError(f"expected at most {MAX_SUMS} numbers in a sum, got more")

    def to_bytes(self) -> bytes:
        """encode({1: f, 2: learning_rate, ...}) in the order of the attributes above; sums as [[name, shape], ...]."""
        values = [getattr(self, each.name) for each in fields(self)]
        values[6] = int(self.intercept)
        values[9] = [[name, list(self.sums[name])] for name in sorted(self.sums)]
        return encode(dict(enumerate(values, start=1)))

    @classmethod
    def parse(cls, data: bytes) -> "Parameters":
        """Raises AggregationError."""
        try:
            value = decode(data)
        except ValueError as cause:
            raise AggregationError(f"expected parameters in our encoding: {cause}") from cause
        named = dict(value) if isinstance(value, dict) else {}
        numbers = [each for key in range(1, 10) if isinstance(each := named.get(key), int)]
        if len(named) == 10 and len(numbers) == 9 and numbers[6] in (0, 1):
            f, rate, beta1, beta2, tau, ridge, intercept, clip, select = numbers
            return cls(
                f=f,
                learning_rate=rate,
                beta1=beta1,
                beta2=beta2,
                tau=tau,
                ridge=ridge,
                intercept=intercept == 1,
                clip=clip,
                select=select,
                sums=_sums(named.get(10)),
            )
        raise AggregationError("expected the ten parameters of a rule, by number")


def _sums(value: object) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for each in value if isinstance(value, list) else [None]:
        match each:
            case [str(name), list(shape)] if name not in found and all(isinstance(n, int) and n > 0 for n in shape):
                found[name] = tuple(n for n in shape if isinstance(n, int))
            case _:
                raise AggregationError("expected the sums of a study as [[name, shape], ...], each name once")
    return found
