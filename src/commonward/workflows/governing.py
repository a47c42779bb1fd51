"""A member's own part in deciding, and the care of its own keys: proposals, votes, new keys, revocations.

What the ledger shows of a reason is a commitment; its words stay here, and open it where they are asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from commonward.ledger.encoding import digest
from commonward.ledger.ids import Algorithm, BlockTime, Digest, KeyId, MemberId, MemberKind, ProposalId, Purpose, key_id
from commonward.ledger.members import (
    Admit,
    Adopted,
    AdoptTable,
    Authorities,
    Change,
    ChangeKind,
    Constitution,
    Governance,
    Key,
    Majorities,
    Majority,
    Proposal,
    Propose,
    RenewCertificate,
    Resume,
    RevokeCertificate,
    Roll,
    SetMajority,
    SetParameter,
    SetProposers,
    SetProtocol,
    SetWeight,
    Suspend,
    Vote,
)
from commonward.ledger.members.keys import AddKey, RevokeKey, RevokeStaff
from commonward.ledger.parameters import Parameter
from commonward.ledger.wire import Payload
from commonward.records.evidence import label_of
from commonward.records.openings import commit
from commonward.workflows.member import Member
from commonward.workflows.member_log import Event
from commonward.workflows.ports import Committed
from commonward.workflows.reading import LedgerCells
from commonward.workflows.sealing import Drawer
from commonward.workflows.wire import Message

GROUNDS: Final = label_of(Propose, "grounds")
KEY_REASON: Final = label_of(RevokeKey, "reason")
STAFF_REASON: Final = label_of(RevokeStaff, "reason")


@dataclass(frozen=True, slots=True)
class Reason(Message):
    """The words behind a commitment of ours, and its salt."""

    label: str
    words: str
    salt: bytes
    at: int


class NewKey(NamedTuple):
    """A key that was made and proves that it can sign; `possession` is b"" for one that only opens."""

    purpose: Purpose
    algorithm: Algorithm
    public: bytes
    possession: bytes


class Standing(NamedTuple):
    """An open proposal, and what became of the vote so far, by the members that are active now.

    `needed`: how many ayes carry it. `missing`: who has not voted. `voted`: this member's own voice, if it has.
    """

    id: ProposalId
    proposal: Proposal
    majority: Majority
    needed: int
    ayes: tuple[MemberId, ...]
    noes: tuple[MemberId, ...]
    missing: tuple[MemberId, ...]
    voted: bool | None

    @property
    def lost(self) -> bool:
        """Whether it cannot carry any more, as things stand."""
        return len(self.ayes) + len(self.missing) < self.needed


class Bar(NamedTuple):
    """What a kind of change needs now."""

    kind: ChangeKind
    majority: Majority
    needed: int
    proposers: tuple[MemberKind, ...]


class Governing:
    """One member's."""

    def __init__(self, member: Member) -> None:
        self._member = member
        cells = LedgerCells(member.ports.ledger)
        self._governance = Governance(cells)
        self._roll = Roll(cells)
        self._majorities = Majorities(cells)
        self._adopted = Adopted(cells)
        self._authorities = Authorities(cells)
        self.reasons = Drawer(member.ports.vault, member.sealing, "reasons", Reason)

    # deciding

    async def propose(self, change: Change, grounds: str, open_ms: int) -> tuple[ProposalId, Committed]:
        """Puts a change to the vote for so long. Raises LedgerRefused, LedgerAway (nothing is known yet)."""
        proposal = ProposalId(self._member.ports.entropy.bytes(16))
        close = BlockTime(self._member.ledger_now() + open_ms)
        landed = await self._land(
            b"propose" + proposal, lambda sealed: Propose(proposal, change, close, sealed), GROUNDS, grounds
        )
        return proposal, landed

    async def vote(self, proposal: ProposalId, choice: bool) -> Committed:
        """Once for each member. Raises LedgerRefused, LedgerAway (call again)."""
        key = b"vote" + proposal
        landed = await self._member.submitter.land(key, Vote(proposal, choice))
        self._member.submitter.done(key)
        return landed

    def is_open(self, proposal: ProposalId) -> bool:
        return self._governance.get(proposal) is not None

    def proposals(self, constitution: Constitution) -> list[Standing]:
        """What is open now, the oldest first. `constitution`: as genesis has it."""
        found = (self.proposal(each, constitution) for each in self._governance.open())
        return [each for each in found if each is not None]

    def proposal(self, wanted: ProposalId, constitution: Constitution) -> Standing | None:
        """None when it is not open."""
        proposal = self._governance.get(wanted)
        if proposal is None:
            return None
        active = self._roll.active()
        own = self._member.id
        majority = self._majorities.needed(proposal.change, constitution)
        return Standing(
            wanted,
            proposal,
            majority,
            majority.needed(len(active)),
            tuple(each for each in proposal.ayes if each in active),
            tuple(each for each in proposal.noes if each in active),
            tuple(each for each in active if each not in proposal.ayes and each not in proposal.noes),
            True if own in proposal.ayes else False if own in proposal.noes else None,
        )

    def bars(self, constitution: Constitution) -> list[Bar]:
        """What each kind of change needs now."""
        count = len(self._roll.active())
        found = []
        for kind in ChangeKind:
            majority = self._majorities.majority(kind, constitution)
            proposers = self._majorities.may_propose(kind, constitution)
            found.append(Bar(kind, majority, majority.needed(count), proposers))
        return found

    def stands(self, change: Change, constitution: Constitution) -> bool:
        """Whether the state is as this change would have made it."""
        match change:
            case Admit():
                return self._roll.get(change.member) is not None
            case Suspend() | Resume():
                found = self._roll.get(change.member)
                return found is not None and found.active is isinstance(change, Resume)
            case SetWeight():
                found = self._roll.get(change.member)
                return found is not None and found.weight == change.weight
            case SetParameter():
                return self._member.reading.parameter(change.parameter) == change.value
            case AdoptTable():
                return self._adopted.tables().get(change.table) == change.digest
            case SetProtocol():
                return self._adopted.version_at(change.height) == change.version
            case RenewCertificate():
                return self._roll.certificate(change.member) == change.certificate
            case RevokeCertificate():
                return self._authorities.is_revoked(change.certificate)
            case SetMajority():
                now = self._majorities.majority(change.kind, constitution)
                return now == (change.numerator, change.denominator)
            case SetProposers():
                return set(self._majorities.may_propose(change.kind, constitution)) == set(change.proposers)

    # keys

    async def register(self, key: NewKey) -> tuple[KeyId, Committed]:
        """Registers a key of this member's own, from now for as long as the ledger allows."""
        member = self._member
        starts = BlockTime(member.ledger_now())
        ends = BlockTime(starts + member.reading.parameter(Parameter.KEY_LASTS))
        payload = AddKey(key.purpose, key.algorithm, key.public, starts, ends, key.possession)
        name = b"add-key" + digest("commonward new key v1", key.public)
        landed = await member.submitter.land(name, payload)
        member.submitter.done(name)
        return key_id(key.algorithm, key.public), landed

    async def revoke_key(self, key: KeyId, why: str) -> Committed:
        """Ends a key of this member's now. Raises LedgerRefused (the last operate key, not ours), LedgerAway."""
        return await self._land(b"revoke" + key, lambda sealed: RevokeKey(key, sealed), KEY_REASON, why)

    async def revoke_staff(self, certificate: Digest, end: int, why: str, number: str) -> Committed:
        """Ends a staff certificate before its time; `end` is when it would have ended (ms)."""
        landed = await self._land(
            b"staff" + certificate, lambda sealed: RevokeStaff(certificate, BlockTime(end), sealed), STAFF_REASON, why
        )
        self._member.log.note(Event.FLAGGED, f"the certificate of {number} was revoked: {why}", who=number)
        return landed

    def own_keys(self) -> list[Key]:
        """Every key of this member that the state knows, by purpose, the oldest first."""
        own = self._roll.get(self._member.id)
        found = [self._roll.key(ref.key) for ref in own.keys] if own is not None else []
        return sorted((key for key in found if key is not None), key=lambda key: (key.purpose, key.starts, key.public))

    async def _land(self, name: bytes, payload: Callable[[Digest], Payload], label: str, words: str) -> Committed:
        """What commits to a reason: the words are kept first, so that the commitment can always be opened."""
        member = self._member
        salt = member.sealing.secret("reason", label, name)
        self.reasons.put(digest("commonward reason v1", label.encode(), name), Reason(label, words, salt, member.now()))
        landed = await member.submitter.land(name, payload(commit(label, salt, words)))
        member.submitter.done(name)
        return landed
