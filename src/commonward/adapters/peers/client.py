"""Asks other members. Implements `workflows.ports.Peers` over mutual TLS 1.3."""

import asyncio
import ssl
from collections.abc import Mapping

import aiohttp

from commonward.ledger.encoding import EncodingError, decode
from commonward.ledger.ids import MemberId
from commonward.workflows.ports import Answer

from .errors import PeerRefused, PeerUnreachable
from .identity import Expected, Resolve, checked
from .server import REFUSED_STATUS

__all__ = ["PeerClient"]


class PeerClient:
    """One member's line to the others; connections are kept and used again.

    A server's key is looked up on the ledger before anything is sent to it: only the member asked reads the question.
    """

    def __init__(
        self,
        member: MemberId,
        context: ssl.SSLContext,
        addresses: Mapping[MemberId, tuple[str, int]],
        resolve: Resolve,
        own: Answer | None = None,
        *,
        connect_s: float = 3.0,
        answer_s: float = 65.0,
        answer_bytes: int = 64 << 20,
    ) -> None:
        """
        Args:
            member: who asks.
            addresses: host and port of every other member; read at each question, so it may change.
            own: answers questions to ourselves, without a socket.

        Raises:
            BadContext: the context would not ask for a certificate, or speaks less than TLS 1.3.
        """
        self._member = member
        self._context = checked(context)
        self._addresses = addresses
        self._resolve = resolve
        self._own = own
        self._timeout = aiohttp.ClientTimeout(total=answer_s, sock_connect=connect_s)
        self._answer_bytes = answer_bytes
        self._sessions: dict[MemberId, aiohttp.ClientSession] = {}

    @property
    def addresses(self) -> Mapping[MemberId, tuple[str, int]]:
        """Where the other members are called now."""
        return self._addresses

    async def ask(self, member: MemberId, path: str, body: bytes) -> bytes:
        """One question, one answer.

        Raises:
            PeerUnreachable: no answer came; it may have acted.
            PeerRefused: it answered no.
        """
        if member == self._member and self._own is not None:
            return await self._own(member, path, body)
        address = self._addresses.get(member)
        if address is None:
            raise PeerUnreachable(member, "no address is set for it; add it under [peers] in the settings")
        url = f"https://{address[0]}:{address[1]}/{path}"
        try:
            async with self._session(member).post(url, data=body, ssl=self._context, allow_redirects=False) as response:
                status, answer = response.status, await self._read(member, response)
        except aiohttp.ServerFingerprintMismatch as cause:
            raise PeerUnreachable(
                member, f"the key at {address[0]}:{address[1]} is registered for {cause.got.decode()}, not for it"
            ) from cause
        except (aiohttp.ClientError, ssl.SSLError, OSError) as cause:
            raise PeerUnreachable(member, str(cause) or type(cause).__name__) from cause
        except TimeoutError as cause:
            raise PeerUnreachable(member, f"no answer from {address[0]}:{address[1]} in time") from cause
        if status == 200:
            return answer
        raise self._said_no(member, status, answer)

    async def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()
        await asyncio.sleep(0)  # lets the transports see their closing

    def _session(self, member: MemberId) -> aiohttp.ClientSession:
        session = self._sessions.get(member)
        if session is None:
            # One connector a member: aiohttp takes the identity check from the connector when the context comes
            # with the request, and would skip verification if both came with the request.
            connector = aiohttp.TCPConnector(ssl=Expected(member, self._resolve), limit=32, keepalive_timeout=60)
            session = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
            self._sessions[member] = session
        return session

    async def _read(self, member: MemberId, response: aiohttp.ClientResponse) -> bytes:
        parts, size = [], 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > self._answer_bytes:
                response.close()
                raise PeerUnreachable(member, f"its answer has more than {self._answer_bytes} bytes")
            parts.append(part)
        return b"".join(parts)

    def _said_no(self, member: MemberId, status: int, answer: bytes) -> Exception:
        if status == REFUSED_STATUS:
            try:
                said = decode(answer)
            except EncodingError:
                said = None
            match said:
                case [int(code), str(text)]:
                    return PeerRefused(code, text, member)
        text = answer[:200].decode(errors="replace")
        if status >= 500:
            return PeerUnreachable(member, f"it answered {status}: {text}")
        return PeerRefused(0, text, member)
