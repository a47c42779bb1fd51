"""What can go wrong between members, in our words. aiohttp's and OpenSSL's errors stop here."""

from commonward.ledger.ids import MemberId
from commonward.workflows.ports import PeerAway

__all__ = ["BadContext", "PeerRefused", "PeerUnreachable"]


class PeerUnreachable(PeerAway):
    """No answer: not connected, not the member that was meant, cut off, or too slow. It may have acted; ask again."""

    def __init__(self, member: MemberId, why: str) -> None:
        super().__init__(f"{member} could not be reached: {why}")
        self.member = member
        self.why = why


class PeerRefused(PeerAway):
    """The member answered, and said no. `code` is a refusal's number, or 0 where the transport refused.

    Raised by a handler it travels to the asker; raised by `ask` it is what the other side said.
    """

    def __init__(self, code: int, text: str, member: MemberId | None = None) -> None:
        super().__init__(f"{member or 'the peer'} refused ({code}): {text}")
        self.code = code
        self.text = text
        self.member = member


class BadContext(ValueError):
    """A TLS context that would let in someone without a certificate, or an older TLS."""
