"""Proofs of authorship: who signed this transaction. The only module of the ledger that calls a signature library.

A transaction carries one of two proofs. A *member key* signs as a detached COSE_Sign1 (RFC 9052 4.2) over the
transaction's digest. A *passkey* signs a WebAuthn assertion (Web Authentication Level 2, 7.2) whose challenge is that
digest; its clientDataJSON is compared as bytes and never parsed, so that two nodes cannot read it differently.

Two algorithms. EdDSA is Ed25519 by libsodium, which checks without the cofactor and refuses s >= L, keys that are not
canonical, and small orders in key or R. ES256 is P-256 with SHA-256 by pyca/cryptography, as r || s with s in the
lower half, so that nobody can turn one good signature into another. `self_test` runs the edges when a node starts: a
build of a library that answers differently must not take part in consensus.

Both libraries let go of the interpreter lock while they check, so threads verify side by side.
"""

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from nacl.bindings import crypto_core_ed25519_is_valid_point, crypto_sign_open
from nacl.exceptions import BadSignatureError

from commonward.ledger.encoding import EncodingError, decode, encode
from commonward.ledger.ids import (
    Algorithm,
    CredentialId,
    Digest,
    KeyId,
    parse_credential_id,
    parse_public_key,
)
from commonward.ledger.proof_edges import EDGES, KEY_EDGES
from commonward.ledger.refusals import BadPasskeyAssertion, BadSignature, Malformed, WrongProof

Verifier: TypeAlias = Callable[[int, bytes, bytes, bytes], bool]
"""`verify`, or a `VerificationCache.verify` before it: (algorithm, public key, message, signature) -> good."""


class BadKey(ValueError):
    """A public key that no signature may rest on."""


class SelfTestFailed(RuntimeError):
    """This machine's libraries judge a signature otherwise than the ledger does: the node must not run."""


# ------------------------------------------------------------------------------------------------- signatures and keys

_L: Final = (1 << 252) + 27742317777372353535851937790883648493  # order of Ed25519's base point (RFC 8032 5.1)
_N: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # order of P-256 (SP 800-186 3.2.1.3)
_HALF_N: Final = _N // 2
_P25519: Final = (1 << 255) - 19
_X25519_SMALL_ORDER: Final = frozenset(
    {
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _P25519 - 1,
    }
)  # the canonical ones of https://cr.yp.to/ecdh.html#validate
_SHA256_ECDSA: Final = ECDSA(SHA256())


def verify(algorithm: int, public: bytes, message: bytes, signature: bytes) -> bool:
    """Is this the signature of `public` over `message`? Never raises for what others sent; costs 60 to 70 us.

    The key must have passed `check_public_key` when it was registered.
    """
    if len(signature) != 64:
        return False
    if algorithm == Algorithm.EDDSA:
        if len(public) != 32 or int.from_bytes(signature[32:], "little") >= _L:
            return False
        try:
            crypto_sign_open(signature + message, public)
        except BadSignatureError:
            return False
        return True
    if algorithm == Algorithm.ES256:
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        if not (0 < r < _N and 0 < s <= _HALF_N):
            return False
        try:
            _p256(public).verify(encode_dss_signature(r, s), message, _SHA256_ECDSA)
        except (InvalidSignature, BadKey):
            return False
        return True
    return False


@lru_cache(maxsize=4096)
def _p256(public: bytes) -> EllipticCurvePublicKey:
    """The curve check costs 6 us; a key signs many times."""
    if len(public) != 64:
        raise BadKey(f"expected a P-256 key as x || y of 64 bytes, got {len(public)} bytes")
    try:
        return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), b"\x04" + public)
    except (ValueError, UnsupportedAlgorithm) as cause:
        raise BadKey("expected a point of P-256 with both coordinates below the prime") from cause


def check_public_key(algorithm: int, public: bytes) -> None:
    """Raises BadKey unless signatures (or openings, for X25519) may rest on this key.

    Ed25519: canonical, on the curve, and in the subgroup of prime order, as every honest key is. That is a little
    more than "not of small order": under a key of mixed order, verifiers with and without the cofactor disagree.
    P-256: on the curve, coordinates below the prime. X25519: canonical, not of small order (RFC 7748 6.1).
    """
    try:
        parse_public_key(algorithm, public)
    except ValueError as cause:
        raise BadKey(str(cause)) from cause
    if algorithm == Algorithm.EDDSA:
        if not crypto_core_ed25519_is_valid_point(public):
            raise BadKey("expected a canonical Ed25519 point of prime order")
    elif algorithm == Algorithm.ES256:
        _p256(public)
    else:
        u = int.from_bytes(public, "little")
        if u >= _P25519 or u in _X25519_SMALL_ORDER:
            raise BadKey("expected a canonical X25519 key that is not of small order")


def der_to_rs_low_s(signature: bytes) -> bytes:
    """A DER ECDSA signature (SEC 1 C.8), as browsers return it, as r || s with low S, as the ledger wants it.

    For submitters: the ledger never sees DER. Strict: short lengths, minimal positive integers from 1 to n - 1,
    nothing after the end. Raises ValueError that starts with `der: ` and the rule.
    """
    if len(signature) < 8 or len(signature) > 72 or signature[0] != 0x30 or signature[1] != len(signature) - 2:
        raise ValueError(f"der: sequence header: expected one SEQUENCE of 6 to 70 bytes, got {signature[:4].hex()}...")
    r, end = _der_integer(signature, 2)
    s, end = _der_integer(signature, end)
    if end != len(signature):
        raise ValueError(f"der: sequence header: expected two INTEGERs, got {len(signature) - end} more bytes")
    return r.to_bytes(32, "big") + min(s, _N - s).to_bytes(32, "big")


def _der_integer(data: bytes, pos: int) -> tuple[int, int]:
    if pos + 2 > len(data) or data[pos] != 0x02:
        raise ValueError(f"der: integer header: expected INTEGER at byte {pos}")
    start, end = pos + 2, pos + 2 + data[pos + 1]
    if start == end or end > len(data):
        raise ValueError(f"der: integer header: expected 1 to {len(data) - start} bytes, got {data[pos + 1]}")
    if data[start] & 0x80:
        raise ValueError(f"der: range: expected a positive integer at byte {pos}")
    if end - start > 1 and data[start] == 0 and not data[start + 1] & 0x80:
        raise ValueError(f"der: not minimal: the integer at byte {pos} starts with a needless zero")
    number = int.from_bytes(data[start:end], "big")
    if not 0 < number < _N:
        raise ValueError(f"der: range: expected an integer from 1 to n - 1 at byte {pos}")
    return number, end


class VerificationCache:
    """Remembers the last `capacity` good signatures, so that what CheckTx verified is not verified again in the block.

    Keyed by every byte that was verified: algorithm, key, message (which holds the transaction's digest) and
    signature. It remembers only that the signature was good; who may sign what is judged each time. One thread.
    """

    def __init__(self, capacity: int = 16_384, verify: Verifier = verify) -> None:
        self._capacity = capacity
        self._verify = verify
        # The bytes themselves, not a digest of them: 0.4 kB each, and looking one up costs 1 us instead of 8.
        self._good: OrderedDict[tuple[int, bytes, bytes, bytes], None] = OrderedDict()

    def verify(self, algorithm: int, public: bytes, message: bytes, signature: bytes) -> bool:
        key = (int(algorithm), public, message, signature)
        if key in self._good:
            self._good.move_to_end(key)
            return True
        if not self._verify(algorithm, public, message, signature):
            return False
        self._keep(key)
        return True

    def remember(self, algorithm: int, public: bytes, message: bytes, signature: bytes) -> None:
        """Takes the caller's word for a signature that `verify` found good, in another thread."""
        self._keep((int(algorithm), public, message, signature))

    def _keep(self, key: tuple[int, bytes, bytes, bytes]) -> None:
        self._good[key] = None
        if len(self._good) > self._capacity:
            self._good.popitem(last=False)

    def knows(self, algorithm: int, public: bytes, message: bytes, signature: bytes) -> bool:
        """Whether this signature was found good before; looking does not refresh it."""
        return (int(algorithm), public, message, signature) in self._good

    def __len__(self) -> int:
        return len(self._good)


# ------------------------------------------------------------------------------------------------------ the two proofs


class ProofKind(IntEnum):
    MEMBER = 1
    PASSKEY = 2


@dataclass(frozen=True, slots=True)
class MemberProof:
    """A detached COSE_Sign1: the algorithm and key id of its protected header, and its signature of 64 bytes."""

    algorithm: Algorithm
    key_id: KeyId
    signature: bytes

    def to_bytes(self) -> bytes:
        return b"".join((_COSE_HEAD, _protected(self.algorithm, self.key_id), _COSE_MIDDLE, self.signature))


@dataclass(frozen=True, slots=True)
class PasskeyProof:
    """A WebAuthn assertion as the authenticator gave it, but for an ES256 signature, which is r || s with low S."""

    credential_id: CredentialId
    authenticator_data: bytes
    client_data: bytes
    signature: bytes

    def to_bytes(self) -> bytes:
        return encode([self.credential_id, self.authenticator_data, self.client_data, self.signature])


# COSE_Sign1 = [protected: bstr {1: algorithm, 4: key id}, unprotected: {}, payload: nil, signature: bstr .size 64].
# With 32-byte key ids it is always 109 bytes of one form, so it is read by template: its nil is not in our subset of
# CBOR, and nothing but this form is accepted (no tag 18, no other header).
_COSE_HEAD: Final = bytes((0x84, 0x58, 38))
_COSE_MIDDLE: Final = bytes((0xA0, 0xF6, 0x58, 64))
_PROTECTED_HEAD: Final = {
    Algorithm.EDDSA: bytes((0xA2, 0x01, 0x27, 0x04, 0x58, 32)),
    Algorithm.ES256: bytes((0xA2, 0x01, 0x26, 0x04, 0x58, 32)),
}
_COSE_SIZE: Final = 3 + 38 + 4 + 64


def _protected(algorithm: int, key_id: bytes) -> bytes:
    head = _PROTECTED_HEAD.get(Algorithm(algorithm))
    if head is None or len(key_id) != 32:
        raise ValueError(f"expected EdDSA or ES256 and a key id of 32 bytes, got {algorithm} and {len(key_id)} bytes")
    return head + key_id


@lru_cache(maxsize=16_384)
def cose_to_sign(algorithm: int, key_id: bytes, transaction_digest: bytes) -> bytes:
    """The bytes that a member key signs: Sig_structure of RFC 9052 4.4 over a payload of the digest."""
    if len(transaction_digest) != 32:
        raise ValueError(f"expected a digest of 32 bytes, got {len(transaction_digest)}")
    return b"".join((b"\x84\x6aSignature1\x58\x26", _protected(algorithm, key_id), b"\x40\x58\x20", transaction_digest))


def member_proof(algorithm: int, key_id: bytes, sign: Callable[[bytes], bytes], transaction_digest: bytes) -> bytes:
    """The proof of a member key. `sign` returns 64 raw bytes: Ed25519, or r || s with low S (`der_to_rs_low_s`)."""
    signature = sign(cose_to_sign(algorithm, key_id, transaction_digest))
    if len(signature) != 64:
        raise ValueError(f"expected a raw signature of 64 bytes, got {len(signature)}: turn DER into r || s first")
    return MemberProof(Algorithm(algorithm), KeyId(key_id), signature).to_bytes()


def parse_proof(kind: int, data: bytes) -> MemberProof | PasskeyProof:
    """Reads the proof field of a transaction. Raises Malformed, or WrongProof for a kind there is none of."""
    if kind == ProofKind.MEMBER:
        return _parse_member(data)
    if kind == ProofKind.PASSKEY:
        return _parse_passkey(data)
    raise WrongProof("a member key (1) or a passkey (2)", f"proof kind {kind}")


# Asked of the same transaction when it comes, is judged and is executed; functions of the bytes, so kept for a while.
@lru_cache(maxsize=16_384)
def _parse_member(data: bytes) -> MemberProof:
    if len(data) == _COSE_SIZE and data[:3] == _COSE_HEAD and data[41:45] == _COSE_MIDDLE:
        for algorithm, head in _PROTECTED_HEAD.items():
            if data[3:9] == head:
                return MemberProof(algorithm, KeyId(data[9:41]), data[45:])
    raise Malformed("expected a detached COSE_Sign1 of 109 bytes with protected headers 1 and 4 and no other")


def _parse_passkey(data: bytes) -> PasskeyProof:
    try:
        fields = decode(data)
    except EncodingError as cause:
        raise Malformed(f"passkey proof: {cause.what}", cause.offset) from cause
    if type(fields) is not list or len(fields) != 4:
        raise Malformed("expected a passkey proof of [credential id, authenticatorData, clientDataJSON, signature]")
    credential, authenticator_data, client_data, signature = fields
    if type(authenticator_data) is not bytes or type(client_data) is not bytes or type(signature) is not bytes:
        raise Malformed("expected the four fields of a passkey proof to be byte strings")
    try:
        return PasskeyProof(parse_credential_id(credential), authenticator_data, client_data, signature)
    except ValueError as cause:
        raise Malformed(f"passkey proof: {cause}") from cause


# ---------------------------------------------------------------------------------------------------------- the checks


def check_member(
    proof: MemberProof, transaction_digest: Digest, algorithm: int, public: bytes, *, verifier: Verifier = verify
) -> None:
    """Raises BadSignature unless the registered key (algorithm, public) signed this digest."""
    if proof.algorithm != algorithm or not verifier(
        algorithm, public, cose_to_sign(proof.algorithm, proof.key_id, transaction_digest), proof.signature
    ):
        raise BadSignature(proof.key_id)


MAX_CLIENT_DATA: Final = 1024
AUTHENTICATOR_DATA_BYTES: Final = 37  # rpIdHash 32, flags 1, counter 4; no credential, no extensions
_UP, _UV, _BE, _BS, _AT, _ED = 0x01, 0x04, 0x08, 0x10, 0x40, 0x80  # Web Authentication Level 2, 6.1; BE and BS Level 3
_NOT_CROSS_ORIGIN: Final = b',"crossOrigin":false'


def check_passkey(
    proof: PasskeyProof,
    transaction_digest: Digest,
    algorithm: int,
    public: bytes,
    rp_id_hash: bytes,
    origins: Collection[str],
    *,
    verifier: Verifier = verify,
) -> None:
    """Raises BadPasskeyAssertion, naming the first check that fails, unless this passkey signed this digest.

    `rp_id_hash` is SHA-256 of the consortium's RP ID; `origins` are the exact origins of its signing pages. The
    counter is signed but not judged: synced passkeys report 0.
    """
    _check_authenticator_data(proof.authenticator_data, rp_id_hash)
    _check_client_data(proof.client_data, transaction_digest, origins)
    _check_signature_form(algorithm, proof.signature)
    signed = proof.authenticator_data + hashlib.sha256(proof.client_data).digest()
    if not verifier(algorithm, public, signed, proof.signature):
        raise BadPasskeyAssertion("sig-invalid", "the signature is not that of the registered key over these bytes")


def _check_client_data(data: bytes, transaction_digest: bytes, origins: Collection[str]) -> None:
    if len(transaction_digest) != 32:
        raise ValueError(f"expected a digest of 32 bytes, got {len(transaction_digest)}")
    if len(data) > MAX_CLIENT_DATA:
        raise BadPasskeyAssertion("cd-length", f"expected at most {MAX_CLIENT_DATA} bytes, got {len(data)}")
    # 1. the type, in the one form that Web Authentication Level 2, 5.8.1.1 allows
    head = b'{"type":"webauthn.get","challenge":"'
    if not data.startswith(head):
        raise BadPasskeyAssertion("cd-type-or-shape", f"expected {head.decode()}..., got {data[:48]!r}")
    # 2. the challenge is this transaction's digest: encoded and compared, since decoding would forgive other forms
    challenge = head + base64.urlsafe_b64encode(transaction_digest).rstrip(b"=") + b'","origin":"'
    if not data.startswith(challenge):
        raise BadPasskeyAssertion("cd-challenge", "expected the digest of this transaction as challenge")
    # 3. the origin is one of the signing pages, and ends where it should
    rest = data[len(challenge) :]
    for origin in origins:
        quoted = origin.encode() + b'"'
        if rest.startswith(quoted):
            rest = rest[len(quoted) :]
            break
    else:
        raise BadPasskeyAssertion("cd-origin", f"expected a signing page of the consortium, got {rest[:64]!r}")
    # 4. not framed by another site; later members may come, since browsers add some
    if rest == b"}" or rest == _NOT_CROSS_ORIGIN + b"}":
        return
    if rest.startswith(_NOT_CROSS_ORIGIN + b",") and rest.endswith(b"}"):
        return
    if rest.startswith((b"}", _NOT_CROSS_ORIGIN + b"}", _NOT_CROSS_ORIGIN + b",")):
        raise BadPasskeyAssertion("cd-after-close", "expected the last byte to be the closing brace")
    raise BadPasskeyAssertion("cd-crossorigin", f'expected the end or "crossOrigin":false, got {rest[:32]!r}')


def _check_authenticator_data(data: bytes, rp_id_hash: bytes) -> None:
    if len(data) < AUTHENTICATOR_DATA_BYTES:
        raise BadPasskeyAssertion("ad-length", f"expected {AUTHENTICATOR_DATA_BYTES} bytes, got {len(data)}")
    flags = data[32]
    if data[:32] != rp_id_hash:
        raise BadPasskeyAssertion("ad-rpid", "this passkey belongs to another site")
    if not flags & _UP:
        raise BadPasskeyAssertion("ad-up", "expected a person to be present")
    if not flags & _UV:
        raise BadPasskeyAssertion("ad-uv", "expected the person to be verified (PIN, finger or face)")
    if flags & _AT:
        raise BadPasskeyAssertion("ad-at", "expected an assertion, got a registration")
    if flags & _ED:
        raise BadPasskeyAssertion("ad-ed", "expected no extension")
    if flags & _BS and not flags & _BE:
        raise BadPasskeyAssertion("ad-bs-without-be", "backed up, yet not eligible for backup")
    if len(data) != AUTHENTICATOR_DATA_BYTES:
        raise BadPasskeyAssertion("ad-length", f"expected {AUTHENTICATOR_DATA_BYTES} bytes, got {len(data)}")


def _check_signature_form(algorithm: int, signature: bytes) -> None:
    """Says why before the library says no. `verify` makes the same checks by itself."""
    if algorithm not in (Algorithm.EDDSA, Algorithm.ES256):
        raise BadPasskeyAssertion("alg", f"expected EdDSA (-8) or ES256 (-7), got {algorithm}")
    if len(signature) != 64:
        raise BadPasskeyAssertion("sig-length", f"expected 64 bytes, got {len(signature)}")
    if algorithm == Algorithm.EDDSA:
        if int.from_bytes(signature[32:], "little") >= _L:
            raise BadPasskeyAssertion("sig-range", "expected s < L")
        return
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not (0 < r < _N and 0 < s < _N):
        raise BadPasskeyAssertion("sig-range", "expected r and s from 1 to n - 1")
    if s > _HALF_N:
        raise BadPasskeyAssertion("sig-high-s", "expected s in the lower half: the submitter turns it into n - s")


# --------------------------------------------------------------------------------------------------- the test at start


def self_test(verifier: Verifier = verify, check_key: Callable[[int, bytes], None] = check_public_key) -> int:
    """Runs the edges of `proof_edges` and returns how many there are (1 to 3 ms).

    Raises SelfTestFailed at the first that differs.
    """
    for name, algorithm, public, message, signature, good in EDGES:
        if verifier(algorithm, bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)) is not good:
            raise SelfTestFailed(
                f"signature edge {name!r}: the ledger says {'good' if good else 'bad'}, this machine's library the "
                "opposite. Install the locked versions of PyNaCl and cryptography."
            )
    for name, algorithm, public, good in KEY_EDGES:
        try:
            check_key(algorithm, bytes.fromhex(public))
            accepted = True
        except BadKey:
            accepted = False
        if accepted is not good:
            raise SelfTestFailed(
                f"key edge {name!r}: the ledger says {'good' if good else 'bad'}, this machine's library the opposite. "
                "Install the locked versions of PyNaCl and cryptography."
            )
    return len(EDGES) + len(KEY_EDGES)
