"""A member's node process: follows and cosigns the ledger, answers members, patients and the member's own programs.

Everything runs on one loop. What time alone brings (anchors, log roots, what is late or must be tried again) is done at
each tick; what fails is logged and tried again at the next, and never takes the node down.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

import structlog

from commonward.apps.announcing import announcing
from commonward.apps.api.server import ControlServer
from commonward.apps.errors import FORESEEN
from commonward.apps.folders import until_gone
from commonward.apps.founding import GENESIS
from commonward.apps.memory import keep_loaded
from commonward.apps.settings import FILE, Settings, load
from commonward.apps.signing.history import ReplicaHistory
from commonward.apps.signing.server import signing_app
from commonward.apps.signing.serving import SigningServer
from commonward.apps.wiring import Node, open_node
from commonward.ledger.parameters import Parameter

_log = structlog.get_logger(__name__)

_HOUSEKEEPING_S = 5.0


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises what `open_node` raises, and CannotListen."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can be heeded: by default it would end us
    await serve(open_node(settings))


async def serve(node: Node) -> None:
    """Serve a node that was opened until SIGTERM or SIGINT, and close it."""
    settings = node.settings
    if node.files.blocks.torn is not None:
        _log.warning("torn_block_dropped", what=str(node.files.blocks.torn))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, _meet, node)
    try:
        await node.listen()
        keep_loaded()
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


def _meet(node: Node) -> None:
    """At SIGHUP: who joined, or moved, is met without a restart."""
    try:
        node.meet(load(node.settings.data))
    except FORESEEN as why:
        _log.error("settings_not_taken", why=str(why), do=f"mend {FILE}; the node goes on with what it had")
        return
    _log.info("members_met", peers=sorted(node.peers.addresses))


def _work(node: Node) -> list[Coroutine[Any, Any, None]]:
    return [
        *node.engine.work(),
        _ticking(node),
        node.office.stamps.run(),
        announcing(node),
        _learning(node),
        ControlServer(node).run(),
        _signing(node).run(),
        until_gone(node.settings.data),
    ]


def _signing(node: Node) -> SigningServer:
    genesis = (node.settings.data / GENESIS).read_bytes()
    app = signing_app(node.office.gate, node.member, ReplicaHistory(node.replica, genesis), genesis=genesis)
    certificate, key = node.keys.tls_files
    return SigningServer(app, node.settings.signing, certificate, key, node.keys.passphrase)


async def _learning(node: Node) -> None:
    """The rounds of this member's studies. What fails is logged and begun again from what is kept."""
    while True:
        try:
            await node.training.run(node.replica)
        except FORESEEN as why:
            _log.error("learning_failed", why=str(why), do="it is begun again")
        except Exception:
            _log.exception("learning_failed")
        await asyncio.sleep(_HOUSEKEEPING_S)


async def _ticking(node: Node) -> None:
    """Each tick: anchor, and whatever was left over. Whatever fails is tried again at the next."""
    every_s = node.member.reading.parameter(Parameter.TICK) / 1000
    while True:
        try:
            for trouble in await node.office.tick():
                _log.warning("left_for_next_tick", what=trouble)
        except FORESEEN as why:
            _log.error("tick_failed", why=str(why), do="it is tried again at the next tick")
        except Exception:
            _log.exception("tick_failed")
        await asyncio.sleep(min(every_s, _HOUSEKEEPING_S))
