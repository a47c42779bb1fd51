"""The software passkey keeps the promises that browsers and authenticators make."""

import hashlib
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from commonward.apps.signing.passkey import NotVerified, SoftwarePasskey, WrongRelyingParty

RP_ID = "sign.consortium.example"
PAGE = "https://north.sign.consortium.example"


def test_an_assertion_verifies_over_what_a_browser_signs() -> None:
    passkey = SoftwarePasskey.create(PAGE, RP_ID)
    answer = passkey.get(PAGE, RP_ID, b"\x07" * 32)
    x, y = passkey.public_key[:32], passkey.public_key[32:]
    public = ec.EllipticCurvePublicNumbers(
        int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1()
    ).public_key()
    signed = answer.authenticator_data + hashlib.sha256(answer.client_data).digest()
    public.verify(answer.signature, signed, ec.ECDSA(hashes.SHA256()))
    assert answer.client_data.startswith(b'{"type":"webauthn.get","challenge":"BwcH')
    assert len(answer.authenticator_data) == 37


@pytest.mark.parametrize(
    "origin",
    ["https://portal.example", "http://north.sign.consortium.example", "https://evilsign.consortium.example"],
)
def test_a_page_outside_the_signing_site_cannot_ask_for_its_passkeys(origin: str) -> None:
    passkey = SoftwarePasskey.create(PAGE, RP_ID)
    with pytest.raises(WrongRelyingParty):
        passkey.get(origin, RP_ID, bytes(32))


def test_a_portal_that_asks_a_passkey_for_a_consent_digest_as_sign_in_gets_nothing() -> None:
    passkey = SoftwarePasskey.create(PAGE, RP_ID)
    with pytest.raises(WrongRelyingParty):
        passkey.get("https://portal.north.example", "portal.north.example", hashlib.sha256(b"a consent").digest())


def test_a_saved_passkey_opens_with_its_pin_alone_and_is_not_world_readable(tmp_path: Path) -> None:
    passkey = SoftwarePasskey.create(PAGE, RP_ID)
    path = tmp_path / "passkey.json"
    passkey.save(path, b"314159")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(NotVerified):
        SoftwarePasskey.load(path, b"000000")
    again = SoftwarePasskey.load(path, b"314159")
    assert again.public_key == passkey.public_key
    assert again.prf(b"sealing") == passkey.prf(b"sealing") != passkey.prf(b"other")
