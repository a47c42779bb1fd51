"""What a round costs under governance: four sites learn heart disease on the ledger, and without one, in the same run.

The same learners, rows and rule twice: through the loop of `workflows.training` on the embedded engine, on disk, and
as a plain loop that trains, aggregates the updates' bytes and judges. What is between them is signing, blocks, sealing,
exchange and keeping. Then the blocks that a round waits for: on an agreement in memory that makes one only so often,
and on CometBFT itself, with nodes as processes of their own. Last, a round that fine-tunes a backbone, both ways.
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench._heart_data import FIRST_SEED, Client, clients, tables
from bench._machine import load, scratch
from bench._round_meter import COMMITS, LOGS, Meter
from bench.results import Result
from commonward.records.rule_parameters import BILLION, Parameters
from commonward.workflows.training.papers import UPDATE

if TYPE_CHECKING:
    from bench._round_world import Span, Strategy

GOAL_MS = 10.0
GOAL_BLOCKS = 2
ROUNDS = 20
PACED_ROUNDS = 6
NETWORK_ROUNDS = 8
NETWORK_PATIENTS = 16
TUNED_ROUNDS = 2
BLOCK_S = 1.0
RIDGE = 0.03


def run(scale: float = 1.0) -> Iterator[Result]:
    from bench import _heart_road as road  # Flower takes seconds to import: only a run does
    from bench import _round_world as world

    four = clients(tables(), FIRST_SEED)
    settings = road.scales(four)
    strategy = world.strategy_of(
        [_some(each, scale) for each in four], settings, Parameters(ridge=round(RIDGE * BILLION))
    )
    rounds = max(4, round(ROUNDS * scale))
    try:
        with scratch() as folder:
            yield from asyncio.run(_on_disk(folder, strategy, rounds))
        yield from asyncio.run(_paced(strategy, max(3, round(PACED_ROUNDS * scale))))
    finally:
        for each in strategy.learners.values():
            each.end()
    yield from _on_cometbft(max(2, round(NETWORK_ROUNDS * scale)))
    yield from _tuned(max(1, round(TUNED_ROUNDS * scale)))


def _some(client: Client, scale: float) -> Client:
    fewer = [part.take(range(max(4, min(len(part), round(len(part) * scale))))) for part in (client.train, client.test)]
    return Client(client.site, *fewer)


def _ms(values: Sequence[float]) -> float:
    return median(values) * 1000


def _fsync_ms(folder: Path) -> float:
    """The floor of every promise to keep something: 4 KiB appended and synced, the median of fifty."""
    took = []
    with (folder / "floor").open("wb") as file:
        for _ in range(50):
            began = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return _ms(took)


async def _on_disk(folder: Path, strategy: "Strategy", rounds: int) -> list[Result]:
    from bench import _round_world as world

    fsync = _fsync_ms(folder)
    async with world.OnDisk.opened(folder / "timed") as disk:
        study = world.GovernedStudy(disk.c, strategy, rounds)
        await study.begun()
        await study.over()
        model, spans, blocks = await study.learnt(), study.spans(), study.blocks()
        given = median(len(answer) for _, _, path, _, answer in disk.c.peers.carried if path == UPDATE)
        study.close()
    plain_model, plain = strategy.plainly(rounds)
    if plain_model.digest != model.digest:
        raise AssertionError(f"expected the plain loop's model {plain_model.digest.hex()}, got {model.digest.hex()}")
    meter = Meter()
    async with world.OnDisk.opened(folder / "metered") as disk:
        study = world.GovernedStudy(disk.c, strategy, rounds)
        await study.begun()
        with meter.everywhere():
            await study.over()
        metered = study.spans()
        study.close()
    sites = len(world.SITES)
    rows = sum(len(each.train) + len(each.test) for each in strategy.clients.values())
    conditions = (
        f"{rounds} rounds, {sites} sites and the sequencer as one process, real files "
        f"({fsync:.2f} ms an fsync of 4 KiB), peers in memory without TLS; {rows} rows, "
        f"14 coefficients, an update answered in {given:,.0f} bytes; {load()}"
    )
    return list(_results(spans, plain, metered, meter, sites, blocks, conditions))


Spans = Sequence["Span"]


def _results(
    spans: Spans, plain: Spans, metered: Spans, meter: Meter, sites: int, blocks: Sequence[int], conditions: str
) -> Iterator[Result]:
    wall, cpu = _ms([each.wall for each in spans]), _ms([each.own for each in spans])
    plain_wall, plain_cpu = _ms([each.wall for each in plain]), _ms([each.own for each in plain])
    shares = (
        ("round.processor", cpu, plain_cpu, "processor time of all nodes and the sequencer, over the sites"),
        ("round.wall", wall, plain_wall, "time between two rounds' openings, over the sites, which share these cores"),
    )
    for name, value, without, said in shares:
        yield Result(
            name=name, value=(value - without) / sites, unit="ms a round and site", goal=GOAL_MS, more_is_better=False,
            reference="the whole of it without a ledger", reference_value=without / sites,
            conditions=f"median; {said}; beyond the loop without a ledger; {conditions}",
        )  # fmt: skip
    yield Result(
        name="round.period", value=wall, unit="ms", more_is_better=False, reference="without a ledger",
        reference_value=plain_wall, conditions=f"between two rounds' openings, all in one process; {conditions}",
    )  # fmt: skip
    yield Result(
        name="round.blocks", value=median(blocks), unit="blocks", more_is_better=False,
        conditions="from one round's opening to the next's on the embedded engine, which cuts whenever something waits",
    )  # fmt: skip
    yield from _where(metered, meter, sites)


def _where(metered: Spans, meter: Meter, sites: int) -> Iterator[Result]:
    """Processor time by kind of work, means of another study of as many rounds."""
    share = sites * len(metered) / 1000  # from seconds of all to milliseconds a site and round
    for kind, spent in sorted(meter.cpu.items(), key=lambda each: -each[1]):
        calls = meter.calls[kind] / (sites * len(metered))
        waited = f", {meter.wall[kind] / meter.calls[kind] * 1000:.2f} ms each" if kind in (COMMITS, LOGS) else ""
        yield Result(
            name=f"round.where.{kind}", value=spent / share, unit="ms a round and site", more_is_better=False,
            conditions=f"processor time, timed in a second study; {calls:.1f} times a round and site{waited}",
        )  # fmt: skip
    rest = sum(each.own for each in metered) - sum(meter.cpu.values())
    yield Result(
        name="round.where.the rest", value=rest / share, unit="ms a round and site", more_is_better=False,
        conditions="the loop itself, encoding, asyncio and threads, the learners' pipes, and the clocks that timed it",
    )  # fmt: skip


async def _paced(strategy: "Strategy", rounds: int) -> list[Result]:
    """Blocks on the critical path under consensus."""
    from bench import _round_world as world

    async with world.agreeing() as consortium:
        study = world.GovernedStudy(consortium, strategy, rounds)
        await study.begun()
        world.Paced.interval_s = BLOCK_S
        try:
            await study.over()
        finally:
            world.Paced.interval_s = 0.0
        took = study.blocks()
        study.close()
    return [
        Result(
            name="round.blocks under consensus in memory", value=median(took), unit="blocks", goal=GOAL_BLOCKS,
            more_is_better=False,
            conditions=f"between two rounds' openings, median of {len(took)} ({min(took)} to {max(took)}); five "
            f"members' nodes over an agreement in memory, a block every {BLOCK_S:g} s at most: not CometBFT itself",
        )
    ]  # fmt: skip


def _on_cometbft(rounds: int) -> Iterator[Result]:
    """Blocks on the critical path on CometBFT itself, open and masked."""
    from bench import _round_network as network

    if not network.installed():
        print(
            "round      not measured: blocks on CometBFT, which is not installed: run `make cometbft`", file=sys.stderr
        )
        return
    with scratch() as folder:
        found = network.on_cometbft(folder, ("open", "masked"), rounds, NETWORK_PATIENTS)
    for mode, (took, at_once) in found.items():
        yield network.result(mode, took, at_once, GOAL_BLOCKS)


def _tuned(rounds: int) -> Iterator[Result]:
    """The share of a round that fine-tunes the backbone."""
    if find_spec("torch") is None:
        print(
            "round      not measured: fine-tuning: PyTorch is not installed: run `make .venv/.vision`", file=sys.stderr
        )
        return
    from bench import _round_tuning as tuning

    with scratch() as folder:
        yield from tuning.tuned(folder, rounds)
