"""Calls other processes as a node would, and says what it met: who answered, in how long, and what its clock says."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from commonward.apps.settings import Address

TIMEOUT_S: Final = 3.0
_QUIET_S: Final = 0.4
"""A sequencer that will not have us hangs up at once; one that waits for our first word stays quiet."""


@dataclass(frozen=True, slots=True)
class Met:
    """What a call met. `why` is empty when the other end was reached and kept the line."""

    certificate: bytes = b""
    why: str = ""
    ahead_ms: int | None = None  # its clock before ours, by its Date header: right to a second
    took_ms: float = 0.0


def call(context: ssl.SSLContext, address: Address, *, http: bool) -> Met:
    """Mutual TLS with whoever listens there; `http` asks for nothing and reads the answer's date. Never raises."""
    started = time.monotonic()
    certificate = b""
    try:
        with socket.create_connection((address.host, address.port), timeout=TIMEOUT_S) as plain:
            plain.settimeout(TIMEOUT_S)
            with context.wrap_socket(plain, server_hostname=address.host) as line:
                certificate = line.getpeercert(binary_form=True) or b""
                took = (time.monotonic() - started) * 1000
                if http:
                    said = _date(line, address)
                else:
                    said = None
                    _silence(line)
                # Headers give whole seconds, of which half has passed, on average.
                ahead = None if said is None else said + 500 - time.time_ns() // 1_000_000
    except ssl.SSLCertVerificationError as cause:
        return Met(certificate, f"its certificate is of no member's CA ({cause.verify_message})")
    except ssl.SSLError as cause:
        return Met(certificate, f"TLS failed ({cause.reason or cause}); does it know this member's key?")
    except TimeoutError:
        return Met(certificate, f"no answer within {TIMEOUT_S:g} s")
    except OSError as cause:
        return Met(certificate, cause.strerror or str(cause) or type(cause).__name__)
    return Met(certificate, "", ahead, took)


def _date(line: ssl.SSLSocket, address: Address) -> int | None:
    # A question that is none: every node answers it (405), with its clock.
    line.sendall(f"GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head and len(head) < 16_384:
        more = line.recv(4096)
        if not more:
            break
        head += more
    if not head:
        raise ConnectionResetError("it hung up: this member's TLS key is registered for nobody there")
    for name, _, value in (row.partition(b":") for row in head.split(b"\r\n")):
        if name.strip().lower() == b"date":
            with contextlib.suppress(ValueError):
                return int(parsedate_to_datetime(value.decode("latin-1").strip()).timestamp() * 1000)
    return None


def _silence(line: ssl.SSLSocket) -> None:
    line.settimeout(_QUIET_S)
    with contextlib.suppress(TimeoutError):
        if not line.recv(1):
            raise ConnectionResetError("it hung up: this member's TLS key is registered for nobody there")


def listens(address: Address) -> bool:
    """Whether anything does."""
    with contextlib.suppress(OSError), socket.create_connection((address.host, address.port), timeout=1.0):
        return True
    return False


def why_not_free(address: Address) -> str:
    """Empty when a program of ours could listen there."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(where)
    except OSError as cause:
        return cause.strerror or str(cause)
    return ""
