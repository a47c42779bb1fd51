"""The ABCI socket: CometBFT asks over a unix socket, an `Application` answers.

    frame = length as a varint, then one protobuf `Request` or `Response`

CometBFT opens four connections (consensus, mempool, query, snapshots) and does not say which is which, so any of them
may bring any request. On each, answers leave in the order of the requests. CheckTx alone is worked on many at once;
the requests that move or read the chain (`_CHAIN`) are worked on one at a time over all connections, so that after
CometBFT was killed its handshake waits for a block that the old connection had begun.

What happens when a handler raises depends on who is hurt:

- on a `_CHAIN` request a wrong answer would be a fork, so nothing is answered: the failure is logged, `failed` holds
  it, and whoever runs the server stops the process;
- a question that anybody may cause (CheckTx, Query, the snapshots we serve) must never stop a validator: it is
  answered empty or with a refusal, and logged.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final, Protocol, cast

import structlog

from commonward.adapters.cometbft.proto.abci_pb2 import (
    Request,
    Response,
    ResponseCheckTx,
    ResponseEcho,
    ResponseFlush,
    ResponseListSnapshots,
    ResponseLoadSnapshotChunk,
    ResponseQuery,
)

__all__ = ["MAX_FRAME", "AbciServer", "Application", "FrameError", "Frames", "frame"]

MAX_FRAME: Final = 128 << 20
"""Bytes. CometBFT itself bounds a block at 100 MiB, and a liar may propose one: a smaller bound would hang up on it."""

_VARINT_BYTES: Final = 5  # enough for MAX_FRAME and more
_IN_WORK: Final = 256  # requests of one connection; reading stops beyond
_CHECKS: Final = 64  # CheckTx in work at once, over all connections

_CHAIN: Final = frozenset(
    {
        "info",
        "init_chain",
        "prepare_proposal",
        "process_proposal",
        "extend_vote",
        "verify_vote_extension",
        "finalize_block",
        "commit",
        "offer_snapshot",
        "apply_snapshot_chunk",
    }
)
"""Requests whose answers all honest nodes must agree on, or that decide where this node stands."""

_EMPTY: Final = {
    "check_tx": Response(check_tx=ResponseCheckTx(code=1, log="this node could not check the bundle")),
    "query": Response(query=ResponseQuery(code=1, log="this node could not answer")),
    "list_snapshots": Response(list_snapshots=ResponseListSnapshots()),
    "load_snapshot_chunk": Response(load_snapshot_chunk=ResponseLoadSnapshotChunk()),
}

_log = structlog.get_logger(__name__)


class FrameError(ValueError):
    """What came is no ABCI frame: something else speaks on the socket, or it is longer than we read."""


class Application(Protocol):
    """Answers one request. May raise; the server decides what that means."""

    async def answer(self, kind: str, request: Request) -> Response: ...


class Frames:
    """Cuts a stream into messages."""

    def __init__(self, most: int = MAX_FRAME) -> None:
        self._most = most
        self._data = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now. Raises FrameError."""
        self._data += data
        found, at = [], 0
        while True:
            length, start = self._length(at)
            if start < 0 or len(self._data) < start + length:
                break
            found.append(bytes(self._data[start : start + length]))
            at = start + length
        del self._data[:at]
        return found

    def _length(self, at: int) -> tuple[int, int]:
        """The varint at `at`, and where the message starts; (0, -1) when it is not whole yet."""
        length = 0
        for place, byte in enumerate(self._data[at : at + _VARINT_BYTES]):
            length |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                if length > self._most:
                    raise FrameError(f"expected a message of at most {self._most} bytes, got {length}")
                return length, at + place + 1
        if len(self._data) - at >= _VARINT_BYTES:
            raise FrameError(f"expected a length of at most {_VARINT_BYTES} bytes")
        return 0, -1


def frame(message: bytes) -> bytes:
    """A message as it goes on the socket."""
    length, head = len(message), bytearray()
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + message


class _Connection(asyncio.Protocol):
    """One of CometBFT's connections."""

    def __init__(self, server: "AbciServer") -> None:
        self._server = server
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._answers: deque[asyncio.Future[Response]] = deque()
        self._last: asyncio.Future[Response] | None = None
        self._held = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)
        self._server.heard()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server.connections.discard(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._server.failed.done():
            return
        try:
            requests = [Request.FromString(each) for each in self._frames.feed(data)]
        except Exception as why:  # protobuf's DecodeError has no narrower base that all its backends share
            _log.error("abci_frame_refused", why=str(why), do="see what else connects to our ABCI socket")
            self.close()
            return
        for request in requests:
            self._take(request)
        if len(self._answers) > _IN_WORK and not self._held and self._transport is not None:
            self._held = True
            self._transport.pause_reading()

    def _take(self, request: Request) -> None:
        kind = request.WhichOneof("value") or ""
        if kind == "flush":
            answer = _ready(Response(flush=ResponseFlush()))
        elif kind == "echo":
            answer = _ready(Response(echo=ResponseEcho(message=request.echo.message)))
        else:
            # CheckTx runs beside what came before it; anything else waits its turn on this connection.
            before = None if kind == "check_tx" else self._last
            answer = self._server.spawn(self._server.answer(kind, request, before))
            if kind != "check_tx":
                self._last = answer
        self._answers.append(answer)
        answer.add_done_callback(lambda _: self._send())

    def _send(self) -> None:
        """Write what is answered, as far as it is in order."""
        out = []
        while self._answers and self._answers[0].done():
            answer = self._answers.popleft()
            if answer.cancelled() or answer.exception() is not None:
                self.close()  # the process is stopping: no answer is better than a guess
                return
            out.append(frame(answer.result().SerializeToString()))
        if out and self._transport is not None:
            self._transport.write(b"".join(out))
        if self._held and len(self._answers) <= _IN_WORK // 2 and self._transport is not None:
            self._held = False
            self._transport.resume_reading()


def _ready(response: Response) -> "asyncio.Future[Response]":
    future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    future.set_result(response)
    return future


class AbciServer:
    """Listens on a unix socket until stopped, or until a handler failed where it may not."""

    def __init__(self, path: Path, application: Application, heard: Callable[[], None] = lambda: None) -> None:
        """
        Args:
            path: at most 107 bytes, as the operating system takes them; its directory is this member's alone.
            application: answers.
            heard: called at each new connection.
        """
        self.path = path
        self.heard = heard
        self.connections: set[_Connection] = set()
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._application = application
        self._chain = asyncio.Lock()
        self._checks = asyncio.Semaphore(_CHECKS)
        self._tasks: set[asyncio.Task[Response]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Raises OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)  # what a killed process left
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: _Connection(self), str(self.path))
        self.path.chmod(0o600)

    async def stop(self) -> None:
        """Take no more, wait for what is in work (a block that is being kept is kept), then close."""
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self.connections):
            connection.close()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def spawn(self, work: Coroutine[None, None, Response]) -> "asyncio.Task[Response]":
        task: asyncio.Task[Response] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def answer(self, kind: str, request: Request, before: "asyncio.Future[Response] | None") -> Response:
        """One request's answer. Raises only where the process must stop."""
        if before is not None and not before.done():
            await asyncio.wait([before])
        if kind in _EMPTY:
            return await self._harmless(kind, request)
        async with self._chain:
            if self.failed.done():
                raise self.failed.result()
            try:
                if kind not in _CHAIN:
                    raise FrameError(f"expected a request of ABCI 2.0, got {kind or 'an unknown one'}")
                return await self._application.answer(kind, request)
            except BaseException as cause:
                self._fail(kind, cause)
                raise

    async def _harmless(self, kind: str, request: Request) -> Response:
        try:
            if kind == "check_tx":
                async with self._checks:
                    return await self._application.answer(kind, request)
            return await self._application.answer(kind, request)
        except Exception:
            _log.exception("abci_handler_failed", request=kind, do="answered empty; report this as a bug")
            return _EMPTY[kind]

    def _fail(self, kind: str, cause: BaseException) -> None:
        if self.failed.done():
            return
        _log.critical(
            "abci_consensus_failed",
            request=kind,
            why=f"{type(cause).__name__}: {cause}",
            do="nothing was answered and this node stops; mend the cause, then start it again",
        )
        self.failed.set_result(cause)
        for connection in list(self.connections):
            connection.close()
