"""Who is at the other end: the certificate it proved the key of, looked up among the members' registered TLS keys.

The chain says which certificate authority vouches; only the ledger says which member a key speaks for. Both must hold,
so a certificate of member A never passes for B, though one licensed authority may have signed both.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeAlias

from aiohttp import Fingerprint, ServerFingerprintMismatch

from commonward.ledger.ids import MemberId

from .errors import BadContext

__all__ = ["Expected", "Resolve", "certificate_of", "checked"]

Resolve: TypeAlias = Callable[[bytes], MemberId | None]
"""The member whose registered TLS key this certificate (DER) holds, at this moment; None when it is nobody's."""


def checked(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, if it asks for a certificate and speaks TLS 1.3 only. Raises BadContext."""
    if context.verify_mode is not ssl.CERT_REQUIRED:
        raise BadContext("expected a TLS context that requires the peer's certificate (verify_mode CERT_REQUIRED)")
    if context.minimum_version is not ssl.TLSVersion.TLSv1_3:
        raise BadContext("expected a TLS context with minimum_version TLSv1_3")
    return context


def certificate_of(transport: asyncio.BaseTransport) -> bytes | None:
    """DER of the certificate whose key the other end proved in the handshake; None without one."""
    tls = transport.get_extra_info("ssl_object")
    return tls.getpeercert(binary_form=True) if tls is not None else None


class Expected(Fingerprint):
    """Makes aiohttp check, before a byte of the request leaves, that the server is the member we mean."""

    def __init__(self, member: MemberId, resolve: Resolve) -> None:
        super().__init__(bytes(32))  # the fixed fingerprint of the base class is never compared
        self._member = member
        self._resolve = resolve

    def check(self, transport: asyncio.BaseTransport) -> None:
        """Raises ServerFingerprintMismatch, which aiohttp expects here."""
        certificate = certificate_of(transport)
        found = self._resolve(certificate) if certificate is not None else None
        if found != self._member:
            host, port, *_ = transport.get_extra_info("peername") or ("?", 0)
            raise ServerFingerprintMismatch(self._member.encode(), (found or "nobody").encode(), host, port)
