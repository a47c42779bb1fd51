"""The way from one member's node to its CometBFT, as long as that process lives."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from commonward.adapters.cometbft.rpc import Rpc, RpcAway
from commonward.ledger.checkpoint import Checkpoint, SignatureLine
from commonward.workflows.agreeing import AgreeingReplica

__all__ = ["Line"]

_AGAIN_S: Final = 0.25

_log = structlog.get_logger(__name__)


class Line:
    """Implements `workflows.replica.Uplink`."""

    def __init__(self, replica: AgreeingReplica, rpc: Rpc, cosigned: Callable[[], None]) -> None:
        self._replica = replica
        self._rpc = rpc
        self._cosigned = cosigned
        self._tasks: set[asyncio.Task[None]] = set()

    def carry(self, number: int, bundle: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(number, bundle))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, number: int, bundle: bytes) -> None:
        """Until CometBFT says something of the bundle. While its mempool is full the bundle stays ours, so that the
        carrier behind it stops too; when the line ends, all that stands in no block is offered on the next."""
        while True:
            try:
                handed = await self._rpc.hand_in(bundle)
            except RpcAway as why:
                _log.info("bundle_not_handed_in", why=str(why))
            else:
                if not handed.later:
                    self._replica.carried(number, handed.refusals, handed.why)
                    return
            await asyncio.sleep(_AGAIN_S)

    def cosigned(self, checkpoint: Checkpoint, line: SignatureLine) -> None:
        self._cosigned()

    async def end(self) -> None:
        self._replica.detach(self)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
