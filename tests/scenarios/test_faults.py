"""What breaks around a node, in real processes: kills under load, torn and altered logs, full disks, locks, lost lines.

One consortium serves the tests; each leaves it as it found it: sequencer, north and south running.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from commonward.adapters.store import engine
from commonward.apps.api.client import NodeRefused
from commonward.ledger.audit import BreakGlass, Receipt, Release
from commonward.ledger.ids import Digest
from commonward.ledger.transactions import parse_transaction
from commonward.workflows.member_log import Event
from commonward.workflows.ports import LedgerAway, MarkState
from tests.cli_world import commonward, copied
from tests.consortium import permit
from tests.scenarios.real import ROOT, Real, Someone, blood_count, until


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    with Real(tmp_path_factory.mktemp("faults") / "c") as real:
        for name in ("north", "south"):
            real.practises(name, fresh_ms=2_000, cosign_wait_ms=3_000)
        real.start("sequencer", "north", "south")
        real.agree("north", "south", "clinic")
        yield real


@pytest.fixture(scope="module")
def ada(real: Real) -> Someone:
    real.takes("north", real.file("first", blood_count("o1", "ada"), blood_count("o2", "ada")))
    someone = real.patient("ada")
    someone.grants(permit("south"))
    batches = real.look("north").vault
    until(lambda: (batch := batches.batch_of(2)) is not None and batch.index >= 0, "the first records are anchored")
    return someone


def cli(*arguments: object, within_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """The command line, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "commonward", *map(str, arguments)], capture_output=True, text=True, timeout=within_s,
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip


def said_plainly(ran: subprocess.CompletedProcess[str], *words: str) -> None:
    """It ended as unusable, with a sentence that holds these words, and no traceback."""
    assert ran.returncode == 2, (ran.returncode, ran.stderr)
    assert "Traceback" not in ran.stderr, ran.stderr
    for word in words:
        assert word in ran.stderr, (word, ran.stderr)


# --- kills under load -----------------------------------------------------------------------------


@dataclass
class Load:
    """Transactions by the two members whose nodes run here, until it is ended; each is offered until it stands."""

    real: Real
    acknowledged: list[Digest] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        await asyncio.gather(*(self._one(name) for name in ("authority", "clinic") for _ in range(5)))

    async def _one(self, name: str) -> None:
        node = self.real.nodes[name]
        while not self.over.is_set():
            some = Digest(os.urandom(32))
            raw = node.member.submitter.sign(Receipt(some, some, some))
            while True:
                try:
                    landed = await node.replica.submit(raw)
                    break
                except LedgerAway:
                    await asyncio.sleep(0.05)
            assert landed.code == 0 and landed.digest == parse_transaction(raw).digest
            self.acknowledged.append(landed.digest)
            await asyncio.sleep(0.01)


@contextmanager
def under_load(real: Real) -> Iterator[Load]:
    """Afterwards: everything acknowledged stands on the ledger exactly once."""
    load = Load(real)
    running: Future[None] = asyncio.run_coroutine_threadsafe(load.run(), real._loop)
    try:
        yield load
    finally:
        real._loop.call_soon_threadsafe(load.over.set)
        running.result(90)
    standing = Counter(entry.digest for entry in real.on_ledger(Receipt.KIND))
    assert load.acknowledged, "a load of nothing would prove nothing"
    assert all(standing[digest] == 1 for digest in load.acknowledged)
    assert max(standing.values()) == 1


def test_a_sequencer_killed_under_load_loses_nothing_and_orders_nothing_twice(real: Real) -> None:
    with under_load(real) as load:
        for _ in range(3):
            before = len(load.acknowledged)
            until(lambda before=before: len(load.acknowledged) > before + 20, "work is done")  # type: ignore[misc]
            real.kill("sequencer")
            real.start("sequencer")
        before = len(load.acknowledged)
        until(lambda: len(load.acknowledged) > before + 20, "work goes on after the last kill")
    real.agree("north", "south", "clinic")


def test_a_node_killed_ten_times_at_random_under_load_has_the_same_ledger(real: Real) -> None:
    source = random.Random(18)
    with under_load(real) as load:
        for _ in range(10):
            real.kill("north")
            before = len(load.acknowledged)
            real.start("north")
            until(lambda before=before: len(load.acknowledged) > before, "the others go on meanwhile")  # type: ignore[misc]
            time.sleep(source.uniform(0, 0.4))
    real.agree("north", "south", "clinic")
    assert real.status("north")["height"] > 20  # type: ignore[index]


# --- what is at rest ------------------------------------------------------------------------------


def blocks_of(folder: Path) -> Path:
    return max((folder / "ledger" / "blocks").glob("blocks-*.log"))


def test_a_torn_tail_of_the_block_log_is_dropped_and_named(real: Real) -> None:
    real.kill("north")
    path = blocks_of(real.data("north"))
    size = path.stat().st_size
    with path.open("ab") as out:  # a frame whose write was cut short
        out.write(path.read_bytes()[61:400])
    said = len(real.said("north"))
    real.start("north")
    log = real.said("north")[said:]
    assert "torn_block_dropped" in log and str(path) in log and f"at byte {size}" in log, log[:2000]
    real.agree("north")


def test_an_altered_block_log_is_named_and_the_node_refuses_to_run(real: Real, tmp_path: Path) -> None:
    real.stop("north")
    try:
        folder = copied(real.data("north"), tmp_path / "north")
    finally:
        real.start("north")
    path = blocks_of(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    ran = cli("node", folder)
    said_plainly(ran, str(path), "at byte", "was altered", "fetch the blocks again")
    at = int(ran.stderr.split("at byte ")[1].split()[0])
    assert at <= len(data) // 2, "the frame that was altered starts before the byte"
    assert path.read_bytes() == data, "kept as evidence"


def test_a_state_without_its_block_log_is_refused(real: Real, tmp_path: Path) -> None:
    """To go on would cosign a second history."""
    real.stop("north")
    try:
        folder = copied(real.data("north"), tmp_path / "north")
    finally:
        real.start("north")
    shutil.rmtree(folder / "ledger" / "blocks")
    said_plainly(cli("node", folder), "the block log ends at 0", "lost its end")


def test_a_second_process_on_the_same_directory_is_refused(real: Real) -> None:
    said_plainly(cli("node", real.data("north")), "in use by another process", "stop that node first")
    said_plainly(cli("sequencer", real.data("authority")), "in use by another process")
    real.agree("north")


def test_a_port_that_is_taken_is_named(real: Real, tmp_path: Path) -> None:
    real.stop("south")
    try:
        folder = copied(real.data("south"), tmp_path / "south")
    finally:
        real.start("south")
    said_plainly(cli("node", folder), str(real.settings("south").listen), "cannot listen", "'listen' in node.toml")


def test_keys_that_do_not_open_are_named(real: Real, tmp_path: Path) -> None:
    folder = tmp_path / "south"
    shutil.copytree(real.data("south"), folder, ignore=shutil.ignore_patterns("ledger", "*.sock", "vault*"))
    (folder / "passphrase").write_text("not the words that were")
    said_plainly(cli("node", folder), "cannot use the key file")
    (folder / "passphrase").chmod(0o644)
    said_plainly(cli("node", folder), "is open to others")


# --- no room, and locks ---------------------------------------------------------------------------


def test_a_node_without_room_says_so_and_goes_on_when_there_is(real: Real) -> None:
    """A limit on the size of files is what a full disk is to a process: a write ends in the middle."""
    pid, path = real.pids["north"], blocks_of(real.data("north"))
    until(lambda: path.stat().st_size > len(real.said("north")) + 20_000, "what the process itself says has room")
    before = len(real.said("north"))
    limit = path.stat().st_size + 200
    was = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, was[1]))
    try:
        until(lambda: "make room" in real.said("north")[before:], "it says so")
        height = real.node.replica.height
        until(lambda: real.node.replica.height > height + 2, "the others go on")
        status = real.status("north")
        assert status is not None, "it still answers"
        assert status["height"] < real.node.replica.height
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, was)
    real.agree("north")
    height = real.status("north")["height"]  # type: ignore[index]
    until(lambda: real.status("north")["height"] > height, "it follows again")  # type: ignore[index]
    assert "Traceback" not in real.said("north")[before:]
    real.stop("north")  # in good order, with everything kept
    real.start("north")
    real.agree("north")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process writes into the vault."""
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("begin immediate")
        try:
            yield
        finally:
            other.execute("rollback")
    other.close()


def test_a_vault_that_another_writes_to_is_waited_for(real: Real, ada: Someone) -> None:
    before = set(real.look("south").copies(ada.handle))
    done: list[object] = []
    asking = threading.Thread(target=lambda: done.append(real.fetch(ada, "visit while locked")))
    with locked(real.settings("north").vault_file):
        asking.start()
        time.sleep(1.5)
        assert not done, "nothing leaves before it is written down"
    asking.join(60)
    assert len(done) == 1 and len(set(real.look("south").copies(ada.handle)) - before) == 1


def test_a_vault_that_stays_locked_is_named(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_MS", 300)
    file = real.file("late", blood_count("late", "ada"))
    with locked(real.settings("south").vault_file):
        ran = commonward("ingest", "--data", real.data("south"), file)
    assert ran.code == 2 and "another process has been writing" in ran.err and "vault.sqlite" in ran.err, ran.err
    assert commonward("ingest", "--data", real.data("south"), file).code == 0


# --- the line to the sequencer --------------------------------------------------------------------


def copy_of(real: Real, tag: str) -> dict[str, object]:
    (found,) = [each for each in real.controls["south"].get("/copies") if each["tag"] == tag]
    assert isinstance(found, dict)
    return found


def _count(real: Real, member: str, event: Event) -> int:
    return [entry.event for entry in real.look(member).log()].count(event)


def test_within_grace_treatment_goes_on_and_is_marked_late(real: Real, ada: Someone) -> None:
    before = _count(real, "north", Event.GRACE_USED)  # on a slow machine an earlier fetch may have needed grace too
    real.kill("sequencer")
    time.sleep(2.5)  # nothing is cosigned any more: the view grows old
    copy = real.fetch(ada, "visit in grace")
    assert copy["mark_index"] == -1 and copy["records"] == 2
    (row,) = [row for row in real.look("north").marks(ada.handle) if row.tag.hex() == copy["tag"]]
    assert row.state is MarkState.LATE
    assert _count(real, "north", Event.GRACE_USED) == before + 1
    with pytest.raises(NodeRefused, match="not shown to be live"):
        real.fetch(ada, "a payment in grace", purpose="HPAYMT")
    real.start("sequencer")
    until(lambda: copy_of(real, copy["tag"])["receipted"], "the mark followed, and the receipt", 120)
    assert int(str(copy_of(real, copy["tag"])["mark_index"])) >= 0
    log = ada.log()
    assert log.whole, log.troubles
    (mark,) = [mark for mark in log.marks if mark.facts.tag.hex() == copy["tag"]]
    assert mark.state.name == "LATE"
    real.agree("north", "south")


def test_beyond_grace_only_a_broken_glass_helps_and_is_written_down_first(real: Real, ada: Someone) -> None:
    marks, glasses = len(real.on_ledger(Release.KIND, "north")), len(real.on_ledger(BreakGlass.KIND, "south"))
    before = _count(real, "south", Event.GLASS_BROKEN)
    for name in ("north", "south"):
        real.stop(name)
        real.practises(name, fresh_ms=500, grace_ms=1_000, cosign_wait_ms=1_000)
    real.start("north", "south")
    real.agree("north", "south")
    real.kill("sequencer")
    time.sleep(2.0)
    with pytest.raises(NodeRefused, match="break the glass"):
        real.fetch(ada, "visit beyond grace")
    body = {
        "encounter": "emergency", "handle": ada.handle.hex(), "custodian": "north", "staff": "n1",
        "reason": "unconscious",
    }  # fmt: skip
    copy = real.controls["south"].post("/glass", body)
    assert copy["records"] == 2 and copy["mark_index"] == -1
    assert _count(real, "south", Event.GLASS_BROKEN) == before + 1
    real.kill("south")  # what was written down is on the disk
    assert _count(real, "south", Event.GLASS_BROKEN) == before + 1
    real.start("sequencer", "south")
    until(lambda: len(real.on_ledger(BreakGlass.KIND, "south")) == glasses + 1, "the broken glass is marked, late", 120)
    until(lambda: copy_of(real, copy["tag"])["receipted"], "so is the release", 120)
    assert len(real.on_ledger(BreakGlass.KIND, "south")) == glasses + 1
    assert len(real.on_ledger(Release.KIND, "north")) >= marks + 1
    log = ada.log()
    assert log.whole, log.troubles
    assert [glass.reason for glass in log.glasses] == ["unconscious"]
    assert sum(mark.facts.tag.hex() == copy["tag"] for mark in log.marks) == 1
    real.agree("north", "south")
