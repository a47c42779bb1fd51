"""Asks a time-stamping authority. Implements `workflows.timestamps.Authority`.

The answer is bounded in time and size, no redirect is followed (a token by whoever was meant by nobody), and nothing
of it is believed here: a token proves itself, so plain HTTP, which most authorities speak, loses nothing.
"""

import aiohttp

from commonward.records.timestamps import MAX_RESPONSE_BYTES
from commonward.workflows.timestamps import AuthorityAway

__all__ = ["AuthorityClient"]

_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"


class AuthorityClient:
    """One authority. A connection for each question: there is about one an hour."""

    def __init__(self, url: str, *, answer_s: float = 20.0) -> None:
        """`url`: http or https; may carry a user and a password. `answer_s`: for the whole of it."""
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=answer_s)

    async def stamp(self, request: bytes) -> bytes:
        """The authority's answer to a TimeStampReq, not judged. Raises AuthorityAway."""
        headers = {"Content-Type": _QUERY, "Accept": _REPLY}
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
                ) as session,
                session.post(self._url, data=request, headers=headers, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    elsewhere = " (a redirect; give the address it leads to)" if 300 <= response.status < 400 else ""
                    raise AuthorityAway(f"expected an answer 200, got {response.status}{elsewhere}")
                return await _read(response)
        except TimeoutError as cause:
            raise AuthorityAway(f"no whole answer within {self._timeout.total:g} s") from cause
        except (aiohttp.ClientError, OSError, ValueError) as cause:
            raise AuthorityAway(str(cause) or type(cause).__name__) from cause


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > MAX_RESPONSE_BYTES:
            response.close()
            raise AuthorityAway(f"its answer has more than {MAX_RESPONSE_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)
