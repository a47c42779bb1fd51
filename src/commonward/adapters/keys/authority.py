"""A member's certificate authority: makes its CA certificate, and certificates for staff and nodes under it.

A member may use a licensed CA instead; then only the certificates come here, and `records.certificates` judges them
all the same. Names and times are passed in; keys and serial numbers are drawn from the operating system.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from commonward.adapters.keys.errors import KeyFileMissing, KeyFileUnreadable, KeyUnusable
from commonward.adapters.keys.pkcs8 import decrypt_key, encrypt_key, read_private, write_private
from commonward.ledger.ids import Algorithm, BlockTime, MemberId
from commonward.ledger.proofs import der_to_rs_low_s
from commonward.records.certificates import STAFF_MAX_LIFE_MS, STAFF_PURPOSE, check_ca, revocation_digest

_CA_YEARS: Final = 10
_KEY_FILE: Final = "ca.key.pem"
_CERTIFICATE_FILE: Final = "ca.pem"

PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey


def _moment(at: int) -> datetime:
    """A certificate's time: whole seconds, UTC."""
    return datetime.fromtimestamp(at // 1000, UTC)


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _name(*fields: tuple[ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in fields])


def public_key(algorithm: int, public: bytes) -> PublicKey:
    """The library's object for a public key in our form (Ed25519 32 bytes; P-256 x || y)."""
    if algorithm == Algorithm.EDDSA:
        return Ed25519PublicKey.from_public_bytes(public)
    if algorithm == Algorithm.ES256:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + public)
    raise KeyUnusable(f"expected an Ed25519 or P-256 key to certify, got algorithm {algorithm}")


class CertificateAuthority:
    """Issues under one CA key (P-256). The key never leaves this object but encrypted."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate

    @classmethod
    def create(cls, directory: Path, name: str, passphrase: bytes, now: BlockTime) -> "CertificateAuthority":
        """A new CA in `directory` (made 0700), valid for ten years. Raises FileExistsError when there is one."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name((NameOID.ORGANIZATION_NAME, name), (NameOID.COMMON_NAME, f"{name} certificate authority"))
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_moment(now))
            .not_valid_after(_moment(now) + timedelta(days=365 * _CA_YEARS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, SHA256())
        )
        write_private(directory / _KEY_FILE, encrypt_key(key, passphrase))
        (directory / _CERTIFICATE_FILE).write_bytes(certificate.public_bytes(Encoding.PEM))
        return cls(key, certificate)

    @classmethod
    def open(cls, directory: Path, passphrase: bytes) -> "CertificateAuthority":
        """Raises KeyFileMissing, KeyFileExposed or KeyFileUnreadable."""
        path = directory / _KEY_FILE
        key = decrypt_key(read_private(path), passphrase, path)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise KeyFileUnreadable(path, "expected a P-256 key for a CA")
        public = directory / _CERTIFICATE_FILE
        try:
            certificate = x509.load_pem_x509_certificate(public.read_bytes())
        except FileNotFoundError as cause:
            raise KeyFileMissing(public) from cause
        except ValueError as cause:
            raise KeyFileUnreadable(public, "expected a certificate in PEM") from cause
        if certificate.public_key() != key.public_key():
            raise KeyFileUnreadable(public, f"it is not the certificate of the key in {path.name}")
        return cls(key, certificate)

    @property
    def certificate(self) -> bytes:
        """DER: the bytes that genesis and the admission of a member carry."""
        return self._certificate.public_bytes(Encoding.DER)

    def _issue(
        self,
        subject: x509.Name,
        public: PublicKey,
        starts: BlockTime,
        life: timedelta,
        extensions: Sequence[tuple[x509.ExtensionType, bool]],
    ) -> bytes:
        check_ca(self.certificate, starts)
        issuer = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_moment(starts))
            .not_valid_after(_moment(starts) + life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign=False), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.DER)

    def issue_staff(
        self,
        member: MemberId,
        algorithm: int,
        public: bytes,
        *,
        role: str,
        department: str,
        number: str,
        starts: BlockTime,
        life_ms: int = STAFF_MAX_LIFE_MS,
    ) -> bytes:
        """DER of a staff certificate.

        Args:
            role: one that `records.certificates.ROLES` gives this kind of member.
            number: opaque outside the member; its privacy officer keeps the list of names.
            life_ms: at most 24 hours.
        """
        if not 0 < life_ms <= STAFF_MAX_LIFE_MS:
            raise KeyUnusable(f"expected a staff certificate of at most 24 hours, got {life_ms / 3.6e6:.1f}")
        subject = _name(
            (NameOID.ORGANIZATION_NAME, member),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, department),
            (NameOID.TITLE, role),
            (NameOID.SERIAL_NUMBER, number),
        )
        return self._issue(
            subject,
            public_key(algorithm, public),
            starts,
            timedelta(milliseconds=life_ms),
            [(x509.ExtendedKeyUsage([STAFF_PURPOSE]), True)],
        )

    def issue_tls(
        self,
        member: MemberId,
        algorithm: int,
        public: bytes,
        *,
        hosts: Sequence[str],
        starts: BlockTime,
        days: int = 365,
    ) -> bytes:
        """DER of a node's certificate for both ends of mutual TLS. `hosts` are names or addresses, at least one."""
        subject = _name((NameOID.ORGANIZATION_NAME, member), (NameOID.COMMON_NAME, f"{member} node"))
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        extensions: list[tuple[x509.ExtensionType, bool]] = [(purposes, False), (names, False)]
        return self._issue(subject, public_key(algorithm, public), starts, timedelta(days=days), extensions)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


# ------------------------------------------------------------------------------------------------------------ staff


@dataclass(frozen=True, slots=True)
class StaffKey:
    """A staff member's short-lived certificate and key, in software. Implements `workflows.ports.StaffSigner`."""

    certificate: bytes
    key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey

    @classmethod
    def issue(
        cls,
        authority: CertificateAuthority,
        member: MemberId,
        *,
        role: str,
        department: str,
        number: str,
        starts: BlockTime,
        life_ms: int = STAFF_MAX_LIFE_MS,
    ) -> "StaffKey":
        """A fresh Ed25519 key with its certificate, as a sign-in at the member's desk would give for the day."""
        key = Ed25519PrivateKey.generate()
        certificate = authority.issue_staff(
            member,
            Algorithm.EDDSA,
            key.public_key().public_bytes_raw(),
            role=role,
            department=department,
            number=number,
            starts=starts,
            life_ms=life_ms,
        )
        return cls(certificate, key)

    def sign(self, message: bytes) -> bytes:
        """64 bytes: Ed25519, or P-256 as r || s with low S."""
        if isinstance(self.key, Ed25519PrivateKey):
            return self.key.sign(message)
        return der_to_rs_low_s(self.key.sign(message, ec.ECDSA(SHA256())))

    @property
    def revocation(self) -> bytes:
        """What a RevokeStaff transaction names."""
        return revocation_digest(self.certificate)

    def save(self, path: Path, passphrase: bytes) -> None:
        """One file with the certificate and the encrypted key, 0600; replaces yesterday's."""
        certificate = x509.load_der_x509_certificate(self.certificate).public_bytes(Encoding.PEM)
        write_private(path, certificate + encrypt_key(self.key, passphrase), replace=True)

    @classmethod
    def open(cls, path: Path, passphrase: bytes) -> "StaffKey":
        """Raises KeyFileMissing, KeyFileExposed or KeyFileUnreadable."""
        data = read_private(path)
        try:
            certificate = x509.load_pem_x509_certificate(data)
        except ValueError as cause:
            raise KeyFileUnreadable(path, "expected a certificate in PEM before the key") from cause
        start = data.find(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
        key = decrypt_key(data[max(start, 0) :], passphrase, path)
        if not isinstance(key, Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
            raise KeyFileUnreadable(path, "expected an Ed25519 or P-256 key for a staff certificate")
        if key.public_key() != certificate.public_key():
            raise KeyFileUnreadable(path, "the certificate in it is not that of the key in it")
        return cls(certificate.public_bytes(Encoding.DER), key)
