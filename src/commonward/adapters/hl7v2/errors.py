"""What this adapter raises, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(eq=False)
class BadMessage(ValueError):
    """A message that cannot be read. `where` is a field (`MSH-2`), a segment (`segment 3`) or a byte."""

    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"
