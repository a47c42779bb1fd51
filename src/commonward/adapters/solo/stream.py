"""One connection between the sequencer and a node: messages over mutual TLS 1.3, callbacks and no tasks.

Callbacks rather than streams: a message is handled in the very turn of the loop that read it, which is worth a
millisecond over five nodes. TCP_NODELAY is asyncio's default.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from commonward.ledger.ids import MemberId

from .wire import MAX_FRAME, Frames, Message, WireError, frame, parse

__all__ = ["BadContext", "Resolve", "Stream", "checked"]

Resolve = Callable[[bytes], MemberId | None]
"""The member whose registered TLS key this certificate (DER) holds, at this moment; None when it is nobody's."""

_HIGH: Final = 8 << 20


class BadContext(ValueError):
    """A TLS context that would let in someone without a certificate, or an older TLS."""


def checked(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, if it asks for a certificate and speaks TLS 1.3 only. Raises BadContext."""
    if context.verify_mode is not ssl.CERT_REQUIRED:
        raise BadContext("expected a TLS context that requires the peer's certificate (verify_mode CERT_REQUIRED)")
    if context.minimum_version is not ssl.TLSVersion.TLSv1_3:
        raise BadContext("expected a TLS context with minimum_version TLSv1_3")
    return context


class Stream(asyncio.Protocol):
    """Frames in, frames out. `peer` is who the other end proved to be."""

    def __init__(
        self,
        resolve: Resolve,
        opened: "Callable[[Stream], None]",
        received: "Callable[[Stream, Message], None]",
        closed: "Callable[[Stream, str], None]",
        writable: "Callable[[Stream], None] | None" = None,
        limit: int = MAX_FRAME,
    ) -> None:
        """
        Args:
            opened: called once the other end is known; may close.
            received: called for each message; raises WireError to end the connection.
            closed: called once, with why, if `opened` was.
            writable: called when a full write buffer has drained.
        """
        self._resolve = resolve
        self._opened = opened
        self._received = received
        self._closed = closed
        self._writable = writable
        self._frames = Frames(limit)
        self._why = ""
        self._known = False
        self.full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=_HIGH)
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        peer = self._resolve(certificate) if certificate is not None else None
        if peer is None:
            transport.abort()  # a key that is registered for nobody is told nothing
            return
        self.peer: MemberId = peer
        self._known = True
        self._opened(self)

    def data_received(self, data: bytes) -> None:
        if not self._known or self._transport.is_closing():
            return
        try:
            for body in self._frames.feed(data):
                self._received(self, parse(body))
        except WireError as why:
            self.close(str(why))

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        if self._writable is not None:
            self._writable(self)

    def connection_lost(self, cause: Exception | None) -> None:
        if self._known:
            self._known = False
            self._closed(self, self._why or (str(cause) if cause else "the other end closed"))

    def send(self, message: Message) -> None:
        """Queue a message; it leaves in this turn of the loop if the socket takes it."""
        if not self._transport.is_closing():
            self._transport.write(frame(message))

    def hold(self) -> None:
        """Read no more until `go_on`: the other end feels it."""
        self._transport.pause_reading()

    def go_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self, why: str) -> None:
        """End the connection; `closed` hears why."""
        self._why = self._why or why
        self._transport.abort() if self.full else self._transport.close()
