"""The door other members knock at.

Promises: an answer is made only for a member whose TLS key is registered; bodies, waiting times, connections and
questions at once are bounded, so one slow or greedy peer costs little; nothing of our own failures leaves but "it
failed". What may be asked, and by whom, is for the answer behind it.
"""

import asyncio
import ssl
from collections import Counter
from dataclasses import dataclass
from typing import Final

import structlog
from aiohttp import web

from commonward.ledger.encoding import encode
from commonward.ledger.ids import MemberId
from commonward.ledger.refusals import Refusal
from commonward.workflows.ports import Answer

from .errors import PeerRefused
from .identity import Resolve, certificate_of, checked

__all__ = ["REFUSED_STATUS", "Limits", "PeerServer"]

REFUSED_STATUS: Final = 422
"""HTTP status of a refusal; its body is CBOR [code, text]."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one listener. Times in seconds, sizes in bytes."""

    body: int = 32 << 20
    handshake_s: float = 5.0
    head_s: float = 5.0  # from connecting, or the last answer's first byte of a next question, to a whole head
    idle_s: float = 75.0  # between questions on one connection
    body_s: float = 20.0
    answer_s: float = 60.0
    connections: int = 256
    at_once: int = 32  # questions of one member being answered


class _Guard(asyncio.Protocol):
    """Passes everything on to aiohttp's handler, and closes a connection that does not finish asking in time.

    aiohttp waits for the rest of a head for ever; a peer that sends a byte a minute would hold a connection each.
    """

    def __init__(self, server: "PeerServer", inner: asyncio.Protocol) -> None:
        self._server = server
        self._inner = inner
        self._timer: asyncio.TimerHandle | None = None
        self._asking = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        if not self._server.admit(self, self._inner):
            assert isinstance(transport, asyncio.Transport)
            transport.abort()
            return
        self._arm(self._server.limits.head_s)
        self._inner.connection_made(transport)

    def _arm(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self._late)

    def _late(self) -> None:
        assert isinstance(self.transport, asyncio.Transport)
        self.transport.abort()

    def begin(self) -> None:
        """A whole head has come: the handler keeps the time from here."""
        self._asking = True
        self._arm(None)

    def end(self) -> None:
        """Answered: the connection may stay idle for a while."""
        self._asking = False
        self._arm(self._server.limits.idle_s)

    def data_received(self, data: bytes) -> None:
        if not self._asking:
            self._asking = True
            self._arm(self._server.limits.head_s)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, cause: Exception | None) -> None:
        self._arm(None)
        if self._server.dismiss(self._inner):
            self._inner.connection_lost(cause)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


class PeerServer:
    """Listens for other members and hands their questions to an `Answer`."""

    def __init__(self, context: ssl.SSLContext, resolve: Resolve, answer: Answer, limits: Limits | None = None) -> None:
        """
        Args:
            context: this member's TLS certificate and key, and the authorities of all members.

        Raises:
            BadContext: the context would not ask for a certificate, or speaks less than TLS 1.3.
        """
        self.limits = limits or Limits()
        self._context = checked(context)
        self._resolve = resolve
        self._answer = answer
        self._guards: dict[asyncio.Protocol, _Guard] = {}
        self._busy: Counter[MemberId] = Counter()
        self._web: web.Server | None = None
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which the system chose when 0 was given. Raises OSError when it is taken."""
        self._web = web.Server(self._handle, access_log=None, keepalive_timeout=self.limits.idle_s)
        self._listener = await asyncio.get_running_loop().create_server(
            self._connection,
            host,
            port,
            ssl=self._context,
            ssl_handshake_timeout=self.limits.handshake_s,
            ssl_shutdown_timeout=1.0,
            backlog=self.limits.connections,
        )
        return int(self._listener.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Answer what was asked, briefly, and close."""
        if self._listener is not None:
            self._listener.close()
        if self._web is not None:
            await self._web.shutdown(2.0)
        for guard in list(self._guards.values()):
            guard._late()
        if self._listener is not None:
            await self._listener.wait_closed()

    def _connection(self) -> asyncio.Protocol:
        assert self._web is not None
        return _Guard(self, self._web())

    def admit(self, guard: _Guard, inner: asyncio.Protocol) -> bool:
        if len(self._guards) >= self.limits.connections:
            return False
        self._guards[inner] = guard
        return True

    def dismiss(self, inner: asyncio.Protocol) -> bool:
        return self._guards.pop(inner, None) is not None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        guard = self._guards.get(request.protocol)
        if guard is None:  # the connection went while its question was being parsed
            return _plain(503, "closing")
        guard.begin()
        try:
            return await self._judge(request, guard)
        finally:
            guard.end()

    async def _judge(self, request: web.BaseRequest, guard: _Guard) -> web.StreamResponse:
        """1. who asks, 2. how, 3. not too much at once, 4. the whole body, in time, 5. the answer, in time."""
        certificate = certificate_of(guard.transport)
        member = self._resolve(certificate) if certificate is not None else None
        if member is None:
            # The body is not read, so the connection cannot be used again.
            return _plain(401, "your TLS key is not registered for any member", close=True)
        if request.method != "POST":
            return _plain(405, "questions are POSTs", close=True)
        if self._busy[member] >= self.limits.at_once:
            return _plain(429, f"at most {self.limits.at_once} questions at once", close=True)
        self._busy[member] += 1
        try:
            try:
                async with asyncio.timeout(self.limits.body_s):
                    body = await self._body(request)
            except TimeoutError:
                return _plain(408, f"the question took longer than {self.limits.body_s:g} s", close=True)
            if body is None:
                return _plain(413, f"a question may have {self.limits.body} bytes", close=True)
            return await self._answered(member, request.path.removeprefix("/"), body)
        finally:
            self._busy[member] -= 1

    async def _body(self, request: web.BaseRequest) -> bytes | None:
        """The whole body; None as soon as it is too large, whatever its head announced."""
        if (request.content_length or 0) > self.limits.body:
            return None
        parts, size = [], 0
        while part := await request.content.readany():
            size += len(part)
            if size > self.limits.body:
                return None
            parts.append(part)
        return b"".join(parts)

    async def _answered(self, member: MemberId, path: str, body: bytes) -> web.StreamResponse:
        try:
            async with asyncio.timeout(self.limits.answer_s):
                answer = await self._answer(member, path, body)
        except PeerRefused as refused:
            return _refused(refused.code, refused.text)
        except Refusal as refusal:
            return _refused(refusal.code, str(refusal))
        except TimeoutError:
            return _plain(504, f"no answer within {self.limits.answer_s:g} s")
        except Exception:
            # Our own failure: its words may hold what the asker must not learn, so they stay here.
            _log.exception("peer_question_failed", member=member, path=path)
            return _plain(500, "it failed")
        return web.Response(body=answer, content_type="application/cbor")


def _refused(code: int, text: str) -> web.Response:
    return web.Response(status=REFUSED_STATUS, body=encode([code, text]), content_type="application/cbor")


def _plain(status: int, text: str, *, close: bool = False) -> web.Response:
    response = web.Response(status=status, text=text)
    if close:
        response.force_close()
    return response
