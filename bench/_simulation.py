"""Many members in one process and in virtual time: every member's real replica and cosignature exchange, no socket.

    with virtual_loop() as loop: loop.run_until_complete(...)     `asyncio.sleep` costs nothing, and takes its time

What is real: checking, judging, executing, keeping (in memory), cosigning, every message and its bytes, and the
processor time each takes, which is measured and put on the clock of the member that spends it. What is a model: the
consensus, as one round without faults (a proposal reaches each over its link; votes go from each to each, and a member
goes on when more than two thirds of them came), and the links, which delay but never lose.
"""

import asyncio
import hashlib
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from nacl.signing import SigningKey

from commonward.adapters.store.blocks import MemoryBlocks
from commonward.ledger.checkpoint import Checkpoint, SignatureLine
from commonward.ledger.encoding import Digest
from commonward.ledger.genesis import Genesis, GenesisKey, GenesisMember, make_genesis
from commonward.ledger.ids import Algorithm, BlockTime, Height, KeyId, MemberId, MemberKind, Purpose, key_id
from commonward.ledger.merkle.log import MemoryLogStore
from commonward.ledger.proofs import ProofKind, member_proof
from commonward.ledger.rules import Header
from commonward.ledger.state import MemoryStore
from commonward.ledger.transactions import Receipt, assemble, build_body, build_bundle, transaction_digest
from commonward.workflows.agreeing import AgreeingReplica
from commonward.workflows.exchange import CosignExchange
from commonward.workflows.ports import StorageKeys

__all__ = ["Members", "Round", "SimKeys", "VirtualLoop", "virtual_loop"]

START = BlockTime(1_790_000_000_000)
MAP_BITS = 8
_SIGNING = (Purpose.OPERATE, Purpose.CARRY, Purpose.COSIGN, Purpose.TLS, Purpose.NODE, Purpose.VALIDATE)
_FRAME = 600
"""Bytes of TLS and HTTP around a message and its answer, roughly."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its clock jumps to the next timer whenever nothing is left to do; it waits for threads as long as they need."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._away = 0

    def time(self) -> float:
        return self._now

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        self._away += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._back)
        return future

    def _back(self, _: object) -> None:
        self._away -= 1

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]
        if not ready and scheduled and not self._away:
            self._now = max(self._now, scheduled[0]._when)
        super()._run_once()  # type: ignore[misc]


@contextmanager
def virtual_loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        yield loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


@dataclass(frozen=True)
class SimKeys:
    """Implements `ports.Keys`, made from a member's name."""

    member: MemberId
    _keys: dict[Purpose, SigningKey] = field(default_factory=dict, compare=False)

    def _key(self, purpose: Purpose) -> SigningKey:
        if purpose not in self._keys:
            self._keys[purpose] = SigningKey(hashlib.sha256(f"{self.member} {purpose.name}".encode()).digest())
        return self._keys[purpose]

    def public(self, purpose: Purpose) -> tuple[Algorithm, bytes, KeyId]:
        public = bytes(self._key(purpose).verify_key)
        return Algorithm.EDDSA, public, key_id(Algorithm.EDDSA, public)

    def sign(self, purpose: Purpose, message: bytes) -> bytes:
        return bytes(self._key(purpose).sign(message).signature)

    def storage(self) -> StorageKeys:
        raise NotImplementedError("nothing is stored for patients here")

    def open_sealed(self, info: bytes, sealed: bytes, aad: bytes = b"") -> bytes:
        raise NotImplementedError("nothing is sealed here")


def _founded(count: int) -> Genesis:
    ends = BlockTime(START + 366 * 86_400_000)
    members = []
    for number in range(count):
        name = MemberId(f"hospital-{number + 1}")
        keys = SimKeys(name)
        members.append(
            GenesisMember(
                name, f"Hospital {number + 1}", MemberKind.HOSPITAL, 1, b"certificate of " + name.encode(), 1,
                f"https://{name}.example", tuple(
                    GenesisKey(purpose, *keys.public(purpose)[:2], BlockTime(START - 1), ends)
                    for purpose in Purpose if purpose in _SIGNING
                ),
            )
        )  # fmt: skip
    return make_genesis(name="Many", created=START, members=tuple(members), operator="", rp_id="example", pilot=False)


class _Clock:
    """The loop's time, as a member's clock shows it."""

    def now(self) -> BlockTime:
        return BlockTime(START + 1000 + int(asyncio.get_event_loop().time() * 1000))


class _Busy:
    """One member's processor: one thing after another, each as long as it really took."""

    def __init__(self) -> None:
        self.used = 0.0
        self._free = 0.0

    def charge(self, took: float) -> None:
        self.used += took
        self._free = max(asyncio.get_running_loop().time(), self._free) + took

    async def settle(self) -> None:
        await asyncio.sleep(max(0.0, self._free - asyncio.get_running_loop().time()))

    async def spend(self, took: float) -> None:
        self.charge(took)
        await self.settle()


class _Exchange(CosignExchange):
    """Puts what hearing takes on its member's clock, whoever began the talk."""

    def __init__(self, replica: AgreeingReplica, post: "_Post", busy: _Busy) -> None:
        super().__init__(replica, post)
        self._busy = busy

    def _hear(self, said: Sequence[tuple[MemberId, int, Digest, str]]) -> None:
        began = time.thread_time()
        super()._hear(said)
        self._busy.charge(time.thread_time() - began)


@dataclass
class _Post:
    """Messages of one member to others. Implements `ports.Peers`."""

    world: "Members"
    place: int

    async def ask(self, member: MemberId, path: str, body: bytes) -> bytes:
        world, other = self.world, self.world.places[member]
        delay = world.delay(self.place, other)
        await asyncio.sleep(delay)
        answer = await world.exchanges[other].answer(world.names[self.place], body)
        await world.busy[other].settle()
        world.messages += 1
        world.bytes += len(body) + len(answer) + _FRAME
        await asyncio.sleep(delay)
        return answer


@dataclass
class _Uplink:
    """Implements `Uplink`: a member's cosignature goes to its exchange; bundles are put into blocks by hand here."""

    exchange: CosignExchange

    def carry(self, number: int, bundle: bytes) -> None:
        raise AssertionError("the world makes the bundles")

    def cosigned(self, checkpoint: Checkpoint, line: SignatureLine) -> None:
        self.exchange.cosigned()


@dataclass
class Round:
    """One block. Seconds of virtual time from the proposal: until each had executed it, and until it was proven there;
    processor seconds of a member; messages and bytes of cosignatures over all."""

    executed: list[float]
    proven: list[float]
    block_cpu: float
    cosign_cpu: float
    messages: int
    bytes: int
    block_bytes: int


class Members:
    """All of them. Made and used within a `VirtualLoop`."""

    def __init__(self, count: int, regions: int = 5, near_s: float = 0.002, far_s: tuple[float, float] = (0.01, 0.04)):
        """Links: one way `near_s` within a region, between regions something of `far_s`, the same both ways."""
        self.genesis = _founded(count)
        self.names = [member.id for member in self.genesis.members]
        self.places = {name: at for at, name in enumerate(self.names)}
        chance = random.Random(50)
        self._far = {
            (one, two): chance.uniform(*far_s) for one in range(regions) for two in range(one + 1, regions)
        }  # fmt: skip
        self._near, self._regions = near_s, regions
        self.keys = [SimKeys(name) for name in self.names]
        clock = _Clock()
        self.replicas = [
            AgreeingReplica(
                keys=keys, genesis=self.genesis, store=MemoryStore(), log_store=MemoryLogStore(),
                blocks=MemoryBlocks(), clock=clock, map_bits=MAP_BITS,
            )
            for keys in self.keys
        ]  # fmt: skip
        self.busy = [_Busy() for _ in self.names]
        self.exchanges = [
            _Exchange(replica, _Post(self, at), self.busy[at]) for at, replica in enumerate(self.replicas)
        ]
        self.messages = self.bytes = 0
        for replica, exchange in zip(self.replicas, self.exchanges, strict=True):
            replica.attach(_Uplink(exchange))
        self._number = 0

    def delay(self, one: int, two: int) -> float:
        a, b = sorted((one % self._regions, two % self._regions))
        return self._near if a == b else self._far[a, b]

    async def run(self) -> list["asyncio.Task[None]"]:
        """The exchanges; let the first tellings pass."""
        tasks = [asyncio.create_task(each.run()) for each in self.exchanges]
        await asyncio.sleep(1)
        return tasks

    def close(self) -> None:
        for replica in self.replicas:
            replica.close()

    def bundles(self, each: int) -> list[bytes]:
        """One of every member, with so many receipts."""
        ledger, recent = self.genesis.ledger_id, self.replicas[0].recent()
        expiry = _Clock().now() + 100_000
        made = []
        for keys in self.keys:
            _, _, key = keys.public(Purpose.OPERATE)
            raws = []
            for _ in range(each):
                self._number += 1
                some = Digest(self._number.to_bytes(32, "big"))
                body = build_body(
                    ledger, Receipt(some, some, some), self._number.to_bytes(16, "big"), recent, expiry, author=key
                )
                proof = member_proof(
                    Algorithm.EDDSA, key, lambda message, keys=keys: keys.sign(Purpose.OPERATE, message),  # type: ignore[misc]
                    transaction_digest(body),
                )  # fmt: skip
                raws.append(assemble(body, ProofKind.MEMBER, proof))
            made.append(
                build_bundle(
                    ledger, keys.public(Purpose.CARRY)[2], raws,
                    lambda digest, keys=keys: keys.sign(Purpose.CARRY, digest),  # type: ignore[misc]
                )
            )  # fmt: skip
        return made

    async def round(self, bundles: Sequence[bytes]) -> Round:
        """Propose, agree, execute and cosign one block of these, which every member has checked before."""
        loop, count = asyncio.get_running_loop(), len(self.names)
        began, messages, sent = loop.time(), self.messages, self.bytes
        used = [each.used for each in self.busy]
        header = Header(Height(self.replicas[0].height + 1), max(_Clock().now(), BlockTime(self._tip() + 1)))
        proposer = header.height % count
        judged = []
        for replica in self.replicas:
            started = time.process_time()
            why = await replica.judge(header, bundles)
            judged.append(time.process_time() - started)
            assert not why, why
        voted = [self.delay(proposer, at) * (at != proposer) + judged[at] for at in range(count)]
        for _ in ("prevote", "precommit"):
            voted = [self._two_thirds(voted, at) for at in range(count)]
        size = 0
        kept: list[float] = []
        executed = [0.0] * count

        async def finish(at: int) -> float:
            await asyncio.sleep(voted[at])
            started = time.thread_time()
            await self.replicas[at].execute(header, bundles)
            took = time.thread_time() - started
            await self.busy[at].spend(took)  # before it is kept: the cosignature leaves when it has been executed
            started = time.thread_time()
            await self.replicas[at].commit()
            kept.append(took + time.thread_time() - started)
            await self.busy[at].spend(kept[-1] - took)
            executed[at] = loop.time() - began
            await self.replicas[at].cosigned(self.replicas[at].machine.tip.size, 60_000)
            return loop.time() - began

        proven = await asyncio.gather(*(finish(at) for at in range(count)))
        await asyncio.sleep(1.0)  # what is still told after the quorum counts too
        size = sum(map(len, bundles))
        assert len({replica.info() for replica in self.replicas}) == 1, "expected one root on all"
        own = statistics.median(kept)
        spent = statistics.median(each.used - before for each, before in zip(self.busy, used, strict=True))
        return Round(
            executed, list(proven), statistics.median(judged) + own, spent - own, self.messages - messages,
            self.bytes - sent, size,
        )  # fmt: skip

    def _tip(self) -> int:
        return self.replicas[0].machine.applied.time

    def _two_thirds(self, voted: Sequence[float], at: int) -> float:
        """When more than two thirds of equal votes have come here."""
        arrived = sorted(when + self.delay(one, at) * (one != at) for one, when in enumerate(voted))
        return arrived[2 * len(arrived) // 3]
