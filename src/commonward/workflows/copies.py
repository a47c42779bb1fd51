"""Received copies at a requester: sealed as they came, checked before they are kept, and again at each display."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from commonward.ledger.audit import Release
from commonward.ledger.encoding import digest
from commonward.ledger.ids import ConsentId, Digest, Handle, MemberId, Tag
from commonward.records.certificates import SignedStatement
from commonward.records.decide import Ask, Decision, Given, compile_rules
from commonward.records.envelope import EnvelopeError, unpad
from commonward.records.fingerprint import fingerprint
from commonward.records.openings import commit
from commonward.records.propagation import decide_set, references_within
from commonward.records.record import Record, Source
from commonward.records.stored import NotStorable, Stored
from commonward.workflows import commitments
from commonward.workflows.holdings import anchored
from commonward.workflows.member import Member
from commonward.workflows.messages import Anchor, Bundle, Delivery, Fault, SentRecord, delivery_info, sealed_digest
from commonward.workflows.reading import transaction_of
from commonward.workflows.wire import Message, MessageError


class WrongDelivery(Exception):
    """What came is not what was asked for, or not what the ledger says: which check failed, and how."""

    def __init__(self, check: str, what: str) -> None:
        super().__init__(f"{check}: {what}")
        self.check = check


class Verified(IntEnum):
    """What was verified of one record. Said no more than this."""

    ANCHORED = 1  # unchanged since the time of its anchor
    PENDING = 2  # not anchored yet when it was released


@dataclass(frozen=True, slots=True)
class Copy(Message):
    """One bundle as it was received. `delivery` opens with this member's HPKE key alone."""

    tag: Tag
    custodian: MemberId
    handle: Handle
    consent: ConsentId
    encounter: Digest
    purpose: str
    role: str
    asked: int
    delivery: bytes
    received: int
    expires: int
    index: int  # of the mark; -1 while it is late
    glass: Tag | None = None
    recalled: tuple[bytes, ...] = ()  # record ids
    faults: tuple[Fault, ...] = ()  # why, in the same order
    later: tuple[bytes, ...] = ()  # record ids whose anchors came later
    anchors: tuple[Anchor, ...] = ()
    receipt: bytes = b""  # ReceiptFacts once it landed
    statement: bytes = b""  # our signed request, against which a mark that comes late is held


@dataclass(frozen=True, slots=True)
class Checked:
    """One record of a copy after all checks."""

    sent: SentRecord
    record: Record
    verified: Verified
    since: int | None  # header time of its anchor, ms
    decision: Decision
    recalled: Fault | None = None


def opened(member: Member, copy: Copy) -> Bundle:
    """1. It opens with our key and is for our request. Raises WrongDelivery."""
    ledger = member.ports.ledger.line
    try:
        delivery = Delivery.parse(copy.delivery)
        info = delivery_info(ledger, copy.custodian, member.id, delivery.tag)
        bundle = Bundle.parse(unpad(member.ports.keys.open_sealed(info, delivery.sealed)))
    except (MessageError, EnvelopeError) as cause:
        raise WrongDelivery("seal", f"the delivery does not open: altered, or not for {member.id} ({cause})") from cause
    if bundle.tag != delivery.tag or bundle.tag != copy.tag or bundle.handle != copy.handle:
        raise WrongDelivery("tag", "what is inside is for another mark or patient")
    return bundle


def check_mark(member: Member, copy: Copy, bundle: Bundle, statement: SignedStatement) -> int | None:
    """2. Its mark stands on the ledger, is the custodian's, and commits to request, decisions, consent and bytes.

    Returns the mark's header time; None for one that comes late. Raises WrongDelivery.
    """
    if bundle.request != digest("commonward request v1", statement.statement):
        raise WrongDelivery("request", "the bundle answers another request")
    entry = member.ports.ledger.mark(copy.tag, copy.custodian)
    if entry is None:
        if bundle.late:
            return None
        raise WrongDelivery("mark", "no mark stands on the ledger for this release")
    mark = transaction_of(entry).payload
    if not isinstance(mark, Release):  # never: it is filed as one
        raise WrongDelivery("mark", "what stands under this tag is no release")
    delivery = Delivery.parse(copy.delivery)
    try:
        request_salt, decision_salt, consent_salt = bundle.salts
        wanted = (
            (mark.request, commit(commitments.REQUEST, request_salt, statement.to_bytes()), "request"),
            (
                mark.decision,
                commit(commitments.DECISION, decision_salt, commitments.decision_digest(bundle.decisions)),
                "decision",
            ),
            (mark.consent, commit(commitments.CONSENT, consent_salt, bundle.consent), "consent"),
            (mark.sealed, commit(commitments.SEALED, delivery.salt, sealed_digest(delivery.sealed)), "bundle"),
        )
    except ValueError as cause:
        raise WrongDelivery("mark", f"the mark cannot be opened: {cause}") from cause
    for on_ledger, given, what in wanted:
        if on_ledger != given:
            raise WrongDelivery("mark", f"the mark commits to another {what}")
    return entry.time


def check_records(member: Member, copy: Copy, bundle: Bundle, ask: Ask, permits: list[Given]) -> list[Checked]:
    """3. Every record has its anchored fingerprint, and 4. may go by what was opened to us. Raises WrongDelivery."""
    later: Mapping[bytes, Anchor] = dict(zip(copy.later, copy.anchors, strict=True))
    recalled = dict(zip(copy.recalled, copy.faults, strict=True))
    records: dict[bytes, Record] = {}
    seen: dict[bytes, tuple[SentRecord, Verified, int | None]] = {}
    for sent in bundle.records:
        if sent.id in records:
            raise WrongDelivery("records", "one record stands twice in the bundle")
        try:
            print_ = fingerprint(Stored(sent.stored), sent.salt)
            record = Record.from_stored(Stored(sent.stored), Source(copy.custodian, "", "fhir-r4"), sent.version)
        except (NotStorable, ValueError) as cause:
            raise WrongDelivery("records", f"a record cannot be read: {cause}") from cause
        anchor = sent.anchor or later.get(sent.id)
        since: int | None = None
        if anchor is not None:
            if not anchored(member, anchor, print_, copy.custodian):
                raise WrongDelivery("anchor", f"a {record.resource_type} is not what {copy.custodian} anchored")
            stands = member.reading.anchor_at(anchor.index)
            since = int(stands.time) if stands else None
        records[sent.id] = record
        seen[sent.id] = (sent, Verified.ANCHORED if anchor else Verified.PENDING, since)
    decider = compile_rules(ask, permits, member.jurisdiction)
    facts = {key: member.sensitivity.facts(record) for key, record in records.items()}
    decisions = decide_set(decider, facts, references_within(records))
    out = []
    for key, (sent, verified, since) in seen.items():
        if not decisions[key].permit:
            raise WrongDelivery("decision", f"a {records[key].resource_type} goes further than what was opened to us")
        out.append(Checked(sent, records[key], verified, since, decisions[key], recalled.get(key)))
    return out


def decisions_digest(checked: list[Checked]) -> Digest:
    """What the receipt commits to: our own decisions, in the form of the mark's."""
    return commitments.decision_digest(commitments.decisions_bytes({each.sent.id: each.decision for each in checked}))
