"""An open study from enrolment to the end: the model is what a plain loop gives, and stays provable."""

import asyncio

import numpy as np

from commonward.ledger.ids import MemberId
from commonward.ledger.rounds import Mode, Rule, Status
from commonward.records.updates import Update
from commonward.workflows.training.exchange import _plain
from commonward.workflows.training.loop import Training
from commonward.workflows.training.papers import COUNTS, Asked, Given
from tests.consortium import Consortium
from tests.workflows.training.study_world import DAY, SITES, Study


async def test_four_sites_learn_what_a_plain_loop_over_the_same_rows_learns() -> None:
    async with Consortium() as c:
        world = await Study.begun(c)
        await world.works(world.over)
        await world.works(lambda: all(world.computed(site, 3) for site in SITES))
        assert world.standing.round == 3 and world.final(3).exclusions == ()
        for site in SITES:
            np.testing.assert_allclose(await world.learnt(site), world.plainly(3), atol=1e-5)
            progress = world.trainings[site].progress(world.id)
            assert progress is not None and [each.agrees for each in progress.rounds[:3]] == [True] * 3
            replayed = await world.trainings[site].replay(world.id)
            assert [each.same for each in replayed] == [True] * 3, replayed
        assert len({bytes(each.model or b"") for each in map(world.final, (1, 2, 3))}) == 3
        world.close()


async def test_counts_of_the_sites_test_rows_leave_at_the_end_and_add_up() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=3)
        wanted = Asked(world.id, 1).to_bytes()
        await world.works(lambda: world.computed("south", 1))
        assert world.standing.round < 3
        early = await c.peers.ask(MemberId("north"), MemberId("south"), COUNTS, wanted)
        assert Given.parse(early).parts == 0
        await world.works(world.over)
        await world.works(lambda: world.added_up("south") == [8, 8, 8])
        late = await c.peers.ask(MemberId("north"), MemberId("south"), COUNTS, wanted)
        assert Given.parse(late).parts == 1
        world.close()


async def test_updates_are_kept_for_disputes_and_then_destroyed_and_a_replay_says_so() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)
        await world.works(world.over)
        await world.works(lambda: world.computed("clinic", 1))
        site = world.trainings["clinic"]
        progress = site.progress(world.id)
        assert progress is not None and progress.updates_kept == 4
        await c.engine.pass_time(2 * DAY)
        await world.works(lambda: world.standing.status == Status.SETTLED)
        await world.once()
        progress = site.progress(world.id)
        assert progress is not None and progress.updates_kept == 0
        (replayed,) = await site.replay(world.id)
        assert replayed.same is None and "not here" in replayed.why
        assert site.sidecar(world.id) is not None and (await world.learnt("clinic")).shape == (2,)
        world.close()


async def test_a_site_that_had_a_vote_and_no_rows_destroys_what_the_others_sent_it() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1, awaited=3)
        for n in range(10):
            await world.withdraws("south", n)
        await world.works(world.over)
        await world.works(lambda: world.computed("south", 1))
        south = world.trainings["south"]
        assert south._site.store.manifest(world.id) is None and south._site.store.updates_kept(world.id) == 3
        world.leaves_alone("south")
        await c.engine.pass_time(2 * DAY)
        await world.works(lambda: world.standing.status == Status.SETTLED)
        assert world.wakes("south")._site.store.updates_kept(world.id) == 3, "it was away when the time was over"
        await world.once()
        assert world.trainings["south"]._site.store.updates_kept(world.id) == 0
        world.close()


async def test_a_site_that_leaves_is_in_the_round_under_way_and_in_no_other() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=3)
        await world.works(world.at(1))
        await c.south.office.studying.leave(world.id, "we lack the people")
        await world.works(world.over)
        there = next(number for number in (2, 3) if "south" not in world.final(number).sites)
        start = world.plainly(there - 1)
        expected = world.plainly(4 - there, SITES[:3], start)
        np.testing.assert_allclose(await world.learnt(), expected, atol=1e-5)
        world.close()


async def test_who_may_view_gets_the_model_from_a_site_and_nobody_else_does() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)
        await world.works(world.over)
        await c.shield.office.studying.papers(world.id)
        shield = Training(c.shield.office, world.holdings["north"], lambda name, digest: world.learners["north"])
        found = await shield.model(world.id)
        assert found is not None and found.digest == world.final(1).model
        shield.close()
        world.close()


async def test_the_last_round_is_trained_from_the_model_before_it_and_by_the_rule_of_the_study() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=2, rule=Rule.MEDIAN)
        await world.works(world.over)
        assert world.final(2).base == world.final(1).model
        for site in SITES:
            assert [(task.round, task.rule) for task in world.learners[site].trained] == [
                (1, Rule.MEDIAN),
                (2, Rule.MEDIAN),
            ]
        kept = world.trainings["north"]._site.store.update(world.id, 2, 1, "south")
        assert kept is not None and world.standing.terms.mode is Mode.OPEN
        assert Update.parse(_plain(world.id, kept) or b"").rows == 8
        world.close()


async def test_sites_that_run_by_themselves_bring_a_study_to_its_end() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=3)
        tasks = [asyncio.create_task(world.trainings[site].run(c.houses[site].node)) for site in SITES]
        async with asyncio.timeout(90):
            while not world.over():
                await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        np.testing.assert_allclose(await world.learnt(), world.plainly(3), atol=1e-5)
        world.close()
