"""A real consortium: founded on disk, each process a process, mutual TLS on free ports, real clocks.

    with Real(folder) as real:
        real.start("sequencer", "north", "south")
        ada = real.patient("ada", at=("north",))
        real.arm("north", "release.marked")             # north's process kills itself there, with SIGKILL
        ...
        real.died("north", "release.marked")
        real.start("north")

North, south and clinic are hospitals, the authority operates the sequencer. Members named in `here` run in this
process, on a loop in a thread, so that a test can look into a node that nobody kills (`real.node`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson

from commonward.adapters.keys import CertificateAuthority, MemberKeys, StaffKey
from commonward.adapters.store.vault import SqlVault
from commonward.apps import node as node_process
from commonward.apps.api.client import ControlClient, NodeAway
from commonward.apps.founding import RP_ID, found, plan
from commonward.apps.settings import Address, Settings, load
from commonward.apps.wiring import Node, SystemEntropy, WallClock
from commonward.ledger.ids import BlockTime, Handle, MemberId, Tag
from commonward.records.jurisdiction import default_jurisdiction
from commonward.records.rules import Rule
from commonward.records.sensitivity import default_sensitivity
from commonward.workflows.copies import Copy
from commonward.workflows.enrolment import new_passkey
from commonward.workflows.enrolment_request import EnrolmentRequest
from commonward.workflows.member_log import LogEntry, MemberLog
from commonward.workflows.patient import Delivered, Patient, Wallet
from commonward.workflows.patient_log import PatientLog, read_log
from commonward.workflows.ports import BatchRow, MarkRow, RecordRow
from commonward.workflows.release import MarkPaper
from commonward.workflows.sealing import Drawer, Sealing
from tests.consortium import SoftSigner, observation
from tests.ledgerkit import SoftPasskey
from tests.scenarios.killing_node import DIED_AT, DIES_AT, PRACTICE

T = TypeVar("T")

MEMBERS = ("north:hospital:3", "south:hospital:2", "clinic:hospital:1", "authority:authority")
OPERATOR = MemberId("authority")
ROOT = Path(__file__).resolve().parents[2]
SOON_S = 60.0
"""What must happen happens long before; a machine under load may need it."""


def until(wanted: Callable[[], T | None], what: str, within_s: float = SOON_S) -> T:
    """The first value that is true; an empty list is not."""
    deadline = time.monotonic() + within_s
    while True:
        found = wanted()
        if found:
            return found
        assert time.monotonic() < deadline, f"not in {within_s:g} s: {what}"
        time.sleep(0.02)


@dataclass
class Someone:
    """A patient, through the gate of a member whose node runs here."""

    real: Real
    name: str
    client: Patient
    request: EnrolmentRequest

    @property
    def handle(self) -> Handle:
        return self.client.handle

    def grants(self, *rules: Rule) -> Delivered:
        self.log()  # brings the papers of her links
        return self.real.run(self.client.grant(tuple(rules)))

    def withdraws(self, given: Delivered) -> Delivered:
        return self.real.run(self.client.withdraw(given.consent, "no longer"))

    def log(self) -> PatientLog:
        return self.real.run(read_log(self.client))


class Look:
    """Into one member's vault, from outside its process."""

    def __init__(self, settings: Settings) -> None:
        keys = MemberKeys.open(settings.data / "keys", MemberId(settings.member), settings.passphrase())
        self.vault = SqlVault(settings.vault_file)
        self.sealing = Sealing(keys.storage(), SystemEntropy())
        self._copies = Drawer(self.vault, self.sealing, "copies", Copy)

    def copies(self, handle: Handle) -> dict[bytes, Copy]:
        return {tag: copy for tag, copy in self._copies.every() if copy.handle == handle}

    def marks(self, handle: Handle) -> list[MarkRow]:
        return list(self.vault.marks(handle))

    def paper(self, row: MarkRow) -> MarkPaper:
        return MarkPaper.parse(self.sealing.open("mark", row.handle + row.n.to_bytes(8, "big"), row.sealed))

    def records(self) -> dict[bytes, tuple[int, RecordRow]]:
        """Every row by id, with its number; counted, so that one hidden by a doubled number would show."""
        with self.vault._engine.connect() as connection:
            ids = [bytes(row[0]) for row in connection.exec_driver_sql("select id from records order by number")]
        found = dict(self.vault.records(ids))
        assert sorted(number for number, _ in found.values()) == list(range(1, len(ids) + 1))
        return found

    def batches(self) -> list[BatchRow]:
        with self.vault._engine.connect() as connection:
            rows = connection.exec_driver_sql(
                "select tick, first, last, seed, root, log_index from batches order by tick"
            ).fetchall()
        return [BatchRow(*row) for row in rows]

    def log(self) -> list[LogEntry]:
        """The member's log, its chain checked."""
        return [entry for _, _, entry in MemberLog(self.vault, self.sealing, WallClock()).entries()]

    def close(self) -> None:
        self.vault.close()


class Real:
    """Use as a context."""

    def __init__(
        self, directory: Path, *, here: Sequence[str] = ("clinic", "authority"), tick_ms: int = 1000, grace_ms: int = 0
    ) -> None:
        self.directory = directory
        self._here = here
        ports = _free_ports(1 + 2 * len(MEMBERS))
        planned = plan(list(MEMBERS), "127.0.0.1", ports)
        made = found(
            directory, planned, name="Real", operator=OPERATOR, sequencer=Address(host="127.0.0.1", port=ports),
            now=WallClock().now(),
            tables={"jurisdiction": default_jurisdiction().digest, "sensitivity": default_sensitivity().digest},
            tick_ms=tick_ms,
        )  # fmt: skip
        self.genesis = made.genesis.genesis
        self.names = [str(each.id) for each in planned]
        if grace_ms:
            for name in self.names:
                with (self.data(name) / "node.toml").open("r+") as out:
                    text = out.read()
                    out.seek(0)
                    out.write(f"grace_ms = {grace_ms}\n{text}")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nodes here")
        self._working: list[asyncio.Task[None]] = []
        self.nodes: dict[str, Node] = {}
        self.pids: dict[str, int] = {}
        self._looks: dict[str, Look] = {}
        self.controls: dict[str, ControlClient] = {}

    def __enter__(self) -> Self:
        self._forks = subprocess.Popen(
            [sys.executable, "-m", "tests.scenarios.killing_node", self.directory],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
        )  # fmt: skip
        self._thread.start()
        for name in self.names:
            self.controls[name] = ControlClient(self.settings(name))
        self._staff("south", "n1", "clinician")
        self._staff("south", "n2", "registrar")
        self._staff("north", "n9", "registrar")
        try:
            assert self._said() == "ready"
            for name in self._here:
                self.nodes[name] = self.run(self._host(name))
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def _close(self) -> None:
        for look in self._looks.values():
            look.close()
        with suppress(BrokenPipeError, AssertionError):
            self.tell("quit")
        for pipe in (self._forks.stdin, self._forks.stdout):
            assert pipe is not None
            pipe.close()
        self._forks.wait(SOON_S)
        try:
            self.run(self._close_nodes())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    # ------------------------------------------------------------------------------------------- nodes in this process

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """On the loop of the nodes here."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    async def _host(self, name: str) -> Node:
        node = Node(self.settings(name))
        await node.listen()
        self._working += [asyncio.create_task(each) for each in node_process._work(node)]
        return node

    async def _close_nodes(self) -> None:
        ended = [task for task in self._working if task.done()]
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)
        for node in self.nodes.values():
            await node.close()
        assert not ended, f"a node here fell over: {ended}"

    @property
    def node(self) -> Node:
        """The authority's: nobody kills it, so it holds the whole ledger."""
        return self.nodes["authority"]

    # -------------------------------------------------------------------------------------------------------- processes

    def data(self, name: str) -> Path:
        return self.directory / "members" / (OPERATOR if name == "sequencer" else name)

    def settings(self, name: str) -> Settings:
        return load(self.data(name))

    def tell(self, *words: str | Path) -> Any:
        assert self._forks.stdin is not None
        self._forks.stdin.write(" ".join(map(str, words)) + "\n")
        self._forks.stdin.flush()
        return self._said()

    def _said(self) -> Any:
        assert self._forks.stdout is not None
        line = self._forks.stdout.readline()
        assert line, "the process that starts the others is gone"
        return json.loads(line)

    def _sequencer_listens(self) -> bool:
        at = self.settings("authority").sequencer
        assert at is not None
        return _listens(at)

    def start(self, *names: str) -> None:
        """Start, and wait until each answers."""
        for name in names:
            self.pids[name] = self.tell("start", name)
        for name in names:
            if name == "sequencer":
                until(self._sequencer_listens, "the sequencer listens")
            else:
                until(lambda name=name: self.status(name), f"{name} answers")  # type: ignore[misc]

    def status(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.controls[name].get("/status")
        except NodeAway:
            return None
        return found

    def ended(self, name: str, within_s: float = SOON_S) -> int:
        code = self.tell("wait", name, str(within_s))
        assert code is not None, f"{name} runs on"
        assert isinstance(code, int)
        return code

    def kill(self, name: str) -> None:
        os.kill(self.pids[name], signal.SIGKILL)
        assert self.ended(name) == -signal.SIGKILL

    def stop(self, name: str) -> None:
        os.kill(self.pids[name], signal.SIGTERM)
        assert self.ended(name) == 0, self.said(name)[-3000:]

    def said(self, name: str) -> str:
        """What a process wrote to its log."""
        path = self.data(name) / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def arm(self, name: str, step: str) -> None:
        """The member's process dies when it next reaches this step."""
        path = self.data(name) / DIES_AT
        assert not path.exists()
        path.with_suffix(".new").write_text(step)
        path.with_suffix(".new").rename(path)

    def died(self, name: str, step: str, process: str = "") -> None:
        """It was killed, and there."""
        assert self.ended(process or name) == -signal.SIGKILL, self.said(process or name)[-3000:]
        where = self.data(name) / DIED_AT
        assert where.read_text() == step
        where.unlink()

    def practises(self, name: str, **practice: int) -> None:
        """From its next start on, a member's node practises so."""
        (self.data(name) / PRACTICE).write_text(json.dumps(practice))

    # --------------------------------------------------------------------------------------------------------- at work

    def _staff(self, member: str, number: str, role: str) -> None:
        settings = self.settings(member)
        authority = CertificateAuthority.open(settings.data / "ca", settings.passphrase())
        key = StaffKey.issue(
            authority, MemberId(member), role=role, department="cardiology", number=number, starts=WallClock().now()
        )
        key.save(settings.data / "staff" / f"{number}.pem", settings.passphrase())

    def someone(self, name: str) -> Someone:
        """A patient whom nobody knows yet."""
        passkey = SoftPasskey(name, rp_id=RP_ID, origin=f"https://authority.{RP_ID}")
        signer, handle = SoftSigner(passkey), Handle(os.urandom(16))
        bound = self.run(new_passkey(signer, self.genesis.ledger_id, handle))
        request = EnrolmentRequest(
            handle, signer.credential, int(signer.algorithm), signer.public, bound.possession, signer.sealing_public
        )
        gate = self.node.office.gate
        return Someone(self, name, Patient(signer, gate, SystemEntropy(), Wallet(handle)), request)

    def enrols(self, someone: Someone, member: str = "north") -> dict[str, Any]:
        body = {"request": b64(someone.request.to_bytes()), "words": "passport seen", "staff": "n9"}
        done: dict[str, Any] = self.controls[member].post("/patients/enrol", body)
        return done

    def links(self, someone: Someone, member: str = "north") -> None:
        self.controls[member].post(
            "/patients/link",
            {"handle": someone.handle.hex(), "system": "his", "patient": someone.name, "words": "seen", "staff": "n9"},
        )

    def patient(self, name: str) -> Someone:
        """Enrolled and linked at north."""
        someone = self.someone(name)
        self.enrols(someone)
        self.links(someone)
        return someone

    def file(self, name: str, *resources: bytes) -> Path:
        path = self.directory / f"{name}.ndjson"
        path.write_bytes(b"\n".join(resources) + b"\n")
        return path

    def takes(self, member: str, file: Path) -> None:
        """An import in a process of its own, beside the node."""
        self.tell("ingest", member, file)
        assert self.ended(f"ingest-{member}") == 0, self.said(f"ingest-{member}")

    def fetch(self, someone: Someone, encounter: str, **more: str) -> dict[str, Any]:
        """South asks north. Raises as `ControlClient.post`."""
        body = {"encounter": encounter, "handle": someone.handle.hex(), "custodian": "north", "staff": "n2", **more}
        done: dict[str, Any] = self.controls["south"].post("/copies", body)
        return done

    def look(self, member: str) -> Look:
        if member not in self._looks:
            self._looks[member] = Look(self.settings(member))
        return self._looks[member]

    def on_ledger(self, kind: int, member: str = "", refused: bool = False) -> list[Any]:
        """Entries of a kind by a member that stand, or that stand as refused: all that every node here knows of."""
        for status in filter(None, (self.status(name) for name in self.names)):
            until(lambda size=status["size"]: self.root(size), "the authority has caught up")  # type: ignore[misc]

        async def read() -> list[Any]:
            replica = self.node.replica
            found = replica.entries(0, 1_000_000, [kind])
            return [each for each in found if (each.code != 0) == refused and member in ("", each.member)]

        return self.run(read())

    def root(self, size: int) -> bytes | None:
        """Of the authority's log at a size; None when it is not there yet."""

        async def read() -> bytes | None:
            log = self.node.replica.machine.log
            return log.root(size) if log.size >= size else None

        return self.run(read())

    def agree(self, *names: str) -> None:
        """Each of these nodes is on the line, and has the root that the authority's node has at its size."""
        for name in names:
            status = until(lambda name=name: self._connected(name), f"{name} is on the line")  # type: ignore[misc]
            root = until(lambda size=status["size"]: self.root(size), "the authority has caught up")  # type: ignore[misc]
            assert root.hex() == status["root"], f"{name} holds another ledger at size {status['size']}"

    def _connected(self, name: str) -> dict[str, Any] | None:
        status = self.status(name)
        return status if status is not None and status["connected"] else None


def b64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


def blood_count(identity: str, patient: str, value: str = "7.40", **more: Any) -> bytes:
    """One resource on one line."""
    return orjson.dumps(orjson.loads(observation(identity, patient, value, **more).raw))


def _free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    for first in range(21000 + os.getpid() % 200 * 40, 65000, count):
        with suppress(OSError):
            for port in range(first, first + count):
                socket.create_server(("127.0.0.1", port)).close()
            return first
    raise AssertionError("no free ports")


def _listens(address: Address) -> bool:
    with suppress(OSError), socket.create_connection((address.host, address.port), timeout=0.5):
        return True
    return False


__all__ = ["MEMBERS", "BlockTime", "Look", "Real", "Someone", "Tag", "blood_count", "until"]
