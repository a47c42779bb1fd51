"""Corrections and moves reach everyone who received the old record, whatever fails between."""

import pytest

from commonward.ledger.ids import MemberId
from commonward.workflows.desk import Refused
from commonward.workflows.memory import Killed
from commonward.workflows.messages import LATER_PROOFS, RECALL, Fault, RecallNotice
from tests.consortium import Consortium, Person, observation, permit


async def released(c: Consortium) -> Person:
    ada = await c.patient("ada", at=("north",))
    await c.north.takes(observation("o1", "ada"), observation("o2", "ada"))
    await c.north.ticks()
    await ada.grants(permit("south", "clinic"))
    await c.south.fetches(ada, "north")
    await c.clinic.fetches(ada, "north")
    return ada


def faults(c: Consortium, name: str) -> list[Fault]:
    return [fault for _, copy in c.houses[name].office.requests.copies.every() for fault in copy.faults]


def unacknowledged(c: Consortium) -> int:
    return sum(1 for _, recall in c.north.office.recalls.recalls.every() if not recall.ack)


async def test_a_correction_reaches_every_recipient_and_is_acknowledged() -> None:
    async with Consortium() as c:
        await released(c)
        await c.north.takes(observation("o1", "ada", "9.99", status="corrected"))
        await c.north.ticks()
        assert faults(c, "south") == faults(c, "clinic") == [Fault.CORRECTED]
        assert unacknowledged(c) == 0


async def test_a_record_entered_in_error_is_recalled_as_erroneous() -> None:
    async with Consortium() as c:
        await released(c)
        await c.north.takes(observation("o1", "ada", "9.99", status="entered-in-error"))
        await c.north.ticks()
        assert faults(c, "south") == [Fault.ERRONEOUS]


async def test_a_recipient_that_is_away_is_told_when_it_is_back() -> None:
    async with Consortium() as c:
        await released(c)
        c.peers.cut(c.south.name)
        await c.north.takes(observation("o1", "ada", "9.99", status="corrected"))
        await c.north.ticks()
        assert faults(c, "south") == [] and unacknowledged(c) == 1
        c.peers.mend(c.south.name)
        await c.north.ticks()
        assert faults(c, "south") == [Fault.CORRECTED] and unacknowledged(c) == 0


@pytest.mark.parametrize("step", ["ingest.before-commit", "ingest.stored", "recall.filed", "recall.acknowledged"])
async def test_a_custodian_killed_at_any_step_still_tells_everyone_once(step: str) -> None:
    async with Consortium() as c:
        await released(c)
        correction = observation("o1", "ada", "9.99", status="corrected")
        c.north.dies_at(step)
        with pytest.raises(Killed):
            await c.north.takes(correction)
            await c.north.ticks()
        c.north.wakes()
        await c.north.takes(correction)
        await c.north.ticks()
        assert faults(c, "south") == faults(c, "clinic") == [Fault.CORRECTED]


@pytest.mark.parametrize("after_effect", [False, True])
async def test_a_recall_told_twice_marks_once(after_effect: bool) -> None:
    async with Consortium() as c:
        await released(c)
        await c.north.takes(observation("o1", "ada", "9.99", status="corrected"))
        c.peers.cue.fail_next(RECALL, after_effect=after_effect)
        await c.north.ticks()
        await c.north.ticks()
        assert faults(c, "south") == faults(c, "clinic") == [Fault.CORRECTED]


async def test_a_member_cannot_recall_anothers_record() -> None:
    async with Consortium() as c:
        ada = await released(c)
        (row,) = c.north.vault.marks(ada.handle, 1, 1)
        record = c.north.office.releases.paper(row).records[0]
        notice = RecallNotice(b"x" * 16, c.north.name, (record,), Fault.ERRONEOUS, 0)
        with pytest.raises(Refused):
            await c.peers.ask(c.shield.name, c.south.name, RECALL, notice.to_bytes())
        mine = RecallNotice(b"x" * 16, c.shield.name, (record,), Fault.ERRONEOUS, 0)
        await c.peers.ask(c.shield.name, c.south.name, RECALL, mine.to_bytes())
        assert faults(c, "south") == []


async def test_an_unmerge_recalls_what_was_another_persons() -> None:
    async with Consortium() as c:
        ada = await c.patient("ada", at=("north",))
        await c.north.takes(observation("o1", "ada"), observation("o9", "eve"))
        await c.north.ticks()
        identity = c.north.office.member.identity
        identity.merge(c.north.local("ada"), c.north.local("eve"), "A40 by mistake")
        await ada.grants(permit("south"))
        copy = await c.south.fetches(ada, "north")
        assert len(await c.south.shows(ada, copy.tag)) == 2
        before = identity.patients_of(ada.handle)
        identity.unmerge(c.north.local("ada"), c.north.local("eve"), "two people")
        assert c.north.office.recalls.moved(ada.handle, before) == 1
        await c.north.ticks()
        recalled = [each.recalled for each in await c.south.shows(ada, copy.tag)]
        assert recalled.count(Fault.MOVED) == 1
        again = await c.south.fetches(ada, "north")
        assert len(await c.south.shows(ada, again.tag)) == 1


async def test_a_correction_that_moves_a_record_to_another_patient_takes_it_from_the_first() -> None:
    async with Consortium() as c:
        ada = await released(c)
        bea = await c.patient("bea", at=("north",))
        await c.north.takes(observation("o1", "bea", "9.99", status="corrected"))
        await c.north.ticks()
        assert faults(c, "south") == [Fault.MOVED]
        assert all(recall.notice.replaced_by is None for _, recall in c.north.office.recalls.recalls.every())
        hers = {held.record.id for held in c.north.office.holdings.of(ada.handle)}
        assert hers == {"o2"}, "no version of it is hers any more"
        assert {held.record.id for held in c.north.office.holdings.of(bea.handle)} == {"o1"}


async def test_a_recall_that_arrives_while_a_later_proof_is_fetched_is_kept() -> None:
    async with Consortium() as c:
        ada = await c.patient("ada", at=("north",))
        await c.north.takes(observation("o1", "ada"))
        await ada.grants(permit("south"))
        await c.south.fetches(ada, "north")  # not anchored yet: its proof follows
        await c.north.ticks()
        inner = c.north.office.desk.answer

        async def answer(asker: MemberId, path: str, body: bytes) -> bytes:
            said = await inner(asker, path, body)
            if path == LATER_PROOFS:
                await c.north.takes(observation("o1", "ada", "9.99", status="corrected"))
                c.north.office.recalls.raise_for_corrections()
                await c.north.office.recalls.send()
                assert faults(c, "south") == [Fault.CORRECTED]
            return said

        c.peers.open_door(c.north.name, answer)
        await c.south.office.requests.tend()
        assert faults(c, "south") == [Fault.CORRECTED]
        assert [len(copy.later) for _, copy in c.south.office.requests.copies.every()] == [1]
