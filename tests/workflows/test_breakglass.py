"""Breaking the glass: never silent, never without a quota, never reviewed by oneself."""

import pytest

from commonward.ledger.audit import BreakGlass
from commonward.ledger.ids import Tag
from commonward.ledger.parameters import Parameter
from commonward.workflows.breakglass import GlassRefused
from commonward.workflows.memory import Killed
from commonward.workflows.messages import Asked, Mode, Why
from commonward.workflows.requests import RequestRefused
from tests.consortium import Consortium, Person, deny, observation, psychiatric


async def ada_of(c: Consortium) -> Person:
    ada = await c.patient("ada", at=("north",))
    await c.north.takes(observation("o1", "ada"), psychiatric("p1", "ada"))
    await c.north.ticks()
    return ada


async def breaks(c: Consortium, ada: Person, reason: str = "unconscious", role: str = "clinician") -> Tag:
    tag, _ = await c.south.office.glass.break_glass(c.south.staff(role), c.south.visit(ada), c.north.name, reason)
    return tag


async def test_it_reaches_past_a_deny_and_the_patient_is_told_at_once() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        await ada.grants(deny(1))
        await breaks(c, ada)
        log = await ada.log()
        assert log.whole and [glass.reason for glass in log.glasses] == ["unconscious"], log.troubles
        assert log.marks[0].records == 2 and log.marks[0].reason == "unconscious"


async def test_it_needs_a_reason_and_a_clinician() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        with pytest.raises(GlassRefused, match="reason"):
            await breaks(c, ada, " ")
        with pytest.raises(GlassRefused, match="clinician"):
            await breaks(c, ada, "curious", "registrar")


async def test_the_quota_is_the_ledgers() -> None:
    async with Consortium(parameters={Parameter.BREAK_GLASS_A_DAY: 1}) as c:
        ada = await ada_of(c)
        await breaks(c, ada)
        with pytest.raises(GlassRefused, match="502"):
            await breaks(c, ada, "again")
        assert c.north.vault.last_mark(ada.handle).n == 1  # type: ignore[union-attr]


async def test_who_broke_it_does_not_review_it() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        tag = await breaks(c, ada)
        with pytest.raises(GlassRefused, match="does not review"):
            await c.south.office.glass.review(c.south.staff(), tag, "fine")
        await c.south.office.glass.review(c.south.staff(number="n2"), tag, "it was right")
        assert c.south.office.glass.open() == []


async def test_a_claimed_emergency_without_a_mark_is_refused_while_the_ledger_is_live() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        statement = c.south.office.requests.request(
            c.south.staff(), c.south.visit(ada), c.north.name, "ETREAT", Mode.DISPLAY, glass=Tag(b"g" * 32),
            reason="so I say",
        )  # fmt: skip
        with pytest.raises(RequestRefused) as refused:
            await c.south.office.requests.send(c.north.name, Asked(statement.to_bytes()))
        assert refused.value.why is Why.GLASS


async def test_one_broken_glass_serves_one_request() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        tag = await breaks(c, ada)
        statement = c.south.office.requests.request(
            c.south.staff(), c.south.visit(ada), c.north.name, "ETREAT", Mode.DISPLAY, glass=tag, reason="more"
        )
        with pytest.raises(RequestRefused) as refused:
            await c.south.office.requests.send(c.north.name, Asked(statement.to_bytes(), (), b"s" * 32))
        assert refused.value.why is Why.GLASS


@pytest.mark.parametrize("step", ["glass.logged", "glass.signed", "glass.landed", "glass.marked", "release.marked"])
async def test_a_kill_at_any_step_leaves_it_written_down_and_marked_once(step: str) -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        (c.north if step.startswith("release") else c.south).dies_at(step)
        with pytest.raises(Killed):
            await breaks(c, ada)
        c.south.wakes()
        c.north.wakes()
        await c.south.ticks()
        entries = c.north.node.entries(0, 1000, [BreakGlass.KIND])
        assert [entry.code for entry in entries] == [0]
        assert [glass.reason for glass in (await ada.log()).glasses] == ["unconscious"]
