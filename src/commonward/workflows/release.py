"""Release, at the custodian: nothing leaves before its mark stands on the ledger and a quorum cosigned it.

    1 proven live    2 decide    3 check against the anchor    4 seal and store    5 mark    6 cosigned
    7 deliver        8 receipt

One mark a bundle. Step 4 is one vault transaction: the running number, the previous mark and the sealed bytes are
durable before anything is submitted, so a kill at any step leads, when the request comes again, to the same mark and
the same bytes. Ledger away: treatment within grace leaves with a mark that follows, late.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from commonward.ledger.audit import LateOutOfBounds
from commonward.ledger.encoding import Digest
from commonward.ledger.ids import Handle, MemberId, Purpose, Tag
from commonward.ledger.parameters import Parameter
from commonward.records.decide import Decision, compile_rules
from commonward.records.envelope import pad, seal_to, size_class
from commonward.workflows import commitments
from commonward.workflows.captured import Captured, capture, release_keys
from commonward.workflows.consent import Openings
from commonward.workflows.holdings import Held, Holdings
from commonward.workflows.identity import Link, mark_tag
from commonward.workflows.judging import Judged, Refused, judge, parse
from commonward.workflows.liveness import Standing, settled, standing
from commonward.workflows.member import Member
from commonward.workflows.member_log import Event
from commonward.workflows.messages import (
    Answer,
    Bundle,
    Delivery,
    MarkFacts,
    MarkState,
    PatientMark,
    SentRecord,
    Why,
    delivery_info,
    sealed_digest,
)
from commonward.workflows.ports import LedgerAway, MarkRow
from commonward.workflows.ports import MarkState as State
from commonward.workflows.reading import transaction_of
from commonward.workflows.submitting import LedgerRefused
from commonward.workflows.wire import Message

ZERO = Digest(bytes(32))
_ANSWER_FLOOR = 256

_CATCH_UP_MS = 2_000
"""How long an answer waits for our node to reach the block that the asker saw."""

_AHEAD = 4_096
"""By how many leaves an asker's node may be ahead of ours. What is further is made up, and nothing waits for it."""


@dataclass(frozen=True, slots=True)
class MarkPaper(Message):
    """All this custodian knows of one mark."""

    facts: MarkFacts
    requester: MemberId
    purpose: str
    role: str
    department: str
    number: str
    at: int
    records: tuple[bytes, ...]  # ids of what was sent, for recalls
    kinds: tuple[str, ...]
    decisions: bytes
    late: int | None = None  # when it left, if that was before its mark
    glass: Tag | None = None
    reason: str | None = None
    index: int = -1
    void: bool = False
    offered: MarkFacts | None = None  # of a void mark: what its first attempt said
    seen: Captured | None = None  # what the state showed when it was reserved, for evidence
    refused: int | None = None  # the code with which the ledger last refused this mark, once that was noted


class _Walk:
    """Who is on the road of one mark, and who waits for it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0


class Releases:
    """The custodian's side for one member."""

    def __init__(self, member: Member, openings: Openings, holdings: Holdings) -> None:
        self._member = member
        self._openings = openings
        self._holdings = holdings
        self._walking: dict[bytes, _Walk] = {}

    @asynccontextmanager
    async def _one_at_a_time(self, request: bytes) -> AsyncIterator[None]:
        """One walk along a mark's road at a time: a resend, and the sweep at each tick, wait or find it done."""
        walk = self._walking.setdefault(request, _Walk())
        walk.waiting += 1
        try:
            async with walk.lock:
                yield
        finally:
            walk.waiting -= 1
            if not walk.waiting:
                self._walking.pop(request, None)

    async def answer(self, asker: MemberId, body: bytes) -> bytes:
        """Answers one request: always the same form, padded to a size class, on a grid of time.

        Refusals leave on a coarser grid: several thousand records that are all withheld take longer to judge than
        none, and nothing may tell them apart.
        """
        pace = self._member.ports.pace
        started, grid = pace.start(), self._member.practice.answer_grid_ms
        try:
            answer = await self._answer(asker, body)
        except Refused as refused:
            answer, grid = Answer(why=refused.why), self._member.practice.refusal_grid_ms
            self._member.log.note(Event.RELEASE_REFUSED, f"{asker}: {refused.why.name}: {refused.detail}")
        await pace.settle(started, grid)
        return _padded(answer)

    async def _answer(self, asker: MemberId, body: bytes) -> Answer:
        member = self._member
        asked, statement, request = parse(member, asker, body)
        if asked.seen is not None and asked.seen <= member.ports.ledger.recent()[0] + _AHEAD:
            # The asker's node saw it: ours is at most some blocks behind.
            with suppress(LedgerAway):
                await member.ports.ledger.cosigned(asked.seen, _CATCH_UP_MS)
        self._openings.take_early(request.handle)
        live, shown = await settled(member)  # 1. proven live
        judged = judge(member, asked, statement, request, live, shown)
        async with self._one_at_a_time(request.digest()):
            row = member.ports.vault.mark_for(request.digest())
            if row is None:
                row = self._prepare(judged)
            elif row.state in (State.RESERVED, State.COMMITTED):  # nothing left yet
                self._check_still(judged, row)
            return await self._carry_on(row)

    # steps 2 to 4: synchronous from reading the last mark to reserving the next, so no other request comes between

    def _decide(self, judged: Judged) -> tuple[Link, list[Held], dict[bytes, Decision]]:
        member, request = self._member, judged.request
        link = member.identity.linked(request.handle)
        glass = request.glass is not None
        if link is None:
            raise Refused(Why.NOTHING, "this handle is not linked here")
        if not glass and member.ports.ledger.awaits_past():
            raise Refused(Why.NOTHING, "what patients signed before this node's snapshot is not here yet")
        if not glass and self._openings.unopened(request.handle):
            self._openings.note_unopened(request.handle)
            raise Refused(Why.NOTHING, "something the patient signed has not been opened here yet")
        givens = self._openings.givens(request.handle, None if glass else request.consent)
        decider = compile_rules(judged.ask, givens, member.jurisdiction)
        held = self._holdings.of(link.handle)
        return link, held, self._holdings.decide(held, decider)

    def _check_still(self, judged: Judged, row: MarkRow) -> None:
        """What was reserved and never left may have been forbidden since."""
        _, _, decisions = self._decide(judged)
        now = frozenset(key for key, decision in decisions.items() if decision.permit)
        if not now.issuperset(self.paper(row).records):
            raise Refused(Why.NOTHING, "what was reserved may not go any more")

    def _prepare(self, judged: Judged) -> MarkRow:
        member = self._member
        link, held, decisions = self._decide(judged)  # 2. decide
        permitted = [each for each in held if decisions[each.id].permit]
        sound = [each for each in permitted if self._holdings.is_sound(each)]  # 3. check against the anchor
        if not sound:
            raise Refused(Why.NOTHING, f"none of {len(held)} records may go")
        member.ports.steps.reach("release.decided")
        shown = {each.id: decisions[each.id] for each in sound}
        return self._reserve(judged, link, sound, commitments.decisions_bytes(shown))  # 4. seal and store

    def _reserve(self, judged: Judged, link: Link, records: list[Held], decisions: bytes) -> MarkRow:
        member, request = self._member, judged.request
        vault, entropy = member.ports.vault, member.ports.entropy
        last = vault.last_mark(link.handle)
        n = last.n + 1 if last else 1
        previous = self.paper(last).facts.digest() if last else ZERO
        tag = mark_tag(link.tag_key, n)
        salts = tuple(entropy.bytes(32) for _ in range(6))
        late = member.now() if judged.late else None
        bundle = Bundle(
            entropy.bytes(16), tag, request.digest(), request.handle, request.consent, judged.ask.at, decisions,
            salts[:3], tuple(self._sent(each) for each in records), judged.late,
        )  # fmt: skip
        public = member.reading.hpke_key(request.requester)
        if public is None:
            raise Refused(Why.STAFF, f"{request.requester} has no sealing key that counts now")
        info = delivery_info(member.ports.ledger.line, member.id, request.requester, tag)
        sealed = seal_to(public, info, pad(bundle.to_bytes(), floor=_ANSWER_FLOOR))
        facts = MarkFacts(
            tag, judged.statement.to_bytes(), commitments.decision_digest(decisions), request.consent, n, previous,
            sealed_digest(sealed), salts,
        )  # fmt: skip
        staff = judged.staff
        paper = MarkPaper(
            facts, request.requester, request.purpose, staff.role, staff.department,
            staff.number, member.now(), tuple(each.id for each in records),
            tuple(sorted({each.known.resource_type for each in records})), decisions, late, request.glass,
            request.reason,
        )  # fmt: skip
        paper = replace(paper, seen=self._capture(judged))
        state = State.LATE if judged.late else State.RESERVED
        row = MarkRow(link.handle, n, tag, request.digest(), state, b"", Delivery(tag, sealed, salts[5]).to_bytes())
        row = replace(row, sealed=self._seal(row, paper))
        with vault.transaction():
            vault.reserve_mark(row)
            if judged.late:
                event = Event.GLASS_BROKEN if request.glass else Event.GRACE_USED
                self._note(event, row, paper, "released before its mark: the ledger was away")
            member.ports.steps.reach("release.before-reserve")
        member.ports.steps.reach("release.reserved")
        return row

    def _capture(self, judged: Judged) -> Captured | None:
        request = judged.request
        _, _, author = self._member.ports.keys.public(Purpose.OPERATE)
        keys = release_keys(judged.statement, request.requester, request.consent, author)
        return capture(self._member.ports.ledger, keys)

    def _sent(self, held: Held) -> SentRecord:
        return SentRecord(
            held.thing, held.id, held.version, held.stored, held.salt, self._holdings.anchor(held),
            self._holdings.replaced_by(held),
        )  # fmt: skip

    # steps 5 to 7: may be walked again from any point

    async def _carry_on(self, row: MarkRow) -> Answer:
        if row.state is State.VOID:
            raise Refused(Why.NOTHING, "this request's mark was made void")
        if row.state is State.RESERVED:
            try:
                row = await self._mark(row, deliver=True)  # 5. mark, 6. cosigned
            except LedgerAway as away:
                raise Refused(Why.NOT_LIVE, str(away)) from away
        if row.state is State.COMMITTED:
            try:
                await self._member.ports.ledger.cosigned(
                    self.paper(row).index + 1, self._member.practice.cosign_wait_ms
                )
            except LedgerAway as away:
                raise Refused(Why.NOT_LIVE, str(away)) from away
            self._member.ports.steps.reach("release.cosigned")
            row = self._change(row, State.DELIVERED, self.paper(row), note=Event.RELEASED)
        self._member.ports.steps.reach("release.delivering")
        if not row.delivery:
            raise Refused(Why.NOTHING, "something in this bundle was erased since: ask anew for the rest")
        return Answer(delivery=row.delivery, index=self.paper(row).index)  # 7. deliver: the same bytes every time

    async def _mark(self, row: MarkRow, *, deliver: bool = False) -> MarkRow:
        """Brings a mark onto the ledger; with `deliver`, on to where it may leave. Raises LedgerAway, LedgerRefused."""
        member, paper = self._member, self.paper(row)
        key = b"mark" + row.handle + row.n.to_bytes(8, "big")
        # Late at a time to come: our clock was ahead when it left. The mark says when it is right again.
        late = None if paper.late is None else min(paper.late, member.now())
        try:
            committed = await member.submitter.land(key, commitments.mark_of(paper.facts, late), step="release.mark")
        except LedgerRefused as refused:
            if refused.code == LateOutOfBounds.code and late is not None:
                # Refused as of a time to come (a block's time lies back where the ledger stood for a while), unless it
                # is too old by now, which no block will mend.
                oldest = member.ports.ledger.tip_time() - member.reading.parameter(Parameter.LATE_BY)
                if late > oldest:
                    member.submitter.done(key)  # signed anew at the next tick
            raise
        state = State.COMMITTED if row.state is State.RESERVED else State.DELIVERED
        if paper.void:
            state = State.VOID
            if paper.offered is not None and self._stands(committed.index, paper.offered):
                # The first attempt had landed after all. It opens to what was offered and never sent.
                paper = replace(paper, facts=paper.offered)
        paper = replace(paper, index=committed.index)
        member.ports.steps.reach("release.marked")
        if deliver and state is State.COMMITTED:
            # One write for both steps. Killed before it, the next walk finds the mark on the ledger by what was signed.
            try:
                await member.ports.ledger.cosigned(paper.index + 1, member.practice.cosign_wait_ms)
            except LedgerAway:
                self._change(row, state, paper, done=key)
                raise
            member.ports.steps.reach("release.cosigned")
            return self._change(row, State.DELIVERED, paper, done=key, note=Event.RELEASED)
        return self._change(row, state, paper, done=key)

    def _stands(self, index: int, facts: MarkFacts) -> bool:
        entry = self._member.ports.ledger.entry(index)
        return entry is not None and transaction_of(entry).payload == commitments.mark_of(facts)

    def _change(
        self,
        row: MarkRow,
        state: State,
        paper: MarkPaper,
        *,
        done: bytes | None = None,
        note: Event | None = None,
        flagged: str = "",
    ) -> MarkRow:
        row = replace(row, state=state)
        row = replace(row, sealed=self._seal(row, paper))
        with self._member.ports.vault.transaction():
            self._member.ports.vault.change_mark(row)
            if done is not None:
                self._member.submitter.done(done)
            if note is not None:
                self._note(note, row, paper, f"{len(paper.records)} records to {paper.requester} for {paper.purpose}")
            if flagged:
                self._member.log.note(Event.FLAGGED, flagged, handle=row.handle)
        return row

    def _note(self, event: Event, row: MarkRow, paper: MarkPaper, detail: str) -> None:
        self._member.log.note(
            event, detail, who=f"{paper.requester}/{paper.number}", handle=row.handle, request=row.request
        )

    # at rest

    def _seal(self, row: MarkRow, paper: MarkPaper) -> bytes:
        return self._member.sealing.seal("mark", row.handle + row.n.to_bytes(8, "big"), paper.to_bytes())

    def paper(self, row: MarkRow) -> MarkPaper:
        """What was kept with a mark. Raises Altered."""
        opened = self._member.sealing.open("mark", row.handle + row.n.to_bytes(8, "big"), row.sealed)
        return MarkPaper.parse(opened)

    # what is left over

    async def finish(self) -> None:
        """Brings every reserved mark to its end: called at start and at each tick.

        A release that left late gets its mark. One that was reserved and never delivered gets its mark too while its
        consent stands (the asker may come again); else its number is made void, so that the line has no gap.
        """
        vault = self._member.ports.vault
        for row in [*vault.marks_in(State.LATE), *vault.marks_in(State.RESERVED)]:
            async with self._one_at_a_time(row.request):
                now = vault.mark_for(row.request)
                if now is not None and now.state is row.state:
                    await self._finish(now)

    async def _finish(self, row: MarkRow) -> None:
        if row.state is State.RESERVED and standing(self._member)[0] is not Standing.FRESH:
            return  # just started, or cut off: the consent may be gone already; the next tick knows
        try:
            if row.state is State.LATE or self._still_open(row):
                await self._mark(row)
            else:
                await self._void(row)
            return
        except LedgerRefused as cause:
            refused = cause
        if row.state is State.RESERVED and not self.paper(row).void:
            try:
                await self._void(row)
                return
            except LedgerRefused as cause:
                refused = cause
        self._note_refused(row.request, refused)

    def _note_refused(self, request: Digest, refused: LedgerRefused) -> None:
        """Once for each reason: a mark that can never land is tried at each tick and must not fill the log."""
        row = self._member.ports.vault.mark_for(request)
        if row is None or self.paper(row).refused == refused.code:
            return
        paper = replace(self.paper(row), refused=refused.code)
        self._change(row, row.state, paper, flagged=f"a mark was refused: {refused}")

    def _still_open(self, row: MarkRow) -> bool:
        paper = self.paper(row)
        return paper.glass is not None or self._member.reading.consent(paper.facts.consent) is not None

    async def _void(self, row: MarkRow) -> MarkRow:
        """The same number and tag, over nothing; what was sealed is forgotten first."""
        paper = self.paper(row)
        if not paper.void:
            void = replace(paper.facts, decision=ZERO, sealed=ZERO)
            paper = replace(paper, facts=void, offered=paper.facts, records=(), kinds=(), decisions=b"", void=True)
            row = replace(row, delivery=b"")
            row = self._change(row, State.RESERVED, paper)
        self._member.ports.steps.reach("release.voiding")
        return await self._mark(row)

    def receipted(self, tag: Tag) -> MarkRow | None:
        """The requester's receipt arrived."""
        row = self._member.ports.vault.mark_by_tag(tag)
        if row is None or row.state is not State.DELIVERED:
            return row
        return self._change(row, State.RECEIPTED, self.paper(row))

    # for the patient

    def line(self, handle: Handle, after: int, limit: int = 200) -> list[PatientMark]:
        """The patient's line of marks here, by number, from the one after `after`."""
        found = []
        for row in self._member.ports.vault.marks(handle, after + 1, limit):
            if row.state is State.RESERVED and self._member.ports.ledger.mark(row.tag, self._member.id) is None:
                break  # neither stands nor left: it is nothing yet
            found.append(self._line(self.paper(row)))
        return found

    def _line(self, paper: MarkPaper) -> PatientMark:
        state = MarkState.VOID if paper.void else MarkState.LATE if paper.late else MarkState.STANDS
        return PatientMark(
            self._member.id, paper.requester, paper.purpose, paper.role, paper.department, paper.number, paper.at,
            len(paper.records), paper.kinds, state, paper.facts, paper.glass, paper.reason,
        )  # fmt: skip

    def recipients(self, handles: frozenset[Handle], record: bytes) -> frozenset[MemberId]:
        """Everyone who received a record."""
        return frozenset(paper.requester for _, paper in self._bearing(handles, record))

    def forget(self, handles: frozenset[Handle], record: bytes) -> None:
        """Empties every bundle that holds a record, so that no resend brings it back. Joins the caller's transaction.

        The marks stay, and commit to what was delivered.
        """
        for row, _ in list(self._bearing(handles, record)):
            if row.delivery:
                self._member.ports.vault.change_mark(replace(row, delivery=b""))

    def _bearing(self, handles: frozenset[Handle], record: bytes) -> Iterator[tuple[MarkRow, MarkPaper]]:
        """Marks that bear a record. Recalls are rare, so the marks are read rather than a list kept."""
        for handle in sorted(handles):
            first = 1
            while rows := self._member.ports.vault.marks(handle, first, 500):
                for row in rows:
                    paper = self.paper(row)
                    if record in paper.records:
                        yield row, paper
                first = rows[-1].n + 1


def _padded(answer: Answer) -> bytes:
    """One form for all: filled to a size class, at least the floor."""
    bare = len(answer.to_bytes())
    wanted = size_class(bare + 8, _ANSWER_FLOOR)
    filled = replace(answer, padding=bytes(max(0, wanted - bare)))
    over = len(filled.to_bytes()) - wanted
    return replace(answer, padding=bytes(max(0, wanted - bare - over))).to_bytes()
