"""Requests that must not be answered, each refused for its own reason, before any record is looked at."""

from dataclasses import replace

import pytest

from commonward.ledger.encoding import digest
from commonward.ledger.ids import BlockTime, MemberId
from commonward.ledger.members import RevokeStaff
from commonward.records.certificates import SignedStatement, revocation_digest
from commonward.workflows.member_log import Event
from commonward.workflows.messages import ASK, Answer, Asked, Mode, Request, Why
from commonward.workflows.requests import DisplayRefused
from tests.consortium import Consortium, Person, SoftStaff, observation, permit


async def ada_of(c: Consortium) -> Person:
    ada = await c.patient("ada", at=("north",))
    await c.north.takes(observation("o1", "ada"))
    await c.north.ticks()
    await ada.grants(permit("south"))
    await c.engine.settle()
    return ada


def signed(c: Consortium, ada: Person, staff: SoftStaff | None = None) -> tuple[SignedStatement, Asked]:
    c.south.office.openings.take_early()
    (consent,) = c.south.office.openings.permitted_consents(ada.handle)
    permits, _ = c.south.office.openings.permits(ada.handle, consent)
    statement = c.south.office.requests.request(
        staff or c.south.staff("registrar"), c.south.visit(ada), c.north.name, "TREAT", Mode.FETCH_AHEAD,
        consent=consent,
    )  # fmt: skip
    return statement, Asked(statement.to_bytes(), permits)


async def why(c: Consortium, asked: Asked | bytes, asker: str = "south", to: str = "north") -> Why | None:
    body = asked if isinstance(asked, bytes) else asked.to_bytes()
    answer = Answer.parse(await c.peers.ask(MemberId(asker), MemberId(to), ASK, body))
    assert (answer.why is None) == (answer.delivery is not None)
    return answer.why


async def test_a_request_handed_over_by_another_member_is_refused() -> None:
    async with Consortium() as c:
        _, asked = signed(c, await ada_of(c))
        assert await why(c, asked, asker="shield") is Why.NOT_FOR_ME


async def test_a_request_for_another_custodian_is_refused() -> None:
    async with Consortium() as c:
        _, asked = signed(c, await ada_of(c))
        assert await why(c, asked, to="clinic") is Why.NOT_FOR_ME


async def test_a_request_whose_words_were_changed_is_refused() -> None:
    async with Consortium() as c:
        statement, asked = signed(c, await ada_of(c))
        request = replace(Request.parse(statement.statement), purpose="ETREAT")
        forged = replace(statement, statement=request.to_bytes())
        assert await why(c, replace(asked, statement=forged.to_bytes())) is Why.STAFF


async def test_a_person_of_another_member_cannot_ask_in_our_name() -> None:
    async with Consortium() as c:
        _, asked = signed(c, await ada_of(c), SoftStaff("clinic", "clinician", "n1"))
        assert await why(c, asked) is Why.STAFF


async def test_a_revoked_certificate_is_refused_and_shows_nothing_more() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        copy = await c.south.fetches(ada, "north")
        staff = c.south.staff()
        gone = digest("none"), revocation_digest(staff.certificate)
        end = BlockTime(c.engine.clock.now() + 3_600_000)
        payload = RevokeStaff(certificate=gone[1], end=end, reason=gone[0])
        await c.south.office.member.submitter.land(b"revoke", payload)
        await c.engine.settle()
        _, asked = signed(c, ada, staff)
        assert await why(c, asked) is Why.STAFF
        with pytest.raises(DisplayRefused, match="revoked"):
            await c.south.shows(ada, copy.tag)


async def test_an_old_request_is_refused() -> None:
    async with Consortium() as c:
        _, asked = signed(c, await ada_of(c))
        await c.engine.pass_time(c.practice.request_lasts_ms + 1)
        assert await why(c, asked) is Why.STALE


async def test_bytes_that_are_no_request_are_refused_in_the_same_form() -> None:
    async with Consortium() as c:
        assert await why(c, b"\xff" * 40) is Why.MALFORMED


async def test_every_refusal_stands_in_the_members_log_and_not_on_the_ledger() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        size = c.north.node.recent()[0]
        _, asked = signed(c, ada)
        await why(c, asked, asker="shield")
        events = [entry.event for _, _, entry in c.north.office.member.log.entries()]
        assert events[-1] is Event.RELEASE_REFUSED
        assert c.north.node.recent()[0] == size


async def test_what_a_clinician_relied_on_stays_when_the_copy_goes() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        copy = await c.south.fetches(ada, "north")
        (shown,) = await c.south.shows(ada, copy.tag)
        requests = c.south.office.requests
        requests.rely(copy.tag, shown.sent.id, "n1", "dose was chosen by it")
        await c.engine.pass_time(c.practice.copy_lasts_ms + 1)
        await requests.tend()
        assert requests.copies.count() == 0
        ((_, relied),) = list(requests.relied.every())
        assert relied.stored == shown.sent.stored and relied.custodian == "north"
