"""A node's settings are read once, and what is wrong is named."""

from pathlib import Path

import pytest

from commonward.apps.settings import Address, BadSettings, load
from commonward.apps.wiring import open_stamping

GOOD = """
member = "north"
listen = "127.0.0.1:7001"
signing = "127.0.0.1:7002"
sequencer = "127.0.0.1:7000"
passphrase_file = "passphrase"
[peers]
south = "127.0.0.1:7003"
"""


def written(tmp_path: Path, text: str) -> Path:
    (tmp_path / "node.toml").write_text(text)
    return tmp_path


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    settings = load(written(tmp_path, GOOD), {"COMMONWARD_GRACE_MS": "1000"})
    assert settings.grace_ms == 1000
    assert settings.peers == {"south": Address(host="127.0.0.1", port=7003)}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("member", "memmber"), "unknown entry 'memmber'"),
        (('"127.0.0.1:7001"', '"127.0.0.1"'), "listen: expected HOST:PORT"),
        (('"127.0.0.1:7003"', '"south:0"'), "peers.south"),
        (('member = "north"', ""), "'member' is missing"),
        (("[peers]", "[peers"), "node.toml"),
        (('sequencer = "127.0.0.1:7000"', ""), "'sequencer' is missing, which engine = 'solo' needs"),
        (("[peers]", 'engine = "raft"\n[peers]'), "engine: expected solo or cometbft, got 'raft'"),
        (("[peers]", 'p2p = "127.0.0.1:7004"\n[peers]'), "'p2p' means nothing to engine = 'solo'"),
        (("[peers]", "idle_block_s = 30\n[peers]"), "idle_block_s: expected 1 to 20 seconds, got 30"),
        (("[peers]", "keep_blocks = 399999\n[peers]"), "keep_blocks: expected 0, or at least 400,000, got 399999"),
        (("[peers]", "keep_blocks = -1\n[peers]"), "keep_blocks: expected a whole number, got -1"),
        (("[peers]", "snapshot_every = 99\n[peers]"), "snapshot_every: expected 0, or at least 100, got 99"),
        (("[peers]", 'tsa_url = "http://tsa/"\n[peers]'), "'tsa_certificate' is missing, which tsa_url needs"),
        (("[peers]", 'tsa_url = "tsa:80"\n[peers]'), "tsa_url: expected an address that starts with http"),
        (("[peers]", "tsa_every_s = 5\n[peers]"), "tsa_every_s: expected at least 60 seconds, got 5"),
    ],
)
def test_a_bad_entry_is_named(tmp_path: Path, change: tuple[str, str], named: str) -> None:
    with pytest.raises(BadSettings, match=named.replace("[", r"\[")):
        load(written(tmp_path, GOOD.replace(*change)), {})


CONSENSUS = (
    GOOD.replace('sequencer = "127.0.0.1:7000"', 'engine = "cometbft"\np2p = "127.0.0.1:7004"')
    + """
[p2p_peers]
south = "127.0.0.1:7005"
"""
)


def test_each_engine_is_told_what_it_needs_and_nothing_else(tmp_path: Path) -> None:
    settings = load(written(tmp_path, CONSENSUS), {})
    assert settings.engine == "cometbft" and settings.sequencer is None
    assert settings.p2p == Address(host="127.0.0.1", port=7004)
    assert settings.p2p_peers == {"south": Address(host="127.0.0.1", port=7005)}
    assert settings.comet_home == tmp_path / "cometbft"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (('p2p = "127.0.0.1:7004"', ""), "'p2p' is missing, which engine = 'cometbft' needs"),
        (("[p2p_peers]", "[others]"), "unknown entry 'others'"),
        (('"127.0.0.1:7005"', '"south"'), "p2p_peers.south: expected HOST:PORT"),
        (("[peers]", 'sequencer = "127.0.0.1:7000"\n[peers]'), "'sequencer' means nothing to engine = 'cometbft'"),
    ],
)
def test_a_bad_entry_for_consensus_is_named(tmp_path: Path, change: tuple[str, str], named: str) -> None:
    with pytest.raises(BadSettings, match=named):
        load(written(tmp_path, CONSENSUS.replace(*change)), {})


def test_a_passphrase_that_others_can_read_is_refused(tmp_path: Path) -> None:
    settings = load(written(tmp_path, GOOD), {})
    (tmp_path / "passphrase").write_text("correct horse battery")
    (tmp_path / "passphrase").chmod(0o644)
    with pytest.raises(BadSettings, match="open to others"):
        settings.passphrase()
    (tmp_path / "passphrase").chmod(0o600)
    assert settings.passphrase() == b"correct horse battery"


def test_a_directory_without_settings_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="commonward init"):
        load(tmp_path, {})


def test_a_time_stamping_authority_whose_certificates_cannot_judge_its_tokens_is_refused_at_start(
    tmp_path: Path,
) -> None:
    asked = GOOD.replace("[peers]", 'tsa_url = "http://127.0.0.1:9/"\ntsa_certificate = "tsa.pem"\n[peers]')
    settings = load(written(tmp_path, asked), {})
    with pytest.raises(BadSettings, match=r"tsa_certificate: cannot read .*tsa\.pem"):
        open_stamping(settings)
    (tmp_path / "tsa.pem").write_text("no certificate")
    with pytest.raises(BadSettings, match=r"tsa_certificate: .*expected certificates in PEM"):
        open_stamping(settings)
    assert open_stamping(load(written(tmp_path, GOOD), {})) is None
