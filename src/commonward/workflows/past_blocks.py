"""Blocks of the past as another member hands them on, each against the leaves beside it, and folded into a log.

Of a ledger that goes on from others the blocks of all of them come, in one row: heights and log go on. A block's
genesis is that of its height (`records.line`), and where the ledger moved the log must stand where the next genesis
says that the ledger before ended; the move itself is an empty block, with a leaf of its own.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

from commonward.ledger.checkpoint import Checkpoint, origin_of
from commonward.ledger.encoding import decode, encode
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import Height, LedgerId
from commonward.ledger.merkle.log import FrontierStore, Log
from commonward.ledger.rules import Header
from commonward.ledger.snapshot import BlockEnd, Outcomed, parse_leaf
from commonward.ledger.state import Store
from commonward.ledger.transactions import InvalidBlock, build_block, parse_block, unreadable_digest
from commonward.records.line import Line
from commonward.workflows.blocklog import BlockLog, Record
from commonward.workflows.past import read_past
from commonward.workflows.past_proofs import NotHistory, PastProofs
from commonward.workflows.snapshotting import genesis_leaf

__all__ = ["Checked", "GroupLog", "Staging", "leaves_of", "outcomes_of", "transactions_of"]


class GroupLog(BlockLog, Protocol):
    """A block log that takes many at once, with one sync."""

    def append_group(self, height: int, records: Sequence[bytes]) -> None: ...


L_co = TypeVar("L_co", bound=GroupLog, covariant=True)


class Staging(Protocol[L_co]):
    """Where the history waits until it is proven: blocks and leaves by height from 1 on, the hashes of a log, and keys
    that were learnt on the way (`PastProofs`)."""

    @property
    def blocks(self) -> L_co: ...
    @property
    def leaves(self) -> GroupLog: ...
    @property
    def tiles(self) -> FrontierStore: ...
    @property
    def keys(self) -> Store: ...
    def wipe(self) -> None:
        """Empty it; what was fetched is gone."""

    def close(self) -> None:
        """Let go of it; what was fetched stays."""

    def done(self) -> None:
        """Nothing of it is needed any more. Its blocks may have gone to a `JoinableLog`."""


class Checked:
    """Blocks and leaves as they come, each against the other; staged, with the log that the leaves make."""

    def __init__(self, line: Line, staging: Staging[GroupLog]) -> None:
        """Goes on where `staging` ends, or begins anew where that was left unfinished."""
        self._line = line
        self._staging = staging
        self.height = staging.blocks.height
        if self.height and staging.leaves.height == self.height:
            head = Checkpoint.parse(Record.parse(staging.blocks.read(self.height)).note)
            with suppress(Exception):  # whatever a crash left of it: what counts is the root
                staging.tiles.truncate(head.size)
                self.log = Log(staging.tiles, head.size)
                if self.log.root() == head.root:
                    self._proofs = PastProofs(line.at(self.height), staging.keys)
                    return
        staging.wipe()
        self._proofs = PastProofs(line.first, staging.keys)
        self.height = 0
        self.log = Log(staging.tiles, 0)
        self.log.append([genesis_leaf(line.first)])

    def take(self, body: bytes, last: int) -> None:
        """The next blocks, none after `last`. Raises NotHistory."""
        try:
            value = decode(body)
        except ValueError as cause:
            raise NotHistory(f"not an answer: {cause}") from cause
        if not isinstance(value, list) or not value:
            raise NotHistory(f"it has no block {self.height + 1}")
        records: list[tuple[bytes, bytes]] = []
        for each in value[: last - self.height]:
            match each:
                case [bytes(block), list(leaves)] if all(isinstance(leaf, bytes) for leaf in leaves):
                    height = self.height + 1 + len(records)
                    records.append(self._check(height, block, [leaf for leaf in leaves if isinstance(leaf, bytes)]))
                case _:
                    raise NotHistory(f"expected [block, [leaf ...]], got {each!r:.60}")
        self._proofs.keep()
        self._staging.leaves.append_group(self.height + 1, [leaves for leaves, _ in records])
        self._staging.blocks.append_group(self.height + 1, [block for _, block in records])
        self.height += len(records)

    def _check(self, height: int, block: bytes, leaves: list[bytes]) -> tuple[bytes, bytes]:
        moved = self._line.moved_at(height)
        if moved is not None:
            self._check_move(moved, block, leaves)
        genesis = self._line.at(height)
        outcomes, raws = outcomes_of(leaves, height), transactions_of(block, genesis.ledger_id, height)
        if len(outcomes) != len(raws):
            raise NotHistory(f"block {height} has {len(raws)} transactions, the leaves beside it {len(outcomes)}")
        for outcome, raw in zip(outcomes, raws, strict=True):
            tx = read_past(raw, outcome.digest)
            if tx is not None:
                self._proofs.take(tx, outcome.code)
            elif outcome.digest != unreadable_digest(raw):
                raise NotHistory(f"a leaf beside block {height} is not that of its transaction")
        if leaves:
            self.log.append(leaves)
        note = Checkpoint(origin_of(genesis.ledger_id), self.log.size, self.log.root()).note_body()
        return encode(leaves), Record(block, note).to_bytes()

    def _check_move(self, genesis: Genesis, block: bytes, leaves: list[bytes]) -> None:
        """The ledger before ended as genesis says, and genesis is the next block."""
        ended, size, root = genesis.imported, self.log.size, self.log.root()
        assert ended is not None, "the line moved to it"
        if (size, root) != (ended.size, ended.root):
            raise NotHistory(
                f"genesis {genesis.ledger_id.hex()} goes on from size {ended.size}, root {ended.root.hex()}; the "
                f"blocks before it fold to size {size}, root {root.hex()}"
            )
        if block != build_block(Header(genesis.height, genesis.created), ()) or len(leaves) != 1:
            raise NotHistory(f"expected genesis {genesis.ledger_id.hex()} as block {genesis.height}, and its leaf")
        self._proofs.go_on(genesis)


def leaves_of(record: bytes) -> list[bytes]:
    value = decode(record)
    assert isinstance(value, list), "written by `Checked`"
    return [leaf for leaf in value if isinstance(leaf, bytes)]


def outcomes_of(leaves: Sequence[bytes], height: int) -> list[Outcomed]:
    """What a block's leaves say of its transactions. Raises NotHistory unless they are the leaves of one block."""
    try:
        read = [parse_leaf(leaf) for leaf in leaves]
    except ValueError as cause:
        raise NotHistory(f"leaves of block {height}: {cause}") from cause
    if any(
        leaf.height != height or isinstance(leaf, BlockEnd) != (at == len(read) - 1) for at, leaf in enumerate(read)
    ):
        raise NotHistory(f"expected the outcomes of block {height} and then its own leaf")
    return [leaf for leaf in read if not isinstance(leaf, BlockEnd)]


def transactions_of(block: bytes, ledger: LedgerId, height: int) -> list[bytes]:
    """The transactions of a block, in order. Raises NotHistory."""
    try:
        read = parse_block(block, ledger)
    except InvalidBlock as cause:
        raise NotHistory(f"block {height}: {cause}") from cause
    if read.header.height != Height(height):
        raise NotHistory(f"expected block {height}, got {read.header.height}")
    return [raw for bundle in read.bundles for raw in bundle.transactions]
