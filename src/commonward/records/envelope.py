"""Sealed envelopes: a record at rest under its own key, that key under the member's, and a release under HPKE.

At rest: AES-256-GCM with a key for each record, which itself is kept wrapped under the member's key. The salt of the
fingerprint travels inside, so destroying the wrapped key destroys salt and record at once: that is erasure.
In flight: HPKE base mode (RFC 9180) with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, to the recipient's key.
Lengths are hidden up to a size class (Padmé, PURBs, Nikitin et al. 2019: at most 12 % more).

Keys and nonces are passed in. The one exception is HPKE's ephemeral key, which the library draws by itself: a caller
cannot hand it a poor one. `open_from` is a pure function again.
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from commonward.ledger.encoding import encode
from commonward.records.stored import Stored

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
SALT_BYTES: Final = 32
_LENGTH_BYTES: Final = 4
_VERSION: Final = b"\x01"
_RECORD_AAD: Final = b"commonward sealed record v1\0"
_WRAP_AAD: Final = b"commonward wrapped key v1\0"
_PAPER_AAD: Final = b"commonward sealed paper v1\0"
_HPKE_INFO: Final = "commonward sealed to v1"
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class EnvelopeError(Exception):
    """An envelope that does not open: altered, another key, another place, or not an envelope at all.

    Which of these it was cannot be told, and must not be: all look alike to who lacks the key.
    """


def size_class(length: int, floor: int = 0) -> int:
    """The Padmé size class: the least length, at least this and `floor`, whose low bits are clear.

    For length L with exponent E = floor(log2 L) and S = floor(log2 E) + 1 bits to keep after the first, the last
    E - S bits are rounded up to zero. Leaks O(log log L) bits of the length.
    """
    length = max(length, floor)
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    clear = exponent - exponent.bit_length()
    mask = (1 << clear) - 1 if clear > 0 else 0
    return (length + mask) & ~mask


padme = size_class


def pad(data: bytes, floor: int = 0) -> bytes:
    """Four bytes of length, big-endian, the data, and zeros up to the size class. Raises ValueError at 4 GiB."""
    if len(data) >> 32:
        raise ValueError(f"expected less than 4 GiB, got {len(data)} bytes")
    framed = len(data).to_bytes(_LENGTH_BYTES, "big") + data
    return framed + bytes(size_class(len(framed), floor) - len(framed))


def unpad(padded: bytes) -> bytes:
    """Undo `pad`. Raises EnvelopeError when the length does not fit or the filling is not zeros."""
    end = _LENGTH_BYTES + int.from_bytes(padded[:_LENGTH_BYTES], "big")
    if len(padded) < _LENGTH_BYTES or end > len(padded) or padded.count(0, end) != len(padded) - end:
        raise EnvelopeError("expected a length, as many bytes, and zeros: padding is not ours")
    return padded[_LENGTH_BYTES:end]


def seal_record(stored: Stored, salt: bytes, key: bytes, nonce: bytes, aad: bytes) -> bytes:
    """Seal a record, with the salt of its fingerprint, under its own key.

    Args:
        stored: the record.
        salt: 32 bytes.
        key: 32 random bytes for this record and version alone.
        nonce: 12 bytes; any will do, as the key is used once.
        aad: what the envelope belongs to (the vault's opaque id): it opens nowhere else.

    Returns:
        version (1), nonce (12), ciphertext of salt and padded record, tag (16).
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"expected a salt of {SALT_BYTES} bytes, got {len(salt)}")
    return _seal(pad(salt + stored), key, nonce, _RECORD_AAD + aad)


def open_record(sealed: bytes, key: bytes, aad: bytes) -> tuple[Stored, bytes]:
    """The record and its salt. Raises EnvelopeError."""
    plain = unpad(_open(sealed, key, _RECORD_AAD + aad))
    if len(plain) < SALT_BYTES:
        raise EnvelopeError("expected a salt and a record, got less")
    return Stored(plain[SALT_BYTES:]), plain[:SALT_BYTES]


def wrap_key(key: bytes, member_key: bytes, nonce: bytes, aad: bytes) -> bytes:
    """A record's key under the member's key: 61 bytes.

    Args:
        key: 32 bytes.
        member_key: 32 bytes.
        nonce: 12 random bytes, fresh for each wrap: the member's key is used for many (2^32 at most, NIST SP 800-38D).
        aad: the vault's opaque id of the record.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"expected a key of {KEY_BYTES} bytes, got {len(key)}")
    return _seal(key, member_key, nonce, _WRAP_AAD + aad)


def unwrap_key(wrapped: bytes, member_key: bytes, aad: bytes) -> bytes:
    """The record's key. Raises EnvelopeError."""
    return _open(wrapped, member_key, _WRAP_AAD + aad)


def seal_bytes(key: bytes, nonce: bytes, plain: bytes, aad: bytes) -> bytes:
    """AES-256-GCM for papers at rest that are no records (links, copies, logs): nonce (12), ciphertext, tag (16).

    The nonce must be fresh for the key; 12 random bytes do for 2^32 seals. Lengths are not hidden: `pad` first.
    """
    return _seal(plain, key, nonce, _PAPER_AAD + aad)[1:]


def open_bytes(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Open what `seal_bytes` sealed. Raises EnvelopeError."""
    return _open(_VERSION + sealed, key, _PAPER_AAD + aad)


def seal_to(public: bytes, info: bytes, plaintext: bytes, aad: bytes = b"") -> bytes:
    """Seal to the holder of an X25519 key: HPKE base mode, single shot.

    HPKE's info is encode([label, info, aad]), so both must be given again to open; HPKE's own aad stays empty. The
    plaintext is not padded here: use `pad` first where its length would tell something.

    Args:
        public: 32 bytes.
        info: what this is and for whom, say a ledger id, both members and the release's tag.

    Returns:
        enc (32), ciphertext, tag (16).

    Raises:
        ValueError: the public key is not 32 bytes or of small order.
    """
    if len(public) != KEY_BYTES:
        raise ValueError(f"expected an X25519 public key of {KEY_BYTES} bytes, got {len(public)}")
    try:
        return _SUITE.encrypt(plaintext, X25519PublicKey.from_public_bytes(public), _info(info, aad))
    except Exception as cause:  # pyca raises ValueError for a shared secret of zeros, and its own otherwise
        raise ValueError("expected an X25519 public key, got one of small order") from cause


def open_from(private: bytes, info: bytes, sealed: bytes, aad: bytes = b"") -> bytes:
    """Open what `seal_to` sealed. `private` is 32 bytes. Raises EnvelopeError."""
    key = X25519PrivateKey.from_private_bytes(private)
    try:
        return _SUITE.decrypt(sealed, key, _info(info, aad))
    except Exception as cause:
        raise EnvelopeError("sealed bytes do not open: altered, or meant for another key or purpose") from cause


def public_of(private: bytes) -> bytes:
    """The X25519 public key (32 bytes) of a private key (32 bytes)."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def _info(info: bytes, aad: bytes) -> bytes:
    return encode([_HPKE_INFO, info, aad])


def _seal(plain: bytes, key: bytes, nonce: bytes, aad: bytes) -> bytes:
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError(
            f"expected a key of {KEY_BYTES} and a nonce of {NONCE_BYTES} bytes, got {len(key)} and {len(nonce)}"
        )
    return _VERSION + nonce + AESGCM(key).encrypt(nonce, plain, aad)


def _open(sealed: bytes, key: bytes, aad: bytes) -> bytes:
    if len(sealed) < 1 + NONCE_BYTES + TAG_BYTES or sealed[:1] != _VERSION:
        raise EnvelopeError("expected version 1, a nonce and a ciphertext: not an envelope of ours")
    if len(key) != KEY_BYTES:
        raise ValueError(f"expected a key of {KEY_BYTES} bytes, got {len(key)}")
    try:
        return AESGCM(key).decrypt(sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :], aad)
    except InvalidTag as cause:
        raise EnvelopeError("envelope does not open: altered, or meant for another key or place") from cause
