"""Consensus in memory: every member's real `AgreeingReplica`, joined by a loop that plays an honest engine.

    async with AgreeingWorld() as world:
        world.hand("north", world.kit_bundle([...]))       checked by every node, and waiting there
        agreed = await world.round()                        proposed by one, judged by all, executed, kept, cosigned

The loop promises what consensus promises: all nodes that are up execute the same blocks in the same order, with times
that grow. It proves nothing of networks; `tests/network` runs the real engine.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from commonward.ledger.checkpoint import Checkpoint, SignatureLine
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import BlockTime, Height, MemberId, Purpose
from commonward.ledger.rules import Header
from commonward.ledger.transactions import build_bundle
from commonward.workflows.agreeing import Agreed, AgreeingReplica
from commonward.workflows.checking import Verdict
from commonward.workflows.memory import SteppedClock
from tests.ledgerkit import START, Kit, demo_genesis, member_soft_key
from tests.memory_engine import MAP_BITS, Disk, SoftKeys

ROOM = 3 << 20


@dataclass
class _Line:
    """Implements `Uplink`: bundles go to every node's waiting room, cosignatures to every node."""

    world: "AgreeingWorld"
    member: str

    def carry(self, number: int, bundle: bytes) -> None:
        self.world.spawn(self._carry(number, bundle))

    async def _carry(self, number: int, bundle: bytes) -> None:
        verdict = await self.world.hand(self.member, bundle)
        node = self.world.nodes.get(self.member)
        if node is not None:
            node.carried(number, verdict.refusals, verdict.why)

    def cosigned(self, checkpoint: Checkpoint, line: SignatureLine) -> None:
        for name, node in self.world.nodes.items():
            if name != self.member:
                asyncio.get_running_loop().call_soon(
                    node.hear, MemberId(self.member), checkpoint.size, checkpoint.root, line.to_text()
                )


class AgreeingWorld:
    """The members of `tests.ledgerkit`, or of a genesis of one's own."""

    def __init__(self, genesis: Genesis | None = None) -> None:
        self.genesis = genesis or demo_genesis(consensus=True)
        self.clock = SteppedClock(START + 1000)
        self.disks = {str(each.id): Disk() for each in self.genesis.members}
        self.nodes: dict[str, AgreeingReplica] = {}
        self.waiting: dict[str, dict[bytes, None]] = {}
        self.lines: dict[str, _Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = 0
        # Signs as the members do; its machine is not used.
        self.kit = Kit(self.genesis)

    async def __aenter__(self) -> Self:
        for name in self.disks:
            self.start(name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for name in list(self.nodes):
            self.stop(name)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(self, name: str) -> AgreeingReplica:
        disk = self.disks[name]
        node = self.nodes[name] = AgreeingReplica(
            keys=SoftKeys(MemberId(name)), genesis=self.genesis, store=disk.store, log_store=disk.log,
            blocks=disk.blocks, clock=self.clock, submit_ms=5000, map_bits=MAP_BITS,
        )  # fmt: skip
        self.waiting[name] = {}
        self.lines[name] = _Line(self, name)
        node.attach(self.lines[name])
        return node

    def stop(self, name: str) -> None:
        self.nodes.pop(name).close()
        del self.waiting[name]

    def spawn(self, work: object) -> None:
        task = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type,var-annotated]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def bundle(self, raws: Sequence[bytes], carrier: str) -> bytes:
        key = member_soft_key(carrier, Purpose.CARRY)
        return build_bundle(self.genesis.ledger_id, key.id, raws, key.sign)

    async def hand(self, name: str, bundle: bytes) -> Verdict:
        """A node checks a bundle and, when it is good, hands it on to all others, which check it too."""
        verdict = await self.nodes[name].check(bundle)
        if verdict.good:
            self.waiting[name][bundle] = None
            for other in self.nodes:
                if other != name and (await self.nodes[other].check(bundle)).good:
                    self.waiting[other][bundle] = None
        return verdict

    def header(self, ms: int = 500) -> Header:
        node = next(iter(self.nodes.values()))
        self.clock.move(ms)
        return Header(Height(node.height + 1), BlockTime(max(self.clock.now(), node.tip_time() + 1)))

    async def round(self, proposer: str | None = None, misbehaved: Sequence[bytes] = ()) -> Agreed:
        """One block. Every node must accept what the proposer, an honest one, chose."""
        names = sorted(self.nodes)
        proposer = proposer or names[self._turn % len(names)]
        self._turn += 1
        header = self.header()
        bundles = self.nodes[proposer].propose(header, list(self.waiting[proposer]), ROOM, misbehaved)
        for name in names:
            why = await self.nodes[name].judge(header, bundles, misbehaved)
            assert not why, f"{name} refuses an honest proposal of {proposer}: {why}"
        return await self.decide(header, bundles, misbehaved)

    async def decide(self, header: Header, bundles: Sequence[bytes], misbehaved: Sequence[bytes] = ()) -> Agreed:
        """All nodes execute and keep a block, whoever proposed it."""
        agreed = {name: await node.execute(header, bundles, misbehaved) for name, node in self.nodes.items()}
        assert len({each.app_hash for each in agreed.values()}) == 1, "the nodes disagree"
        for node in self.nodes.values():
            await node.commit()
        for name, node in self.nodes.items():
            kept = [each for each in self.waiting[name] if each not in bundles]
            self.waiting[name] = {each: None for each in kept if (await node.check(each, again=True)).good}
        await asyncio.sleep(0)
        return next(iter(agreed.values()))

    def roots(self) -> set[tuple[int, bytes, bytes]]:
        """(height, log root, state root): one element when all agree."""
        tips = [node.machine.tip for node in self.nodes.values()]
        return {(tip.height, tip.root, tip.state_root) for tip in tips}
