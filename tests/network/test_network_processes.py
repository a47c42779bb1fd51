"""Four members on hosts of their own, whole: node processes with vaults, mutual TLS, and real CometBFT beside each.

One consortium lives through all of it: processes killed with -9, half of the hosts cut off from the other half. After
each, every evidence file of before convinces, all roots are equal, and care never waited.
"""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from commonward.apps import founding, staffing
from commonward.apps.planning import MemberPlan, by_number
from commonward.apps.settings import Address
from commonward.apps.wiring import WallClock
from commonward.ledger.ids import MemberId
from commonward.records.jurisdiction import default_jurisdiction
from commonward.records.sensitivity import default_sensitivity
from tests.apps.conftest import STAFF, Patient, Processes, answers, patients, waits
from tests.cli_world import commonward
from tests.network.namespaces import Hosts
from tests.network.telling import last_lines

__all__ = ["patients"]  # a fixture: it makes patients at whatever `processes` is here

Make = Callable[..., Patient]
ONE_SIDE, OTHER_SIDE = ("north", "south"), ("clinic", "authority")
ALL = (*ONE_SIDE, *OTHER_SIDE)
PATIENCE_S = 240.0


PARTED_S = 110.0
"""A proof is live for a minute."""


class Consortium(Processes):
    """`processes` on hosts."""

    hosts: Hosts
    running: dict[str, "subprocess.Popen[bytes]"]

    def start(self, member: str) -> None:
        with (self.data(member) / "node.log").open("ab") as log:
            words = [sys.executable, "-m", "commonward", "node", str(self.data(member))]
            self.running[member] = self.hosts.run(member, words, log)

    def kill(self, member: str) -> None:
        """kill -9 of the node; its CometBFT dies with it."""
        process = self.running.pop(member)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def status(self, member: str) -> dict[str, Any]:
        found = self.node(member).get("/status")
        assert isinstance(found, dict)
        return found

    def live(self, *members: str) -> None:
        for member in members or ALL:
            assert waits(partial(answers, self.node(member)), PATIENCE_S), self.log_of(member)

    def log_of(self, *members: str, what: str = "is not live") -> str:
        """How these members (all by default) stand, for whoever reads of a wait in vain."""
        told = [", ".join(members) + f" {what}"]
        for member in members or ALL:
            try:
                told.append(f"{member}: {self.status(member)}")
            except Exception as why:
                told.append(f"{member}: {why!r}")
            told.append(last_lines(self.data(member) / "node.log"))
            told.append(last_lines(self.settings(member).comet_home / "cometbft.log"))
        return "\n".join(told)

    def stand(self) -> dict[str, int]:
        """The heights at which all members stand still; within patience, since a block may be under way."""

        def still() -> dict[str, int] | None:
            before = {member: self.status(member)["height"] for member in self.running}
            time.sleep(4)  # every member anchors each second: where blocks can be made, some are
            return before if before == {member: self.status(member)["height"] for member in self.running} else None

        found = waits(still, PATIENCE_S)
        assert found, self.log_of(*self.running, what="go on, though half of the power decides no block")
        assert isinstance(found, dict)
        return found

    def moves(self, *members: str) -> None:
        """Blocks come at these members."""
        for member in members:
            passed = partial(self._beyond, member, self.status(member)["height"] + 1)
            assert waits(passed, PATIENCE_S), self.log_of(what=f"see no block come at {member}")

    def parted(self) -> None:
        """Cuts the hosts in half: neither half is a quorum, so soon no member is live."""
        self.hosts.cut()
        silent = waits(lambda: not any(self.status(each)["live"] for each in ALL), PARTED_S)
        assert silent, self.log_of(*ALL, what="is live, though half of the weight is not heard")

    def _beyond(self, member: str, height: int) -> bool:
        return bool(self.status(member)["height"] > height)

    def roots_agree(self) -> None:
        """At the size of whoever is least far, all have one root."""
        size = min(self.status(member)["size"] for member in ALL)
        assert len({self.node(member).get("/root", size=size)["root"] for member in ALL}) == 1


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    directory = tmp_path_factory.mktemp("hosts") / "c"
    with Hosts(ONE_SIDE, OTHER_SIDE) as hosts:
        placed = [_on_its_host(each, hosts.address(each.id)) for each in by_number(4, "127.0.0.1", 7400, "cometbft")]
        assert {each.id for each in placed} == set(ALL)
        founding.found(
            directory, placed, name="Hosts", operator=MemberId(""), sequencer=None, now=WallClock().now(),
            tables={"jurisdiction": default_jurisdiction().digest, "sensitivity": default_sensitivity().digest},
            tick_ms=1000,
        )  # fmt: skip
        made = Consortium(directory)
        object.__setattr__(made, "hosts", hosts)
        object.__setattr__(made, "running", {})
        for member, people in STAFF.items():
            for role, number in people if member in ALL else ():
                settings = made.settings(member)
                staffing.issue(settings, role=role, department="ward", number=number, hours=12, now=WallClock().now())
        try:
            for member in ALL:
                made.start(member)
            made.live()
            yield made
        finally:
            for process in made.running.values():
                process.terminate()
            for process in made.running.values():
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()


def _on_its_host(plan: MemberPlan, address: str) -> MemberPlan:
    return replace(
        plan, listen=Address(host=address, port=7401), signing=Address(host=address, port=7402),
        p2p=Address(host=address, port=7403),
    )  # fmt: skip


def evidence(c: Consortium, patient: Patient, folder: Path) -> Path:
    """Of one of the patient's records, with the trust file beside it."""
    record = c.node("north").get("/patients/records", handle=patient.handle)[0]["id"]
    out = folder / "record.cwe"
    ran = c.run("north", "evidence", "record", record, "--out", out)
    assert ran.code == 0, ran.err
    return out


def convinces(file: Path, trust: Path) -> None:
    ran = commonward("verify", file, "--trust", trust)
    assert ran.code == 0, ran.out + ran.err


def asks(c: Consortium, patient: Patient, encounter: str) -> dict[str, Any]:
    said = ("--handle", patient.handle, "--from", "north", "--staff", "S1", "--encounter", encounter, "--json")
    ran = c.run("south", "request", *said)
    assert ran.code == 0, ran.out + ran.err + c.log_of(what="")
    found = ran.json
    assert isinstance(found, dict)
    return found


def asks_and_is_marked(c: Consortium, patient: Patient, encounter: str) -> None:
    """A release while all is well is marked before it leaves: at last, where the machine is too slow for the first."""
    numbers = itertools.count(1)

    def marked() -> bool:
        said = ("--handle", patient.handle, "--from", "north", "--staff", "S1", "--json")
        ran = c.run("south", "request", *said, "--encounter", f"{encounter}-{next(numbers)}")
        return ran.code == 0 and ran.json["mark_index"] >= 0

    assert waits(marked, PATIENCE_S), c.log_of(what=f"see no release marked ({encounter})")


def test_members_killed_and_hosts_parted_lose_nothing_and_care_goes_on(
    processes: Consortium, patients: Make, tmp_path: Path
) -> None:
    c = processes
    patient = patients()
    first = evidence(c, patient, tmp_path)
    trust = tmp_path / "consortium.trust"
    convinces(first, trust)
    asks_and_is_marked(c, patient, "E1")

    # One of four is killed, again and again, while every member anchors each second.
    for victim in ("clinic", "south", "north"):
        c.kill(victim)
        c.moves(*(each for each in ALL if each != victim))
        c.start(victim)
        c.live(victim)
    c.live()
    c.roots_agree()
    convinces(first, trust)

    # Half of the hosts do not hear the other half: neither side makes blocks, and care goes on under grace.
    c.parted()
    heights = c.stand()
    late = asks(c, patient, "E2")
    assert late["mark_index"] < 0, "without a ledger there is no mark yet"
    assert c.stand() == heights, "half of the power decided a block"
    c.hosts.mend()
    c.live()
    c.moves(*ALL)
    c.roots_agree()
    assert waits(lambda: _marked(c, patient), PATIENCE_S), c.log_of(what="has no late mark though the ledger is back")
    convinces(first, trust)

    # Two of four are killed: the ledger halts, and goes on when one of them is back.
    c.kill("clinic")
    c.kill("authority")
    stood = max(c.stand().values())
    c.start("clinic")
    c.moves("north", "south", "clinic")
    c.start("authority")
    c.live()
    assert waits(lambda: c.status("authority")["height"] >= stood, PATIENCE_S), c.log_of("authority", what="lags")
    c.roots_agree()
    convinces(first, trust)
    asks_and_is_marked(c, patient, "E3")
    again = tmp_path / "again"
    again.mkdir()
    convinces(evidence(c, patient, again), trust)


def _marked(c: Consortium, patient: Patient) -> bool:
    """Every release of the patient's records has its mark."""
    rows = c.node("north").get("/releases", handle=patient.handle)
    return len(rows) >= 2 and all(row["state"] not in ("reserved", "late") for row in rows)
