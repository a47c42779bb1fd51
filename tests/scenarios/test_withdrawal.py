"""A patient withdraws, and the custodian does not want to hear it."""

import pytest

from commonward.workflows.indexes import PAST, past_missing
from commonward.workflows.messages import OPENING, OpeningAck, Relayed, Why
from commonward.workflows.ports import PeerAway
from commonward.workflows.requests import DisplayRefused, RequestRefused
from tests.consortium import Consortium, Person, observation, permit
from tests.scenarios.calm import Calm

HOUR = 3_600_000


async def ada_of(c: Consortium) -> Person:
    ada = await c.patient("ada", at=("north",))
    await c.north.takes(observation("o1", "ada"))
    await c.north.ticks()
    return ada


async def test_what_the_custodian_will_not_carry_another_member_does() -> None:
    async with Calm() as c:
        ada = await ada_of(c)
        told = await ada.grants(permit("south"))

        async def will_not(raw: bytes) -> Relayed:
            raise PeerAway("north does not carry this")

        c.north.office.gate.relay = will_not  # type: ignore[method-assign]
        ada.through("north")
        with pytest.raises(PeerAway):
            await ada.withdraws(told)
        ada.through("clinic")
        assert (await ada.withdraws(told)).acknowledged == {"north", "south"}
        with pytest.raises(RequestRefused) as refused:
            await c.south.fetches(ada, "north", consent=told.consent)
        assert refused.value.why is Why.NO_CONSENT


async def test_a_custodian_that_never_gets_the_opening_stops_all_releases_of_the_patient() -> None:
    """It may not look away: what stands on the ledger unopened suspends every other consent too."""
    async with Calm() as c:
        ada = await ada_of(c)
        first, second = await ada.grants(permit("south")), await ada.grants(permit("south"))

        async def drops(asker: object, body: bytes) -> bytes:
            raise PeerAway("lost on the way")

        c.north.office.desk.handlers[OPENING] = drops
        told = await ada.withdraws(first)
        assert told.waiting >= {"north"}
        for _ in range(3):
            with pytest.raises(RequestRefused) as refused:
                await c.south.fetches(ada, "north", consent=second.consent)
            assert refused.value.why is Why.NOTHING
            await c.all_tick()
        assert c.north.office.openings.watch(), "and its own desk says which is missing"


async def test_a_custodian_that_does_not_know_the_past_yet_releases_nothing_but_in_an_emergency() -> None:
    """Restored from a snapshot, it finds no consent from before until its history is whole: an old deny among them."""
    async with Calm() as c:
        ada = await ada_of(c)
        told = await ada.grants(permit("south"))
        index = c.north.office.member.ports.ledger.indexes  # type: ignore[attr-defined]
        index.put(past_missing(1))
        with pytest.raises(RequestRefused) as refused:
            await c.south.fetches(ada, "north", consent=told.consent)
        assert refused.value.why is Why.NOTHING
        south = c.south
        await south.office.glass.break_glass(south.staff("clinician"), south.visit(ada), c.north.name, "unconscious")
        index.put({PAST: None})
        await c.south.fetches(ada, "north", consent=told.consent)


async def test_a_member_that_drops_what_it_should_pass_on_is_seen_and_gone_around() -> None:
    async with Calm() as c:
        ada = await ada_of(c)
        told = await ada.grants(permit("south"))

        async def keeps(deposit: object) -> OpeningAck:
            return OpeningAck(c.north.name, told.consent, b"", b"")  # type: ignore[arg-type]

        honest = c.clinic.office.gate.deposit
        c.clinic.office.gate.deposit = keeps  # type: ignore[method-assign]
        assert (await ada.withdraws(told)).waiting == {"north", "south"}
        ada.through("shield")
        assert (await ada.client.deliver(told.consent)).acknowledged == {"north", "south"}
        c.clinic.office.gate.deposit = honest  # type: ignore[method-assign]


async def test_a_custodian_cut_off_from_the_ledger_goes_on_for_the_grace_period_alone_and_it_shows() -> None:
    """Stated: who cannot hear of a withdrawal may release for treatment until grace ends; each is marked late."""
    async with Consortium() as c:
        ada = await ada_of(c)
        told = await ada.grants(permit("south"))
        await c.engine.settle()
        c.engine.cut("north")
        c.engine.clock.move(120_000)
        for name in ("south", "clinic", "shield", "health"):
            c.engine.nodes[name].tick()
        await c.engine.settle()
        await ada.withdraws(told)
        await c.engine.settle()
        with pytest.raises(RequestRefused):  # South is honest: it names no consent that it knows to be withdrawn
            await c.south.fetches(ada, "north")
        copy = None
        try:
            copy = await c.south.fetches(ada, "north", consent=told.consent)
        except RequestRefused as refused:
            assert refused.why is Why.NO_PERMIT
        if copy is not None:
            with pytest.raises(DisplayRefused):
                await c.south.shows(ada, copy.tag)
        c.engine.clock.move(5 * HOUR)
        with pytest.raises(RequestRefused) as late:
            await c.south.fetches(ada, "north", consent=told.consent)
        assert late.value.why is Why.NOT_LIVE
        c.engine.mend("north")
        await c.engine.pass_time(31_000)
        for _ in range(2):
            await c.all_tick()
        log = await ada.log()
        assert log.whole, log.troubles
        assert [mark.state.name for mark in log.marks] == (["LATE"] if copy is not None else [])


async def test_the_patient_sees_who_has_not_acknowledged() -> None:
    async with Calm() as c:
        ada = await ada_of(c)
        c.peers.cut(c.north.name)
        told = await ada.grants(permit("south"))
        assert told.waiting == {"north"} and told.acknowledged == {"south"}
        c.peers.mend(c.north.name)
        assert (await ada.client.deliver(told.consent)).waiting == set()
