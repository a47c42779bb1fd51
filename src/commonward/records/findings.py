"""What a check found: a rule, how it went, and the facts that the sentence about it needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class State(Enum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


Fact = str | int | bytes | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One step: its rule, how it went, and the facts that the sentence needs. Times are ms."""

    rule: str
    state: State
    facts: Mapping[str, Fact] = field(default_factory=dict)
