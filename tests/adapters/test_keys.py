"""Keys at rest stay closed to others; in use each does one thing; mutual TLS lets in none but the members."""

import base64
import shutil
import ssl
import stat
import subprocess
import sys
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from commonward.adapters.keys import (
    CertificateAuthority,
    KeyFileExposed,
    KeyFileMissing,
    KeyFileUnreadable,
    KeyUnusable,
    MemberKeys,
    StaffKey,
    client_context,
    passphrase_file,
    server_context,
    write_private,
)
from commonward.adapters.keys.pkcs8 import decrypt_key, encrypt_key
from commonward.ledger.ids import Algorithm, BlockTime, LedgerId, MemberId, MemberKind, Purpose
from commonward.ledger.proofs import verify
from commonward.records.certificates import CertificateRefused, check_staff, check_tls, sign_statement
from commonward.records.envelope import EnvelopeError, seal_to

PASSPHRASE = b"correct horse battery"
NOW = BlockTime(1_800_000_000_000)
NORTH = MemberId("north")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A CA and the keys of one member, with a TLS certificate."""
    root = tmp_path_factory.mktemp("north")
    authority = CertificateAuthority.create(root / "ca", "north", PASSPHRASE, NOW)
    keys = MemberKeys.create(root / "keys", NORTH, PASSPHRASE, sequencer=True, validate=True)
    algorithm, public, _ = keys.public(Purpose.TLS)
    keys.install_tls(authority.issue_tls(NORTH, algorithm, public, hosts=["127.0.0.1", "north.example"], starts=NOW))
    return root, authority, keys


# ---------------------------------------------------------------------------------------------------------- at rest


def test_every_key_file_is_encrypted_and_open_to_its_owner_alone(world):
    root, _, _ = world
    files = [*(root / "keys").glob("*-1.pem"), root / "ca" / "ca.key.pem"]
    assert len(files) == len(Purpose) + 2
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert b"BEGIN ENCRYPTED PRIVATE KEY" in path.read_bytes()
    assert stat.S_IMODE((root / "keys").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o604, 0o601])
def test_a_key_file_that_others_may_touch_is_refused(tmp_path, mode):
    path = tmp_path / "words"
    write_private(path, b"secret words\n")
    path.chmod(mode)
    with pytest.raises(KeyFileExposed, match="others may read it"):
        passphrase_file(path)


def test_an_exposed_key_stops_the_whole_member_and_its_tls(tmp_path, world):
    _, authority, _ = world
    keys = MemberKeys.create(tmp_path, NORTH, PASSPHRASE)
    algorithm, public, _ = keys.public(Purpose.TLS)
    keys.install_tls(authority.issue_tls(NORTH, algorithm, public, hosts=["north"], starts=NOW))
    (tmp_path / "tls-1.pem").chmod(0o644)
    with pytest.raises(KeyFileExposed):
        MemberKeys.open(tmp_path, NORTH, PASSPHRASE)
    with pytest.raises(KeyFileExposed):
        server_context(keys, [authority.certificate])


def test_a_link_is_no_key_file(tmp_path):
    write_private(tmp_path / "words", b"secret words")
    (tmp_path / "link").symlink_to(tmp_path / "words")
    with pytest.raises(KeyFileUnreadable):
        passphrase_file(tmp_path / "link")


def test_a_passphrase_comes_from_a_file_without_its_last_newline(tmp_path):
    write_private(tmp_path / "words", b"secret words\n")
    assert passphrase_file(tmp_path / "words") == b"secret words"
    write_private(tmp_path / "none", b"\n")
    with pytest.raises(KeyFileUnreadable):
        passphrase_file(tmp_path / "none")


def test_a_wrong_passphrase_opens_nothing(world):
    root, _, _ = world
    with pytest.raises(KeyFileUnreadable, match="passphrase"):
        MemberKeys.open(root / "keys", NORTH, b"wrong horse battery")


def test_a_key_in_the_clear_is_refused(tmp_path):
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(KeyFileUnreadable, match="encrypted"):
        decrypt_key(pem, PASSPHRASE, tmp_path / "plain.pem")
    with pytest.raises(ValueError, match="passphrase"):
        encrypt_key(Ed25519PrivateKey.generate(), b"")


@pytest.fixture(scope="module")
def costly():
    """PEM of an Ed25519 key as a process of our own makes it: those made in this one are cheap (tests/conftest.py)."""
    make = "import sys; from commonward.adapters.keys.pkcs8 import *; k = Ed25519PrivateKey.generate(); "
    make += f"sys.stdout.buffer.write(encrypt_key(k, {PASSPHRASE!r}))"
    return subprocess.run([sys.executable, "-c", make], capture_output=True, check=True).stdout


def test_openssl_reads_our_key_files(costly, tmp_path):
    (tmp_path / "words").write_bytes(PASSPHRASE)
    command = ["openssl", "pkey", "-noout", "-text", "-passin", f"file:{tmp_path / 'words'}"]
    assert shutil.which("openssl"), "expected the program openssl, found none: run make programs"
    result = subprocess.run(command, input=costly, capture_output=True, check=False)
    assert b"ED25519 Private-Key" in result.stdout, result.stderr


def test_a_guess_at_the_passphrase_of_a_stolen_key_file_takes_16_mib_and_its_time(costly, tmp_path):
    """scrypt (RFC 7914) with N = 2^14, r = 8, p = 1: the file says so, and opens with it."""
    der = base64.b64decode(b"".join(costly.splitlines()[1:-1]))
    assert bytes.fromhex("02024000020108020101") in der
    assert decrypt_key(costly, PASSPHRASE, tmp_path)


def test_making_keys_twice_does_not_lose_the_first(world):
    root, _, keys = world
    with pytest.raises(FileExistsError):
        MemberKeys.create(root / "keys", NORTH, PASSPHRASE)
    with pytest.raises(FileExistsError):
        CertificateAuthority.create(root / "ca", "north", PASSPHRASE, NOW)
    assert MemberKeys.open(root / "keys", NORTH, PASSPHRASE).public(Purpose.OPERATE) == keys.public(Purpose.OPERATE)


def test_a_missing_key_is_named(tmp_path):
    MemberKeys.create(tmp_path, NORTH, PASSPHRASE)
    (tmp_path / "cosign-1.pem").unlink()
    with pytest.raises(KeyFileMissing, match=r"cosign-1\.pem"):
        MemberKeys.open(tmp_path, NORTH, PASSPHRASE)


# ----------------------------------------------------------------------------------------------------------- in use


def test_each_purpose_has_its_own_key_and_its_signatures_verify(world):
    _, _, keys = world
    publics = set()
    for purpose in Purpose:
        algorithm, public, _ = keys.public(purpose)
        publics.add(public)
        if purpose is Purpose.HPKE:
            with pytest.raises(KeyUnusable):
                keys.sign(purpose, b"message")
        else:
            assert algorithm is Algorithm.EDDSA
            assert verify(algorithm, public, b"message", keys.sign(purpose, b"message"))
    assert len(publics) == len(Purpose)


def test_signatures_are_those_of_openssl_and_follow_the_key_into_use(tmp_path):
    keys = MemberKeys.create(tmp_path, NORTH, PASSPHRASE, validate=True)
    for message in (b"", b"message", bytes(5000)):
        openssl = Ed25519PrivateKey.from_private_bytes(keys.seed(Purpose.VALIDATE)).sign(message)
        assert keys.sign(Purpose.VALIDATE, message) == openssl
    before = keys.sign(Purpose.CARRY, b"message")
    keys.stage(Purpose.CARRY)
    keys = keys.activate(Purpose.CARRY)
    algorithm, public, _ = keys.public(Purpose.CARRY)
    assert keys.sign(Purpose.CARRY, b"message") != before
    assert verify(algorithm, public, b"message", keys.sign(Purpose.CARRY, b"message"))


def test_only_the_operator_has_a_sequencer_key(tmp_path):
    keys = MemberKeys.create(tmp_path, NORTH, PASSPHRASE)
    assert not keys.has(Purpose.SEQUENCE)
    with pytest.raises(KeyUnusable, match="sequence"):
        keys.sign(Purpose.SEQUENCE, b"")


def test_only_a_member_under_cometbft_has_a_validator_key_and_only_cometbft_is_given_seeds(tmp_path, world):
    assert not MemberKeys.create(tmp_path, NORTH, PASSPHRASE).has(Purpose.VALIDATE)
    assert not MemberKeys.open(tmp_path, NORTH, PASSPHRASE).has(Purpose.VALIDATE)
    _, _, keys = world
    for purpose in (Purpose.NODE, Purpose.VALIDATE):
        public = Ed25519PrivateKey.from_private_bytes(keys.seed(purpose)).public_key().public_bytes_raw()
        assert public == keys.public(purpose)[1]
    with pytest.raises(KeyUnusable, match="node or validate, got operate"):
        keys.seed(Purpose.OPERATE)


def test_the_storage_keys_stay_the_same_and_differ_from_each_other(world):
    root, _, keys = world
    again = MemberKeys.open(root / "keys", NORTH, PASSPHRASE)
    assert again.storage() == keys.storage()
    assert len({keys.storage().wrap, keys.storage().index}) == 2
    assert len(keys.storage().wrap) == len(keys.storage().index) == 32


def test_what_is_sealed_to_an_old_key_still_opens_after_it_was_replaced(tmp_path):
    keys = MemberKeys.create(tmp_path, NORTH, PASSPHRASE)
    _, public, before = keys.public(Purpose.HPKE)
    sealed = seal_to(public, b"for north", b"a bundle", b"tag")
    keys.stage(Purpose.HPKE)
    assert keys.public(Purpose.HPKE)[2] == before  # staged is not in use
    keys = keys.activate(Purpose.HPKE)
    assert keys.public(Purpose.HPKE)[2] != before
    assert keys.open_sealed(b"for north", sealed, b"tag") == b"a bundle"
    with pytest.raises(EnvelopeError):
        keys.open_sealed(b"for south", sealed, b"tag")


def test_a_staged_key_proves_possession_before_it_is_used(tmp_path):
    keys = MemberKeys.create(tmp_path, NORTH, PASSPHRASE)
    algorithm, public, identity = keys.stage(Purpose.OPERATE)
    assert verify(algorithm, public, b"possession", keys.sign_staged(Purpose.OPERATE, b"possession"))
    assert keys.activate(Purpose.OPERATE).public(Purpose.OPERATE)[2] == identity


# ----------------------------------------------------------------------------------------------------- certificates


def test_a_staff_certificate_is_what_the_profile_says_and_signs(world, tmp_path):
    _, authority, _ = world
    staff = StaffKey.issue(
        authority, NORTH, role="clinician", department="cardiology", number="7f3a", starts=NOW, life_ms=8 * 3_600_000
    )
    found = check_staff(staff.certificate, authority.certificate, NORTH, MemberKind.HOSPITAL, BlockTime(NOW + 1))
    assert (found.role, found.department, found.number) == ("clinician", "cardiology", "7f3a")
    ledger = LedgerId(bytes(32))
    said = sign_statement(ledger, b"a request", staff.certificate, staff.sign)
    said.check(ledger, authority.certificate, NORTH, MemberKind.HOSPITAL, NOW)
    with pytest.raises(CertificateRefused):
        said.check(LedgerId(b"\x01" * 32), authority.certificate, NORTH, MemberKind.HOSPITAL, NOW)
    staff.save(tmp_path / "staff.pem", PASSPHRASE)
    assert StaffKey.open(tmp_path / "staff.pem", PASSPHRASE).certificate == staff.certificate


def test_nobody_is_certified_for_longer_than_a_day(world):
    _, authority, _ = world
    with pytest.raises(KeyUnusable, match="24 hours"):
        StaffKey.issue(
            authority, NORTH, role="clinician", department="x", number="1", starts=NOW, life_ms=25 * 3_600_000
        )


def test_a_tls_certificate_holds_the_registered_key(world):
    _, authority, keys = world
    leaf = check_tls(keys.tls_certificate, authority.certificate, "north", NOW)
    assert (leaf.algorithm, leaf.public) == keys.public(Purpose.TLS)[:2]
    with pytest.raises(CertificateRefused, match="south"):
        check_tls(keys.tls_certificate, authority.certificate, "south", NOW)


def test_the_certificate_of_another_key_is_not_installed(world):
    _, authority, keys = world
    algorithm, public, _ = keys.public(Purpose.NODE)
    with pytest.raises(KeyUnusable):
        keys.install_tls(authority.issue_tls(NORTH, algorithm, public, hosts=["north"], starts=NOW))


# -------------------------------------------------------------------------------------------------------------- TLS


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[bytes | None, bytes | None, str | None]:
    """A handshake in memory. Returns what each end got of the other, and the protocol. Raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    left = client.wrap_bio(to_client, to_server)
    right = server.wrap_bio(to_server, to_client, server_side=True)
    done = [False, False]
    for _ in range(10):
        for i, end in enumerate((left, right)):
            try:
                end.do_handshake()
                done[i] = True
            except ssl.SSLWantReadError:
                pass
    assert all(done)
    return left.getpeercert(binary_form=True), right.getpeercert(binary_form=True), left.version()


@pytest.fixture
def today(tmp_path):
    """CA and keys whose certificates are valid on this machine's clock, which the TLS library reads by itself."""
    now = BlockTime(int(time.time()) * 1000 - 60_000)

    def make(name: str) -> tuple[CertificateAuthority, MemberKeys]:
        authority = CertificateAuthority.create(tmp_path / name / "ca", name, PASSPHRASE, now)
        keys = MemberKeys.create(tmp_path / name / "keys", MemberId(name), PASSPHRASE)
        algorithm, public, _ = keys.public(Purpose.TLS)
        keys.install_tls(authority.issue_tls(MemberId(name), algorithm, public, hosts=["127.0.0.1"], starts=now))
        return authority, keys

    return make


def test_two_members_meet_over_mutual_tls_1_3(today):
    (north_ca, north), (south_ca, south) = today("north"), today("south")
    authorities = [north_ca.certificate, south_ca.certificate]
    seen_by_client, seen_by_server, version = shake_hands(
        server_context(north, authorities), client_context(south, authorities)
    )
    assert (seen_by_client, seen_by_server, version) == (north.tls_certificate, south.tls_certificate, "TLSv1.3")


def test_a_stranger_with_a_ca_of_its_own_is_turned_away(today):
    (north_ca, north), (stranger_ca, stranger) = today("north"), today("stranger")
    with pytest.raises(ssl.SSLError):
        shake_hands(
            server_context(north, [north_ca.certificate]),
            client_context(stranger, [north_ca.certificate, stranger_ca.certificate]),
        )


def test_a_client_without_a_certificate_is_turned_away(today):
    north_ca, north = today("north")
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname = False
    bare.load_verify_locations(cadata=north_ca.certificate)
    with pytest.raises(ssl.SSLError):
        shake_hands(server_context(north, [north_ca.certificate]), bare)


def test_older_tls_is_turned_away(today):
    north_ca, north = today("north")
    old = client_context(north, [north_ca.certificate])
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake_hands(server_context(north, [north_ca.certificate]), old)
