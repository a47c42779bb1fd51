"""What is not prevented, and said so in docs/trust.md: each statement is shown, with what remains visible of it."""

from dataclasses import replace

import pytest

from commonward.ledger.consent import Consent, Enrol, Withdraw
from commonward.ledger.ids import BlockTime, Digest, MemberId
from commonward.ledger.possession import PasskeyPurpose
from commonward.ledger.transactions import Release, parse_bundle, parse_transaction
from commonward.workflows import commitments
from commonward.workflows.enrolment import midnight_after, new_passkey
from commonward.workflows.memory import CountedEntropy
from commonward.workflows.messages import Why
from commonward.workflows.patient import NotAccepted, Patient, Wallet
from commonward.workflows.requests import RequestRefused
from tests.consortium import Consortium, Person, SoftSigner, observation, permit
from tests.ledgerkit import SoftPasskey, commitment, handle_of
from tests.scenarios.calm import Calm
from tests.scenarios.reader import read


async def ada_of(c: Consortium) -> Person:
    ada = await c.patient("ada", at=("north",))
    await c.north.takes(observation("o1", "ada"))
    await c.north.ticks()
    return ada


# the operator of solo


async def test_the_operator_can_censor_and_the_patient_sees_that_nothing_stands() -> None:
    """It drops whatever carries a withdrawal. Nobody can prove that; the patient is told, and no false thing stands."""
    async with Consortium() as c:
        ada = await ada_of(c)
        told = await ada.grants(permit("south"))
        honest = c.engine.sequencer.take

        async def censors(member: MemberId, bundle: bytes) -> object:
            inside = parse_bundle(bundle, c.engine.genesis.ledger_id).transactions
            if any(isinstance(parse_transaction(raw).payload, Withdraw) for raw in inside):
                return await honest(member, b"")
            return await honest(member, bundle)

        c.engine.sequencer.take = censors  # type: ignore[method-assign, assignment]
        for name in c.houses:
            c.houses[name].node._submit_ms = 200
        with pytest.raises(NotAccepted):
            await ada.withdraws(told)
        assert (await c.south.fetches(ada, "north")).index >= 0, "the consent still stands: that is what it can do"
        assert not [each for each in read(c) if isinstance(each.transaction.payload, Withdraw)]


async def test_the_operator_can_stop_the_ledger_and_then_only_emergencies_go_on() -> None:
    async with Consortium() as c:
        ada = await ada_of(c)
        await ada.grants(permit("south"))
        await c.engine.settle()
        await c.ledger_away(5 * 3_600_000)
        with pytest.raises(RequestRefused) as refused:
            await c.south.fetches(ada, "north")
        assert refused.value.why is Why.NOT_LIVE
        _, copy = await c.south.office.glass.break_glass(
            c.south.staff(), c.south.visit(ada), c.north.name, "unconscious"
        )
        assert await c.south.shows(ada, copy.tag)


# a custodian


async def test_a_custodian_can_read_what_it_holds_and_no_mark_tells() -> None:
    async with Calm() as c:
        ada = await ada_of(c)
        before = len(list(read(c)))
        link = c.north.office.member.identity.linked(ada.handle)
        assert link is not None
        (held,) = c.north.office.holdings.of(link.handle)
        assert b"7.40" in bytes(held.record.stored)
        assert len(list(read(c))) == before


async def test_a_false_first_binding_is_possible_and_names_who_made_it() -> None:
    """South binds a key of its own to a handle and calls it Ada's. What it enrolled, it signed."""
    async with Calm() as c:
        thief, handle = SoftSigner(SoftPasskey("south's own")), handle_of("ada's, says south")
        passkey = await new_passkey(thief, c.engine.genesis.ledger_id, handle)
        await c.south.office.enrolment.enrol(handle, passkey, thief.sealing_public, "passport, it says", "n9")
        patient = Patient(thief, c.south.office.gate, CountedEntropy("thief"), Wallet(handle))
        assert await patient.grant((permit("south"),))
        (enrolled,) = [each for each in read(c) if isinstance(each.transaction.payload, Enrol)]
        assert enrolled.carrier == "south" and enrolled.transaction.author
        with pytest.raises(RequestRefused) as refused:  # and no other custodian linked that handle to anyone
            person = Person(c, "ada's, says south")
            await c.south.fetches(person, "north", consent=patient.wallet.given[0].opening.consent)
        assert refused.value.why is Why.NOTHING


async def test_a_member_alone_can_name_a_representative_and_is_named_with_every_use() -> None:
    """A mandate rests on one member's check, as a first binding does. What the representative says is marked so."""
    async with Calm() as c:
        ada = await ada_of(c)
        signer = SoftSigner(SoftPasskey("stranger"))
        passkey = await new_passkey(signer, c.engine.genesis.ledger_id, ada.handle, PasskeyPurpose.REPRESENTATIVE)
        end = midnight_after(c.engine.clock.now(), 30)
        await c.south.office.enrolment.mandate(
            ada.handle, passkey, signer.sealing_public, end, "treatment", "so she said", "n9"
        )
        await c.engine.settle()
        wallet = Wallet(ada.handle, ada.client.wallet.custodians)
        stranger = Patient(signer, c.south.office.gate, CountedEntropy("s"), wallet, representative=True)
        given = await stranger.grant((permit("south"),))
        await c.engine.settle()
        record = c.north.office.member.reading.consent(given.consent)
        assert record is not None and record.assurance.name == "REPRESENTATIVE"
        found = c.north.office.member.reading.handles().credential(passkey.author)
        assert found is not None and found.member == "south"


# the signing page


async def test_who_controls_the_signing_origin_gets_another_thing_signed_than_it_shows() -> None:
    """The passkey signs a digest. A page of the true origin that lies gets its signature; the ledger, read through a
    second member's page, says what was signed."""
    async with Calm() as c:
        ada = await ada_of(c)
        told = await ada.grants(permit("south"))
        shown = "grant the clinic for a day"  # what the page says
        lie = Withdraw(told.consent, commitment("reason"))  # what it hands to the passkey
        landed = await c.clinic.node.submit(await ada.client.sign(lie))
        assert landed.code == 0 and shown
        await c.engine.settle()
        entry = c.shield.node.entry(landed.index)
        assert entry is not None
        assert isinstance(parse_transaction(entry.raw).payload, Withdraw)


# who holds a copy


async def test_a_whole_leaked_copy_names_its_release() -> None:
    async with Calm() as c:
        ada = await ada_of(c)
        await ada.grants(permit("south"))
        copy = await c.south.fetches(ada, "north")
        leaked = c.south.office.requests.bundle(copy)
        entry = c.shield.node.mark(leaked.tag, c.north.name)
        assert entry is not None and entry.member == "north"
        mark = parse_transaction(entry.raw).payload
        assert isinstance(mark, Release)
        row = c.north.vault.mark_by_tag(leaked.tag)
        assert row is not None and c.north.office.releases.paper(row).requester == "south"


async def test_parts_of_a_leaked_copy_name_nothing() -> None:
    """Stated: the id is in the bundle, not in each record. Nor does a record alone carry evidence."""
    async with Calm() as c:
        ada = await ada_of(c)
        await ada.grants(permit("south"))
        copy = await c.south.fetches(ada, "north")
        bundle = c.south.office.requests.bundle(copy)
        (sent,) = bundle.records
        assert not any(bytes(name) in bytes(sent.stored) for name in (bundle.id, copy.tag, ada.handle))


async def test_a_requester_that_keeps_what_was_withdrawn_is_not_stopped_by_us() -> None:
    """An honest one lets go at the next tick; its software decides that, not the ledger."""
    async with Calm() as c:
        ada = await ada_of(c)
        told = await ada.grants(permit("south"))
        copy = await c.south.fetches(ada, "north")
        aside = c.south.office.requests.bundle(copy).records[0].stored
        await ada.withdraws(told)
        await c.engine.settle()
        await c.south.ticks()
        assert c.south.office.requests.copies.count() == 0
        assert b"7.40" in aside


# a mark's facts


async def test_a_custodian_cannot_say_later_that_it_released_something_else() -> None:
    """It signed the mark: any other request, decision, consent or bundle does not open it."""
    async with Calm() as c:
        ada = await ada_of(c)
        await ada.grants(permit("south"))
        copy = await c.south.fetches(ada, "north")
        row = c.north.vault.mark_by_tag(copy.tag)
        assert row is not None
        facts = c.north.office.releases.paper(row).facts
        entry = c.shield.node.mark(copy.tag, c.north.name)
        assert entry is not None
        mark = parse_transaction(entry.raw).payload
        assert isinstance(mark, Release)
        commitments.check_mark(facts, mark)
        zero = Digest(bytes(32))
        for lie in ({"request": b"other"}, {"decision": zero}, {"consent": bytes(16)}, {"n": 2}, {"sealed": zero}):
            with pytest.raises(ValueError):
                commitments.check_mark(replace(facts, **lie), mark)


async def test_the_lines_of_a_consent_show_member_kind_time_and_an_end_alone() -> None:
    async with Calm() as c:
        ada = await ada_of(c)
        await ada.grants(permit("south"))
        (given,) = [each for each in read(c) if isinstance(each.transaction.payload, Consent)]
        payload = given.transaction.payload
        clear = {each.name for each in payload.FIELDS if not isinstance(getattr(payload, each.name), bytes)}
        assert clear == {"assurance", "end", "hold", "research"}
        assert isinstance(payload, Consent) and BlockTime(payload.end) % 86_400_000 == 0
