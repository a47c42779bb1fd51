"""A member's own part in deciding, and the care of its own keys: proposals, votes, new keys, revocations.

What the ledger shows of a reason is a commitment; its words stay here, and open it where they are asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from commonward.ledger.encoding import digest
from commonward.ledger.ids import Algorithm, BlockTime, Digest, KeyId, ProposalId, Purpose, key_id
from commonward.ledger.members import Change, ChangeKind, Governance, Key, Majority, Proposal, Propose, Roll, Vote
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
    """An open proposal, and what became of the vote so far. `needed`: how many ayes carry it now."""

    id: ProposalId
    proposal: Proposal
    needed: int


class Governing:
    """One member's."""

    def __init__(self, member: Member) -> None:
        self._member = member
        cells = LedgerCells(member.ports.ledger)
        self._governance = Governance(cells)
        self._roll = Roll(cells)
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

    def proposals(self, majorities: Mapping[ChangeKind, Majority]) -> list[Standing]:
        """What is open now. `majorities`: as genesis fixed them."""
        active = len(self._roll.active())
        found = []
        for each in self._governance.open():
            proposal = self._governance.get(each)
            if proposal is not None:
                part, whole = majorities[proposal.change.CHANGE]
                found.append(Standing(each, proposal, active * part // whole + 1))
        return found

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
