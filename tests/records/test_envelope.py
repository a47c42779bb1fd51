"""Sealed envelopes: they open for one key in one place, and not at all once a bit has changed."""

import hashlib
import hmac
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.ledger.encoding import encode
from commonward.records.envelope import (
    EnvelopeError,
    open_bytes,
    open_from,
    open_record,
    pad,
    padme,
    public_of,
    seal_bytes,
    seal_record,
    seal_to,
    unpad,
    unwrap_key,
    wrap_key,
)
from commonward.records.stored import Stored

KEY, SALT, NONCE = bytes(range(32)), bytes(range(32, 64)), bytes(12)
RECORD = Stored(b'{"resourceType":"Patient"}')


def test_a_record_and_its_salt_come_back() -> None:
    sealed = seal_record(RECORD, SALT, KEY, NONCE, b"id")
    assert open_record(sealed, KEY, b"id") == (RECORD, SALT)
    assert sealed.find(RECORD) == sealed.find(SALT) == -1


def test_a_record_opens_under_no_other_key_and_in_no_other_place() -> None:
    sealed = seal_record(RECORD, SALT, KEY, NONCE, b"id")
    for key, aad in ((SALT, b"id"), (KEY, b"other"), (KEY, b"")):
        with pytest.raises(EnvelopeError):
            open_record(sealed, key, aad)


@pytest.mark.parametrize("kind", ["record", "wrapped key", "paper", "release"])
def test_one_changed_bit_anywhere_shows(kind: str) -> None:
    private = bytes(range(1, 33))
    cases: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
        "record": (seal_record(RECORD, SALT, KEY, NONCE, b"id"), lambda data: open_record(data, KEY, b"id")),
        "wrapped key": (wrap_key(SALT, KEY, NONCE, b"id"), lambda data: unwrap_key(data, KEY, b"id")),
        "paper": (seal_bytes(KEY, NONCE, b"paper", b"id"), lambda data: open_bytes(KEY, data, b"id")),
        "release": (
            seal_to(public_of(private), b"i", b"paper", b"a"),
            lambda data: open_from(private, b"i", data, b"a"),
        ),
    }
    sealed, opened = cases[kind]
    opened(sealed)
    for at in range(len(sealed)):
        # The top bit of an X25519 point is ignored (RFC 7748, 5), but HPKE hashes the point as sent: it shows too.
        bent = bytearray(sealed)
        bent[at] ^= 0x80
        with pytest.raises(EnvelopeError):
            opened(bytes(bent))
    for cut in (b"", sealed[:-1], sealed[1:], sealed + b"\0", sealed[:20]):
        with pytest.raises(EnvelopeError):
            opened(cut)


def test_an_envelope_of_one_sort_does_not_open_as_another() -> None:
    wrapped = wrap_key(SALT, KEY, NONCE, b"id")
    with pytest.raises(EnvelopeError):
        open_record(wrapped, KEY, b"id")
    with pytest.raises(EnvelopeError):
        open_bytes(KEY, wrapped[1:], b"id")


def test_destroying_the_wrapped_key_is_erasure_because_the_salt_is_inside() -> None:
    wrapped = wrap_key(KEY, SALT, NONCE, b"id")
    assert unwrap_key(wrapped, SALT, b"id") == KEY
    assert len(wrapped) == 61
    assert len(seal_record(RECORD, SALT, KEY, NONCE, b"")) == len(seal_record(RECORD, KEY, KEY, NONCE, b""))


@pytest.mark.parametrize(("key", "nonce", "salt"), [(b"k", NONCE, SALT), (KEY, b"n", SALT), (KEY, NONCE, b"s")])
def test_keys_nonces_and_salts_of_other_lengths_are_refused(key: bytes, nonce: bytes, salt: bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        seal_record(RECORD, salt, key, nonce, b"")


@given(st.binary(max_size=3000), st.integers(0, 5000))
@settings(max_examples=50, deadline=None)
def test_padding_comes_off_and_costs_at_most_an_eighth(data: bytes, floor: int) -> None:
    padded = pad(data, floor)
    assert unpad(padded) == data
    assert len(padded) >= floor
    if floor == 0 and len(padded) > 32:
        assert len(padded) <= (len(data) + 4) * 1.12


# Lengths and classes worked out by hand from the definition in the PURBs paper (algorithm 1).
@pytest.mark.parametrize(
    ("length", "size"),
    [
        (0, 0),
        (1, 1),
        (2, 2),
        (8, 8),
        (9, 10),
        (100, 104),
        (1_000, 1_024),
        (1_025, 1_088),
        (1_300, 1_344),
        (65_537, 67_584),
    ],
)
def test_size_classes(length: int, size: int) -> None:
    assert padme(length) == size
    assert padme(size) == size


def test_neighbouring_lengths_share_a_class() -> None:
    assert len({padme(length) for length in range(100_000, 110_000)}) <= 6


@pytest.mark.parametrize("padded", [b"", b"\0\0\0", b"\0\0\0\2a", b"\0\0\0\1a\1", b"\xff\xff\xff\xffabc"])
def test_padding_that_is_not_ours_is_refused(padded: bytes) -> None:
    with pytest.raises(EnvelopeError):
        unpad(padded)


# ---------------------------------------------------------------- HPKE, held against RFC 9180 written down once more


def _extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, hashlib.sha256)


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    out, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(prk, block + labelled + bytes([counter]), hashlib.sha256)
        out += block
    return out[:length]


def _schedule(enc: bytes, public: bytes, shared: bytes, info: bytes, aead: int, key_bytes: int) -> tuple[bytes, bytes]:
    """RFC 9180, 4.1 and 5.1: key and base nonce of base mode with DHKEM(X25519, HKDF-SHA256) and HKDF-SHA256."""
    kem = b"KEM\x00\x20"
    secret = _expand(kem, _extract(kem, b"", b"eae_prk", shared), b"shared_secret", enc + public, 32)
    suite = b"HPKE\x00\x20\x00\x01" + aead.to_bytes(2, "big")
    context = b"\0" + _extract(suite, b"", b"psk_id_hash", b"") + _extract(suite, b"", b"info_hash", info)
    prk = _extract(suite, secret, b"secret", b"")
    return _expand(suite, prk, b"key", context, key_bytes), _expand(suite, prk, b"base_nonce", context, 12)


def test_the_tests_own_hpke_is_that_of_rfc_9180_a_1_1() -> None:
    ephemeral = bytes.fromhex("52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736")
    receiver = bytes.fromhex("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8")
    enc, public = public_of(ephemeral), public_of(receiver)
    assert enc.hex() == "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431"
    assert public.hex() == "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d"
    shared = X25519PrivateKey.from_private_bytes(ephemeral).exchange(X25519PublicKey.from_public_bytes(public))
    key, nonce = _schedule(enc, public, shared, b"Ode on a Grecian Urn", 1, 16)
    assert key.hex() == "4531685d41d65f03dc48f6b8302c05b0"
    assert nonce.hex() == "56d890e5accaaf011cff4b7d"
    assert AESGCM(key).encrypt(nonce, b"Beauty is truth, truth beauty", b"Count-0").hex() == (
        "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a"
    )


@given(st.binary(max_size=200), st.binary(max_size=40), st.binary(max_size=40))
@settings(max_examples=20, deadline=None)
def test_what_is_sealed_opens_by_rfc_9180_and_the_other_way_round(plain: bytes, info: bytes, aad: bytes) -> None:
    private = bytes(range(1, 33))
    public = public_of(private)
    bound = encode(["commonward sealed to v1", info, aad])
    sealed = seal_to(public, info, plain, aad)
    enc = sealed[:32]
    shared = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(enc))
    key, nonce = _schedule(enc, public, shared, bound, 2, 32)
    assert AESGCM(key).decrypt(nonce, sealed[32:], b"") == plain
    assert open_from(private, info, enc + AESGCM(key).encrypt(nonce, plain, b""), aad) == plain


def test_a_release_opens_only_for_its_recipient_and_purpose() -> None:
    private, other = bytes(range(1, 33)), bytes(range(2, 34))
    sealed = seal_to(public_of(private), b"release 1", b"bundle", b"tag")
    assert open_from(private, b"release 1", sealed, b"tag") == b"bundle"
    for key, info, aad in (
        (other, b"release 1", b"tag"),
        (private, b"release 2", b"tag"),
        (private, b"release 1", b""),
    ):
        with pytest.raises(EnvelopeError):
            open_from(key, info, sealed, aad)
    assert seal_to(public_of(private), b"release 1", b"bundle", b"tag") != sealed, "a fresh ephemeral key each time"


@pytest.mark.parametrize("public", [bytes(32), b"\1" + bytes(31), b"short", bytes(33)])
def test_a_key_of_small_order_or_length_is_refused(public: bytes) -> None:
    with pytest.raises(ValueError, match="X25519 public key"):
        seal_to(public, b"", b"bundle")
