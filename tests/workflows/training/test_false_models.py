"""A site that gives other models than were countersigned, and not everyone the same one."""

import numpy as np

from commonward.ledger.ids import MemberId
from commonward.records.model import Model
from commonward.workflows.training.loop import Training
from commonward.workflows.training.papers import MODEL, Given, model_bytes
from tests.consortium import Consortium
from tests.workflows.training.study_world import SITES, Study


def gives_another_to_each(world: Study, *sites: str) -> None:
    """These sites answer every asker with a model of its own."""

    async def false(asker: MemberId, body: bytes) -> bytes:
        line = np.array([float(len(asker)), -1.0])
        return Given.piece(model_bytes(Model.from_floats({"line": line})), 0).to_bytes()

    for site in sites:
        world.c.houses[site].office.desk.handlers[MODEL] = false


async def test_who_sends_different_models_to_different_members_is_believed_by_none() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)
        await world.works(world.over)
        gives_another_to_each(world, *SITES[:3])
        await c.shield.office.studying.papers(world.id)
        shield = Training(c.shield.office, world.holdings["north"], lambda name, digest: world.learners["north"])
        found = await shield.model(world.id)
        assert found is not None and found.digest == world.final(1).model, "the one true site is found"
        shield.close()
        world.close()


async def test_where_all_send_false_models_there_is_none_rather_than_a_false_one() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)
        await world.works(world.over)
        gives_another_to_each(world, *SITES)
        await c.shield.office.studying.papers(world.id)
        shield = Training(c.shield.office, world.holdings["north"], lambda name, digest: world.learners["north"])
        assert await shield.model(world.id) is None
        shield.close()
        world.close()


async def test_a_site_that_was_away_goes_on_from_the_countersigned_model_alone() -> None:
    """The same for a site of the study, which asks the others for what it did not compute."""
    async with Consortium() as c:
        world = await Study.begun(c, rounds=3)
        await world.works(world.at(1))
        world.leaves_alone("south")
        await world.works(world.at(2), minutes=2)
        gives_another_to_each(world, "clinic", "health")
        world.comes_back("south")
        await world.works(world.over)
        assert (await world.learnt("south") == await world.learnt("north")).all()
        assert "south" in [each.site for each in world.final(3).updates] and world.final(3).exclusions == ()
        world.close()
