"""Sites: who takes part, with which data and keys. Attacks with learners, counters, withdrawals and re-enrolment."""

from dataclasses import replace

import pytest

from commonward.ledger.consent import Withdraw
from commonward.ledger.ids import Height, KeyId, MemberId, MemberKind
from commonward.ledger.refusals import BadPossession
from commonward.ledger.rounds import LeaveStudy, Status, band_of
from commonward.ledger.rounds.means import Lack, lacks
from commonward.ledger.rounds.refusals import (
    AboveCounter,
    AlreadyEnrolled,
    HeldOutChanged,
    KeysStand,
    ManifestTooOld,
    NotEnrolled,
    NotMasked,
    StudyNotApproved,
    StudyOver,
    StudyUnknown,
    TooManySites,
    WrongLearner,
)
from commonward.ledger.rounds.sites import enrol_site
from commonward.ledger.rounds.study import Site
from commonward.ledger.rulebook import NotYourRole, means_of
from commonward.ledger.rules import Header, MemberSigner, Seen
from tests.ledger.rounds.studykit import (
    SITES,
    accept_all,
    approve,
    begun,
    closing,
    enrol,
    enrolment,
    manifest,
    mask_keys,
    masked,
    proposed,
    ready,
    research,
    round_of,
    sign_all,
    study_of,
    submit_all,
    terms,
)
from tests.ledgerkit import Kit, commitment


def test_a_learner_that_was_not_approved_does_not_come_in(kit):
    asked = proposed(kit)
    kit.refuse(StudyNotApproved, enrolment(asked, "north"), by="north")
    kit.refuse(StudyUnknown, enrolment(terms(kit, "other"), "north"), by="north")
    approve(kit, asked)
    kit.refuse(WrongLearner, replace(enrolment(asked, "north"), learner=commitment("another")), by="north")
    kit.refuse(BadPossession, replace(enrolment(asked, "north"), sealing=bytes(32)), by="north")
    kit.refuse(NotYourRole, enrolment(asked, "shield"), by="shield")
    kit.accept(enrolment(asked, "north"), by="north")
    kit.refuse(AlreadyEnrolled, enrolment(asked, "north"), by="north")
    kit.accept(closing(kit, asked), by="north")
    kit.refuse(StudyOver, enrolment(asked, "south"), by="south")


def test_row_counts_above_the_counter_of_consents_are_refused(kit):
    """An inflated count would give a site more weight in every mean. Row cap 10, one consent: ten rows at most."""
    asked = proposed(kit)
    approve(kit, asked)
    kit.refuse(NotEnrolled, manifest(asked), by="north")
    kit.accept(enrolment(asked, "north"), by="north")
    assert kit.refuse(AboveCounter, manifest(asked), by="north").what == "patients", "nobody has consented"
    kit.accept(research(kit, asked, "north"), by="north")
    kit.refuse(AboveCounter, manifest(asked, patients=band_of(20)), by="north")
    refusal = kit.refuse(AboveCounter, manifest(asked, rows=band_of(20)), by="north")
    assert (refusal.what, refusal.least, refusal.most) == ("rows", 20, 10)
    kit.accept(research(kit, asked, "north", "second"), by="north")
    kit.accept(manifest(asked, rows=band_of(20)), by="north")
    kit.refuse(AboveCounter, manifest(asked, patients=band_of(20), rows=band_of(20)), by="north")


def test_a_manifest_made_before_a_withdrawal_is_refused(kit):
    """Its author had not seen the withdrawal: that patient may be in it."""
    asked = proposed(kit)
    approve(kit, asked)
    enrol(kit, asked)
    accept_all(kit, (research(kit, asked, "north", "second"), "north"))
    before = kit.recent()
    kit.accept(Withdraw(research(kit, asked, "north").id, commitment("reason")), by="north")
    kit.refuse(ManifestTooOld, manifest(asked), by="north", recent=before)
    kit.accept(manifest(asked), by="north")
    kit.accept(manifest(asked), by="south", recent=before)


def test_the_test_set_changes_only_when_a_consent_was_withdrawn(kit):
    """Whoever could change it after seeing a round could choose the patients that flatter the model."""
    asked = proposed(kit)
    approve(kit, asked)
    enrol(kit, asked)
    accept_all(kit, (research(kit, asked, "north", "second"), "north"), (manifest(asked), "north"))
    kit.accept(manifest(asked, 1), by="north")
    kit.refuse(HeldOutChanged, manifest(asked, test=commitment("easier")), by="north")
    kit.accept(LeaveStudy(asked.study, commitment("reason")), by="north")
    kit.accept(enrolment(asked, "north"), by="north")
    kit.refuse(HeldOutChanged, manifest(asked, test=commitment("easier")), by="north")
    kit.accept(Withdraw(research(kit, asked, "north").id, commitment("reason")), by="north")
    kit.accept(manifest(asked, test=commitment("without that patient")), by="north")


def test_mask_keys_stand_until_they_are_used(kit):
    asked = proposed(kit, masked(kit))
    approve(kit, asked)
    enrol(kit, asked)
    ready(kit, asked)
    kit.refuse(BadPossession, replace(mask_keys(asked, "north", 1), keys=(bytes(32),)), by="north")
    kit.accept(mask_keys(asked, "north", 1), by="north")
    kit.refuse(KeysStand, mask_keys(asked, "north", 2), by="north")
    plain = proposed(kit, terms(kit, "open"))
    approve(kit, plain)
    kit.accept(enrolment(plain, "north"), by="north")
    kit.refuse(NotMasked, mask_keys(plain, "north"), by="north")


def test_a_site_leaves_after_the_attempt_that_counts_on_it(kit):
    asked = begun(kit)
    leave = LeaveStudy(asked.study, commitment("reason"))
    kit.refuse(NotEnrolled, leave, by="shield")
    kit.accept(leave, by="south")
    kit.refuse(NotEnrolled, leave, by="south")
    submit_all(kit, asked)
    sign_all(kit, asked)
    site = kit.machine.view().rounds.site(asked.study, "south")
    assert site is not None and not site.enrolled
    assert round_of(kit, asked).round == 2 and round_of(kit, asked).voters == SITES[:3]
    kit.accept(enrolment(asked, "south"), by="south")
    submit_all(kit, asked, SITES[:3])
    sign_all(kit, asked, SITES[:3])
    assert round_of(kit, asked).sites == SITES, "its manifest still stands"


def test_round_1_waits_for_the_awaited_sites_and_then_does_with_fewer(kit):
    asked = proposed(kit)
    approve(kit, asked)
    enrol(kit, asked)
    ready(kit, asked, SITES[:3])
    assert study_of(kit, asked).status == Status.APPROVED
    kit.later(asked.waits.sites + 1000)
    kit.settle()
    assert round_of(kit, asked).sites == SITES[:3] and round_of(kit, asked).voters == SITES


def test_a_study_has_64_sites_at_most():
    kit = Kit()
    asked = proposed(kit)
    approve(kit, asked)
    state = kit.machine.view()
    for n in range(64):
        state.rounds.put_site(asked.study, MemberId(f"site-{n}"), Site(bytes(32), True, False, ()))
    signer = MemberSigner(MemberId("north"), MemberKind.HOSPITAL, KeyId(bytes(32)), Seen(0, kit.next_time()))
    header = Header(Height(9), kit.next_time())
    with pytest.raises(TooManySites):
        enrol_site(enrolment(asked, "north"), signer, header, means=means_of(state))


def test_what_a_site_lacks_can_be_asked(kit):
    asked = proposed(kit, masked(kit))
    approve(kit, asked)

    def lack(site: str) -> tuple[Lack, ...]:
        return lacks(asked.study, MemberId(site), asked, means_of(kit.machine.view()))

    assert lack("north") == (Lack.PART,)
    enrol(kit, asked)
    assert lack("north") == (Lack.MANIFEST, Lack.MASK_KEYS)
    kit.accept(mask_keys(asked, "north"), by="north")
    kit.accept(manifest(asked), by="north")
    assert lack("north") == ()
    kit.accept(Withdraw(research(kit, asked, "north").id, commitment("reason")), by="north")
    assert lack("north") == (Lack.MANIFEST,)
