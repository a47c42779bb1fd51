"""A patient comes in over the signing API: enrols, consents, reads the log, withdraws."""

from pathlib import Path

from commonward.workflows.patient_log import read_log
from tests.apps.signing.signing_world import SigningWorld
from tests.consortium import deny, observation, permit, psychiatric


class _As:
    def __init__(self, name: str, handle: bytes) -> None:
        self.name = name
        self.handle = handle


async def test_a_patient_consents_looks_and_withdraws_through_any_member(tmp_path: Path) -> None:
    async with SigningWorld(tmp_path) as world:
        c = world.consortium
        wallet = await world.enrolled("ada", at=("north", "south"))
        await c.north.takes(observation("o1", "ada"), psychiatric("p1", "ada"))
        await c.north.ticks()
        ada = world.client(wallet)
        assert set(await world.patiently(ada.learn_links())) == {"north", "south"}

        told = await world.patiently(ada.grant((permit("south"), deny(classes=frozenset({"mental-health"})))))
        assert told.acknowledged == {"north", "south"} and not told.waiting
        title, lines = world.shown[-1].title, world.shown[-1].lines
        assert title == "Give a consent"
        assert any("may see what is not sensitive" in line and "treatment" in line for line in lines)
        assert any("may not see your mental health records" in line for line in lines)

        person = _As("ada", ada.handle)
        copy = await c.south.fetches(person, "north")  # type: ignore[arg-type]
        assert len(await c.south.shows(person, copy.tag)) == 1  # type: ignore[arg-type]
        await c.engine.pass_time(1000)

        log = await world.patiently(read_log(ada))
        assert log.whole, (log.troubles, log.unreachable)
        assert [(mark.custodian, mark.requester, mark.records) for mark in log.marks] == [("north", "south", 1)]
        assert not ada.gate.doubts  # type: ignore[attr-defined]

        await world.patiently(ada.withdraw(told.consent, "no longer"))
        assert world.shown[-1].title == "Withdraw a consent"
        consents = await world.blocking(lambda: ada.gate.consents([told.consent]))  # type: ignore[attr-defined]
        assert consents == {told.consent: None}
