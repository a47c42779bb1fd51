"""Sites and strangers that do what they may not: swapped, replayed, poisoned and inflated updates, false models."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from commonward.ledger.encoding import Digest, encode
from commonward.ledger.ids import MemberId, StudyId
from commonward.ledger.rounds import Countersign, Manifest, Mode, SubmitUpdate, band_of
from commonward.ledger.rounds.countersigning import link_of
from commonward.ledger.rounds.study import Round
from commonward.records.manifest import ROWS_LABEL
from commonward.records.model import DType, Model, Tensor
from commonward.records.openings import Opening
from commonward.records.updates import UPDATE_LABEL, Kind, Update
from commonward.workflows.training.attempts import _rows
from commonward.workflows.training.papers import PART_BYTES, UPDATE, Asked, Given, KeptUpdate
from commonward.workflows.training.site import NotServed
from tests.consortium import Consortium
from tests.workflows.training.study_world import SITES, Study

HONEST = SITES[:3]


def seals(world: Study, bend: Callable[[StudyId, Round, bytes], bytes]) -> None:
    """South commits to other bytes than it trained, and seals those."""
    exchange = world.trainings["south"]._exchange
    honest = exchange.seal

    def bent(study: StudyId, current: Round, plain: bytes, **more: Any) -> KeptUpdate:
        return honest(study, current, bend(study, current, plain), **more)

    exchange.seal = bent  # type: ignore[method-assign]


def raw(study: bytes, current: Round, tensor: list[Any], rows: int = 8, site: str = "south") -> bytes:
    """The encoding of an update that no honest code would make."""
    place = (study, current.round, current.attempt, site, current.base)
    return encode((UPDATE_LABEL, *place, "delta", rows, [tensor]))


def nan(study: StudyId, current: Round, plain: bytes) -> bytes:
    return raw(study, current, ["optimiser/line", "f64", [2], np.array([np.nan, 1.0]).tobytes()])


def exploding(study: StudyId, current: Round, plain: bytes) -> bytes:
    return raw(study, current, ["line", "q24", [2], np.array([257 << 24, 0], np.int64).tobytes()])


def garbage(study: StudyId, current: Round, plain: bytes) -> bytes:
    return b"\x80\x04\x95 a pickle"


def inflated(study: StudyId, current: Round, plain: bytes) -> bytes:
    return replace(Update.parse(plain), rows=900).to_bytes()


def of_another_site(study: StudyId, current: Round, plain: bytes) -> bytes:
    return replace(Update.parse(plain), site="north").to_bytes()


def of_another_round(study: StudyId, current: Round, plain: bytes) -> bytes:
    return replace(Update.parse(plain), round=7).to_bytes()


def of_another_study(study: StudyId, current: Round, plain: bytes) -> bytes:
    return replace(Update.parse(plain), study=bytes(16)).to_bytes()


def from_another_base(study: StudyId, current: Round, plain: bytes) -> bytes:
    return replace(Update.parse(plain), base=bytes(32)).to_bytes()


def of_another_shape(study: StudyId, current: Round, plain: bytes) -> bytes:
    tensor = Tensor.of("line", DType.Q24, np.zeros(3, np.int64))
    return replace(Update.parse(plain), tensors=(tensor,)).to_bytes()


def of_another_kind(study: StudyId, current: Round, plain: bytes) -> bytes:
    tensor = Tensor.of("line", DType.I64, np.zeros(2, np.int64))
    return replace(Update.parse(plain), kind=Kind.SUM, rows=1, tensors=(tensor,)).to_bytes()


BENT = [nan, exploding, garbage, inflated, of_another_site, of_another_round, of_another_study, from_another_base,
        of_another_shape, of_another_kind]  # fmt: skip


async def test_a_poisoned_replayed_or_inflated_update_is_left_out_by_everyone_alike() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=len(BENT))
        seals(world, lambda study, current, plain: BENT[current.round - 1](study, current, plain))
        await world.works(world.over, passes=200)
        for number, bend in enumerate(BENT, start=1):
            assert world.final(number).exclusions == ("south",), bend.__name__
            assert world.final(number).attempt == 1, bend.__name__
        np.testing.assert_allclose(await world.learnt(), world.plainly(len(BENT), HONEST), atol=1e-4)
        assert any("expected an update in our encoding" in each for each in world.flagged("north"))
        world.close()


async def test_bytes_that_are_not_those_committed_to_are_asked_of_another_holder() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)
        await world.works(lambda: world.round is not None and world.round.fixed is not None)
        current = world.round
        assert current is not None
        north = world.trainings["north"]
        taken = await north._exchange.collect(world.id, Mode.OPEN, current, PART_BYTES)
        assert set(taken) == set(SITES)
        honest = c.south.office.desk.handlers[UPDATE]

        async def false(asker: MemberId, body: bytes) -> bytes:
            given = Given.parse(await honest(asker, body))
            if asker == "clinic":
                return replace(given, data=bytes(len(given.data))).to_bytes()  # other bytes to another asker
            return given.to_bytes() if asker == "north" else replace(given, sealed=given.sealed[::-1]).to_bytes()

        c.south.office.desk.handlers[UPDATE] = false
        clinic = await world.trainings["clinic"]._exchange.collect(world.id, Mode.OPEN, current, PART_BYTES)
        assert clinic[MemberId("south")].plain == taken[MemberId("south")].plain
        await world.works(world.over)
        assert world.final(1).exclusions == () and world.final(1).attempt == 1
        world.close()


async def test_a_site_that_seals_another_update_than_it_commits_to_is_left_out_in_time() -> None:
    """A ciphertext alone binds nobody: under AES-GCM one can be made that opens to two updates, by two keys."""
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)
        exchange = world.trainings["south"]._exchange
        honest = exchange.committed

        def false(study: StudyId, kept: KeptUpdate) -> SubmitUpdate:
            return replace(honest(study, kept), update=Digest(bytes(32)))

        exchange.committed = false  # type: ignore[method-assign]
        await world.works(world.over, minutes=1)
        assert world.final(1).exclusions == ("south",) and world.final(1).attempt == 1
        np.testing.assert_allclose(await world.learnt(), world.plainly(1, HONEST), atol=1e-5)
        world.close()


async def test_a_site_that_shows_another_manifest_than_the_ledger_has_weighs_nothing() -> None:
    """Its consents would allow ten rows; it trains on eight, and kept two apart. The other manifest says ten."""
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)
        exchange = world.trainings["south"]._exchange
        honest = exchange.seal
        opening = Opening(ROWS_LABEL, bytes(32), [10, 0])

        def bent(study: StudyId, current: Round, plain: bytes, **more: Any) -> KeptUpdate:
            other = replace(Manifest.parse(more["manifest"]), exact_rows=opening.commitment).to_bytes()
            more |= {"manifest": other, "opening": opening.to_bytes(), "rows": 10}
            return honest(study, current, replace(Update.parse(plain), rows=10).to_bytes(), **more)

        exchange.seal = bent  # type: ignore[method-assign]
        await world.works(world.over, minutes=1)
        assert world.final(1).exclusions == ("south",)
        np.testing.assert_allclose(await world.learnt(), world.plainly(1, HONEST), atol=1e-5)
        world.close()


async def test_a_site_that_sends_more_than_an_update_can_have_fills_nobodys_memory() -> None:
    """A gigabyte is said to follow, or too much comes at once: nothing more is asked for, and what came is let go."""
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)
        asked: list[int] = []
        parts = 128

        async def endless(asker: MemberId, body: bytes) -> bytes:
            asked.append(Asked.parse(body).part)
            return Given(parts, bytes(1 << 20), b"", b"").to_bytes()

        c.south.office.desk.handlers[UPDATE] = endless
        await world.works(lambda: world.round is not None and world.round.fixed is not None)
        await world.once()
        assert asked and set(asked) == {0}
        north, wanted, parts = world.trainings["north"]._site, Asked(world.id, 1, 1, "south"), 1
        assert await north.ask(MemberId("south"), UPDATE, wanted, most=(1 << 20) - 1) is None
        assert await north.ask(MemberId("south"), UPDATE, wanted, most=1 << 20) is not None
        await c.engine.pass_time(5 * 60_000)
        await world.works(world.over)
        assert world.final(1).exclusions == ("south",)
        world.close()


async def test_a_site_that_gives_nobody_its_bytes_is_left_out_in_time() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)

        async def nothing(asker: MemberId, body: bytes) -> bytes:
            return Given().to_bytes()

        c.south.office.desk.handlers[UPDATE] = nothing
        await world.works(world.over, minutes=1)
        assert world.final(1).exclusions == ("south",) and world.final(1).attempt == 1
        touched = {site: world.trainings[site].touched(world.id, consent=world.consent(site, 0)) for site in SITES[2:]}
        assert [number for number, _ in touched["north"]] == [1] and touched["south"] == (), "no model holds its rows"
        np.testing.assert_allclose(await world.learnt(), world.plainly(1, HONEST), atol=1e-5)
        world.close()


async def test_one_site_that_countersigns_another_model_is_outvoted_and_told() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=2)
        false_model(world, "south")
        await world.works(world.over)
        await world.works(lambda: all(world.computed(site, 2) for site in SITES))
        np.testing.assert_allclose(await world.learnt(), world.plainly(2), atol=1e-5)
        progress = world.trainings["south"].progress(world.id)
        assert progress is not None and progress.rounds[0].agrees is False
        assert any("dispute" in each for each in world.flagged("south"))
        world.close()


async def test_where_two_of_four_say_another_model_the_attempt_is_void_and_no_model_is_final() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)
        for name in ("south", "health"):
            false_model(world, name)
        await world.works(lambda: world.standing.attempt == 2 or world.standing.round > 0)
        assert world.standing.round == 0
        world.close()


def false_model(world: Study, name: str) -> None:
    """A site that aggregates as it likes."""
    attempts = world.trainings[name]._attempts
    honest = attempts._aggregated

    async def bent(*arguments: Any) -> Any:
        _, excluded, new = await honest(*arguments)
        return Model.from_floats({"line": np.array([9.0, 9.0])}), excluded, new

    attempts._aggregated = bent  # type: ignore[method-assign, assignment]


async def test_a_countersignature_that_does_not_follow_from_the_set_is_refused_by_the_ledger() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)
        await world.works(lambda: world.round is not None and world.round.fixed is not None)
        current = world.round
        assert current is not None
        said = Countersign(
            world.id, 1, 1, (), current.base, current.base, current.base, current.base
        )  # fmt: skip
        good = link_of(world.standing.chain, said, current)
        assert good != said.chain
        done = await c.south.node.submit(c.engine.sign(said, by="south"))
        assert done.code != 0
        world.close()


async def test_nobody_but_the_sites_is_given_an_update_and_nobody_before_the_set_is_fixed() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)
        world.learners["south"].fails = 99
        await world.works(lambda: world.round is not None and len(world.round.updates) == 3)
        wanted = Asked(world.id, 1, 1, "north").to_bytes()
        early = await c.peers.ask(MemberId("clinic"), MemberId("north"), UPDATE, wanted)
        assert Given.parse(early).parts == 0
        world.learners["south"].fails = 0
        world.wakes("south")
        await world.works(world.over)
        with pytest.raises(NotServed, match="not for shield"):
            await c.peers.ask(MemberId("shield"), MemberId("north"), UPDATE, wanted)
        given = Given.parse(await c.peers.ask(MemberId("clinic"), MemberId("north"), UPDATE, wanted))
        assert given.parts == 1 and given.sealed
        world.close()


async def test_who_enrols_later_is_given_no_update_of_a_round_before() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=2, sites=HONEST)
        await world.works(world.at(1))
        await world.enrols("south")
        await c.engine.settle()
        wanted = Asked(world.id, 1, 1, "north").to_bytes()
        with pytest.raises(NotServed, match="not for south"):
            await c.peers.ask(MemberId("south"), MemberId("north"), UPDATE, wanted)
        assert Given.parse(await c.peers.ask(MemberId("clinic"), MemberId("north"), UPDATE, wanted)).parts == 1
        world.close()


async def test_a_site_whose_learner_begins_elsewhere_trains_nothing() -> None:
    """Its change would be of another model than the round's, and nobody could see it."""
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)
        world.learners["south"].first_model = lambda settings: Model.from_floats({"line": np.ones(2)})  # type: ignore[method-assign]
        await world.works(lambda: world.round is not None and len(world.round.updates) == 3)
        await world.once()
        assert not world.learners["south"].trained
        assert "another learner or other settings" in world.trainings["south"]._waits[world.id]
        world.close()


def test_rows_beyond_the_band_that_a_manifest_shows_count_for_nothing() -> None:
    """Everybody reads the band on the ledger: who is weighed by more than it says has lied in one of the two."""
    opening = Opening(ROWS_LABEL, bytes(32), [25, 0])
    root = Digest(bytes(32))
    for band, counted in ((band_of(25), 25), (band_of(100), 25), (band_of(19), 0)):
        shown = Manifest(StudyId(bytes(16)), root, root, band, band, root, opening.commitment).to_bytes()
        kept = KeptUpdate(
            MemberId("south"), 1, 1, root, shown, opening.to_bytes(), bytes(32), bytes(32), bytes(32), 25, b""
        )
        assert _rows(kept, 30, 1) == counted
        assert _rows(kept, 24, 1) == 0, "its consents allow fewer"


async def test_an_update_that_is_not_on_the_ledger_is_never_served() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=1)
        world.learners["south"].fails = 99
        await world.works(lambda: world.round is not None and len(world.round.updates) == 3)
        store = world.trainings["north"]._site.store
        kept = store.update(world.id, 1, 1, "north")
        assert kept is not None
        store.put_update(world.id, replace(kept, site=MemberId("south")))
        store.put_update(world.id, replace(kept, ciphertext=kept.ciphertext[::-1]))
        await c.engine.pass_time(11 * 60_000)
        await world.comes(lambda: world.round is not None and world.round.fixed is not None)
        for site in ("south", "north"):
            wanted = Asked(world.id, 1, 1, site).to_bytes()
            answer = await c.peers.ask(MemberId("clinic"), MemberId("north"), UPDATE, wanted)
            assert Given.parse(answer).parts == 0
        world.close()


async def test_a_site_whose_learner_was_changed_trains_nothing() -> None:
    async with Consortium() as c:
        from commonward.workflows.training.ports import LearnerNotApproved

        world = await Study.begun(c, rounds=1)

        def changed(name: str, approved: bytes) -> Any:
            raise LearnerNotApproved("expected the approved digest, got another")

        world.trainings["south"]._learners._make = changed
        await world.works(lambda: world.round is not None and len(world.round.updates) == 3)
        await world.once()
        assert "approved digest" in world.trainings["south"]._waits[world.id]
        await c.engine.pass_time(11 * 60_000)
        await world.works(world.over)
        assert [each.site for each in world.final(1).updates] == list(HONEST)
        world.close()
