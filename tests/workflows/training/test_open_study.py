"""An open study from enrolment to the end: the model is what a plain loop gives, and stays provable."""

import numpy as np

from tests.consortium import Consortium
from tests.workflows.training.study_world import SITES, Study


async def test_four_sites_learn_what_a_plain_loop_over_the_same_rows_learns() -> None:
    async with Consortium() as c:
        world = await Study.begun(c)
        await world.works(world.over)
        assert world.standing.round == 3 and world.final(3).exclusions == ()
        for site in SITES:
            np.testing.assert_allclose(await world.learnt(site), world.plainly(3), atol=1e-5)
            progress = world.trainings[site].progress(world.id)
            assert progress is not None and [each.agrees for each in progress.rounds[:3]] == [True] * 3
        world.close()
