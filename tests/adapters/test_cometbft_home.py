"""A member's CometBFT home: what CometBFT itself reads in it, and what must never be made up."""

import json
import subprocess
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from commonward.adapters.cometbft.home import (
    VOTE_STATE,
    Facts,
    Home,
    HomeDamaged,
    StateSync,
    Tuning,
    chain_id,
    node_id,
)
from commonward.ledger.ids import MemberId, Purpose
from commonward.ledger.members import read_validators, validator_address
from tests.ledgerkit import START, Kit, demo_genesis, member_soft_key
from tests.network.net import VERSIONS, binary_of

GENESIS = demo_genesis(consensus=True, weights={"shield": 0})
NODE, VALIDATE = member_soft_key("north", Purpose.NODE), member_soft_key("north", Purpose.VALIDATE)
SOUTH = node_id(member_soft_key("south", Purpose.NODE).public)


def written(folder: Path, **more: object) -> Home:
    home = Home(folder / "cometbft")
    facts = Facts(member=MemberId("north"), listen="127.0.0.1:26656", peers={SOUTH: "10.0.0.2:26656"}, **more)  # type: ignore[arg-type]
    home.write(GENESIS, facts, Tuning())
    return home


def config(home: Home) -> dict[str, Any]:
    return tomllib.loads((home.directory / "config" / "config.toml").read_text())


def genesis_file(home: Home) -> dict[str, Any]:
    return json.loads((home.directory / "config" / "genesis.json").read_bytes())  # type: ignore[no-any-return]


@pytest.mark.parametrize("version", VERSIONS)
def test_cometbft_reads_its_keys_and_its_settings_as_we_wrote_them(tmp_path: Path, version: str) -> None:
    home = written(tmp_path)
    home.reveal(NODE.seed, VALIDATE.seed)

    def says(*words: str) -> str:
        command = [str(binary_of(version)), *words, "--home", str(home.directory)]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    assert says("show-node-id") == node_id(NODE.public) == validator_address(NODE.public).hex()
    shown = json.loads(says("show-validator"))
    assert shown["type"] == "tendermint/PubKeyEd25519"
    file = json.loads((home.directory / "config" / "priv_validator_key.json").read_bytes())
    assert file["pub_key"] == shown
    assert file["address"] == validator_address(VALIDATE.public).hex().upper()


def test_private_keys_are_this_members_alone_and_gone_once_concealed(tmp_path: Path) -> None:
    home = written(tmp_path)
    home.reveal(NODE.seed, VALIDATE.seed)
    for name in ("node_key.json", "priv_validator_key.json"):
        assert (home.directory / "config" / name).stat().st_mode & 0o777 == 0o600
    home.conceal()
    assert not list((home.directory / "config").glob("*key*"))
    home.conceal()  # again is no error: it is called wherever CometBFT may have ended


def test_a_vote_state_is_never_reset(tmp_path: Path) -> None:
    """What this validator signed last outlives every start, or it would sign a second block of that height."""
    home = written(tmp_path)
    state = home.directory / VOTE_STATE
    state.write_text('{"height": "77", "round": 1, "step": 3}')
    written(tmp_path)
    assert json.loads(state.read_text())["height"] == "77"
    assert home.signed_height() == 77


def test_a_lost_vote_state_is_not_made_up_where_there_are_blocks(tmp_path: Path) -> None:
    home = written(tmp_path)
    (home.directory / "data" / "blockstore.db").mkdir()
    (home.directory / VOTE_STATE).unlink()
    with pytest.raises(HomeDamaged, match="could sign twice"):
        written(tmp_path)
    assert not (home.directory / VOTE_STATE).exists()


def test_genesis_names_the_validators_that_the_state_names(tmp_path: Path) -> None:
    made = genesis_file(written(tmp_path))
    expected = {
        (validator_address(each.public).hex().upper(), str(each.power), each.member)
        for each in read_validators(Kit(genesis=GENESIS).machine.view())
    }
    assert len(expected) == 4
    validators = made["validators"]
    assert isinstance(validators, list)
    assert {(each["address"], each["power"], each["name"]) for each in validators} == expected
    assert made["chain_id"] == chain_id(GENESIS) == f"commonward-{GENESIS.ledger_id.hex()[:16]}"


def test_the_chain_begins_one_millisecond_after_genesis(tmp_path: Path) -> None:
    """The first block's time is CometBFT's genesis time, and must come after that of our block 0."""
    assert START == 1_790_000_000_000
    assert genesis_file(written(tmp_path))["genesis_time"] == "2026-09-21T14:13:20.001Z"


def test_nothing_but_p2p_listens_on_the_network_and_an_idle_chain_rests(tmp_path: Path) -> None:
    made = config(written(tmp_path))
    assert str(made["rpc"]["laddr"]).startswith("unix://")
    assert str(made["proxy_app"]).startswith("unix://")
    assert made["p2p"]["laddr"] == "tcp://127.0.0.1:26656"
    assert made["p2p"]["persistent_peers"] == f"{SOUTH}@10.0.0.2:26656"
    assert made["p2p"]["pex"] is False and made["filter_peers"] is True
    assert made["consensus"]["create_empty_blocks"] is False
    assert made["consensus"]["create_empty_blocks_interval"] == "5000ms"
    assert made["tx_index"]["indexer"] == "null"
    assert made["statesync"]["enable"] is False
    assert made["instrumentation"]["prometheus"] is False


def test_a_newcomer_is_told_where_to_start(tmp_path: Path) -> None:
    sync = StateSync(servers=("http://a:1", "http://b:1"), height=90, hash="AB")
    made = config(written(tmp_path, state_sync=sync))["statesync"]
    assert (made["enable"], made["rpc_servers"], made["trust_height"], made["trust_hash"]) == (
        True, "http://a:1,http://b:1", 90, "AB",
    )  # fmt: skip


def test_a_socket_is_reached_however_long_the_path_to_the_home(tmp_path: Path) -> None:
    with TemporaryDirectory() as short:
        near, far = Home(Path(short)), Home(tmp_path / ("long" * 30) / "cometbft")
        assert near.socket("abci.sock") == Path(short) / "abci.sock"
        path = far.socket("abci.sock")
        assert len(str(path)) < 100
        path.write_text("here")
        assert (far.directory / "abci.sock").read_text() == "here"
        far.close()
        near.close()


def test_a_state_sync_begins_anew_without_what_an_earlier_one_left_but_never_without_what_was_signed(
    tmp_path: Path,
) -> None:
    home = written(tmp_path)
    data = home.directory / "data"
    (data / "state.db").mkdir()
    (data / "state.db" / "000001.log").write_bytes(b"bootstrapped")
    voted = (home.directory / VOTE_STATE).read_bytes()
    home.start_over()
    assert not (data / "state.db").exists() and (home.directory / VOTE_STATE).read_bytes() == voted

    (data / "blockstore.db").mkdir()
    home.begin()
    home.start_over()
    assert (data / "blockstore.db").exists(), "who has a block goes on with it"


def test_a_home_that_lost_what_was_signed_is_not_emptied(tmp_path: Path) -> None:
    """Empty, it would get a vote state that says nothing was signed."""
    home = written(tmp_path)
    (home.directory / "data" / "blockstore.db").mkdir()
    (home.directory / VOTE_STATE).unlink()
    home.start_over()
    with pytest.raises(HomeDamaged):
        written(tmp_path)
