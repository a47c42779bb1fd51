"""The member's log on the ledger: one root a tick, whatever dies; entries between two roots cannot change."""

import pytest

from commonward.ledger.audit import LogRoot
from commonward.ledger.transactions import parse_transaction
from commonward.workflows.log_roots import RootPaper
from commonward.workflows.member_log import START, Event, check_entries
from commonward.workflows.memory import Killed
from tests.consortium import Consortium


def roots(c: Consortium) -> list[LogRoot]:
    entries = c.north.node.entries(0, 1000, [LogRoot.KIND])
    found = [parse_transaction(entry.raw).payload for entry in entries if entry.code == 0 and entry.member == "north"]
    return [payload for payload in found if isinstance(payload, LogRoot)]


async def test_an_auditor_checks_the_log_against_what_was_anchored() -> None:
    async with Consortium() as c:
        log = c.north.office.member.log
        for n in range(3):
            log.note(Event.DISPLAYED, f"record {n}")
        await c.engine.pass_time(1000)
        paper = await c.north.office.log_roots.tick()
        assert isinstance(paper, RootPaper) and (paper.number, paper.uses, paper.refusals) == (3, 3, 0)
        (root,) = roots(c)
        given = [(n, at, entry.to_bytes()) for n, at, entry in log.entries()]
        check_entries(given, START, paper.number, paper.head, paper.salts[0], root.root)


async def test_a_root_tells_nothing_of_whether_anything_was_logged() -> None:
    async with Consortium() as c:
        for _ in range(2):
            await c.engine.pass_time(1000)
            await c.north.office.log_roots.tick()
        first, second = roots(c)
        assert first.root != second.root and first.uses != second.uses
        assert await c.north.office.log_roots.tick() is None, "once a tick"


@pytest.mark.parametrize("step", ["log-root.planned", "log-root.signed", "log-root.landed"])
async def test_a_kill_at_any_step_anchors_each_root_once(step: str) -> None:
    async with Consortium() as c:
        c.north.office.member.log.note(Event.DISPLAYED, "record")
        await c.engine.pass_time(1000)
        c.north.dies_at(step)
        with pytest.raises(Killed):
            await c.north.office.log_roots.tick()
        c.north.wakes()
        await c.north.ticks()
        anchored = roots(c)
        assert len({root.tick for root in anchored}) == len(anchored) == 2
