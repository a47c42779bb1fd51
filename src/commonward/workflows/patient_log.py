"""The patient's log: who was released what, by whom, on which ground; and whether the list has a gap.

Each custodian hands out the openings of its marks for a handle, sealed to the patient. The patient holds the key of
the tags, so three lies show: a mark whose opening does not fit the ledger, a number left out, and a release kept from
the list (its tag stands on the ledger all the same, or its requester's receipt does). A custodian and a requester who
collude are not detected.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from commonward.ledger.audit import Receipt, Release
from commonward.ledger.encoding import Digest
from commonward.ledger.ids import MemberId, Tag
from commonward.records.certificates import SignedStatement, claimed_staff
from commonward.records.envelope import EnvelopeError, unpad
from commonward.records.openings import OpeningError
from commonward.workflows import commitments
from commonward.workflows.breakglass import GlassNotice
from commonward.workflows.enrolment import LinkPaper
from commonward.workflows.identity import mark_tag
from commonward.workflows.messages import (
    MarkState,
    PaperKind,
    PapersWanted,
    PatientMark,
    PatientPaper,
    ReceiptFacts,
    Request,
    paper_info,
)
from commonward.workflows.patient import Patient
from commonward.workflows.ports import PeerAway
from commonward.workflows.reading import transaction_of
from commonward.workflows.wire import MessageError

PROBED = 16
"""How many tags beyond the last shown are looked for. A custodian that hides a release cannot choose its tag."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that does not add up, about whom, in a sentence."""

    custodian: MemberId
    what: str


@dataclass(slots=True)
class PatientLog:
    """What the patient sees."""

    marks: list[PatientMark] = field(default_factory=list)
    receipts: list[ReceiptFacts] = field(default_factory=list)
    glasses: list[GlassNotice] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    unreachable: list[MemberId] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """No gap, and everyone answered."""
        return not self.troubles and not self.unreachable


async def read_log(patient: Patient) -> PatientLog:
    """Asks every linked custodian for its line, every member for papers, and checks all against the ledger."""
    log = PatientLog()
    await _papers(patient, log)
    for custodian in patient.wallet.custodians:
        try:
            marks = await _line(patient, custodian.member)
        except PeerAway:
            log.unreachable.append(custodian.member)
            continue
        except (MessageError, EnvelopeError) as cause:
            log.troubles.append(Trouble(custodian.member, f"what it says of its marks cannot be read: {cause}"))
            continue
        log.marks += marks
        log.troubles += check_line(patient, custodian.member, custodian.tag_key, marks)
    log.troubles += _check_receipts(patient, log)
    log.marks.sort(key=lambda mark: mark.at)
    return log


async def _wanted(patient: Patient, member: MemberId, after: int) -> PapersWanted:
    wanted = PapersWanted(patient.gate.line, member, patient.handle, patient.gate.now(), after)
    return replace(wanted, proof=await patient.signer.possess(wanted.digest()))


def _open(patient: Patient, paper: PatientPaper) -> bytes:
    info = paper_info(patient.gate.line, patient.handle, paper.kind)
    return unpad(patient.signer.open_sealed(info, paper.sealed))


async def _line(patient: Patient, member: MemberId) -> list[PatientMark]:
    marks: list[PatientMark] = []
    shown = 0
    while True:
        answer = await patient.gate.marks(await _wanted(patient, member, shown))
        if not answer.papers:
            return marks
        marks += [PatientMark.parse(_open(patient, paper)) for paper in answer.papers]
        if marks[-1].facts.n <= shown:
            raise MessageError(f"it shows mark {marks[-1].facts.n} after mark {shown}, and so on without end")
        shown = marks[-1].facts.n


async def _papers(patient: Patient, log: PatientLog) -> None:
    """Links, receipts and notices, from every member's mailbox."""
    for member, _, _ in patient.gate.members():
        after = 0
        try:
            while papers := (await patient.gate.papers(await _wanted(patient, member, after))).papers:
                before = after
                for paper in papers:
                    after = max(after, paper.number)
                    _take(patient, log, member, paper)
                if after == before:
                    log.troubles.append(Trouble(member, "its mailbox shows the same papers without end"))
                    break
        except PeerAway:
            log.unreachable.append(member)


def _take(patient: Patient, log: PatientLog, member: MemberId, paper: PatientPaper) -> None:
    try:
        inside = _open(patient, paper)
        if paper.kind is PaperKind.LINK:
            link = LinkPaper.parse(inside)
            if link.custodian == member:
                _linked(patient, log, member, link.tag_key)
        elif paper.kind is PaperKind.RECEIPT:
            receipt = ReceiptFacts.parse(inside)
            if receipt.requester == member:
                log.receipts.append(receipt)
            else:
                log.troubles.append(Trouble(member, f"it tells of a receipt in the name of {receipt.requester}"))
        elif paper.kind is PaperKind.GLASS:
            notice = GlassNotice.parse(inside)
            if notice.requester == member:
                log.glasses.append(notice)
            else:
                log.troubles.append(Trouble(member, f"it tells of a broken glass in the name of {notice.requester}"))
    except (EnvelopeError, MessageError) as cause:
        log.troubles.append(Trouble(member, f"a paper from its mailbox cannot be read: {cause}"))


def _linked(patient: Patient, log: PatientLog, member: MemberId, tag_key: bytes) -> None:
    """The first key stands: with another, marks under the first would no longer be looked for."""
    known = {each.member: each.tag_key for each in patient.wallet.custodians}.get(member, tag_key)
    if known == tag_key:
        patient.linked(member, tag_key)
    else:
        log.troubles.append(Trouble(member, "it says now that its marks bear other tags than it said first"))


def check_line(patient: Patient, custodian: MemberId, tag_key: bytes, marks: Sequence[PatientMark]) -> list[Trouble]:
    """Numbers without a gap, each bound to the one before, each as it stands on the ledger, and none hidden."""
    troubles: list[Trouble] = []
    before, expected = Digest(bytes(32)), 1
    for mark in marks:
        n = mark.facts.n
        if n != expected:
            troubles.append(Trouble(custodian, f"marks {expected} to {n - 1} are missing from the list"))
        elif mark.facts.previous != before:
            troubles.append(Trouble(custodian, f"mark {n} does not follow the mark shown before it"))
        if mark.facts.tag != mark_tag(tag_key, n):
            troubles.append(Trouble(custodian, f"mark {n} does not bear its tag"))
        troubles += _check_mark(patient, custodian, mark)
        troubles += _check_words(patient, custodian, mark)
        before, expected = mark.facts.digest(), n + 1
    for n in range(expected, expected + PROBED):
        if patient.gate.mark(mark_tag(tag_key, n), custodian) is not None:
            troubles.append(Trouble(custodian, f"mark {n} stands on the ledger and is not in the list: hidden"))
    return troubles


def _check_mark(patient: Patient, custodian: MemberId, mark: PatientMark) -> list[Trouble]:
    n = mark.facts.n
    entry = patient.gate.mark(mark.facts.tag, custodian)
    if entry is None:
        if mark.state is MarkState.LATE:
            return []  # its mark follows; the next look tells
        return [Trouble(custodian, f"mark {n} is in the list and not on the ledger")]
    payload = transaction_of(entry).payload
    if not isinstance(payload, Release):  # never: it is filed as one
        return [Trouble(custodian, f"what stands under the tag of mark {n} is no release")]
    try:
        commitments.check_mark(mark.facts, payload)
    except OpeningError as cause:
        return [Trouble(custodian, f"mark {n}: {cause}")]
    return []


def _check_words(patient: Patient, custodian: MemberId, mark: PatientMark) -> list[Trouble]:
    """What the list says in words must be what the requester's person signed, to which the mark commits."""
    n = mark.facts.n
    try:
        statement = SignedStatement.parse(mark.facts.request)
        request = Request.parse(statement.statement)
        staff = claimed_staff(statement.certificate)
    except (MessageError, ValueError) as cause:
        return [Trouble(custodian, f"the request of mark {n} cannot be read: {cause}")]
    said = (mark.custodian, mark.requester, mark.purpose, mark.glass, mark.reason, mark.facts.consent)
    signed = (request.custodian, request.requester, request.purpose, request.glass, request.reason, request.consent)
    if mark.custodian != custodian or request.handle != patient.handle or said != signed:
        return [Trouble(custodian, f"mark {n} is told otherwise than it was asked for")]
    if (mark.requester, mark.role, mark.department, mark.number) != staff:
        return [Trouble(custodian, f"mark {n} names another person than the one who asked")]
    return []


def _check_receipts(patient: Patient, log: PatientLog) -> list[Trouble]:
    """What a requester confirmed must be in some custodian's list."""
    shown: set[Tag] = {mark.facts.tag for mark in log.marks}
    troubles = []
    for receipt in log.receipts:
        entry = patient.gate.entry(receipt.index)
        payload = transaction_of(entry).payload if entry is not None and entry.code == 0 else None
        try:
            stands = (
                isinstance(payload, Receipt)
                and entry is not None
                and entry.member == receipt.requester
                and payload == commitments.receipt_of(receipt)
            )
        except OpeningError:
            stands = False
        if not stands:
            troubles.append(Trouble(receipt.requester, "a receipt it told of does not stand on the ledger"))
        elif receipt.tag not in shown and not log.unreachable:
            troubles.append(Trouble(receipt.requester, "it confirmed a release that no custodian shows: hidden"))
    return troubles
