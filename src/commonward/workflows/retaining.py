"""Which blocks the engine may forget: all but so many of the last, a stride at a time.

An engine that forgets blocks does so between two blocks, and syncs its disk for it. So it is let forget a thousand at
once and not one with each block; and where many wait to be forgotten (a node that kept all is told to keep fewer), not
more than a thousand a block, so that no validator is late for it.
"""

from typing import Final

__all__ = ["Retaining"]

_STRIDE: Final = 1000


class Retaining:
    """Of one node while it runs. After a restart it comes back to where it was at a stride a block; what the engine has
    forgotten already costs nothing."""

    def __init__(self, keep: int, first: int = 0) -> None:
        """`keep`: how many blocks stay at least, 0 for all. `first`: the height from which the ledger goes on."""
        self._keep = keep
        self._stride = min(_STRIDE, max(keep, 1))
        self._height = first

    def height(self, last: int) -> int:
        """The height below which the engine may forget blocks once block `last` is kept; 0 for none."""
        if not self._keep:
            return 0
        goal = max(0, last - self._keep + 1)
        self._height = max(self._height, min(goal - goal % self._stride, self._height + self._stride))
        return self._height
