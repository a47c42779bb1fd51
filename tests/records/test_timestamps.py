"""Time-stamp tokens, made by the real `openssl ts`: what is believed of them, and every attack on one."""

import json
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from commonward.records.timestamps import (
    MAX_TOKEN_BYTES,
    TokenRefused,
    TokenUnreadable,
    build_request,
    check_token,
    imprint_of,
    read_authorities,
    read_token,
    token_of,
)
from tests.tsa_world import NOW, Issuer, Tsa, der

BODY = b"commonward/0011223344556677\n12\nAAAA\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tsa")


@pytest.fixture(scope="module")
def tsa(folder):
    return Tsa.new(folder / "good")


@pytest.fixture(scope="module")
def token(tsa):
    return tsa.token(BODY)


def why(token, pem, body=BODY, nonce=None):
    with pytest.raises((TokenRefused, TokenUnreadable)) as raised:
        check_token(token, body, pem, nonce)
    return str(raised.value)


def test_a_real_authoritys_token_is_believed_and_dated(tsa, token):
    for _ in range(2):  # the second from memory
        found = check_token(token, BODY, tsa.chain)
        assert found.authority == "Stamp Office"
        assert abs(found.time / 1000 - NOW.timestamp()) < 600
        assert found.time + 2000 == found.before, "an accuracy of one second, and a second that was cut down to"


def test_our_request_is_what_openssl_reads_and_answers(tsa, folder):
    query = folder / "query.tsq"
    query.write_bytes(build_request(BODY, 0xDEADBEEFCAFE))
    ran = subprocess.run(["openssl", "ts", "-query", "-in", query, "-text"], capture_output=True, text=True, check=True)
    assert "Nonce: 0xDEADBEEFCAFE" in ran.stdout and "Certificate required: yes" in ran.stdout
    token = token_of(tsa.reply(query.read_bytes()))
    assert check_token(token, BODY, tsa.chain, 0xDEADBEEFCAFE).nonce == 0xDEADBEEFCAFE
    assert "does not answer our request" in why(token, tsa.chain, nonce=0xDEADBEEFCAFF)


@pytest.mark.parametrize("nonce", [0, 1, 127, 128, 255, 256, (1 << 63) - 1])
def test_a_request_is_the_librarys_but_for_the_nonce_that_is_passed_in(nonce):
    theirs = TimestampRequestBuilder().data(BODY).hash_algorithm(HashAlgorithm.SHA256).nonce(nonce=False).build()
    ours = build_request(BODY, nonce)
    number = nonce.to_bytes(nonce.bit_length() // 8 + 1, "big")
    assert ours[2:] == theirs.as_bytes()[2:].replace(b"\x01\x01\xff", der(2, number) + b"\x01\x01\xff")


def test_openssl_itself_verifies_the_token_that_we_keep(tsa, token, folder):
    """A court needs none of our programs for this part."""
    (folder / "kept").write_bytes(token)
    (folder / "root.pem").write_bytes(tsa.chain)
    ran = subprocess.run(
        ["openssl", "ts", "-verify", "-token_in", "-in", folder / "kept", "-CAfile", folder / "root.pem",
         "-digest", imprint_of(BODY).hex()],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Verification: OK" in ran.stdout + ran.stderr


def test_a_token_of_another_checkpoint_is_refused(tsa, token):
    assert "of something else" in why(token, tsa.chain, BODY.replace(b"12", b"13"))


def test_an_authority_that_the_reader_does_not_believe_is_refused(tsa, token):
    assert "self-signed certificate" in why(token, Issuer.new("Other Root").pem)
    assert why(token, Issuer.new("Stamp Office Root").pem), "nor is another root of the same name"


def test_with_the_authoritys_own_certificate_in_the_file_it_alone_is_believed(tsa, token, folder):
    own = tsa.certificate.public_bytes(Encoding.PEM)
    sister = Tsa.new(folder / "sister", issuer=tsa.issuer, name="Sister Office")
    assert check_token(token, BODY, own + tsa.chain).authority == "Stamp Office"
    assert check_token(sister.token(BODY), BODY, tsa.chain).authority == "Sister Office"
    assert "not the one given" in why(sister.token(BODY), own + tsa.chain)


def test_a_certificate_that_had_expired_when_it_signed_is_refused(tsa, folder):
    old = Tsa.new(folder / "old", issuer=tsa.issuer, starts=NOW - timedelta(days=9), ends=NOW - timedelta(days=5))
    assert "certificate has expired" in why(old.token(BODY), tsa.chain)


def test_a_certificate_that_has_expired_since_is_no_fault(tsa, folder):
    old = Tsa.new(folder / "since", issuer=tsa.issuer, starts=NOW - timedelta(days=9), ends=NOW - timedelta(days=5))
    at = NOW - timedelta(days=7)
    assert check_token(old.backdated(BODY, at), BODY, tsa.chain).time == int(at.timestamp()) * 1000


def test_a_certificate_that_was_not_valid_yet_is_refused(tsa, folder):
    early = Tsa.new(folder / "early", issuer=tsa.issuer)
    assert "not yet valid" in why(early.backdated(BODY, NOW - timedelta(days=3)), tsa.chain)


@pytest.mark.parametrize(
    ("name", "purposes", "critical"),
    [
        ("server", (ExtendedKeyUsageOID.SERVER_AUTH,), True),
        ("none", (), True),
        ("both", (ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING), True),
        ("lax", (ExtendedKeyUsageOID.TIME_STAMPING,), False),
    ],
)
def test_a_certificate_for_anything_else_does_not_stamp(tsa, folder, name, purposes, critical):
    """A web server's key under the same root, stolen, dates what the thief likes."""
    wrong = Tsa.new(folder / name, issuer=tsa.issuer, purposes=purposes, critical=critical)
    assert "not one for time-stamping alone" in why(wrong.backdated(BODY, NOW), tsa.chain)


def test_a_second_certificate_of_the_same_number_does_not_lend_its_purpose(tsa, folder):
    """One would be checked for its chain, and the other, made up, for its purpose."""
    server = Tsa.new(folder / "twin", issuer=tsa.issuer, purposes=(ExtendedKeyUsageOID.SERVER_AUTH,), serial=77)
    posing = Issuer.new(tsa.issuer.name)
    forged = Tsa.new(folder / "forged", issuer=posing, serial=77, key=server.key)
    token = server.backdated(BODY, NOW, more=(forged.certificate,))
    assert "once in the token, got it 2 times" in why(token, tsa.chain)


def test_every_changed_byte_of_what_an_authority_signed_shows(tsa, folder):
    lone = Tsa.new(folder / "lone", issuer=tsa.issuer)
    (lone.folder / "chain.pem").write_bytes(lone.certificate.public_bytes(Encoding.PEM))
    token = lone.token(BODY)
    good = check_token(token, BODY, tsa.chain)
    for at in range(0, len(token), 3):
        altered = token[:at] + bytes((token[at] ^ 1,)) + token[at + 1 :]
        try:
            assert check_token(altered, BODY, tsa.chain) == good, f"byte {at} changed what is believed"
        except (TokenRefused, TokenUnreadable):
            continue


@pytest.mark.parametrize(
    "junk",
    [b"", b"0", b"\x30\x00", b"\x30\x80\x00\x00", b"\x30\x84\xff\xff\xff\xff", b"\x3f\x81\x00", bytes(400), b"hello"],
)
def test_what_is_no_token_is_unreadable(tsa, junk):
    with pytest.raises(TokenUnreadable):
        read_token(junk)
    with pytest.raises(TokenUnreadable):
        token_of(junk)
    with pytest.raises(TokenUnreadable):
        read_authorities(junk)


def test_a_token_cut_short_or_longer_is_unreadable(token):
    for altered in (token[:-1], token + b"\0", token + token, bytes(MAX_TOKEN_BYTES + 1)):
        with pytest.raises((TokenUnreadable, TokenRefused)):
            read_token(altered)


def test_an_authority_that_says_no_gives_no_token(tsa):
    refused = tsa.reply(
        der(0x30, der(2, b"\x01"), der(0x30, bytes.fromhex("300906052b0e03021a0500"), der(4, bytes(20))))
    )
    with pytest.raises(TokenRefused, match="rejected the request"):
        token_of(refused)


def test_certificates_without_a_root_say_so(tsa):
    with pytest.raises(TokenUnreadable, match="root"):
        read_authorities(tsa.certificate.public_bytes(Encoding.PEM))


VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "timestamps.json").read_text())


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_tokens_of_the_past_hold_as_the_vectors_say_long_after_their_certificates_have_ended(case):
    body = VECTORS["body"].encode()
    assert imprint_of(body).hex() == VECTORS["imprint"]
    try:
        check_token(bytes.fromhex(case["token"]), body, case["root"].encode())
    except (TokenRefused, TokenUnreadable):
        assert not case["holds"]
    else:
        assert case["holds"]
