"""Shamir's secret sharing of 32 bytes (Shamir 1979), over the integers modulo the prime 2^256 + 297.

Any `threshold` shares give the secret; fewer tell nothing, because for each secret there is one polynomial that fits
them. A share is the polynomial's value at the holder's number, 33 bytes big-endian. Holders are numbered from 1: the
value at 0 is the secret. Whether a share is what its dealer dealt is for the caller to check, by a commitment.
"""

from collections.abc import Mapping, Sequence
from hashlib import shake_256
from typing import Final

PRIME: Final = (1 << 256) + 297
SECRET_BYTES: Final = 32
SHARE_BYTES: Final = 33
SEED_BYTES: Final = 32
_LABEL: Final = b"commonward sharing polynomial v1\0"


class SharingError(ValueError):
    """Shares that do not make a secret: too few, out of bounds, or of a holder that cannot be."""


def split(secret: bytes, threshold: int, holders: int, seed: bytes) -> tuple[bytes, ...]:
    """The shares of holders 1 to `holders`.

    The polynomial's other coefficients are SHAKE256 of the seed, 48 bytes each, modulo the prime: uniform but for
    2^-127.

    Args:
        secret: 32 bytes.
        threshold: how many shares give it back; from 1 to `holders`.
        seed: 32 random bytes for this secret alone.
    """
    if len(secret) != SECRET_BYTES or len(seed) != SEED_BYTES:
        raise ValueError(f"expected a secret and a seed of 32 bytes, got {len(secret)} and {len(seed)}")
    if not 1 <= threshold <= holders <= 255:
        raise ValueError(f"expected a threshold from 1 to {holders} holders, 255 at most, got {threshold}")
    stream = shake_256(_LABEL + seed).digest(48 * (threshold - 1))
    coefficients = [int.from_bytes(secret, "big")]
    coefficients += [int.from_bytes(stream[at : at + 48], "big") % PRIME for at in range(0, len(stream), 48)]
    return tuple(_value(coefficients, holder).to_bytes(SHARE_BYTES, "big") for holder in range(1, holders + 1))


def join(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret, by Lagrange interpolation at 0 through the `threshold` shares of the lowest holders.

    Raises:
        SharingError: too few; a share of another length or out of the field; a value that is no secret of 32 bytes,
            as shares of two polynomials give.
    """
    if len(shares) < threshold:
        raise SharingError(f"expected at least {threshold} shares, got {len(shares)}")
    points = [(holder, _number(holder, shares[holder])) for holder in sorted(shares)[:threshold]]
    total = 0
    for holder, value in points:
        above = below = 1
        for other, _ in points:
            if other != holder:
                above = above * other % PRIME
                below = below * (other - holder) % PRIME
        total += value * above * pow(below, -1, PRIME)
    secret = total % PRIME
    if secret >> 256:
        raise SharingError("expected shares of one secret of 32 bytes, got shares that make none")
    return secret.to_bytes(SECRET_BYTES, "big")


def _value(coefficients: Sequence[int], at: int) -> int:
    total = 0
    for coefficient in reversed(coefficients):
        total = (total * at + coefficient) % PRIME
    return total


def _number(holder: int, share: bytes) -> int:
    number = int.from_bytes(share, "big")
    if not 1 <= holder <= 255 or len(share) != SHARE_BYTES or number >= PRIME:
        raise SharingError(f"expected a share of {SHARE_BYTES} bytes below the prime, of holder 1 to 255: {holder}")
    return number
