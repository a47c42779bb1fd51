"""Openings that wait: bounded for each member and in all, found by what they are for, and let go in the end."""

import asyncio

import pytest

from commonward.ledger.ids import Digest, MemberId
from commonward.workflows import consent, deposits
from commonward.workflows.deposits import DepositRefused
from commonward.workflows.desk import Refused
from commonward.workflows.messages import OPENING, OpeningAck, OpeningDeposit
from tests.consortium import Consortium, Person, observation, permit
from tests.ledgerkit import commitment
from tests.scenarios.calm import Calm

NORTH, SHIELD, CLINIC = MemberId("north"), MemberId("shield"), MemberId("clinic")
DAY = 24 * 3_600_000


@pytest.fixture(autouse=True)
def small_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deposits, "SHARE", 4)
    monkeypatch.setattr(deposits, "ROOM", 6)
    monkeypatch.setattr(consent, "_LOOKS", 3)


def made_up(n: int, to: MemberId = NORTH, size: int = 200) -> OpeningDeposit:
    """For a transaction that nobody signed."""
    return OpeningDeposit(to, Digest(commitment("no such entry", n)), bytes([n]) * size)


async def floods(c: Consortium, by: MemberId, numbers: range) -> list[str]:
    """What was said to each deposit that was refused."""
    asked = (c.peers.ask(by, NORTH, OPENING, made_up(n).to_bytes()) for n in numbers)
    answers = await asyncio.gather(*asked, return_exceptions=True)
    refused = [str(answer) for answer in answers if isinstance(answer, Refused)]
    acks = [OpeningAck.parse(answer) for answer in answers if isinstance(answer, bytes)]
    assert len(refused) + len(acks) == len(numbers) and not any(ack.signature for ack in acks)
    return refused


async def ada_of(c: Consortium) -> Person:
    ada = await c.patient("ada", at=("north",))
    await c.north.takes(observation("o1", "ada"))
    await c.north.ticks()
    return ada


async def test_a_member_that_brings_openings_without_end_fills_its_own_share_alone() -> None:
    async with Calm() as c:
        ada = await ada_of(c)
        refused = await floods(c, SHIELD, range(10))
        assert len(refused) == 6 and all("of shield wait" in why and "another member" in why for why in refused)
        assert len(await floods(c, CLINIC, range(10, 11))) == 0, "the next member has its own"
        refused = await floods(c, CLINIC, range(11, 20))
        assert len(refused) == 8 and all("no room" in why for why in refused)
        told = await ada.grants(permit("south"))
        assert told.acknowledged == {"north", "south"}, "what fits the ledger needs no room"


async def test_one_huge_opening_does_not_take_the_room_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deposits, "SHARE_BYTES", 1_000)
    async with Calm() as c:
        with pytest.raises(Refused, match="1000 bytes"):
            await c.peers.ask(SHIELD, NORTH, OPENING, made_up(1, size=1_001).to_bytes())
        assert await floods(c, SHIELD, range(3)) == []


async def test_the_same_opening_brought_again_takes_no_more_room() -> None:
    async with Calm() as c:
        for _ in range(6):
            assert await floods(c, SHIELD, range(1)) == []


async def test_no_request_walks_over_what_was_deposited_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Calm() as c:
        ada = await ada_of(c)
        await ada.grants(permit("south"))
        await floods(c, SHIELD, range(4))
        early = c.north.office.openings._early

        def opened(keys: list[bytes]) -> list[tuple[bytes, OpeningDeposit]]:
            assert not keys, "a deposit of another was opened"
            return []

        monkeypatch.setattr(early, "_open", opened)
        assert (await c.south.fetches(ada, "north")).index >= 0
        await c.north.ticks()


async def test_an_opening_that_came_early_is_taken_though_others_brought_rubbish_for_its_transaction() -> None:
    async with Calm() as c:
        ada = await ada_of(c)
        held: list[OpeningDeposit] = []
        honest = c.clinic.office.gate.deposit

        async def holds(deposit: OpeningDeposit) -> OpeningAck:
            held.append(deposit)
            return OpeningAck.waits(deposit)

        c.clinic.office.gate.deposit = holds  # type: ignore[method-assign]
        ada.through("clinic")
        told = await ada.grants(permit("south"))
        c.clinic.office.gate.deposit = honest  # type: ignore[method-assign]
        true = next(each for each in held if each.to == "north")
        c.north.office.openings._sees = lambda entry: False  # type: ignore[method-assign]
        taken, c.north.office.openings.take = c.north.office.openings.take, OpeningAck.waits  # type: ignore[method-assign]
        rubbish = OpeningDeposit(NORTH, true.entry, b"rubbish")
        for by, deposit in ((SHIELD, rubbish), (CLINIC, true), (SHIELD, OpeningDeposit(NORTH, true.entry, b"more"))):
            await c.peers.ask(by, NORTH, OPENING, deposit.to_bytes())
        c.north.office.openings.take = taken  # type: ignore[method-assign]
        c.north.wakes()  # also when the node was killed meanwhile
        for each in held:
            if each.to == "south":
                assert (await c.clinic.office.gate.deposit(each)).signature
        assert (await c.south.fetches(ada, "north", consent=told.consent)).index >= 0
        assert c.north.office.openings._early.entries() == [], "the rubbish is gone too"


async def test_who_deposits_for_a_member_that_is_away_without_end_is_refused() -> None:
    async with Calm() as c:
        gate = c.clinic.office.gate
        c.peers.cut(NORTH)
        for n in range(4):
            assert not (await gate.deposit(made_up(n))).signature
        with pytest.raises(DepositRefused, match="of north wait at clinic"):
            await gate.deposit(made_up(5))
        with pytest.raises(DepositRefused, match="not an active member"):
            await gate.deposit(made_up(5, MemberId("nobody")))
        before = len(c.peers.carried)
        assert await c.clinic.ticks() == []
        assert len(c.peers.carried) == before
        c.peers.mend(NORTH)
        ada = await ada_of(c)
        c.peers.cut(NORTH)
        ada.through("clinic")
        assert (await ada.grants(permit("south"))).waiting == {"north"}, "the patient sees it, and goes elsewhere"


async def test_what_waited_too_long_is_let_go() -> None:
    async with Calm() as c:
        await floods(c, SHIELD, range(4))
        c.peers.cut(MemberId("south"))
        await c.north.office.gate.deposit(made_up(1, MemberId("south")))
        openings = c.north.office.openings
        c.engine.clock.move(DAY + 1)
        await openings.settle()
        assert openings._early.entries() == [] and len(openings._onward.entries()) == 1
        c.engine.clock.move(7 * DAY)
        await openings.settle()
        assert openings._onward.entries() == []
        assert c.north.vault.count("deposits-early") == c.north.vault.count("deposits-onward") == 0
        assert await floods(c, SHIELD, range(4, 8)) == []
