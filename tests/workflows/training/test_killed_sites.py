"""A site that is killed at any step goes on from its stores alone; one that is slow or away is waited for, then not."""

import numpy as np
import pytest

from commonward.ledger.ids import MemberId
from commonward.ledger.rounds import Mode, Status
from commonward.workflows.ports import LedgerAway, PeerAway
from commonward.workflows.training.papers import PART_BYTES
from tests.consortium import Consortium
from tests.workflows.training.study_world import MINUTE, SITES, Study

STEPS = [
    "study.manifest.planned",
    "study.manifest.signed",
    "study.manifest.landed",
    "study.trained",
    "study.update.made",
    "study.update.signed",
    "study.update.landed",
    "study.update.committed",
    "study.bytes.received",
    "study.aggregated",
    "study.model.made",
    "study.countersign.signed",
    "study.countersign.landed",
    "study.countersigned",
    "study.round.kept",
    "study.lineage.kept",
]
MASKED_STEPS = [
    "study.keys.planned",
    "study.keys.signed",
    "study.keys.landed",
    "study.keys.posted",
    "study.trained",
    "study.update.made",
    "study.update.landed",
    "study.revealed",
    "study.aggregated",
    "study.countersign.landed",
    "study.round.kept",
]


async def killed_at(world: Study, steps: list[str]) -> None:
    """South dies at each of these steps, one after the other, and wakes each time."""
    house = world.c.south
    left = list(steps)

    def armed() -> bool:
        if left and len(world.killed) == len(steps) - len(left):
            house.dies_at(left.pop(0))
        return world.over() and world.computed("south", world.standing.terms.rounds)

    await world.works(armed, passes=200)
    assert world.killed == steps


@pytest.mark.parametrize("mode", list(Mode))
async def test_a_site_killed_at_every_step_loses_nothing_and_says_nothing_twice(mode: Mode) -> None:
    async with Consortium() as c:
        steps = STEPS if mode is Mode.OPEN else MASKED_STEPS
        world = await Study.begun(c, mode=mode, rounds=8)
        await killed_at(world, steps)
        assert all(world.final(number).attempt == 1 for number in range(1, 9))
        assert all(len(world.final(number).updates) == 4 for number in range(1, 9))
        np.testing.assert_allclose(await world.learnt("south"), world.plainly(8), atol=1e-5)
        world.close()


@pytest.mark.parametrize("step", ["study.keys.signed", "study.keys.landed", "study.keys.posted"])
async def test_killed_as_its_keys_land_a_site_is_in_the_one_round_that_there_is(step: str) -> None:
    """No keys are posted any more once the last round is open: those that stand have to do."""
    async with Consortium() as c:
        world = await Study.begun(c, mode=Mode.MASKED, rounds=1)
        c.south.dies_at(step)
        await world.works(world.over)
        assert world.killed == [step] and world.final(1).attempt == 1 and len(world.final(1).updates) == 4
        world.close()


async def test_ledger_and_peers_that_fail_before_or_after_their_effect_change_nothing() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=3)
        turn = 0

        def failing() -> bool:
            nonlocal turn
            turn += 1
            after = turn % 2 == 0
            c.engine.nodes[MemberId("south")].cue.fail_next("submit", after_effect=after)
            c.peers.cue.fail_next("study/update", after_effect=after)
            return world.over()

        await world.works(failing, passes=200)
        assert all(world.final(number).attempt == 1 for number in (1, 2, 3))
        np.testing.assert_allclose(await world.learnt(), world.plainly(3), atol=1e-5)
        assert issubclass(LedgerAway, Exception) and issubclass(PeerAway, Exception)
        world.close()


async def test_a_straggler_is_waited_for_until_the_deadline_and_the_round_goes_on_without_it() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=2)
        world.learners["south"].fails = 99
        await world.works(lambda: world.round is not None and len(world.round.updates) == 3)
        for _ in range(3):
            await world.once()
        assert world.standing.round == 0
        await c.engine.pass_time(11 * MINUTE)
        world.learners["south"].fails = 0
        await world.works(world.over)
        assert [each.site for each in world.final(1).updates] == ["clinic", "health", "north"]
        assert len(world.final(2).updates) == 4
        assert world.computed("south", 1)  # it had a vote, and used it
        world.close()


async def test_with_too_few_by_the_deadline_another_attempt_opens_and_what_was_trained_is_not_used_again() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)
        for name in ("south", "health"):
            world.learners[name].fails = 99
        await world.works(lambda: world.round is not None and len(world.round.updates) == 2)
        await c.engine.pass_time(11 * MINUTE)
        for name in ("south", "health"):
            world.learners[name].fails = 0
        await world.works(world.over)
        assert world.final(1).attempt == 2
        assert [task.attempt for task in world.learners["north"].trained] == [1, 2]
        world.close()


async def test_a_site_that_was_away_for_a_round_joins_in_where_the_others_are() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=3)
        await world.works(world.at(1))
        world.leaves_alone("south")
        await world.works(world.at(2), minutes=2)  # round 2 without it, or without bytes that nobody can have
        world.comes_back("south")
        await world.works(world.over)
        assert world.standing.status == Status.CLOSED
        assert "south" in [each.site for each in world.final(3).updates]
        found = await world.trainings["south"].model(world.id)
        assert found is not None and found.digest == world.standing.model
        world.close()


async def test_bytes_of_a_site_that_died_come_from_who_has_them() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)
        await world.works(lambda: world.round is not None and world.round.fixed is not None)
        north, south = world.trainings["north"], world.trainings["south"]
        current = world.round
        assert current is not None
        await north._exchange.collect(world.id, Mode.OPEN, current, PART_BYTES)
        world.leaves_alone("south")
        await world.works(world.over, minutes=1)  # its counts are waited for as long as signatures were
        assert world.final(1).exclusions == () and len(world.final(1).updates) == 4
        assert south is world.trainings["south"] and set(SITES) >= {each.site for each in current.updates}
        world.close()
