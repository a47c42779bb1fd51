"""A passkey in software: what a phone does for a patient, for the demo, the CLI and tests.

It promises what a platform authenticator and a browser promise together (WebAuthn Level 3): a credential answers only
for the RP ID it was made for, a page may only ask under an RP ID that is its own host or a parent of it, the origin is
written by the client and not by the page, and the user is verified (here by the PIN that opens the key file).
What it cannot promise is hardware: who has the file and the PIN has the key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

UP, UV, BE, BS = 0x01, 0x04, 0x08, 0x10


class WrongRelyingParty(Exception):
    """The page's origin may not use this RP ID, or no credential was made for it (a browser's SecurityError)."""


class NotVerified(Exception):
    """The PIN is wrong: the user was not verified and nothing was signed."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """What `navigator.credentials.get` returns. The signature is DER for ES256, as browsers give it."""

    credential_id: bytes
    authenticator_data: bytes
    client_data: bytes
    signature: bytes


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def may_claim(origin: str, rp_id: str) -> bool:
    """WebAuthn 5.1.4.1 step 8, without the public suffix list: the host is the RP ID or lies below it; https only."""
    parts = urlsplit(origin)
    host = parts.hostname or ""
    if parts.scheme != "https" and host != "localhost":
        return False
    return host == rp_id or host.endswith("." + rp_id)


def _stretched(pin: bytes, salt: bytes) -> AESGCM:
    return AESGCM(Scrypt(salt=salt, length=32, n=2**14, r=8, p=1).derive(pin))


def _seal(secret: bytes, pin: bytes) -> bytes:
    salt, nonce = os.urandom(16), os.urandom(12)
    return salt + nonce + _stretched(pin, salt).encrypt(nonce, secret, b"commonward passkey prf v1")


def _open(sealed: bytes, pin: bytes) -> bytes:
    try:
        return _stretched(pin, sealed[:16]).decrypt(sealed[16:28], sealed[28:], b"commonward passkey prf v1")
    except InvalidTag as cause:
        raise ValueError("wrong PIN") from cause


class SoftwarePasskey:
    """One ES256 credential, bound to one RP ID."""

    def __init__(self, rp_id: str, credential_id: bytes, key: ec.EllipticCurvePrivateKey, prf_secret: bytes) -> None:
        self.rp_id = rp_id
        self.credential_id = credential_id
        self._key = key
        self._prf_secret = prf_secret

    @classmethod
    def create(cls, origin: str, rp_id: str) -> SoftwarePasskey:
        """Make a credential for a page at `origin`. Raises WrongRelyingParty where a browser would refuse."""
        if not may_claim(origin, rp_id):
            raise WrongRelyingParty(f"a page at {origin} may not make a passkey for {rp_id}")
        return cls(rp_id, os.urandom(32), ec.generate_private_key(ec.SECP256R1()), os.urandom(32))

    @property
    def public_key(self) -> bytes:
        """P-256 point as x || y, 64 bytes."""
        point = self._key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        return point[1:]

    def get(self, origin: str, rp_id: str, challenge: bytes) -> Assertion:
        """Sign `challenge` for the page at `origin`, which asks under `rp_id`.

        The page chooses challenge and RP ID; the origin comes from the address bar. A portal that asks under its own
        RP ID finds no credential here; one that may claim the consortium's RP ID is still named by its own origin.
        """
        if not may_claim(origin, rp_id):
            raise WrongRelyingParty(f"a page at {origin} may not ask for passkeys of {rp_id}")
        if rp_id != self.rp_id:
            raise WrongRelyingParty(f"no passkey for {rp_id} here; this one belongs to {self.rp_id}")
        # A synced passkey: backup eligible and backed up, signature counter always zero.
        flags = UP | UV | BE | BS
        authenticator_data = hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + bytes(4)
        client_data = (
            f'{{"type":"webauthn.get","challenge":"{b64url(challenge)}","origin":"{origin}","crossOrigin":false}}'
        ).encode()
        signed = authenticator_data + hashlib.sha256(client_data).digest()
        return Assertion(
            self.credential_id, authenticator_data, client_data, self._key.sign(signed, ec.ECDSA(hashes.SHA256()))
        )

    def prf(self, salt: bytes) -> bytes:
        """The WebAuthn `prf` extension (Level 3, 10.1.4), 32 bytes: opens the wrapped sealing key, signs nothing."""
        return hmac.digest(self._prf_secret, hashlib.sha256(b"WebAuthn PRF\0" + salt).digest(), "sha256")

    def save(self, path: Path, pin: bytes) -> None:
        """Write the credential, its keys encrypted under the PIN, readable by the owner alone."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(pin)
        )
        document = {
            "rp_id": self.rp_id,
            "credential_id": self.credential_id.hex(),
            "key": pem.decode(),
            "prf": _seal(self._prf_secret, pin).hex(),
        }
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            json.dump(document, out)

    @classmethod
    def load(cls, path: Path, pin: bytes) -> SoftwarePasskey:
        """Open a saved credential. Raises NotVerified for a wrong PIN, ValueError for a file that is not one."""
        document = json.loads(path.read_text())
        try:
            key = serialization.load_pem_private_key(document["key"].encode(), pin)
            secret = _open(bytes.fromhex(document["prf"]), pin)
        except ValueError as cause:
            raise NotVerified(f"the PIN does not open {path.name}") from cause
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{path.name} holds no P-256 key")
        return cls(document["rp_id"], bytes.fromhex(document["credential_id"]), key, secret)
