"""What comes out of a study beside its model: contributions, each site's results, and what closing it commits to."""

from dataclasses import replace

import numpy as np
import pytest

from commonward.ledger.encoding import decode, encode
from commonward.ledger.ids import MemberId
from commonward.ledger.rounds import Mode, Rule, Status
from commonward.ledger.rounds.study import Round
from commonward.ledger.rounds.study import Study as Standing
from commonward.records.contributions import Recorded, left_out
from commonward.records.model import Model, Tensor
from commonward.records.rule_parameters import Parameters
from commonward.records.updates import Update
from commonward.workflows.study_papers import StudyPapers, WrongPapers
from commonward.workflows.training.counting import OWN
from commonward.workflows.training.exchange import _plain
from commonward.workflows.training.loop import Training
from commonward.workflows.training.papers import COUNTS, OUTCOME, PART_BYTES, Asked, Given, read_tensors, tensors_bytes
from commonward.workflows.training.ports import Task
from commonward.workflows.training.reports import Contributions, Outcome, Place, Report
from commonward.workflows.training.site import NotServed
from tests.consortium import Consortium
from tests.workflows.training.study_world import FIRST, SITES, Study


async def outcome_of(world: Study, site: str = "north") -> tuple[Report, Contributions]:
    found = await world.trainings[site].outcome(world.id)
    assert found is not None and found[1] is not None
    return found[0], found[1]


def recorded(world: Study, site: str = "clinic") -> list[Recorded]:
    """The rounds as one site keeps them."""
    store, found, base = world.trainings[site]._site.store, [], FIRST
    for number in range(1, world.standing.round + 1):
        paper = store.final(world.id, number)
        assert paper is not None
        ended = Round.parse(paper.final)
        kept = [store.update(world.id, number, ended.attempt, each.site) for each in ended.updates]
        updates = tuple(Update.parse(_plain(world.id, each) or b"") for each in kept if each is not None)
        found.append(Recorded(base, updates))
        made = store.model(world.id, ended.model, ended.state) if ended.model is not None else None
        assert made is not None
        base = made
    return found


def close_to(world: Study, model: Model, sites: tuple[str, ...] = SITES) -> list[int]:
    """What the sites' own test rows say of a model: [close, rows]."""
    task = Task(world.id, 1, 1, Rule.FEDAVG)
    return list(np.sum([world.learners[each].evaluate(model, task)[0].integers for each in sites], axis=0))


def counts(data: bytes) -> list[int]:
    return list(read_tensors(data)[0].integers)


async def learnt_by_all(world: Study) -> None:
    """Closed, and every site has held what was committed to against its own."""
    await world.works(world.over)
    await world.works(lambda: all(world.id in each._ending._compared for each in world.trainings.values()))


async def test_what_the_model_would_be_without_each_site_is_measured_alike_at_all_and_committed_to() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=3, contributions=True)
        await learnt_by_all(world)
        rounds = recorded(world)
        models = left_out(SITES, Rule.FEDAVG, Parameters(), 3, rounds.__getitem__)
        _, contributions = await outcome_of(world)
        assert [each.site for each in contributions.sites] == list(SITES)
        for each in contributions.sites:
            made = models[each.site]
            assert isinstance(made, Model) and each.model == made.digest and each.why == ""
            assert counts(each.counts) == close_to(world, made) and each.rows == 8
        for site in SITES:
            assert await outcome_of(world, site) == await outcome_of(world)
            assert (await world.trainings[site].committed(world.id))[:2] == (True, True)
            assert not any("dispute it" in each for each in world.flagged(site))
        world.close()


async def test_no_sites_own_counts_leave_it_only_their_sums() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=2, contributions=True)
        await learnt_by_all(world)
        given = [answer for _, _, path, _, answer in c.peers.carried if path == COUNTS]
        for site in SITES:
            progress = world.trainings[site].progress(world.id)
            assert progress is not None
            assert all(progress.rounds[0].own[0].data not in answer for answer in given)
        assert given and world.added_up("south") == [8, 8]
        asked = Asked(world.id, 2, name=OWN).to_bytes()
        with pytest.raises(NotServed, match="not approved"):
            await c.peers.ask(MemberId("north"), MemberId("south"), COUNTS, asked)
        world.close()


async def test_each_sites_own_results_leave_once_at_the_end_where_that_was_approved() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=2, per_site=True)
        await learnt_by_all(world)
        report, _ = await outcome_of(world, "clinic")
        model = await world.trainings["north"].model(world.id)
        assert model is not None
        assert {each.site: counts(each.counts) for each in report.per_site} == {
            site: close_to(world, model, (site,)) for site in SITES
        }
        world.close()


async def test_a_site_shows_no_other_results_than_it_countersigned() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1, per_site=True)
        honest, asked = c.south.office.desk.handlers[COUNTS], list[MemberId]()

        async def better(asker: MemberId, body: bytes) -> bytes:
            given = Given.parse(await honest(asker, body))
            if Asked.parse(body).name != OWN or not given.parts:
                return given.to_bytes()
            asked.append(asker)
            match decode(given.data):
                case [bytes(metrics), bytes(salt)]:
                    told = read_tensors(metrics)[0]
                    raised = tensors_bytes([type(told).of(told.name, told.dtype, told.integers + 5)])
                    return replace(given, data=encode([raised, salt])).to_bytes()
            raise AssertionError("expected counts and their salt")

        c.south.office.desk.handlers[COUNTS] = better
        await world.works(world.over, minutes=1)
        report, _ = await outcome_of(world, "clinic")
        assert asked and {each.site for each in report.per_site} == {"clinic", "health", "north"}
        world.close()


@pytest.mark.parametrize(("mode", "waiver"), [(Mode.MASKED, True), (Mode.OPEN, False)])
async def test_single_sites_are_shown_in_open_studies_alone_and_their_counts_by_waiver_alone(
    mode: Mode, waiver: bool
) -> None:
    async with Consortium() as c:
        with pytest.raises(WrongPapers, match=r"single sites|to be waived"):
            await Study.begun(c, mode=mode, waiver=waiver, per_site=True)


async def test_a_site_that_lies_about_its_counts_changes_the_sums_by_its_own_lie_and_nothing_else() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1, contributions=True)
        honest, liar = await _counted(world), world.learners["south"]
        evaluate = liar.evaluate
        lie = 3

        def lies(model: Model, task: Task) -> tuple[Tensor, ...]:
            (told,) = evaluate(model, task)
            return (type(told).of(told.name, told.dtype, told.integers + np.array([lie, 0])),)

        liar.evaluate = lies  # type: ignore[method-assign]
        await learnt_by_all(world)
        liar.evaluate = evaluate  # type: ignore[method-assign]
        _, contributions = await outcome_of(world)
        models = left_out(SITES, Rule.FEDAVG, Parameters(), 1, recorded(world).__getitem__)
        for each in contributions.sites:
            made = models[each.site]
            assert isinstance(made, Model)
            assert counts(each.counts) == [close_to(world, made)[0] + lie, 8]
        assert honest == 0
        world.close()


async def _counted(world: Study) -> int:
    """How many sites have measured anything yet."""
    stores = [each._site.store for each in world.trainings.values()]
    return sum(store.left_out(world.id, site) is not None for store in stores for site in SITES)


STEPS = ["study.left_out.made", "study.left_out.judged", "study.counts.masked", "study.left_out.summed"]


@pytest.mark.parametrize("who", ["north", "south"])  # the proposer, who closes; and another
async def test_killed_at_every_step_of_the_end_the_outcome_is_the_same(who: str) -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=2, contributions=True, per_site=True)
        left = [*STEPS, "submit.signed", "submit.landed"] if who == "north" else list(STEPS)
        steps = list(left)

        def armed() -> bool:
            if left and len(world.killed) == len(steps) - len(left):
                c.houses[who].dies_at(left.pop(0))
            return world.over() and len(world.killed) == len(steps)

        await world.works(armed, passes=200)
        await learnt_by_all(world)
        for site in SITES:
            assert (await world.trainings[site].committed(world.id))[:2] == (True, True), site
        _, contributions = await outcome_of(world, who)
        assert all(each.counts for each in contributions.sites)
        world.close()


async def test_with_too_few_left_for_its_rule_a_contribution_is_not_defined_and_the_study_closes() -> None:
    async with Consortium() as c:
        world = await Study.begun(
            c, rounds=1, sites=SITES[:3], rule=Rule.TRIMMED_MEAN, f=1, parameters=Parameters(f=1), contributions=True
        )
        await learnt_by_all(world)
        _, contributions = await outcome_of(world, "clinic")
        assert all("at least 3 updates" in each.why and not each.counts for each in contributions.sites)
        assert (await world.trainings["clinic"].committed(world.id)).contributions is True
        world.close()


async def test_a_proposer_that_commits_to_other_figures_is_found_out_and_disputed() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1, contributions=True)
        outcomes = world.trainings["north"]._outcomes
        honest = outcomes.completed

        async def bent(study: Standing, papers: StudyPapers) -> tuple[Report, Contributions | None, frozenset[Place]]:
            report, contributions, lacks = await honest(study, papers)
            assert contributions is not None
            first, *others = contributions.sites
            return report, replace(contributions, sites=(replace(first, counts=first.counts + b"!"), *others)), lacks

        outcomes.completed = bent  # type: ignore[method-assign]
        await world.works(world.over)
        await world.works(lambda: any("dispute it" in each for each in world.flagged("clinic")))
        found = await world.trainings["clinic"].committed(world.id)
        assert found.report is True and found.contributions is False and "left out clinic" in found.why
        await c.clinic.office.studying.dispute(world.id, 1, "our contribution was altered")
        site = c.north.office.studying.rounds.site(world.id, "clinic")
        assert site is not None and site.disputes == (1,)
        world.close()


async def test_once_the_updates_are_destroyed_no_proposer_is_accused_of_other_figures() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1, contributions=True)
        await learnt_by_all(world)
        before = await world.trainings["south"].committed(world.id)
        assert (before.report, before.contributions) == (True, True), before.why
        await c.engine.pass_time(2 * 24 * 60 * 60_000)
        await world.works(lambda: world.standing.status is Status.SETTLED)
        await world.once()
        assert world.trainings["south"]._site.store.updates_kept(world.id) == 0
        assert await world.trainings["south"].committed(world.id) == before
        world.close()


async def test_what_a_site_cannot_know_it_takes_from_more_than_half_of_the_others() -> None:
    """North, which proposed it, was not in round 1: its own rows are not in that sum."""
    async with Consortium() as c:
        world = await Study.begun(c, rounds=2, contributions=True)
        world.learners["north"].fails = 99
        await world.works(lambda: world.round is not None and len(world.round.updates) == 3)
        await c.engine.pass_time(11 * 60_000)
        world.learners["north"].fails = 0
        await learnt_by_all(world)
        report, _ = await outcome_of(world)
        assert "north" not in [each.site for each in world.final(1).updates]
        assert [each.round for each in report.rounds] == [1, 2]
        assert [counts(each.counts)[1] for each in report.rounds] == [6, 8]
        for site in SITES:
            assert (await world.trainings[site].committed(world.id))[:2] == (True, True), site
        world.close()


async def test_a_proposer_that_shows_a_viewer_other_figures_than_it_committed_to_is_not_believed() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1, contributions=True)
        await learnt_by_all(world)
        honest, asked = c.north.office.desk.handlers[OUTCOME], list[MemberId]()

        async def better(asker: MemberId, body: bytes) -> bytes:
            asked.append(asker)
            given = Given.parse(await honest(asker, body))
            told = Outcome.parse(given.data)
            report = replace(Report.parse(told.report), words="ninety-nine of a hundred")
            return replace(given, data=replace(told, report=report.to_bytes()).to_bytes()).to_bytes()

        c.north.office.desk.handlers[OUTCOME] = better
        await c.shield.office.studying.papers(world.id)
        viewer = Training(c.shield.office, world.holdings["north"], lambda *_: world.learners["north"])
        assert await viewer.outcome(world.id) == await outcome_of(world) and "shield" in asked
        viewer.close()
        world.close()


async def test_who_may_view_gets_what_was_committed_to_and_nobody_else() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1, contributions=True)
        await learnt_by_all(world)
        await c.shield.office.studying.papers(world.id)
        viewer = Training(c.shield.office, world.holdings["north"], lambda *_: world.learners["north"])
        assert await viewer.outcome(world.id) == await outcome_of(world)
        assert (await viewer.committed(world.id)).report is True
        viewer.close()
        wanted = Asked(world.id).to_bytes()
        with pytest.raises(NotServed):
            await world.trainings["north"].handlers[OUTCOME](MemberId("stranger"), wanted)
        world.close()


async def test_with_a_site_gone_for_good_the_study_is_closed_with_what_is_known() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1, contributions=True)
        await world.works(lambda: world.round is not None and world.round.fixed is not None)
        assert world.round is not None
        await world.trainings["north"]._exchange.collect(world.id, Mode.OPEN, world.round, PART_BYTES)
        world.leaves_alone("south")
        await world.works(world.over, minutes=1)
        found = await world.trainings["north"].outcome(world.id)
        assert found is not None and found[0].rounds == () and found[1] is not None
        assert all(not each.counts for each in found[1].sites)
        assert (await world.trainings["clinic"].committed(world.id)).report is True
        world.close()
