"""Consensus in memory with the words of `tests.memory_engine`: the same stories run on it, and no test can tell.

Whatever is handed in is ordered at once, as long as nodes with more than two thirds of the weight are on the line; a
node that was cut off is brought what it missed when it is mended. Time stands still until `clock.move`.
"""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from commonward.ledger.checkpoint import Checkpoint, SignatureLine
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import BlockTime, Height, MemberId
from commonward.ledger.rules import Header
from commonward.ledger.transactions import Payload
from commonward.workflows.agreeing import AgreeingReplica
from commonward.workflows.memory import SteppedClock
from tests.cued import Cued, settled
from tests.ledgerkit import START, SoftKey, SoftPasskey
from tests.memory_engine import MAP_BITS, Disk, SoftKeys, signed

_ROOM = 3 << 20


class CuedAgreeing(Cued, AgreeingReplica):
    """A node whose calls fail on cue."""


class _Decided(NamedTuple):
    header: Header
    bundles: tuple[bytes, ...]


class _Line:
    """One node's line to the others. Implements `Uplink`."""

    def __init__(self, agreement: "MemoryAgreement", name: str) -> None:
        self._agreement = agreement
        self.name = name

    def carry(self, number: int, bundle: bytes) -> None:
        self._agreement.spawn(self._carry(number, bundle))

    async def _carry(self, number: int, bundle: bytes) -> None:
        node = self._agreement.nodes[self.name]
        verdict = await node.check(bundle)
        if self._agreement.lines.get(self.name) is not self:
            return
        node.carried(number, verdict.refusals, verdict.why)
        if verdict.good:
            self._agreement.waiting[bundle] = None
            self._agreement.wake.set()

    def cosigned(self, checkpoint: Checkpoint, line: SignatureLine) -> None:
        for name in self._agreement.lines:
            if name != self.name:
                self._agreement.hears(name, MemberId(self.name), checkpoint, line)


class MemoryAgreement:
    """The nodes of a genesis' members under consensus."""

    def __init__(self, genesis: Genesis, clock: SteppedClock | None = None) -> None:
        self.genesis = genesis
        self.clock = clock or SteppedClock(START + 1000)
        self.disks = {str(each.id): Disk() for each in genesis.members}
        self.nodes: dict[str, CuedAgreeing] = {}
        self.lines: dict[str, _Line] = {}
        self.waiting: dict[bytes, None] = {}
        self.wake = asyncio.Event()
        self._decided: list[_Decided] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._turn = asyncio.Lock()
        self._nonces = 0
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        for name in self.disks:
            self.nodes[name] = self.open(name)
            await self._join(name)
        self._running = asyncio.get_running_loop().create_task(self._run())
        await self.settle()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._running is not None
        self._running.cancel()
        for name in list(self.nodes):
            self.cut(name)
        await asyncio.gather(self._running, *self._tasks, return_exceptions=True)
        for node in self.nodes.values():
            node.close()

    def open(self, name: str) -> CuedAgreeing:
        disk = self.disks[name]
        return CuedAgreeing(
            keys=SoftKeys(MemberId(name)), genesis=self.genesis, store=disk.store, log_store=disk.log,
            blocks=disk.blocks, clock=self.clock, submit_ms=6000, map_bits=MAP_BITS,
        )  # fmt: skip

    def cut(self, name: str) -> None:
        line = self.lines.pop(name, None)
        if line is not None:
            self.nodes[name].detach(line)

    def mend(self, name: str) -> None:
        self.spawn(self._join(name))

    async def _join(self, name: str) -> None:
        """Bring a node what was decided without it, then put it on the line."""
        async with self._turn:
            node = self.nodes[name]
            for decided in self._decided[node.height :]:
                await node.execute(decided.header, decided.bundles)
                await node.commit()
            line = self.lines[name] = _Line(self, name)
            node.attach(line)
            for other in self.lines:
                if other != name:
                    for member, head, said in self.nodes[other].lines_over_latest():
                        self.hears(name, member, head, said)
        self.wake.set()

    def hears(self, name: str, member: MemberId, head: Checkpoint, line: SignatureLine) -> None:
        asyncio.get_running_loop().call_soon(self.nodes[name].hear, member, head.size, head.root, line.to_text())

    def spawn(self, work: Any) -> None:
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    # -------------------------------------------------------------------------------------------------------- agreeing

    def _quorum(self) -> bool:
        weights = {str(each.id): each.weight for each in self.genesis.members}
        return 3 * sum(weights[name] for name in self.lines) > 2 * sum(weights.values())

    def _due(self) -> bool:
        node = self.nodes[next(iter(self.lines))]
        due = node.machine.next_due
        return due is not None and due <= self.clock.now()

    async def _run(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            while self.lines and self._quorum() and (self.waiting or self._due()):
                async with self._turn:
                    await self._round()

    async def _round(self) -> None:
        names = sorted(self.lines)
        first = self.nodes[names[len(self._decided) % len(names)]]
        header = Header(Height(first.height + 1), BlockTime(max(self.clock.now(), first.machine.applied.time + 1)))
        bundles = tuple(first.propose(header, list(self.waiting), _ROOM))
        for name in names:
            why = await self.nodes[name].judge(header, bundles)
            assert not why, f"{name} refuses an honest proposal: {why}"
        self._decided.append(_Decided(header, bundles))
        hashes = {(await self.nodes[name].execute(header, bundles)).app_hash for name in names}
        assert len(hashes) == 1, "the nodes disagree"
        for name in names:
            await self.nodes[name].commit()
        kept = [each for each in self.waiting if each not in bundles]
        self.waiting = {each: None for each in kept if (await first.check(each, again=True)).good}

    # ----------------------------------------------------------------------------------------------------------- using

    def _still(self) -> bool:
        """Whether nothing is under way, as far as a quorum is there to decide it."""
        if self._turn.locked() or self.wake.is_set() or self._tasks:
            return False
        if len({self.nodes[name].height for name in self.lines}) > 1:
            return False
        return not self.lines or not self._quorum() or not (self.waiting or self._due())

    async def settle(self, rounds: int = 2000) -> None:
        """Let everything under way arrive: until all nodes on the line stand where a quorum can bring them."""
        await settled(self._still, self._stands, rounds)

    def _stands(self) -> object:
        return len(self._decided), len(self.waiting), tuple(each.height for each in self.nodes.values())

    async def pass_time(self, ms: int) -> None:
        """Move the clock, let every node do what time brings, and let it arrive."""
        await self.settle()
        self.clock.move(ms)
        for node in self.nodes.values():
            node.tick()
        self.wake.set()
        await self.settle()

    def sign(
        self, payload: Payload, *, by: "str | SoftKey | SoftPasskey", recent: tuple[int, bytes] | None = None
    ) -> bytes:
        """A transaction by a member's operate key, or by a passkey, fresh by what the first node knows."""
        self._nonces += 1
        tip = next(iter(self.nodes.values())).machine.tip
        expiry = max(self.clock.now(), tip.time) + 60_000
        return signed(self.genesis.ledger_id, payload, by, self._nonces, recent or (tip.size, tip.root), expiry)

    def roots(self, names: Sequence[str] | None = None) -> set[tuple[int, bytes, bytes]]:
        """(height, log root, state root) of nodes: one element when they agree."""
        tips = [self.nodes[name].machine.tip for name in (names or self.nodes)]
        return {(tip.height, tip.root, tip.state_root) for tip in tips}
