"""What the transactions of a release commit to, label by label: the one place that makes and opens them."""

from collections.abc import Mapping
from typing import Final

from commonward.ledger.audit import BreakGlass, Erased, LogRoot, Receipt, Release, Review
from commonward.ledger.consent import Consent, Enrol, Mandate, StartRecovery, Withdraw
from commonward.ledger.encoding import Digest, Value, digest, encode
from commonward.ledger.ids import BlockTime
from commonward.records.decide import Decision
from commonward.records.evidence import label_of
from commonward.records.openings import Opening, OpeningError, commit
from commonward.workflows.messages import MarkFacts, ReceiptFacts

REQUEST: Final = label_of(Release, "request")
DECISION: Final = label_of(Release, "decision")
CONSENT: Final = label_of(Release, "consent")
RUNNING: Final = label_of(Release, "running")
PREVIOUS: Final = label_of(Release, "previous")
SEALED: Final = label_of(Release, "sealed")
RECIPIENTS: Final = label_of(Consent, "recipients")
FORM: Final = label_of(Consent, "form")
REASON: Final = label_of(Withdraw, "reason")
GLASS_REQUEST: Final = label_of(BreakGlass, "request")
GLASS_REASON: Final = label_of(BreakGlass, "reason")
GLASS_STAFF: Final = label_of(BreakGlass, "staff")
FINDING: Final = label_of(Review, "finding")
REVIEWER: Final = label_of(Review, "reviewer")
IDENTITY: Final = label_of(Enrol, "identity")
EVIDENCE: Final = label_of(StartRecovery, "evidence")
SCOPE: Final = label_of(Mandate, "scope")
MANDATE_EVIDENCE: Final = label_of(Mandate, "evidence")
WHAT: Final = label_of(Erased, "what")
GROUND: Final = label_of(Erased, "ground")
HOLDS: Final = label_of(Erased, "holds")
USES: Final = label_of(LogRoot, "uses")
REFUSALS: Final = label_of(LogRoot, "refusals")

_MARK: Final = (REQUEST, DECISION, CONSENT, RUNNING, PREVIOUS, SEALED)
_RECEIPT: Final = tuple(label_of(Receipt, name) for name in ("tag", "sealed", "decision"))


def mark_openings(facts: MarkFacts) -> tuple[Opening, ...]:
    """In the order of the mark's fields. Raises OpeningError when there is not a salt for each."""
    if len(facts.salts) != len(_MARK):
        raise OpeningError(f"expected {len(_MARK)} salts of a mark, got {len(facts.salts)}")
    values: tuple[Value, ...] = (
        facts.request, facts.decision, facts.consent, facts.n, facts.previous, facts.sealed
    )  # fmt: skip
    return tuple(Opening(label, salt, value) for label, salt, value in zip(_MARK, facts.salts, values, strict=True))


def mark_of(facts: MarkFacts, late: int | None = None) -> Release:
    """The transaction that stands for these facts. `late`: when it left, if that was before its mark (ms)."""
    request, decision, consent, running, previous, sealed = (each.commitment for each in mark_openings(facts))
    return Release(
        facts.tag, request, decision, consent, running, previous, sealed, late=None if late is None else BlockTime(late)
    )


def check_mark(facts: MarkFacts, mark: Release) -> None:
    """Raises OpeningError unless the mark commits to exactly these facts."""
    if mark_of(facts, mark.late) != mark:
        raise OpeningError(f"what was opened of mark {facts.n} is not what its tag {facts.tag.hex()} commits to")


def receipt_of(facts: ReceiptFacts) -> Receipt:
    """The transaction that stands for these facts. Raises OpeningError when there is not a salt for each."""
    if len(facts.salts) != len(_RECEIPT):
        raise OpeningError(f"expected {len(_RECEIPT)} salts of a receipt, got {len(facts.salts)}")
    values = (facts.tag, facts.sealed, facts.decision)
    tag, sealed, decision = (commit(*each) for each in zip(_RECEIPT, facts.salts, values, strict=True))
    return Receipt(tag, sealed, decision)


def decisions_bytes(decisions: Mapping[bytes, Decision]) -> bytes:
    """What was decided, for mark and bundle: [[record id, decision], ...], by id."""
    return encode([[key, decisions[key].to_value()] for key in sorted(decisions)])


def decision_digest(decisions: bytes) -> Digest:
    """What a mark commits to of them."""
    return digest("commonward decisions v1", decisions)
