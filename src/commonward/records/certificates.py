"""One strict profile of X.509, checked over bytes at a time that is passed in.

The ledger holds a member's CA certificate as opaque bytes and never looks inside; certificates are judged here, at
the border and by `verify`. There is exactly one shape of each, so there is little to get wrong (RFC 5280):

- **CA**: v3, P-256 or Ed25519, basicConstraints critical CA:TRUE with pathLen 0, keyUsage critical keyCertSign (and
  cRLSign), a subject key identifier. Leaves are issued by it directly: there are no intermediates.
- **Staff certificate**: at most 24 hours, basicConstraints critical CA:FALSE, keyUsage critical digitalSignature
  alone, extendedKeyUsage critical with our staff purpose alone, the CA's key identifier, no other extension. Its
  subject is exactly O (member), OU (department), title (role) and serialNumber (an opaque number that the member's
  privacy officer can turn into a name). The role is bounded by the kind of member.
- **TLS certificate**: CA:FALSE, digitalSignature, serverAuth and clientAuth, subject O (member) and CN, a subject
  alternative name.

RSA, other curves and unknown extensions, critical or not, are refused. Left to others: whether a certificate is
revoked (ask the ledger for `revocation_digest`), and whether the CA is the member's (trust file or state).

What does not depend on time is memoised by bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier, SignatureAlgorithmOID

from commonward.ledger.encoding import Value, decode, digest, encode
from commonward.ledger.ids import Algorithm, BlockTime, Digest, LedgerId, MemberId, MemberKind, parse_member_id
from commonward.ledger.proofs import verify

STAFF_PURPOSE: Final = ObjectIdentifier("2.25.155176206606927244980476767317014399310")
"""Extended key usage of a staff certificate: signs requests and forms to other members (a UUID arc, X.667)."""

STAFF_MAX_LIFE_MS: Final = 24 * 60 * 60 * 1000
MAX_CERTIFICATE_BYTES: Final = 4096

ROLES: Final[Mapping[MemberKind, frozenset[str]]] = MappingProxyType(
    {
        MemberKind.HOSPITAL: frozenset(
            {
                "clinician",
                "nurse",
                "pharmacist",
                "technician",
                "registrar",
                "records-officer",
                "privacy-officer",
                "ethics-officer",
            }
        ),
        MemberKind.INSURER: frozenset({"claims-officer", "records-officer", "privacy-officer"}),
        MemberKind.AUTHORITY: frozenset(
            {"epidemiologist", "inspector", "records-officer", "privacy-officer", "ethics-officer"}
        ),
        MemberKind.RESEARCH: frozenset({"researcher", "records-officer", "privacy-officer", "ethics-officer"}),
    }
)
"""What staff of each kind of member may be certified as."""

_SIGNATURE_ALGORITHMS: Final = {SignatureAlgorithmOID.ED25519, SignatureAlgorithmOID.ECDSA_WITH_SHA256}
_USAGES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)
_STAFF_SUBJECT: Final = [
    NameOID.ORGANIZATION_NAME,
    NameOID.ORGANIZATIONAL_UNIT_NAME,
    NameOID.TITLE,
    NameOID.SERIAL_NUMBER,
]
_TLS_SUBJECT: Final = [NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME]


class CertificateRefused(ValueError):
    """A certificate, or a statement under one, that the profile does not allow. The sentence says which rule broke."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate of a person or a node, in the words the rest of the project uses. Times in ms, both included."""

    member: MemberId
    algorithm: Algorithm
    public: bytes  # Ed25519 32 bytes; P-256 x || y, 64 bytes
    starts: BlockTime
    ends: BlockTime


@dataclass(frozen=True, slots=True)
class Staff(Leaf):
    """Who acted, as far as anyone but the member may know."""

    role: str
    department: str
    number: str
    revocation: Digest


# ---------------------------------------------------------------------------------------------------------- parsing


def _ms(moment: datetime) -> BlockTime:
    return BlockTime(int(moment.timestamp()) * 1000)


def _parse(der: bytes, what: str) -> x509.Certificate:
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise CertificateRefused(f"expected {what} of at most {MAX_CERTIFICATE_BYTES} bytes, got {len(der)}")
    try:
        certificate = x509.load_der_x509_certificate(der)
        certificate.extensions  # noqa: B018  parsed lazily, and refused when one stands twice
        if certificate.version is not x509.Version.v3:
            raise CertificateRefused(f"expected {what} of version 3, got {certificate.version.name}")
    except CertificateRefused:
        raise
    except Exception as cause:  # the library has many, not all ValueErrors; none of them may stop a verifier
        raise CertificateRefused(f"expected {what} as an X.509 certificate in DER ({cause})") from cause
    if certificate.signature_algorithm_oid not in _SIGNATURE_ALGORITHMS:
        raise CertificateRefused(
            f"expected {what} signed with Ed25519 or ECDSA over SHA-256, got {certificate.signature_algorithm_oid}"
        )
    return certificate


def _public(certificate: x509.Certificate, what: str) -> tuple[Algorithm, bytes]:
    try:
        key = certificate.public_key()
    except ValueError as cause:
        raise CertificateRefused(f"expected {what} with a readable public key ({cause})") from cause
    if isinstance(key, Ed25519PublicKey):
        return Algorithm.EDDSA, key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        return Algorithm.ES256, key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
    raise CertificateRefused(f"expected {what} with an Ed25519 or P-256 key, got {type(key).__name__.lstrip('_')}")


def _extensions(certificate: x509.Certificate, allowed: Mapping[ObjectIdentifier, bool], what: str) -> None:
    """Exactly these extensions stand, each critical or not as said."""
    found = {extension.oid: extension.critical for extension in certificate.extensions}
    for oid, critical in found.items():
        if oid not in allowed:
            raise CertificateRefused(f"expected no extension {oid.dotted_string} in {what}")
        if critical != allowed[oid]:
            raise CertificateRefused(
                f"expected extension {oid.dotted_string} in {what} to be {'' if allowed[oid] else 'not '}critical"
            )
    for oid in allowed:
        if oid not in found:
            raise CertificateRefused(f"expected extension {oid.dotted_string} in {what}, found none")


def _usages(certificate: x509.Certificate) -> set[str]:
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    return {name for name in _USAGES if getattr(usage, name)}


def _subject(certificate: x509.Certificate, expected: list[ObjectIdentifier], what: str) -> list[str]:
    attributes = list(certificate.subject)
    if [attribute.oid for attribute in attributes] != expected or len(certificate.subject.rdns) != len(expected):
        got = ", ".join(attribute.rfc4514_attribute_name for attribute in attributes) or "nothing"
        raise CertificateRefused(f"expected the subject of {what} to be {len(expected)} fields in order, got {got}")
    values = [str(attribute.value) for attribute in attributes]
    for value in values:
        if not value.strip() or not value.isprintable():
            raise CertificateRefused(f"expected plain text in the subject of {what}, got {value!r:.60}")
    return values


# ---------------------------------------------------------------------------------------------------------- the CA

_CA_EXTENSIONS: Final = {
    x509.BasicConstraints.oid: True,
    x509.KeyUsage.oid: True,
    x509.SubjectKeyIdentifier.oid: False,
}
_STAFF_EXTENSIONS: Final = {
    x509.BasicConstraints.oid: True,
    x509.KeyUsage.oid: True,
    x509.ExtendedKeyUsage.oid: True,
    x509.AuthorityKeyIdentifier.oid: False,
}
_TLS_EXTENSIONS: Final = {
    x509.BasicConstraints.oid: True,
    x509.KeyUsage.oid: True,
    x509.ExtendedKeyUsage.oid: False,
    x509.AuthorityKeyIdentifier.oid: False,
    x509.SubjectAlternativeName.oid: False,
}


@lru_cache(maxsize=256)
def _authority(der: bytes) -> x509.Certificate:
    what = "a CA certificate"
    certificate = _parse(der, what)
    _public(certificate, what)
    _extensions(certificate, _CA_EXTENSIONS, what)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    if not constraints.ca or constraints.path_length != 0:
        raise CertificateRefused("expected a CA certificate with CA:TRUE and pathLen 0")
    if not {"key_cert_sign"} <= _usages(certificate) <= {"key_cert_sign", "crl_sign"}:
        got = ", ".join(sorted(_usages(certificate)))
        raise CertificateRefused(f"expected a CA certificate whose key only signs certificates, got {got or 'nothing'}")
    return certificate


def check_ca(der: bytes, at: BlockTime) -> None:
    """Whether these are the bytes of a CA certificate in the profile, valid at `at`. Raises CertificateRefused."""
    certificate = _authority(der)
    _check_time(_ms(certificate.not_valid_before_utc), _ms(certificate.not_valid_after_utc), at, "the CA certificate")


def _check_time(starts: BlockTime, ends: BlockTime, at: BlockTime, what: str) -> None:
    # RFC 5280, 4.1.2.5: notAfter is included; it names a second, so all of that second is.
    if at < starts:
        raise CertificateRefused(f"expected {what} to be valid at {at} ms; it starts at {starts} ms")
    if at > ends + 999:
        raise CertificateRefused(f"expected {what} to be valid at {at} ms; it ended at {ends} ms")


def _issued(der: bytes, ca_der: bytes, extensions: Mapping[ObjectIdentifier, bool], what: str) -> x509.Certificate:
    """A leaf that this CA issued directly, whose time nobody has judged yet."""
    ca = _authority(ca_der)
    certificate = _parse(der, what)
    _extensions(certificate, extensions, what)
    if certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        raise CertificateRefused(f"expected {what} with CA:FALSE, got a certificate authority")
    if _usages(certificate) != {"digital_signature"}:
        raise CertificateRefused(f"expected {what} for digitalSignature alone, got {sorted(_usages(certificate))}")
    named = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    if named != ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest:
        raise CertificateRefused(f"expected {what} to name the key of the CA, got another key identifier")
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError) as cause:
        raise CertificateRefused(f"expected {what} issued by the member's CA, got one that is not ({cause})") from cause
    return certificate


def _dates(certificate: x509.Certificate, what: str) -> tuple[BlockTime, BlockTime]:
    starts, ends = _ms(certificate.not_valid_before_utc), _ms(certificate.not_valid_after_utc)
    if ends < starts:
        raise CertificateRefused(f"expected {what} to end after it starts, got {starts} to {ends} ms")
    return starts, ends


# ------------------------------------------------------------------------------------------------------------ staff


def revocation_digest(der: bytes) -> Digest:
    """What RevokeStaff names. Over the signed part (RFC 5280 TBSCertificate), so that the same certificate with its
    ECDSA signature rewritten (s to n - s, still valid) does not escape its revocation."""
    return digest("commonward staff certificate v1", _parse(der, "a certificate").tbs_certificate_bytes)


@lru_cache(maxsize=4096)
def _staff(der: bytes, ca_der: bytes) -> Staff:
    what = "a staff certificate"
    certificate = _issued(der, ca_der, _STAFF_EXTENSIONS, what)
    purposes = list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    if purposes != [STAFF_PURPOSE]:
        raise CertificateRefused("expected a staff certificate for our staff purpose alone, got other purposes")
    member, department, role, number = _subject(certificate, _STAFF_SUBJECT, what)
    starts, ends = _dates(certificate, what)
    if ends - starts > STAFF_MAX_LIFE_MS:
        raise CertificateRefused(f"expected a staff certificate of at most 24 hours, got {(ends - starts) / 3.6e6:.1f}")
    algorithm, public = _public(certificate, what)
    try:
        owner = parse_member_id(member)
    except ValueError as cause:
        raise CertificateRefused(f"expected the organisation of {what} to be a member ({cause})") from cause
    return Staff(owner, algorithm, public, starts, ends, role, department, number, revocation_digest(der))


def check_staff(
    der: bytes,
    ca_der: bytes,
    member: str,
    kind: MemberKind,
    at: BlockTime,
    roles: Mapping[MemberKind, frozenset[str]] = ROLES,
) -> Staff:
    """The person behind a staff certificate, judged at a block's time (never today's). Raises CertificateRefused.

    `ca_der` are the CA bytes that the member is known by, from state or the trust file; `roles` the adopted table.
    """
    staff = _staff(der, ca_der)  # 1. in the profile, and issued by this CA
    check_ca(ca_der, at)  # 2. the CA was valid then
    _check_time(staff.starts, staff.ends, at, "the staff certificate")  # 3. and so was the certificate
    if staff.member != member:  # 4. it speaks for this member (a shared CA serves several)
        raise CertificateRefused(f"expected a staff certificate of {member}, got one of {staff.member}")
    if staff.role not in roles[kind]:  # 5. in a role that such a member may have
        raise CertificateRefused(
            f"expected a role that a member of kind {kind.name.lower()} has "
            f"({', '.join(sorted(roles[kind]))}), got {staff.role!r:.40}"
        )
    return staff


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """Something a person at a member said to another member: the bytes, the certificate, the signature.

    Wire: [statement, certificate (DER), signature (64 bytes)].
    """

    statement: bytes
    certificate: bytes
    signature: bytes

    def to_value(self) -> list[Value]:
        return [self.statement, self.certificate, self.signature]

    def to_bytes(self) -> bytes:
        return encode(self.to_value())

    @classmethod
    def from_value(cls, value: Value) -> "SignedStatement":
        match value:
            case [bytes(statement), bytes(certificate), bytes(signature)]:
                return cls(statement, certificate, signature)
        raise ValueError(f"expected [statement, certificate, signature], got {value!r:.80}")

    @classmethod
    def parse(cls, data: bytes) -> "SignedStatement":
        return cls.from_value(decode(data))

    def check(
        self,
        ledger: LedgerId,
        ca_der: bytes,
        member: str,
        kind: MemberKind,
        at: BlockTime,
        roles: Mapping[MemberKind, frozenset[str]] = ROLES,
    ) -> Staff:
        """Who said it. Raises CertificateRefused when the certificate or the signature does not hold."""
        staff = check_staff(self.certificate, ca_der, member, kind, at, roles)
        if not verify(staff.algorithm, staff.public, statement_message(ledger, self.statement), self.signature):
            raise CertificateRefused(f"expected a signature of the key certified by {member}, got one that is not")
        return staff


def statement_message(ledger: LedgerId, statement: bytes) -> bytes:
    """The 32 bytes that a person's key signs, for one ledger alone."""
    return digest("commonward staff statement v1", ledger, statement)


def sign_statement(
    ledger: LedgerId, statement: bytes, certificate: bytes, sign: Callable[[bytes], bytes]
) -> SignedStatement:
    """`sign` gives 64 bytes by the certificate's key: Ed25519, or P-256 as r || s with low S."""
    return SignedStatement(statement, certificate, sign(statement_message(ledger, statement)))


# -------------------------------------------------------------------------------------------------------------- TLS


@lru_cache(maxsize=1024)
def _tls(der: bytes, ca_der: bytes) -> Leaf:
    what = "a TLS certificate"
    certificate = _issued(der, ca_der, _TLS_EXTENSIONS, what)
    purposes = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    if purposes != {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}:
        raise CertificateRefused("expected a TLS certificate for both ends of a connection, got other purposes")
    member = _subject(certificate, _TLS_SUBJECT, what)[0]
    algorithm, public = _public(certificate, what)
    try:
        return Leaf(parse_member_id(member), algorithm, public, *_dates(certificate, what))
    except ValueError as cause:
        raise CertificateRefused(f"expected the organisation of {what} to be a member ({cause})") from cause


def check_tls(der: bytes, ca_der: bytes, member: str, at: BlockTime) -> Leaf:
    """The node behind a TLS certificate; the caller then asks the ledger whether this key is registered.

    Raises CertificateRefused.
    """
    leaf = _tls(der, ca_der)
    check_ca(ca_der, at)
    _check_time(leaf.starts, leaf.ends, at, "the TLS certificate")
    if leaf.member != member:
        raise CertificateRefused(f"expected a TLS certificate of {member}, got one of {leaf.member}")
    return leaf


def leaf_key(der: bytes) -> tuple[Algorithm, bytes]:
    """Algorithm and public key inside a certificate, nothing judged. Raises CertificateRefused."""
    return _public(_parse(der, "a certificate"), "a certificate")


@lru_cache(maxsize=4096)
def claimed_staff(der: bytes) -> tuple[str, str, str, str]:
    """Member, role, department and number that a staff certificate says, nothing judged. Raises CertificateRefused."""
    what = "a staff certificate"
    member, department, role, number = _subject(_parse(der, what), _STAFF_SUBJECT, what)
    return member, role, department, number


@lru_cache(maxsize=4096)
def claimed_member(der: bytes) -> str:
    """Whose certificate it says it is, nothing judged: for finding the CA to judge it by. Raises CertificateRefused."""
    found = _parse(der, "a certificate").subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if len(found) != 1:
        raise CertificateRefused(f"expected a certificate that names one organisation, got {len(found)}")
    return str(found[0].value)
