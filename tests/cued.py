"""What the worlds in memory share: nodes whose calls fail on cue, and waiting until nothing is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from commonward.workflows.memory import Cue
from commonward.workflows.ports import Committed, LedgerAway, Proven
from commonward.workflows.replica import Replica


class Cued(Replica):
    """A node whose `submit` and `cosigned` fail on cue with LedgerAway, before or after the effect. Stands before the
    kind of node that it is."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.cue = Cue(LedgerAway)

    async def submit(self, raw: bytes) -> Committed:
        with self.cue.of("submit"):
            return await super().submit(raw)

    async def cosigned(self, size: int, timeout_ms: int = 10_000) -> Proven:
        with self.cue.of("cosigned"):
            return await super().cosigned(size, timeout_ms)


async def settled(still: Callable[[], bool], stands: Callable[[], object], rounds: int = 2000) -> None:
    """Let everything under way arrive: given up after so many looks at which nothing moved, however long it takes on a
    busy machine as long as something does."""
    left, before = rounds, None
    for _ in range(30 * rounds):  # and in the end whatever moves
        if not left:
            return
        await asyncio.sleep(0.001)
        if not still():
            now = stands()
            left, before = (left - 1 if now == before else rounds), now
            continue
        for _ in range(5):
            await asyncio.sleep(0)
        if still():
            return
