"""How large the demonstration of learning is: chosen by measuring, so that it ends in minutes on two shared cores."""

from __future__ import annotations

from typing import Final, NamedTuple


class Sizes(NamedTuple):
    """`heart`, `photographs`: patients who consent at each hospital. `*_rounds`: rounds of each study."""

    heart: int
    heart_rounds: int
    photographs: int
    photograph_rounds: int


DEMO: Final = Sizes(heart=45, heart_rounds=6, photographs=60, photograph_rounds=8)
SMALL: Final = Sizes(heart=12, heart_rounds=5, photographs=8, photograph_rounds=3)
"""The fewest with which every chapter stays true: for tests."""
