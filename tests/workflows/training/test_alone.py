"""What a site would have without the others: learnt of its own rows, judged by its own, kept and told nowhere."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from commonward.ledger.rounds import Mode, Rule
from commonward.records.model import Tensor
from commonward.workflows.study_papers import settings_bytes
from commonward.workflows.training.alone import alone
from commonward.workflows.training.loop import Training
from commonward.workflows.training.models import Learners
from commonward.workflows.training.site import Waits
from tests.consortium import Consortium
from tests.workflows.training.study_world import Line, Study


def _close(counts: tuple[Tensor, ...]) -> list[int]:
    return next(each.integers.tolist() for each in counts if each.name == "close")


async def test_a_site_alone_learns_of_its_own_training_rows_and_is_judged_by_its_own_test_rows() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=2)
        await world.works(world.over)
        await world.works(lambda: world.learners["north"].closed)
        asked: list[Line] = []

        def made(name: str, approved: object) -> Line:
            asked.append(Line())
            return asked[-1]

        north = world.trainings["north"]
        north._learners._make = made
        found = _close(await north.alone(world.id))
        (line,) = asked
        assert found[1] == len(line.test_rows) == 2, "two of ten patients are kept apart"
        assert len(line.train_rows) == 8 and [each.round for each in line.trained] == [1, 2]
        assert line.closed, "nothing runs on of a study that is over"
        world.close()


async def test_a_site_alone_learns_without_the_noise_that_protects_updates() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)
        await world.works(lambda: world.computed("north", 1))
        papers = await c.north.office.studying.papers(world.id)
        told = replace(papers.protocol, settings=settings_bytes({"rate": 500, "noise": 3_000_000}))
        line, north = Line(), world.trainings["north"]
        learners = Learners(north._site, lambda name, approved: line)
        await alone(north._site, learners, north._models, world.standing, replace(papers, protocol=told))
        assert [dict(each.settings) for each in line.trained] == [{"rate": 500}]
        world.close()


async def test_a_rule_against_false_sites_is_an_average_of_one() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1, rule=Rule.MEDIAN)
        await world.works(world.over)
        assert _close(await world.trainings["south"].alone(world.id))[1] == 2
        world.close()


async def test_what_adds_up_or_has_no_rows_here_is_told_to_make_no_model() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1, mode=Mode.MASKED)
        await world.works(world.over)
        assert np.isfinite(_close(await world.trainings["clinic"].alone(world.id))).all()
        outsider = Training(c.houses["shield"].office, world.holdings["north"], lambda name, approved: Line())
        with pytest.raises(Waits, match="takes no part"):
            await asyncio.wait_for(outsider.alone(world.id), 60)
        outsider.close()
        world.close()
