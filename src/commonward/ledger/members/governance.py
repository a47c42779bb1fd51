"""Who decides: proposals and votes, one member one vote, with a majority by kind of change (`majorities`).

Validating weight is another matter (`weights`): it says who cosigns, not who decides, so that an insurer without a
node that cosigns still has its say. A change takes effect within the vote that completes its majority. If it cannot
(the ledger has moved on since), that vote is refused and the proposal stays open until it closes.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from commonward.ledger.dues import DueKind
from commonward.ledger.encoding import Digest, decode, encode
from commonward.ledger.ids import BlockTime, MemberId, ProposalId, parse_member_id, parse_proposal_id
from commonward.ledger.members.changes import CHANGE, Admit, Change
from commonward.ledger.members.enacting import Chamber, ChangeNotPossible, check_change, enact
from commonward.ledger.parameters import Parameter
from commonward.ledger.possession import check_member_possession
from commonward.ledger.refusals import Refusal
from commonward.ledger.rules import Cells, Header, MemberSigner
from commonward.ledger.wire import DIGEST, FLAG, TIME, Payload, Struct, items, parsed, struct, wire

MAX_OPEN: Final = 256
"""Proposals open at one time."""

# ------------------------------------------------------------------------------------------------------------ refusals


@dataclass(eq=False)
class MayNotPropose(Refusal):
    code: ClassVar[int] = 211
    member: str
    change: str

    def __str__(self) -> str:
        return f"{self.member} is not of a kind of member that may propose {self.change}"


@dataclass(eq=False)
class ProposalTaken(Refusal):
    code: ClassVar[int] = 213
    proposal: bytes

    def __str__(self) -> str:
        return f"proposal {self.proposal.hex()} is open already: take a new id"


@dataclass(eq=False)
class ProposalClosed(Refusal):
    code: ClassVar[int] = 214
    proposal: bytes

    def __str__(self) -> str:
        return f"no proposal {self.proposal.hex()} is open"


@dataclass(eq=False)
class AlreadyVoted(Refusal):
    code: ClassVar[int] = 215
    proposal: bytes
    member: str

    def __str__(self) -> str:
        return f"{self.member} has voted on proposal {self.proposal.hex()}"


@dataclass(eq=False)
class CloseOutOfBounds(Refusal):
    code: ClassVar[int] = 216
    close: int
    now: int
    latest: int

    def __str__(self) -> str:
        return f"a proposal made at {self.now} ms closes after that and by {self.latest} ms, not at {self.close} ms"


# -------------------------------------------------------------------------------------------------------- transactions


@struct
class Propose(Payload):
    """Puts a change to the vote until `close` (ms). `grounds`: commitment."""

    KIND: ClassVar[int] = 1
    SECOND_SIGNATURES: ClassVar[int] = 16
    proposal: ProposalId = wire(1, parsed(parse_proposal_id))
    change: Change = wire(2, CHANGE)
    close: BlockTime = wire(3, TIME)
    grounds: Digest = wire(4, DIGEST)


@struct
class Vote(Payload):
    KIND: ClassVar[int] = 2
    SECOND_SIGNATURES: ClassVar[int] = 16
    proposal: ProposalId = wire(1, parsed(parse_proposal_id))
    choice: bool = wire(2, FLAG)


# ----------------------------------------------------------------------------------------------------------- the slice


@struct
class Proposal(Struct):
    """An open one."""

    proposer: MemberId = wire(1, parsed(parse_member_id))
    change: Change = wire(2, CHANGE)
    close: BlockTime = wire(3, TIME)
    ayes: tuple[MemberId, ...] = wire(4, items(parsed(parse_member_id), 4096))
    noes: tuple[MemberId, ...] = wire(5, items(parsed(parse_member_id), 4096))


PROPOSALS_KEY: Final = b"proposals"


def proposal_key(proposal: bytes) -> bytes:
    return b"proposal/" + proposal


class Governance:
    """The slice: `proposal/` id -> Proposal; `proposals` -> open ids."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def get(self, proposal: bytes) -> Proposal | None:
        data = self._cells.get(proposal_key(proposal))
        return None if data is None else Proposal.parse(data)

    def open(self) -> tuple[ProposalId, ...]:
        value = decode(self._cells.get(PROPOSALS_KEY) or b"\x80")
        assert isinstance(value, list)
        return tuple(ProposalId(each) for each in value if isinstance(each, bytes))

    def put(self, proposal: ProposalId, value: Proposal) -> None:
        if self.get(proposal) is None:
            self._cells.put(PROPOSALS_KEY, encode([*self.open(), proposal]))
        self._cells.put(proposal_key(proposal), value.to_bytes())

    def drop(self, proposal: bytes) -> None:
        self._cells.delete(proposal_key(proposal))
        self._cells.put(PROPOSALS_KEY, encode([each for each in self.open() if each != proposal]))


# --------------------------------------------------------------------------------------------------------------- rules


def propose(asked: Propose, signer: MemberSigner, header: Header, *, governance: Governance, chamber: Chamber) -> None:
    _check_proposer(asked.change, signer, chamber)
    latest = header.time + chamber.parameters[Parameter.PROPOSAL_OPEN]
    if not header.time < asked.close <= latest:
        raise CloseOutOfBounds(asked.close, header.time, latest)
    if governance.get(asked.proposal) is not None:
        raise ProposalTaken(asked.proposal)
    if len(governance.open()) >= MAX_OPEN:
        raise ChangeNotPossible(f"{MAX_OPEN} proposals are open: vote on those first")
    check_change(asked.change, header, chamber)
    if isinstance(asked.change, Admit):  # so that nobody votes in vain
        member = asked.change.member
        for key in asked.change.keys:
            check_member_possession(chamber.ledger, member, key.purpose, key.algorithm, key.public, key.possession)
    governance.put(asked.proposal, Proposal(signer.member, asked.change, asked.close, (), ()))
    chamber.dues.add(asked.close, DueKind.PROPOSAL_CLOSES, asked.proposal)


def _check_proposer(change: Change, signer: MemberSigner, chamber: Chamber) -> None:
    """Where all members of the kinds that may propose are suspended, any member may: to propose is not to decide, and
    a consortium that could propose nothing could not resume them either."""
    allowed = chamber.majorities.may_propose(change.CHANGE, chamber.constitution)
    if signer.kind in allowed:
        return
    roll = chamber.roll
    if not allowed or any(roll.must(each).kind in allowed for each in roll.active()):
        raise MayNotPropose(signer.member, change.CHANGE.name)


def vote(asked: Vote, signer: MemberSigner, header: Header, *, governance: Governance, chamber: Chamber) -> None:
    proposal = governance.get(asked.proposal)
    if proposal is None or proposal.close <= header.time:
        raise ProposalClosed(asked.proposal)
    if signer.member in proposal.ayes or signer.member in proposal.noes:
        raise AlreadyVoted(asked.proposal, signer.member)
    ayes, noes = proposal.ayes, proposal.noes
    if asked.choice:
        ayes = (*ayes, signer.member)
    else:
        noes = (*noes, signer.member)
    active = chamber.roll.active()
    counted = sum(member in active for member in ayes)  # a member suspended since it voted does not count
    if chamber.majorities.needed(proposal.change, chamber.constitution).reached(counted, len(active)):
        check_change(proposal.change, header, chamber)
        enact(proposal.change, header, chamber)
        governance.drop(asked.proposal)
    else:
        governance.put(asked.proposal, Proposal(proposal.proposer, proposal.change, proposal.close, ayes, noes))


def proposal_closes(proposal: bytes, now: int, *, governance: Governance) -> None:
    """Due: what has not found its majority is gone."""
    found = governance.get(proposal)
    if found is not None and found.close <= now:
        governance.drop(proposal)
