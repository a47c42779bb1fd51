"""Release: the order of its steps, whatever dies or fails between them; and what a refusal may tell."""

import asyncio
from dataclasses import replace

import pytest

from commonward.ledger.audit import Release
from commonward.workflows.copies import WrongDelivery
from commonward.workflows.memory import Killed
from commonward.workflows.messages import ASK, Answer, Mode, Why
from commonward.workflows.ports import LedgerAway, MarkState, PeerAway, VaultFull
from commonward.workflows.requests import DisplayRefused, RequestRefused
from tests.consortium import Consortium, Person, answers_between, deny, observation, permit, psychiatric

RELEASE_STEPS = [
    "release.decided",
    "release.before-reserve",
    "release.reserved",
    "release.mark.signed",
    "release.mark.landed",
    "release.marked",
    "release.cosigned",
    "release.delivering",
]
REQUEST_STEPS = [
    "request.asking",
    "request.answered",
    "request.kept",
    "receipt.signed",
    "receipt.landed",
    "request.receipted",
]


async def ada_of(c: Consortium) -> Person:
    ada = await c.patient("ada", at=("north",))
    await c.north.takes(observation("o1", "ada"), observation("o2", "ada"))
    await c.north.ticks()
    await ada.grants(permit("south"))
    return ada


def patiently(c: Consortium) -> None:
    """Nothing may turn on how fast the machine is: a submission that takes long is waited for."""
    for node in c.engine.nodes.values():
        node._submit_ms = 60_000


def marks_on_ledger(c: Consortium) -> int:
    entries = c.north.node.entries(0, 1000, [Release.KIND])
    return len([entry for entry in entries if entry.code == 0])


@pytest.mark.parametrize("step", RELEASE_STEPS)
async def test_a_custodian_killed_at_any_step_releases_once_and_the_same_bytes(step: str) -> None:
    async with Consortium() as c:
        patiently(c)
        ada = await ada_of(c)
        c.north.dies_at(step)
        with pytest.raises(Killed):
            await c.south.fetches(ada, "north")
        c.north.wakes()
        (copy,) = await c.south.office.requests.resume()
        assert len(await c.south.shows(ada, copy.tag)) == 2
        assert marks_on_ledger(c) == 1
        assert c.north.vault.last_mark(ada.handle).n == 1  # type: ignore[union-attr]
        log = await ada.log()
        assert log.whole and len(log.marks) == 1, log.troubles


@pytest.mark.parametrize("step", REQUEST_STEPS)
async def test_a_requester_killed_at_any_step_ends_with_one_copy_and_one_receipt(step: str) -> None:
    async with Consortium() as c:
        patiently(c)
        ada = await ada_of(c)
        c.south.dies_at(step)
        with pytest.raises(Killed):
            await c.south.fetches(ada, "north")
        c.south.wakes()
        await c.south.ticks()
        ((tag, copy),) = list(c.south.office.requests.copies.every())
        assert copy.receipt
        log = await ada.log()
        assert log.whole and len(log.marks) == 1, log.troubles
        assert [receipt.tag for receipt in log.receipts] == [tag]


@pytest.mark.parametrize("after_effect", [False, True])
async def test_a_connection_that_ends_before_the_answer_costs_nothing(after_effect: bool) -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        c.peers.cue.fail_next(ASK, after_effect=after_effect)
        with pytest.raises(PeerAway):
            await c.south.fetches(ada, "north")
        assert len(await c.south.office.requests.resume()) == 1
        assert marks_on_ledger(c) == 1


@pytest.mark.parametrize("method", ["submit", "cosigned"])
@pytest.mark.parametrize("after_effect", [False, True])
async def test_nothing_leaves_before_its_mark_is_cosigned(method: str, after_effect: bool) -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        c.north.node.cue.fail_next(method, after_effect=after_effect)
        with pytest.raises(RequestRefused) as refused:
            await c.south.fetches(ada, "north")
        assert refused.value.why is Why.NOT_LIVE
        assert all(Answer.parse(each).delivery is None for each in answers_between(c, ASK))
        assert len(await c.south.office.requests.resume()) == 1
        assert marks_on_ledger(c) == 1


@pytest.mark.parametrize("method", ["transaction", "reserve_mark", "change_mark"])
async def test_a_full_disk_at_the_custodian_loses_and_doubles_nothing(method: str) -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        c.north.vault.cue.fail_next(method)
        with pytest.raises(VaultFull):
            await c.south.fetches(ada, "north")
        assert len(await c.south.office.requests.resume()) == 1
        assert marks_on_ledger(c) == 1


async def test_a_resend_is_the_same_bytes() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        for step in ("request.answered", "request.answered"):
            c.south.dies_at(step)
            with pytest.raises(Killed):
                if step and not answers_between(c, ASK):
                    await c.south.fetches(ada, "north")
                else:
                    await c.south.office.requests.resume()
            c.south.wakes()
        first, second = answers_between(c, ASK)
        assert first == second


async def test_withdrawal_between_reserving_and_marking_makes_the_number_void() -> None:
    async with Consortium() as c:
        ada = await c.patient("ada", at=("north",))
        await c.north.takes(observation("o1", "ada"))
        told = await ada.grants(permit("south"))
        c.north.dies_at("release.reserved")
        with pytest.raises(Killed):
            await c.south.fetches(ada, "north")
        await ada.withdraws(told)
        c.north.wakes()
        await c.north.ticks()
        (row,) = c.north.vault.marks(ada.handle)
        assert row.state is MarkState.VOID and not row.delivery
        assert marks_on_ledger(c) == 1
        log = await ada.log()
        assert log.whole and [mark.state.name for mark in log.marks] == ["VOID"], log.troubles
        assert await c.south.office.requests.resume() == []


# what a refusal may tell


async def test_withheld_records_and_none_look_alike() -> None:
    """Twins: one has a withheld record more. Same answers to the same asks, in form and size."""
    async with Consortium() as c:
        twins = [await c.patient(name, at=("north",)) for name in ("twin1", "twin2")]
        for person, extra in zip(twins, (True, False), strict=True):
            await c.north.takes(observation(f"{person.name}-o1", person.name))
            if extra:
                await c.north.takes(psychiatric(f"{person.name}-p1", person.name))
            await person.grants(permit("south"), deny(classes=frozenset({"mental-health"})))
        await c.north.ticks()
        copies = [await c.south.fetches(person, "north") for person in twins]
        shown = [await c.south.shows(person, copy.tag) for person, copy in zip(twins, copies, strict=True)]
        assert [len(each) for each in shown] == [1, 1]
        first, second = answers_between(c, ASK)
        assert len(first) == len(second)
        assert Answer.parse(first).why is Answer.parse(second).why is None


async def test_all_withheld_none_held_and_unknown_here_are_one_refusal() -> None:
    async with Consortium() as c:
        withheld = await c.patient("withheld", at=("north",))
        await c.north.takes(psychiatric("p1", "withheld"))
        nothing = await c.patient("nothing", at=("north",))
        unknown = await c.patient("unknown", at=("clinic",))
        for person in (withheld, nothing, unknown):
            await person.grants(permit("south"))
            with pytest.raises(RequestRefused) as refused:
                await c.south.fetches(person, "north")
            assert refused.value.why is Why.NOTHING
        assert len(set(answers_between(c, ASK))) == 1
        assert len(set(c.north.pace.settled)) == 1, "and all leave on the same grid of time"


async def test_every_refusal_has_one_size() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        with pytest.raises(RequestRefused):
            await c.south.fetches(ada, "north", role="registrar", mode=Mode.DISPLAY)
        with pytest.raises(RequestRefused):
            await c.shield.fetches(ada, "north", role="claims-officer", purpose="HPAYMT")
        with pytest.raises(RequestRefused):
            await c.south.fetches(ada, "north", purpose="HRESCH")
        assert len({len(each) for each in answers_between(c, ASK)}) == 1


async def test_another_members_consent_is_worth_nothing_to_who_was_not_named() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        (consent,) = c.south.office.openings.permitted_consents(ada.handle)
        with pytest.raises(RequestRefused) as refused:
            await c.clinic.fetches(ada, "north", consent=consent)
        assert refused.value.why is Why.NO_PERMIT


async def test_a_registrar_may_fetch_ahead_and_not_look() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        copy = await c.south.fetches(ada, "north", role="registrar")
        with pytest.raises(DisplayRefused, match="registrar"):
            await c.south.shows(ada, copy.tag, role="registrar")


# what is altered shows


async def test_a_byte_altered_in_the_vault_is_not_released_and_shows() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        (_, row), _ = c.north.vault.current_records([c.north.local("ada")])
        c.north.vault.alter_record(row.id, 40)
        copy = await c.south.fetches(ada, "north")
        assert len(await c.south.shows(ada, copy.tag)) == 1
        assert any("altered" in entry.detail for _, _, entry in c.north.office.member.log.entries())


async def test_a_byte_altered_in_a_delivered_copy_shows() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        copy = await c.south.fetches(ada, "north")
        broken = bytearray(copy.delivery)
        broken[len(broken) // 2] ^= 1
        c.south.office.requests.copies.put(copy.tag, replace(copy, delivery=bytes(broken)))
        with pytest.raises(WrongDelivery, match="altered"):
            await c.south.shows(ada, copy.tag)


async def test_records_not_anchored_yet_go_as_pending_and_their_proof_follows() -> None:
    async with Consortium() as c:
        ada = await c.patient("ada", at=("north",))
        await c.north.takes(observation("o1", "ada"))
        await ada.grants(permit("south"))
        copy = await c.south.fetches(ada, "north")
        (shown,) = await c.south.shows(ada, copy.tag)
        assert shown.verified.name == "PENDING" and shown.since is None
        await c.north.ticks()
        await c.south.ticks()
        (shown,) = await c.south.shows(ada, copy.tag)
        assert shown.verified.name == "ANCHORED" and shown.since is not None


# the ledger away


async def test_treatment_goes_on_within_grace_and_is_marked_late() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        await c.ledger_away(600_000)
        copy = await c.south.fetches(ada, "north")
        assert copy.index == -1
        assert len(await c.south.shows(ada, copy.tag)) == 2
        assert marks_on_ledger(c) == 0
        await c.ledger_back()
        await c.all_tick()
        await c.all_tick()
        assert marks_on_ledger(c) == 1
        ((_, copy),) = list(c.south.office.requests.copies.every())
        assert copy.index >= 0 and copy.receipt
        log = await ada.log()
        assert log.whole and [mark.state.name for mark in log.marks] == ["LATE"], log.troubles


async def test_beyond_grace_only_a_broken_glass_helps() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        await c.ledger_away(5 * 3_600_000)
        with pytest.raises(RequestRefused) as refused:
            await c.south.fetches(ada, "north")
        assert refused.value.why is Why.NOT_LIVE
        tag, copy = await c.south.office.glass.break_glass(
            c.south.staff(), c.south.visit(ada), c.north.name, "unconscious"
        )
        assert len(await c.south.shows(ada, copy.tag)) == 2
        await c.ledger_back()
        await c.all_tick()
        await c.all_tick()
        assert c.north.node.broken_glass(tag, c.south.name) is not None
        assert marks_on_ledger(c) == 2, "the late one, and the first request, asked again once the ledger was back"
        log = await ada.log()
        assert log.whole, log.troubles
        assert {mark.glass for mark in log.marks} == {tag, None} and [glass.tag for glass in log.glasses] == [tag]


async def test_research_does_not_go_on_under_grace() -> None:
    async with Consortium() as c:
        ada = await c.patient("ada", at=("north",))
        await c.north.takes(observation("o1", "ada"))
        await ada.grants(permit("shield", purposes=("HPAYMT",)))
        await c.ledger_away(600_000)
        with pytest.raises(RequestRefused) as refused:
            await c.shield.fetches(ada, "north", role="claims-officer", purpose="HPAYMT")
        assert refused.value.why is Why.NOT_LIVE


async def test_a_submission_to_a_ledger_that_is_away_says_so() -> None:
    async with Consortium() as c:
        await c.ledger_away(1000)
        with pytest.raises(LedgerAway):
            await c.north.office.member.anchoring.tick()


async def test_the_same_request_asked_many_times_at_once_is_one_mark_and_one_answer() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        c.south.dies_at("request.asking")
        with pytest.raises(Killed):
            await c.south.fetches(ada, "north")
        c.south.wakes()
        ((_, asking),) = list(c.south.office.requests._asking.every())
        await asyncio.gather(*(c.peers.ask(c.south.name, c.north.name, ASK, asking.asked) for _ in range(5)))
        assert len(set(answers_between(c, ASK))) == 1
        assert marks_on_ledger(c) == 1


async def test_many_requests_for_one_patient_at_once_leave_no_gap() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        await asyncio.gather(*(c.south.fetches(ada, "north") for _ in range(6)))
        log = await ada.log()
        assert log.whole and [mark.facts.n for mark in log.marks] == [1, 2, 3, 4, 5, 6], log.troubles
