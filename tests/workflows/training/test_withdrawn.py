"""A research consent withdrawn in the middle: the next round does not open to that site before its rows have left."""

import numpy as np

from commonward.ledger.ids import MemberId, StudyId
from commonward.ledger.rounds import Mode
from commonward.records.table import Table
from commonward.workflows.study_papers import StudyPapers
from commonward.workflows.training.cohorts import Rows
from tests.consortium import Consortium
from tests.workflows.training.study_world import Study, points


async def test_rows_of_a_withdrawn_consent_leave_before_the_next_round() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=5, test_share=0)
        await world.works(world.at(1))
        first = {str(each.site): each.manifest for each in world.final(1).updates}
        await world.withdraws("south", 4)
        await world.works(world.over)
        then = {str(each.site): each.manifest for each in world.final(5).updates}
        assert then["south"] != first["south"] and then["north"] == first["north"]
        assert points("south")[4] not in world.rows("south") and len(world.rows("south")) == 9
        touched = world.trainings["south"].touched(world.id, consent=world.consent("south", 4))
        assert all(world.final(number).exclusions == () for number in range(1, 6))  # judged by the consents of then
        assert (1, world.final(1).model) in touched and 5 not in [number for number, _ in touched]
        assert len(world.trainings["south"].touched(world.id, consent=world.consent("south", 5))) == len(
            [number for number in range(1, 6) if world.final(number).update_of("south")]
        )
        tables = world.trainings["south"]._site.store.tables(world.id)
        assert tables is not None and len(Table.parse(tables.train)) == 9  # nothing of the row rests here
        world.close()


async def test_an_update_trained_before_a_withdrawal_is_trained_again_without_the_row() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1, test_share=0)
        world.learners["north"].fails = 99
        c.south.dies_at("study.update.signed")
        await world.works(lambda: "study.update.signed" in world.killed)
        await world.withdraws("south", 0)
        world.learners["north"].fails = 0
        world.wakes("north")  # its learner is asked anew
        await world.works(world.over)
        kept = world.trainings["clinic"]._site.store.update(world.id, 1, 1, "south")
        assert kept is not None and kept.rows == 9
        np.testing.assert_allclose(await world.learnt(), world.plainly(1), atol=1e-5)
        world.close()


async def test_masked_too_a_withdrawal_brings_a_new_manifest_and_the_study_goes_on() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, mode=Mode.MASKED, rounds=4, test_share=0)
        await world.works(world.at(1))
        await world.withdraws("clinic", 1)
        await world.works(world.over)
        assert len(world.rows("clinic")) == 9
        world.close()


async def test_patients_kept_apart_to_judge_the_model_stay_apart_through_every_manifest() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=5, test_share=300)
        await world.works(world.at(1))
        before = list(world.learners["south"].test_rows)
        gone = next(n for n, point in enumerate(points("south")) if point in before)
        await world.withdraws("south", gone)
        await world.works(world.over)
        after = world.learners["south"].test_rows
        assert len(before) == 3 and after == [each for each in before if each != points("south")[gone]]
        assert not set(after) & set(world.rows("south"))
        world.close()


async def test_the_patients_kept_apart_stay_those_when_one_who_was_learnt_from_withdraws() -> None:
    """Drawn again of nine, they would be fewer, and one of them would be learnt from after judging."""
    async with Consortium() as c:
        world = await Study.begun(c, rounds=5, test_share=300)
        await world.works(world.at(1))
        before = list(world.learners["south"].test_rows)
        gone = next(n for n, point in enumerate(points("south")) if point not in before)
        await world.withdraws("south", gone)
        await world.works(world.over)
        assert len(before) == 3 and world.learners["south"].test_rows == before
        assert len(world.rows("south")) == 6 and points("south")[gone] not in world.rows("south")
        world.close()


async def test_when_all_withdraw_the_site_waits_and_the_others_go_on() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=2)
        await world.works(world.at(1))
        for n in range(10):
            await world.withdraws("south", n)
        await world.works(lambda: world.standing.round == 2 or bool(world.trainings["south"]._waits))
        await world.works(lambda: world.round is not None and len(world.round.updates) >= 3)
        assert world.kept("south") == [], "no manifest comes after the last patient; the rows go all the same"
        await c.engine.pass_time(11 * 60_000)
        await world.works(world.over)
        assert world.standing.round == 2
        assert MemberId("south") in world.final(1).sites
        world.close()


async def test_a_row_withdrawn_after_the_last_round_is_neither_kept_nor_learnt_from_nor_judged_by() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1, test_share=300)
        await world.works(world.over)
        judged_by = list(world.learners["south"].test_rows)
        gone = [0, next(n for n, point in enumerate(points("south")) if point in judged_by and n)]
        for n in gone:
            await world.withdraws("south", n)
        south = world.trainings["south"]
        await south.alone(world.id)  # before a pass looked
        learner = world.learners["south"]
        assert not {points("south")[n] for n in gone} & {*learner.train_rows, *learner.test_rows}
        assert len(learner.train_rows) + len(learner.test_rows) == 8
        await world.once()
        assert not {points("south")[n] for n in gone} & set(world.kept("south")) and len(world.kept("south")) == 8
        world.close()


async def test_a_row_withdrawn_while_a_site_reads_its_records_is_in_no_manifest() -> None:
    """Reading pictures takes minutes. The manifest made of them names a root that covers the withdrawal."""
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1, test_share=0)
        holding = world.holdings["south"]
        honest, read = holding.rows, list[int]()

        async def slowly(study: StudyId, papers: StudyPapers) -> Rows:
            rows = await honest(study, papers)
            if not read:
                await world.withdraws("south", 3)
            read.append(len(rows.records))
            return rows

        holding.rows = slowly  # type: ignore[method-assign]
        await world.works(world.over)
        assert read == [10, 9] and points("south")[3] not in world.rows("south")
        kept = world.trainings["clinic"]._site.store.update(world.id, 1, 1, "south")
        assert kept is not None and kept.rows == 9
        world.close()


async def test_a_manifest_on_its_way_is_not_brought_once_a_row_of_it_is_withdrawn() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1, test_share=0)
        c.south.dies_at("study.manifest.planned")
        await world.works(lambda: "study.manifest.planned" in world.killed)
        planned = world.trainings["south"]._site.store.manifest(world.id)
        await world.withdraws("south", 3)
        await world.works(world.over)
        (update,) = [each for each in world.final(1).updates if each.site == "south"]
        assert planned is not None and update.manifest != planned.digest and len(world.rows("south")) == 9
        world.close()
