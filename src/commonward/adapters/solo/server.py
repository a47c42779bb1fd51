"""The sequencer's door: members' nodes follow here, bring bundles and exchange cosignatures.

Each node is sent the blocks after its own last one at the pace it reads; nobody's slowness holds up another. What a
node sends is checked before it costs anything lasting, and a node that speaks out of turn is cut off.
"""

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Final

import structlog

from commonward.ledger.ids import MemberId

from .sequencer import Sequencer
from .stream import Resolve, Stream, checked
from .wire import VERSION, Bundle, Checked, Cosigned, Hello, Message, Sealed, Welcome, WireError

__all__ = ["SequencerServer", "ServerLimits"]

_FROM_NODES: Final = 512 << 10
"""Bytes in a frame from a node: a bundle has at most 256 KiB."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class ServerLimits:
    """Of one listener. Times in seconds."""

    handshake_s: float = 5.0
    hello_s: float = 5.0
    connections: int = 256
    connections_of_member: int = 8
    bundles_waiting: int = 8  # of one connection, before it is read no further


class _Session:
    """One node that follows."""

    def __init__(self, server: "SequencerServer", stream: Stream) -> None:
        self._server = server
        self.stream = stream
        self.member: MemberId = stream.peer
        self.next: int | None = None  # the height of the next block to send; None before Hello
        self._bundles: deque[Bundle] = deque()
        self._held = False
        self._checking: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(server.limits.hello_s, self._silent)

    def _silent(self) -> None:
        self.stream.close("no Hello in time")

    def closed(self) -> None:
        self._timer.cancel()
        if self._checking is not None:
            self._checking.cancel()

    def receive(self, message: Message) -> None:
        match message:
            case Hello() if self.next is None:
                self._hello(message)
            case Bundle() if self.next is not None:
                self._bundles.append(message)
                if self._checking is None:
                    self._checking = asyncio.get_running_loop().create_task(self._check())
                elif len(self._bundles) >= self._server.limits.bundles_waiting:
                    self._held = True
                    self.stream.hold()
            case Cosigned() if self.next is not None and message.member == self.member:
                self._server.cosigned(self, message)
            case _:
                raise WireError(f"{type(message).__name__} out of turn")

    def _hello(self, hello: Hello) -> None:
        sequencer = self._server.sequencer
        if hello.version != VERSION:
            raise WireError(f"expected protocol version {VERSION}, got {hello.version}")
        if hello.ledger != sequencer.ledger_id:
            raise WireError(f"this is ledger {sequencer.ledger_id.hex()[:16]}, not {hello.ledger.hex()[:16]}")
        if hello.head:
            sequencer.compare(self.member, hello.head)
        if hello.height > sequencer.height:
            raise WireError(f"you hold block {hello.height}; the sequencer's last is {sequencer.height}")
        self._timer.cancel()
        self.next = hello.height + 1
        self.stream.send(Welcome(sequencer.height))
        self.pump()
        for said in self._server.latest():
            self.stream.send(said)

    def pump(self) -> None:
        """Send blocks until the node has all, or its buffer is full."""
        sequencer = self._server.sequencer
        while self.next is not None and self.next <= sequencer.height and not self.stream.full:
            height = self.next
            self.next += 1
            self.stream.send(Sealed(height, sequencer.record(height)))  # type: ignore[arg-type]

    async def _check(self) -> None:
        while self._bundles:
            bundle = self._bundles.popleft()
            verdict = await self._server.sequencer.take(self.member, bundle.data)
            self.stream.send(Checked(bundle.number, verdict.refusals, verdict.why))
            if self._held and len(self._bundles) < self._server.limits.bundles_waiting:
                self._held = False
                self.stream.go_on()
        self._checking = None


class SequencerServer:
    """Listens for members' nodes."""

    def __init__(
        self, sequencer: Sequencer, context: ssl.SSLContext, resolve: Resolve, limits: ServerLimits | None = None
    ) -> None:
        """Raises BadContext for a context that would let in anyone or an older TLS."""
        self.sequencer = sequencer
        self.limits = limits or ServerLimits()
        self._context = checked(context)
        self._resolve = resolve
        self._sessions: dict[Stream, _Session] = {}
        self._lines: dict[MemberId, Cosigned] = {}
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which the system chose when 0 was given. Raises OSError when it is taken."""
        self.sequencer.published = self._publish
        self._listener = await asyncio.get_running_loop().create_server(
            lambda: Stream(self._resolve, self._opened, self._received, self._closed, self._writable, _FROM_NODES),
            host,
            port,
            ssl=self._context,
            ssl_handshake_timeout=self.limits.handshake_s,
            ssl_shutdown_timeout=1.0,
            backlog=self.limits.connections,
        )
        return int(self._listener.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the door and every connection."""
        if self._listener is None:
            return
        self._listener.close()
        for stream in list(self._sessions):
            stream.close("the sequencer stops")
        await self._listener.wait_closed()

    def latest(self) -> list[Cosigned]:
        """Each member's last cosignature."""
        return [self._lines[member] for member in sorted(self._lines)]

    def cosigned(self, by: _Session, said: Cosigned) -> None:
        """Pass a cosignature on. Not verified here: whoever counts it verifies it."""
        before = self._lines.get(said.member)
        if before is None or said.size >= before.size:
            self._lines[said.member] = said
        for session in self._sessions.values():
            if session is not by and session.next is not None and not session.stream.full:
                session.stream.send(said)

    def _publish(self) -> None:
        for session in list(self._sessions.values()):
            session.pump()

    def _opened(self, stream: Stream) -> None:
        of_member = sum(session.member == stream.peer for session in self._sessions.values())
        if len(self._sessions) >= self.limits.connections or of_member >= self.limits.connections_of_member:
            stream.close("too many connections")
            return
        self._sessions[stream] = _Session(self, stream)

    def _received(self, stream: Stream, message: Message) -> None:
        session = self._sessions.get(stream)
        if session is not None:
            session.receive(message)

    def _writable(self, stream: Stream) -> None:
        session = self._sessions.get(stream)
        if session is not None:
            session.pump()

    def _closed(self, stream: Stream, why: str) -> None:
        session = self._sessions.pop(stream, None)
        if session is not None:
            session.closed()
            _log.info("node_left", member=session.member, why=why)
