"""What a round costs is counted once, by kind of work, and the loop beside it makes the same model."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from bench import _round_network as network
from bench import _round_tuning as tuning
from bench import _round_world as world
from bench._heart_data import FIRST_SEED, Client, clients, tables
from bench._round_meter import PLACES, Meter
from bench.round import _results
from commonward.ledger.ids import BlockTime, Digest, Height, MemberId
from commonward.ledger.rounds.study import Round
from commonward.records.model import ONE
from commonward.records.rule_parameters import BILLION, Parameters

SETTINGS = {"mean": (0,) * 13, "deviation": (100 * ONE,) * 13}


def test_work_inside_other_work_is_counted_once() -> None:
    meter = Meter()
    inner = meter._metered("inner", lambda: sum(range(200_000)))
    meter._metered("outer", lambda: inner())()
    assert meter.calls == {"inner": 1, "outer": 1}
    assert meter.cpu["inner"] > meter.cpu["outer"] >= 0
    assert meter.wall["outer"] >= meter.wall["inner"]


def test_what_is_timed_is_there_and_is_put_back() -> None:
    before = [getattr(owner, name) for _, owner, name in PLACES]
    with Meter().everywhere():
        assert all(getattr(owner, name) is not was for (_, owner, name), was in zip(PLACES, before, strict=True))
    assert [getattr(owner, name) for _, owner, name in PLACES] == before


def test_the_figures_are_what_the_loop_without_a_ledger_does_not_take() -> None:
    spans, plain = [world.Span(0.1, 0.05)] * 3, [world.Span(0.02, 0.01)] * 3
    found = {each.name: each for each in _results(spans, plain, spans, Meter(), 4, [2, 3, 2], "n = 3")}
    assert found["round.processor"].value == pytest.approx(10.0)
    assert found["round.wall"].value == pytest.approx(20.0) and found["round.wall"].met is False
    assert found["round.period"].reference_value == pytest.approx(20.0)
    assert found["round.blocks"].value == 2


def _round(number: int, height: int, fixed: int, final: int | None) -> Round:
    none = Digest(bytes(32))
    return Round(
        number, 1, none, BlockTime(1), Height(height), BlockTime(2), (MemberId("north"),), (MemberId("north"),), (), (),
        False, Height(fixed), BlockTime(3), None if final is None else Height(final),
    )  # fmt: skip


def test_a_round_waits_for_the_block_of_the_last_update_and_that_of_the_deciding_signature() -> None:
    rounds = [_round(1, 10, 13, 16), _round(2, 16, 17, 18), _round(3, 18, 19, None)]
    early, late, missed = network.Landed(True, 10), network.Landed(True, 12), network.Landed(True, 16)
    signed, slow = network.Landed(False, 15), network.Landed(False, 13)
    blocks = {11: [early, early], 12: [], 13: [early, late], 14: [slow], 16: [slow, signed], 17: [missed], 18: [signed]}
    first, second = network.counted(rounds, blocks, {10: 1000, 16: 4000, 18: 4500})
    assert (first.all, first.busy, first.path, first.seconds) == (6, 4, 3, 3.0), "a signature missed block 14"
    assert (second.all, second.busy, second.path, second.seconds) == (2, 2, 2, 0.5)
    found = network.result("open", [first, second, second], 1, 2)
    assert found.value == 2 and found.met and "(2 to 3)" in found.conditions and "(2 to 4)" in found.conditions


def test_the_share_of_governance_is_what_a_round_would_do_without() -> None:
    governed, plain = [world.Span(20.0, 2.0, 38.0)], [world.Span(19.0, 0.4, 37.6)]
    processor, wall = tuning.results(governed, plain, "n = 1")
    assert processor.value == pytest.approx(5.0) and processor.met
    assert wall.value == pytest.approx(5.0)


async def test_the_study_on_disk_learns_what_the_plain_loop_learns(tmp_path: Path) -> None:
    few = [
        Client(each.site, each.train.take(range(8)), each.test.take(range(4))) for each in clients(tables(), FIRST_SEED)
    ]
    strategy = await asyncio.to_thread(world.strategy_of, few, SETTINGS, Parameters(ridge=BILLION // 10))
    try:
        async with world.OnDisk.opened(tmp_path) as disk:
            study = world.GovernedStudy(disk.c, strategy, 2)
            await study.begun()
            await study.over()
            model = await study.learnt()
            assert len(study.spans()) == 2
            assert all(after > before for before, after in pairwise(study.opened.values()))
            study.close()
        plain, took = await asyncio.to_thread(strategy.plainly, 2)
        assert (plain.digest, len(took)) == (model.digest, 2)
    finally:
        for each in strategy.learners.values():
            each.end()
