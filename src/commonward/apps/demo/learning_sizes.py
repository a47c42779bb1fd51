"""How large the demonstration of learning is: chosen by measuring, so that it ends in minutes on two shared cores."""

from __future__ import annotations

from typing import Final, NamedTuple


class Sizes(NamedTuple):
    """`heart`, `photographs`: patients who consent at each hospital. `*_rounds`: rounds of each study. `side`: of the
    photographs and of what the learner sees of them, in pixels."""

    heart: int
    heart_rounds: int
    photographs: int
    photograph_rounds: int
    side: int


DEMO: Final = Sizes(heart=90, heart_rounds=8, photographs=120, photograph_rounds=8, side=192)
SMALL: Final = Sizes(heart=12, heart_rounds=8, photographs=8, photograph_rounds=3, side=160)
"""The fewest with which every chapter stays true: for tests."""
