"""What a member's node answers from its own copy of the ledger: the reading half of `ports.Ledger`, and of evidence."""

from collections.abc import Sequence

from commonward.ledger.encoding import encode
from commonward.ledger.ids import BlockTime, Digest, Handle, LedgerId, MemberId, Tag
from commonward.ledger.transactions import parse_block
from commonward.ledger.transition import Machine, outcome_leaf
from commonward.workflows.blocklog import BlockLog, Record
from commonward.workflows.indexes import AuthorityChange, BlockFacts, Indexes, Row
from commonward.workflows.ports import Committed, Entry

__all__ = ["LedgerReads"]


class LedgerReads:
    """Reads a machine, its index and its block log. Whoever keeps these in step inherits from here."""

    _machine: Machine
    _index: Indexes
    _blocks: BlockLog

    @property
    def ledger_id(self) -> LedgerId:
        return self._machine.ledger_id

    @property
    def line(self) -> LedgerId:
        return self._machine.line

    @property
    def indexes(self) -> Indexes:
        """What was indexed of the blocks; written by this node's own parts alone."""
        return self._index

    def recent(self) -> tuple[int, Digest]:
        tip = self._machine.tip
        return tip.size, tip.root

    def tip_time(self) -> BlockTime:
        return self._machine.applied.time

    def get(self, key: bytes) -> bytes | None:
        return self._machine.get(key)

    def prove_state(self, key: bytes) -> bytes | None:
        return encode(self._machine.prove_state(key).to_value())

    def found(self, digest: Digest) -> Committed | None:
        index = self._index.of_digest(digest)
        row = self._index.row(index) if index is not None else None
        return Committed(digest, row.code, row.height, row.time, row.index) if row is not None else None

    def entry(self, index: int) -> Entry | None:
        row = self._index.row(index) if index >= 0 else None
        if row is None or row.height < self._blocks.first:
            return None
        return self._entry(row, self._raws(row.height))

    def raw_block(self, height: int) -> bytes:
        """The bytes of a block. Raises LookupError where this node does not hold it."""
        return Record.parse(self._blocks.read(height)).block

    def _raws(self, height: int) -> list[bytes]:
        block = parse_block(self.raw_block(height), self.ledger_id)
        return [raw for bundle in block.bundles for raw in bundle.transactions]

    def _entry(self, row: Row, raws: list[bytes]) -> Entry:
        return Entry(row.index, row.digest, row.kind, row.code, row.height, row.time, row.member, raws[row.position])

    def entries(self, first: int, limit: int, kinds: Sequence[int] = ()) -> Sequence[Entry]:
        found: list[Entry] = []
        height, raws = -1, list[bytes]()
        for index in range(max(first, 0), self._machine.tip.size):
            if len(found) >= limit:
                break
            row = self._index.row(index)
            if row is None or (kinds and row.kind not in kinds) or row.height < self._blocks.first:
                continue
            if row.height != height:
                height, raws = row.height, self._raws(row.height)
            found.append(self._entry(row, raws))
        return found

    def _at(self, index: int | None) -> Entry | None:
        return self.entry(index) if index is not None else None

    def anchor(self, member: MemberId, tick: int) -> Entry | None:
        return self._at(self._index.anchor(member, tick))

    def mark(self, tag: Tag, member: MemberId) -> Entry | None:
        return self._at(self._index.mark(tag, member))

    def broken_glass(self, tag: Tag, member: MemberId) -> Entry | None:
        return self._at(self._index.broken_glass(tag, member))

    def consents_of(self, handle: Handle) -> Sequence[Entry]:
        return [entry for index in self._index.consents_of(handle) if (entry := self.entry(index)) is not None]

    def awaits_past(self) -> bool:
        return self._index.lacks_past

    def leaf(self, index: int) -> bytes | None:
        row = self._index.row(index) if index >= 0 else None
        if row is not None:
            return outcome_leaf(row.digest, row.height, row.time, row.code)
        return self._index.block_leaf(index) if index >= 0 else None

    def block(self, height: int) -> BlockFacts | None:
        """Size of the log after a block, and its time: its block leaf is the last of those leaves."""
        return self._index.block(height)

    def prove_inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        return self._machine.log.prove_inclusion(index, size)

    def prove_consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """RFC 9162 proof that the log of `old` leaves is the beginning of the log of `new`."""
        return self._machine.log.prove_consistency(old, new)

    def authority_changes(self) -> Sequence[AuthorityChange]:
        """Every change of authority since genesis with its map proof, for trust files; what was before a move stands in
        the trust file that this genesis carries."""
        imported = self._machine.genesis.imported
        changes = self._index.authority_changes()
        return changes if imported is None else [each for each in changes if each.size > imported.size]
