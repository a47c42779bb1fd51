"""Transactions through the embedded engine, durable: one sequencer alone, then with nodes that replay and cosign.

Every process has its own directory, keys and fsyncs, and all talk over mutual TLS on loopback, as a consortium's do.
Floors in the same run: the same signatures verified and nothing else, the same bytes appended and synced and nothing
else, each on one core. The steps of one transaction are timed alone, in one process, to show where the time goes.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench._consortium import Process, founded, node_main, sequencer_main, signed, submitter_main
from bench._machine import percentile, scratch
from bench.results import Result
from commonward.apps.founding import Founded
from commonward.apps.settings import load
from commonward.apps.wiring import open_keys
from commonward.ledger.ids import Height, Purpose
from commonward.ledger.merkle.log import MemoryLogStore
from commonward.ledger.proofs import verify
from commonward.ledger.transactions import Header, build_block, build_bundle, parse_transaction
from commonward.ledger.transition import Machine, MemoryStore

BUNDLE = 64
WINDOW = 128
NODE_WINDOW = 64


def run(scale: float = 1.0) -> Iterator[Result]:
    with scratch() as folder:
        consortium = founded(folder / "consortium")
        steps = _steps(consortium, folder, max(BUNDLE, int(6400 * scale) // BUNDLE * BUNDLE))
        yield from _alone(consortium, int(20_000 * scale), steps)
        yield from steps.results()
    with scratch() as folder:
        yield from _together(founded(folder / "consortium"), int(3000 * scale), int(300 * scale))


class Steps:
    """Microseconds a transaction for each step, and its size."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.took: dict[str, float] = {}

    def time(self, step: str, work: Callable[[], object], count: int) -> None:
        began = time.perf_counter()
        work()
        self.took[step] = (time.perf_counter() - began) / count * 1e6

    def results(self) -> Iterator[Result]:
        for step, value in self.took.items():
            yield Result(
                name=f"submit.step.{step}", value=value, unit="us",
                conditions=f"a transaction of {self.size} bytes, one core, bundles of {BUNDLE}",
            )  # fmt: skip


def _steps(consortium: Founded, folder: Path, count: int) -> Steps:
    genesis = consortium.genesis.genesis
    keys = open_keys(load(consortium.members[next(iter(consortium.members))]))
    machine = Machine(genesis, MemoryStore(), MemoryLogStore())
    raws = signed(keys, machine.ledger_id, (machine.tip.size, machine.tip.root), 0, count)
    groups = [raws[at : at + BUNDLE] for at in range(0, count, BUNDLE)]
    _, _, carry = keys.public(Purpose.CARRY)
    bundles = [
        build_bundle(machine.ledger_id, carry, group, lambda message: keys.sign(Purpose.CARRY, message))
        for group in groups
    ]
    steps = Steps(len(raws[0]))
    steps.time("read", lambda: [parse_transaction(raw) for raw in raws], count)
    jobs = [job for each in bundles for job in machine.signature_jobs(build_block(_header(machine), [each]))]
    steps.time("verify signature", lambda: [verify(*job) for job in jobs], count)
    machine.accept_verified(jobs)
    steps.time("check the rest", lambda: [machine.check(raw, machine.tip.time) for raw in raws], count)
    steps.time("execute and commit", lambda: _execute(machine, bundles), count)
    steps.time("append and sync", lambda: _append(folder / "floor", bundles), count)
    return steps


def _header(machine: Machine) -> Header:
    return Header(Height(machine.applied.height + 1), max(machine.applied.time + 1, machine.tip.time + 1))  # type: ignore[arg-type]


def _execute(machine: Machine, bundles: Sequence[bytes]) -> None:
    for bundle in bundles:
        machine.commit(machine.stage(build_block(_header(machine), [bundle])))


def _append(path: Path, bundles: Sequence[bytes]) -> None:
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    for bundle in bundles:
        os.write(file, bundle)
        os.fdatasync(file)
    os.close(file)


def _alone(consortium: Founded, count: int, steps: Steps) -> Iterator[Result]:
    """A member's program submits single transactions; the sequencer checks, orders, executes, signs and publishes."""
    sequencer = Process(sequencer_main, str(consortium.members[consortium.operator]))
    submitter = Process(submitter_main, str(consortium.members[next(iter(consortium.members))]))
    try:
        size = submitter.ask("sign", 10**6, count)
        used = sequencer.ask("cpu")
        began, ended, took = submitter.ask("burst", WINDOW)
        used = sequencer.ask("cpu") - used
    finally:
        submitter.kill()
        sequencer.kill()
    conditions = f"{count} signed transactions of {size} bytes, {WINDOW} under way, fsync, TLS, 2 processes"
    yield Result(
        name="submit.pipelined", value=count / (ended - began), unit="tx/s", goal=5000, conditions=conditions,
        reference="verify the signatures, one core", reference_value=1e6 / steps.took["verify signature"],
    )  # fmt: skip
    yield Result(
        name="submit.pipelined.p99", value=percentile(took, 0.99) * 1000, unit="ms", goal=50, more_is_better=False,
        conditions=conditions, reference="p50", reference_value=percentile(took, 0.5) * 1000,
    )  # fmt: skip
    yield Result(
        name="submit.append", value=1e6 / steps.took["append and sync"], unit="tx/s",
        conditions=f"floor: the same bytes appended in groups of {BUNDLE}, each synced",
    )  # fmt: skip
    yield Result(
        name="submit.sequencer.cpu", value=used / count * 1e6, unit="us",
        conditions="processor time of the sequencer a transaction, all its threads",
    )  # fmt: skip


def _together(consortium: Founded, each: int, lone: int) -> Iterator[Result]:
    """Five nodes for the lone transaction, then four that all submit, replay and cosign."""
    sequencer = Process(sequencer_main, str(consortium.members[consortium.operator]))
    nodes = {member: Process(node_main, str(path)) for member, path in consortium.members.items()}
    try:
        for node in nodes.values():
            node.tell("ready")
        for node in nodes.values():
            node.answer()
        first = next(iter(nodes.values()))
        first.ask("sign", 10**9, lone)
        committed, proven = first.ask("lone", lone)
        conditions = "one at a time, five nodes and the sequencer on one machine, fsync on each, TLS"
        yield Result(
            name="submit.lone.committed", value=percentile(committed, 0.5) * 1000, unit="ms",
            conditions=f"p50; executed by our own node; {conditions}",
        )  # fmt: skip
        yield Result(
            name="submit.lone.cosigned", value=percentile(proven, 0.5) * 1000, unit="ms", goal=15,
            more_is_better=False, conditions=f"p50; a quorum's cosignatures verified; {conditions}",
            reference="p99", reference_value=percentile(proven, 0.99) * 1000,
        )  # fmt: skip
        nodes.pop(consortium.operator).kill()
        yield from _four(sequencer, list(nodes.values()), each)
    finally:
        for process in (sequencer, *nodes.values()):
            process.kill()


def _four(sequencer: Process, nodes: Sequence[Process], each: int) -> Iterator[Result]:
    for at, node in enumerate(nodes):
        node.tell("sign", at * 10**6, each)
    size = max([node.answer() for node in nodes])
    before = [process.ask("cpu") for process in (sequencer, *nodes)]
    for node in nodes:
        node.tell("burst", NODE_WINDOW)
    bursts = [node.answer() for node in nodes]
    used = [process.ask("cpu") - b for process, b in zip((sequencer, *nodes), before, strict=True)]
    count = each * len(nodes)
    span = max(ended for _, ended, _ in bursts) - min(began for began, _, _ in bursts)
    top = max(node.ask("tip")[2] for node in nodes)
    for node in nodes:
        node.ask("caught up", top)
    assert len({node.ask("tip") for node in nodes}) == 1, "expected one root on all nodes"
    took = [one for _, _, times in bursts for one in times]
    conditions = (
        f"{count} signed transactions of {size} bytes from {len(nodes)} nodes, {NODE_WINDOW} under way at each; every "
        f"node verifies, executes, syncs and cosigns every block; {os.cpu_count()} cores, fsync, TLS"
    )
    yield Result(
        name="submit.four_nodes", value=count / span, unit="tx/s", goal=1500, conditions=conditions,
        reference="cores / processor time a transaction over all processes",
        reference_value=(os.cpu_count() or 1) * count / sum(used),
    )  # fmt: skip
    yield Result(
        name="submit.four_nodes.p99", value=percentile(took, 0.99) * 1000, unit="ms", conditions=conditions,
        reference="p50", reference_value=percentile(took, 0.5) * 1000,
    )  # fmt: skip
    yield Result(
        name="submit.node.cpu", value=sum(used[1:]) / len(nodes) / count * 1e6, unit="us",
        conditions="processor time of one node a transaction: a fourth of them its own, all of them executed",
    )  # fmt: skip
