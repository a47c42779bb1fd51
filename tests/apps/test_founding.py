"""A consortium founded on disk: every folder whole, nothing of it readable by others."""

import stat
from importlib.resources import files
from pathlib import Path

import pytest

from commonward.adapters.keys import MemberKeys
from commonward.apps.founding import CannotFound, found, plan
from commonward.apps.planning import NOBODY, MemberPlan, by_number, ports, read
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


def consensus(directory: Path, members: list[MemberPlan]) -> SignedGenesis:
    made = found(directory, members, name="Together", operator=NOBODY, sequencer=None, now=NOW, tables={}, tick_ms=1000)
    return made.genesis


def test_where_the_members_order_together_each_can_validate_and_nobody_sequences(tmp_path: Path) -> None:
    genesis = consensus(tmp_path / "c", plan((), "127.0.0.1", 7400, "cometbft")).genesis
    assert genesis.consensus and not genesis.pilot
    assert {each.id: each.weight for each in genesis.members} == {
        "authority": 1, "clinic": 1, "insurer": 0, "north": 1, "south": 1,
    }  # fmt: skip
    for member in genesis.members:
        folder = tmp_path / "c" / "members" / member.id
        settings = load(folder, {})
        assert settings.engine == "cometbft" and settings.sequencer is None
        assert set(settings.p2p_peers) == set(settings.peers) == {each.id for each in genesis.members} - {member.id}
        keys = MemberKeys.open(folder / "keys", member.id, settings.passphrase())
        assert keys.has(Purpose.VALIDATE) and not keys.has(Purpose.SEQUENCE)
        assert settings.comet_home.is_dir()


def test_a_folder_names_no_path_of_the_machine_it_was_made_on(tmp_path: Path) -> None:
    consensus(tmp_path / "c", by_number(4, "127.0.0.1", 7400, "cometbft"))
    for path in (tmp_path / "c" / "members").rglob("*"):
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes(), path
    moved = tmp_path / "elsewhere"
    (tmp_path / "c" / "members" / "north").rename(moved)
    settings = load(moved, {})
    assert settings.passphrase() and settings.comet_home == moved / "cometbft"


@pytest.mark.parametrize("count", [1, 3, 4, 7, 30])
@pytest.mark.parametrize("engine", ["solo", "cometbft"])
def test_members_by_number_have_ids_and_ports_of_their_own(count: int, engine: str) -> None:
    members = by_number(count, "127.0.0.1", 7400, engine)
    assert len({each.id for each in members}) == len({each.origin for each in members}) == count
    doors = [at for each in members for at in (each.listen, each.signing, each.p2p) if at is not None]
    assert len({at.port for at in doors}) == len(doors) == (3 if engine == "cometbft" else 2) * count
    assert all(7400 < at.port < 7400 + ports(count, engine) for at in doors)


def test_fewer_than_four_who_validate_are_a_pilot(tmp_path: Path) -> None:
    assert consensus(tmp_path / "three", by_number(3, "127.0.0.1", 7400, "cometbft")).genesis.pilot
    assert not consensus(tmp_path / "four", by_number(4, "127.0.0.1", 7400, "cometbft")).genesis.pilot


def test_the_example_of_a_file_of_members_founds(tmp_path: Path) -> None:
    file = tmp_path / "members.toml"
    file.write_text(files("commonward.apps.network").joinpath("members.toml").read_text())
    planned = read(file)
    assert planned.engine == "cometbft" and len(planned.members) == 4
    consensus(tmp_path / "c", list(planned.members))
    settings = load(tmp_path / "c" / "members" / "north", {})
    assert settings.p2p == Address(host="node.north.example", port=7403)
    assert settings.peers["clinic"] == Address(host="node.clinic.example", port=7401)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (('engine = "cometbft"', 'engine = "raft"'), "engine: expected solo or cometbft"),
        (('id = "clinic"', 'id = "north"'), "member 2: another is called north"),
        (('id = "clinic"', 'id = "Clinic"'), "member 2: id"),
        (('kind = "insurer"', 'kind = "bank"'), r"member 3 \(insurer\): kind: expected one of"),
        (('kind = "insurer"', 'kind = "insurer"\ntier = 2'), "tier: only a hospital has one"),
        (("tier = 3 ", "tier = 4 "), "tier: expected a whole number from 1 to 3"),
        (("weight = 1 ", "weight = -1 "), "weight: expected a whole number"),
        (('p2p = "node.north.example:7403"', ""), r"member 1 \(north\): p2p: expected HOST:PORT"),
        (('p2p = "node.north.example:7403"', 'p2p = "node.north.example:7401"'), "north's listen and north's p2p"),
        (('engine = "cometbft"', 'engine = "solo"'), "unknown entry 'p2p'"),
        (("tick_ms = 60000", "ticks = 1"), "unknown entry 'ticks'"),
        (("[[member]]", "[[members]]"), "unknown entry 'members'"),
    ],
)
def test_a_file_of_members_that_cannot_be_used_says_where(tmp_path: Path, change: tuple[str, str], named: str) -> None:
    file = tmp_path / "members.toml"
    text = files("commonward.apps.network").joinpath("members.toml").read_text()
    assert change[0] in text
    file.write_text(text.replace(*change))
    with pytest.raises(CannotFound, match=named):
        read(file)


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
