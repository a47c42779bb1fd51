"""The certificate profile: each rule broken on its own must be refused, and by that rule."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from commonward.ledger.ids import Algorithm, BlockTime, LedgerId, MemberKind
from commonward.ledger.proofs import der_to_rs_low_s
from commonward.records.certificates import (
    ROLES,
    STAFF_PURPOSE,
    CertificateRefused,
    SignedStatement,
    check_ca,
    check_staff,
    check_tls,
    leaf_key,
    revocation_digest,
    sign_statement,
    statement_message,
)

START = datetime(2027, 1, 15, 8, 0, 0, tzinfo=UTC)
NOON = BlockTime(int(START.timestamp() * 1000) + 4 * 3_600_000)
LEDGER = LedgerId(b"\x05" * 32)
CA_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
STAFF_KEY = Ed25519PrivateKey.generate()
P = ec.SECP256R1()
OU = NameOID.ORGANIZATIONAL_UNIT_NAME


def usage(*names: str) -> x509.KeyUsage:
    every = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]  # fmt: skip
    return x509.KeyUsage(**{name: name in names for name in every})


@dataclass
class Recipe:
    """How a certificate is made; a test spoils one ingredient."""

    subject: list[tuple[ObjectIdentifier, str]]
    key: Any
    extensions: list[tuple[x509.ExtensionType, bool]]
    issuer_key: Any = field(default_factory=lambda: CA_KEY)
    issuer: str = "north CA"
    starts: datetime = START
    life: timedelta = timedelta(hours=24)
    algorithm: Any = field(default_factory=SHA256)

    def replace(self, extension: x509.ExtensionType, critical: bool = True) -> "Recipe":
        kept = [each for each in self.extensions if each[0].oid != extension.oid]
        self.extensions = [*kept, (extension, critical)]
        return self

    def without(self, oid: ObjectIdentifier) -> "Recipe":
        self.extensions = [each for each in self.extensions if each[0].oid != oid]
        return self

    def bake(self) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(oid, value) for oid, value in self.subject]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.issuer)]))
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.starts)
            .not_valid_after(self.starts + self.life)
        )
        for extension, critical in self.extensions:
            builder = builder.add_extension(extension, critical)
        algorithm = None if isinstance(self.issuer_key, Ed25519PrivateKey) else self.algorithm
        return builder.sign(self.issuer_key, algorithm).public_bytes(Encoding.DER)


def authority(key: Any = CA_KEY) -> Recipe:
    return Recipe(
        [(NameOID.COMMON_NAME, "north CA")],
        key,
        [
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (usage("key_cert_sign", "crl_sign"), True),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        ],
        issuer_key=key,
        starts=START - timedelta(days=300),
        life=timedelta(days=600),
    )


def staff(role: str = "clinician", member: str = "north") -> Recipe:
    return Recipe(
        [
            (NameOID.ORGANIZATION_NAME, member),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, "cardiology"),
            (NameOID.TITLE, role),
            (NameOID.SERIAL_NUMBER, "7f3a"),
        ],
        STAFF_KEY,
        [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (usage("digital_signature"), True),
            (x509.ExtendedKeyUsage([STAFF_PURPOSE]), True),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(CA_KEY.public_key()), False),
        ],
    )


def tls(member: str = "north") -> Recipe:
    recipe = staff()
    recipe.subject = [(NameOID.ORGANIZATION_NAME, member), (NameOID.COMMON_NAME, "node")]
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    recipe.replace(x509.ExtendedKeyUsage(purposes), critical=False)
    recipe.extensions.append((x509.SubjectAlternativeName([x509.DNSName("north.example")]), False))
    recipe.life = timedelta(days=90)
    return recipe


CA = authority().bake()


def judge(der: bytes, at: int = NOON, ca: bytes = CA, kind: MemberKind = MemberKind.HOSPITAL):
    return check_staff(der, ca, "north", kind, BlockTime(at))


# -------------------------------------------------------------------------------------------------------- the good


def test_a_certificate_in_the_profile_says_who_acted():
    found = judge(staff().bake())
    assert (found.member, found.role, found.department, found.number) == ("north", "clinician", "cardiology", "7f3a")
    assert (found.algorithm, found.public) == (Algorithm.EDDSA, STAFF_KEY.public_key().public_bytes_raw())


def test_p256_staff_keys_and_an_ed25519_ca_are_in_the_profile():
    recipe = staff()
    recipe.key = ec.generate_private_key(P)
    assert judge(recipe.bake()).algorithm is Algorithm.ES256
    ca_key = Ed25519PrivateKey.generate()
    recipe = staff()
    recipe.issuer_key = ca_key
    recipe.replace(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    assert judge(recipe.bake(), ca=authority(ca_key).bake()).role == "clinician"


def test_both_ends_of_its_validity_are_included():
    der = staff().bake()
    first, last = int(START.timestamp()) * 1000, int((START + timedelta(hours=24)).timestamp()) * 1000 + 999
    judge(der, first)
    judge(der, last)
    with pytest.raises(CertificateRefused, match="starts at"):
        judge(der, first - 1)
    with pytest.raises(CertificateRefused, match="ended at"):
        judge(der, last + 1)


# ------------------------------------------------------------------------------------------------------ the attacks


def _spoil(recipe: Recipe, **changes: Any) -> Recipe:
    for name, value in changes.items():
        setattr(recipe, name, value)
    return recipe


RSA_KEY = rsa.generate_private_key(65537, 2048)
UNKNOWN = ObjectIdentifier("1.3.6.1.4.1.99999.1")

ATTACKS = {
    "expired": (lambda: _spoil(staff(), starts=START - timedelta(days=2)), "ended at"),
    "not yet valid": (lambda: _spoil(staff(), starts=START + timedelta(days=1)), "starts at"),
    "longer than a day": (lambda: _spoil(staff(), life=timedelta(hours=24, seconds=1)), "at most 24 hours"),
    "another CA of the same name": (lambda: _spoil(staff(), issuer_key=OTHER_KEY), "issued by the member's CA"),
    "another CA, honest about its key": (
        lambda: _spoil(staff(), issuer_key=OTHER_KEY).replace(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(OTHER_KEY.public_key()), critical=False
        ),
        "another key identifier",
    ),
    "another issuer's name": (lambda: _spoil(staff(), issuer="south CA"), "issued by the member's CA"),
    "a leaf that is a CA": (
        lambda: staff().replace(x509.BasicConstraints(ca=True, path_length=0)),
        "CA:FALSE",
    ),
    "a leaf that may sign certificates": (
        lambda: staff().replace(usage("digital_signature", "key_cert_sign")),
        "digitalSignature alone",
    ),
    "a key for encryption": (lambda: staff().replace(usage("key_encipherment")), "digitalSignature alone"),
    "a key usage that is not critical": (
        lambda: staff().replace(usage("digital_signature"), critical=False),
        "to be critical",
    ),
    "a TLS certificate for a person": (
        lambda: staff().replace(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])),
        "staff purpose",
    ),
    "a person's certificate for TLS too": (
        lambda: staff().replace(x509.ExtendedKeyUsage([STAFF_PURPOSE, ExtendedKeyUsageOID.CLIENT_AUTH])),
        "staff purpose",
    ),
    "any purpose": (
        lambda: staff().replace(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])),
        "staff purpose",
    ),
    "no purpose": (lambda: staff().without(x509.ExtendedKeyUsage.oid), "found none"),
    "no basic constraints": (lambda: staff().without(x509.BasicConstraints.oid), "found none"),
    "an unknown critical extension": (
        lambda: staff().replace(x509.UnrecognizedExtension(UNKNOWN, b"\x05\x00")),
        "expected no extension",
    ),
    "an unknown extension that is not critical": (
        lambda: staff().replace(x509.UnrecognizedExtension(UNKNOWN, b"\x05\x00"), critical=False),
        "expected no extension",
    ),
    "a second name in an extension": (
        lambda: staff().replace(x509.SubjectAlternativeName([x509.DNSName("south.example")]), critical=False),
        "expected no extension",
    ),
    "an RSA key": (lambda: _spoil(staff(), key=RSA_KEY), "Ed25519 or P-256"),
    "a P-384 key": (lambda: _spoil(staff(), key=ec.generate_private_key(ec.SECP384R1())), "Ed25519 or P-256"),
    "a signature over SHA-384": (lambda: _spoil(staff(), algorithm=SHA384()), "ECDSA over SHA-256"),
    "an RSA issuer": (lambda: _spoil(staff(), issuer_key=RSA_KEY), "signed with Ed25519 or ECDSA"),
    "another member": (lambda: staff(member="south"), "one of south"),
    "no member": (lambda: staff(member="North Hospital"), "to be a member"),
    "no role": (lambda: _spoil(staff(), subject=staff().subject[:2] + staff().subject[3:]), "4 fields"),
    "two roles": (
        lambda: _spoil(staff(), subject=[*staff().subject, (NameOID.TITLE, "privacy-officer")]),
        "4 fields",
    ),
    "the fields in another order": (lambda: _spoil(staff(), subject=staff().subject[::-1]), "4 fields"),
    "a made-up role": (lambda: staff(role="administrator"), "role"),
    "a control character in a name": (
        lambda: _spoil(staff(), subject=[*staff().subject[:1], (OU, "7\n3"), *staff().subject[2:]]),
        "plain text",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_a_certificate_out_of_the_profile_is_refused(name):
    recipe, rule = ATTACKS[name]
    with pytest.raises(CertificateRefused, match=rule):
        judge(recipe().bake())


CA_ATTACKS = {
    "not a CA": lambda ca: ca.replace(x509.BasicConstraints(ca=False, path_length=None)),
    "room for intermediates": lambda ca: ca.replace(x509.BasicConstraints(ca=True, path_length=1)),
    "no path length": lambda ca: ca.replace(x509.BasicConstraints(ca=True, path_length=None)),
    "a CA that signs more than certificates": lambda ca: ca.replace(usage("key_cert_sign", "digital_signature")),
    "a CA that signs no certificates": lambda ca: ca.replace(usage("crl_sign")),
    "name constraints": lambda ca: ca.replace(x509.NameConstraints([x509.DNSName("x")], None)),
    "a CA with an RSA key": lambda ca: authority(RSA_KEY),
    "an expired CA": lambda ca: _spoil(ca, life=timedelta(days=10)),
    "a CA of the future": lambda ca: _spoil(ca, starts=START + timedelta(days=30)),
}


@pytest.mark.parametrize("name", CA_ATTACKS)
def test_a_ca_out_of_the_profile_vouches_for_nobody(name):
    ca = CA_ATTACKS[name](authority()).bake()
    with pytest.raises(CertificateRefused):
        judge(staff().bake(), ca=ca)
    with pytest.raises(CertificateRefused):
        check_ca(ca, NOON)


def test_a_member_of_one_kind_has_no_roles_of_another():
    clinician = staff().bake()
    judge(clinician, kind=MemberKind.HOSPITAL)
    for kind in (MemberKind.INSURER, MemberKind.AUTHORITY, MemberKind.RESEARCH):
        with pytest.raises(CertificateRefused, match="role"):
            judge(clinician, kind=kind)
    assert all("privacy-officer" in roles for roles in ROLES.values())


@pytest.mark.parametrize("der", [b"", b"\x30", b"\x30\x03\x02\x01\x05", b"-----BEGIN CERTIFICATE-----", bytes(5000)])
def test_what_is_no_certificate_is_refused_in_our_words(der):
    for check in (judge, lambda der: check_ca(der, NOON), leaf_key, revocation_digest):
        with pytest.raises(CertificateRefused):
            check(der)


def test_a_certificate_cut_or_lengthened_anywhere_is_refused():
    der = staff().bake()
    for cut in range(0, len(der), 7):
        with pytest.raises(CertificateRefused):
            judge(der[:cut])
    with pytest.raises(CertificateRefused):
        judge(der + b"\0")


def test_a_certificate_with_any_byte_changed_is_refused():
    der = staff().bake()
    for at in range(0, len(der), 3):
        with pytest.raises(CertificateRefused):
            judge(der[:at] + bytes((der[at] ^ 0x01,)) + der[at + 1 :])


def test_rewriting_an_ecdsa_signature_does_not_escape_revocation():
    der = staff().bake()
    certificate = x509.load_der_x509_certificate(der)
    r, s = decode_dss_signature(certificate.signature)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    other_signature = encode_dss_signature(r, order - s)
    assert der[:2] == b"\x30\x82" and len(certificate.signature) <= 72, "one byte tells the length of a P-256 signature"
    body = der[4 : len(der) - len(certificate.signature) - 3]
    tail = b"\x03" + bytes((len(other_signature) + 1,)) + b"\0" + other_signature
    twin = b"\x30\x82" + (len(body) + len(tail)).to_bytes(2, "big") + body + tail
    assert x509.load_der_x509_certificate(twin).signature == other_signature
    assert twin != der
    assert judge(twin).role == "clinician"  # X.509 does allow it ...
    assert revocation_digest(twin) == revocation_digest(der)  # ... so the digest is over what was signed


def test_a_tls_certificate_is_no_staff_certificate_nor_the_other_way_round():
    assert check_tls(tls().bake(), CA, "north", NOON).member == "north"
    with pytest.raises(CertificateRefused):
        judge(tls().bake())
    with pytest.raises(CertificateRefused):
        check_tls(staff().bake(), CA, "north", NOON)
    with pytest.raises(CertificateRefused, match="one of south"):
        check_tls(tls("south").bake(), CA, "north", NOON)


# ------------------------------------------------------------------------------------------------------- statements


def test_a_statement_is_signed_for_one_ledger_by_the_certified_key():
    der = staff().bake()
    said = sign_statement(LEDGER, b"show me", der, STAFF_KEY.sign)
    assert SignedStatement.parse(said.to_bytes()) == said
    assert said.check(LEDGER, CA, "north", MemberKind.HOSPITAL, NOON).number == "7f3a"
    other_words = SignedStatement(b"show me all", said.certificate, said.signature)
    other_key = sign_statement(LEDGER, b"show me", der, Ed25519PrivateKey.generate().sign)
    for forged, ledger in ((other_words, LEDGER), (other_key, LEDGER), (said, LedgerId(bytes(32)))):
        with pytest.raises(CertificateRefused, match="not"):
            forged.check(ledger, CA, "north", MemberKind.HOSPITAL, NOON)


def test_a_p256_statement_has_a_low_s():
    key = ec.generate_private_key(P)
    recipe = staff()
    recipe.key = key
    der = recipe.bake()
    said = sign_statement(LEDGER, b"show", der, lambda m: der_to_rs_low_s(key.sign(m, ec.ECDSA(SHA256()))))
    said.check(LEDGER, CA, "north", MemberKind.HOSPITAL, NOON)
    assert len(said.signature) == 64
    assert len(statement_message(LEDGER, b"show")) == 32
