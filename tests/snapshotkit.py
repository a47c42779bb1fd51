"""A ledger in memory with something on it, its snapshots, and who restores them: for tests of state sync.

source = Source(); source.live(40)                    blocks of all sorts, indexed as a node's are
shelf = await source.snapshot()                       made at the last height
joiner = Joiner(source.kit.genesis)
await joiner.fetch(source.store, source.app_hash)     offer and every chunk
joiner.kit                                            a machine over the restored stores
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

from commonward.adapters.store.blocks import MemoryBlocks
from commonward.adapters.store.state import MemoryStore
from commonward.ledger.checkpoint import app_hash
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import Height
from commonward.ledger.merkle.log import MemoryLogStore
from commonward.ledger.snapshot import Manifest
from commonward.ledger.transactions import AnchorBatch, Release
from commonward.ledger.transition import FORGET_AFTER, Staged
from commonward.workflows.indexes import BlockFacts, leaves_only
from commonward.workflows.snapshots import Applied, ChunkAnswer, OfferAnswer, SnapshotStore
from tests.ledgerkit import Kit, commitment, demo_genesis


def a_release(n: object) -> Release:
    return Release(commitment("tag", n), *(commitment(n, i) for i in range(6)))  # type: ignore[arg-type]


@dataclass
class MemoryShelf:
    """Snapshots in dictionaries."""

    kept: dict[int, tuple[bytes, list[bytes]]] = field(default_factory=dict)

    def heights(self) -> list[int]:
        return sorted(self.kept)

    def manifest(self, height: int) -> bytes:
        return self.kept[height][0]

    def chunk(self, height: int, index: int) -> bytes:
        return self.kept[height][1][index]

    def told(self, height: int) -> None:
        assert height in self.kept

    def make(self) -> "MemoryMaking":
        return MemoryMaking(self)

    def prune(self) -> None:
        for height in self.heights()[:-2]:
            del self.kept[height]


@dataclass
class MemoryMaking:
    shelf: MemoryShelf
    scratch: dict[str, list[bytes]] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)

    def spill(self, name: str, piece: bytes) -> None:
        self.scratch.setdefault(name, []).append(piece)

    def spilled(self, name: str) -> Iterator[bytes]:
        yield from self.scratch.pop(name, [])

    def chunk(self, data: bytes) -> None:
        self.chunks.append(data)

    def again(self, height: int) -> None:
        self.chunks = self.shelf.kept[height][1]

    def keep(self, height: int, manifest: bytes) -> None:
        self.shelf.kept[height] = manifest, self.chunks

    def drop(self) -> None:
        """Nothing outlives it."""


@dataclass
class MemoryFresh:
    state: MemoryStore = field(default_factory=MemoryStore)
    tiles: MemoryLogStore = field(default_factory=MemoryLogStore)
    blocks: MemoryBlocks = field(default_factory=MemoryBlocks)


@dataclass
class MemoryGround:
    made: MemoryFresh | None = None
    completed: MemoryFresh | None = None

    def fresh(self) -> MemoryFresh:
        self.made = MemoryFresh()
        return self.made

    def complete(self) -> None:
        self.completed, self.made = self.made, None

    def drop(self) -> None:
        self.made = None


class Source:
    """A ledger that has lived a little."""

    def __init__(self, genesis: Genesis | None = None, *, map_bits: int = 8, every: int = 1) -> None:
        self.state, self.log_store, self.shelf = MemoryStore(), MemoryLogStore(), MemoryShelf()
        self.kit = Kit(genesis or demo_genesis(), self.state, self.log_store, map_bits)
        self.sent: list[bytes] = []
        self._numbers = count()
        self.store = SnapshotStore(
            genesis=self.kit.genesis, state=self.state, log_store=self.log_store, flush=lambda: None,
            shelf=self.shelf, ground=MemoryGround(), adopt=_nothing, every=every, map_bits=map_bits,
        )  # fmt: skip

    @property
    def app_hash(self) -> bytes:
        tip = self.kit.machine.tip
        return app_hash(tip.size, tip.root)

    @property
    def height(self) -> Height:
        return self.kit.machine.applied.height

    def block(self, raws: list[bytes]) -> Staged:
        staged = self.kit.block(raws)
        if not staged.idle:
            header = staged.header
            self.state.write(leaves_only(BlockFacts(header.height, staged.checkpoint.size, header.time), staged.leaves))
        self.sent += raws
        return staged

    def live(self, blocks: int, source: random.Random | None = None, *, pace_ms: int = FORGET_AFTER // 20) -> None:
        """Blocks with releases, anchors, replays, nonsense and nothing, `pace_ms` apart."""
        source = source or random.Random(blocks)
        for _ in range(blocks):
            self.kit.later(source.randrange(1, 2 * pace_ms))
            self.block([self._something(source) for _ in range(source.choice([0, 0, 1, 1, 2, 5]))])

    def _something(self, source: random.Random) -> bytes:
        kit, number = self.kit, next(self._numbers)
        match source.randrange(6):
            case 0:
                return b"nonsense %d" % number
            case 1 if self.sent:
                return source.choice(self.sent[-20:])
            case 2:
                return kit.sign(
                    AnchorBatch(kit.tick(), commitment("root", number)), by=source.choice(["north", "south"])
                )
            case 3:
                return kit.sign(a_release(number), by="nobody at all")
            case _:
                return kit.sign(a_release(number), by=source.choice(["north", "south", "clinic"]))

    async def snapshot(self) -> Manifest:
        """Made at the height where the ledger is."""
        await self.store.committed(self.height)
        await self.store.made()
        return Manifest.parse(self.shelf.manifest(self.height))


async def _nothing(_manifest: Manifest) -> None:
    """A source takes no snapshot."""


class Joiner:
    """A member without a ledger, who is offered one."""

    def __init__(self, genesis: Genesis, *, map_bits: int = 8) -> None:
        self.genesis = genesis
        self.map_bits = map_bits
        self.ground = MemoryGround()
        self.adopted: list[Manifest] = []
        self.store = SnapshotStore(
            genesis=genesis, state=MemoryStore(), log_store=MemoryLogStore(), flush=lambda: None,
            shelf=MemoryShelf(), ground=self.ground, adopt=self._adopt, every=0, map_bits=map_bits,
        )  # fmt: skip

    async def _adopt(self, manifest: Manifest) -> None:
        self.adopted.append(manifest)

    async def fetch(
        self, source: SnapshotStore, app_hash: bytes, altered: Callable[[int, bytes], bytes] = lambda _, data: data
    ) -> tuple[OfferAnswer, list[Applied]]:
        """The newest that `source` offers; stops at the first chunk that is not accepted."""
        offered = source.offers()[-1]
        answer, applied = self.store.offer(offered, app_hash), list[Applied]()
        if answer != OfferAnswer.ACCEPT:
            return answer, applied
        for index in range(offered.chunks):
            data = altered(index, source.chunk(offered.height, offered.format, index))
            applied.append(await self.store.apply(index, data, "a sender"))
            if applied[-1].answer != ChunkAnswer.ACCEPT:
                break
        return answer, applied

    @property
    def kit(self) -> Kit:
        """A machine over what was restored."""
        stores = self.ground.completed
        assert stores is not None, "nothing was restored"
        return Kit(self.genesis, stores.state, stores.tiles, self.map_bits)
