"""Says so when a node was away for so long that the others have forgotten the block it needs next.

CometBFT itself waits for such a block for ever, and says nothing: when it asks itself whether it has caught up, it
leaves out peers that do not have the block, and so believes that it has. A node where no block comes therefore asks
the members it is connected to from which block on they keep theirs (`LIGHT_PATH`, as a newcomer does).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from commonward.adapters.cometbft.engine import EngineStatus
from commonward.adapters.cometbft.light import LIGHT_PATH
from commonward.ledger.ids import MemberId
from commonward.workflows.ports import PeerAway

__all__ = ["Forgotten"]

_ANSWER_S: Final = 5.0
_STATUS: Final = json.dumps({"method": "status", "params": {}}).encode()

_log = structlog.get_logger(__name__)


class Forgotten:
    """Of one node. `trouble` is "" unless nobody who answers keeps the block that comes next here."""

    def __init__(
        self, status: Callable[[], EngineStatus], ask: Callable[[MemberId, str, bytes], Awaitable[bytes]]
    ) -> None:
        """`status`: how CometBFT stands here. `ask`: `Peers.ask`."""
        self._status = status
        self._ask = ask
        self._stood = 0
        self.trouble = ""

    async def run(self, every_s: float = 30.0) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await self.look()

    async def look(self) -> None:
        """Ask the others only where nothing came since the last look. Never raises for what they answer."""
        status = self._status()
        stood, self._stood = self._stood, status.height
        if not status.height or status.height != stood:
            self.trouble = ""
            return
        said = await asyncio.gather(*(self._first(member) for member in status.peers))
        kept = {member: first for member, first in zip(status.peers, said, strict=True) if first is not None}
        needed = status.height + 1
        if not kept or min(kept.values()) <= needed:
            self.trouble = ""
            return
        if not self.trouble:
            _log.error("blocks_forgotten", needed=needed, kept_from=kept, do="docs/operations.md, Disk")
        self.trouble = (
            f"it was away for too long: it needs block {needed:,}, and {', '.join(sorted(kept))} keep blocks from "
            f"{min(kept.values()):,} on; back it up, and restore it with --replace: it starts from a snapshot then"
        )

    async def _first(self, member: MemberId) -> int | None:
        """The first block that this member's CometBFT keeps; None where it does not say."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                answer = json.loads(await self._ask(member, LIGHT_PATH, _STATUS))
            return int(answer["result"]["sync_info"]["earliest_block_height"])
        except (PeerAway, TimeoutError, ValueError, TypeError, KeyError):
            return None
