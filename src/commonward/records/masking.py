"""Secure aggregation: the sum of the sites' updates comes out, and nothing else (Bonawitz et al. 2017).

A site sends its (n q, n), as integers modulo 2^64, plus a mask of its own, plus a mask for each pair that it is in,
which its partner subtracts. Pairs of sites that both send cancel. Once the set is fixed, holders reveal their shares:
of the seed of each site that sent, of the key of each that dropped out, never both for one site. Everybody then takes
the masks off the sum, not off any one vector. Masks are AES-256 in counter mode under keys for this attempt alone.

The sum is exact, so a masked round ends in the same bytes as an open one: `unmask` gives a `Total` for `finish`.
What one site sent within the sum, true or false, nobody can see: that is the mode's price, and its point.

Left to others: that the set is fixed under a cosigned checkpoint before anyone reveals, that vectors are signed, and
that a site keeps what it revealed (`reveal` refuses a second time only what it is shown).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from commonward.ledger.encoding import encode
from commonward.ledger.rounds.words import survivors as least_survivors
from commonward.records.aggregation import Total
from commonward.records.masked_papers import Masked, Reveal
from commonward.records.masking_keys import OF_KEY, OF_SEED, Deal, Held, MaskingError, Secrets, seed_commitment
from commonward.records.model import Integers, Shapes
from commonward.records.shamir import SharingError, join
from commonward.records.updates import Kind, Update

Vector: TypeAlias = npt.NDArray[np.uint64]
"""Integers modulo 2^64: numpy's uint64 wraps, as the group does."""

__all__ = [
    "Attempt",
    "Masked",
    "MaskingError",
    "Reveal",
    "TooFewSurvivors",
    "add_mask",
    "mask",
    "own_key",
    "pair_key",
    "reveal",
    "total_from",
    "unmask",
    "vector_of",
]

_PIECE: Final = 1 << 20
_PAIR_LABEL: Final = "commonward pair mask v1"
_OWN_LABEL: Final = "commonward own mask v1"


class TooFewSurvivors(MaskingError):
    """Fewer sites sent, or reveal, than it takes: the sum stays closed, and the attempt is void."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One masked attempt, as the ledger opened it.

    Attributes:
        study: 16 bytes.
        round, attempt: from 1.
        base: digest of the model that the round starts from (32 bytes); of a study that sums, too.
        deals: of every site that the attempt was opened with, by name, each checked against the ledger.
    """

    study: bytes
    round: int
    attempt: int
    base: bytes
    deals: Mapping[str, Deal]

    def __post_init__(self) -> None:
        for site, each in self.deals.items():
            if (each.site, each.study) != (site, self.study):
                raise MaskingError(f"expected the deal of {site} for study {self.study.hex()}, got one of {each.site}")

    @property
    def place(self) -> tuple[bytes, int, int, bytes]:
        """Study, round, attempt, base."""
        return (self.study, self.round, self.attempt, self.base)


# ------------------------------------------------------------------------------------------------------------ vectors


def vector_of(update: Update) -> Vector:
    """(n q, n) modulo 2^64: the tensors in the order of their names, flat, and n at the end. A sum has n = 1."""
    parts = [each.integers.reshape(-1).view("<u8") for each in update.tensors]
    rows = np.array([update.rows], np.uint64)
    return np.concatenate([np.multiply(np.concatenate(parts), rows[0]), rows])


def total_from(vector: Vector, shapes: Shapes) -> Total:
    """The tensors and n of a sum of vectors, as signed numbers. Raises MaskingError: another length."""
    signed = vector.view(np.int64)
    sums: dict[str, Integers] = {}
    at = 0
    for name in sorted(shapes):
        size = int(np.prod(shapes[name], dtype=np.int64))
        sums[name] = signed[at : at + size].reshape(shapes[name])
        at += size
    if at + 1 != signed.size:
        raise MaskingError(f"expected vectors of {at + 1} numbers for the study's tensors, got {signed.size}")
    return Total(sums, int(signed[-1]))


# -------------------------------------------------------------------------------------------------------------- masks


def mask(attempt: Attempt, update: Update, secrets: Secrets) -> Masked:
    """A site's update under its own mask and those of its pairs.

    Raises:
        MaskingError: the update is of another attempt or base, its site is not in this one, or a partner's key is
            none.
    """
    site = update.site
    if (update.study, update.round, update.attempt, update.base) != attempt.place or site not in attempt.deals:
        raise MaskingError(f"expected an update of {site} for this attempt and base, got one of another")
    if attempt.deals[site].public != secrets.public:
        raise MaskingError(f"expected the secrets that {site} dealt for this attempt, got others")
    vector = vector_of(update)
    add_mask(vector, own_key(attempt, site, secrets.self_seed), +1)
    for other in sorted(attempt.deals):
        if other != site:
            add_mask(vector, pair_key(attempt, site, secrets.private, other), 1 if site < other else -1)
    return Masked(*attempt.place, site, vector.astype("<u8", copy=False).tobytes())


def add_mask(vector: Vector, key: bytes, sign: int) -> None:
    """Add (or with -1 subtract) AES-256-CTR under a key of 32 bytes, from a counter of zero, in place."""
    stream = Cipher(AES(key), CTR(bytes(16))).encryptor()
    zeros = bytes(min(_PIECE, 8 * vector.size))
    change = np.add if sign > 0 else np.subtract
    for at in range(0, vector.size, _PIECE // 8):
        into = vector[at : at + _PIECE // 8]
        change(into, np.frombuffer(stream.update(zeros[: 8 * into.size]), "<u8"), out=into)


def own_key(attempt: Attempt, site: str, self_seed: bytes) -> bytes:
    """The AES key of a site's own mask in this attempt."""
    return _derived(self_seed, [_OWN_LABEL, *attempt.place, site, attempt.deals[site].public])


def pair_key(attempt: Attempt, site: str, private: bytes, other: str) -> bytes:
    """The AES key of the mask between two sites in this attempt: the same from either side.

    Raises MaskingError: the other's public key is of small order, so that anyone would know the mask.
    """
    low, high = sorted((site, other))
    try:
        public = X25519PublicKey.from_public_bytes(attempt.deals[other].public)
        shared = X25519PrivateKey.from_private_bytes(private).exchange(public)
    except ValueError as cause:
        raise MaskingError(f"{other}: expected an X25519 key as its mask key, got one of small order") from cause
    publics = [attempt.deals[low].public, attempt.deals[high].public]
    return _derived(shared, [_PAIR_LABEL, *attempt.place, low, high, *publics])


def _derived(secret: bytes, info: list[bytes | int | str]) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=encode(info)).derive(secret)


# ---------------------------------------------------------------------------------------------------------- revealing


def reveal(
    attempt: Attempt, survivors: Sequence[str], holder: str, held: Mapping[str, Held], earlier: Reveal | None = None
) -> Reveal:
    """A holder's shares for a fixed set: of the seed of each site in it, of the key of each that dropped out.

    Args:
        survivors: the fixed set.
        held: by dealer, what this holder was dealt for this attempt.
        earlier: what it revealed for this attempt before, if anything.

    Raises:
        TooFewSurvivors: with so few the sum would tell too much.
        MaskingError: sites that are not of the attempt, or another set than was revealed for before. Whoever had both
            answers could take the masks off one site's vector.
    """
    kept = _fixed_set(attempt, survivors)
    if earlier is not None and (earlier.study, earlier.round, earlier.attempt, earlier.survivors) != (
        *attempt.place[:3],
        kept,
    ):
        raise MaskingError(f"{holder} revealed for another set of this attempt already: it reveals once")
    shares = {}
    for dealer in sorted(attempt.deals):
        if dealer in held:
            shares[dealer] = held[dealer].of_seed if dealer in kept else held[dealer].of_key
    return Reveal(attempt.study, attempt.round, attempt.attempt, holder, kept, shares)


def _fixed_set(attempt: Attempt, survivors: Sequence[str]) -> tuple[str, ...]:
    kept = tuple(sorted(survivors))
    if len(set(kept)) != len(kept) or not set(kept) <= set(attempt.deals):
        raise MaskingError(f"expected sites of this attempt, each once, got {', '.join(kept)}")
    if len(kept) < (least := least_survivors(len(attempt.deals))):
        raise TooFewSurvivors(f"expected at least {least} of {len(attempt.deals)} sites to have sent, got {len(kept)}")
    return kept


def unmask(
    attempt: Attempt, kind: Kind, shapes: Shapes, masked: Sequence[Masked], reveals: Sequence[Reveal]
) -> tuple[Total, tuple[str, ...]]:
    """The total of a fixed set's updates, and the holders who revealed a false share.

    Args:
        kind: what the study's updates are.
        shapes: what `aggregation.expected_shapes` says.
        masked: of every site of the fixed set, as it committed to it.
        reveals: of at least as many holders as each deal's threshold.

    Raises:
        TooFewSurvivors: too few sites, or too few true shares.
        MaskingError: a vector or a reveal of another place or set, a dealer whose shares are not of its key or seed
            (it is named), or a total that is none.
    """
    kept = _fixed_set(attempt, [each.site for each in masked])
    for vector in masked:
        if (vector.study, vector.round, vector.attempt, vector.base) != attempt.place:
            raise MaskingError(f"{vector.site}: expected its vector for this attempt and base, got one of another")
    for each in reveals:
        if (each.study, each.round, each.attempt, each.survivors) != (*attempt.place[:3], kept):
            raise MaskingError(f"{each.holder}: expected shares for this attempt and set, got some for another")
    total = _added(masked)
    false: set[str] = set()
    for site in sorted(attempt.deals):
        secret = _secret(attempt.deals[site], OF_SEED if site in kept else OF_KEY, reveals, false)
        if site in kept:
            add_mask(total, own_key(attempt, site, secret), -1)
            continue
        for other in kept:  # `other` added the mask of this pair if its name comes first, and subtracted it if not
            add_mask(total, pair_key(attempt, site, secret, other), -1 if other < site else 1)
    made = total_from(total, shapes)
    if kind is Kind.SUM and made.rows != len(kept):
        raise MaskingError(f"expected each of {len(kept)} sites to count once in a sum, got {made.rows}: one is false")
    return made, tuple(sorted(false))


def _added(masked: Sequence[Masked]) -> Vector:
    size = len(masked[0].vector)
    if size % 8 or any(len(each.vector) != size for each in masked):
        got = ", ".join(f"{each.site} {len(each.vector)}" for each in masked)
        raise MaskingError(f"expected vectors of one length in bytes, got {got}")
    total = np.zeros(size // 8, np.uint64)
    for each in masked:
        np.add(total, np.frombuffer(each.vector, "<u8"), out=total)
    return total


def _secret(deal: Deal, which: int, reveals: Sequence[Reveal], false: set[str]) -> bytes:
    """A dealer's seed or key from the true ones among the shares. Adds holders of false shares to `false`."""
    shares = {}
    for each in reveals:
        share = each.shares.get(deal.site)
        if share is None or each.holder not in deal.dealt:
            continue
        dealt = deal.dealt[each.holder]
        committed = dealt.of_seed if which == OF_SEED else dealt.of_key
        if deal.share_commitment(each.holder, which, share) == committed:
            shares[deal.number(each.holder)] = share
        else:
            false.add(each.holder)
    try:
        secret = join(shares, deal.threshold)
    except SharingError as cause:
        if len(shares) < deal.threshold:
            what = f"{deal.threshold} true shares of {deal.site}'s {'seed' if which == OF_SEED else 'key'}"
            raise TooFewSurvivors(f"expected {what}, got {len(shares)}: the sum stays closed") from cause
        raise MaskingError(f"{deal.site} dealt shares of no secret: {cause}") from cause
    if which == OF_SEED and seed_commitment(deal.study, deal.public, secret) != deal.commitment:
        raise MaskingError(f"{deal.site} dealt shares of another seed than it committed to")
    if which == OF_KEY and X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw() != deal.public:
        raise MaskingError(f"{deal.site} dealt shares of another key than it posted")
    return secret
