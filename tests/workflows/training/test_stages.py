"""A site looks at a study again when the ledger brought it something to act upon, and not for every block of others."""

from commonward.ledger.consent import Withdraw
from commonward.ledger.ids import MemberId
from commonward.workflows.training.stages import Stages
from tests.consortium import Consortium
from tests.ledgerkit import commitment
from tests.workflows.training.study_world import MINUTE, Study


async def test_what_others_do_calls_for_no_pass_until_it_is_enough() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=2)
        stages = Stages(world.trainings["north"]._site)
        assert stages.moved(world.id) and not stages.moved(world.id)
        world.learners["south"].fails = 99
        await world.works(lambda: world.round is not None)
        assert stages.moved(world.id)  # round 1 is open
        await world.works(lambda: world.round is not None and len(world.round.updates) == 3)
        assert not stages.moved(world.id)  # three updates of four, ours among them
        await c.engine.pass_time(11 * MINUTE)
        await world.comes(lambda: world.round is not None and world.round.fixed is not None)
        assert stages.moved(world.id)  # time alone fixed the set
        world.learners["south"].fails = 0
        await world.works(world.at(1))
        assert stages.moved(world.id)  # final, and round 2 is open
        await world.works(world.over)
        assert stages.moved(world.id)
        world.close()


async def test_a_consent_withdrawn_here_calls_for_a_pass_and_one_elsewhere_does_not() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=3)
        await world.works(world.at(1))
        world.learners["south"].fails = 99  # the round stays open
        await world.once()
        stages = Stages(world.trainings["north"]._site)
        stages.moved(world.id)
        before = world.standing
        done = await c.engine.nodes[MemberId("clinic")].submit(
            c.engine.sign(Withdraw(world.consent("clinic", 1), commitment("reason")), by="clinic")
        )
        await c.engine.settle()
        assert done.code == 0 and world.standing == before and not stages.moved(world.id)
        await world.withdraws("north", 1)
        assert stages.moved(world.id)
        world.close()


async def test_a_study_that_this_member_joins_is_looked_for_once() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)
        stages = Stages(world.trainings["north"]._site)
        assert stages.others() and not stages.others()
        await world.works(world.over)
        assert stages.others()  # it is over
        world.close()
