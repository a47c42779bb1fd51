"""A validator's machine dies, and it comes back from its backup on another: it follows, and never votes twice."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from commonward.apps import founding, running
from commonward.apps.api.client import ControlClient, NodeAway, NodeRefused
from commonward.apps.backup import VOTES
from commonward.apps.planning import NOBODY, by_number
from commonward.apps.settings import load
from commonward.apps.wiring import WallClock
from commonward.records.jurisdiction import default_jurisdiction
from commonward.records.sensitivity import default_sensitivity
from tests.apps.conftest import free_ports
from tests.cli_world import commonward
from tests.network.telling import last_lines

PATIENCE_S = 240.0
VALIDATORS = ("authority", "clinic", "north", "south")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("restored") / "c"
    founding.found(
        directory,
        by_number(4, "127.0.0.1", free_ports(20), "cometbft"),
        name="Restored",
        operator=NOBODY,
        sequencer=None,
        now=WallClock().now(),
        tables={"jurisdiction": default_jurisdiction().digest, "sensitivity": default_sensitivity().digest},
        tick_ms=2000,
    )
    try:
        running.start(directory, PATIENCE_S)
        yield directory
    finally:
        running.stop(directory)


def told(directory: Path) -> str:
    """How each member stands, for whoever reads of a wait in vain."""
    lines = []
    for member in VALIDATORS:
        data = directory / "members" / member
        lines += [f"{member}: {status(directory, member)}", last_lines(data / "node.log")]
        lines.append(last_lines(load(data).comet_home / "cometbft.log") if data.exists() else "    (gone)")
    return "\n".join(lines)


def until(directory: Path, what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}\n{told(directory)}"
        time.sleep(0.5)


def status(directory: Path, member: str) -> dict[str, Any]:
    try:
        found = ControlClient(load(directory / "members" / member), 5.0).get("/status")
    except (NodeAway, NodeRefused):
        return {"height": -1, "size": -1}
    assert isinstance(found, dict)
    return found


def doctored(directory: Path, member: str) -> dict[str, str]:
    ran = commonward("doctor", "--data", directory / "members" / member, "--json")
    assert "Traceback" not in ran.err, ran.err
    return {each["check"]: each["level"] for each in ran.lines}


def all_ok(found: dict[str, str], checks: tuple[str, ...]) -> bool:
    return all(found.get(each) == "ok" for each in checks)


def test_a_validator_comes_back_from_its_backup_on_a_new_machine_and_votes_above_what_it_was_told(
    network: Path, tmp_path: Path
) -> None:
    data = network / "members" / "north"
    until(network, "blocks", lambda: status(network, "south")["height"] >= 5)
    ran = commonward("backup", "--data", data, "--to", tmp_path / "b.tar", "--with-passphrase", "--json")
    assert ran.code == 0 and ran.json["validator"] > 0, ran.err

    pid = running.processes(network)["north"]  # the machine is gone, its disk with it
    os.kill(pid, signal.SIGKILL)
    until(network, "north's end", lambda: "north" not in running.processes(network))
    data.rename(tmp_path / "gone")
    at = status(network, "south")["height"]
    until(network, "the others to go on without it", lambda: status(network, "south")["height"] > at + 2)

    ran = commonward("restore", tmp_path / "b.tar", "--data", data)
    assert ran.code == 2 and "could vote twice" in ran.err
    told = status(network, "south")["height"]
    ran = commonward("restore", tmp_path / "b.tar", "--data", data, "--network-height", told, "--json")
    assert ran.code == 0 and ran.json["votes_after"] == told + 1, ran.err

    running.start(network, PATIENCE_S)
    until(network, "north to catch up", lambda: status(network, "north")["height"] > told + 10)
    assert json.loads((data / VOTES).read_text())["height"] != "0"
    well = ("validator", "validators", "roots", "lag", "CometBFT RPC", "p2p peers")
    until(network, "its votes to be in the blocks", lambda: all_ok(doctored(network, "north"), well))
    weights = {each["member"]: each["weight"] for each in status(network, "south")["cosigners"]}
    assert weights == dict.fromkeys(VALIDATORS, 1), "nobody voted twice"
