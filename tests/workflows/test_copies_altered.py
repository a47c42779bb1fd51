"""A received copy that somebody altered shows at its display, and stops nothing else."""

import pytest

from commonward.workflows.copies import WrongDelivery
from commonward.workflows.member_log import Event
from commonward.workflows.messages import Fault
from tests.consortium import Consortium, observation, permit


async def test_an_altered_copy_is_not_shown_and_a_recall_still_reaches_the_others() -> None:
    async with Consortium() as c:
        ada = await c.patient("ada", at=("north",))
        await c.north.takes(observation("o1", "ada"), observation("o2", "ada"))
        await c.north.ticks()
        await ada.grants(permit("south"))
        first, second = await c.south.fetches(ada, "north"), await c.south.fetches(ada, "north")
        c.south.vault.alter_paper("copies", first.tag)
        with pytest.raises(WrongDelivery, match="altered"):
            await c.south.shows(ada, first.tag)
        assert await c.south.ticks() == []
        assert await c.south.ticks() == []
        notes = [entry.detail for _, _, entry in c.south.office.member.log.entries() if entry.event is Event.FLAGGED]
        assert len([note for note in notes if first.tag.hex() in note]) == 1, "noted once, not at each tick"
        await c.north.takes(observation("o1", "ada", "9.99", status="corrected"))
        await c.north.ticks()
        faults = [each.recalled for each in await c.south.shows(ada, second.tag)]
        assert Fault.CORRECTED in faults
