"""Breaking the glass, at the requester: an emergency, a reason, a mark first, notice at once, and a review by others.

The `BreakGlass` stands on the ledger before the custodian releases anything. When the ledger is away the durable
local log and the signed request stand for it, and both marks follow, late. Care comes first; silence is impossible.
"""

from dataclasses import dataclass, replace

from commonward.ledger.audit import BreakGlass, LateOutOfBounds, Review
from commonward.ledger.ids import BlockTime, Handle, MemberId, Tag
from commonward.ledger.parameters import Parameter
from commonward.ledger.rules import DAY
from commonward.records.certificates import SignedStatement
from commonward.records.openings import commit
from commonward.workflows import commitments
from commonward.workflows.copies import Copy
from commonward.workflows.mailbox import Mailbox
from commonward.workflows.member import Member
from commonward.workflows.member_log import Event
from commonward.workflows.messages import Asked, Mode, PaperKind, Request
from commonward.workflows.ports import LedgerAway, StaffSigner
from commonward.workflows.requests import Encounter, Requests
from commonward.workflows.sealing import Drawer
from commonward.workflows.submitting import LedgerRefused
from commonward.workflows.wire import Message


class GlassRefused(Exception):
    """The glass may not be broken, or not be reviewed, like this; the sentence says why."""


@dataclass(frozen=True, slots=True)
class GlassNotice(Message):
    """What the patient is told, at once."""

    requester: MemberId
    custodian: MemberId
    tag: Tag
    role: str
    department: str
    number: str
    reason: str
    at: int
    review_by: int


@dataclass(frozen=True, slots=True)
class GlassPaper(Message):
    """All this member knows of one glass it broke."""

    notice: GlassNotice
    handle: Handle
    statement: bytes
    salts: tuple[bytes, ...]  # of request, reason, staff
    index: int = -1  # of the BreakGlass; -1 while it is late
    late: int | None = None
    told: bool = False  # whether the patient's notice could be sealed
    finding: str | None = None
    reviewer: str | None = None
    refused: int | None = None  # when the ledger last said no


class BreakingGlass:
    """The requester's side for one member."""

    def __init__(self, member: Member, requests: Requests, mailbox: Mailbox) -> None:
        self._member = member
        self._requests = requests
        self._mailbox = mailbox
        self.glasses = Drawer(member.ports.vault, member.sealing, "glasses", GlassPaper)

    async def break_glass(
        self, staff: StaffSigner, encounter: Encounter, custodian: MemberId, reason: str
    ) -> tuple[Tag, Copy]:
        """1. durable log and notice, 2. the ledger (or late), 3. the custodian.

        Raises GlassRefused (role, no reason, the ledger's quota), RequestRefused, PeerAway, WrongDelivery.
        """
        tag = self.prepare(staff, encounter, custodian, reason)
        await self._mark(tag)
        return tag, await self._fetch(tag)

    def prepare(self, staff: StaffSigner, encounter: Encounter, custodian: MemberId, reason: str) -> Tag:
        """Step 1. Synchronous and durable: whatever happens next, that the glass was broken is written down."""
        member = self._member
        if not reason.strip():
            raise GlassRefused("give the reason: it goes to the patient and to the reviewer")
        tag = Tag(member.ports.entropy.bytes(32))
        statement = self._requests.request(
            staff, encounter, custodian, "ETREAT", Mode.DISPLAY, glass=tag, reason=reason
        )
        request = Request.parse(statement.statement)
        person = member.reading.staff(statement, member.id, request.at)
        if person.role != "clinician":
            raise GlassRefused(f"a clinician breaks the glass, not a {person.role}")
        review_by = request.at + member.practice.review_within_ms
        notice = GlassNotice(
            member.id, custodian, tag, person.role, person.department, person.number, reason, request.at, review_by
        )
        salts = tuple(member.ports.entropy.bytes(32) for _ in range(3))
        paper = GlassPaper(notice, encounter.handle, statement.to_bytes(), salts)
        with member.ports.vault.transaction():
            told = self._mailbox.post(encounter.handle, PaperKind.GLASS, tag, notice.to_bytes())
            self.glasses.put(tag, replace(paper, told=told), under=encounter.handle)
            member.log.note(
                Event.GLASS_BROKEN, f"{custodian}: {reason}", who=person.number, staff=person.revocation,
                handle=encounter.handle, request=request.digest(),
            )  # fmt: skip
        member.ports.steps.reach("glass.logged")
        return tag

    async def _mark(self, tag: Tag) -> GlassPaper:
        """Step 2. The ledger away: it follows, late."""
        paper = self._paper(tag)
        if paper.index >= 0:
            return paper
        key = b"glass" + tag
        try:
            landed = await self._member.submitter.land(key, self._payload(paper), step="glass")
        except LedgerAway:
            if paper.late is None:
                paper = replace(paper, late=paper.notice.at)
                self.glasses.put(tag, paper, under=paper.handle)
            return paper
        except LedgerRefused as refused:
            if refused.code == LateOutOfBounds.code and paper.late is not None and self._not_too_old(paper.late):
                # As of a time to come: a block's time lies back where the ledger stood. Signed anew at the next tick.
                self._member.submitter.done(key)
                return paper
            with self._member.ports.vault.transaction():
                self.glasses.put(tag, replace(paper, refused=self._member.now()), under=paper.handle)
                self._member.submitter.done(key)
            raise GlassRefused(str(refused)) from refused
        paper = replace(paper, index=landed.index)
        with self._member.ports.vault.transaction():
            self.glasses.put(tag, paper, under=paper.handle)
            self._member.submitter.done(key)
        self._member.ports.steps.reach("glass.marked")
        return paper

    def _not_too_old(self, late: int) -> bool:
        return late > self._member.ports.ledger.tip_time() - self._member.reading.parameter(Parameter.LATE_BY)

    def _payload(self, paper: GlassPaper) -> BreakGlass:
        request = Request.parse(SignedStatement.parse(paper.statement).statement)
        notice = paper.notice
        by_request, by_reason, by_staff = paper.salts
        review_by = notice.review_by
        if paper.late is not None:  # the deadline counts from when the ledger can know
            review_by = self._member.now() + self._member.practice.review_within_ms
        return BreakGlass(
            notice.tag,
            BlockTime(review_by),
            commit(commitments.GLASS_REQUEST, by_request, request.digest()),
            commit(commitments.GLASS_REASON, by_reason, notice.reason),
            commit(commitments.GLASS_STAFF, by_staff, SignedStatement.parse(paper.statement).certificate),
            None if paper.late is None else BlockTime(min(paper.late, self._member.now())),  # our clock was ahead
        )

    async def _fetch(self, tag: Tag) -> Copy:
        """Step 3."""
        paper = self._paper(tag)
        seen = None if paper.index < 0 else paper.index + 1
        return await self._requests.send(paper.notice.custodian, Asked(paper.statement, (), paper.salts[0], seen))

    async def finish(self) -> None:
        """At start and at each tick: marks that were late follow; patients with a key by now are told."""
        for tag, paper in list(self.glasses.every()):
            if paper.index < 0 and self._may_land(paper):
                try:
                    paper = await self._mark(Tag(tag))
                except GlassRefused as refused:
                    self._member.log.note(
                        Event.FLAGGED, f"a broken glass is not marked: {refused}", handle=paper.handle
                    )
                    paper = self._paper(Tag(tag))
            if not paper.told and self._mailbox.post(paper.handle, PaperKind.GLASS, tag, paper.notice.to_bytes()):
                self.glasses.put(tag, replace(paper, told=True), under=paper.handle)

    def _may_land(self, paper: GlassPaper) -> bool:
        """One that was refused got nothing and stays as it is; one that was used all the same is tried once a day,
        for the quota is by day."""
        if paper.refused is None:
            return True
        return paper.late is not None and self._member.now() // DAY > paper.refused // DAY

    async def review(self, staff: StaffSigner, tag: Tag, finding: str) -> GlassPaper:
        """Other staff look at it and close it. Raises GlassRefused, LedgerAway."""
        paper = self._paper(tag)
        member = self._member
        statement = self._requests.statement(staff, b"commonward review v1\0" + tag + finding.encode())
        person = member.reading.staff(statement, member.id, member.now())
        if person.number == paper.notice.number:
            raise GlassRefused("who broke the glass does not review it")
        by_finding, by_reviewer = (member.sealing.secret("review", tag, n) for n in range(2))
        payload = Review(
            tag,
            commit(commitments.FINDING, by_finding, finding),
            commit(commitments.REVIEWER, by_reviewer, statement.to_bytes()),
        )
        key = b"review" + tag
        try:
            await member.submitter.land(key, payload)
        except LedgerRefused as refused:
            raise GlassRefused(str(refused)) from refused
        paper = replace(paper, finding=finding, reviewer=person.number)
        with member.ports.vault.transaction():
            self.glasses.put(tag, paper, under=paper.handle)
            member.submitter.done(key)
            member.log.note(Event.REVIEWED, finding, who=person.number, staff=person.revocation, handle=paper.handle)
        return paper

    def open(self) -> list[GlassPaper]:
        """Those nobody has reviewed yet."""
        return [paper for _, paper in self.glasses.every() if paper.finding is None]

    def _paper(self, tag: Tag) -> GlassPaper:
        paper = self.glasses.get(tag)
        if paper is None:
            raise GlassRefused(f"no glass {tag.hex()} was broken here")
        return paper
