"""What a machine remembers of the last 15 minutes, rebuilt from the leaves of the log alone.

    window = Window(ledger, tip, height)
    for block in window.blocks(leaves): ...          whole blocks, as leaves come
    changes = window.remember(block, size, root)     a recent checkpoint, the digests it burnt, when to forget both
    changes = window.standing(...)                   where the machine stands: to be written last

Which digests a block burnt follows from its outcomes: every refusal that comes before a good proof has a number of its
own, and burns nothing (decision 0002); accepted, or refused by a rule, burns.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from commonward.ledger.encoding import Digest, encode
from commonward.ledger.ids import BlockTime, Height, LedgerId
from commonward.ledger.refusals import BadPossession
from commonward.ledger.rulebook import NotYourRole
from commonward.ledger.rules import Header
from commonward.ledger.snapshot import BlockEnd, SnapshotRefused, parse_leaf
from commonward.ledger.staging import TIP_KEY, Standing, Tip
from commonward.ledger.transition import FORGET_AFTER

__all__ = ["Past", "Window", "burns"]

_BY_RULES: Final = frozenset({BadPossession.code, NotYourRole.code})
"""Refusals with a common number that rules raise, so after the proof was found good."""


def burns(code: int) -> bool:
    """Whether a transaction with this outcome burnt its digest."""
    return code == 0 or code >= 200 or code in _BY_RULES


class Past(NamedTuple):
    """A block of the window. `leaves`: its own, the block leaf last."""

    height: Height
    time: BlockTime
    leaves: tuple[bytes, ...]
    burnt: tuple[Digest, ...]


class Window:
    """The blocks since `FORGET_AFTER` before the tip. Leaves come in order; one block is in memory at a time."""

    def __init__(self, ledger: LedgerId, start: int, tip: BlockEnd) -> None:
        self._ledger = ledger
        self._tip = tip
        self._first = start > 0
        self._number = 0
        self._leaves: list[bytes] = []
        self._burnt: list[Digest] = []
        self._at: tuple[int, int] | None = None
        self._last = -1, -1

    def blocks(self, leaves: Iterable[bytes], chunk: int | None = None) -> Iterator[Past]:
        """Blocks that these leaves complete. Raises SnapshotRefused where leaves are in no order of a ledger."""
        for data in leaves:
            try:
                leaf = parse_leaf(data)
            except ValueError as cause:
                raise SnapshotRefused(f"leaf after block {self._last[0]}: {cause}", chunk) from cause
            here = leaf.height, leaf.time
            if self._at not in (None, here):
                raise SnapshotRefused(f"expected that block {self._at} ends before block {here} begins", chunk)
            self._at = here
            self._leaves.append(data)
            if not isinstance(leaf, BlockEnd):
                if burns(leaf.code):
                    self._burnt.append(leaf.digest)
                continue
            yield self._complete(leaf, chunk)

    def _complete(self, end: BlockEnd, chunk: int | None) -> Past:
        if end.height <= self._last[0] or end.time <= self._last[1]:
            raise SnapshotRefused(f"block {end.height} at {end.time} does not come after block {self._last}", chunk)
        if self._first and (len(self._leaves) > 1 or end.time >= self._tip.time - FORGET_AFTER):
            # Else whoever made it could have left out digests that still count as burnt.
            raise SnapshotRefused(
                f"expected that its leaves begin with that of a block before {self._tip.time - FORGET_AFTER} ms", chunk
            )
        self._first = False
        past = Past(end.height, end.time, tuple(self._leaves), tuple(dict.fromkeys(self._burnt)))
        self._last, self._at, self._leaves, self._burnt = (end.height, end.time), None, [], []
        return past

    def remember(self, past: Past, size: int, root: Digest) -> dict[bytes, bytes | None]:
        """What the machine would have written beside its cells for this block, which led to this checkpoint."""
        if past.time < self._tip.time - FORGET_AFTER:
            return {}
        changes: dict[bytes, bytes | None] = {
            b"c" + size.to_bytes(8, "big"): root + past.time.to_bytes(8, "big"),
            b"cf" + self._number.to_bytes(8, "big"): encode([past.time, size, past.burnt]),
        }
        changes.update(dict.fromkeys((b"x" + each for each in past.burnt), b""))
        self._number += 1
        return changes

    def standing(self, height: Height, size: int, root: Digest) -> dict[bytes, bytes | None]:
        """Where the machine stands after block `height`. Raises SnapshotRefused when leaves are missing.

        Blocks after the tip's were idle. The time of the last of them is in nothing that was signed: the tip's stands
        for it. A ledger's times grow by whoever orders it, so all that is lost is one check of ours at one block.
        """
        if self._leaves or self._last != (self._tip.height, self._tip.time):
            raise SnapshotRefused(f"expected that its leaves end with block {self._tip.height}, got {self._last}")
        tip = Tip(self._tip.height, self._tip.time, size, root, self._tip.state_root)
        record = Standing(tip, Header(height, self._tip.time), self._number, 0)
        return {TIP_KEY: record.to_bytes(self._ledger)}
