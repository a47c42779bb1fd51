"""One HTTPS line to each member's signing API, and what goes wrong on it in our words.

TLS 1.3, the server's certificate under that member's own CA certificate as the pinned genesis has it: no public CA, no
proxy from the environment, no redirect.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from typing import Final, TypeVar

import httpx

from commonward.apps.settings import Address
from commonward.ledger.ids import MemberId
from commonward.workflows.ports import PeerAway
from commonward.workflows.wire import Message, MessageError

M = TypeVar("M", bound=Message)

_MAX_ANSWER: Final = 8 << 20
_TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)


class MemberAway(PeerAway):
    """A member could not be reached, or did not answer what was asked."""

    def __init__(self, member: MemberId, why: str) -> None:
        super().__init__(f"{member} does not answer: {why}")
        self.member = member


class MemberRefused(MemberAway):
    """A member answered, and said no."""

    def __init__(self, member: MemberId, status: int, why: str) -> None:
        PeerAway.__init__(self, f"{member} refused ({status}): {why}")
        self.member = member
        self.status = status


def tls_context(ca: bytes) -> ssl.SSLContext:
    """Trusts this CA certificate (DER) alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=ca)
    return context


def open_lines(addresses: Mapping[MemberId, Address], certificates: Mapping[MemberId, bytes]) -> dict[MemberId, Line]:
    """A line to each member whose address and CA certificate (DER) are known. Nothing is sent yet."""
    return {
        member: Line(
            member,
            httpx.Client(
                base_url=f"https://{address}",
                verify=tls_context(certificates[member]),
                timeout=_TIMEOUT,
                trust_env=False,
            ),
        )
        for member, address in addresses.items()
        if member in certificates
    }


class Line:
    """Questions to one member. Blocking; may be used from another thread."""

    def __init__(self, member: MemberId, client: httpx.Client) -> None:
        self.member = member
        self._client = client

    def get(self, path: str, kind: type[M], **params: int) -> M:
        return self._parsed(kind, self._answer("GET", path, None, params))

    def get_bytes(self, path: str) -> bytes:
        return self._answer("GET", path, None, {})

    def ask(self, path: str, message: Message, kind: type[M]) -> M:
        """Raises MemberAway, MemberRefused."""
        return self._parsed(kind, self._answer("POST", path, message.to_bytes(), {}))

    def send(self, path: str, body: bytes, kind: type[M]) -> M:
        return self._parsed(kind, self._answer("POST", path, body, {}))

    def close(self) -> None:
        self._client.close()

    def _parsed(self, kind: type[M], data: bytes) -> M:
        try:
            return kind.parse(data)
        except MessageError as cause:
            raise MemberAway(self.member, f"expected a {kind.__name__}, got {cause}") from cause

    def _answer(self, method: str, path: str, body: bytes | None, params: Mapping[str, int]) -> bytes:
        response = self._once(method, path, body, params)
        if response.status_code == 429:  # asked too often: once more after a moment, else another member
            time.sleep(1.0)
            response = self._once(method, path, body, params)
        if response.status_code == 200:
            return response.content
        why = _detail(response)
        if response.status_code >= 500 or response.status_code == 429:
            raise MemberAway(self.member, why)
        raise MemberRefused(self.member, response.status_code, why)

    def _once(self, method: str, path: str, body: bytes | None, params: Mapping[str, int]) -> httpx.Response:
        headers = {"content-type": "application/cbor"} if body is not None else {}
        try:
            with self._client.stream(method, path, content=body, params=dict(params), headers=headers) as response:
                parts, size = [], 0
                for part in response.iter_bytes():
                    size += len(part)
                    if size > _MAX_ANSWER:
                        raise MemberAway(self.member, f"its answer has more than {_MAX_ANSWER} bytes")
                    parts.append(part)
                return httpx.Response(response.status_code, content=b"".join(parts))
        except httpx.HTTPError as cause:
            raise MemberAway(self.member, str(cause) or type(cause).__name__) from cause
        except ssl.SSLError as cause:
            raise MemberAway(self.member, f"TLS: {cause.reason}") from cause


def _detail(response: httpx.Response) -> str:
    try:
        found = response.json()
    except ValueError:
        found = None
    if isinstance(found, dict) and isinstance(found.get("detail"), str):
        return str(found["detail"])[:300]
    return f"status {response.status_code}"
