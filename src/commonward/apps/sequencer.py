"""The sequencer's process: the operator of the embedded engine runs it beside its node."""

from __future__ import annotations

import asyncio
import signal

import structlog

from commonward.adapters.keys import trust
from commonward.adapters.solo.server import SequencerServer
from commonward.apps.errors import CannotListen
from commonward.apps.folders import until_gone
from commonward.apps.memory import keep_loaded
from commonward.apps.settings import Settings
from commonward.apps.wiring import authorities, open_sequencer

_log = structlog.get_logger(__name__)


async def run(settings: Settings) -> None:
    """Order, sign and serve until SIGTERM or SIGINT. Raises what `open_sequencer` raises, CannotListen, and later
    SequencerError."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can be heeded: by default it would end us
    sequencer, files, resolve, context = open_sequencer(settings)
    if files.blocks.torn is not None:
        _log.warning("torn_block_dropped", what=str(files.blocks.torn))
    server = SequencerServer(sequencer, context, resolve)
    at = settings.sequencer
    assert at is not None, "open_sequencer opens one for the solo engine alone, whose settings name it"
    try:
        await server.start(at.host, at.port)
    except OSError as cause:
        sequencer.close()
        files.close()
        raise CannotListen("sequencer", str(at), cause) from cause
    keep_loaded()
    _log.info("sequencing", ledger=sequencer.ledger_id.hex()[:16], height=sequencer.height, at=str(at))
    working = asyncio.create_task(sequencer.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, working.cancel)

    def meet() -> None:
        """At SIGHUP: who joined since is let in, by the CA that the ledger has for it; nobody's connection ends."""
        machine = sequencer.machine
        trust(context, authorities(machine.genesis, machine.view().roll))
        _log.info("members_met")

    loop.add_signal_handler(signal.SIGHUP, meet)
    gone = asyncio.create_task(until_gone(settings.data))
    gone.add_done_callback(lambda _: working.cancel())
    try:
        await working
    except asyncio.CancelledError:
        _log.info("stopping")
    finally:
        gone.cancel()
        await server.stop()
        sequencer.close()
        files.close()
