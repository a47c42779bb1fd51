"""The embedded engine in memory: the real sequencer and every member's real node, joined without a socket.

    async with MemoryEngine() as engine:
        north = engine.nodes["north"]                            a FollowingReplica: what workflows call their Ledger
        committed = await north.submit(engine.sign(payload, by="north"))
        await north.cosigned(committed.index + 2)

Time stands still until `engine.clock.move`; `await engine.settle()` lets all that is under way arrive. Lines are cut
and mended by member, and a node's calls fail on cue, before or after their effect (`north.cue.fail_next("submit")`).
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from commonward.adapters.solo.sequencer import Sequencer
from commonward.adapters.store.blocks import MemoryBlocks
from commonward.ledger.checkpoint import Checkpoint, SignatureLine
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import Algorithm, KeyId, LedgerId, MemberId, Purpose
from commonward.ledger.merkle.log import MemoryLogStore
from commonward.ledger.proofs import ProofKind, member_proof
from commonward.ledger.state import MemoryStore
from commonward.ledger.transactions import Payload, assemble, build_body, transaction_digest
from commonward.workflows.following import FollowingReplica
from commonward.workflows.memory import SteppedClock
from commonward.workflows.ports import StorageKeys
from tests.cued import Cued, settled
from tests.ledgerkit import MEMBERS, START, SoftKey, SoftPasskey, demo_genesis, member_soft_key

MAP_BITS = 8


def signed(
    ledger: LedgerId,
    payload: Payload,
    by: "str | SoftKey | SoftPasskey",
    nonce: int,
    recent: tuple[int, bytes],
    expiry: int,
) -> bytes:
    """A transaction by a member's operate key (by name), by any key, or by a passkey."""
    signer = member_soft_key(by, Purpose.OPERATE) if isinstance(by, str) else by
    author = signer.author if isinstance(signer, SoftPasskey) else signer.id
    body = build_body(ledger, payload, nonce.to_bytes(16, "big"), recent, expiry, author=author)
    digest = transaction_digest(body)
    if isinstance(signer, SoftPasskey):
        return assemble(body, ProofKind.PASSKEY, signer.assertion(digest))
    return assemble(body, ProofKind.MEMBER, member_proof(signer.algorithm, signer.id, signer.sign, digest))


@dataclass(frozen=True)
class SoftKeys:
    """`ports.Keys` of one member, made from its name."""

    member: MemberId

    def _key(self, purpose: Purpose) -> SoftKey:
        return member_soft_key(self.member, purpose)

    def public(self, purpose: Purpose) -> tuple[Algorithm, bytes, KeyId]:
        key = self._key(purpose)
        return key.algorithm, key.public, key.id

    def sign(self, purpose: Purpose, message: bytes) -> bytes:
        return self._key(purpose).sign(message)

    def storage(self) -> StorageKeys:
        return StorageKeys(SoftKey(f"{self.member} wrap").seed, SoftKey(f"{self.member} index").seed)

    def open_sealed(self, info: bytes, sealed: bytes, aad: bytes = b"") -> bytes:
        from commonward.records.envelope import open_from

        return open_from(self._key(Purpose.HPKE).seed, info, sealed, aad)


@dataclass
class Disk:
    """What a node or the sequencer keeps over a restart."""

    store: MemoryStore = field(default_factory=MemoryStore)
    log: MemoryLogStore = field(default_factory=MemoryLogStore)
    blocks: MemoryBlocks = field(default_factory=MemoryBlocks)


class CuedReplica(Cued, FollowingReplica):
    """A node whose calls fail on cue."""


class _Line:
    """One node's line to the sequencer. Implements `Uplink`."""

    def __init__(self, engine: "MemoryEngine", replica: CuedReplica) -> None:
        self._engine = engine
        self.replica = replica
        self.wake = asyncio.Event()
        self.welcome = engine.sequencer.height
        self.attached = False

    def carry(self, number: int, bundle: bytes) -> None:
        self._engine.spawn(self._carry(number, bundle))

    async def _carry(self, number: int, bundle: bytes) -> None:
        verdict = await self._engine.sequencer.take(self.replica.member, bundle)
        if self._engine.lines.get(self.replica.member) is self:
            self.replica.carried(number, verdict.refusals, verdict.why)

    def cosigned(self, checkpoint: Checkpoint, line: SignatureLine) -> None:
        self._engine.said[self.replica.member] = (checkpoint, line.to_text())
        for member, other in self._engine.lines.items():
            if member != self.replica.member:
                other.hear(self.replica.member, checkpoint, line.to_text())

    def hear(self, member: MemberId, checkpoint: Checkpoint, text: str) -> None:
        asyncio.get_running_loop().call_soon(self.replica.hear, member, checkpoint.size, checkpoint.root, text)

    async def follow(self) -> None:
        for member, (checkpoint, text) in self._engine.said.items():
            self.hear(member, checkpoint, text)
        while True:
            self.wake.clear()
            while self.replica.height < self._engine.sequencer.height:
                height = self.replica.height + 1
                await self.replica.offer(self._engine.sequencer.record(height), live=height > self.welcome)
            if not self.attached:
                self.attached = True
                self.replica.attach(self)
            await self.wake.wait()


class MemoryEngine:
    """A sequencer run by `health`, and the nodes of the five members of `tests.ledgerkit`."""

    def __init__(self, genesis: Genesis | None = None, clock: SteppedClock | None = None) -> None:
        self.clock = clock or SteppedClock(START + 1000)
        self.genesis = genesis or demo_genesis()
        self.disks = {MemberId(name): Disk() for name in MEMBERS}
        self.sequencer_disk = Disk()
        self.nodes: dict[str, CuedReplica] = {}
        self.lines: dict[MemberId, _Line] = {}
        self.said: dict[MemberId, tuple[Checkpoint, str]] = {}
        self._following: dict[MemberId, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._nonces = 0

    async def __aenter__(self) -> Self:
        self.start_sequencer()
        for name in MEMBERS:
            self.start(name)
        await self.settle()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for member in list(self.nodes):
            await self.stop(member)
        await self.stop_sequencer()

    # ------------------------------------------------------------------------------------------------ starting, failing

    def start_sequencer(self) -> None:
        key = member_soft_key(self.genesis.operator, Purpose.SEQUENCE)
        disk = self.sequencer_disk
        self.sequencer = Sequencer(
            genesis=self.genesis, store=disk.store, log_store=disk.log, blocks=disk.blocks, clock=self.clock,
            public=key.public, sign=key.sign, map_bits=MAP_BITS,
        )  # fmt: skip
        self.sequencer.published = self._published
        self.running = asyncio.get_running_loop().create_task(self.sequencer.run())

    async def stop_sequencer(self) -> None:
        for member in list(self.lines):
            self.cut(member)
        self.running.cancel()
        await asyncio.gather(self.running, *self._tasks, return_exceptions=True)
        self.sequencer.close()

    def open(self, name: str) -> CuedReplica:
        """A member's node over its disk, on no line."""
        member = MemberId(name)
        disk = self.disks[member]
        return CuedReplica(
            keys=SoftKeys(member), genesis=self.genesis, store=disk.store, log_store=disk.log, blocks=disk.blocks,
            clock=self.clock, submit_ms=6000, map_bits=MAP_BITS,
        )  # fmt: skip

    def start(self, name: str) -> CuedReplica:
        """Start a member's node and put it on the line."""
        node = self.nodes[name] = self.open(name)
        self.mend(name)
        return node

    async def stop(self, name: str) -> None:
        """Stop a member's node. Its disk stays for the next `start`."""
        self.cut(name)
        await self.settle()
        self.nodes.pop(name).close()

    def cut(self, name: str) -> None:
        """Break the line between a node and the sequencer."""
        member = MemberId(name)
        line = self.lines.pop(member, None)
        if line is not None:
            line.replica.detach(line)
            self._following.pop(member).cancel()

    def mend(self, name: str) -> None:
        member = MemberId(name)
        line = self.lines[member] = _Line(self, self.nodes[name])
        self._following[member] = self.spawn(line.follow())

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    def _published(self) -> None:
        for line in self.lines.values():
            line.wake.set()

    # ----------------------------------------------------------------------------------------------------------- using

    def _still(self) -> bool:
        """Whether nothing is under way: no bundle, no block, and all nodes on the line where the sequencer is."""
        sequencer = self.sequencer
        if sequencer.room or sequencer._cutting or self._tasks - set(self._following.values()):
            return False
        on_the_line = [line for line in self.lines.values() if line.replica.fault is None]
        return all(line.attached and line.replica.height == sequencer.height for line in on_the_line)

    async def settle(self, rounds: int = 2000) -> None:
        """Let everything under way arrive: until all nodes on the line stand where the sequencer does."""
        await settled(self._still, self._stands, rounds)

    def _stands(self) -> object:
        return self.sequencer.height, tuple(each.height for each in self.nodes.values())

    async def pass_time(self, ms: int) -> None:
        """Move the clock, let every node do what time brings, and let it arrive.

        What is under way arrives before: a node does not cosign a block that reaches it long after its time.
        """
        await self.settle()
        self.clock.move(ms)
        for node in self.nodes.values():
            node.tick()
        self.sequencer.poke()
        await self.settle()

    def sign(
        self, payload: Payload, *, by: "str | SoftKey | SoftPasskey", recent: tuple[int, bytes] | None = None
    ) -> bytes:
        """A transaction by a member's operate key, or by a passkey, fresh by the sequencer's last block."""
        self._nonces += 1
        tip = self.sequencer.machine.tip
        expiry = max(self.clock.now(), tip.time) + 60_000
        return signed(self.genesis.ledger_id, payload, by, self._nonces, recent or (tip.size, tip.root), expiry)

    def roots(self, names: Iterable[str] | None = None) -> set[tuple[int, bytes, bytes]]:
        """(height, log root, state root) of nodes: one element when they agree."""
        tips = [self.nodes[name].machine.tip for name in (names or self.nodes)]
        return {(tip.height, tip.root, tip.state_root) for tip in tips}
