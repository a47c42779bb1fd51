"""Answers by name; what no name covers is refused."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from commonward.ledger.ids import MemberId

from .errors import PeerRefused

__all__ = ["Handler", "Routes"]

Handler: TypeAlias = Callable[[MemberId, bytes], Awaitable[bytes]]


class Routes:
    """An `Answer` (workflows.ports) made of handlers registered by name."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def add(self, name: str, handler: Handler) -> None:
        """Register a handler. Two handlers of one name would leave it open who answers: an error."""
        if name in self._handlers:
            raise ValueError(f"a handler for {name!r} is registered already")
        self._handlers[name] = handler

    async def __call__(self, member: MemberId, path: str, body: bytes) -> bytes:
        handler = self._handlers.get(path)
        if handler is None:
            raise PeerRefused(0, f"nothing is answered at {path!r}")
        return await handler(member, body)
