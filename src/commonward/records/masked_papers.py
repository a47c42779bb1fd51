"""What travels in a masked attempt: a site's masked vector, and a holder's revealed shares. Bytes and back, no more."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from commonward.ledger.encoding import Digest, Encodable, decode, digest, encode
from commonward.records.masking_keys import MaskingError

_MASKED_LABEL: Final = "commonward masked update v1"
_REVEAL_LABEL: Final = "commonward mask reveal v1"


@dataclass(frozen=True, slots=True)
class Masked:
    """A site's masked update: what it commits to, sends, and everyone adds. `vector`: 8 bytes each, little-endian."""

    study: bytes
    round: int
    attempt: int
    base: bytes
    site: str
    vector: bytes

    def to_bytes(self) -> bytes:
        """encode([label, study, round, attempt, base, site, vector])."""
        return encode([_MASKED_LABEL, self.study, self.round, self.attempt, self.base, self.site, self.vector])

    @classmethod
    def parse(cls, data: bytes) -> "Masked":
        """Raises MaskingError."""
        match _decoded(data):
            case [str(label), bytes(study), int(number), int(attempt), bytes(base), str(site), bytes(vector)] if (
                label == _MASKED_LABEL
            ):
                return cls(study, number, attempt, base, site, vector)
        raise MaskingError("expected [label, study, round, attempt, base, site, vector]")

    @property
    def digest(self) -> Digest:
        """Of its bytes."""
        return digest(_MASKED_LABEL, self.to_bytes())


@dataclass(frozen=True, slots=True)
class Reveal:
    """A holder's shares, once the set of an attempt is fixed.

    Attributes:
        holder: who reveals.
        survivors: the fixed set, in order: the sites whose seeds are opened. Of the other sites, the key is.
        shares: by dealer, one share (33 bytes).
    """

    study: bytes
    round: int
    attempt: int
    holder: str
    survivors: tuple[str, ...]
    shares: Mapping[str, bytes]

    def to_bytes(self) -> bytes:
        """encode([label, study, round, attempt, holder, survivors, [[dealer, share], ...]])."""
        shares: list[Encodable] = [[dealer, self.shares[dealer]] for dealer in sorted(self.shares)]
        return encode([_REVEAL_LABEL, self.study, self.round, self.attempt, self.holder, list(self.survivors), shares])

    @classmethod
    def parse(cls, data: bytes) -> "Reveal":
        """Raises MaskingError."""
        match _decoded(data):
            case [str(label), bytes(study), int(number), int(attempt), str(holder), list(sites), list(pairs)] if (
                label == _REVEAL_LABEL
            ):
                shares = {}
                for pair in pairs:
                    match pair:
                        case [str(dealer), bytes(share)]:
                            shares[dealer] = share
                survivors = tuple(each for each in sites if isinstance(each, str))
                made = cls(study, number, attempt, holder, survivors, shares)
                if made.to_bytes() == data:
                    return made
        raise MaskingError("expected [label, study, round, attempt, holder, survivors, [[dealer, share], ...]]")


def _decoded(data: bytes) -> object:
    try:
        return decode(data)
    except ValueError as cause:
        raise MaskingError(f"expected our encoding: {cause}") from cause
