"""One consortium of real processes for the tests of the API and the command line: founded once, and stopped after the
last test of a module that uses it, unless the next module does (five idle nodes cost all other tests an eighth of a
machine); started again if one comes later.

Five nodes with mutual TLS between them, and a sequencer or a CometBFT beside each; a vault with synthetic records at
north, and a patient with a software passkey, enrolled and linked at north, who has granted south everything but
mental-health data. `processes` is on solo; `test_cli_on_cometbft` has its own, and tells the same stories there.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from commonward.apps import founding, running, staffing
from commonward.apps.api.client import ControlClient
from commonward.apps.planning import NOBODY, ports
from commonward.apps.settings import Address, Settings, load
from commonward.apps.wiring import WallClock
from commonward.ledger.ids import MemberId
from commonward.records.jurisdiction import default_jurisdiction
from commonward.records.sensitivity import default_sensitivity
from tests.cli_world import Ran, commonward

PATIENCE_S = 120.0
"""How long a condition may take on a loaded machine: a story that is well needs a second or two."""

MEMBERS = ("north", "clinic", "south", "insurer", "authority")
STAFF = {
    "north": [("registrar", "N1"), ("records-officer", "N2")],
    "south": [("registrar", "S1"), ("clinician", "S2"), ("clinician", "S3")],
    "insurer": [("claims-officer", "I1")],
    "clinic": [("clinician", "C1"), ("nurse", "C2")],
}


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens at."""
    while True:
        # Below what the system gives to outgoing connections: one of those could take a port while its node restarts.
        first = 10_000 + secrets.randbelow(20_000)
        held = []
        try:
            for port in range(first, first + count):
                held.append(socket.create_server(("127.0.0.1", port)))  # noqa: PERF401  # the first are closed if one fails
            return first
        except OSError:
            continue
        finally:
            for each in held:
                each.close()


def waits(until: Callable[[], object], seconds: float = PATIENCE_S) -> Any:
    """Tries until it is true; the node needs a tick or two."""
    deadline = time.monotonic() + seconds
    while True:
        found = until()
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


@dataclass(frozen=True)
class Processes:
    """A consortium that runs."""

    directory: Path

    def data(self, member: str) -> Path:
        return self.directory / "members" / member

    def settings(self, member: str) -> Settings:
        return load(self.data(member), {})

    def node(self, member: str) -> ControlClient:
        return ControlClient(self.settings(member))

    def run(self, member: str, *arguments: object) -> Ran:
        """A command against a member's data directory."""
        return commonward(*arguments, "--data", self.data(member))

    def start_all(self) -> None:
        """Starts what does not run, and waits until every member is live."""
        running.start(self.directory, PATIENCE_S)
        for member in MEMBERS:
            assert waits(partial(answers, self.node(member))), f"{member} is not live: {self.last_words(member)}"

    def restart(self, member: str) -> None:
        """Ends a node and starts it again."""
        os.kill(running.processes(self.directory)[member], signal.SIGTERM)
        assert waits(lambda: self._ended(member)), f"{member} does not end"
        running.start(self.directory, PATIENCE_S)
        node = self.node("authority" if member == "sequencer" else member)
        assert waits(lambda: answers(node)), f"{member} is not live again: {self.last_words(member)}"

    def reload(self, name: str) -> None:
        """Has a process take over new members' addresses and CAs; waits until it says that it has."""
        log = running.log_of(self.directory, name)
        before = log.read_text(errors="replace").count("members_met")
        os.kill(running.processes(self.directory)[name], signal.SIGHUP)
        met = waits(lambda: log.read_text(errors="replace").count("members_met") > before)
        assert met, f"{name} did not take its settings: {self.last_words(name)}"

    def last_words(self, name: str) -> str:
        """The end of a process's log, for whoever reads a test that failed."""
        return running.log_of(self.directory, name).read_text(errors="replace")[-2000:]

    def _ended(self, member: str) -> bool:
        running._reap()
        return member not in running.processes(self.directory)


def answers(node: ControlClient) -> bool:
    try:
        return bool(node.get("/status")["live"])
    except ConnectionError:
        return False


@contextmanager
def consortium_on(engine: str, directory: Path, tick_ms: int = 1000) -> Iterator[Processes]:
    """The five of the demo, founded for `engine` (one of `settings.ENGINES`) and all live; stopped at the end."""
    first = free_ports(ports(len(MEMBERS), engine))
    alone = engine == "solo"
    founding.found(
        directory,
        founding.plan([], "127.0.0.1", first, engine),
        name="Test",
        operator=MemberId("authority") if alone else NOBODY,
        sequencer=Address(host="127.0.0.1", port=first) if alone else None,
        now=WallClock().now(),
        tables={"jurisdiction": default_jurisdiction().digest, "sensitivity": default_sensitivity().digest},
        tick_ms=tick_ms,
    )
    made = Processes(directory)
    for member, people in STAFF.items():
        for role, number in people:
            settings = made.settings(member)
            staffing.issue(settings, role=role, department="ward 3", number=number, hours=12, now=WallClock().now())
    try:
        made.start_all()
        yield made
    finally:
        running.stop(directory)


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Processes]:
    with consortium_on("solo", tmp_path_factory.mktemp("consortium") / "c") as made:
        pytestconfig.stash[_SHARED] = made
        yield made


_SHARED = pytest.StashKey[Processes]()
_sharing: set[Path] = set()
"""The modules with a test that uses the fixture above, and not one of that name of their own."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "processes" in getattr(item, "fixturenames", ()) and not hasattr(getattr(item, "module", None), "processes"):
            _sharing.add(item.path)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    shared = item.config.stash.get(_SHARED, None)
    if shared is not None and item.path in _sharing and not running.processes(shared.directory):
        shared.start_all()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    try:
        return (yield)
    finally:
        shared = item.config.stash.get(_SHARED, None)
        if shared is not None and item.path in _sharing and (nextitem is None or nextitem.path not in _sharing):
            running.stop(shared.directory)


@dataclass(frozen=True)
class Patient:
    """A patient with a wallet, linked at north."""

    processes: Processes
    name: str
    wallet: Path
    pin: Path
    handle: str

    def run(self, *arguments: object) -> Ran:
        return commonward(*arguments, "--wallet", self.wallet, "--pin-file", self.pin)

    def grants(self, to: str = "south") -> str:
        """To a member, everything but mental health. Returns the consent's id."""
        ran = self.run("consent", "grant", "--to", to, "--yes", "--json")
        assert ran.code == 0, ran.err
        return str(ran.json["consent"])


def observation(number: str, patient: str, value: str = "7.40", **more: Any) -> dict[str, Any]:
    """Haemoglobin. `value` is written with exactly these digits (`bundle`)."""
    return {
        "resourceType": "Observation",
        "id": number,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7", "display": "Haemoglobin"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": "2026-05-31T08:30:00+08:00",
        "valueQuantity": {"value": f"@{value}@", "unit": "g/dL"},
        **more,
    }


def bundle(path: Path, *resources: dict[str, Any]) -> Path:
    text = json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in resources]})
    path.write_text(text.replace('"@', "").replace('@"', ""))
    return path


_made = 0


@pytest.fixture
def patients(processes: Processes, tmp_path: Path) -> Callable[..., Patient]:
    """Makes a patient with two observations at north, enrolled, linked, anchored."""

    def make(*values: str, grant: bool = True) -> Patient:
        global _made
        _made += 1
        name = f"p{_made}"
        pin = tmp_path / f"{name}.pin"
        pin.write_text("123456")
        pin.chmod(0o600)
        wallet = tmp_path / name
        site = ("--consortium", processes.directory, "--wallet", wallet, "--pin-file", pin)
        new = commonward("patient", "new", *site, "--json")
        assert new.code == 0, new.err
        told = [observation(f"{name}-o{n}", name, value) for n, value in enumerate(values or ("7.40", "0.010"), 1)]
        file = bundle(tmp_path / f"{name}.json", {"resourceType": "Patient", "id": name}, *told)
        took = processes.run("north", "ingest", file, "--system", "his", "--json")
        assert took.code == 0, took.out + took.err
        handle = str(new.json["handle"])
        said = ("--words", "passport", "--staff", "N1")
        enrolled = processes.run("north", "patient", "enrol", "--request", wallet / "enrolment.cwr", *said)
        assert enrolled.code == 0, enrolled.err
        person = (*said, "--system", "his")
        linked = processes.run("north", "patient", "link", "--handle", handle, "--patient", name, *person, "--json")
        assert linked.code == 0 and linked.json["records"] == len(told) + 1, linked.err + linked.out
        made = Patient(processes, name, wallet, pin, handle)
        held = waits(lambda: anchored(processes, handle))
        assert held, "north did not anchor in time"
        if grant:
            made.grants()
        return made

    return make


def anchored(processes: Processes, handle: str) -> bool:
    held = processes.node("north").get("/patients/records", handle=handle)
    return bool(held) and all(each["anchored_at_index"] is not None for each in held)
