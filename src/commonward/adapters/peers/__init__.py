"""Member to member over mutual TLS 1.3: who asks is known by the TLS key the ledger has registered for it."""

from .client import PeerClient
from .errors import BadContext, PeerRefused, PeerUnreachable
from .identity import Resolve
from .routes import Routes
from .server import Limits, PeerServer

__all__ = [
    "BadContext",
    "Limits",
    "PeerClient",
    "PeerRefused",
    "PeerServer",
    "PeerUnreachable",
    "Resolve",
    "Routes",
]
