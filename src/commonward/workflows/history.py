"""What happened before a member joined by a snapshot: fetched from another member, proven, and then its own.

A snapshot brings the state; the blocks before it, and the indexes over them (consents of a handle, marks, anchors), do
not follow from an app hash by themselves. Another member's answers carry blocks and beside them the leaves that they
led to: outcome codes cannot be recomputed without executing, but the log commits to them. From leaf 0 on the leaves
are appended to a log in the making. Each must name its transaction, in the block's order (`past_blocks`);
and when the log comes to the size of the snapshot, its root must be that under which the snapshot was proven. Not
before that is anything adopted: then blocks, hashes and indexes are this member's own, and it can serve as any other.
Of a ledger that goes on from others, it is the whole line, from the first ledger's first block on.

    HistoryDesk(replica).answer(member, body)        tells others
    History(...).run()                               fetches, in the background, until it is whole

A member who lies costs the time of the download, once: it is asked last from then on.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

import structlog

from commonward.ledger.encoding import decode, encode
from commonward.ledger.ids import MemberId
from commonward.ledger.merkle.log import FrontierStore, tile_base
from commonward.records.line import Line
from commonward.workflows.blocklog import BlockLog
from commonward.workflows.past import PastIndexes
from commonward.workflows.past_authority import AUTHORITY_PATH, PastAuthority, changes_to_bytes
from commonward.workflows.past_blocks import Checked, GroupLog, Staging, leaves_of
from commonward.workflows.past_proofs import NotHistory
from commonward.workflows.ports import PeerAway, Peers
from commonward.workflows.replica import Replica

__all__ = ["AUTHORITY_PATH", "HISTORY_PATH", "History", "HistoryDesk", "JoinableLog", "NotHistory", "Staging"]

HISTORY_PATH: Final = "ledger/blocks"

_ANSWER: Final = 4 << 20
_MOST_BLOCKS: Final = 2000
_AT_ONCE: Final = 128
"""Leaves that are indexed before the loop's other work has its turn."""

_TILES: Final = 1 << 15

_log = structlog.get_logger(__name__)


class HistoryDesk:
    """Answers for this node's own blocks and leaves, from whatever it holds."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def answer(self, member: MemberId, body: bytes) -> bytes:
        """`body`: [height]. The answer: [[block, [leaf ...]] ...] from there on; empty where this node has none."""
        match decode(body):
            case [int(height)] if height > 0:
                return await asyncio.to_thread(self._from, height)
        raise NotHistory("expected [height]")

    async def answer_authority(self, member: MemberId, body: bytes) -> bytes:
        """Every change of authority that a quorum has cosigned by now, with its proofs."""
        return changes_to_bytes([each for each in self._replica.authority_changes() if each.note])

    def _from(self, height: int) -> bytes:
        replica, found, size = self._replica, list[tuple[bytes, tuple[bytes, ...]]](), 0
        while size < _ANSWER and len(found) < _MOST_BLOCKS and height <= replica.height:
            one = self._one(height)
            if one is None:
                break
            found.append(one)
            size += len(one[0]) + sum(map(len, one[1]))
            height += 1
        return encode(found)

    def _one(self, height: int) -> tuple[bytes, tuple[bytes, ...]] | None:
        replica = self._replica
        facts, before = replica.block(height), replica.block(height - 1)
        first = before.size if before is not None else 1
        if facts is None or (before is None and height > 1):
            return None
        leaves = [replica.leaf(index) for index in range(first, facts.size)]
        try:
            block = replica.raw_block(height)
        except LookupError:
            return None
        return (block, tuple(leaf for leaf in leaves if leaf is not None)) if None not in leaves else None


# ------------------------------------------------------------------------------------------------------------ fetching


L = TypeVar("L", bound=GroupLog)
L_contra = TypeVar("L_contra", contravariant=True)


class JoinableLog(BlockLog, Protocol[L_contra]):
    """A block log that can be given what came before its first block: `other`, which ends right before it, and which
    nobody has open any more. Whole or not at all."""

    def join(self, other: L_contra) -> None: ...


class History(Generic[L]):
    """Of one node. On the loop's thread."""

    def __init__(
        self,
        *,
        replica: Replica,
        stores: Callable[[], tuple[JoinableLog[L], FrontierStore]],
        staging: Staging[L],
        line: Line,
        peers: Peers,
    ) -> None:
        """`stores`: the node's own block log and tiles, which are others after a snapshot. `line`: of this
        node's own genesis."""
        self._replica = replica
        self._stores = stores
        self._staging = staging
        self._line = line
        self._peers = peers
        self._doubted: list[MemberId] = []

    def close(self) -> None:
        """When the node stops."""
        self._staging.close()

    @property
    def missing(self) -> bool:
        """Whether something from before this member joined is not here yet."""
        return self._past.unfinished or PastAuthority(self._replica).missing

    @property
    def _blocks(self) -> JoinableLog[L]:
        return self._stores()[0]

    @property
    def _past(self) -> PastIndexes:
        return PastIndexes(self._replica, self._line)

    async def run(self, every_s: float = 30.0) -> None:
        """As long as the node lives: whenever a snapshot left something missing, fetch it."""
        while True:
            try:
                await self.complete(every_s)
            except Exception as why:  # such as a full disk: care goes on without, and it is tried again
                _log.error("history_not_kept", why=str(why), do="see the disk; it is tried again")
            await asyncio.sleep(every_s)

    async def complete(self, every_s: float = 30.0) -> None:
        """Fetch until all is here. A member that is away, or lies, is passed over. Raises what the stores raise."""
        while self.missing:
            for member in self._others():
                try:
                    await self.fetch(member)
                    return
                except PeerAway as why:
                    _log.info("history_not_fetched", member=member, why=str(why))
                except NotHistory as why:
                    _log.warning("history_refused", member=member, why=str(why), do="another member is asked")
                    self._doubted.append(member)
                    self._staging.wipe()
            await asyncio.sleep(every_s)

    def _others(self) -> Sequence[MemberId]:
        others = [each for each in self._replica.machine.view().roll.active() if each != self._replica.member]
        return sorted(others, key=lambda each: (self._doubted.count(each), each))

    async def fetch(self, member: MemberId) -> None:
        """All of it from one member. Raises PeerAway, NotHistory; what the stores raise."""
        if self._blocks.first > 1:
            await self._stage(member)
        await self._adopt()
        if self._past.unfinished:
            await self._index()
        authority = PastAuthority(self._replica)
        if authority.missing:
            authority.take(await self._peers.ask(member, AUTHORITY_PATH, b""))

    async def _stage(self, member: MemberId) -> None:
        last = self._blocks.first - 1
        checked = Checked(self._line, self._staging)
        while checked.height < last:
            body = await self._peers.ask(member, HISTORY_PATH, encode([checked.height + 1]))
            await asyncio.to_thread(checked.take, body, last)
        size = checked.log.size
        known = self._replica.block(last)
        if known is None or (size, checked.log.root()) != (known.size, self._replica.machine.log.root(known.size)):
            raise NotHistory(f"the leaves up to block {last} fold to {checked.log.root().hex()} at size {size}")

    async def _adopt(self) -> None:
        """It is proven. Each step may be cut short, and is done again at the next start."""
        if self._blocks.first > 1:
            self._blocks.join(self._staging.blocks)
        tiles, level = self._stores()[1], 0
        begins = tiles.begins
        while end := tile_base(begins, level):
            for at in range(0, end, _TILES):
                tiles.fill(level, at, self._staging.tiles.read(level, at, min(_TILES, end - at)))
                await asyncio.sleep(0)
            level += 1
        if begins:
            tiles.whole()

    async def _index(self) -> None:
        """Rows and indexes of each block, a few at a time between the node's other work."""
        past, leaves_done = self._past, 0
        for height in range(past.next, past.last + 1):
            leaves = leaves_of(self._staging.leaves.read(height))
            past.add(height, self._replica.raw_block(height), leaves)
            leaves_done += len(leaves) + 1
            if leaves_done >= _AT_ONCE:
                leaves_done = 0
                await asyncio.sleep(0)
        past.finish()
        await asyncio.to_thread(self._replica.flush)
        self._staging.done()
        _log.info("history_whole", blocks=past.last)
