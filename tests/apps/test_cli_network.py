"""A consortium of many from the command line: founded by number or from a file, run, seen, and none left behind."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commonward.apps import running
from commonward.apps.settings import load
from commonward.ledger.genesis import SignedGenesis
from tests.apps.conftest import free_ports, waits
from tests.cli_world import begun, commonward

PATIENCE_S = 120.0


def test_a_network_is_founded_by_number_and_its_folders_are_ready_to_run(tmp_path: Path) -> None:
    ran = commonward("network", "init", tmp_path / "c", "--members", 4, "--tick", 1000, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["engine"] == "cometbft" and ran.json["operator"] is None and not ran.json["pilot"]
    assert ran.json["validators"] == ran.json["members"] == ["north", "clinic", "south", "authority"]
    genesis = SignedGenesis.parse((tmp_path / "c" / "genesis.cwg").read_bytes()).genesis
    assert genesis.consensus and genesis.ledger_id.hex() == ran.json["ledger"]
    for member in ran.json["members"]:
        assert load(tmp_path / "c" / "members" / member, {}).engine == "cometbft"


def test_init_founds_for_either_engine(tmp_path: Path) -> None:
    together = commonward("init", tmp_path / "a", "--engine", "cometbft", "--json")
    assert (
        together.json["validators"] == ["north", "clinic", "south", "authority"] and len(together.json["members"]) == 5
    )
    alone = commonward("network", "init", tmp_path / "b", "--members", 4, "--engine", "solo", "--json")
    assert alone.json["operator"] == "authority" and alone.json["validators"] == []


def test_the_example_of_members_founds_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "members.toml").write_text(commonward("network", "example").out)
    ran = commonward("network", "init", tmp_path / "c", "--file", tmp_path / "members.toml", "--json")
    assert ran.code == 0 and ran.json["members"] == ["north", "clinic", "insurer", "authority"], ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--members NUMBER or --file FILE"),
        (("--members", 4, "--file", "x"), "one of the two"),
        (("--members", 4, "--engine", "raft"), "expected solo or cometbft"),
        (("--file", "nowhere.toml"), "cannot be read"),
        (("--members", 4000), "expected 1 to 200"),
    ],
)
def test_what_cannot_be_founded_is_named_and_nothing_is_made(tmp_path: Path, words: Any, said: str) -> None:
    ran = commonward("network", "init", tmp_path / "c", *words)
    assert ran.code == 2 and said in ran.err
    assert not (tmp_path / "c").exists()


def test_a_folder_that_is_none_of_ours_says_what_makes_one(tmp_path: Path) -> None:
    ran = commonward("network", "status", tmp_path)
    assert ran.code == 2 and "commonward network init" in ran.err


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("network") / "c"
    port = free_ports(13)
    assert commonward("network", "init", directory, "--members", 4, "--tick", 1000, "--port", port).code == 0
    try:
        up = commonward("network", "up", directory, "--wait", PATIENCE_S, "--once", "--json")
        assert up.code in (0, 3), up.err  # it may still be electing its first block
        yield directory
    finally:
        running.stop(directory)


def status(directory: Path) -> dict[str, Any]:
    ran = commonward("network", "status", directory, "--json")
    found = ran.json
    assert isinstance(found, dict) and (ran.code == 0) == found["well"], ran.err
    return found


def well(directory: Path) -> dict[str, Any]:
    """The status once nothing is wrong."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := status(directory))["well"]:
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    return found


def comets(directory: Path) -> list[int]:
    """Pids of the CometBFT processes of a network."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            command = (each / "cmdline").read_bytes()
        except OSError:
            continue
        if b"cometbft" in command.split(b"\0")[0] and str(directory).encode() in command:
            found.append(int(each.name))
    return found


def test_a_network_is_well_and_one_that_is_killed_is_named_and_comes_back(network: Path) -> None:
    seen = well(network)
    assert [node["member"] for node in seen["nodes"]] == ["authority", "clinic", "north", "south"]
    for node in seen["nodes"]:
        assert node["same_root"] is True and node["weight"] == 1 and len(node["of"]) == 3
    assert len(comets(network)) == 4

    os.kill(running.processes(network)["south"], signal.SIGKILL)
    assert waits(lambda: len(comets(network)) == 3, PATIENCE_S), "a node that is killed takes its CometBFT with it"
    assert waits(lambda: "south is down" in [each["what"] for each in status(network)["troubles"]], PATIENCE_S)
    before = status(network)["height"]
    assert waits(lambda: status(network)["height"] > before, PATIENCE_S), "three of four go on"

    again = commonward("up", network, "--wait", PATIENCE_S, "--json")
    assert again.code == 0, again.err
    well(network)


def test_a_member_sees_the_others_through_its_own_node(network: Path) -> None:
    well(network)
    seen = status(network / "members" / "north")
    assert [node["member"] for node in seen["nodes"]] == ["north"]
    assert {each["member"] for each in seen["elsewhere"]} == {"authority", "clinic", "south"}


def test_watching_writes_lines_until_it_is_interrupted(network: Path) -> None:
    watching = begun("network", "status", network, "--watch", "--json", "--every", "0.5")
    try:
        assert watching.stdout is not None
        deadline, text = time.monotonic() + PATIENCE_S, b""
        while text.count(b"\n") < 2 and time.monotonic() < deadline:
            if select.select([watching.stdout], [], [], 1.0)[0]:
                text += os.read(watching.stdout.fileno(), 1 << 16)
        assert all(json.loads(line)["name"] for line in text.splitlines()[:2])
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE_S) == 0
    finally:
        watching.kill()
        watching.wait()


def test_down_leaves_no_process_behind(network: Path) -> None:
    assert set(commonward("down", network, "--json").json["stopped"]) == {"authority", "clinic", "north", "south"}
    assert waits(lambda: not comets(network), PATIENCE_S)
    assert running.processes(network) == {}
    what = status(network)["troubles"][0]
    assert what["grave"] and "no node answers" in what["what"]
