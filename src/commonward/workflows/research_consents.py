"""Consents to a study at this site: given on paper before two of its staff, and what all of them together permit.

A research consent names its study and its site in clear, and has a handle of its own, so that nothing joins it to the
patient's care. Given by passkey it comes through the gate as any other; given on paper it is made here, with a handle
that follows from the site's own secret, the study and the patient: the same form brought twice is one consent.

`rows` is the one answer to "which records may this study read here": open on the ledger, opened here, linked, permitted
by the patient's own rules for research, and unchanged since they were anchored.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from commonward.ledger.consent import Assurance, Research, SiteCount, Withdraw
from commonward.ledger.consent import Consents as ConsentSlice
from commonward.ledger.encoding import Digest
from commonward.ledger.ids import ConsentId, Handle, MemberId, StudyId
from commonward.records.certificates import CertificateRefused, claimed_staff, sign_statement
from commonward.records.decide import Ask, compile_rules
from commonward.records.envelope import pad, seal_to
from commonward.records.openings import RulesTree, commit
from commonward.records.rules import Effect, Rule, Scope
from commonward.workflows import commitments
from commonward.workflows.consent import Openings
from commonward.workflows.enrolment import Enrolment, WitnessedForm, consent_payload, midnight_after
from commonward.workflows.holdings import Broken, Held, Holdings
from commonward.workflows.member import Member
from commonward.workflows.messages import ConsentOpening, Opened, OpeningDeposit, WithdrawOpening, opening_info
from commonward.workflows.patient import tree_of
from commonward.workflows.ports import StaffSigner
from commonward.workflows.reading import LedgerCells
from commonward.workflows.sealing import Drawer
from commonward.workflows.wire import Message

__all__ = ["Consented", "NoSuchForm", "ResearchConsents", "ResearchForm", "research_rules"]

PURPOSE: Final = "HRESCH"
_TOGETHER: Final = 64
"""Patients whose records are read in one go, and handles that are looked at in one."""

ROLE: Final = "researcher"
"""In which role a study reads at its own site: the jurisdiction table must know it for research by consent."""


class NoSuchForm(LookupError):
    """This patient has given no consent to this study on paper here, or took it back."""


class Consented(NamedTuple):
    """One patient's open consent to a study here, and the records that it lets the study read."""

    handle: Handle
    consent: ConsentId
    held: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class ResearchForm(Message):
    """A consent to a study that a patient gave on paper here. `entry`: digest of its transaction, once it landed."""

    study: StudyId
    patient: bytes
    handle: Handle
    opening: ConsentOpening
    end: int
    staff: str
    at: int
    entry: Digest | None = None
    withdrawn: Digest | None = None


def research_rules(site: MemberId) -> tuple[Rule, ...]:
    """What a form to take part in a study permits: this site's own records, to this site, for research."""
    scope = Scope(members=frozenset({site}), purposes=frozenset({PURPOSE}), custodians=frozenset({site}))
    return (Rule(1, Effect.PERMIT, scope),)


def _number(witness: StaffSigner) -> str:
    _, _, _, number = claimed_staff(witness.certificate)
    return number


class ResearchConsents:
    """Of one member, as a site."""

    def __init__(self, member: Member, openings: Openings, holdings: Holdings, enrolment: Enrolment) -> None:
        self._member = member
        self._openings = openings
        self._holdings = holdings
        self._enrolment = enrolment
        self._consents = ConsentSlice(LedgerCells(member.ports.ledger))
        self._forms = Drawer(member.ports.vault, member.sealing, "research-forms", ResearchForm)

    def count(self, study: StudyId) -> SiteCount:
        """Of this site: open consents, and when one was last withdrawn, as the ledger counts them."""
        return self._consents.site(Research(study, self._member.id))

    # on paper

    async def take(
        self, study: StudyId, patient: bytes, text: str, witnesses: Sequence[StaffSigner], *, days: int = 365
    ) -> ResearchForm:
        """Brings one form onto the ledger, links it and opens it to this site. Brought again it is the same consent.

        Args:
            patient: local name, as `Identity.patient` makes it.
            text: the form's words.
            witnesses: two people who saw the patient sign.

        Raises:
            CertificateRefused: not two different people of this member.
            LedgerRefused, LedgerAway: bring it again.
        """
        key = self._key(study, patient)
        form = self._forms.get(key)
        if form is None or form.withdrawn is not None:
            form = self._written(study, patient, text, witnesses, days, again=form)
            self._forms.put(key, form, under=study)  # before it is sent: what lands can always be opened
        if form.entry is None:
            payload = consent_payload(
                form.opening, tree_of(form.opening.rules).root, form.handle, Assurance.WITNESSED, form.end, False,
                Research(study, self._member.id),
            )  # fmt: skip
            name = b"research" + form.opening.consent
            landed = await self._member.submitter.land(name, payload)
            form = replace(form, entry=landed.digest)
            with self._member.ports.vault.transaction():
                self._member.submitter.done(name)
                self._forms.put(key, form, under=study)
        assert form.entry is not None
        self._enrolment.link(form.handle, patient, f"a form for study {study.hex()}", form.staff)
        await self._open(form.entry, Opened(consent=form.opening))
        return form

    def _written(
        self, study: StudyId, patient: bytes, text: str, witnesses: Sequence[StaffSigner], days: int,
        again: ResearchForm | None,
    ) -> ResearchForm:  # fmt: skip
        member, entropy = self._member, self._member.ports.entropy
        if len(witnesses) != 2:
            raise CertificateRefused(f"expected two people who saw the patient sign, got {len(witnesses)}")
        line = member.ports.ledger.line
        first, second = (
            sign_statement(line, text.encode(), each.certificate, each.sign).to_bytes() for each in witnesses
        )
        paper = WitnessedForm(text, first, second)
        paper.check(member)
        rules = RulesTree([rule.to_value() for rule in research_rules(member.id)], entropy.bytes(32))
        opening = ConsentOpening(
            ConsentId(entropy.bytes(16)), rules.open_all(), (member.id,), entropy.bytes(32), paper.to_bytes(),
            entropy.bytes(32),
        )  # fmt: skip
        turn = b"" if again is None else again.opening.consent
        handle = Handle(member.sealing.name("research-handle", study, patient, turn))
        return ResearchForm(
            study,
            patient,
            handle,
            opening,
            midnight_after(member.now(), days),
            _number(witnesses[0]),
            member.ledger_now(),
        )

    async def withdraw(self, study: StudyId, patient: bytes, reason: str) -> ResearchForm:
        """The patient takes a consent on paper back. Raises NoSuchForm, LedgerRefused, LedgerAway (call again)."""
        key, form = self._key(study, patient), self.form(study, patient)
        salt = self._member.sealing.secret("research-withdrawal", form.opening.consent, reason)
        name = b"research-end" + form.opening.consent
        payload = Withdraw(form.opening.consent, commit(commitments.REASON, salt, reason))
        landed = await self._member.submitter.land(name, payload)
        form = replace(form, withdrawn=landed.digest)
        with self._member.ports.vault.transaction():
            self._member.submitter.done(name)
            self._forms.put(key, form, under=study)
        await self._open(landed.digest, Opened(withdraw=WithdrawOpening(form.opening.consent, reason, salt)))
        return form

    def form(self, study: StudyId, patient: bytes) -> ResearchForm:
        """What stands of one patient. Raises NoSuchForm."""
        form = self._forms.get(self._key(study, patient))
        if form is None or form.entry is None or form.withdrawn is not None:
            raise NoSuchForm(f"no consent of this patient to study {study.hex()} was given here on paper and is open")
        return form

    def forms(self, study: StudyId) -> list[ResearchForm]:
        """Those that landed and were not taken back."""
        return [each for _, each in self._forms.under(study) if each.entry is not None and each.withdrawn is None]

    def _key(self, study: StudyId, patient: bytes) -> bytes:
        return self._member.sealing.name("research-form", study, patient)

    async def _open(self, entry: Digest, opened: Opened) -> None:
        """To ourselves, by the road that every opening takes: it is held against the ledger as any other."""
        member = self._member
        key = member.reading.hpke_key(member.id)
        assert key is not None  # an active member has one
        info = opening_info(member.ports.ledger.line, member.id, entry)
        sealed = seal_to(key, info, pad(opened.to_bytes()))
        await self._openings.arrive(OpeningDeposit(member.id, entry, sealed), member.id)

    # what may

    async def rows(self, study: StudyId) -> list[Consented]:
        """By consent, each patient's records that this study may read here; patients with none are left out.

        A person with two handles under two consents counts once, under the first of them. A vault may hold hundreds of
        thousands of records: they are read and opened in another thread, some patients at a time, and the loop goes on
        between any two patients. So a consent is looked up again when its patient's turn comes.
        """
        member = self._member
        kind = member.reading.kind_of(member.id)
        if kind is None:
            return []
        found, seen = [], set[bytes]()
        consented = sorted(await self._open_consents(study), key=lambda each: each[1])
        for start in range(0, len(consented), _TOGETHER):
            some = consented[start : start + _TOGETHER]
            people = [member.identity.patients_of(handle) for handle, _ in some]
            read = await asyncio.to_thread(self._read, people)
            for (handle, consent), persons, records in zip(some, people, read, strict=True):
                await asyncio.sleep(0)
                held = [each for each in map(self._holdings.keep, records) if each is not None]
                unopened = self._open_consent(study, handle) != consent or self._openings.unopened(handle)
                if unopened or seen & persons or member.identity.patients_of(handle) != persons:
                    continue
                ask = Ask(member.id, int(kind), member.id, PURPOSE, ROLE, member.ledger_now())
                decider = compile_rules(ask, self._openings.givens(handle, consent), member.jurisdiction)
                decided = self._holdings.decide(held, decider)
                kept = tuple(each for each in held if decided[each.id].permit and self._holdings.is_sound(each))
                if kept:
                    seen |= persons
                    found.append(Consented(handle, consent, kept))
        return found

    def _read(self, people: Sequence[frozenset[bytes]]) -> list[list[Held | Broken]]:
        """In another thread."""
        with self._member.ports.vault.reading() as reader:
            return [self._holdings.read(reader, each) for each in people]

    async def _open_consents(self, study: StudyId) -> list[tuple[Handle, ConsentId]]:
        """Of handles linked here: those with a consent to this study at this site that is open now."""
        found = []
        for number, handle in enumerate(self._member.identity.each_handle()):
            if number % _TOGETHER == 0:
                await asyncio.sleep(0)
            consent = self._open_consent(study, handle)
            if consent is not None:
                found.append((handle, consent))
        return found

    def _open_consent(self, study: StudyId, handle: Handle) -> ConsentId | None:
        record = self._member.reading.handle(handle)
        if record is None or record.research is None or record.holds:
            return None
        consent, here = self._member.reading.consent(record.research), Research(study, self._member.id)
        is_open = consent is not None and consent.research == here and consent.live(self._member.ledger_now())
        return record.research if is_open else None
