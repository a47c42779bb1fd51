"""TLS between members: 1.3 only, both ends prove their key, chains end at the members' CA certificates.

A chain says only that some member's CA vouches; which member a connection is comes from the registered TLS key
(`adapters.peers`). So host names are not compared: nodes move, keys are registered.
"""

import ssl
from collections.abc import Iterable

from commonward.adapters.keys.errors import KeyFileMissing, KeyFileUnreadable
from commonward.adapters.keys.member import MemberKeys
from commonward.adapters.keys.pkcs8 import read_private


def server_context(keys: MemberKeys, authorities: Iterable[bytes]) -> ssl.SSLContext:
    """For listening to members. `authorities`: the CA certificates (DER) of all members.

    Raises KeyFileMissing, KeyFileExposed or KeyFileUnreadable.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, keys, authorities)
    context.num_tickets = 0  # no resumption: each connection shows its certificate, so a revoked key ends at once
    return context


def client_context(keys: MemberKeys, authorities: Iterable[bytes]) -> ssl.SSLContext:
    """For calling members; raises as `server_context`."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, keys, authorities)


def trust(context: ssl.SSLContext, authorities: Iterable[bytes]) -> None:
    """Believe these CAs too (DER), from the next handshake on; one that is believed already stays as it is."""
    for authority in sorted(set(authorities)):
        context.load_verify_locations(cadata=authority)


def _context(protocol: int, keys: MemberKeys, authorities: Iterable[bytes]) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    # A licensed CA need not be self-signed: its certificate, as admitted, is where chains end.
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    trust(context, authorities)
    certificate, key = keys.tls_files
    read_private(key)  # raises when others may read it; the library would not
    if not certificate.exists():
        raise KeyFileMissing(certificate)
    try:
        context.load_cert_chain(certificate, key, password=lambda: keys.passphrase)
    except ssl.SSLError as cause:
        raise KeyFileUnreadable(key, f"the TLS library does not take it with {certificate.name} ({cause})") from cause
    return context
