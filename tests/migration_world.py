"""A ledger that moves, in memory: from the embedded engine with its nodes to the same members by consensus.

    async with Consortium() as c:
        ...                                         months of practice over a sequencer
        moved = await move(c.engine)                every node's stores go on under a new genesis
        async with moved:
            await take_along(c, moved)              the members' offices and the patients' clients go on over them

What stands in the old stores is copied, so the old ledger can be looked at beside the new one.
"""

import asyncio
import contextlib
import copy
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from commonward.apps.signing.history import ReplicaHistory
from commonward.ledger.genesis import SignedGenesis
from commonward.ledger.ids import BlockTime, MemberId, Purpose
from commonward.workflows.memory import SteppedClock
from commonward.workflows.migrating import Ending, ending, member_keys, signed, successor
from tests.agreeing_world import AgreeingWorld
from tests.consortium import Consortium
from tests.ledgerkit import MEMBERS, sign_genesis
from tests.memory_engine import MemoryEngine, SoftKeys


@dataclass(frozen=True)
class ChainKeys(SoftKeys):
    """All of a member's keys, those for consensus too."""

    def has(self, purpose: Purpose) -> bool:
        return purpose != Purpose.SEQUENCE or self.member == "health"


class MovedWorld(AgreeingWorld):
    """Makes a block whenever something waits. Stands in for a `MemoryEngine` where only time and nodes are used."""

    def __init__(self, file: SignedGenesis, end: Ending, clock: SteppedClock, engine: MemoryEngine) -> None:
        super().__init__(file.genesis)
        self.file = file
        self.end = end
        self.clock = clock
        self.disks = {str(name): copy.deepcopy(disk) for name, disk in engine.disks.items()}
        self._one = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._working = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._working
        await super().__aexit__(kind, error, at)

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(0.001)
            await self._turn_of_all()

    async def _turn_of_all(self) -> None:
        async with self._one:
            if any(self.waiting.values()):
                await self.round()

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0.002)
            await self._turn_of_all()

    async def pass_time(self, ms: int) -> None:
        self.clock.move(ms)
        for node in self.nodes.values():
            node.tick()
        async with self._one:
            await self.round()
        await self.settle()

    def trust(self, name: str = "north") -> bytes:
        """The trust file that a member gives out now."""
        return ReplicaHistory(self.nodes[name], self.file.to_bytes()).trust_file()


def new_genesis(engine: MemoryEngine, name: str = "north", created: int = 0) -> tuple[SignedGenesis, Ending]:
    """What the members sign when they move, as one of them puts it together."""
    node = engine.nodes[name]
    end = ending(node, ReplicaHistory(node, sign_genesis(engine.genesis).to_bytes()).trust_file())
    at = BlockTime(created or max(engine.clock.now(), node.tip_time()) + 1)
    signers = [(MemberId(each), ChainKeys(MemberId(each))) for each in MEMBERS]
    keys = {member: member_keys(node.machine, member, its, at) for member, its in signers}
    genesis = successor(node.machine, end.imported, keys, at, pilot=False)
    return signed(genesis, end.before, signers), end


def _ended(engine: MemoryEngine) -> bool:
    tips = {(node.machine.tip.size, node.machine.tip.root) for node in engine.nodes.values()}
    proven = [node.proven() for node in engine.nodes.values()]
    return len(tips) == 1 and all(each is not None and (each.size, each.root) in tips for each in proven)


async def let_end(engine: MemoryEngine) -> None:
    """Until every node has the last checkpoint cosigned, and no office adds to the ledger what time brought it.

    A block that was under way when time jumped is not cosigned (its time is off); the next one is, so time goes on.
    """
    deadline = time.monotonic() + 60
    calm = 0
    while calm < 5:
        assert time.monotonic() < deadline, "the old ledger does not come to its end"
        await engine.settle()
        calm = calm + 1 if _ended(engine) else calm - 1
        if calm < -20:
            await engine.pass_time(31_000)
            calm = 0


async def move(engine: MemoryEngine) -> MovedWorld:
    """Ends the old ledger once all have cosigned its last checkpoint, and makes the new one. Not started yet."""
    await engine.settle()
    await engine.pass_time(31_000)
    await let_end(engine)
    file, end = new_genesis(engine)
    await engine.__aexit__(None, None, None)
    return MovedWorld(file, end, engine.clock, engine)


async def take_along(c: Consortium, moved: MovedWorld) -> None:
    """Offices go on over the new nodes, once those have cosigned for each other: their vaults are what they were. A
    patient's client then goes through one of them (`Person.through`)."""
    c.engine = moved  # type: ignore[assignment]
    for house in c.houses.values():
        house.wakes()
    await moved.pass_time(31_000)
