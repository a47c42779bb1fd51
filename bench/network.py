"""Four validators on CometBFT, durable, and CometBFT's own kvstore beside them with the same settings.

Each validator is a process with CometBFT as its child, keys, stores and fsyncs of its own; transactions are signed,
bundled and submitted by the members themselves while the clock runs, and each is verified, executed, kept and cosigned
by all four. Rates are medians of windows of equal length, after a warm-up. kvstore checks no signature and keeps its
state in memory: the ratio is what our checks cost. A fifth member, who does not vote, then catches up with it all.
"""

import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench._consortium import Process
from bench._kvstore import KvWindow, kvstore_main
from bench._machine import percentile, scratch
from bench._network import FOLLOWER, Load, Window, founded_network, validator_main
from bench.results import Result
from commonward.adapters.cometbft.home import Tuning
from commonward.apps.founding import Founded
from commonward.ledger.ids import MemberId
from commonward.records.fingerprint import MAX_LEAVES

WARM_S = 3.0
WINDOW_S = 3.0
WINDOWS = 4
UNDER_WAY = 700
"""At each of the four."""

SINGLES_UNDER_WAY = 150
LIGHT_BLOCKS = 1000
PATIENCE_S = 60.0
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class Rates:
    """What was measured of one load. `cpu`: processor seconds a transaction, all nodes together."""

    rate: float
    windows: list[float]
    p50: float
    p95: float
    size: int
    count: int
    failed: int = 0
    own: float = 0.0
    comet: float = 0.0

    @property
    def said(self) -> str:
        spread = f"windows of {WINDOW_S:g} s: {', '.join(f'{each:,.0f}' for each in self.windows)}/s"
        failed = f", {self.failed} given up" if self.failed else ""
        return f"{self.count:,} transactions of {self.size:,} bytes{failed}; {spread}"


def rates(spans: Sequence[tuple[float, float]], size: int, seconds: float) -> Rates:
    """Rates by when each stood, latencies of those that were begun after the warm-up."""
    if not spans:
        raise RuntimeError("not one transaction stood in a block")
    start = min(begun for begun, _ in spans) + min(WARM_S, seconds / 3)
    count = max(1, int((seconds - min(WARM_S, seconds / 3)) / WINDOW_S))
    windows = [0] * count
    for _, ended in spans:
        at = int((ended - start) // WINDOW_S)
        if 0 <= at < count:
            windows[at] += 1
    each = [found / WINDOW_S for found in windows]
    took = [ended - begun for begun, ended in spans if begun >= start] or [ended - begun for begun, ended in spans]
    return Rates(statistics.median(each), each, percentile(took, 0.5), percentile(took, 0.95), size, len(spans))


@dataclass
class Net:
    """The processes, by member. All are asked at once, and each answers within a bound, or the phase has failed."""

    founded: Founded
    processes: dict[MemberId, Process] = field(default_factory=dict)

    def start(self, members: Sequence[MemberId], **tuning: object) -> None:
        for member in members:
            self.processes[member] = Process(validator_main, str(self.founded.members[member]), tuning)

    @property
    def voters(self) -> list[MemberId]:
        return [member for member in self.founded.members if member != FOLLOWER]

    def ask(self, members: Sequence[MemberId], *command: object, patience_s: float = PATIENCE_S) -> list[Any]:
        for member in members:
            self.processes[member].tell(*command)
        return [self.processes[member].answer(patience_s) for member in members]

    def stop(self, members: Sequence[MemberId]) -> None:
        self.ask(members, "end")
        for member in members:
            self.processes.pop(member).kill()

    def kill(self) -> None:
        for process in self.processes.values():
            process.kill()

    def load(self, load: Load) -> Rates:
        members = self.voters
        windows: list[Window] = self.ask(members, "load", load, patience_s=load.seconds + PATIENCE_S)
        spans = [span for window in windows for span in window.spans()]
        found = rates(spans, windows[0].size, load.seconds)
        found.failed = sum(window.failed for window in windows)
        found.own = sum(window.own_cpu for window in windows) / len(spans)
        found.comet = sum(window.comet_cpu for window in windows) / len(spans)
        return found


def run(scale: float = 1.0) -> Iterator[Result]:
    seconds = WARM_S + max(1, round(WINDOWS * scale)) * WINDOW_S
    kv: dict[int, Rates] = {}
    with scratch() as folder:
        founded = founded_network(folder / "consortium")
        try:
            kv = _beside(founded, folder / "kvstore", seconds)
        except (RuntimeError, TimeoutError, OSError, EOFError) as why:
            yield _failed("network.kvstore", "tx/s", str(why))
        yield from kv_results(kv)
        with _net(founded) as net:
            for name, phase in _phases(net, kv, seconds, scale):
                try:
                    yield from phase()
                except (RuntimeError, TimeoutError, OSError, EOFError) as why:
                    yield _failed(name, "", str(why))
                    if isinstance(why, TimeoutError):  # an answer may still come, to another question
                        return


def _phases(
    net: Net, kv: dict[int, Rates], seconds: float, scale: float
) -> list[tuple[str, Callable[[], Iterator[Result]]]]:
    return [
        ("network.bundled", lambda: _bundled(net, kv, seconds)),
        ("network.offered", lambda: _offered(net, seconds)),
        ("network.bundled.1000", lambda: _larger(net, kv, seconds)),
        ("network.single", lambda: _single(net, kv, seconds)),
        ("network.anchored", lambda: _anchored(net, min(seconds, 9.0))),
        ("network.mark", lambda: _marks(net, max(5, int(20 * scale)))),
        ("network.restart", lambda: _restart(net, max(20, int(LIGHT_BLOCKS * scale)))),
    ]


@contextmanager
def _net(founded: Founded) -> Iterator[Net]:
    net = Net(founded)
    try:
        net.start(net.voters)
        net.ask(net.voters, "ready", len(net.voters) - 1, patience_s=2 * PATIENCE_S)
        yield net
    finally:
        net.kill()


def _failed(name: str, unit: str, why: str) -> Result:
    return Result(name=name, value=0, unit=unit, goal=1, conditions=f"could not be measured: {why[:200]}")


def _beside(founded: Founded, folder: Path, seconds: float) -> dict[int, Rates]:
    """kvstore's rates by size of transaction."""
    voters = [member for member in founded.members if member != FOLLOWER]
    process = Process(kvstore_main, founded, voters, str(folder))
    found = {}
    try:
        process.tell("ready")
        process.answer(PATIENCE_S)
        for size in (350, 1000):
            process.tell("load", size, 4 * UNDER_WAY, seconds)
            window: KvWindow = process.answer(seconds + PATIENCE_S)
            found[size] = rates(window.spans(), size, seconds)
            found[size].comet = window.cpu / max(1, len(window.begun))
        process.tell("end")
        process.answer(PATIENCE_S)
    finally:
        process.kill()
    return found


SAME = (
    f"4 validators on one machine, fsync, {Tuning().commit_ms} ms commit, the same CometBFT settings as kvstore beside"
)


def kv_results(kv: dict[int, Rates]) -> Iterator[Result]:
    for size, found in kv.items():
        yield Result(
            name=f"network.kvstore.{size}", value=found.rate, unit="tx/s",
            conditions=f"CometBFT's kvstore, no signatures, state in memory, {4 * UNDER_WAY} under way; {found.said}; "
            f"p50 {found.p50:.2f} s, p95 {found.p95:.2f} s; {found.comet * 1e6:.0f} us of processor a transaction, "
            f"all four",
        )  # fmt: skip


def _against(kv: dict[int, Rates], size: int) -> dict[str, Any]:
    return {"reference": "kvstore", "reference_value": kv[size].rate} if size in kv else {}


def _rate(name: str, found: Rates, goal: float, kv: dict[int, Rates], size: int, how: str) -> Iterator[Result]:
    yield Result(
        name=name, value=found.rate, unit="tx/s", goal=goal, conditions=f"{how}; {found.said}; {SAME}",
        **_against(kv, size),
    )  # fmt: skip
    yield Result(
        name=f"{name}.cpu", value=(found.own + found.comet) * 1e6, unit="us",
        conditions=f"processor time a transaction, all four nodes: {found.own * 1e6:.0f} ours (signing and submitting "
        f"it too), {found.comet * 1e6:.0f} CometBFT's; {CORES} cores have time for at most "
        f"{CORES / (found.own + found.comet):,.0f} a second",
    )  # fmt: skip


def _p95(name: str, found: Rates, goal_s: float, how: str) -> Result:
    return Result(
        name=name, value=found.p95, unit="s", goal=goal_s, more_is_better=False, conditions=how,
        reference="p50", reference_value=found.p50,
    )  # fmt: skip


def _bundled(net: Net, kv: dict[int, Rates], seconds: float) -> Iterator[Result]:
    found = net.load(Load(kind="receipt", window=UNDER_WAY, seconds=seconds))
    how = f"signed in the window, bundles of up to 256, {UNDER_WAY} under way at each of 4"
    yield from _rate("network.bundled", found, 2000, kv, 350, how)
    yield _p95("network.bundled.p95", found, 3, f"from before signing until executed by one's own node; {how}")


def _offered(net: Net, seconds: float) -> Iterator[Result]:
    found = net.load(Load(kind="receipt", window=2 * UNDER_WAY, seconds=seconds, rate=250))
    yield Result(
        name="network.offered", value=found.rate, unit="tx/s",
        conditions=f"1,000/s offered on a timetable, signed in the window; {found.said}",
    )  # fmt: skip
    yield _p95("network.offered.p95", found, 1, "1,000/s offered; from before signing until executed by one's own node")


def _larger(net: Net, kv: dict[int, Rates], seconds: float) -> Iterator[Result]:
    found = net.load(Load(kind="public", window=UNDER_WAY, seconds=seconds))
    yield from _rate("network.bundled.1000", found, 1600, kv, 1000, "signed in the window, bundled")


def _single(net: Net, kv: dict[int, Rates], seconds: float) -> Iterator[Result]:
    found = net.load(Load(kind="single", window=SINGLES_UNDER_WAY, seconds=seconds))
    how = f"each signed twice, in a bundle of its own, {SINGLES_UNDER_WAY} under way at each of 4"
    yield from _rate("network.single", found, 500, kv, 350, how)


def _anchored(net: Net, seconds: float) -> Iterator[Result]:
    """Anchors are transactions like any other: as many fingerprints stand as their batches hold."""
    found = net.load(Load(kind="anchor", window=8, seconds=seconds))
    yield Result(
        name="network.anchored", value=found.rate * MAX_LEAVES, unit="fingerprints/s", goal=100_000,
        conditions=f"AnchorBatch a second ({found.rate:,.1f}) x {MAX_LEAVES:,} fingerprints in a full batch; trees are "
        f"made before, by each member for itself (bench state: 2 us a fingerprint); {found.said}",
    )  # fmt: skip


def _marks(net: Net, count: int) -> Iterator[Result]:
    (spans,) = net.ask(net.voters[:1], "marks", count, 0.05, patience_s=PATIENCE_S + 3 * count)
    proven = [each for _, each in spans]
    yield Result(
        name="network.mark", value=percentile(proven, 0.5), unit="s", goal=2, more_is_better=False,
        conditions=f"p50 of {count} releases' marks on an otherwise idle network: submitted until a quorum's "
        f"cosignatures, exchanged over mutual TLS, prove it; a bundle fetched ahead has its mark already, so check-in "
        f"waits for none of this",
        reference="executed by our own node", reference_value=percentile([each for each, _ in spans], 0.5),
    )  # fmt: skip
    yield Result(
        name="network.mark.p95", value=percentile(proven, 0.95), unit="s", conditions="as above",
        reference="p50", reference_value=percentile(proven, 0.5),
    )  # fmt: skip


def _restart(net: Net, light: int) -> Iterator[Result]:
    """A member that was away comes back: it executes full blocks first, then light ones, which were made quickly."""
    full, size, _ = net.ask(net.voters[:1], "tip")[0]
    net.stop(net.voters)
    net.start(net.voters, commit_ms=1)
    net.ask(net.voters, "ready", len(net.voters) - 1, patience_s=2 * PATIENCE_S)
    until = net.ask(net.voters[:1], "tip")[0][0] + light
    net.ask(net.voters[:1], "blocks", until, patience_s=2 * PATIENCE_S)
    follower = MemberId(FOLLOWER)
    net.start([follower])
    (began,) = net.ask([follower], "reach", 1, patience_s=PATIENCE_S)
    (executed,) = net.ask([follower], "reach", full, patience_s=2 * PATIENCE_S)
    (light_began,) = net.ask([follower], "reach", until - light, patience_s=PATIENCE_S)
    (ended,) = net.ask([follower], "reach", until, patience_s=PATIENCE_S)
    yield Result(
        name="network.restart.light", value=(ended - light_began) * LIGHT_BLOCKS / light, unit="s", goal=10,
        more_is_better=False,
        conditions=f"{light:,} blocks of one or no transaction, fetched from four others, verified, executed, kept; "
        f"for {LIGHT_BLOCKS:,}",
        reference="blocks a second", reference_value=light / (ended - light_began),
    )  # fmt: skip
    yield Result(
        name="network.restart.full", value=size / (executed - began), unit="tx/s",
        conditions=f"{size:,} transactions of the loads above in {full:,} blocks, caught up in "
        f"{executed - began:.1f} s while the four idle",
    )  # fmt: skip
