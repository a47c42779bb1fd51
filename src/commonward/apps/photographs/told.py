"""What a run over photographs did, and who had looked at them: loads no decoder."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from commonward.workflows.ingest import Report


@dataclass(frozen=True, slots=True)
class Staff:
    """Who looked for burnt-in text: an opaque number, and the certificate's digest."""

    number: str
    certificate: bytes


@dataclass(slots=True)
class Told:
    """What a run did.

    Attributes:
        taken: pictures that are in the vault now, new or there before.
        refused: by kind of reason, how many are among the dead letters.
        unread: (name, why) of what was never opened.
        poor: (name, what is wrong) of pictures that were taken and that learners will leave out.
        looked: names of pictures taken though writing was suspected, as a person had looked.
        classes: label -> patients of this run.
        report: what the vault did.
    """

    taken: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    unread: list[tuple[str, str]] = field(default_factory=list)
    poor: list[tuple[str, str]] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    report: Report = field(default_factory=Report)

    @property
    def seen(self) -> int:
        return self.taken + sum(self.refused.values()) + len(self.unread)

    @property
    def classes(self) -> dict[str, int]:
        return dict(sorted(Counter(label for label in self.labels.values() if label).items()))
