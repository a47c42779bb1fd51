"""Members that lie, steal or meddle: each attack has its test."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from commonward.ledger.audit import BreakGlass, Release
from commonward.ledger.consent import EndMandate
from commonward.ledger.ids import BlockTime, Handle, Purpose, Tag
from commonward.ledger.parameters import Parameter
from commonward.ledger.possession import PasskeyPurpose
from commonward.records.certificates import sign_statement
from commonward.records.envelope import pad, seal_to
from commonward.records.rules import Rule
from commonward.workflows import judging
from commonward.workflows.breakglass import GlassRefused
from commonward.workflows.enrolment import LinkPaper, WitnessedForm, midnight_after, new_passkey
from commonward.workflows.identity import mark_tag
from commonward.workflows.memory import CountedEntropy, Killed
from commonward.workflows.messages import (
    OPENING,
    Asked,
    Extent,
    Mode,
    Opened,
    OpeningAck,
    OpeningDeposit,
    PaperKind,
    Papers,
    PermitsOpening,
    ReceiptFacts,
    Why,
    WithdrawOpening,
    ack_message,
    opening_info,
)
from commonward.workflows.patient import Patient
from commonward.workflows.ports import MarkState, Proven
from commonward.workflows.requests import DisplayRefused, RequestRefused
from tests.consortium import Consortium, Person, SoftSigner, deny, observation, permit, psychiatric
from tests.ledgerkit import SoftPasskey, commitment
from tests.scenarios.calm import Calm

TEXT = "I agree that South reads my records at North."


async def ada_of(c: Consortium, at: tuple[str, ...] = ("north",)) -> Person:
    ada = await c.patient("ada", at=at)
    await c.north.takes(observation("o1", "ada"), psychiatric("p1", "ada"))
    await c.north.ticks()
    return ada


async def opens(c: Consortium, by: str, to: str, entry: bytes, opened: Opened) -> bool:
    """`by` seals an opening to `to` itself; whether it was taken."""
    key = {name: public for name, _, public in c.north.office.gate.members()}[c.houses[to].name]
    info = opening_info(c.engine.genesis.ledger_id, c.houses[to].name, entry)  # type: ignore[arg-type]
    deposit = OpeningDeposit(c.houses[to].name, entry, seal_to(key, info, pad(opened.to_bytes())))  # type: ignore[arg-type]
    answer = await c.peers.ask(c.houses[by].name, c.houses[to].name, OPENING, deposit.to_bytes())
    return bool(OpeningAck.parse(answer).signature)


async def witnessed(c: Consortium, by: str, handle: Handle, rules: tuple[Rule, ...], form: WitnessedForm) -> bool:
    """`by` says that the patient consented in person before it, and opens that to North; whether North takes it."""
    end = midnight_after(c.engine.clock.now(), 30)
    office = c.houses[by].office
    committed, _, opening = await office.enrolment.witnessed_consent(handle, rules, end, form)
    await c.engine.settle()
    return await opens(c, by, "north", committed.digest, Opened(consent=opening))


def signed_form(c: Consortium, member: str, *numbers: str) -> WitnessedForm:
    people = [c.houses[member].staff("nurse", number) for number in numbers]
    ledger = c.engine.genesis.ledger_id
    return WitnessedForm(
        TEXT, *(sign_statement(ledger, TEXT.encode(), each.certificate, each.sign).to_bytes() for each in people)
    )


# who steals or makes up a patient's word


async def test_a_witnessed_consent_without_two_signatures_on_its_form_is_not_obeyed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thief of South's operate key, or South itself in a hurry: the form inside must bear two people's signatures."""
    async with Calm() as c:
        ada = await ada_of(c)
        forged = replace(signed_form(c, "south", "n1", "n2"), second=signed_form(c, "south", "n1", "n1").second)
        with monkeypatch.context() as bent:
            bent.setattr(WitnessedForm, "check", lambda *_: None)  # South's own software does not care
            office = c.south.office
            committed, consent, opening = await office.enrolment.witnessed_consent(
                ada.handle, (permit("south"),), midnight_after(c.engine.clock.now(), 30), forged
            )
        await c.engine.settle()
        assert not await opens(c, "south", "north", committed.digest, Opened(consent=opening))
        with pytest.raises(RequestRefused):
            await c.south.fetches(ada, "north", consent=consent)
        assert await witnessed(c, "south", ada.handle, (permit("south"),), signed_form(c, "south", "n1", "n2"))


async def test_a_form_that_another_members_staff_signed_is_not_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Calm() as c:
        ada = await ada_of(c)
        checked = WitnessedForm.check
        monkeypatch.setattr(
            WitnessedForm, "check", lambda form, member, *of: checked(form, member, *of) if of else None
        )
        assert not await witnessed(c, "south", ada.handle, (permit("south"),), signed_form(c, "clinic", "n1", "n2"))


async def test_a_member_cannot_lift_what_a_patient_denied_by_saying_that_she_withdrew_it() -> None:
    """South withdraws Ada's consent 'in person' and brings one of its own: her deny stands all the same."""
    async with Calm() as c:
        ada = await ada_of(c)
        told = await ada.grants(permit("clinic"), deny(2, classes=frozenset({"mental-health"})))
        landed, salt = await c.south.office.enrolment.witnessed_withdrawal(told.consent, "she said so")
        await c.engine.settle()
        opening = WithdrawOpening(told.consent, "she said so", salt)
        assert await opens(c, "south", "north", landed.digest, Opened(withdraw=opening))
        everything = permit("south", classes=frozenset({"mental-health", "laboratory"}))
        assert await witnessed(c, "south", ada.handle, (everything,), signed_form(c, "south", "n1", "n2"))
        openings = c.north.office.openings
        assert [rule.number for given in openings.givens(ada.handle, None) for rule in given.rules] == [2]
        # Her own key lifts it.
        other = await ada.grants(deny(3, classes=frozenset({"laboratory"})))
        await ada.withdraws(other)
        await c.engine.settle()
        assert [rule.number for given in openings.givens(ada.handle, None) for rule in given.rules] == [2]


async def test_a_representative_cannot_lift_what_the_patient_denied_by_withdrawing_it() -> None:
    """It may end permits; the deny stands, also after its mandate is gone from the state."""
    async with Calm() as c:
        ada = await ada_of(c)
        told = await ada.grants(permit("clinic"), deny(2, classes=frozenset({"laboratory"})))
        signer = SoftSigner(SoftPasskey("proxy"))
        passkey = await new_passkey(signer, c.engine.genesis.ledger_id, ada.handle, PasskeyPurpose.REPRESENTATIVE)
        end = midnight_after(c.engine.clock.now(), 1)
        await c.south.office.enrolment.mandate(
            ada.handle, passkey, signer.sealing_public, end, "all", "so she said", "n9"
        )
        await c.engine.settle()
        proxy = Patient(signer, c.clinic.office.gate, CountedEntropy("p"), ada.client.wallet, representative=True)
        await proxy.withdraw(told.consent, "she changed her mind")
        await proxy.grant((permit("south"),))
        await c.engine.settle()
        with pytest.raises(RequestRefused) as refused:
            await c.south.fetches(ada, "north")
        assert refused.value.why is Why.NOTHING
        ended = EndMandate(ada.handle, passkey.author, commitment("over"))
        assert (await c.south.node.submit(c.engine.sign(ended, by="south"))).code == 0
        await c.engine.settle()
        givens = c.north.office.openings.givens(ada.handle, None)
        assert [rule.number for given in givens for rule in given.rules] == [2]


async def test_an_empty_opening_does_not_take_the_place_of_the_true_one() -> None:
    """Anyone can seal to a member: with fewer permits than it has, nobody makes it forget."""
    async with Calm() as c:
        ada = await ada_of(c)
        told = await ada.grants(permit("south"), permit("south", number=3, purposes=("ETREAT",)))
        entry = ada.client.wallet.given[0].entry
        before, _ = c.south.office.openings.permits(ada.handle, told.consent)
        assert len(before) == 2
        assert not await opens(c, "shield", "south", entry, Opened(permits=PermitsOpening(told.consent, ())))
        assert await opens(c, "shield", "south", entry, Opened(permits=PermitsOpening(told.consent, before[:1])))
        assert c.south.office.openings.permits(ada.handle, told.consent)[0] == before


async def test_what_was_reserved_before_a_deny_does_not_leave_after_it() -> None:
    """The custodian dies after it sealed a bundle; the patient denies; the same request comes again."""
    async with Calm() as c:
        ada = await ada_of(c)
        await ada.grants(permit("south"))
        c.north.dies_at("release.reserved")
        with pytest.raises(Killed):
            await c.south.fetches(ada, "north")
        c.north.wakes()
        await ada.grants(deny(1, classes=frozenset({"laboratory"})))
        await c.engine.settle()
        assert await c.south.office.requests.resume() == []
        assert not list(c.south.office.requests.copies.every())


# who lies to the patient


async def released(c: Consortium) -> Person:
    ada = await ada_of(c)
    await ada.grants(permit("south"))
    await c.south.fetches(ada, "north")
    return ada


@pytest.mark.parametrize(
    "lie", [{"requester": "clinic"}, {"purpose": "HRESCH"}, {"number": "n7"}, {"role": "clinician"}, {"reason": "none"}]
)
async def test_a_custodian_that_names_another_asker_than_the_one_who_signed_is_caught(lie: dict[str, str]) -> None:
    async with Calm() as c:
        ada = await released(c)
        honest = c.north.office.releases.line
        c.north.office.releases.line = (  # type: ignore[method-assign]
            lambda handle, after, limit=200: [replace(mark, **lie) for mark in honest(handle, after)]  # type: ignore[arg-type]
        )
        log = await ada.log()
        assert [trouble.custodian for trouble in log.troubles] == ["north"]


async def test_a_custodian_cannot_drop_what_it_showed_by_naming_other_tags() -> None:
    async with Calm() as c:
        ada = await released(c)
        mailbox = c.north.office.mailbox
        paper = LinkPaper("north", ada.handle, b"k" * 32, c.engine.clock.now())
        sealed = mailbox.seal(ada.handle, PaperKind.LINK, paper.to_bytes())
        assert sealed is not None
        (known,) = ada.client.wallet.custodians
        mailbox.post(ada.handle, PaperKind.LINK, b"another", paper.to_bytes())
        c.north.office.releases.line = lambda handle, after, limit=200: []  # type: ignore[method-assign]
        log = await ada.log()
        assert ada.client.wallet.custodians == (known,)
        assert any("other tags" in trouble.what for trouble in log.troubles)
        assert any("hidden" in trouble.what for trouble in log.troubles)


async def test_a_member_cannot_blame_another_for_a_receipt_that_it_made_up() -> None:
    async with Calm() as c:
        ada = await released(c)
        zero = bytes(32)
        facts = ReceiptFacts(c.south.name, Tag(zero), zero, zero, (zero, zero, zero), 1, c.engine.clock.now())  # type: ignore[arg-type]
        c.shield.office.mailbox.post(ada.handle, PaperKind.RECEIPT, b"made up", facts.to_bytes())
        log = await ada.log()
        assert [trouble.custodian for trouble in log.troubles] == ["shield"]


@pytest.mark.parametrize("what", ["papers", "marks"])
async def test_a_member_that_answers_without_end_does_not_hold_up_the_patient(what: str) -> None:
    async with Calm() as c:
        ada = await released(c)
        if what == "papers":
            honest = c.south.office.mailbox.list
            c.south.office.mailbox.list = lambda wanted: honest(replace(wanted, after=0))  # type: ignore[method-assign]
            c.south.office.mailbox.check = lambda wanted: None  # type: ignore[method-assign]
        else:
            line = c.north.office.releases.line
            c.north.office.releases.line = lambda handle, after, limit=200: line(handle, 0)  # type: ignore[method-assign]
        log = await ada.log()
        assert any("without end" in trouble.what for trouble in log.troubles)


@pytest.mark.parametrize("withdrawn", [False, True])
async def test_a_custodian_cannot_hide_a_release_by_calling_it_late(withdrawn: bool) -> None:
    """It says that the ledger is away and its mark will follow, and never marks. The honest requester confirms."""
    async with Calm() as c:
        ada = await ada_of(c)
        told = await ada.grants(permit("south"))
        believed = judging._check_live
        judging._check_live = lambda *_: True
        try:
            copy = await c.south.fetches(ada, "north")
        finally:
            judging._check_live = believed
        assert copy.index == -1 and not copy.receipt

        async def never() -> None:
            return None

        c.north.office.releases.finish = never  # type: ignore[method-assign]
        c.north.office.releases.line = lambda handle, after, limit=200: []  # type: ignore[method-assign]
        assert (await ada.log()).whole, "so far nothing tells"
        if withdrawn:
            await ada.withdraws(told)
        else:
            await c.engine.pass_time(11 * 60_000)
            await c.engine.pass_time(31_000)
        await c.all_tick()
        await c.all_tick()
        log = await ada.log()
        assert any("hidden" in trouble.what for trouble in log.troubles)


async def test_nobody_delays_a_release_by_putting_a_mark_under_its_tag_first() -> None:
    """The operator reads the tag in North's bundle and has Health sign a mark under it before North's is ordered."""
    async with Calm() as c:
        ada = await ada_of(c)
        await ada.grants(permit("south"))
        link = c.north.office.member.identity.linked(ada.handle)
        assert link is not None
        a, b, d, e, f, g = (commitment("squat", n) for n in range(6))
        squat = Release(mark_tag(link.tag_key, 1), a, b, d, e, f, g)
        await c.health.node.submit(c.engine.sign(squat, by="health"))
        await c.engine.settle()
        assert (await ada.log()).whole, "nor does it look like a release that North hides"
        copy = await c.south.fetches(ada, "north")
        assert copy.index >= 0 and copy.tag == squat.tag
        log = await ada.log()
        assert log.whole and [mark.facts.tag for mark in log.marks] == [squat.tag]


async def test_nobody_keeps_a_doctor_from_breaking_the_glass_by_taking_its_tag() -> None:
    """The clinic, which may break glass too, sees the tag on its way and is first under it."""
    async with Calm() as c:
        ada = await ada_of(c)
        glass = c.south.office.glass
        tag = glass.prepare(c.south.staff(), c.south.visit(ada), c.north.name, "unconscious")
        a, b, d = (commitment("squat", n) for n in range(3))
        review_by = BlockTime(c.engine.clock.now() + 3_600_000)
        taken = await c.clinic.node.submit(c.engine.sign(BreakGlass(tag, review_by, a, b, d), by="clinic"))
        assert taken.code == 0
        await c.engine.settle()
        await glass._mark(tag)
        assert (await glass._fetch(tag)).index >= 0
        reviewed = await glass.review(c.south.staff(number="n2"), tag, "it was one")
        assert reviewed.finding and c.south.node.broken_glass(tag, c.south.name) is not None
        assert ada.handle and len((await ada.log()).troubles) == 0


async def test_a_copy_got_in_an_emergency_is_not_shown_for_another_purpose() -> None:
    async with Calm() as c:
        ada = await released(c)
        visit = c.south.visit(ada)
        _, copy = await c.south.office.glass.break_glass(c.south.staff(), visit, c.north.name, "unconscious")
        with pytest.raises(DisplayRefused, match="HRESCH"):
            await c.south.office.requests.display(c.south.staff(), copy.tag, visit, purpose="HRESCH")
        assert await c.south.shows(ada, copy.tag)


async def test_a_mailbox_that_says_nothing_hides_a_receipt_and_shows_nothing_else() -> None:
    """A stated limit: custodian and requester together keep a release from the patient."""
    async with Calm() as c:
        ada = await released(c)
        c.north.office.releases.line = lambda handle, after, limit=200: []  # type: ignore[method-assign]
        c.north.office.mailbox.list = lambda wanted: Papers(())  # type: ignore[method-assign]
        c.south.office.mailbox.list = lambda wanted: Papers(())  # type: ignore[method-assign]
        ada.client.wallet = replace(ada.client.wallet, custodians=())
        ada.client.linked(c.north.name, b"k" * 32)  # marks under tags of the custodian's own choosing
        log = await ada.log()
        assert log.whole and not log.marks, "nothing in the patient's reach tells of it"


async def test_a_patient_who_never_consented_gives_an_attacker_nothing_to_name() -> None:
    async with Calm() as c:
        ada = await ada_of(c)
        with pytest.raises(RequestRefused) as refused:
            await c.south.fetches(ada, "north")
        assert refused.value.why is Why.NO_CONSENT


# who says that an opening arrived


async def test_who_passes_an_opening_on_cannot_sign_for_the_addressee() -> None:
    """The clinic keeps the openings for itself, and answers in North's and South's name with a key of its own."""
    async with Calm() as c:
        ada = await ada_of(c)
        own = c.clinic.office.member.ports.keys

        async def forges(deposit: OpeningDeposit) -> OpeningAck:
            message = ack_message(c.engine.genesis.ledger_id, deposit, Extent.ALL)
            signature, key = own.sign(Purpose.OPERATE, message), own.public(Purpose.OPERATE)[2]
            return OpeningAck(deposit.to, deposit.entry, key, signature, Extent.ALL)

        honest, c.clinic.office.gate.deposit = c.clinic.office.gate.deposit, forges  # type: ignore[method-assign]
        ada.through("clinic")
        told = await ada.grants(permit("south"))
        assert told.waiting == {"north", "south"} and not told.acknowledged
        c.clinic.office.gate.deposit = honest  # type: ignore[method-assign]
        assert (await ada.client.deliver(told.consent)).acknowledged == {"north", "south"}


async def test_a_custodian_that_got_the_permits_alone_is_not_shown_as_having_all() -> None:
    """The clinic passes South's permits on and keeps back all rules, the denies among them; for those it shows the
    acknowledgement of the permits."""
    async with Calm() as c:
        ada = await ada_of(c, at=("north", "south"))
        honest = c.clinic.office.gate.deposit
        heard: list[OpeningAck] = []

        async def keeps_back(deposit: OpeningDeposit) -> OpeningAck:
            if deposit.to == "south" and seen.setdefault(len(seen), deposit) is seen[0]:
                return OpeningAck.waits(deposit)
            ack = await honest(deposit)
            heard.extend([ack] if ack.member == "south" else [])
            return ack

        def replays(extent: Extent) -> Callable[[OpeningDeposit], Coroutine[Any, Any, OpeningAck]]:
            async def said(deposit: OpeningDeposit) -> OpeningAck:
                return replace(heard[0], extent=extent) if deposit.to == "south" else await honest(deposit)

            return said

        seen: dict[int, OpeningDeposit] = {}
        c.clinic.office.gate.deposit = keeps_back  # type: ignore[method-assign]
        ada.through("clinic")
        told = await ada.grants(permit("south"), deny(2, custodians=("north",)))
        assert told.waiting == {"south"} and told.partly == {"south"} and told.acknowledged == {"north"}
        assert heard[0].extent is Extent.PERMITS
        for extent in (Extent.PERMITS, Extent.ALL):
            c.clinic.office.gate.deposit = replays(extent)  # type: ignore[method-assign, assignment]
            told = await ada.client.deliver(told.consent)
            assert told.waiting == {"south"} and told.acknowledged == {"north"}
        c.clinic.office.gate.deposit = honest  # type: ignore[method-assign]
        assert (await ada.client.deliver(told.consent)).acknowledged == {"north", "south"}


# who wears the house down


async def test_a_mark_that_can_never_land_does_not_flood_the_log() -> None:
    """The custodian was cut off for longer than a mark may be late: it is refused at each tick, and noted once."""
    async with Calm() as c:
        ada = await ada_of(c)
        await ada.grants(permit("south"))
        await c.ledger_away(600_000)
        assert (await c.south.fetches(ada, "north")).index == -1
        c.engine.clock.move(4 * 24 * 3_600_000)
        await c.ledger_back()
        for _ in range(5):
            await c.all_tick()
        entries = [entry for _, _, entry in c.north.office.member.log.entries()]
        assert sum("a mark was refused" in entry.detail for entry in entries) == 1
        assert c.north.vault.marks_in(MarkState.LATE), "and it stays what it is, for all who look"


@pytest.mark.parametrize("ahead", [5_000, 1 << 40, 1 << 62])
async def test_a_question_of_a_log_that_cannot_be_is_not_waited_for(ahead: int) -> None:
    """An asker says that it saw a ledger much longer than ours: each such question would hold us for two seconds."""
    async with Calm() as c:
        ada = await ada_of(c)
        await ada.grants(permit("south"))
        requests, node = c.south.office.requests, c.north.node
        visit = c.south.visit(ada)
        consent = requests._newest(ada.handle)
        statement = requests.request(c.south.staff(), visit, c.north.name, "TREAT", Mode.DISPLAY, consent=consent)
        permits, _ = c.south.office.openings.permits(ada.handle, consent)
        waited: list[int] = []
        honest = node.cosigned

        async def watched(size: int, timeout_ms: int = 10_000) -> Proven:
            waited.append(size)
            return await honest(size, timeout_ms)

        node.cosigned = watched  # type: ignore[method-assign]
        asked = Asked(statement.to_bytes(), permits, None, node.recent()[0] + ahead)
        assert await requests.send(c.north.name, asked)
        assert waited and max(waited) <= node.recent()[0]


async def test_a_doctor_beyond_the_quota_does_not_stop_the_members_housekeeping() -> None:
    """A refused glass stays written down; everything else at the tick goes on, and nothing is tried without end."""
    async with Calm(parameters={Parameter.BREAK_GLASS_A_DAY: 1}) as c:
        ada = await released(c)
        glass = c.south.office.glass
        await glass.break_glass(c.south.staff(), c.south.visit(ada), c.north.name, "unconscious")
        with pytest.raises(GlassRefused, match="Quota"):
            await glass.break_glass(c.south.staff(), c.south.visit(ada, "visit 2"), c.north.name, "again")
        broken = len(c.south.node.entries(0, 10_000, [BreakGlass.KIND]))
        for _ in range(3):
            assert await c.south.ticks() == []
        assert len(c.south.node.entries(0, 10_000, [BreakGlass.KIND])) == broken
        assert len(glass.open()) == 2


async def test_a_glass_broken_beyond_the_quota_while_the_ledger_was_away_is_marked_the_next_day() -> None:
    async with Consortium(parameters={Parameter.BREAK_GLASS_A_DAY: 1}) as c:
        ada = await released(c)
        await c.ledger_away(5 * 3_600_000)
        glass = c.south.office.glass
        tags = [
            (await glass.break_glass(c.south.staff(), c.south.visit(ada, number), c.north.name, "unconscious"))[0]
            for number in ("visit 2", "visit 3")
        ]
        await c.ledger_back()
        for _ in range(2):
            await c.all_tick()
        assert [c.south.node.broken_glass(tag, c.south.name) is not None for tag in tags].count(True) == 1
        await c.engine.pass_time(24 * 3_600_000)
        await c.engine.pass_time(31_000)
        for _ in range(2):
            await c.all_tick()
        assert all(c.south.node.broken_glass(tag, c.south.name) is not None for tag in tags)
