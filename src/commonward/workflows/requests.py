"""Requests, at the requester: asked per encounter, fetched ahead, checked, and shown one display at a time.

A request is durable before it is sent: after a timeout or a kill the same bytes are asked again, and the custodian
answers with the same bundle under the same mark. What is received stays sealed. Each display is a clinician's own
signed request, needs a consent that is live now (or grace), decides again, and stands in the member's log first.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from commonward.ledger.ids import ConsentId, Digest, Handle, MemberId, Tag
from commonward.records.certificates import CertificateRefused, SignedStatement, Staff, sign_statement
from commonward.records.decide import Ask, Given
from commonward.records.jurisdiction import Basis
from commonward.workflows import commitments
from commonward.workflows.consent import Openings
from commonward.workflows.copies import (
    Checked,
    Copy,
    WrongDelivery,
    check_mark,
    check_records,
    decisions_digest,
    opened,
)
from commonward.workflows.judging import DISPLAY_ROLES
from commonward.workflows.liveness import GRACE_PURPOSES, Standing, settled, standing
from commonward.workflows.mailbox import Mailbox
from commonward.workflows.member import Member
from commonward.workflows.member_log import Event
from commonward.workflows.messages import (
    ASK,
    LATER_PROOFS,
    NO_CONSENT_ID,
    RECEIPT,
    Answer,
    Asked,
    Bundle,
    Delivery,
    Fault,
    Mode,
    PaperKind,
    Proofs,
    ProofsWanted,
    ReceiptFacts,
    Request,
    Why,
    encounter_commitment,
    sealed_digest,
)
from commonward.workflows.ports import LedgerAway, PeerAway, StaffSigner
from commonward.workflows.sealing import Altered, Drawer
from commonward.workflows.submitting import LedgerRefused
from commonward.workflows.wire import Message, MessageError

GLASS_USE_MS: Final = 24 * 3_600_000
"""How long a copy got by breaking the glass may be shown without a consent."""


UNMARKED_MS: Final = 10 * 60_000
"""How long a mark that is to come late may take before the patient is told without it."""


class RequestRefused(Exception):
    """The custodian said no; `why` is all it said."""

    def __init__(self, custodian: MemberId, why: Why) -> None:
        super().__init__(f"{custodian} refused: {_WORDS[why]}")
        self.custodian = custodian
        self.why = why


class DisplayRefused(Exception):
    """This member may not show a copy now; the sentence says why."""


_WORDS: Final = {
    Why.MALFORMED: "the request could not be read",
    Why.NOT_FOR_ME: "the request is not for it, or not from us",
    Why.STAFF: "the certificate or signature of the person who asks does not stand",
    Why.ROLE: "a person in this role may not ask for this",
    Why.PURPOSE: "no legal basis allows such a request: this purpose, by this role, of this kind of member",
    Why.NO_CONSENT: "no consent is open under that id for that patient",
    Why.NO_PERMIT: "what was presented does not permit it",
    Why.NOT_LIVE: "the ledger is not shown to be live: ask again, or break the glass in an emergency",
    Why.GLASS: "no broken glass stands for this request",
    Why.HELD: "the patient has put a safety hold on everything",
    Why.STALE: "the request is too old, or from the future",
    Why.NOTHING: "there is nothing to release under what was presented",
}


@dataclass(frozen=True, slots=True)
class Encounter(Message):
    """One visit, booking or referral, known by number here and by a commitment elsewhere."""

    number: str
    handle: Handle
    salt: bytes
    at: int

    @property
    def commitment(self) -> Digest:
        return encounter_commitment(self.salt, self.number)


@dataclass(frozen=True, slots=True)
class Asking(Message):
    """A request on its way."""

    custodian: MemberId
    asked: bytes
    at: int


@dataclass(frozen=True, slots=True)
class Relied(Message):
    """What a clinician relied on, kept with its origin beyond the copy's life."""

    custodian: MemberId
    tag: Tag
    record: bytes
    stored: bytes
    salt: bytes
    who: str
    why: str
    at: int


@dataclass(frozen=True, slots=True)
class _Resting:
    """What ends a copy that needs nothing more."""

    consent: ConsentId
    glass: Tag | None
    received: int
    expires: int


class Requests:
    """The requester's side for one member."""

    def __init__(self, member: Member, openings: Openings, mailbox: Mailbox) -> None:
        self._member = member
        self._openings = openings
        self._mailbox = mailbox
        vault = member.ports.vault
        self._encounters = Drawer(vault, member.sealing, "encounters", Encounter)
        self._asking = Drawer(vault, member.sealing, "asking", Asking)
        self._flying: set[bytes] = set()
        self._restless: dict[bytes, None] | None = None  # copies to be looked at; not yet known at start
        self._resting: dict[bytes, _Resting] = {}  # the longest unseen first
        self.copies = Drawer(vault, member.sealing, "copies", Copy)
        self._altered: set[bytes] = set()  # copies of which the log says so already
        self.relied = Drawer(vault, member.sealing, "relied", Relied)

    # asking

    def encounter(self, number: str, handle: Handle) -> Encounter:
        """Opens an encounter at registration, booking or referral; the same number again is the same encounter."""
        key = self._member.sealing.name("encounter", number, handle)
        held = self._encounters.get(key)
        if held is None:
            held = Encounter(number, handle, self._member.ports.entropy.bytes(32), self._member.now())
            self._encounters.put(key, held)
        return held

    def request(
        self,
        staff: StaffSigner,
        encounter: Encounter,
        custodian: MemberId,
        purpose: str,
        mode: Mode,
        *,
        consent: ConsentId = NO_CONSENT_ID,
        glass: Tag | None = None,
        reason: str | None = None,
    ) -> SignedStatement:
        """A request in one person's name."""
        member, ledger = self._member, self._member.ports.ledger
        size, root = ledger.recent()
        request = Request(
            ledger.line, member.id, custodian, encounter.handle, consent, purpose, encounter.commitment, mode,
            member.now(), member.ports.entropy.bytes(16), size, root, glass, reason,
        )  # fmt: skip
        return sign_statement(ledger.line, request.to_bytes(), staff.certificate, staff.sign)

    def statement(self, staff: StaffSigner, words: bytes) -> SignedStatement:
        """Any other statement in one person's name."""
        return sign_statement(self._member.ports.ledger.line, words, staff.certificate, staff.sign)

    async def fetch_ahead(
        self,
        staff: StaffSigner,
        encounter: Encounter,
        custodian: MemberId,
        *,
        purpose: str = "TREAT",
        consent: ConsentId | None = None,
        mode: Mode = Mode.FETCH_AHEAD,
    ) -> Copy:
        """Asks a custodian for everything that a consent permits here, and keeps what comes, sealed.

        Without `consent`, the newest one open whose permits were opened to this member is named.

        Raises:
            RequestRefused: the custodian said no.
            PeerAway, LedgerAway: nothing is known yet; `resume` asks again with the same bytes.
            WrongDelivery: what came did not check; it was not kept.
        """
        self._openings.take_early(encounter.handle)
        named = consent or self._newest(encounter.handle)
        permits, _ = self._openings.permits(encounter.handle, named)
        statement = self.request(staff, encounter, custodian, purpose, mode, consent=named)
        return await self.send(custodian, Asked(statement.to_bytes(), permits))

    def _newest(self, handle: Handle) -> ConsentId:
        found = self._openings.permitted_consents(handle)
        return found[-1] if found else NO_CONSENT_ID

    async def send(self, custodian: MemberId, asked: Asked) -> Copy:
        """Durable first, then asked."""
        request = _request_of(asked)
        key = request.digest()
        self._asking.put(key, Asking(custodian, asked.to_bytes(), self._member.now()))
        self._member.ports.steps.reach("request.asking")
        return await self._ask(key)

    async def resume(self) -> list[Copy]:
        """Asks again for everything that was asked and never answered; what is too old is let go."""
        copies = []
        for key, asking in list(self._asking.every()):
            if key in self._flying or self._asking.get(key) is None:
                continue  # on its way, or answered while this was busy with another
            if self._member.now() - asking.at > self._member.practice.request_lasts_ms:
                self._asking.remove(key)
                continue
            try:
                copies.append(await self._ask(key))
            except (PeerAway, LedgerAway, RequestRefused, WrongDelivery):
                continue
        return copies

    async def _ask(self, key: bytes) -> Copy:
        """One road at a time for a request: the tick does not ask what is being asked."""
        self._flying.add(key)
        try:
            return await self._asked(key)
        finally:
            self._flying.discard(key)

    async def _asked(self, key: bytes) -> Copy:
        asking = self._asking.get(key)
        assert asking is not None
        answered = await self._member.ports.peers.ask(asking.custodian, ASK, asking.asked)
        try:
            answer = Answer.parse(answered)
        except MessageError as cause:
            raise WrongDelivery("answer", str(cause)) from cause
        self._member.ports.steps.reach("request.answered")
        if answer.delivery is None:
            if answer.why is not Why.NOT_LIVE:  # asking again later may help there
                self._asking.remove(key)
            raise RequestRefused(asking.custodian, answer.why or Why.MALFORMED)
        return await self._receive(key, asking, answer.delivery, answer.index)

    # receiving

    async def _receive(self, key: bytes, asking: Asking, delivery: bytes, index: int) -> Copy:
        member = self._member
        asked = Asked.parse(asking.asked)
        request = _request_of(asked)
        staff = self._staff(SignedStatement.parse(asked.statement), request.at)
        try:
            tag = Delivery.parse(delivery).tag
            known = self.copies.get(tag)
            copy = known or Copy(
                tag, asking.custodian, request.handle, request.consent, request.encounter, request.purpose, staff.role,
                request.at, delivery, member.now(), member.now() + member.practice.copy_lasts_ms, index, request.glass,
                statement=asked.statement,
            )  # fmt: skip
            if index >= 0:
                await member.ports.ledger.cosigned(index + 1, member.practice.cosign_wait_ms)
            bundle = opened(member, copy)
            check_mark(member, copy, bundle, SignedStatement.parse(asked.statement))
            checked = check_records(member, copy, bundle, self._ask_of(copy, request.at), self._permits(copy))
        except MessageError as cause:
            raise self._wrong(WrongDelivery("answer", str(cause)), request) from cause
        except WrongDelivery as wrong:
            raise self._wrong(wrong, request) from wrong.__cause__
        if known is None:
            with member.ports.vault.transaction():
                self.copies.put(tag, copy, under=copy.handle)
                self._asking.remove(key)
                member.log.note(
                    Event.RECEIVED, f"{len(checked)} records from {copy.custodian}", who=staff.number,
                    handle=copy.handle, request=request.digest(),
                )  # fmt: skip
            if self._restless is not None:
                self._restless[tag] = None
        else:
            self._asking.remove(key)
        member.ports.steps.reach("request.kept")
        return await self._receipt(copy, checked)

    def _wrong(self, wrong: WrongDelivery, request: Request) -> WrongDelivery:
        self._member.log.note(
            Event.RECEIVED_WRONG, f"{request.custodian}: {wrong}", handle=request.handle, request=request.digest()
        )
        return wrong

    async def _receipt(self, copy: Copy, checked: list[Checked], *, unmarked: bool = False) -> Copy:
        """Confirms on the ledger, to the custodian and to the patient. What cannot be said now is said at a tick."""
        if copy.receipt or (copy.index < 0 and not unmarked):
            return copy
        member = self._member
        salts = tuple(member.sealing.secret("receipt", copy.tag, n) for n in range(3))
        sealed = sealed_digest(Delivery.parse(copy.delivery).sealed)
        facts = ReceiptFacts(member.id, copy.tag, sealed, decisions_digest(checked), salts, -1, member.now())
        key = b"receipt" + copy.tag
        try:
            landed = await member.submitter.land(key, commitments.receipt_of(facts), step="receipt")
        except (LedgerAway, LedgerRefused):
            return copy
        facts = replace(facts, index=landed.index)
        with member.ports.vault.transaction():
            held = self.copies.get(copy.tag)  # a recall may have been marked meanwhile, or the copy let go
            copy = replace(held or copy, receipt=facts.to_bytes())
            if held is not None:
                self.copies.put(copy.tag, copy, under=copy.handle)
            member.submitter.done(key)
            self._mailbox.post(copy.handle, PaperKind.RECEIPT, copy.tag, facts.to_bytes())
        member.ports.steps.reach("request.receipted")
        with suppress(PeerAway):  # the ledger has it, and the patient is told by us
            await member.ports.peers.ask(copy.custodian, RECEIPT, facts.to_bytes())
        return copy

    # showing

    async def display(
        self, staff: StaffSigner, tag: Tag, encounter: Encounter, *, purpose: str = "TREAT"
    ) -> list[Checked]:
        """Shows a copy to one clinician, once. Raises DisplayRefused, WrongDelivery (it was altered), LedgerAway.

        Records that their custodian recalled come without being relied on: `recalled` says why, and only those that
        were corrected or are unmarked should be shown.
        """
        member = self._member
        try:
            copy = self.copies.get(tag)
        except Altered as cause:
            raise WrongDelivery("rest", f"the copy was altered where it was kept ({cause})") from cause
        if copy is None or copy.handle != encounter.handle:
            raise self._refuse(None, "no such copy is held for this patient")
        statement = self.request(
            staff, encounter, copy.custodian, purpose, Mode.DISPLAY, consent=copy.consent, glass=copy.glass
        )
        request = Request.parse(statement.statement)
        try:  # 1. a clinician asks, by their own key
            person = self._staff(statement, request.at)
        except CertificateRefused as cause:
            raise self._refuse(copy, str(cause)) from cause
        kind = member.reading.kind_of(member.id)
        if kind is None or person.role not in DISPLAY_ROLES[kind]:
            raise self._refuse(copy, f"a {person.role} may not display records", person.number)
        if request.purpose != copy.purpose and (copy.glass is None or request.purpose not in GRACE_PURPOSES):
            raise self._refuse(copy, f"these were released for {copy.purpose}, not {request.purpose}", person.number)
        live, _ = await settled(member)  # 2. on a ledger that is live, or within grace
        if live is Standing.AWAY and copy.glass is None:
            raise self._refuse(
                copy, "the ledger is not shown to be live: break the glass in an emergency", person.number
            )
        if live is Standing.GRACE and request.purpose not in GRACE_PURPOSES:
            raise self._refuse(copy, "the ledger is not shown to be live", person.number)
        self._check_still(copy, person.number)  # 3. under a consent that is open now
        bundle = opened(member, copy)  # 4. unchanged since it came, and since it was anchored
        ask = Ask(
            member.id, int(kind), copy.custodian, copy.purpose, person.role, request.at,
            Basis.VITAL_INTEREST if copy.glass else Basis.CONSENT,
        )  # fmt: skip
        checked = check_records(member, copy, bundle, ask, self._permits(copy))  # 5. decided again
        detail = f"{len(checked)} records of {copy.custodian} for {request.purpose}"
        member.log.note(  # 6. in the log before on the screen
            Event.GRACE_USED if live is Standing.GRACE else Event.DISPLAYED, detail, who=person.number,
            staff=person.revocation, handle=copy.handle, request=request.digest(),
        )  # fmt: skip
        member.ports.steps.reach("display.logged")
        return checked

    def _check_still(self, copy: Copy, who: str) -> None:
        now = self._member.now()
        if now >= copy.expires:
            raise self._refuse(copy, "this copy has expired", who)
        if copy.glass is not None:
            if now - copy.received > GLASS_USE_MS:
                raise self._refuse(copy, "a broken glass serves one emergency", who)
            return
        record = self._member.reading.consent(copy.consent)
        if record is None or record.handle != copy.handle or not record.live(self._member.ledger_now()):
            raise self._refuse(copy, "the consent was withdrawn or has ended", who)
        handle = self._member.reading.handle(copy.handle)
        if handle is not None and handle.holds:
            raise self._refuse(copy, "the patient has put a safety hold on everything", who)

    def _refuse(self, copy: Copy | None, why: str, who: str = "") -> DisplayRefused:
        self._member.log.note(Event.DISPLAY_REFUSED, why, who=who, handle=copy.handle if copy else None)
        return DisplayRefused(why)

    def rely(self, tag: Tag, record: bytes, who: str, why: str) -> None:
        """Keeps one record that a clinician relied on, with its origin, when the copy goes."""
        copy = self.copies.get(tag)
        if copy is None:
            raise DisplayRefused("no such copy is held")
        for sent in opened(self._member, copy).records:
            if sent.id == record:
                paper = Relied(copy.custodian, tag, record, sent.stored, sent.salt, who, why, self._member.now())
                self.relied.put(self._member.sealing.name("relied", tag, record), paper, under=copy.handle)
                return
        raise DisplayRefused("that record is not in this copy")

    # at each tick

    async def tend(self) -> None:
        """Lets go of copies that serve no more or were erased, fetches late marks and proofs, and sends late receipts.

        A copy that needs nothing more rests: it is remembered by what ends it, and opened again in its turn, one at
        each tick, so that a tick costs the same however many copies are held.
        """
        for tag, rest in list(self._resting.items()):
            if self._let_go(rest):
                self.copies.remove(tag)
                del self._resting[tag]
        if self._restless is None:
            self._restless = dict.fromkeys(self.copies.places())
        for copy, bundle in self._sound([*self._restless, *list(self._resting)[:1]]):
            self._restless.pop(copy.tag, None)
            self._resting.pop(copy.tag, None)
            if self._let_go(copy):
                if not copy.receipt:
                    await self._confirm_unmarked(copy)
                self.copies.remove(copy.tag)
            elif Fault.ERASED in copy.faults:
                if not copy.receipt:
                    await self._confirm_unmarked(copy)
                self._destroy(copy)
            elif copy.index >= 0 and copy.receipt and _complete(copy, bundle):
                self._resting[copy.tag] = _Resting(copy.consent, copy.glass, copy.received, copy.expires)
            else:
                self._restless[copy.tag] = None
                await self._finish(copy, bundle)
            await asyncio.sleep(0)  # each is milliseconds of work: others have their turn between

    async def _finish(self, copy: Copy, bundle: Bundle) -> None:
        if copy.index < 0 or not _complete(copy, bundle):
            copy = await self._later(copy)
        if copy.index >= 0 and not copy.receipt:
            await self._confirm(copy)
        elif not copy.receipt and self._member.now() - copy.received > UNMARKED_MS:
            await self._confirm_unmarked(copy)

    async def _confirm_unmarked(self, copy: Copy) -> None:
        """The custodian said that its mark would follow, and it does not: the patient is told by us all the same.

        Otherwise a custodian could hide a release by calling it late.
        """
        if standing(self._member)[0] is not Standing.FRESH:
            return  # nobody can mark anything now
        try:
            bundle = opened(self._member, copy)
            checked = check_records(self._member, copy, bundle, self._ask_of(copy, copy.asked), self._permits(copy))
        except WrongDelivery:
            return  # said where it was found
        await self._receipt(copy, checked, unmarked=True)

    async def _confirm(self, copy: Copy) -> None:
        """A receipt that could not be given at once; a mark that came late is held against what was received first."""
        try:
            bundle = opened(self._member, copy)
            if check_mark(self._member, copy, bundle, SignedStatement.parse(copy.statement)) is None:
                return  # this node has not seen it yet
            checked = check_records(self._member, copy, bundle, self._ask_of(copy, copy.asked), self._permits(copy))
        except WrongDelivery as wrong:
            detail = f"{copy.custodian}: {wrong}"
            self._member.log.note(Event.RECEIVED_WRONG, detail, handle=copy.handle)
            return
        await self._receipt(copy, checked)

    def recall(self, copy: Copy, records: Sequence[bytes], fault: Fault) -> None:
        """Marks these records of a copy as recalled. Joins the caller's vault transaction."""
        faults = (*copy.faults, *(fault for _ in records))
        self.copies.put(copy.tag, replace(copy, recalled=(*copy.recalled, *records), faults=faults), under=copy.handle)
        self._resting.pop(copy.tag, None)
        if self._restless is not None:
            self._restless[copy.tag] = None  # looked at again at the next tick

    def _destroy(self, copy: Copy) -> None:
        """What its custodian erased is erased here too: the whole copy, for it is sealed as one. What a clinician
        relied on stays, with its origin."""
        erased = copy.faults.count(Fault.ERASED)
        with self._member.ports.vault.transaction():
            self.copies.remove(copy.tag)
            self._member.log.note(
                Event.ERASED, f"a copy from {copy.custodian}, which erased {erased} of its records", handle=copy.handle
            )

    def sound_copies(self) -> Iterator[Copy]:
        """Every copy that still opens. One that was altered stays, noted once: a display says so."""
        return (copy for copy, _ in self._sound(self.copies.places()))

    def _sound(self, tags: Sequence[bytes]) -> Iterator[tuple[Copy, Bundle]]:
        for tag in tags:
            try:
                copy = self.copies.get(tag)
                if copy is None:
                    if self._restless is not None:
                        self._restless.pop(tag, None)
                    self._resting.pop(tag, None)
                    continue
                bundle = opened(self._member, copy)
            except (Altered, WrongDelivery) as why:
                if self._resting.pop(tag, None) is not None and self._restless is not None:
                    self._restless[tag] = None
                if tag not in self._altered:
                    self._altered.add(tag)
                    self._member.log.note(Event.FLAGGED, f"the received copy {tag.hex()} was altered: {why}")
                continue
            yield copy, bundle

    def _let_go(self, copy: "Copy | _Resting") -> bool:
        if self._member.now() >= copy.expires:
            return True
        if copy.glass is not None:
            return self._member.now() - copy.received > GLASS_USE_MS
        return self._member.reading.consent(copy.consent) is None  # withdrawn: no use, so no copy

    async def _later(self, copy: Copy) -> Copy:
        try:
            answer = await self._member.ports.peers.ask(copy.custodian, LATER_PROOFS, ProofsWanted(copy.tag).to_bytes())
            proofs = Proofs.parse(answer)
        except (PeerAway, MessageError):
            return copy
        with self._member.ports.vault.transaction():
            held = self.copies.get(copy.tag)  # a recall may have been marked meanwhile, or the copy let go
            if held is None:
                return copy
            copy = replace(held, later=proofs.ids, anchors=proofs.anchors, index=max(held.index, proofs.index))
            self.copies.put(copy.tag, copy, under=copy.handle)
        return copy

    # shared

    def bundle(self, copy: Copy) -> Bundle:
        """What a copy holds, opened. Raises WrongDelivery when it was altered."""
        return opened(self._member, copy)

    def _staff(self, statement: SignedStatement, at: int) -> Staff:
        return self._member.reading.staff(statement, self._member.id, at)

    def _ask_of(self, copy: Copy, at: int) -> Ask:
        kind = self._member.reading.kind_of(self._member.id)
        assert kind is not None, "this member is not on its own ledger"
        ground = Basis.VITAL_INTEREST if copy.glass else Basis.CONSENT
        return Ask(self._member.id, int(kind), copy.custodian, copy.purpose, copy.role, at, ground)

    def _permits(self, copy: Copy) -> list[Given]:
        return [] if copy.glass else self._openings.permits(copy.handle, copy.consent)[1]


def _request_of(asked: Asked) -> Request:
    return Request.parse(SignedStatement.parse(asked.statement).statement)


def _complete(copy: Copy, bundle: Bundle) -> bool:
    return all(sent.anchor is not None or sent.id in copy.later for sent in bundle.records)
