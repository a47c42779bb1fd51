"""Consent: what is not opened does not fail open, what is withdrawn stops at once, and a deny wins."""

from typing import Any

import pytest

from commonward.ledger.consent import NotYourHold
from commonward.ledger.parameters import Parameter
from commonward.ledger.possession import PasskeyPurpose
from commonward.records.certificates import CertificateRefused, sign_statement
from commonward.records.envelope import pad, seal_to
from commonward.workflows.enrolment import WitnessedForm, midnight_after, new_passkey
from commonward.workflows.memory import CountedEntropy
from commonward.workflows.messages import (
    NO_CONSENT_ID,
    OPENING,
    Asked,
    Mode,
    Opened,
    OpeningAck,
    OpeningDeposit,
    Why,
    opening_info,
)
from commonward.workflows.patient import NotAccepted, Patient, Wallet
from commonward.workflows.requests import DisplayRefused, RequestRefused
from tests.consortium import Consortium, Person, SoftSigner, deny, observation, permit
from tests.ledgerkit import SoftPasskey


async def ada_of(c: Consortium, *at: str) -> Person:
    ada = await c.patient("ada", at=at or ("north",))
    await c.north.takes(observation("o1", "ada"))
    await c.north.ticks()
    return ada


async def refused(c: Consortium, ada: Person, **more: Any) -> Why:
    with pytest.raises(RequestRefused) as caught:
        await c.south.fetches(ada, "north", **more)
    return caught.value.why


async def test_an_opening_that_never_arrives_does_not_fail_open() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        given = await ada.grants(permit("south"))
        c.peers.cut(c.north.name)
        hidden = await ada.grants(deny(1))  # signed and on the ledger; north cannot be told yet
        assert hidden.waiting == {"north"}
        c.peers.mend(c.north.name)
        assert await refused(c, ada, consent=given.consent) is Why.NOTHING
        await c.clinic.ticks()  # who stored it passes it on
        assert (await ada.client.deliver(hidden.consent)).acknowledged == {"north"}
        assert await refused(c, ada, consent=given.consent) is Why.NOTHING  # now it denies


async def test_an_unopened_withdrawal_suspends_too() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        first = await ada.grants(permit("south"))
        second = await ada.grants(permit("south"))
        c.peers.cut(c.north.name)
        await ada.withdraws(first)
        c.peers.mend(c.north.name)
        assert await refused(c, ada, consent=second.consent) is Why.NOTHING
        await ada.client.deliver(first.consent)
        assert (await c.south.fetches(ada, "north", consent=second.consent)).index >= 0


async def test_a_withdrawal_stops_requests_and_displays_at_once_through_any_member() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        given = await ada.grants(permit("south"))
        copy = await c.south.fetches(ada, "north")
        ada.through("shield")  # no custodian can block it
        await ada.withdraws(given)
        await c.engine.settle()
        assert await refused(c, ada, consent=given.consent) is Why.NO_CONSENT
        with pytest.raises(DisplayRefused, match="withdrawn"):
            await c.south.shows(ada, copy.tag)
        await c.south.ticks()
        assert c.south.office.requests.copies.count() == 0


async def test_a_deny_in_another_consent_is_not_lifted_by_a_later_permit() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        hidden = await ada.grants(deny(1, classes=frozenset({"laboratory"}), members=frozenset({"south"})))
        await ada.grants(permit("south"))
        why = await refused(c, ada)
        assert why is Why.NOTHING
        await ada.withdraws(hidden)
        assert (await c.south.fetches(ada, "north")).index >= 0


async def test_a_safety_hold_stops_everything_and_is_lifted_by_name() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        await ada.grants(permit("south"))
        copy = await c.south.fetches(ada, "north")
        hold = await ada.client.hold("someone is reading my records")
        await c.engine.settle()
        assert await refused(c, ada) is Why.HELD
        with pytest.raises(DisplayRefused, match="hold"):
            await c.south.shows(ada, copy.tag)
        await ada.withdraws(hold)
        await c.engine.settle()
        assert await c.south.shows(ada, copy.tag)


async def test_a_requester_is_opened_only_the_permits_that_name_it() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        await ada.grants(permit("south"), permit("clinic", number=3), deny(2, classes=frozenset({"mental-health"})))
        (consent,) = c.south.office.openings.permitted_consents(ada.handle)
        permits, (given,) = c.south.office.openings.permits(ada.handle, consent)
        assert len(permits) == 1 and [rule.number for rule in given.rules] == [1]
        assert c.south.office.openings.givens(ada.handle, consent) == []
        assert c.shield.office.openings.permitted_consents(ada.handle) == []


async def test_a_presented_permit_of_another_consent_is_worth_nothing() -> None:
    async with Consortium() as c:
        ada, bob = await ada_of(c), await c.patient("bob")
        await ada.grants(permit("south"))
        other = await bob.grants(permit("clinic"))
        permits, _ = c.south.office.openings.permits(
            ada.handle, c.south.office.openings.permitted_consents(ada.handle)[0]
        )
        statement = c.south.office.requests.request(
            c.south.staff("registrar"), c.south.visit(bob), c.north.name, "TREAT", Mode.FETCH_AHEAD,
            consent=other.consent,
        )  # fmt: skip
        with pytest.raises(RequestRefused) as caught:
            await c.south.office.requests.send(c.north.name, Asked(statement.to_bytes(), permits))
        assert caught.value.why is Why.NO_PERMIT


async def test_a_forged_opening_is_not_kept_and_not_acknowledged() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        given = await ada.grants(permit("south"))
        forged = Opened(consent=ada.client.wallet.given[0].opening)
        other = await (await c.patient("bob")).grants(permit("clinic"))
        assert other.consent != given.consent
        key = {name: public for name, _, public in c.north.office.gate.members()}[c.north.name]
        await c.engine.settle()
        digest = c.south.node.entries(0, 1000, [38])[-1].digest
        info = opening_info(c.engine.genesis.ledger_id, c.north.name, digest)
        deposit = OpeningDeposit(c.north.name, digest, seal_to(key, info, pad(forged.to_bytes())))
        answer = await c.peers.ask(c.south.name, c.north.name, OPENING, deposit.to_bytes())
        assert not OpeningAck.parse(answer).signature


async def test_a_request_in_the_name_of_no_consent_is_refused() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        assert await refused(c, ada, consent=NO_CONSENT_ID) is Why.NO_CONSENT


# who acts for a patient


async def test_of_two_representatives_deny_wins() -> None:
    async with Consortium() as c:
        child = await ada_of(c)
        parents = []
        for name in ("mother", "father"):
            signer = SoftSigner(SoftPasskey(name))
            ledger = c.engine.genesis.ledger_id
            passkey = await new_passkey(signer, ledger, child.handle, PasskeyPurpose.REPRESENTATIVE)
            end = midnight_after(c.engine.clock.now(), 30)
            await c.north.office.enrolment.mandate(
                child.handle, passkey, signer.sealing_public, end, "treatment", "birth certificate", "n9"
            )
            wallet = Wallet(child.handle, child.client.wallet.custodians)
            parents.append(Patient(signer, c.clinic.office.gate, CountedEntropy(name), wallet, representative=True))
        await c.engine.settle()
        mother, father = parents
        await mother.grant((permit("south"),))
        assert (await c.south.fetches(child, "north")).index >= 0
        hold = await father.hold("not my child")
        await c.engine.settle()
        assert await refused(c, child) is Why.HELD
        mother.wallet = father.wallet
        with pytest.raises(NotAccepted) as caught:
            await mother.withdraw(hold.consent)
        assert caught.value.code == NotYourHold.code


async def test_a_witnessed_consent_needs_two_people_and_is_marked_so() -> None:
    async with Consortium() as c:
        eve = await ada_of(c)
        text = "I agree that South reads my records at North."
        ledger = c.engine.genesis.ledger_id

        def form(*numbers: str) -> WitnessedForm:
            said = [
                sign_statement(ledger, text.encode(), staff.certificate, staff.sign).to_bytes()
                for staff in (c.north.staff("nurse", number) for number in numbers)
            ]
            return WitnessedForm(text, *said)

        end = midnight_after(c.engine.clock.now(), 30)
        with pytest.raises(CertificateRefused, match="two different"):
            await c.north.office.enrolment.witnessed_consent(eve.handle, (permit("south"),), end, form("n1", "n1"))
        committed, consent, _ = await c.north.office.enrolment.witnessed_consent(
            eve.handle, (permit("south"),), end, form("n1", "n2")
        )
        assert committed.code == 0
        record = c.north.office.member.reading.consent(consent)
        assert record is not None and record.assurance.name == "WITNESSED" and record.member == "north"


async def test_a_recovery_takes_two_members_and_a_wait_and_any_old_key_stops_it() -> None:
    async with Consortium(parameters={Parameter.RECOVERY_WAIT: 60_000}) as c:
        ada = await ada_of(c)
        signer = SoftSigner(SoftPasskey("ada again"))
        ledger = c.engine.genesis.ledger_id
        passkey = await new_passkey(signer, ledger, ada.handle, PasskeyPurpose.RECOVERY)
        until = c.engine.clock.now() + 60_000
        second = c.clinic.office.enrolment.cosign_recovery(ada.handle, passkey, until)
        landed = await c.north.office.enrolment.start_recovery(
            ada.handle, passkey, signer.sealing_public, "passport, and her sister", "n9", second
        )
        assert landed.code == 0
        await c.engine.settle()
        record = c.north.office.member.reading.handle(ada.handle)
        assert record is not None and record.recovery is not None
