"""A member's CA is replaced by vote: made beside the old one, and put in its place only once the ledger knows it."""

from pathlib import Path

import pytest
from cryptography import x509

from commonward.adapters.keys import CertificateAuthority
from commonward.adapters.store.state import RocksStore
from commonward.apps.renewing import hosts_of
from commonward.apps.settings import load
from commonward.apps.wiring import open_keys, read_genesis
from commonward.ledger.ids import BlockTime
from commonward.ledger.members import certificate_key
from commonward.ledger.merkle.log import MemoryLogStore
from commonward.ledger.transition import Machine
from commonward.records.certificates import check_tls
from tests.cli_world import commonward, copied, found_pilot


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return found_pilot(tmp_path_factory.mktemp("pilot") / "c", port=17_480)


@pytest.fixture
def data(pilot: Path, tmp_path: Path) -> Path:
    return copied(pilot, tmp_path / "north")


def vote_for(data: Path, certificate: bytes) -> None:
    """As if the members had carried it: the state that this member's node keeps."""
    store = RocksStore(data / "ledger" / "state")
    Machine(read_genesis(load(data)), store, MemoryLogStore(), map_bits=8)
    store.write({b"s" + certificate_key("north"): certificate})
    store.close()


def test_a_ca_that_the_members_voted_for_takes_the_old_ones_place(data: Path) -> None:
    settings = load(data)
    old = CertificateAuthority.open(data / "ca", settings.passphrase()).certificate
    assert commonward("member", "new-ca", "--data", data).code == 0
    made = CertificateAuthority.open(data / "ca-next", settings.passphrase()).certificate
    assert made != old and CertificateAuthority.open(data / "ca", settings.passphrase()).certificate == old
    vote_for(data, made)
    ran = commonward("member", "adopt-ca", "--data", data)
    assert ran.code == 0 and "Restart the node" in ran.out, ran.err
    assert CertificateAuthority.open(data / "ca", settings.passphrase()).certificate == made
    (aside,) = data.glob("ca-until-*")
    assert CertificateAuthority.open(aside, settings.passphrase()).certificate == old
    tls = open_keys(settings).tls_certificate
    starts = BlockTime(int(x509.load_der_x509_certificate(tls).not_valid_before_utc.timestamp() * 1000))
    check_tls(tls, made, "north", starts)
    assert not (data / "ca-next").exists()


def test_a_ca_that_the_members_did_not_vote_for_is_not_adopted(data: Path) -> None:
    assert commonward("member", "adopt-ca", "--data", data).code == 2
    assert commonward("member", "new-ca", "--data", data).code == 0
    before = {path.name: path.read_bytes() for path in (data / "ca").iterdir()}
    ran = commonward("member", "adopt-ca", "--data", data)
    assert ran.code == 2 and "have to vote" in ran.err
    assert {path.name: path.read_bytes() for path in (data / "ca").iterdir()} == before
    ran = commonward("member", "new-ca", "--data", data)
    assert ran.code == 2 and "exists" in ran.err, "a second one would leave the vote on the first worthless"


def test_a_certificate_names_all_under_which_the_node_is_called(data: Path) -> None:
    settings = load(data)
    machine = Machine(read_genesis(settings), RocksStore(data / "x"), MemoryLogStore(), map_bits=8)
    assert hosts_of(settings, machine.view().roll) == ["127.0.0.1", "localhost", "north.sign.commonward.example"]
