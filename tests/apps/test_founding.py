"""A consortium founded on disk: every folder whole, nothing of it readable by others."""

import stat
from pathlib import Path

import pytest

from commonward.adapters.keys import MemberKeys
from commonward.apps.founding import CannotFound, found, plan
from commonward.apps.settings import Address, load
from commonward.ledger.genesis import SignedGenesis
from commonward.ledger.ids import BlockTime, MemberId, Purpose

NOW = BlockTime(1_790_000_000_000)


def make(directory: Path) -> None:
    members = plan((), "127.0.0.1", 7400)
    found(
        directory,
        members,
        name="Test consortium",
        operator=MemberId("authority"),
        sequencer=Address(host="127.0.0.1", port=7400),
        now=NOW,
        tables={},
        tick_ms=1000,
    )


def test_every_member_gets_keys_settings_and_the_same_signed_genesis(tmp_path: Path) -> None:
    make(tmp_path / "c")
    genesis = SignedGenesis.parse((tmp_path / "c" / "genesis.cwg").read_bytes())
    assert [each.id for each in genesis.genesis.members] == ["authority", "clinic", "insurer", "north", "south"]
    for member in genesis.genesis.members:
        folder = tmp_path / "c" / "members" / member.id
        settings = load(folder, {})
        assert settings.member == member.id and len(settings.peers) == 4
        keys = MemberKeys.open(folder / "keys", member.id, settings.passphrase())
        assert keys.has(Purpose.SEQUENCE) == (member.id == "authority")
        assert SignedGenesis.parse((folder / "genesis.cwg").read_bytes()).genesis.ledger_id == genesis.genesis.ledger_id


def test_no_private_file_is_readable_by_others(tmp_path: Path) -> None:
    make(tmp_path / "c")
    for path in (tmp_path / "c" / "members").rglob("*"):
        if path.is_dir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
        if path.name == "passphrase" or (path.suffix == ".pem" and "PRIVATE" in path.read_text()):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


@pytest.mark.parametrize("text", ["north", "north:hospital", "insurer:insurer:2", "North:hospital:3", "x:bank"])
def test_a_member_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(CannotFound, match=text.split(":")[0]):
        plan([text], "127.0.0.1", 7400)


def test_a_directory_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "something").write_text("mine")
    with pytest.raises(CannotFound, match="not empty"):
        make(tmp_path)
