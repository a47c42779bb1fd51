"""A small world of certificate authorities for tests: one for each member, TLS certificates under it, contexts."""

import datetime
import ipaddress
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from commonward.ledger.ids import MemberId

_START = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_END = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)


def _certificate(
    subject: str, public: ec.EllipticCurvePublicKey, issuer: str, key: ec.EllipticCurvePrivateKey, ca: bool
) -> x509.Certificate:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_START)
        .not_valid_after(_END)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
    )
    if not ca:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        ).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
    return builder.sign(key, hashes.SHA256())


@dataclass
class Authority:
    """One certificate authority."""

    name: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.certificate = _certificate(self.name, self.key.public_key(), self.name, self.key, ca=True)

    def issue(self, subject: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        return key, _certificate(subject, key.public_key(), self.name, self.key, ca=False)


class Contexts(NamedTuple):
    """One certificate for both roles, as a node has it."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@dataclass
class TlsWorld:
    """Authorities, and which certificate is registered for which member (as the ledger would say)."""

    folder: Path
    authorities: dict[str, Authority] = field(default_factory=dict)
    registered: dict[bytes, MemberId] = field(default_factory=dict)

    def authority(self, name: str) -> Authority:
        return self.authorities.setdefault(name, Authority(name))

    def member(self, name: str, *, register: bool = True, under: str | None = None) -> Contexts:
        """A context of a new certificate for `name`, by its own authority or by the one named."""
        key, certificate = self.authority(under or f"ca-{name}").issue(name)
        if register:
            self.registered[certificate.public_bytes(serialization.Encoding.DER)] = MemberId(name)
        return self.context(name, key, certificate)

    def context(self, name: str, key: ec.EllipticCurvePrivateKey | None, cert: x509.Certificate | None) -> Contexts:
        """Contexts that trust nobody yet; without a certificate where it is None."""
        pair = Contexts(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        for context in pair:
            context.check_hostname = False
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.verify_mode = ssl.CERT_REQUIRED
        if key is not None and cert is not None:
            file = self.folder / f"{name}-{cert.serial_number}.pem"
            file.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
                + cert.public_bytes(serialization.Encoding.PEM)
            )
            for context in pair:
                context.load_cert_chain(file)
        return pair

    def trust(self, *pairs: Contexts, but: str | None = None) -> None:
        """Let contexts trust every authority there is, but one."""
        for pair in pairs:
            for name, authority in self.authorities.items():
                if name != but:
                    pem = authority.certificate.public_bytes(serialization.Encoding.PEM).decode()
                    for context in pair:
                        context.load_verify_locations(cadata=pem)

    def resolve(self, certificate: bytes) -> MemberId | None:
        """What the ledger says of a certificate."""
        return self.registered.get(certificate)
