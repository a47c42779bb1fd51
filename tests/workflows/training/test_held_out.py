"""Who may judge a finished model by its own rows as one that it never saw."""

import pytest

from commonward.ledger.rounds import Status
from commonward.workflows.training.held_out import NotHeldOut, judge
from tests.consortium import Consortium
from tests.workflows.training.study_world import DAY, Study


async def test_who_took_part_is_never_held_out_not_even_once_the_ledger_forgot_its_sites() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)
        await world.works(world.over)
        model = await world.trainings["clinic"].model(world.id)
        assert model is not None

        async def tries() -> None:
            studying, holding = c.houses["clinic"].office.studying, world.holdings["clinic"]
            found = await judge(
                studying, "clinic", holding, lambda name, approved: world.learners["clinic"], world.id, model
            )
            raise AssertionError(f"judged by rows that it learnt from: {found.counts}")

        with pytest.raises(NotHeldOut, match="took no part"):
            await tries()
        await c.engine.pass_time(2 * DAY)
        await world.works(lambda: world.standing.status == Status.SETTLED)
        assert world.c.north.office.studying.rounds.site(world.id, "clinic") is None
        with pytest.raises(NotHeldOut, match="took no part"):
            await tries()
        world.close()
