"""Consent: whose passkey speaks for a handle, what it may say, and what nobody else can say for it."""

from dataclasses import replace

from commonward.ledger.consent import (
    Assurance,
    AssuranceTooLow,
    Consent,
    ConsentNotOpen,
    ConsentTaken,
    Cosigned,
    CredentialTaken,
    EndMandate,
    EndOutOfBounds,
    Enrol,
    HandleTaken,
    HandleUnknown,
    Mandate,
    MandateOutOfBounds,
    NoMandate,
    NoRecoveryPending,
    NotItsHandle,
    NotYourHold,
    NotYourMandate,
    RecoveryPending,
    Research,
    ResearchHandle,
    RotatePasskey,
    SecondMemberNeeded,
    StartRecovery,
    StopRecovery,
    TooManyHolds,
    TooManyKeys,
    UnknownSite,
    Withdraw,
    WrongAssurance,
)
from commonward.ledger.ids import BlockTime, ConsentId, Handle, MemberId
from commonward.ledger.members import SetParameter
from commonward.ledger.parameters import Parameter
from commonward.ledger.possession import PasskeyPurpose, cosignature_digest
from commonward.ledger.refusals import BadPossession, KeyNotValid, UnknownKey
from commonward.ledger.rulebook import NotYourRole
from tests.ledgerkit import Kit, SoftKey, SoftPasskey, commitment, demo_genesis, handle_of

DAY = 86_400_000


def a_consent(kit: Kit, handle: Handle, name: str = "c", **bent: object) -> Consent:
    end = BlockTime((kit.next_time() // DAY + 30) * DAY)
    consent = Consent(
        ConsentId(commitment("consent", name)[:16]), handle, Assurance.PASSKEY, end, commitment("rules"),
        commitment("recipients"), commitment("form"), False,
    )  # fmt: skip
    return replace(consent, **bent)  # type: ignore[arg-type]


def an_enrolment(kit: Kit, handle: Handle, passkey: SoftPasskey) -> Enrol:
    return Enrol(handle, passkey.enrolled(kit.ledger, handle), passkey.sealing, commitment("identity"))


def a_mandate(kit: Kit, handle: Handle, passkey: SoftPasskey, lasts: int = 30 * DAY) -> Mandate:
    return Mandate(
        handle, passkey.enrolled(kit.ledger, handle, PasskeyPurpose.REPRESENTATIVE), passkey.sealing,
        BlockTime(kit.next_time() + lasts), commitment("scope"), commitment("evidence"),
    )  # fmt: skip


def a_recovery(kit: Kit, handle: Handle, passkey: SoftPasskey, second: str | SoftKey | None = "south") -> StartRecovery:
    cosigned = None
    if second is not None:
        key = kit.key(second) if isinstance(second, str) else second
        until = kit.next_time() + 3_600_000
        wanted = cosignature_digest(kit.ledger, handle, passkey.algorithm, passkey.public, until)
        cosigned = Cosigned(key.id, BlockTime(until), key.sign(wanted))
    new = passkey.enrolled(kit.ledger, handle, PasskeyPurpose.RECOVERY)
    return StartRecovery(handle, new, passkey.sealing, commitment("evidence"), cosigned)


# ----------------------------------------------------------------------------------------------------------- enrolment


def test_an_enrolled_passkey_consents_and_withdraws(kit):
    handle, ann = kit.enrol("ann")
    asked = a_consent(kit, handle)
    kit.accept(asked, by=ann)
    record = kit.machine.view().consents.get(asked.id)
    assert record is not None and record.author == ann.author and record.rules == asked.rules
    kit.refuse(ConsentTaken, asked, by=ann)
    kit.accept(Withdraw(asked.id, commitment("reason")), by=ann)
    assert kit.machine.view().consents.get(asked.id) is None
    kit.refuse(ConsentNotOpen, Withdraw(asked.id, commitment("reason")), by=ann)


def test_a_handle_is_enrolled_once_and_a_passkey_speaks_for_one_handle(kit):
    handle, ann = kit.enrol("ann")
    kit.refuse(HandleTaken, an_enrolment(kit, handle, SoftPasskey("eve")), by="south")
    kit.refuse(CredentialTaken, an_enrolment(kit, handle_of("other"), ann), by="south")


def test_a_passkey_is_not_enrolled_without_its_assertion_for_this_handle(kit):
    ann, handle = SoftPasskey("ann"), handle_of("ann")
    good = an_enrolment(kit, handle, ann)
    for_other = an_enrolment(kit, handle_of("other"), ann)
    as_representative = ann.enrolled(kit.ledger, handle, PasskeyPurpose.REPRESENTATIVE)
    another = an_enrolment(kit, handle, replace(ann, name="bob"))
    stolen = replace(good.passkey, possession=another.passkey.possession)
    portal = replace(ann, origin="https://portal.elsewhere.test").enrolled(kit.ledger, handle)
    unverified = replace(ann, flags=0x19).enrolled(kit.ledger, handle)
    for bad in (for_other.passkey, as_representative, stolen, portal, unverified):
        kit.refuse(BadPossession, replace(good, passkey=bad), by="north")
    kit.refuse(BadPossession, replace(good, sealing=bytes(32)), by="north")
    kit.accept(good, by="north")


def test_an_insurer_enrols_nobody(kit):
    kit.refuse(NotYourRole, an_enrolment(kit, handle_of("ann"), SoftPasskey("ann")), by="shield")


def test_a_rotated_passkey_takes_the_place_of_the_old(kit):
    handle, ann = kit.enrol("ann")
    new = SoftPasskey("ann 2")
    asked = RotatePasskey(new.enrolled(kit.ledger, handle), False, new.sealing)
    kit.accept(asked, by=ann)
    kit.refuse(UnknownKey, a_consent(kit, handle), by=ann)
    kit.accept(a_consent(kit, handle), by=new)
    record = kit.machine.view().handles.get(handle)
    assert record is not None and record.sealing == new.sealing and record.own == (new.author,)


def test_a_second_passkey_may_stand_beside_the_first_up_to_eight(kit):
    handle, ann = kit.enrol("ann")
    for n in range(7):
        kit.accept(RotatePasskey(SoftPasskey(f"ann {n}").enrolled(kit.ledger, handle), True), by=ann)
    kit.refuse(TooManyKeys, RotatePasskey(SoftPasskey("ann 9").enrolled(kit.ledger, handle), True), by=ann)
    kit.accept(a_consent(kit, handle, "1"), by=ann)
    kit.accept(a_consent(kit, handle, "2"), by=SoftPasskey("ann 3"))


# ------------------------------------------------------------------------------------------------------------ recovery


def test_a_recovery_takes_effect_after_its_wait_and_ends_the_old_keys(kit):
    handle, ann = kit.enrol("ann")
    new = SoftPasskey("ann new")
    kit.accept(a_recovery(kit, handle, new), by="north")
    kit.refuse(RecoveryPending, a_recovery(kit, handle, SoftPasskey("other")), by="north")
    kit.refuse(KeyNotValid, a_consent(kit, handle), by=new)  # pending: it says nothing yet
    kit.accept(a_consent(kit, handle), by=ann)
    kit.later(3 * DAY + 1000)
    kit.settle()
    kit.refuse(UnknownKey, a_consent(kit, handle, "2"), by=ann)
    kit.accept(a_consent(kit, handle, "2"), by=new)
    record = kit.machine.view().handles.get(handle)
    assert record is not None and record.sealing == new.sealing and record.recovery is None


def test_any_old_key_stops_a_recovery_for_good(kit):
    handle, ann = kit.enrol("ann")
    asked = a_recovery(kit, handle, SoftPasskey("eve"))
    kit.accept(asked, by="north")
    kit.accept(StopRecovery(handle), by=ann)
    kit.refuse(NoRecoveryPending, StopRecovery(handle), by=ann)
    kit.later(3 * DAY + 1000)
    kit.settle()
    kit.refuse(UnknownKey, a_consent(kit, handle), by=SoftPasskey("eve"))
    kit.refuse(SecondMemberNeeded, asked, by="north")  # the old co-signature has ended
    kit.accept(a_consent(kit, handle), by=ann)


def test_a_recovery_takes_two_members(kit):
    handle, _ = kit.enrol("ann")
    new = SoftPasskey("ann new")
    kit.refuse(SecondMemberNeeded, a_recovery(kit, handle, new, second=None), by="north")
    kit.refuse(SecondMemberNeeded, a_recovery(kit, handle, new, second="north"), by="north")
    kit.refuse(SecondMemberNeeded, a_recovery(kit, handle, new, second=SoftKey("nobody")), by="north")
    other = a_recovery(kit, handle_of("other"), new).second
    kit.refuse(SecondMemberNeeded, replace(a_recovery(kit, handle, new), second=other), by="north")
    kit.refuse(HandleUnknown, a_recovery(kit, handle_of("nobody"), new), by="north")


def test_in_a_pilot_one_member_recovers():
    kit = Kit(demo_genesis(weights={"clinic": 0, "shield": 0}, pilot=True))
    handle, _ = kit.enrol("ann")
    kit.accept(a_recovery(kit, handle, SoftPasskey("ann new"), second=None), by="north")


def test_nobody_stops_anothers_recovery(kit):
    handle, _ = kit.enrol("ann")
    _, bob = kit.enrol("bob")
    kit.accept(a_recovery(kit, handle, SoftPasskey("ann new")), by="north")
    kit.refuse(NotItsHandle, StopRecovery(handle), by=bob)


# ------------------------------------------------------------------------------------------------------------ mandates


def test_a_representative_consents_within_its_mandate_and_not_after(kit):
    handle, _ = kit.enrol("ann")
    parent = SoftPasskey("parent")
    kit.accept(a_mandate(kit, handle, parent, 2 * DAY), by="north")
    kit.refuse(WrongAssurance, a_consent(kit, handle), by=parent)
    first = a_consent(kit, handle, assurance=Assurance.REPRESENTATIVE)
    kit.accept(first, by=parent)
    kit.later(2 * DAY)
    kit.refuse(KeyNotValid, Withdraw(first.id, commitment("reason")), by=parent)
    kit.later(1000)
    kit.settle()
    record = kit.machine.view().handles.get(handle)
    assert record is not None and record.mandates == ()


def test_a_child_without_a_passkey_is_represented_and_later_enrolled(kit):
    child, parent = handle_of("child"), SoftPasskey("parent")
    kit.accept(a_mandate(kit, child, parent), by="north")
    kit.accept(a_consent(kit, child, assurance=Assurance.REPRESENTATIVE), by=parent)
    kit.refuse(HandleTaken, an_enrolment(kit, child, SoftPasskey("child")), by="south")
    kit.accept(an_enrolment(kit, child, SoftPasskey("child")), by="north")


def test_patient_representative_or_member_ends_a_mandate_and_only_once(kit):
    handle, ann = kit.enrol("ann")
    for n, signer in enumerate((ann, SoftPasskey("parent 1"), "south")):
        parent = SoftPasskey(f"parent {n}")
        kit.accept(a_mandate(kit, handle, parent), by="south")
        kit.accept(EndMandate(handle, parent.author, commitment("reason")), by=signer)
        kit.refuse(NoMandate, EndMandate(handle, parent.author, commitment("reason")), by="south")
        kit.refuse(UnknownKey, a_consent(kit, handle, assurance=Assurance.REPRESENTATIVE), by=parent)


def test_nobody_else_ends_a_mandate(kit):
    handle, _ = kit.enrol("ann")
    _, bob = kit.enrol("bob")
    one, two = SoftPasskey("one"), SoftPasskey("two")
    kit.accept(a_mandate(kit, handle, one), by="north")
    kit.accept(a_mandate(kit, handle, two), by="north")
    for stranger in (bob, two, "clinic"):
        kit.refuse(NotYourMandate, EndMandate(handle, one.author, commitment("reason")), by=stranger)


def test_a_mandate_ends_within_bounds_and_there_are_four_at_most(kit):
    handle, _ = kit.enrol("ann")
    kit.refuse(MandateOutOfBounds, a_mandate(kit, handle, SoftPasskey("p"), 9 * 366 * DAY), by="north")
    for n in range(4):
        kit.accept(a_mandate(kit, handle, SoftPasskey(f"p{n}")), by="north")
    kit.refuse(TooManyKeys, a_mandate(kit, handle, SoftPasskey("p5")), by="north")


def test_a_representatives_rotated_passkey_keeps_the_mandates_end(kit):
    handle, _ = kit.enrol("ann")
    old, new = SoftPasskey("parent"), SoftPasskey("parent 2")
    kit.accept(a_mandate(kit, handle, old, 2 * DAY), by="north")
    kit.accept(RotatePasskey(new.enrolled(kit.ledger, handle, PasskeyPurpose.REPRESENTATIVE), True), by=old)
    kit.refuse(UnknownKey, a_consent(kit, handle, assurance=Assurance.REPRESENTATIVE), by=old)
    kit.later(2 * DAY)
    kit.refuse(KeyNotValid, a_consent(kit, handle, assurance=Assurance.REPRESENTATIVE), by=new)


# ------------------------------------------------------------------------------------------------------------ consents


def test_nobody_consents_or_withdraws_for_anothers_handle(kit):
    handle, ann = kit.enrol("ann")
    _, bob = kit.enrol("bob")
    kit.refuse(NotItsHandle, a_consent(kit, handle), by=bob)
    kit.accept(asked := a_consent(kit, handle), by=ann)
    kit.refuse(NotItsHandle, Withdraw(asked.id, commitment("reason")), by=bob)


def test_a_witnessed_consent_is_marked_so_and_needs_no_passkey(kit):
    handle = handle_of("without a telephone")
    kit.refuse(WrongAssurance, a_consent(kit, handle), by="clinic")
    asked = a_consent(kit, handle, assurance=Assurance.WITNESSED)
    kit.refuse(NotYourRole, asked, by="shield")
    kit.accept(asked, by="clinic")
    record = kit.machine.view().consents.get(asked.id)
    assert record is not None and record.assurance == Assurance.WITNESSED and record.member == "clinic"
    kit.accept(Withdraw(asked.id, commitment("reason")), by="north")


def test_the_consortium_may_ask_for_more_than_a_witness_but_not_of_a_hold(kit):
    kit.decide(SetParameter(Parameter.MINIMAL_ASSURANCE, 3))
    handle = handle_of("ann")
    kit.refuse(AssuranceTooLow, a_consent(kit, handle, assurance=Assurance.WITNESSED), by="clinic")
    kit.accept(a_consent(kit, handle, assurance=Assurance.WITNESSED, hold=True), by="clinic")


def test_a_consent_ends_at_a_coarse_time_within_bounds_and_then_leaves_the_state(kit):
    handle, ann = kit.enrol("ann")
    good = a_consent(kit, handle)
    for end in (good.end + 1, good.end - 40 * DAY, good.end + 9000 * DAY):
        kit.refuse(EndOutOfBounds, replace(good, end=BlockTime(end)), by=ann)
    kit.accept(good, by=ann)
    kit.now = good.end
    kit.refuse(ConsentNotOpen, Withdraw(good.id, commitment("reason")), by=ann)
    kit.settle()
    assert kit.machine.view().consents.get(good.id) is None


def test_a_hold_is_placed_by_any_live_key_and_lifted_by_patient_or_placer_alone(kit):
    handle, ann = kit.enrol("ann")
    one, two = SoftPasskey("one"), SoftPasskey("two")
    for parent in (one, two):
        kit.accept(a_mandate(kit, handle, parent), by="north")
    hold = a_consent(kit, handle, "hold", assurance=Assurance.REPRESENTATIVE, hold=True)
    kit.accept(hold, by=one)
    record = kit.machine.view().handles.get(handle)
    assert record is not None and record.holds == (hold.id,)
    for other in (two, "north", "south"):  # of two representatives, deny wins; no member lifts a passkey's hold
        kit.refuse(NotYourHold, Withdraw(hold.id, commitment("reason")), by=other)
    kit.accept(Withdraw(hold.id, commitment("reason")), by=one)
    kit.accept(replace(hold, id=ConsentId(bytes(16))), by=two)
    kit.accept(Withdraw(ConsentId(bytes(16)), commitment("reason")), by=ann)
    record = kit.machine.view().handles.get(handle)
    assert record is not None and record.holds == ()


def test_holds_have_a_bound(kit):
    handle, ann = kit.enrol("ann")
    for n in range(16):
        kit.accept(a_consent(kit, handle, f"hold {n}", hold=True), by=ann)
    kit.refuse(TooManyHolds, a_consent(kit, handle, "hold 17", hold=True), by=ann)


def test_a_research_consent_names_study_and_site_and_is_counted(kit):
    handle, ann = kit.enrol("ann")
    research = Research(bytes(16), MemberId("north"))
    asked = a_consent(kit, handle, research=research)
    kit.refuse(UnknownSite, replace(asked, research=Research(bytes(16), MemberId("mars"))), by=ann)
    kit.accept(asked, by=ann)
    assert kit.machine.view().consents.site(research) == (1, 0, 0)
    kit.accept(Withdraw(asked.id, commitment("reason")), by=ann)
    assert kit.machine.view().consents.site(research) == (0, kit.machine.tip.height, kit.machine.tip.time)


def test_a_research_consent_has_a_handle_of_its_own_so_that_one_patient_counts_once(kit):
    handle, ann = kit.enrol("ann")
    research = Research(bytes(16), MemberId("north"))
    first = a_consent(kit, handle, "first", research=research)
    kit.accept(first, by=ann)
    kit.refuse(ResearchHandle, a_consent(kit, handle, "again", research=research), by=ann)
    kit.refuse(ResearchHandle, a_consent(kit, handle, "care"), by=ann)
    kit.accept(Withdraw(first.id, commitment("reason")), by=ann)
    kit.accept(a_consent(kit, handle, "again", research=research), by=ann)
    assert kit.machine.view().consents.site(research).open == 1


def test_a_hold_on_a_research_handle_counts_as_a_withdrawal_and_a_hold_counts_as_no_consent(kit):
    handle, ann = kit.enrol("ann")
    research = Research(bytes(16), MemberId("north"))
    kit.accept(a_consent(kit, handle, "first", research=research), by=ann)
    kit.accept(a_consent(kit, handle, "hold", hold=True, research=research), by=ann)
    assert kit.machine.view().consents.site(research) == (1, kit.machine.tip.height, kit.machine.tip.time)
    kit.accept(Withdraw(a_consent(kit, handle, "hold").id, commitment("reason")), by=ann)
    assert kit.machine.view().consents.site(research).open == 1
    record = kit.machine.view().handles.get(handle)
    assert record is not None and record.research == a_consent(kit, handle, "first").id and record.holds == ()
