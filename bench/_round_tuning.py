"""What governance adds to a round that fine-tunes the backbone (for `bench.round`), on SYNTHETIC photographs.

The four sites of `_round_world` with the learner of photographs and `train` = all: every round sends 3.4 million
changed weights. The loop without a ledger calls the same learners' processes, side by side as the nodes do.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final

from bench._heart_data import Client
from bench._machine import load
from bench._round_world import SITES, GovernedStudy, Kept, OnDisk, Span, Strategy
from bench.results import Result
from commonward.adapters.images.encode import encoded
from commonward.apps.samples.keratitis import pictures
from commonward.ledger.rounds import Rule
from commonward.records.rule_parameters import Parameters
from commonward.records.table import Column, Table, Type
from commonward.workflows.training.ports import Setting

__all__ = ["GOAL_SHARE", "share_of", "tuned"]

GOAL_SHARE: Final = 5.0
HOSPITALS: Final = {"clinic": "east", "health": "north", "north": "south", "south": "west"}
PATIENTS: Final = 24
TESTED: Final = 4
SIDE: Final = 128
PATIENCE_S: Final = 3600.0


def client(site: str, patients: int) -> Client:
    """A site's patients, one photograph of each; every fourth is kept apart to judge by."""
    drawn = pictures(HOSPITALS[site], patients)
    columns = (Column("photograph", Type.BYTES), Column("label", Type.TEXT))
    table = Table(columns, tuple((encoded(each.pixels), str(each.label)) for each in drawn))
    test = range(0, patients, TESTED)
    return Client(site, table.take([at for at in range(patients) if at not in test]), table.take(list(test)))


def strategy_of(patients: int) -> Strategy:
    """Starts all learners' processes: PyTorch takes seconds to import, once a study."""
    settings: dict[str, Setting] = {"train": "all", "image": SIDE}
    learners = {site: Kept("keratitis") for site in SITES}
    first = [each.first_model(settings) for each in learners.values()]
    clients = {site: client(site, patients) for site in SITES}
    return Strategy(learners, clients, first[0], Parameters(), settings, "keratitis", Rule.FEDAVG)


def share_of(governed: float, plain: float) -> float:
    """Per cent of a round that is governance."""
    return (governed - plain) / governed * 100


async def _governed(folder: Path, strategy: Strategy, rounds: int) -> tuple[bytes, list[Span]]:
    async with OnDisk.opened(folder) as disk:
        study = GovernedStudy(disk.c, strategy, rounds, patience_s=PATIENCE_S)
        await study.begun()
        await study.over()
        model = await study.learnt()
        study.close()
        return model.digest, study.spans()


def tuned(folder: Path, rounds: int, patients: int = PATIENTS) -> Iterator[Result]:
    """Of `rounds` rounds, with so many patients at each site."""
    strategy = strategy_of(patients)
    try:
        for site, each in strategy.learners.items():
            each.load(strategy.clients[site].train, strategy.clients[site].test)
        strategy.plainly(1, at_once=True)  # a worker's first round finds nothing warm
        digest, governed = asyncio.run(_governed(folder / "tuned", strategy, rounds))
        model, plain = strategy.plainly(rounds, at_once=True)
    finally:
        for each in strategy.learners.values():
            each.end()
    if model.digest != digest:
        raise AssertionError(f"expected the plain loop's model {model.digest.hex()}, got {digest.hex()}")
    numbers = sum(each.size for each in model)
    conditions = (
        f"{rounds} rounds, {len(SITES)} sites of {patients} SYNTHETIC photographs, {SIDE} pixels, 20 steps of 16, "
        f"{numbers:,} weights; one process and one a learner, peers in memory without TLS, real files; {load()}"
    )
    yield from results(governed, plain, conditions)


def results(governed: list[Span], plain: list[Span], conditions: str) -> Iterator[Result]:
    """By processor time of everything, and by the clock."""
    for name, said in (
        ("processor", "processor time of nodes, sequencer and learners"),
        ("wall", "by the clock, learners side by side in both loops"),
    ):
        whole, without = (median(getattr(each, name) for each in spans) for spans in (governed, plain))
        yield Result(
            name=f"round.share of fine-tuning ({name})", value=share_of(whole, without), unit="% of a round",
            goal=GOAL_SHARE, more_is_better=False,
            conditions=f"{said}: {whole:.1f} s a round with a ledger, {without:.1f} s without, medians; {conditions}",
        )  # fmt: skip
