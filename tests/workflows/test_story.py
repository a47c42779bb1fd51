"""A record travels: the whole story in one consortium, step by step."""

import json

import pytest

from commonward.workflows.copies import Verified
from commonward.workflows.messages import Fault, Why
from commonward.workflows.requests import DisplayRefused, RequestRefused
from tests.consortium import Consortium, deny, observation, permit, psychiatric


async def test_a_record_travels() -> None:
    async with Consortium() as c:
        # 1. A patient of two hospitals; the first holds records, one of them psychiatric.
        ada = await c.patient("ada", at=("north", "south"))
        await c.north.takes(observation("o1", "ada"), observation("o2", "ada", "0.010"), psychiatric("p1", "ada"))
        await c.north.ticks()

        # 2. She grants the second everything but mental health; both acknowledge the opening.
        told = await ada.grants(permit("south"), deny(classes=frozenset({"mental-health"})))
        assert told.acknowledged == {"north", "south"} and not told.waiting

        # 3. At registration the records are fetched ahead; the withheld part is withheld.
        copy = await c.south.fetches(ada, "north")
        shown = await c.south.shows(ada, copy.tag)
        values = sorted(json.loads(each.sent.stored)["valueQuantity"]["value"] for each in shown)
        assert values == [0.01, 7.4]
        assert all(b'"value":7.40' in each.sent.stored or b'"value":0.010' in each.sent.stored for each in shown)
        assert {each.verified for each in shown} == {Verified.ANCHORED}

        # 4. The insurer asks and is refused, with the reason.
        with pytest.raises(RequestRefused) as refused:
            await c.shield.fetches(ada, "north", role="claims-officer", purpose="HPAYMT")
        assert refused.value.why is Why.NO_CONSENT

        # 5. She sees who saw what, and that the list has no gap.
        log = await ada.log()
        assert log.whole, log.troubles
        (mark,) = log.marks
        assert (mark.custodian, mark.requester, mark.records, mark.role) == ("north", "south", 2, "registrar")
        assert [receipt.tag for receipt in log.receipts] == [copy.tag]

        # 6. The first hospital corrects a result, and the second is told.
        await c.north.takes(observation("o1", "ada", "8.10", status="corrected"))
        await c.north.ticks()
        faults = [each.recalled for each in await c.south.shows(ada, copy.tag)]
        assert sorted(map(str, faults)) == sorted(map(str, [Fault.CORRECTED, None]))

        # 7. She withdraws: the next request is refused, and so is showing what was received.
        await ada.withdraws(told)
        with pytest.raises(RequestRefused):
            await c.south.fetches(ada, "north", consent=told.consent)
        with pytest.raises(DisplayRefused):
            await c.south.shows(ada, copy.tag)

        # 8. A doctor breaks the glass; she is told, and other staff review it.
        tag, emergency = await c.south.office.glass.break_glass(
            c.south.staff(), c.south.visit(ada), c.north.name, "unconscious after an accident"
        )
        assert len(await c.south.shows(ada, emergency.tag)) == 3
        log = await ada.log()
        assert log.whole, log.troubles
        assert [glass.reason for glass in log.glasses] == ["unconscious after an accident"]
        assert [mark.glass for mark in log.marks] == [None, tag]
        await c.south.office.glass.review(c.south.staff(number="n2"), tag, "it was right")
        assert not c.south.office.glass.open()
