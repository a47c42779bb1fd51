"""What a custodian makes of a request before it looks at any record.

Every refusal here follows from what the asker presented and from what everyone can read on the ledger. So it is the
same for a patient with withheld records, without any, and for one who is not known here.
"""

from dataclasses import dataclass
from typing import Final

from commonward.ledger.audit import BreakGlass
from commonward.ledger.ids import MemberId, MemberKind
from commonward.ledger.refusals import Malformed
from commonward.records.certificates import CertificateRefused, SignedStatement, Staff
from commonward.records.decide import Answer as Outward
from commonward.records.decide import Ask, Given, outward
from commonward.records.jurisdiction import Basis
from commonward.records.openings import OpeningError, commit
from commonward.workflows import commitments
from commonward.workflows.consent import presented_rules
from commonward.workflows.liveness import GRACE_PURPOSES, Standing
from commonward.workflows.member import Member
from commonward.workflows.messages import NO_CONSENT_ID, Asked, Mode, Request, Why
from commonward.workflows.reading import transaction_of
from commonward.workflows.wire import MessageError

DISPLAY_ROLES: Final = {
    MemberKind.HOSPITAL: frozenset({"clinician"}),
    MemberKind.INSURER: frozenset({"claims-officer"}),
    MemberKind.AUTHORITY: frozenset({"epidemiologist", "inspector"}),
    MemberKind.RESEARCH: frozenset({"researcher"}),
}
"""Who may look at a record; others may only have it fetched ahead, sealed."""


class Refused(Exception):
    """A request that is not granted. `why` is all that the asker learns; `detail` goes to the member's log."""

    def __init__(self, why: Why, detail: str) -> None:
        super().__init__(detail)
        self.why = why
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Judged:
    """A request that may be looked at: who really asks, for what, on which ground."""

    request: Request
    statement: SignedStatement
    staff: Staff
    ask: Ask
    late: bool  # the ledger could not be shown to be fresh: what leaves now is marked later


def parse(member: Member, asker: MemberId, body: bytes) -> tuple[Asked, SignedStatement, Request]:
    """1. a request of this ledger, to this custodian, from the member that hands it over."""
    try:
        asked = Asked.parse(body)
        statement = SignedStatement.parse(asked.statement)
        request = Request.parse(statement.statement)
    except (MessageError, ValueError) as cause:
        raise Refused(Why.MALFORMED, str(cause)) from cause
    mine = (member.ports.ledger.line, member.id, asker)
    if (request.ledger, request.custodian, request.requester) != mine:
        raise Refused(Why.NOT_FOR_ME, f"for {request.custodian}, from {request.requester}, handed over by {asker}")
    return asked, statement, request


def judge(
    member: Member, asked: Asked, statement: SignedStatement, request: Request, live: Standing, shown: int
) -> Judged:
    """2. to 6. `live` and `shown` are this node's liveness and the cosigning time that shows it. Raises Refused."""
    now = member.now()
    age = now - request.at
    if not -member.practice.clock_skew_ms <= age <= member.practice.request_lasts_ms:  # 2. it was made just now
        raise Refused(Why.STALE, f"made {age} ms ago")
    kind = member.reading.kind_of(request.requester)
    if kind is None:
        raise Refused(Why.STAFF, f"{request.requester} is not an active member")
    try:  # 3. by a person whom the asking member certified today
        staff = member.reading.staff(statement, request.requester, request.at)
    except CertificateRefused as cause:
        raise Refused(Why.STAFF, str(cause)) from cause
    if request.mode is Mode.DISPLAY and staff.role not in DISPLAY_ROLES[kind]:
        raise Refused(Why.ROLE, f"a {staff.role} may fetch ahead, not display")
    ground = Basis.CONSENT if request.glass is None else Basis.VITAL_INTEREST
    # Judged at the asker's own time, which is at most minutes old: so it can decide again on the same facts.
    ask = Ask(request.requester, int(kind), member.id, request.purpose, staff.role, request.at, ground)
    late = _check_live(request, live, ground)  # 4. on a ledger that is live, or within grace
    if ground is Basis.VITAL_INTEREST:
        _check_glass(member, asked, request, live)  # 5. under a glass that was broken first
        presented: list[Given] = []
    else:
        presented = [_check_consent(member, asked, request, member.ledger_now())]  # 5. under a consent that is open
    told = outward(ask, presented, member.jurisdiction)
    if told is Outward.NO_BASIS:  # 6. and the law, and what was presented, allow such an ask at all
        raise Refused(Why.PURPOSE, told.text)
    if told is Outward.NO_PERMIT:
        raise Refused(Why.NO_PERMIT, told.text)
    return Judged(request, statement, staff, ask, late)


def _check_live(request: Request, live: Standing, ground: Basis) -> bool:
    if live is Standing.FRESH:
        return False
    if live is Standing.GRACE and request.purpose in GRACE_PURPOSES:
        return True
    if ground is Basis.VITAL_INTEREST:
        return True  # care comes first: a durable log and the signed request now, both marks later
    raise Refused(Why.NOT_LIVE, "the ledger is not shown to be live, and grace does not cover this request")


def _check_consent(member: Member, asked: Asked, request: Request, now: int) -> Given:
    record = member.reading.consent(request.consent)
    if request.consent == NO_CONSENT_ID or record is None or record.handle != request.handle or not record.live(now):
        raise Refused(Why.NO_CONSENT, f"no consent {request.consent.hex()} is open for that handle")
    handle = member.reading.handle(request.handle)
    if record.hold or (handle is not None and handle.holds):
        raise Refused(Why.HELD, "a safety hold stands on this handle")
    try:
        rules = presented_rules(asked.permits, record.rules)
    except OpeningError as cause:
        raise Refused(Why.NO_PERMIT, str(cause)) from cause
    return Given(request.consent, rules, int(record.assurance), record.end)


def _check_glass(member: Member, asked: Asked, request: Request, live: Standing) -> None:
    assert request.glass is not None
    if not request.reason:
        raise Refused(Why.GLASS, "a broken glass needs a reason")
    entry = member.ports.ledger.broken_glass(request.glass, request.requester)
    if entry is None:
        if live is Standing.FRESH:
            raise Refused(Why.GLASS, f"no broken glass of {request.requester} stands under that tag")
        return  # the asker cannot reach the ledger either; its mark follows, late
    try:
        payload = transaction_of(entry).payload
    except Malformed as cause:  # never: it was accepted
        raise Refused(Why.GLASS, str(cause)) from cause
    if (
        not isinstance(payload, BreakGlass)
        or asked.glass_salt is None
        or commit(commitments.GLASS_REQUEST, asked.glass_salt, request.digest()) != payload.request
    ):
        raise Refused(Why.GLASS, "that broken glass was for another request")
