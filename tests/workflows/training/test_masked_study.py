"""A masked study: the same model as in the open, and nobody sees an update."""

from functools import partial

import numpy as np
import pytest

from commonward.ledger.ids import MemberId
from commonward.ledger.rounds import Mode, Rule, Status
from commonward.records.rule_parameters import Parameters
from commonward.workflows.training.papers import DEAL, REVEAL, UPDATE, Asked, Given
from commonward.workflows.training.site import NotServed, Waits
from tests.consortium import Consortium
from tests.workflows.training.study_world import DAY, MINUTE, SITES, Study


async def test_a_masked_study_ends_with_the_model_of_an_open_one() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, mode=Mode.MASKED, rounds=2)
        await world.works(world.over)
        await world.works(lambda: all(world.computed(site, 2) for site in SITES))
        np.testing.assert_allclose(await world.learnt("south"), world.plainly(2), atol=1e-5)
        for site in SITES:
            assert [each.same for each in await world.trainings[site].replay(world.id)] == [True, True]
        world.close()


async def test_each_attempt_has_keys_of_its_own_and_their_secrets_go_when_it_is_over() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, mode=Mode.MASKED, rounds=2)
        await world.works(lambda: world.round is not None)
        site = c.north.office.studying.rounds.site(world.id, "south")
        assert site is not None and site.used is not None and site.used.round == 1
        first = site.used.masks.keys[0]
        await world.works(world.over)
        await world.works(lambda: world.computed("south", 2))
        site = c.north.office.studying.rounds.site(world.id, "south")
        assert site is not None and site.used is not None and site.used.masks.keys[0] != first
        store = world.trainings["south"]._site.store
        assert store.secret(world.id, first) is None and store.secret(world.id, site.used.masks.keys[0]) is None
        world.close()


def _secrets(world: Study, site: str) -> list[bytes]:
    """What is kept under the keys that this site's last attempt took, if anything."""
    found = world.c.north.office.studying.rounds.site(world.id, site)
    assert found is not None and found.used is not None
    kept = world.trainings[site]._site.store.secret(world.id, found.used.masks.keys[0])
    return [] if kept is None else [kept.seed]


async def test_nothing_that_could_open_an_update_is_left_once_the_time_for_disputes_is_over() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, mode=Mode.MASKED, rounds=2)
        await world.works(world.over)
        await world.works(lambda: all(world.computed(site, 2) for site in SITES))
        store = world.trainings["north"]._site.store
        kept = (store._updates, store._deals, store._reveals)
        assert all(each.places(world.id) for each in kept), "a replay needs them until then"
        await c.engine.pass_time(2 * DAY)
        await world.works(lambda: world.standing.status is Status.SETTLED)
        await world.once()
        assert not any(each.places(world.id) for each in (*kept, store._secrets)) and store.tables(world.id) is None
        world.close()


async def test_secrets_of_the_last_attempt_go_too_when_a_study_stalls() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, mode=Mode.MASKED, rounds=1, min_sites=4)
        world.learners["south"].fails = world.learners["health"].fails = 99

        def two_of(attempt: int) -> bool:
            return world.round is not None and world.round.attempt == attempt and len(world.round.updates) == 2

        for attempt in (1, 2, 3):
            await world.works(partial(two_of, attempt))
            assert _secrets(world, "north") and _secrets(world, "clinic")
            await c.engine.pass_time(11 * MINUTE)
        await world.comes(lambda: world.standing.status is Status.STALLED)
        await world.once()
        assert not _secrets(world, "north") and not _secrets(world, "clinic")
        world.close()


async def test_secrets_of_a_round_that_a_site_never_computed_go_with_the_next_one() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, mode=Mode.MASKED, rounds=2)
        south = world.trainings["south"]

        async def cannot(*_: object) -> None:
            raise Waits("bytes that nobody gives")

        south._attempts.countersign = cannot  # type: ignore[method-assign, assignment]
        south._attempts.catch_up = cannot  # type: ignore[method-assign, assignment]
        await world.works(lambda: world.round is not None)
        site = c.north.office.studying.rounds.site(world.id, "south")
        assert site is not None and site.used is not None and site.used.round == 1
        first = site.used.masks.keys[0]
        await world.works(world.at(2))
        await world.once()
        assert south._site.store.secret(world.id, first) is None
        world.close()


async def test_a_site_that_dies_once_its_keys_stand_is_taken_out_of_the_sum() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, mode=Mode.MASKED, rounds=1)
        world.learners["south"].fails = 99
        await world.works(lambda: world.round is not None and len(world.round.updates) == 3)
        world.leaves_alone("south")
        await c.engine.pass_time(11 * MINUTE)
        await world.works(world.over)
        assert [each.site for each in world.final(1).updates] == ["clinic", "health", "north"]
        np.testing.assert_allclose(await world.learnt(), world.plainly(1, SITES[:3]), atol=1e-5)
        world.close()


async def test_with_too_few_survivors_the_sum_stays_closed_and_another_attempt_opens() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, mode=Mode.MASKED, rounds=1)
        world.learners["south"].fails = world.learners["health"].fails = 99
        await world.works(lambda: world.round is not None and len(world.round.updates) == 2)
        await c.engine.pass_time(11 * MINUTE)  # two of four: no set can be fixed
        await world.comes(lambda: world.round is not None and world.round.void)
        assert world.trainings["north"]._site.store.reveal(world.id, 1, 1, "north") is None
        world.learners["south"].fails = world.learners["health"].fails = 0
        await world.works(world.over)
        assert world.final(1).attempt == 2
        sites = [each.site for each in world.final(1).updates]
        np.testing.assert_allclose(await world.learnt(), world.plainly(1, sites), atol=1e-5)
        world.close()


async def test_nothing_that_crosses_in_masked_mode_is_an_update() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, mode=Mode.MASKED, rounds=1)
        await world.works(world.over)
        store = world.trainings["north"]._site.store
        for site in SITES:
            kept = store.update(world.id, 1, 1, site)
            assert kept is not None and kept.opening == b"" and (kept.rows == 0 or site == "north")
        assert any(path == UPDATE for _, _, path, _, _ in c.peers.carried)
        assert c.peers.carried and all(asker != MemberId("shield") for asker, *_ in c.peers.carried)
        world.close()


async def test_shares_and_deals_are_given_to_sites_alone() -> None:
    """Shares of the seeds and keys of a round, to whoever had a vote in it: with them any member opened its sum."""
    async with Consortium() as c:
        world = await Study.begun(c, mode=Mode.MASKED, rounds=2, sites=SITES[:3])
        await world.works(world.at(1))
        found = c.north.office.studying.rounds.site(world.id, "north")
        assert found is not None and found.used is not None
        shares = Asked(world.id, 1, 1).to_bytes()
        deal = Asked(world.id, site="north", name=found.used.masks.keys[0]).to_bytes()
        await world.enrols("south")
        await c.engine.settle()
        with pytest.raises(NotServed, match="not for south"):
            await c.peers.ask(MemberId("south"), MemberId("north"), REVEAL, shares)
        with pytest.raises(NotServed, match="not for shield"):
            await c.peers.ask(MemberId("shield"), MemberId("north"), DEAL, deal)
        for asker, path, asked in (("clinic", REVEAL, shares), ("clinic", DEAL, deal), ("south", DEAL, deal)):
            assert Given.parse(await c.peers.ask(MemberId(asker), MemberId("north"), path, asked)).parts == 1
        world.close()


async def test_counts_add_up_under_masks_and_no_sites_own_counts_leave() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, mode=Mode.MASKED, rounds=2)
        await world.works(world.over)
        await world.works(lambda: world.added_up("clinic") == [8, 8])
        progress = world.trainings["clinic"].progress(world.id)
        assert progress is not None
        answers = [answer for _, _, path, _, answer in c.peers.carried if path == "study/counts"]
        own = progress.rounds[0].own[0].data
        assert answers and all(own not in answer for answer in answers)
        world.close()


async def test_a_study_of_sums_ends_with_the_sum_over_all_sites() -> None:
    async with Consortium() as c:
        world = await Study.begun(
            c, mode=Mode.MASKED, rule=Rule.SUM, rounds=1, parameters=Parameters(sums={"counts": (2,)})
        )
        await world.works(world.over)
        found = await world.trainings["north"].model(world.id)
        assert found is not None
        rows = [row for site in SITES for row in world.rows(site)]
        assert list(found["counts"].integers) == [len(rows), sum(x > 0 for x, _ in rows)]
        world.close()


async def test_no_share_is_revealed_before_the_members_cosigned_the_block_that_fixed_the_set() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, mode=Mode.MASKED, rounds=1)
        await world.works(lambda: world.round is not None and world.round.fixed is not None)
        proven = c.north.node.proven
        c.north.node.proven = lambda: None  # type: ignore[method-assign]
        store = world.trainings["north"]._site.store
        others = [world.trainings[site] for site in ("clinic", "health", "south")]
        for _ in range(3):
            await world.trainings["north"].tick()
        assert "cosigned checkpoint" in world.trainings["north"]._waits[world.id]
        assert store.reveal(world.id, 1, 1, "north") is None and len(others) == 3
        c.north.node.proven = proven  # type: ignore[method-assign]
        await world.works(world.over)
        await world.works(lambda: world.computed("north", 1))
        assert store.reveal(world.id, 1, 1, "north") is not None
        world.close()
