"""What any member does for any patient: carries transactions, passes openings on, fetches papers, shows the ledger.

A patient depends on no single member: what one refuses to carry, another does.
"""

from collections.abc import Sequence
from typing import Protocol

from commonward.ledger.ids import Digest, Handle, LedgerId, MemberId, MemberKind, Tag
from commonward.ledger.refusals import Refusal
from commonward.ledger.transactions import parse_transaction
from commonward.workflows.consent import Openings
from commonward.workflows.mailbox import Mailbox
from commonward.workflows.member import Member
from commonward.workflows.messages import (
    MAILBOX_LIST,
    MARKS,
    OpeningAck,
    OpeningDeposit,
    Papers,
    PapersWanted,
    Relayed,
)
from commonward.workflows.ports import Entry, LedgerAway


class PatientGate(Protocol):
    """What a patient's client needs of a member. `apps/api` serves it; in one process `Gate` is it."""

    @property
    def ledger_id(self) -> LedgerId: ...

    @property
    def line(self) -> LedgerId:
        """As `ports.Ledger.line`."""
        ...

    def recent(self) -> tuple[int, Digest]: ...

    def now(self) -> int: ...

    def members(self) -> Sequence[tuple[MemberId, MemberKind, bytes]]:
        """(member, kind, X25519 key to seal to) of the active members."""
        ...

    def operate_key(self, member: MemberId, key: bytes) -> tuple[int, bytes] | None:
        """Algorithm and public bytes of a member's operate key that counts now; None when this id names none."""
        ...

    def sealing_of(self, handle: Handle) -> bytes | None: ...

    async def relay(self, raw: bytes) -> Relayed: ...

    async def deposit(self, deposit: OpeningDeposit) -> OpeningAck:
        """Raises DepositRefused when this member cannot keep it."""
        ...

    async def papers(self, wanted: PapersWanted) -> Papers:
        """From the member's mailbox that `wanted` names. Raises PeerAway."""
        ...

    async def marks(self, wanted: PapersWanted) -> Papers:
        """The line of marks at the custodian that `wanted` names. Raises PeerAway."""
        ...

    def mark(self, tag: Tag, member: MemberId) -> Entry | None:
        """That member's."""
        ...

    def entry(self, index: int) -> Entry | None: ...

    def broken_glass(self, tag: Tag, member: MemberId) -> Entry | None:
        """That member's."""
        ...


class Gate:
    """The gate of one member."""

    def __init__(self, member: Member, openings: Openings, mailbox: Mailbox) -> None:
        self._member = member
        self._openings = openings
        self._mailbox = mailbox

    @property
    def ledger_id(self) -> LedgerId:
        return self._member.ports.ledger.ledger_id

    @property
    def line(self) -> LedgerId:
        return self._member.ports.ledger.line

    def recent(self) -> tuple[int, Digest]:
        return self._member.ports.ledger.recent()

    def now(self) -> int:
        return self._member.now()

    def members(self) -> Sequence[tuple[MemberId, MemberKind, bytes]]:
        found = []
        for each in self._member.reading.members():
            kind, key = self._member.reading.kind_of(each), self._member.reading.hpke_key(each)
            if kind is not None and key is not None:
                found.append((each, kind, key))
        return found

    def operate_key(self, member: MemberId, key: bytes) -> tuple[int, bytes] | None:
        return self._member.reading.operate_key(member, key)

    def sealing_of(self, handle: Handle) -> bytes | None:
        record = self._member.reading.handle(handle)
        return None if record is None else record.sealing

    async def relay(self, raw: bytes) -> Relayed:
        """Carries a transaction as it is. The same bytes again have the same outcome."""
        digest = parse_transaction(raw).digest
        try:
            stands = await self._member.ports.ledger.submit(raw)
        except Refusal as refusal:
            return Relayed(refusal.code, digest, why=str(refusal))
        except LedgerAway as away:
            return Relayed(-1, digest, why=str(away))
        return Relayed(stands.code, digest, stands.index)

    async def deposit(self, deposit: OpeningDeposit) -> OpeningAck:
        return await self._openings.deposit(deposit)

    async def papers(self, wanted: PapersWanted) -> Papers:
        return Papers.parse(await self._member.ports.peers.ask(wanted.member, MAILBOX_LIST, wanted.to_bytes()))

    async def marks(self, wanted: PapersWanted) -> Papers:
        return Papers.parse(await self._member.ports.peers.ask(wanted.member, MARKS, wanted.to_bytes()))

    def mark(self, tag: Tag, member: MemberId) -> Entry | None:
        return self._member.ports.ledger.mark(tag, member)

    def entry(self, index: int) -> Entry | None:
        return self._member.ports.ledger.entry(index)

    def broken_glass(self, tag: Tag, member: MemberId) -> Entry | None:
        return self._member.ports.ledger.broken_glass(tag, member)
