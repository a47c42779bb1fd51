"""One hospital's whole road to another: a history of 100 records asked for, released, marked, cosigned, received, kept.

A consortium of five members, each a node in a process of its own, and the sequencer, over mutual TLS on loopback, with
fsync at each. South asks as its registration desk does, for each fetch anew: north judges, opens and decides all
records, checks each against its anchor, seals and stores, marks on the ledger and waits until more than two thirds
cosigned; south opens, checks every fingerprint and anchor, decides again and keeps. Then the receipt. The floor in
the same run: one transaction proven by a quorum, and the same bytes sealed and opened.
"""

import os
import time
from collections.abc import Iterator, Sequence

from bench._consortium import Process, founded, sequencer_main
from bench._hospital import between, member_main
from bench._machine import percentile, scratch
from bench.results import Result
from commonward.apps.founding import Founded
from commonward.ledger.ids import MemberId
from commonward.records.envelope import open_from, public_of, seal_to

RECORDS = 100
GOAL_MS = 40
NORTH, SOUTH = MemberId("north"), MemberId("south")
TICK_MS = 10_000  # each member anchors and writes its log's root this often; a minute by default
PAUSE_S = 0.05  # so that the nodes stand still when the next request comes, as at a real desk

ROAD: tuple[tuple[str, str, str], ...] = (
    ("ask", "began", "ask.arrived"),
    ("judge, open, decide, check", "ask.arrived", "release.decided"),
    ("seal and store", "release.decided", "release.reserved"),
    ("sign the mark, keep it", "release.reserved", "release.mark.signed"),
    ("order, execute", "release.mark.signed", "release.mark.landed"),
    ("cosigned", "release.mark.landed", "release.cosigned"),
    ("note it, wait for the grid", "release.cosigned", "ask.leaves"),
    ("deliver", "ask.leaves", "request.answered"),
    ("open, check, decide, keep", "request.answered", "request.kept"),
    ("receipt", "request.kept", "ended"),
)
"""The steps of one fetch: name, from, to. All on one clock (CLOCK_MONOTONIC), so both processes' times compare."""


def run(scale: float = 1.0) -> Iterator[Result]:
    with scratch() as folder:
        yield from _measured(founded(folder / "consortium", tick_ms=TICK_MS), max(5, int(200 * scale)))


def _measured(consortium: Founded, count: int) -> Iterator[Result]:
    sequencer = Process(sequencer_main, str(consortium.members[consortium.operator]))
    nodes = {member: Process(member_main, str(path)) for member, path in consortium.members.items()}
    north, south = nodes[NORTH], nodes[SOUTH]
    try:
        for node in nodes.values():
            node.tell("ready")
        for node in nodes.values():
            node.answer()
        handle, stored = north.ask("admit", RECORDS, SOUTH)
        (began, ended), *_ = south.ask("fetch", handle, NORTH, 5, PAUSE_S)
        yield Result(
            name="release.first", value=(ended - began) * 1000, unit="ms",
            conditions="one fetch and its receipt right after the nodes started: no connection open, no record's facts "
            "or proof remembered; all others below are repeated, with them remembered at north",
        )  # fmt: skip
        default = north.ask("grid", 1)
        north.ask("grid", default)
        for grid in (default, 1):
            yield from _fetched(north, south, handle, count, grid, stored, default)
    finally:
        for process in (sequencer, *nodes.values()):
            process.kill()


def _fetched(
    north: Process, south: Process, handle: bytes, count: int, grid: int, stored: int, default: int
) -> Iterator[Result]:
    """Repeated fetches with answers on one grid, and the floor right after them."""
    north.ask("grid", grid)
    for node in (north, south):
        node.ask("seen")
    load = os.getloadavg()[0]
    spans = south.ask("fetch", handle, NORTH, count, PAUSE_S)
    times = between([*north.ask("seen"), *south.ask("seen")])
    times["began"], times["ended"] = [began for began, _ in spans], [ended for _, ended in spans]
    assert len({len(times[name]) for _, *ends in ROAD for name in ends}) == 1, {k: len(v) for k, v in times.items()}
    sealed, answer = south.ask("sizes")
    cosigned = percentile(north.ask("lone", max(20, count // 4)), 0.5) * 1000
    sealing = percentile(_sealing(sealed), 0.5) * 1000
    delivered = _between(times, "began", "request.kept")
    conditions = (
        f"{count} fetches, one at a time, of {RECORDS} records ({stored} stored bytes, {sealed} sealed); answers on a "
        f"grid of {grid} ms{' (default)' if grid == default else ''}; 5 nodes and the sequencer, mutual TLS, fsync, "
        f"a tick of {TICK_MS // 1000} s; {os.cpu_count()} cores, load {load:.1f}"
    )
    name = "release" if grid == default else f"release.grid_{grid}"
    floor = "one transaction proven by a quorum, the same bytes sealed and opened"
    yield Result(
        name=name, value=percentile(delivered, 0.5), unit="ms", goal=GOAL_MS, more_is_better=False,
        conditions=f"p50, from signing the request until it is kept; {conditions}",
        reference=floor, reference_value=cosigned + sealing,
    )  # fmt: skip
    yield Result(
        name=f"{name}.p95", value=percentile(delivered, 0.95), unit="ms", conditions=conditions,
        reference="fastest", reference_value=min(delivered),
    )  # fmt: skip
    yield Result(
        name=f"{name}.with_receipt", value=percentile(_between(times, "began", "ended"), 0.5), unit="ms",
        conditions="p50, until the receipt, too, stands on the ledger and its custodian has it",
        reference="two transactions proven by a quorum", reference_value=2 * cosigned,
    )  # fmt: skip
    if grid == default:
        yield Result(
            name="release.answer", value=answer / 1024, unit="KiB", conditions="what is sent, padded",
            reference="the stored bytes of its records", reference_value=stored / 1024,
        )  # fmt: skip
        yield Result(name="release.floor.cosigned", value=cosigned, unit="ms", conditions="p50, on the idle consortium")
        yield Result(name="release.floor.sealed", value=sealing, unit="ms", conditions=f"p50, {sealed} bytes by HPKE")
    for step, start, end in ROAD:
        took = _between(times, start, end)
        yield Result(
            name=f"{name}.step.{step}", value=percentile(took, 0.5), unit="ms", conditions="p50",
            reference="p95", reference_value=percentile(took, 0.95),
        )  # fmt: skip


def _between(times: dict[str, list[float]], start: str, end: str) -> list[float]:
    """Milliseconds from one step to another, fetch by fetch."""
    return [(to - since) * 1000 for since, to in zip(times[start], times[end], strict=True)]


def _sealing(size: int) -> Sequence[float]:
    """Seconds to seal and open as many bytes, in this process."""
    private = os.urandom(32)
    public = public_of(private)
    words, took = os.urandom(size), []
    for _ in range(50):
        began = time.perf_counter()
        open_from(private, b"bench", seal_to(public, b"bench", words))
        took.append(time.perf_counter() - began)
    return took
