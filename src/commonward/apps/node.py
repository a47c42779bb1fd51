"""A member's node process: follows and cosigns the ledger, answers members, patients and the member's own programs.

Everything runs on one loop. What time alone brings (anchors, log roots, what is late or must be tried again) is a
`Ticker` each: one that fails is logged and tried again at its next turn, and never takes the node down.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from commonward.apps.settings import Settings
from commonward.apps.wiring import Node, open_node
from commonward.ledger.parameters import Parameter
from commonward.workflows.ports import WorldError
from commonward.workflows.submitting import LedgerRefused

_log = structlog.get_logger(__name__)

_HOUSEKEEPING_S = 1.0
_LOG_ROOT_S = 60.0


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises what `open_node` raises; a port that is taken raises OSError."""
    node = open_node(settings)
    if node.files.blocks.torn is not None:
        _log.warning("torn_block_dropped", what=str(node.files.blocks.torn))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        await node.listen()
        _log.info("serving", member=settings.member, height=node.replica.height, at=str(settings.listen))
        working = [asyncio.create_task(each) for each in _work(node)]
        ended = asyncio.create_task(stopping.wait())
        await asyncio.wait([ended, *working], return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, *working):
            task.cancel()
        for outcome in await asyncio.gather(ended, *working, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        _log.info("stopping", member=settings.member)
    finally:
        await node.close()


def _work(node: Node) -> list[Coroutine[Any, Any, None]]:
    tick_s = node.member.reading.parameter(Parameter.TICK) / 1000
    return [
        _following(node),
        node.replica.run(node.peers),
        _ticker("anchor", tick_s, node.anchor),
        _ticker("log_root", min(_LOG_ROOT_S, 60 * tick_s), node.log_root),
        _ticker("housekeeping", _HOUSEKEEPING_S, node.tend),
    ]


async def _following(node: Node) -> None:
    """Follow the sequencer. When the operator is proven at fault the node goes on serving what it holds."""
    await node.follower.run()
    _log.error("ledger_halted", fault=str(node.replica.fault), do="show `commonward doctor` to the other members")
    await asyncio.Event().wait()


async def _ticker(name: str, every_s: float, work: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await work()
        except (WorldError, LedgerRefused) as why:  # away, full, or not yet: the next turn tries again
            _log.warning("tick_failed", work=name, why=str(why))
        except Exception:
            _log.exception("tick_failed", work=name)
        await asyncio.sleep(every_s)
