"""What stands before the signing API: how often an address may ask, how long a body may be, what headers leave.

An ASGI layer of its own, so that nothing behind it can forget them. No cookie is set or read, no other site's page may
call (there are no CORS headers, and a foreign `Origin` is refused), and no frame may hold a page of this origin.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

Scope = MutableMapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[MutableMapping[str, Any]], Any]

HEADERS: Final = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"strict-transport-security", b"max-age=31536000"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one address may ask. A body of more than `body_bytes` is refused unread."""

    burst: int = 400
    per_second: float = 100.0
    addresses: int = 10_000
    body_bytes: int = 256 * 1024
    costs: Mapping[str, int] | None = None  # path -> tokens, where it is not one


class Buckets:
    """A token bucket for each address; the least recently seen are forgotten."""

    def __init__(self, limits: Limits, seconds: Callable[[], float]) -> None:
        """`seconds`: a clock that only goes forward."""
        self._limits = limits
        self._seconds = seconds
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str, cost: int) -> float:
        """Seconds to wait before asking again; 0 when it may ask now."""
        now = self._seconds()
        tokens, before = self._held.pop(address, (float(self._limits.burst), now))
        tokens = min(self._limits.burst, tokens + (now - before) * self._limits.per_second)
        wait = 0.0
        if tokens >= cost:
            tokens -= cost
        else:
            wait = (cost - tokens) / self._limits.per_second
        self._held[address] = (tokens, now)
        while len(self._held) > self._limits.addresses:
            self._held.popitem(last=False)
        return wait


class _TooLong(Exception):
    pass


class Guard:
    """The ASGI layer."""

    def __init__(
        self, app: Any, *, limits: Limits, seconds: Callable[[], float], origins: Callable[[], tuple[str, ...]]
    ) -> None:
        """`origins`: of the members' signing pages; a request that a browser marks as another's is refused."""
        self._app = app
        self._limits = limits
        self._buckets = Buckets(limits, seconds)
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {bytes(name).lower(): bytes(value) for name, value in scope["headers"]}
        client = scope.get("client")
        cost = (self._limits.costs or {}).get(scope["path"], 1)
        wait = self._buckets.take(client[0] if client else "", cost)
        started = False

        async def guarded(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                kept = [(name, value) for name, value in message.get("headers", ()) if bytes(name).lower() != b"server"]
                message = {**message, "headers": [*kept, *HEADERS]}
            await send(message)

        if wait:
            retry = (b"retry-after", str(int(wait) + 1).encode())
            await _problem(guarded, 429, "asked too often", f"ask again in {int(wait) + 1} s", retry)
            return
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1") not in self._origins():
            await _problem(guarded, 403, "not from this page", "expected no origin or that of a member's signing page")
            return
        if scope["method"] == "POST" and headers.get(b"content-type") != b"application/cbor":
            await _problem(guarded, 415, "wrong content type", "expected application/cbor")
            return
        most = self._limits.body_bytes
        said = headers.get(b"content-length", b"0")
        if not said.isdigit() or int(said) > most:
            await _problem(guarded, 413, "too long", f"expected a body of at most {most} bytes")
            return
        read = 0

        async def counted() -> Any:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                raise _TooLong
            return message

        try:
            await self._app(scope, counted, guarded)
        except _TooLong:
            if not started:
                await _problem(guarded, 413, "too long", f"expected a body of at most {most} bytes, got more")


async def _problem(send: Send, status: int, title: str, detail: str, *more: tuple[bytes, bytes]) -> None:
    """An answer as RFC 9457 (problem details) has it."""
    body = json.dumps({"status": status, "title": title, "detail": detail}).encode()
    length = (b"content-length", str(len(body)).encode())
    headers = [(b"content-type", b"application/problem+json"), length, *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
