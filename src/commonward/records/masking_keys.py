"""What a site prepares before a masked attempt opens: a mask key, a seed of its own, and shares of both for the others.

The ledger shows the public mask key, a commitment to the seed, and the digest of the deal (`MaskKeys`). The deal holds,
for each holder, its two shares sealed to the key it enrolled with, and a commitment to each share. So a holder can
tell at once that it was dealt something else, and later everyone can tell who reveals a false share.

All secrets of one attempt follow from 32 random bytes, drawn anew for each: a site that was killed prepares the same
again, and no key serves twice. Threshold: more than two thirds of the holders and at least three
(`ledger.rounds.words.survivors`), so that no two sets of revealers can open a site's key and its seed both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from commonward.ledger.encoding import Digest, Encodable, decode, digest, encode
from commonward.ledger.rounds.words import survivors
from commonward.records.envelope import EnvelopeError, open_from, public_of, seal_to
from commonward.records.shamir import SHARE_BYTES, split

SEED_BYTES: Final = 32
MIN_HOLDERS: Final = 3

_KEY_LABEL: Final = "commonward mask key v1"
_SELF_LABEL: Final = "commonward self mask seed v1"
_SHARING_LABEL: Final = "commonward mask sharing v1"
_COMMITMENT_LABEL: Final = "commonward mask seed commitment v1"
_SHARE_LABEL: Final = "commonward mask share v1"
_SEALED_LABEL: Final = "commonward mask shares v1"
_DEAL_LABEL: Final = "commonward mask deal v1"
OF_SEED: Final = 1
OF_KEY: Final = 2


class MaskingError(ValueError):
    """A masked round that cannot be opened, or a site that broke its rules: which one, and how."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """Of one site for one attempt.

    Attributes:
        private: X25519 private key (32 bytes) from which the pairwise masks come.
        self_seed: 32 bytes from which the site's own mask comes.
        sharing: 32 bytes from which the polynomials of both come.
    """

    private: bytes
    self_seed: bytes
    sharing: bytes

    @classmethod
    def derive(cls, seed: bytes) -> "Secrets":
        """From 32 random bytes that are used for this attempt alone. Raises ValueError for another length."""
        if len(seed) != SEED_BYTES:
            raise ValueError(f"expected a seed of {SEED_BYTES} bytes, got {len(seed)}")
        return cls(digest(_KEY_LABEL, seed), digest(_SELF_LABEL, seed), digest(_SHARING_LABEL, seed))

    @property
    def public(self) -> bytes:
        """The public mask key: 32 bytes."""
        return public_of(self.private)


def seed_commitment(study: bytes, public: bytes, self_seed: bytes) -> Digest:
    """digest("commonward mask seed commitment v1", study, public key, seed): the seed itself is random enough."""
    return digest(_COMMITMENT_LABEL, study, public, self_seed)


@dataclass(frozen=True, slots=True)
class Dealt:
    """What a deal says for one holder: commitments to its share of the seed and of the key, and both shares sealed."""

    of_seed: bytes
    of_key: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Held:
    """The two shares of a dealer's secrets that one holder holds. It reveals one of them in an attempt, never both."""

    of_seed: bytes
    of_key: bytes


@dataclass(frozen=True, slots=True)
class Deal:
    """One site's keys and shares for one attempt, as every other enrolled site may see them.

    Attributes:
        study: 16 bytes.
        site: the dealer.
        public: its mask key, X25519 (32 bytes).
        commitment: to its seed (32 bytes).
        dealt: by holder, the dealer among them; a holder's number is its place in the order of names, from 1.
    """

    study: bytes
    site: str
    public: bytes
    commitment: bytes
    dealt: Mapping[str, Dealt]

    def __post_init__(self) -> None:
        if len(self.dealt) < MIN_HOLDERS or self.site not in self.dealt:
            raise MaskingError(
                f"{self.site}: expected {MIN_HOLDERS} holders or more with itself, got {len(self.dealt)}"
            )

    @property
    def holders(self) -> tuple[str, ...]:
        """In the order of their names."""
        return tuple(sorted(self.dealt))

    @property
    def threshold(self) -> int:
        """How many of the holders it takes to open the seed, or the key."""
        return survivors(len(self.dealt))

    def number(self, holder: str) -> int:
        """From 1. Raises MaskingError for a site that is no holder."""
        if holder not in self.dealt:
            raise MaskingError(f"expected a holder of {self.site}'s shares, got {holder}")
        return self.holders.index(holder) + 1

    def to_bytes(self) -> bytes:
        """encode([label, study, site, public, commitment, [[holder, of_seed, of_key, sealed], ...]]), by holder."""
        pairs = sorted(self.dealt.items())
        dealt: list[Encodable] = [[name, each.of_seed, each.of_key, each.sealed] for name, each in pairs]
        return encode([_DEAL_LABEL, self.study, self.site, self.public, self.commitment, dealt])

    @classmethod
    def parse(cls, data: bytes) -> "Deal":
        """Raises MaskingError."""
        try:
            value = decode(data)
        except ValueError as cause:
            raise MaskingError(f"expected a deal in our encoding: {cause}") from cause
        match value:
            case [str(label), bytes(study), str(site), bytes(public), bytes(commitment), list(each)] if (
                label == _DEAL_LABEL and len(public) == 32 and len(commitment) == 32
            ):
                dealt = {}
                for one in each:
                    match one:
                        case [str(holder), bytes(of_seed), bytes(of_key), bytes(sealed)]:
                            dealt[holder] = Dealt(of_seed, of_key, sealed)
                made = cls(study, site, public, commitment, dealt)
                if made.to_bytes() == data:  # holders in order, each once, and nothing else among them
                    return made
        raise MaskingError(
            "expected [label, study, site, public, commitment, [[holder, of_seed, of_key, sealed], ...]]"
        )

    @property
    def digest(self) -> Digest:
        """What `MaskKeys` shows as `shares`."""
        return digest(_DEAL_LABEL, self.to_bytes())

    def check(self, keys: tuple[bytes, ...], seeds: tuple[bytes, ...], shares: bytes) -> None:
        """Hold it against what the ledger has of the site. Raises MaskingError: another deal than was committed to."""
        if (keys, seeds, shares) != ((self.public,), (self.commitment,), self.digest):
            raise MaskingError(
                f"{self.site}: expected the deal that its mask keys on the ledger commit to, got another"
            )

    def share_commitment(self, holder: str, which: int, share: bytes) -> Digest:
        """Of one share: digest over study, dealer's key, holder, which secret, share. The share is random enough."""
        return digest(_SHARE_LABEL, encode([self.study, self.public, holder, which, share]))


def deal(study: bytes, site: str, secrets: Secrets, holders: Mapping[str, bytes]) -> Deal:
    """Split a site's secrets for the holders.

    Args:
        study: 16 bytes.
        site: the dealer, itself a holder.
        secrets: of this attempt.
        holders: by name, the X25519 key (32 bytes) that each enrolled with.

    Raises:
        MaskingError: fewer than three holders, or the dealer is none.
    """
    if len(holders) < MIN_HOLDERS or site not in holders:
        raise MaskingError(f"{site}: expected {MIN_HOLDERS} holders or more with itself, got {len(holders)}")
    threshold, public = survivors(len(holders)), secrets.public
    commitment = seed_commitment(study, public, secrets.self_seed)
    blank = Deal(study, site, public, commitment, {name: Dealt(b"", b"", b"") for name in holders})
    of_seed = split(secrets.self_seed, threshold, len(holders), digest(_SHARING_LABEL, secrets.sharing, b"seed"))
    of_key = split(secrets.private, threshold, len(holders), digest(_SHARING_LABEL, secrets.sharing, b"key"))
    dealt = {}
    for at, holder in enumerate(blank.holders):
        dealt[holder] = Dealt(
            blank.share_commitment(holder, OF_SEED, of_seed[at]),
            blank.share_commitment(holder, OF_KEY, of_key[at]),
            seal_to(holders[holder], _info(blank, holder), of_seed[at] + of_key[at]),
        )
    return Deal(study, site, public, commitment, dealt)


def open_dealt(dealt: Deal, holder: str, private: bytes | Callable[[bytes, bytes], bytes]) -> Held:
    """A holder's shares of a dealer's secrets.

    `private` is the key that it enrolled with (32 bytes), or what opens (info, sealed) with it where it is kept.

    Raises:
        MaskingError: nothing for this holder, bytes that do not open, or shares that are not those committed to: the
            dealer is false, and no round should open with its keys.
    """
    dealt.number(holder)
    mine = dealt.dealt[holder]
    try:
        info = _info(dealt, holder)
        plain = open_from(private, info, mine.sealed) if isinstance(private, bytes) else private(info, mine.sealed)
    except EnvelopeError as cause:
        raise MaskingError(f"{dealt.site}: its shares for {holder} do not open") from cause
    held = Held(plain[:SHARE_BYTES], plain[SHARE_BYTES:])
    got = (dealt.share_commitment(holder, OF_SEED, held.of_seed), dealt.share_commitment(holder, OF_KEY, held.of_key))
    if got != (mine.of_seed, mine.of_key):
        raise MaskingError(f"{dealt.site}: its shares for {holder} are not those that it committed to")
    return held


def _info(dealt: Deal, holder: str) -> bytes:
    return encode([_SEALED_LABEL, dealt.study, dealt.site, dealt.public, holder])
