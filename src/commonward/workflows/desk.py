"""Where the other members' questions arrive: one path, one handler, nothing else answered."""

from collections.abc import Awaitable, Callable

from commonward.ledger.ids import MemberId
from commonward.records.openings import OpeningError
from commonward.workflows import messages
from commonward.workflows.consent import Openings
from commonward.workflows.deposits import DepositRefused
from commonward.workflows.holdings import Holdings
from commonward.workflows.mailbox import Mailbox, NotYours
from commonward.workflows.member import Member
from commonward.workflows.messages import (
    Noted,
    OpeningAck,
    OpeningDeposit,
    PaperKind,
    Papers,
    PapersWanted,
    PatientPaper,
    Proofs,
    ProofsWanted,
    RecallNotice,
    ReceiptFacts,
)
from commonward.workflows.ports import MarkState
from commonward.workflows.recall import Recalls
from commonward.workflows.release import Releases


class Refused(ValueError):
    """The question is not answered; the sentence may leave."""


class Desk:
    """`answer` fits `ports.Answer`: what a peers server calls."""

    def __init__(
        self, member: Member, openings: Openings, releases: Releases, holdings: Holdings, recalls: Recalls,
        mailbox: Mailbox,
    ) -> None:  # fmt: skip
        self._member = member
        self._openings = openings
        self._releases = releases
        self._holdings = holdings
        self._recalls = recalls
        self._mailbox = mailbox
        self.handlers: dict[str, Callable[[MemberId, bytes], Awaitable[bytes]]] = {
            messages.ASK: releases.answer,
            messages.OPENING: self._opening,
            messages.MAILBOX_LIST: self._papers,
            messages.MARKS: self._marks,
            messages.RECEIPT: self._receipt,
            messages.RECALL: self._recall,
            messages.LATER_PROOFS: self._proofs,
        }

    async def answer(self, asker: MemberId, path: str, body: bytes) -> bytes:
        """Raises Refused for a question that is none, ValueError for one that cannot be read."""
        handler = self.handlers.get(path)
        if handler is None:
            raise Refused(f"nothing is answered at {path!r}")
        return await handler(asker, body)

    async def _opening(self, asker: MemberId, body: bytes) -> bytes:
        deposit = OpeningDeposit.parse(body)
        if deposit.to != self._member.id:  # one hop: who got it from a patient brings it to the addressee itself
            raise Refused("openings are passed on once")
        try:
            return (await self._openings.arrive(deposit, asker)).to_bytes()
        except DepositRefused as cause:
            raise Refused(str(cause)) from cause
        except OpeningError:
            return OpeningAck.waits(deposit).to_bytes()

    async def _papers(self, asker: MemberId, body: bytes) -> bytes:
        try:
            return self._mailbox.list(PapersWanted.parse(body)).to_bytes()
        except NotYours as cause:
            raise Refused(str(cause)) from cause

    async def _marks(self, asker: MemberId, body: bytes) -> bytes:
        wanted = PapersWanted.parse(body)
        try:
            self._mailbox.check(wanted)
        except NotYours as cause:
            raise Refused(str(cause)) from cause
        papers = []
        for mark in self._releases.line(wanted.handle, wanted.after):
            sealed = self._mailbox.seal(wanted.handle, PaperKind.MARK, mark.to_bytes())
            if sealed is not None:
                papers.append(PatientPaper(wanted.handle, PaperKind.MARK, mark.facts.tag, sealed, mark.facts.n))
        return Papers(tuple(papers)).to_bytes()

    async def _receipt(self, asker: MemberId, body: bytes) -> bytes:
        facts = ReceiptFacts.parse(body)
        row = self._member.ports.vault.mark_by_tag(facts.tag)
        if row is None or facts.requester != asker or self._releases.paper(row).requester != asker:
            raise Refused("no release of ours to you bears that tag")
        self._releases.receipted(facts.tag)
        return Noted().to_bytes()

    async def _recall(self, asker: MemberId, body: bytes) -> bytes:
        notice = RecallNotice.parse(body)
        if notice.custodian != asker:
            raise Refused("a record is recalled by its custodian")
        return self._recalls.take(asker, notice).to_bytes()

    async def _proofs(self, asker: MemberId, body: bytes) -> bytes:
        """What was pending when it was released, for who received it."""
        row = self._member.ports.vault.mark_by_tag(ProofsWanted.parse(body).tag)
        if row is None or row.state in (MarkState.RESERVED, MarkState.VOID):
            raise Refused("no release of ours to you bears that tag")
        paper = self._releases.paper(row)
        if paper.requester != asker:
            raise Refused("no release of ours to you bears that tag")
        ids, anchors = [], []
        for record, (number, stored) in self._member.ports.vault.records(paper.records).items():
            anchor = self._member.anchoring.prove(number, stored.fingerprint)
            if anchor is not None:
                ids.append(record)
                anchors.append(anchor)
        return Proofs(tuple(ids), tuple(anchors), paper.index).to_bytes()
