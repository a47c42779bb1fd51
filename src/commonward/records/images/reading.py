"""What a model says of one photograph: chances, or why it says nothing, and where it looked."""

from dataclasses import dataclass
from typing import Final

from commonward.ledger.encoding import Encodable, Value
from commonward.records.images.photograph import PATHOGENS

BILLION: Final = 1_000_000_000
MAX_MAP: Final = 16 << 20


class ReadingError(ValueError):
    """What is no reading: what was expected, what was got."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One photograph, read by one model.

    Attributes:
        probabilities: calibrated, in billionths, in the order of PATHOGENS; empty where the picture was refused.
        abstained: the likeliest class is not likely enough to be named, or the picture was refused.
        findings: why the picture should be taken again, in words; empty where it may be judged.
        heat_map: a PNG file, the photograph with what spoke for the likeliest class laid over it; empty where refused.
    """

    probabilities: tuple[int, ...]
    abstained: bool
    findings: tuple[str, ...] = ()
    heat_map: bytes = b""

    def __post_init__(self) -> None:
        total = sum(self.probabilities)
        if self.probabilities and (len(self.probabilities) != len(PATHOGENS) or min(self.probabilities) < 0):
            raise ReadingError(f"expected {len(PATHOGENS)} probabilities from 0, got {self.probabilities}")
        if self.probabilities and abs(total - BILLION) > len(PATHOGENS):
            raise ReadingError(f"expected probabilities that sum to {BILLION} billionths, got {total}")
        if bool(self.probabilities) == bool(self.findings):
            raise ReadingError("expected either probabilities or findings that the picture was refused for")
        if not self.probabilities and not self.abstained:
            raise ReadingError("expected a refused picture to be abstained on")
        if len(self.heat_map) > MAX_MAP:
            raise ReadingError(f"expected a heat map of at most {MAX_MAP} bytes, got {len(self.heat_map)}")

    @property
    def likeliest(self) -> str | None:
        """The class with the greatest probability; None where the picture was refused."""
        if not self.probabilities:
            return None
        return PATHOGENS[max(range(len(PATHOGENS)), key=lambda at: self.probabilities[at])]

    def chance(self, pathogen: str) -> float:
        """Of one of PATHOGENS, 0 to 1; 0 where the picture was refused."""
        return self.probabilities[PATHOGENS.index(pathogen)] / BILLION if self.probabilities else 0.0

    def to_value(self) -> list[Encodable]:
        """[probabilities, abstained, findings, heat map]."""
        return [list(self.probabilities), int(self.abstained), list(self.findings), self.heat_map]

    @classmethod
    def from_value(cls, value: Value) -> "Reading":
        """Raises ReadingError."""
        match value:
            case [list(chances), int(abstained), list(findings), bytes(heat_map)] if abstained in (0, 1):
                whole = tuple(each for each in chances if isinstance(each, int))
                words = tuple(each for each in findings if isinstance(each, str))
                if len(whole) == len(chances) and len(words) == len(findings):
                    return cls(whole, bool(abstained), words, heat_map)
        raise ReadingError("expected [probabilities, abstained, findings, heat map]")
