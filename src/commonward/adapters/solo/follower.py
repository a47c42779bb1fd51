"""A member's node on the line to the sequencer: catches up, follows, and comes back when the line breaks."""

import asyncio
import ssl
from collections import deque
from typing import Final

import structlog

from commonward.ledger.checkpoint import Checkpoint, SignatureLine
from commonward.ledger.ids import Height
from commonward.workflows.following import FollowingReplica
from commonward.workflows.replica import CannotFollow, Halted

from .stream import Resolve, Stream, checked
from .wire import VERSION, Bundle, Checked, Cosigned, Hello, Message, Sealed, Welcome, WireError

__all__ = ["Follower"]

_BLOCKS_WAITING: Final = 64
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0

_log = structlog.get_logger(__name__)


class _Line:
    """One connection's life. Implements `workflows.replica.Uplink`."""

    def __init__(self, replica: FollowingReplica) -> None:
        self._replica = replica
        self._blocks: deque[Sealed] = deque()
        self._wake = asyncio.Event()
        self._tip: Height | None = None
        self._held = False
        self.attached = False
        self.stream: Stream | None = None
        self.over = asyncio.Event()
        self.why = ""

    # ---------------------------------------------------------------------------------------- what the replica sends

    def carry(self, number: int, bundle: bytes) -> None:
        assert self.stream is not None
        self.stream.send(Bundle(number, bundle))

    def cosigned(self, checkpoint: Checkpoint, line: SignatureLine) -> None:
        assert self.stream is not None
        self.stream.send(Cosigned(self._replica.member, checkpoint.size, checkpoint.root, line.to_text()))

    # ---------------------------------------------------------------------------------------- what the sequencer says

    def opened(self, stream: Stream) -> None:
        self.stream = stream
        if stream.peer != self._replica.operator:
            stream.close(f"expected the operator {self._replica.operator}, found {stream.peer}")
            return
        stream.send(Hello(VERSION, self._replica.ledger_id, self._replica.height, self._replica.head()))

    def received(self, stream: Stream, message: Message) -> None:
        match message:
            case Welcome(tip) if self._tip is None:
                self._tip = tip
                self._wake.set()
            case Sealed() if self._tip is not None:
                self._blocks.append(message)
                self._wake.set()
                if len(self._blocks) >= _BLOCKS_WAITING:
                    self._held = True
                    stream.hold()
            case Cosigned(member, size, root, line):
                self._replica.hear(member, size, root, line)
            case Checked(number, refusals, why):
                self._replica.carried(number, refusals, why)
            case _:
                raise WireError(f"{type(message).__name__} out of turn")

    def closed(self, stream: Stream, why: str) -> None:
        self.why = why
        self.over.set()
        self._wake.set()

    async def follow(self) -> None:
        """Execute what comes until the line ends. Raises CannotFollow, or Halted for good."""
        while not self.over.is_set():
            while self._blocks and not self.over.is_set():
                assert self._tip is not None and self.stream is not None
                block = self._blocks.popleft()
                if self._held and len(self._blocks) < _BLOCKS_WAITING // 2:
                    self._held = False
                    self.stream.go_on()
                await self._replica.offer(block.record, live=block.height > self._tip)
            if not self.attached and self._tip is not None and self._replica.height >= self._tip:
                self.attached = True
                self._replica.attach(self)
            self._wake.clear()
            if not self._blocks and not self.over.is_set():
                await self._wake.wait()

    def end(self) -> None:
        if self.attached:
            self._replica.detach(self)
        if self.stream is not None:
            self.stream.close("the node stops")


class Follower:
    """Keeps one replica on the line."""

    def __init__(
        self, replica: FollowingReplica, context: ssl.SSLContext, resolve: Resolve, host: str, port: int
    ) -> None:
        """Raises BadContext for a context that would trust anyone or an older TLS."""
        self._replica = replica
        self._context = checked(context)
        self._resolve = resolve
        self._host = host
        self._port = port

    async def run(self) -> None:
        """Follow until cancelled. Returns only when the replica halted: `replica.fault` says why."""
        pause = _FIRST_PAUSE_S
        while True:
            line = _Line(self._replica)
            before = self._replica.height
            try:
                await self._connect(line)
                await line.follow()
            except Halted as fault:
                _log.error("stopped_following", why=str(fault))
                return
            except CannotFollow as why:
                line.why = str(why)
            except (OSError, TimeoutError, ssl.SSLError) as why:
                line.why = str(why) or type(why).__name__
            finally:
                line.end()
            if self._replica.height > before or line.attached:
                pause = _FIRST_PAUSE_S
            _log.warning("sequencer_away", why=line.why, again_in_s=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _connect(self, line: _Line) -> None:
        async with asyncio.timeout(10):
            await asyncio.get_running_loop().create_connection(
                lambda: Stream(self._resolve, line.opened, line.received, line.closed),
                self._host,
                self._port,
                ssl=self._context,
                server_hostname=self._host,
                ssl_handshake_timeout=5,
                ssl_shutdown_timeout=1,
            )
        if line.stream is None:
            raise CannotFollow(f"the key at {self._host}:{self._port} is not registered for any member")
