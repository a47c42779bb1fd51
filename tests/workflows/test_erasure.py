"""Erasure waits for retention and holds, ends in nothing that opens, and is marked."""

import pytest

from commonward.ledger.audit import Erased
from commonward.ledger.ids import Tag
from commonward.records.retention import Ground
from commonward.workflows.erasure import HoldPaper, NotErasable
from commonward.workflows.member_log import Event
from commonward.workflows.memory import Killed
from commonward.workflows.messages import ASK, Answer, Fault, Why
from tests.consortium import Consortium, observation, permit


async def with_a_record(c: Consortium) -> bytes:
    ada = await c.patient("ada", at=("north",))
    await c.north.takes(observation("o1", "ada"), observation("o2", "ada"))
    await c.north.ticks()
    await ada.grants(permit("south"))
    await c.south.fetches(ada, "north")
    return c.north.vault.current_records([c.north.local("ada")])[0][1].id


def erasures(c: Consortium) -> int:
    return len([entry for entry in c.north.node.entries(0, 1000, [Erased.KIND]) if entry.code == 0])


async def test_retention_stands_against_the_patients_wish() -> None:
    async with Consortium() as c:
        record = await with_a_record(c)
        with pytest.raises(NotErasable, match="RETENTION"):
            await c.north.office.erasures.erase(record, Ground.PATIENT_REQUEST, "she asked", "n3")
        assert c.north.vault.records([record])[record][1].wrapped


async def test_a_legal_hold_stands_until_it_is_lifted_by_name() -> None:
    async with Consortium() as c:
        record = await with_a_record(c)
        c.north.office.erasures.hold(HoldPaper("case 7", records=(record,)))
        with pytest.raises(NotErasable, match="case 7"):
            await c.north.office.erasures.erase(record, Ground.COURT_ORDER, "order 3", "n3")
        c.north.office.erasures.lift("case 7")
        assert (await c.north.office.erasures.erase(record, Ground.COURT_ORDER, "order 3", "n3")).index >= 0


@pytest.mark.parametrize("step", ["erasure.intended", "erasure.destroyed", "erasure.signed", "erasure.landed"])
async def test_an_erasure_killed_at_any_step_is_finished_and_marked_once(step: str) -> None:
    async with Consortium() as c:
        record = await with_a_record(c)
        c.north.dies_at(step)
        with pytest.raises(Killed):
            await c.north.office.erasures.erase(record, Ground.COURT_ORDER, "order 3", "n3")
        c.north.wakes()
        await c.north.ticks()
        number, row = c.north.vault.records([record])[record]
        assert (row.sealed, row.wrapped) == (b"", b"") and row.fingerprint
        assert c.north.office.holdings.open(number, row) is None
        assert erasures(c) == 1
        assert [fault for _, copy in c.south.office.requests.copies.every() for fault in copy.faults] == [Fault.ERASED]


async def test_what_was_erased_is_destroyed_at_who_received_it_and_what_was_relied_on_stays() -> None:
    async with Consortium() as c:
        record = await with_a_record(c)
        requests = c.south.office.requests
        await c.south.ticks()  # the copy rests from here on
        ((tag, copy),) = list(requests.copies.every())
        other = next(sent.id for sent in requests.bundle(copy).records if sent.id != record)
        for each in (record, other):
            requests.rely(Tag(tag), each, "n7", "dose")
        await c.north.office.erasures.erase(record, Ground.COURT_ORDER, "order 3", "n3")
        await c.north.ticks()
        assert [fault for _, copy in requests.copies.every() for fault in copy.faults] == [Fault.ERASED]
        await c.south.ticks()
        assert requests.copies.count() == 0
        kept = [paper for _, paper in requests.relied.every()]
        assert {paper.record for paper in kept} == {record, other} and {paper.custodian for paper in kept} == {"north"}
        log = [entry for _, _, entry in c.south.office.member.log.entries() if entry.event is Event.ERASED]
        assert len(log) == 1 and "north" in log[0].detail and log[0].handle == copy.handle
        await c.south.ticks()
        assert len(kept) == requests.relied.count()


async def test_a_correction_does_not_destroy_a_copy() -> None:
    async with Consortium() as c:
        await with_a_record(c)
        await c.north.takes(observation("o1", "ada", "9.99", status="corrected"))
        await c.north.ticks()
        await c.south.ticks()
        assert [fault for _, copy in c.south.office.requests.copies.every() for fault in copy.faults] == [
            Fault.CORRECTED
        ]


async def test_other_records_of_the_batch_still_prove_their_anchor() -> None:
    async with Consortium() as c:
        record = await with_a_record(c)
        await c.north.office.erasures.erase(record, Ground.COURT_ORDER, "order 3", "n3")
        c.north.wakes()
        number, row = next(pair for pair in c.north.vault.current_records([c.north.local("ada")]) if pair[1].wrapped)
        held = c.north.office.holdings.open(number, row)
        assert held is not None and c.north.office.holdings.anchor(held) is not None
        assert c.north.office.holdings.is_sound(held)


async def test_a_request_sent_again_does_not_bring_back_what_was_erased() -> None:
    async with Consortium() as c:
        record = await with_a_record(c)
        (asked,) = [body for _, _, path, body, _ in c.peers.carried if path == ASK]
        again = Answer.parse(await c.north.office.desk.answer(c.south.name, ASK, asked))
        assert again.delivery is not None
        await c.north.office.erasures.erase(record, Ground.COURT_ORDER, "order 3", "n3")
        refused = Answer.parse(await c.north.office.desk.answer(c.south.name, ASK, asked))
        assert refused.delivery is None and refused.why is Why.NOTHING
        (handle,) = c.north.office.member.identity.handles_of(c.north.local("ada"))
        assert [row.delivery for row in c.north.vault.marks(handle, 1)] == [b""]
