"""Versions of the rules: each is a rulebook, and old ones stay, since blocks of their time are replayed by them.

A ledger's genesis names the first; members schedule the next by vote, at a height. docs/decisions/0008 says how a
second one is written.
"""

from collections.abc import Mapping
from typing import Final

from commonward.ledger.ids import Height
from commonward.ledger.members import Adopted
from commonward.ledger.rulebook import VERSION_1, Rulebook
from commonward.ledger.rules import Cells

VERSIONS: Final[Mapping[int, Rulebook]] = {each.version: each for each in (VERSION_1,)}
"""Those that this program knows."""


class UnknownProtocol(RuntimeError):
    """The members agreed on rules that this program does not know: it must not go on. Nothing was lost or changed."""

    def __init__(self, height: int, version: int, known: Mapping[int, Rulebook]) -> None:
        super().__init__(
            f"from height {height} the rules are version {version}; this program knows "
            f"{', '.join(map(str, sorted(known)))}: install one that knows {version}, and this node goes on at height "
            f"{height}"
        )
        self.height = height
        self.version = version


def scheduled(cells: Cells, height: int) -> list[tuple[Height, int]]:
    """(height, version) of each version that is to rule after this height, the next one first."""
    return [(Height(at), version) for at, version in Adopted(cells).scheduled(height)]


def lacking(cells: Cells, height: int, known: Mapping[int, Rulebook] = VERSIONS) -> list[tuple[Height, int]]:
    """Those of `scheduled` at which this program would have to stop."""
    return [each for each in scheduled(cells, height) if each[1] not in known]
