"""What a benchmark says: a figure, what it is compared with in the same run, and the goal it is held to."""

from dataclasses import dataclass

__all__ = ["Result", "Unavailable"]


class Unavailable(Exception):
    """A benchmark lacks data that may not be here: what it needs, and how to name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One figure.

    `reference` names a floor or a peer measured in the same run on the same machine, and `reference_value` is its
    figure in the same unit. `goal` is a bound: at least that when `more_is_better`, else at most. `conditions` states
    sizes of payloads, durability, processes: whatever another person needs to get the same figure.
    """

    name: str
    value: float
    unit: str
    conditions: str
    reference: str | None = None
    reference_value: float | None = None
    goal: float | None = None
    more_is_better: bool = True

    @property
    def ratio(self) -> float | None:
        """value / reference_value; None without a reference."""
        return self.value / self.reference_value if self.reference_value else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.more_is_better else self.value <= self.goal

    def to_json(self) -> dict[str, object]:
        """The fields by name, with `ratio` and `met`."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "reference": self.reference,
            "reference_value": self.reference_value,
            "ratio": self.ratio,
            "goal": self.goal,
            "met": self.met,
            "conditions": self.conditions,
        }
