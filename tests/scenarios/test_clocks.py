"""Clocks that jump: at a node, at the sequencer, at a custodian, at a requester. Nothing false is signed for, nothing
is lost, and who was wrong can go on once it is right."""

import pytest

from commonward.ledger.audit import Release
from commonward.ledger.ids import BlockTime
from commonward.ledger.transactions import parse_transaction
from commonward.workflows.memory import SteppedClock
from commonward.workflows.messages import Why
from commonward.workflows.ports import LedgerAway
from commonward.workflows.requests import DisplayRefused, RequestRefused
from tests.consortium import Consortium, House, Person, observation, permit
from tests.scenarios.calm import Calm
from tests.scenarios.reader import read

MINUTE, HOUR = 60_000, 3_600_000


class OffClock(SteppedClock):
    """Another clock, `off` ms ahead of it (behind when negative)."""

    def __init__(self, true: SteppedClock) -> None:
        super().__init__(0)
        self._true = true
        self.off = 0

    def now(self) -> BlockTime:
        return BlockTime(self._true.now() + self.off)


def office_clock(house: House) -> OffClock:
    """Gives a member's workflows (not its node) a clock of their own."""
    clock = OffClock(house.consortium.engine.clock)
    true, house.consortium.engine.clock = house.consortium.engine.clock, clock
    house.wakes()
    house.consortium.engine.clock = true
    return clock


def node_clock(house: House) -> OffClock:
    """Gives a member's node a clock of its own."""
    clock = OffClock(house.consortium.engine.clock)
    house.node._clock = house.node._cosigning._clock = clock
    return clock


async def ada_of(c: Consortium) -> Person:
    ada = await c.patient("ada", at=("north",))
    await c.north.takes(observation("o1", "ada"))
    await c.north.ticks()
    await ada.grants(permit("south"))
    return ada


def marks(c: Consortium) -> list[Release]:
    found = [entry for entry in c.south.node.entries(0, 10_000, [Release.KIND]) if entry.code == 0]
    payloads = [parse_transaction(entry.raw).payload for entry in found]
    return [payload for payload in payloads if isinstance(payload, Release)]


# a node


@pytest.mark.parametrize("off", [HOUR, -HOUR])
async def test_a_node_whose_clock_jumped_cosigns_nothing_and_the_others_go_on(off: int) -> None:
    async with Calm() as c:
        ada = await ada_of(c)
        clock = node_clock(c.clinic)
        clock.off = off
        await c.engine.pass_time(1000)
        copy = await c.south.fetches(ada, "north")
        await c.engine.settle()
        assert c.clinic.node.clock_doubt
        proven = c.south.node.proven()
        assert proven is not None and "clinic" not in proven.members and proven.size > copy.index
        assert c.engine.roots(), "it follows all the same"
        assert len(c.engine.roots()) == 1
        clock.off = 0
        await c.engine.pass_time(31_000)
        await c.engine.pass_time(31_000)
        await c.north.ticks()
        await c.engine.settle()
        assert not c.clinic.node.clock_doubt
        assert c.clinic.node.proven_live()


# the sequencer


@pytest.mark.parametrize("off", [HOUR, -HOUR])
async def test_a_sequencer_whose_clock_jumped_gets_no_cosignature_and_no_release_leaves(off: int) -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        clock = OffClock(c.engine.clock)
        c.engine.sequencer._clock = clock
        clock.off = off
        before = c.south.node.proven()
        await c.engine.pass_time(HOUR + MINUTE if off < 0 else 1000)  # behind: its blocks no longer keep up
        with pytest.raises((RequestRefused, LedgerAway)):
            await c.shield.fetches(ada, "north", role="claims-officer", purpose="HPAYMT")
        await c.engine.settle()
        with pytest.raises(LedgerAway):
            await c.north.node.cosigned(c.north.node.recent()[0] + 1, 100)
        assert before is not None
        clock.off = 0
        await c.engine.pass_time(HOUR + MINUTE)  # times grow strictly: it waits until they have caught up
        await c.engine.pass_time(31_000)
        await c.all_tick()
        assert (await c.south.fetches(ada, "north")).index >= 0
        assert len(c.engine.roots()) == 1


async def test_block_times_never_go_back_though_the_sequencers_clock_does() -> None:
    async with Calm() as c:
        await ada_of(c)
        clock = OffClock(c.engine.clock)
        c.engine.sequencer._clock = clock
        clock.off = -10_000  # small enough to be cosigned
        await c.all_tick()
        await c.all_tick()
        times = [each.time for each in read(c)]
        assert times == sorted(times)
        heights = {each.height: each.time for each in read(c)}
        assert sorted(heights.values()) == [heights[height] for height in sorted(heights)]
        assert len(set(heights.values())) == len(heights)


# a custodian


async def test_a_custodian_whose_clock_is_behind_refuses_rather_than_guess() -> None:
    async with Calm() as c:
        ada = await ada_of(c)
        office_clock(c.north).off = -HOUR
        with pytest.raises(RequestRefused) as refused:
            await c.south.fetches(ada, "north")
        assert refused.value.why in (Why.STALE, Why.NOT_LIVE)
        assert marks(c) == []


async def test_a_release_made_under_a_clock_that_was_ahead_is_marked_once_the_clock_is_right() -> None:
    """Ahead by four minutes: the custodian believes the ledger away, releases under grace, and says so as late, at a
    time that is yet to come. The ledger refuses that; the mark must follow all the same."""
    async with Calm() as c:
        ada = await ada_of(c)
        clock = office_clock(c.north)
        clock.off = 4 * MINUTE
        copy = await c.south.fetches(ada, "north")
        assert copy.index == -1 and marks(c) == []
        await c.north.ticks()  # refused: it is of the future
        clock.off = 0
        for _ in range(3):
            await c.all_tick()
        (mark,) = marks(c)
        assert mark.late is not None and mark.late <= c.engine.clock.now()
        log = await ada.log()
        assert log.whole and [each.state.name for each in log.marks] == ["LATE"], log.troubles


# a requester


@pytest.mark.parametrize("off", [10 * MINUTE, -10 * MINUTE])
async def test_a_requester_whose_clock_is_off_is_refused_and_told_so(off: int) -> None:
    async with Calm() as c:
        ada = await ada_of(c)
        clock = office_clock(c.south)
        clock.off = off
        with pytest.raises(RequestRefused) as refused:
            await c.south.fetches(ada, "north")
        assert refused.value.why is Why.STALE
        clock.off = 0
        assert (await c.south.fetches(ada, "north")).index >= 0


async def test_a_copy_does_not_outlive_its_consent_under_a_clock_turned_back() -> None:
    """The requester turns its clock back to before the end of the consent: the ledger's own time counts."""
    async with Calm() as c:
        ada = await ada_of(c)
        told = ada.client.wallet.given[0].opening.consent
        copy = await c.south.fetches(ada, "north")
        record = c.south.office.member.reading.consent(told)
        assert record is not None
        clock = office_clock(c.south)
        c.engine.clock.move(record.end - c.engine.clock.now() + 1000)
        await c.engine.pass_time(31_000)
        clock.off = -400 * 24 * HOUR
        with pytest.raises(DisplayRefused):
            await c.south.shows(ada, copy.tag)
