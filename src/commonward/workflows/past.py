"""The index over blocks from before a member joined: put in beneath what it has indexed since.

The same entries as `indexes.Indexes` makes while blocks are executed, from blocks and leaves. What that knows from
executing is read here from what was signed: a body names its author, and a key belongs to the member in whose name it
was registered, by a genesis, by AddKey or by admission. Written block by block, in order; a crash goes on where it was.
"""

from collections.abc import Sequence
from typing import Final

from commonward.ledger.encoding import Digest, decode, encode
from commonward.ledger.ids import Height, MemberId, key_id
from commonward.ledger.members import AddKey, Propose
from commonward.ledger.members.changes import Admit
from commonward.ledger.proofs import ProofKind
from commonward.ledger.refusals import Refusal
from commonward.ledger.snapshot import BlockEnd, parse_leaf
from commonward.ledger.transactions import Transaction, parse_block, parse_transaction
from commonward.ledger.window import burns
from commonward.records.line import Line
from commonward.workflows.indexes import PAST, BlockFacts, Row
from commonward.workflows.replica import Replica

__all__ = ["PastIndexes", "read_past"]

_KEY: Final = b"ik"  # key id -> member


class PastIndexes:
    """Over a replica's store. Cheap to make: everything it knows is there."""

    def __init__(self, replica: Replica, line: Line) -> None:
        self._replica = replica
        self._line = line
        self._index = replica.indexes
        data = self._index.get(PAST)
        match decode(data) if data is not None else None:
            case [int(following), int(last), int(size)]:
                self.next, self.last, self._size = following, last, size
            case _:
                self.next, self.last, self._size = 1, 0, 1

    @property
    def unfinished(self) -> bool:
        return self.next <= self.last

    def add(self, height: int, block: bytes, leaves: Sequence[bytes]) -> None:
        """The next block, with the leaves that it led to."""
        changes: dict[bytes, bytes | None] = {}
        for genesis in self._line.began_at(height):
            for member in genesis.members:
                changes.update({_KEY + key.id: member.id.encode() for key in member.keys})
        ledger = self._line.at(height).ledger_id
        read = [parse_leaf(leaf) for leaf in leaves]
        raws = [raw for bundle in parse_block(block, ledger).bundles for raw in bundle.transactions]
        rows: list[tuple[Row, Transaction | None]] = []
        for position, (raw, leaf) in enumerate(zip(raws, read[:-1], strict=True)) if read else ():
            assert not isinstance(leaf, BlockEnd), "checked before it was adopted"
            tx = read_past(raw, leaf.digest)
            author = self._author(tx, changes) if tx is not None and burns(leaf.code) else None
            row = Row(
                self._size + position, leaf.digest, tx.kind if tx is not None else 0, leaf.code, leaf.height, leaf.time,
                author, position,
            )  # fmt: skip
            rows.append((row, tx))
            if tx is not None and leaf.code == 0 and author is not None:
                changes.update(_keys(tx, author))
        size = self._size + len(leaves)
        time = read[-1].time if read else parse_block(block, ledger).header.time
        facts = BlockFacts(Height(height), size, time)
        pairs = [(row, tx.payload if tx is not None else None) for row, tx in rows]
        self._index.add_past(facts, pairs, leaves[-1] if leaves else None, changes)
        self.next, self._size = height + 1, size
        self._index.put({PAST: encode([self.next, self.last, self._size])})

    def _author(self, tx: Transaction, changes: dict[bytes, bytes | None]) -> MemberId | None:
        if tx.proof_kind != ProofKind.MEMBER:
            return None
        held = changes.get(_KEY + tx.author) or self._index.get(_KEY + tx.author)
        return MemberId(held.decode()) if held is not None else None

    def finish(self) -> None:
        """All are indexed."""
        self._index.put({PAST: None})


def read_past(raw: bytes, digest: Digest) -> Transaction | None:
    """None where nobody could read it when it was sent: its kind may have been unknown then."""
    try:
        tx = parse_transaction(raw)
    except Refusal:
        return None
    return tx if tx.digest == digest else None


def _keys(tx: Transaction, member: MemberId) -> dict[bytes, bytes | None]:
    """The keys that a transaction registers, or proposes for whom it admits."""
    match tx.payload:
        case AddKey():
            return {_KEY + key_id(tx.payload.algorithm, tx.payload.public): member.encode()}
        case Propose(change=Admit() as admit):
            return {_KEY + key_id(key.algorithm, key.public): admit.member.encode() for key in admit.keys}
    return {}
