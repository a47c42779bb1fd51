"""A patient's gate to the ledger over HTTPS: any member will do, and no member is believed.

Implements `workflows.gate.PatientGate`. What one member refuses to carry, the next does, so no custodian can block a
withdrawal. What a member shows of the ledger is believed under a quorum of the authority that follows from the pinned
genesis, in a log that continues what this wallet saw before. That something is *not* on the ledger cannot be proven:
several members are asked, and it takes all of them to hide it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from commonward.apps.signing import messages
from commonward.apps.signing.lines import Line, MemberAway
from commonward.apps.signing.messages import (
    MAX_TAGS,
    Carried,
    ConsentsWanted,
    EntryProof,
    EntryShown,
    EntryWanted,
    HandleWanted,
    KeyFound,
    KeyKept,
    KeyWanted,
    MarksShown,
    StateShown,
    TagsWanted,
    TagWanted,
)
from commonward.apps.signing.proven import (
    Forked,
    HandleShown,
    Members,
    MemberShown,
    NotProven,
    ProvenCells,
    Seen,
    Stale,
    check_entry,
    check_later,
    check_note,
    check_seen,
    check_state,
    read_handle,
    read_members,
)
from commonward.ledger.audit import BreakGlass, Release
from commonward.ledger.checkpoint import Checkpoint, Quorum
from commonward.ledger.consent import ConsentRecord, Consents
from commonward.ledger.ids import ConsentId, Digest, Handle, KeyId, LedgerId, MemberId, MemberKind, Purpose, Tag
from commonward.ledger.transactions import parse_transaction
from commonward.records.trust import Trust, TrustFile, TrustRefused, TrustUnreadable, load_trust
from commonward.workflows.messages import (
    Noted,
    OpeningAck,
    OpeningDeposit,
    Papers,
    PapersWanted,
    Relayed,
    acknowledges,
)
from commonward.workflows.ports import Clock, Entry, PeerAway
from commonward.workflows.reading import transaction_of
from commonward.workflows.wire import Message

__all__ = ["Memory", "NobodyAnswers", "RemoteGate"]

FRESH_MS: Final = 5 * 60_000
"""A context older than this is used only when no member shows a fresher one, and the page says so."""

CONTEXT_LASTS_MS: Final = 20_000
WITNESSES: Final = 3
"""Members who must say that something is not on the ledger, when so many answer."""

T = TypeVar("T")


class NobodyAnswers(PeerAway):
    """No member did what was asked; the text has each one's reason."""


class Memory(NamedTuple):
    """What a wallet remembers between two sessions: the newest checkpoint it believed, and its trust file."""

    seen: Seen
    trust: bytes


@dataclass(frozen=True, slots=True)
class _Context:
    """Of one block: the members, the checkpoint that proves them, and when a quorum of them last stood by it (ms)."""

    members: Members
    checkpoint: Checkpoint
    fresh: int
    taken: int


class _Mark(NamedTuple):
    """What was found out of a tag, and when (ms)."""

    entry: Entry | None
    taken: int


class RemoteGate:
    """Not for several threads at once."""

    def __init__(
        self,
        lines: Mapping[MemberId, Line],
        clock: Clock,
        genesis: bytes,
        *,
        memory: Memory | None = None,
        remember: Callable[[Memory], None] = lambda _: None,
    ) -> None:
        """`genesis`: the pinned genesis file. `lines`: in the order to try. `remember`: keeps `Memory` durably.

        Raises TrustUnreadable or TrustRefused when genesis or the remembered trust file is not sound.
        """
        pinned = load_trust(TrustFile(genesis).to_bytes())
        self._trust = load_trust(memory.trust) if memory is not None and memory.trust else pinned
        if not self._trust.follows(pinned.ledger_id):
            raise TrustRefused(
                f"expected a trust file of ledger {pinned.ledger_id.hex()}, got one of {self._trust.ledger_id.hex()}"
            )
        self._trust_bytes = memory.trust if memory is not None else b""
        self._seen = memory.seen if memory is not None else Seen()
        self._lines = dict(lines)
        self._order = list(lines)
        self._clock = clock
        self._remember = remember
        self._context: _Context | None = None
        self._marks: dict[TagWanted, _Mark] = {}
        self._asked_after: dict[tuple[str, MemberId], int] = {}
        self.followed: LedgerId | None = None
        """The ledger before, when the members' move from it to another was seen, proven and followed just now."""
        self.doubts: list[tuple[MemberId, str]] = []
        """Members that said what they could not prove, in words: to be shown to the patient."""

    def close(self) -> None:
        for line in self._lines.values():
            line.close()

    # ------------------------------------------------------------------------------------------------- asking around

    def _one_by_one(self, job: Callable[[Line], T], what: str, first: MemberId | None = None) -> T:
        """The first member that does it. Who fails is asked last from then on. Raises NobodyAnswers, Forked."""
        reasons = []
        for line in self._from(first):
            try:
                return job(line)
            except (PeerAway, NotProven) as why:
                self._failed(line.member, why)
                reasons.append(str(why))
        raise NobodyAnswers(f"no member could {what}: {'; '.join(reasons) or 'none is known'}")

    def _from(self, first: MemberId | None = None) -> list[Line]:
        order = sorted(self._order, key=lambda member: member != first)
        return [self._lines[member] for member in order]

    def _failed(self, member: MemberId, why: Exception) -> None:
        if isinstance(why, Forked):
            raise why
        if isinstance(why, NotProven) and not isinstance(why, Stale):
            self.doubts.append((member, str(why)))
        self._order.remove(member)
        self._order.append(member)

    # --------------------------------------------------------------------------------------------------- believing

    @property
    def ledger_id(self) -> LedgerId:
        return self._trust.ledger_id

    @property
    def line(self) -> LedgerId:
        return self._trust.genesis.line

    @property
    def trust(self) -> Trust:
        return self._trust

    @property
    def seen(self) -> Seen:
        return self._seen

    def _believe(self, line: Line, note: bytes) -> tuple[Checkpoint, Quorum]:
        """Raises NotProven, Forked. Fetches what the authority has become where the known one does not suffice."""
        try:
            found = check_note(note, self._trust)
        except NotProven:
            if not self._learn_trust(line):
                raise
            found = check_note(note, self._trust)
        check_seen(found[0], self._seen)
        return found

    def _learn_trust(self, line: Line) -> bool:
        """Whether the member's trust file proves changes of authority that were not known.

        One of them may be that the members went on to another ledger: then its genesis names the last checkpoint of
        the one that is trusted here, which a quorum of its members cosigned, and members with more than two thirds of
        its weight signed that genesis (`records.succession`). Nobody need be asked: fewer could not move one leaf.
        """
        data = line.get_bytes(messages.TRUST)
        try:
            trust = load_trust(data)
        except (TrustUnreadable, TrustRefused) as cause:
            raise NotProven(f"its trust file does not convince: {cause}") from cause
        if not trust.follows(self._trust.ledger_id):
            raise NotProven("its trust file is of another ledger than the pinned one")
        if len(trust.epochs) <= len(self._trust.epochs):
            return False
        if trust.ledger_id != self._trust.ledger_id:
            self.followed = self._trust.ledger_id
        self._trust, self._trust_bytes = trust, data
        self._remember(Memory(self._seen, self._trust_bytes))
        return True

    def _take_context(self, line: Line) -> _Context:
        shown = line.get(messages.CONTEXT, StateShown, since=self._seen.size)
        checkpoint, quorum = self._believe(line, shown.note)
        seen = check_later(checkpoint, self._seen, shown.consistency)
        cells, at = check_state(shown, checkpoint)
        members = read_members(cells, at)
        if members.epoch > self._trust.epochs[-1][1].epoch:
            self._learn_trust(line)
        if seen != self._seen:
            self._seen = seen
            self._remember(Memory(seen, self._trust_bytes))
        return _Context(members, checkpoint, quorum.fresh_time, self.now())

    def _now_context(self) -> _Context:
        known = self._context
        if known is not None and 0 <= self.now() - known.taken < CONTEXT_LASTS_MS:
            return known
        return self.refresh()

    def refresh(self) -> _Context:
        """Asks anew: a fresh context if any member shows one, else the freshest there is. Raises NobodyAnswers."""
        best: list[_Context] = []

        def take(line: Line) -> _Context:
            context = self._take_context(line)
            best.append(context)
            if self.now() - context.fresh > FRESH_MS:
                raise Stale(f"the ledger was last cosigned at {context.fresh} ms, more than {FRESH_MS} ms ago")
            return context

        try:
            self._context = self._one_by_one(take, "show the ledger's head")
        except NobodyAnswers:
            if not best:
                raise
            self._context = max(best, key=lambda context: (context.fresh, context.checkpoint.size))
        return self._context

    @property
    def fresh_ms(self) -> int:
        """When a quorum of the members last stood by what is shown (ms since 1970)."""
        return self._now_context().fresh

    @property
    def is_fresh(self) -> bool:
        return self.now() - self.fresh_ms <= FRESH_MS

    # ------------------------------------------------------------------------------------------- PatientGate: reading

    def recent(self) -> tuple[int, Digest]:
        """The believed checkpoint itself, so that a signature never names what a quorum has not seen."""
        checkpoint = self._now_context().checkpoint
        return checkpoint.size, checkpoint.root

    def now(self) -> int:
        """This device's clock: a member's word about the time could stretch a consent."""
        return self._clock.now()

    def members(self) -> Sequence[tuple[MemberId, MemberKind, bytes]]:
        shown = self._now_context().members.active
        return [(each.id, each.kind, each.hpke) for each in shown if each.hpke is not None]

    def shown_members(self) -> tuple[MemberShown, ...]:
        """The active members with names and origins."""
        return self._now_context().members.active

    def handle(self, handle: Handle) -> HandleShown:
        """What the ledger holds of a handle now: its passkeys, holds, a recovery under way."""

        def ask(line: Line) -> HandleShown:
            return read_handle(self._cells(line, messages.HANDLES, HandleWanted(handle)), handle)

        return self._one_by_one(ask, "show the handle")

    def sealing_of(self, handle: Handle) -> bytes | None:
        record = self.handle(handle).record
        return None if record is None else record.sealing

    def consents(self, consents: Sequence[ConsentId]) -> dict[ConsentId, ConsentRecord | None]:
        """Of each, what the ledger holds now; None for one that is not open."""

        def ask(line: Line) -> dict[ConsentId, ConsentRecord | None]:
            found = Consents(self._cells(line, messages.CONSENTS, ConsentsWanted(tuple(consents))))
            return {consent: found.get(consent) for consent in consents}

        return self._one_by_one(ask, "show the consents") if consents else {}

    def _cells(self, line: Line, path: str, asked: Message) -> ProvenCells:
        """State that is at least as new as what was seen. Raises PeerAway, NotProven."""
        self._now_context()
        shown = line.ask(path, asked, StateShown)
        checkpoint, _ = self._believe(line, shown.note)
        # `shown.index` is a block's last leaf: state before the newest believed block could hide what came since.
        if shown.index + 1 < self._seen.size:
            raise Stale(f"expected the state at size {self._seen.size} at least, got that at {shown.index + 1}")
        return check_state(shown, checkpoint)[0]

    def mark(self, tag: Tag, member: MemberId) -> Entry | None:
        wanted = TagWanted(tag, member)
        held = self._marks.get(wanted)
        if held is not None and 0 <= self.now() - held.taken < CONTEXT_LASTS_MS:
            return held.entry
        return self.look_up([wanted])[wanted]

    def look_up(self, tags: Sequence[TagWanted]) -> dict[TagWanted, Entry | None]:
        """The marks of these members under these tags, asked for together and remembered for a moment."""
        found: dict[TagWanted, Entry | None] = {}
        for at in range(0, len(tags), MAX_TAGS):
            found |= self._marks_of(tags[at : at + MAX_TAGS])
        now = self.now()
        self._marks |= {tag: _Mark(entry, now) for tag, entry in found.items()}
        return found

    def _marks_of(self, tags: Sequence[TagWanted]) -> dict[TagWanted, Entry | None]:
        """A mark that any member proves; none where the members asked all say there is none. Raises NobodyAnswers."""
        found: dict[TagWanted, Entry | None] = dict.fromkeys(tags)

        def ask(line: Line) -> bool:
            missing = tuple(tag for tag, entry in found.items() if entry is None)
            shown = line.ask(messages.MARKS, TagsWanted(missing), MarksShown)
            for proof in shown.entries:
                entry = self._checked(line, proof)
                payload = transaction_of(entry).payload
                if entry.code != 0 or not isinstance(payload, Release) or entry.member is None:
                    raise NotProven(f"log entry {entry.index} is not what was asked for")
                asked = TagWanted(payload.tag, entry.member)
                if asked not in missing:
                    raise NotProven(f"log entry {entry.index} is not what was asked for: {entry.member}'s mark")
                found[asked] = entry
            if all(entry is not None for entry in found.values()):
                return True
            self._recent_enough(line, shown.note)
            return False

        self._ask_witnesses(ask)
        return found

    def broken_glass(self, tag: Tag, member: MemberId) -> Entry | None:
        def fits(entry: Entry) -> bool:
            payload = transaction_of(entry).payload
            return isinstance(payload, BreakGlass) and payload.tag == tag and entry.member == member

        return self._look(messages.GLASSES, TagWanted(tag, member), fits)

    def entry(self, index: int) -> Entry | None:
        return self._look(messages.ENTRIES, EntryWanted(index), lambda entry: entry.index == index, accepted=False)

    def _look(self, path: str, asked: Message, fits: Callable[[Entry], bool], *, accepted: bool = True) -> Entry | None:
        """An entry that any member proves; None when the members asked all say there is none. Raises NobodyAnswers."""
        found: list[Entry] = []

        def ask(line: Line) -> bool:
            shown = line.ask(path, asked, EntryShown)
            if shown.entry is None:
                self._recent_enough(line, shown.note)
                return False
            entry = self._checked(line, shown.entry)
            if not fits(entry) or (accepted and entry.code != 0):
                raise NotProven(f"log entry {entry.index} is not what was asked for")
            found.append(entry)
            return True

        self._ask_witnesses(ask)
        return found[0] if found else None

    def _ask_witnesses(self, ask: Callable[[Line], bool]) -> None:
        """Asks members until one shows all, or enough say that there is no more. Raises NobodyAnswers."""
        self._now_context()
        heard, reasons = 0, []
        for line in self._from():
            try:
                if ask(line):
                    return
            except (PeerAway, NotProven) as why:
                self._failed(line.member, why)
                reasons.append(str(why))
                continue
            heard += 1
            if heard == WITNESSES:
                return
        if not heard:
            raise NobodyAnswers(f"no member could show the entry: {'; '.join(reasons) or 'none is known'}")

    def _recent_enough(self, line: Line, note: bytes) -> None:
        """That something is not there counts as of the newest checkpoint seen, and not before. Raises Stale."""
        checkpoint, _ = self._believe(line, note)
        if checkpoint.size < self._seen.size:
            raise Stale(f"it says so as of size {checkpoint.size}; size {self._seen.size} was seen before")

    def _checked(self, line: Line, shown: EntryProof) -> Entry:
        checkpoint, _ = self._believe(line, shown.note)
        return check_entry(shown, checkpoint, self._signer)

    def _signer(self, key: KeyId) -> MemberId | None:
        if (held := self._now_context().members.signers.get(key)) is not None:
            return held.member
        member, genesis_key = self._trust.keys.get(key, (None, None))
        return member if genesis_key is not None and genesis_key.purpose == Purpose.OPERATE else None

    # ------------------------------------------------------------------------------------------- PatientGate: writing

    async def relay(self, raw: bytes) -> Relayed:
        return await asyncio.to_thread(self._relay, raw)

    def _relay(self, raw: bytes) -> Relayed:
        """Through one member after another, until the log's proof says what became of it.

        A refusal without a place in the log is that member's word alone, so the next is asked; the last word counts
        only when nobody carried it.
        """
        digest = parse_transaction(raw).digest
        said: list[Relayed] = []
        for line in self._from():
            try:
                carried = line.send(messages.TRANSACTIONS, raw, Carried)
                entry = self._carried(line, carried)
                if entry is None:
                    said.append(carried.relayed)
                    continue
                if entry.digest != digest:
                    raise NotProven("it showed another transaction than the one it was to carry")
            except (PeerAway, NotProven) as why:
                self._failed(line.member, why)
                said.append(Relayed(-1, digest, why=str(why)))
                continue
            return Relayed(entry.code, digest, entry.index)
        refusals = [each for each in said if each.code > 0]
        if refusals:
            return Relayed(refusals[0].code, digest, why=refusals[0].why)
        return Relayed(-1, digest, why="; ".join(each.why for each in said) or "no member is known")

    def _carried(self, line: Line, carried: Carried) -> Entry | None:
        if carried.entry is not None:
            return self._checked(line, carried.entry)
        if carried.relayed.index < 0:
            return None
        # It landed before a quorum cosigned it: the proof is there a moment later.
        shown = line.ask(messages.ENTRIES, EntryWanted(carried.relayed.index), EntryShown)
        if shown.entry is None:
            raise NotProven(f"it says the transaction stands at {carried.relayed.index} and does not show it")
        return self._checked(line, shown.entry)

    async def deposit(self, deposit: OpeningDeposit) -> OpeningAck:
        return await asyncio.to_thread(self._deposit, deposit)

    def _deposit(self, deposit: OpeningDeposit) -> OpeningAck:
        """To the addressee, or to one who passes it on; an acknowledgement counts by the addressee's signature."""
        for line in self._from(deposit.to):
            try:
                ack = line.ask(messages.OPENINGS, deposit, OpeningAck)
            except PeerAway as why:
                self._failed(line.member, why)
                continue
            if ack.signature and self._acknowledged(deposit, ack):
                return ack
            if ack.signature:
                self._failed(line.member, NotProven(f"its acknowledgement is not signed by {deposit.to}"))
        return OpeningAck.waits(deposit)

    def _acknowledged(self, deposit: OpeningDeposit, ack: OpeningAck) -> bool:
        return acknowledges(ack, self.line, deposit, self.operate_key(deposit.to, ack.key))

    def operate_key(self, member: MemberId, key: bytes) -> tuple[int, bytes] | None:
        signers = self._now_context().members.signers
        found = signers.get(KeyId(key)) or self.refresh().members.signers.get(KeyId(key))
        if found is None or found.member != member or not found.covers(self.now()):
            return None
        return found.algorithm, found.public

    async def papers(self, wanted: PapersWanted) -> Papers:
        return await asyncio.to_thread(self._papers, messages.PAPERS, wanted)

    async def marks(self, wanted: PapersWanted) -> Papers:
        return await asyncio.to_thread(self._papers, messages.LINE, wanted)

    def _papers(self, path: str, wanted: PapersWanted) -> Papers:
        """From that member itself, or through another that reaches it."""
        before = self._asked_after.get((path, wanted.member), -1)
        if 0 < wanted.after <= before:
            raise MemberAway(wanted.member, "it repeats papers that it gave before")
        self._asked_after[(path, wanted.member)] = wanted.after
        found = self._one_by_one(
            lambda line: line.ask(path, wanted, Papers), f"bring papers from {wanted.member}", wanted.member
        )
        return Papers(
            tuple(each for each in found.papers if each.number > wanted.after and each.handle == wanted.handle)
        )

    # ------------------------------------------------------------------------------------------- the sealing key

    def keep_key(self, kept: KeyKept) -> None:
        """Lets one member keep the wrapped sealing key. Raises PeerAway."""
        self._line(kept.member).ask(messages.SEALING_KEY, kept, Noted)

    def fetch_key(self, wanted: KeyWanted) -> bytes | None:
        """What one member keeps for this passkey. Raises PeerAway."""
        return self._line(wanted.member).ask(messages.SEALING_KEY_FETCH, wanted, KeyFound).wrapped

    def _line(self, member: MemberId) -> Line:
        line = self._lines.get(member)
        if line is None:
            raise MemberAway(member, "its address is not known to this wallet")
        return line
