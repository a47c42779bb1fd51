"""Who signed this? The edges of both signature schemes, real passkeys, and ways to pass one proof for another."""

import base64
import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from commonward.ledger import proofs
from commonward.ledger.encoding import digest, encode
from commonward.ledger.ids import Algorithm, CredentialId, key_id
from commonward.ledger.proofs import (
    BadKey,
    MemberProof,
    PasskeyProof,
    ProofKind,
    SelfTestFailed,
    VerificationCache,
    check_member,
    check_passkey,
    check_public_key,
    cose_to_sign,
    der_to_rs_low_s,
    member_proof,
    parse_proof,
    self_test,
    verify,
)
from commonward.ledger.refusals import BadPasskeyAssertion, BadSignature, Malformed, WrongProof

VECTORS = Path(__file__).parents[1] / "vectors"
DIGEST = digest("commonward transaction v1", b"a body")
ED = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ED_PUBLIC = ED.public_key().public_bytes_raw()
ED_ID = key_id(Algorithm.EDDSA, ED_PUBLIC)
P256 = ec.derive_private_key(0x1234567890ABCDEF, ec.SECP256R1())
P256_PUBLIC = P256.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
P256_ID = key_id(Algorithm.ES256, P256_PUBLIC)


def p256_sign(message):
    return der_to_rs_low_s(P256.sign(message, ec.ECDSA(SHA256())))


def accepts_key(algorithm, public):
    try:
        check_public_key(algorithm, public)
    except BadKey:
        return False
    return True


# --------------------------------------------------------------------------------------------------- signature vectors


def signature_vectors(name, algorithm):
    """(number, key accepted, signature good) as the file says, and as we find."""
    content = json.loads((VECTORS / name).read_text())
    keys = [bytes.fromhex(one) for one in content["keys"]]
    messages = [bytes.fromhex(one) for one in content["messages"]]
    accepted = [accepts_key(algorithm, key) for key in keys]
    for number, key, message, signature, key_good, good, why in content["tests"]:
        yield number, why, (key_good, good), accepted[key], keys[key], messages[message], bytes.fromhex(signature)


@pytest.mark.parametrize(
    ("name", "algorithm", "count"), [("signatures_ed25519.json", -8, 1065), ("signatures_p256.json", -7, 262)]
)
def test_every_edge_of_signatures_gets_the_verdict_of_the_vectors(name, algorithm, count):
    seen = 0
    for number, why, expected, key_good, key, message, signature in signature_vectors(name, algorithm):
        assert (key_good, verify(algorithm, key, message, signature)) == expected, (number, why)
        seen += 1
    assert seen == count


def test_every_der_signature_is_refused_by_the_submitter_or_gets_the_verdict_of_the_vectors():
    seen = 0
    for number, why, (_, expected), _, key, message, der in signature_vectors("signatures_p256_der.json", -7):
        try:
            good = verify(-7, key, message, der_to_rs_low_s(der))
        except ValueError as refused:
            assert str(refused).startswith("der: ")
            good = False
        assert good is expected, (number, why)
        seen += 1
    assert seen == 484


def test_only_one_of_the_914_strange_ed25519_signatures_is_accepted_with_its_key():
    """208 pass OpenSSL: 164 under keys of small order, 42 under keys of mixed order, 1 with R of small order."""
    rows = [row for row in json.loads((VECTORS / "signatures_ed25519.json").read_text())["tests"] if row[0][0] == "C"]
    assert len(rows) == 914
    assert [row[6] for row in rows if row[4] and row[5]] == ["ordinary"]


def test_high_s_is_refused_and_its_low_twin_accepted():
    message, n = b"m", proofs._N
    good = p256_sign(message)
    s = int.from_bytes(good[32:], "big")
    twin = good[:32] + (n - s).to_bytes(32, "big")
    assert verify(-7, P256_PUBLIC, message, good)
    assert not verify(-7, P256_PUBLIC, message, twin)


def test_a_signature_of_one_algorithm_is_none_of_the_other():
    assert not verify(-7, P256_PUBLIC, b"m", ED.sign(b"m"))
    assert not verify(-8, ED_PUBLIC, b"m", p256_sign(b"m"))
    assert not verify(-8, P256_PUBLIC, b"m", p256_sign(b"m"))
    assert not verify(4, ED_PUBLIC, b"m", ED.sign(b"m"))
    assert not verify(-257, ED_PUBLIC, b"m", ED.sign(b"m"))
    assert not verify(-7, b"", b"m", p256_sign(b"m"))


@pytest.mark.parametrize(
    "der",
    ["", "30", "3006020101020101ff", "30060201010201", "3006020101020100", "300602010102018f",
     "30070201010202000a", "3081060201010201aa", "3006030101020101", "3004020002000000"],
)  # fmt: skip
def test_der_that_is_not_strict_is_refused_by_the_submitter(der):
    with pytest.raises(ValueError, match=r"^der: "):
        der_to_rs_low_s(bytes.fromhex(der))


# ------------------------------------------------------------------------------------------------------------- members


@pytest.mark.parametrize(
    ("algorithm", "kid", "public", "sign"),
    [(Algorithm.EDDSA, ED_ID, ED_PUBLIC, ED.sign), (Algorithm.ES256, P256_ID, P256_PUBLIC, p256_sign)],
    ids=["EdDSA", "ES256"],
)
def test_a_member_proof_is_a_detached_cose_sign1_and_comes_back(algorithm, kid, public, sign):
    data = member_proof(algorithm, kid, sign, DIGEST)
    protected = encode({1: int(algorithm), 4: kid})
    signature = data[-64:]
    # nil (f6) is outside our encoding, so the standard's array is spelt out
    assert data == b"\x84" + encode(protected) + b"\xa0" + b"\xf6" + encode(signature)
    assert cose_to_sign(algorithm, kid, DIGEST) == encode(["Signature1", protected, b"", DIGEST])
    proof = parse_proof(ProofKind.MEMBER, data)
    assert proof == MemberProof(algorithm, kid, signature)
    assert proof.to_bytes() == data
    check_member(proof, DIGEST, algorithm, public)


def test_a_member_proof_does_not_serve_another_transaction():
    proof = parse_proof(1, member_proof(-8, ED_ID, ED.sign, DIGEST))
    assert isinstance(proof, MemberProof)
    with pytest.raises(BadSignature):
        check_member(proof, digest("commonward transaction v1", b"another"), -8, ED_PUBLIC)


def test_a_member_proof_is_bound_to_the_key_id_and_algorithm_it_names():
    other = key_id(-8, b"\x01" * 32)
    stolen = MemberProof(Algorithm.EDDSA, other, parse_proof(1, member_proof(-8, ED_ID, ED.sign, DIGEST)).signature)
    with pytest.raises(BadSignature):
        check_member(stolen, DIGEST, -8, ED_PUBLIC)
    renamed = MemberProof(Algorithm.ES256, ED_ID, ED.sign(cose_to_sign(-7, ED_ID, DIGEST)))
    with pytest.raises(BadSignature):
        check_member(renamed, DIGEST, -8, ED_PUBLIC)


def test_a_bare_signature_over_the_digest_is_no_member_proof():
    """Cross-protocol: what a key signs elsewhere (a checkpoint, a bundle) never starts with Sig_structure."""
    with pytest.raises(BadSignature):
        check_member(MemberProof(Algorithm.EDDSA, ED_ID, ED.sign(DIGEST)), DIGEST, -8, ED_PUBLIC)


def cose_variants():
    good = member_proof(-8, ED_ID, ED.sign, DIGEST)
    signature = good[-64:]
    protected = encode({1: -8, 4: ED_ID})
    yield "empty", b""
    yield "cut short", good[:-1]
    yield "a byte more", good + b"\0"
    yield "tagged 18", b"\xd2" + good
    yield "payload attached", b"\x84" + encode(protected) + b"\xa0" + encode(DIGEST) + encode(signature)
    yield "an unprotected header", b"\x84" + encode(protected) + encode({4: b"x"}) + b"\xf6" + encode(signature)
    yield "another algorithm", b"\x84" + encode(encode({1: -37, 4: ED_ID})) + b"\xa0\xf6" + encode(signature)
    yield "RS256", b"\x84" + encode(encode({1: -257, 4: ED_ID})) + b"\xa0\xf6" + encode(signature)
    yield "no key id", b"\x84" + encode(encode({1: -8})) + b"\xa0\xf6" + encode(signature)
    yield "a third header", b"\x84" + encode(encode({1: -8, 4: ED_ID, 5: b""})) + b"\xa0\xf6" + encode(signature)
    yield "headers in falling order", good.replace(protected, b"\xa2\x04" + encode(ED_ID) + b"\x01\x27")
    yield "a longer head", good[:1] + b"\x59\x00\x26" + good[3:]
    yield "an array of five", b"\x85" + good[1:] + b"\0"
    yield "undefined for nil", good.replace(b"\xa0\xf6", b"\xa0\xf7")


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in cose_variants()])
def test_only_one_form_of_cose_sign1_is_read(data):
    with pytest.raises(Malformed, match="COSE_Sign1"):
        parse_proof(1, data)


def test_there_are_two_kinds_of_proof():
    with pytest.raises(WrongProof, match="proof kind 3"):
        parse_proof(3, b"")


def test_a_signer_that_returns_der_is_told_so():
    with pytest.raises(ValueError, match="DER"):
        member_proof(-7, P256_ID, lambda message: P256.sign(message, ec.ECDSA(SHA256())), DIGEST)
    with pytest.raises(ValueError, match="32 bytes"):
        cose_to_sign(-8, ED_ID, b"short")
    with pytest.raises(ValueError, match="key id"):
        cose_to_sign(-8, b"short", DIGEST)


# ------------------------------------------------------------------------------------------------------------ passkeys


def unbase64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def passkey_vectors():
    return json.loads((VECTORS / "passkeys.json").read_text())["vectors"]


@pytest.mark.parametrize("vector", passkey_vectors(), ids=lambda vector: vector["name"])
def test_an_assertion_of_a_real_browser_gets_the_verdict_of_the_vectors(vector):
    """The way of a submitter and the ledger: DER to r || s, wire, parse, check."""
    key = load_der_public_key(base64.b64decode(vector["public_key_spki_b64"]))
    if isinstance(key, ec.EllipticCurvePublicKey):
        public = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
    elif isinstance(key, ed25519.Ed25519PublicKey):
        public = key.public_bytes_raw()
    else:
        public = b""
    challenge = unbase64(vector["challenge_b64url"])
    try:
        if "signature_rs_b64url" in vector:
            signature = unbase64(vector["signature_rs_b64url"])
        else:
            signature = unbase64(vector["signature_der_b64url"])
            if vector["alg"] == -7:
                signature = der_to_rs_low_s(signature)
        submitted = PasskeyProof(
            CredentialId(unbase64(vector["credential_id_b64url"])),
            unbase64(vector["authenticator_data_b64url"]),
            unbase64(vector["client_data_json_b64url"]),
            signature,
        )
        proof = parse_proof(ProofKind.PASSKEY, submitted.to_bytes())
        assert isinstance(proof, PasskeyProof)
        rp_id_hash = hashlib.sha256(vector["rp_id"].encode()).digest()
        check_passkey(proof, challenge, vector["alg"], public, rp_id_hash, [vector["origin"]])
        failed = None
    except BadPasskeyAssertion as refusal:
        failed = refusal.check
    except ValueError as refused:  # at the submitter: DER, or a challenge that is no digest
        failed = "challenge-length" if len(challenge) != 32 else str(refused)
    if vector["rule"] is None:
        assert failed is None
    else:
        assert failed is not None and failed.startswith(vector["rule"])


ORIGIN = "https://sign.example.org"
RP_HASH = hashlib.sha256(b"example.org").digest()


def assertion(client_data=None, flags=0x05, rp=RP_HASH, tail=b"", challenge=DIGEST, origin=ORIGIN, rest=b"}"):
    """A passkey's answer, signed properly, so that only what the test changes is wrong."""
    if client_data is None:
        encoded = base64.urlsafe_b64encode(challenge).rstrip(b"=")
        client_data = (
            b'{"type":"webauthn.get","challenge":"' + encoded + b'","origin":"' + origin.encode() + b'"' + rest
        )
    data = rp + bytes([flags]) + bytes(4) + tail
    signature = p256_sign(data + hashlib.sha256(client_data).digest())
    return PasskeyProof(CredentialId(b"credential"), data, client_data, signature)


def failing_check(proof, origins=(ORIGIN,), public=P256_PUBLIC, transaction=DIGEST):
    try:
        check_passkey(proof, transaction, -7, public, RP_HASH, origins)
    except BadPasskeyAssertion as refusal:
        assert refusal.code == 118
        assert refusal.check in str(refusal)
        return refusal.check
    return None


def test_a_good_assertion_passes_at_any_of_the_signing_pages():
    assert failing_check(assertion()) is None
    assert failing_check(assertion(), origins=("https://other.example.org", ORIGIN)) is None
    assert failing_check(assertion(), origins=("https://other.example.org",)) == "cd-origin"
    assert failing_check(assertion(), origins=()) == "cd-origin"


def test_an_origin_that_begins_another_is_not_taken_for_it():
    longer = ORIGIN + ".evil.example"
    assert failing_check(assertion(origin=longer)) == "cd-origin"
    assert failing_check(assertion(), origins=(longer,)) == "cd-origin"
    assert failing_check(assertion(origin=longer), origins=(ORIGIN, longer)) is None


def test_client_data_may_have_1024_bytes_and_no_more():
    head = b',"crossOrigin":false,"x":"'
    room = 1024 - len(assertion(rest=head + b'"}').client_data)
    assert failing_check(assertion(rest=head + b"x" * room + b'"}')) is None
    assert failing_check(assertion(rest=head + b"x" * (room + 1) + b'"}')) == "cd-length"


@pytest.mark.parametrize(
    ("flags", "failed"),
    [(0x05, None), (0x0D, None), (0x1D, None), (0x07, None), (0x25, None), (0x04, "ad-up"), (0x01, "ad-uv"),
     (0x45, "ad-at"), (0x85, "ad-ed"), (0x15, "ad-bs-without-be"), (0x00, "ad-up"), (0xFF, "ad-at")],
)  # fmt: skip
def test_flags_say_that_a_verified_person_was_there(flags, failed):
    assert failing_check(assertion(flags=flags)) == failed


def test_an_assertion_of_another_site_transaction_or_key_is_refused():
    assert failing_check(assertion(rp=hashlib.sha256(b"evil.example").digest())) == "ad-rpid"
    assert failing_check(assertion(), transaction=digest("commonward transaction v1", b"other")) == "cd-challenge"
    assert failing_check(assertion(), public=proofs_other_key()) == "sig-invalid"
    assert failing_check(assertion(tail=b"\0")) == "ad-length"


def proofs_other_key():
    other = ec.derive_private_key(99, ec.SECP256R1()).public_key()
    return other.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def test_a_sign_in_at_a_portal_gives_no_consent():
    """A portal may ask a passkey to sign in with a consent's digest as challenge; but the origin is signed too."""
    assert failing_check(assertion(origin="https://portal.example.org")) == "cd-origin"


@pytest.mark.parametrize(
    "value",
    [b"", [b"c", b"a", b"d"], [b"c", b"a", b"d", b"s", b""], [b"", b"a", b"d", b"s"], [b"c" * 1024, b"a", b"d", b"s"],
     ["c", b"a", b"d", b"s"], [b"c", b"a", "d", b"s"], {1: b"c"}],
)  # fmt: skip
def test_a_passkey_proof_is_four_byte_strings(value):
    with pytest.raises(Malformed):
        parse_proof(2, encode(value))
    with pytest.raises(Malformed):
        parse_proof(2, encode(value) + b"\0")


# --------------------------------------------------------------------------------------------- the cache, the self-test


def test_the_cache_remembers_good_signatures_of_exactly_these_bytes_and_forgets_the_oldest():
    asked = []

    def counted(*arguments):
        asked.append(arguments)
        return verify(*arguments)

    cache = VerificationCache(capacity=2, verify=counted)
    signatures = [ED.sign(bytes([n])) for n in range(3)]
    assert cache.verify(-8, ED_PUBLIC, b"\0", signatures[0])
    assert cache.verify(-8, ED_PUBLIC, b"\0", signatures[0])
    assert len(asked) == 1
    assert not cache.verify(-8, ED_PUBLIC, b"\1", signatures[0])
    assert not cache.verify(-8, ED_PUBLIC, b"\1", signatures[0])
    assert not cache.verify(-7, ED_PUBLIC, b"\0", signatures[0])
    assert not cache.verify(-8, b"\x58" + b"\x66" * 31, b"\0", signatures[0])
    assert len(asked) == 5
    assert cache.verify(-8, ED_PUBLIC, b"\1", signatures[1])
    assert cache.verify(-8, ED_PUBLIC, b"\2", signatures[2])
    assert len(cache) == 2
    assert cache.verify(-8, ED_PUBLIC, b"\0", signatures[0])
    assert len(asked) == 8


def test_a_bad_proof_swapped_into_a_cached_transaction_is_still_refused():
    cache = VerificationCache()
    good = parse_proof(1, member_proof(-8, ED_ID, ED.sign, DIGEST))
    assert isinstance(good, MemberProof)
    check_member(good, DIGEST, -8, ED_PUBLIC, verifier=cache.verify)
    swapped = MemberProof(good.algorithm, good.key_id, bytes([good.signature[0] ^ 1]) + good.signature[1:])
    with pytest.raises(BadSignature):
        check_member(swapped, DIGEST, -8, ED_PUBLIC, verifier=cache.verify)
    check_passkey(assertion(), DIGEST, -7, P256_PUBLIC, RP_HASH, [ORIGIN], verifier=cache.verify)
    assert len(cache) == 2


def test_a_node_whose_library_judges_otherwise_does_not_run():
    assert self_test() > 60

    def without_cofactor_or_orders(algorithm, public, message, signature):
        """OpenSSL's Ed25519, which accepts keys and R of small order."""
        if algorithm != -8:
            return verify(algorithm, public, message, signature)
        try:
            ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        except Exception:
            return False
        return True

    def any_s(algorithm, public, message, signature):
        if algorithm == -7 and len(signature) == 64:
            s = int.from_bytes(signature[32:], "big")
            signature = signature[:32] + min(s, max(proofs._N - s, 0)).to_bytes(32, "big")
        return verify(algorithm, public, message, signature)

    for verifier in (without_cofactor_or_orders, any_s):
        with pytest.raises(SelfTestFailed, match="PyNaCl"):
            self_test(verifier=verifier)
    with pytest.raises(SelfTestFailed, match="key edge"):
        self_test(check_key=lambda algorithm, public: None)
