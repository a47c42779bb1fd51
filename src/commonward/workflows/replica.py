"""One member's node: executes every block itself, remembers, cosigns, and answers `ports.Ledger`.

What is common to both ways of ordering. Where a member operates a sequencer, blocks are brought and compared with what
it signed (`following`); where the members agree by consensus, they are proposed, judged and executed (`agreeing`).
Whatever carries this member's bundles and cosignatures out is an `Uplink`.
"""

import asyncio
import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from commonward.ledger.checkpoint import Authority, Checkpoint, Note, SignatureLine, origin_of
from commonward.ledger.encoding import encode
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import BlockTime, Digest, Height, KeyId, MemberId, Purpose
from commonward.ledger.members import AUTHORITY_KEY, Equivocation
from commonward.ledger.merkle.log import LogStore
from commonward.ledger.refusals import Malformed, Refusal, TooLarge, UnknownKind
from commonward.ledger.state import Store
from commonward.ledger.transactions import Transaction, build_bundle, parse_transaction
from commonward.ledger.transition import Header, Machine, Outcome, Staged
from commonward.workflows.behind import WriteBehind
from commonward.workflows.blocklog import BlockLog, Record
from commonward.workflows.carrying import Carrier
from commonward.workflows.cosigning import SKEW_MS, CosignerFault, Cosigning, CosignKey, SignedOtherwise
from commonward.workflows.faults import OperatorFault
from commonward.workflows.indexes import AuthorityChange, BlockFacts, IndexedStore, Indexes, Row
from commonward.workflows.ledger_reads import LedgerReads
from commonward.workflows.ports import Clock, Committed, Keys, LedgerAway, Proven

__all__ = ["CannotFollow", "Executed", "Halted", "NotCarried", "Replica", "Uplink"]

SUBMIT_MS: Final = 15_000
_GENESIS_EPOCH: Final = 1

_log = structlog.get_logger(__name__)


class CannotFollow(Exception):
    """What was offered cannot be taken now, through nobody's proven fault; ask again."""


class Halted(LedgerAway):
    """This node follows no further, because somebody did what may not be; `fault` proves it."""

    def __init__(self, fault: OperatorFault | SignedOtherwise) -> None:
        super().__init__(f"this node has stopped following the ledger: {fault}")
        self.fault = fault


class NotCarried(LedgerAway):
    """Whoever orders would not take the transaction. Its word only: should it land after all, `found` tells."""

    def __init__(self, digest: Digest, code: int, text: str) -> None:
        super().__init__(f"transaction {digest.hex()} was not taken for a block: {text}")
        self.digest = digest
        self.code = code


class Uplink(Protocol):
    """Carries this member's words to the others. Does not wait, and may lose them."""

    def carry(self, number: int, bundle: bytes) -> None: ...

    def cosigned(self, checkpoint: Checkpoint, line: SignatureLine) -> None: ...


@dataclass(frozen=True, slots=True)
class Executed:
    """A block as this node executed it, for whoever listens."""

    header: Header
    size: int
    transactions: tuple[tuple[Transaction | None, Outcome], ...]


class _Pending:
    """A transaction of ours on its way, and who waits for it."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()

    def settle(self, committed: Committed) -> None:
        if not self.future.done():
            self.future.set_result(committed)

    def fail(self, why: LedgerAway) -> None:
        if not self.future.done():
            self.future.set_exception(why)
            self.future.exception()  # everyone who asked may have given up: unheard is no error then


class Replica(LedgerReads, ABC):
    """One member's node. One thread (the loop's); only the block log's writes happen in another."""

    def __init__(
        self,
        *,
        keys: Keys,
        genesis: Genesis,
        store: Store,
        log_store: LogStore,
        blocks: BlockLog,
        clock: Clock,
        submit_ms: int = SUBMIT_MS,
        map_bits: int = 17,
        pace_s: float = 0.0,
    ) -> None:
        """Open the node and replay what its block log holds beyond its state. `map_bits`: as `Machine` takes it;
        `pace_s`: as `Carrier` takes it.

        Raises:
            CannotFollow: the state is ahead of the block log, which has lost its end.
            StateDamaged: the state is not what was kept: remove it, and it is replayed from the block log.
        """
        self.member: MemberId = keys.member
        self.fault: OperatorFault | SignedOtherwise | None = None
        self.clock_doubt = False
        self.accused: dict[MemberId, CosignerFault] = {}
        """Members whose cosigning key signed a root that is not ours: either they are false, or we are."""
        self._keys = keys
        self._clock = clock
        self._submit_ms = submit_ms
        self._genesis = genesis
        self._map_bits = map_bits
        self._origin = origin_of(genesis.ledger_id)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"blocks-{self.member}")
        self._turn = asyncio.Lock()
        self._uplink: Uplink | None = None
        self._pending: dict[Digest, _Pending] = {}
        self._expiries: list[tuple[int, Digest]] = []
        self._listeners: list[Callable[[Executed], None]] = []
        _, _, self._carry_key = keys.public(Purpose.CARRY)
        self._carrier = Carrier(self._wrap, self._not_carried, pace_s, lambda: self._machine.quota())
        self._mount(store, log_store, blocks)

    def _mount(self, store: Store, log_store: LogStore, blocks: BlockLog) -> None:
        """Stand on these stores. Raises as the constructor says."""
        self._blocks = blocks
        self._behind = WriteBehind(store)
        self._store = IndexedStore(self._behind)
        self._index = Indexes(self._store)
        self._machine = Machine(self._genesis, self._store, log_store, map_bits=self._map_bits)
        _, public, _ = self._keys.public(Purpose.COSIGN)
        self._cosigning = Cosigning(
            CosignKey(self.member, public, lambda message: self._keys.sign(Purpose.COSIGN, message)),
            self._clock,
            self._publish,
            self._machine.log.root,
            self._accuse,
        )
        self._authority = self._read_authority()
        self._open()

    @abstractmethod
    def _open(self) -> None:
        """Replay what the block log holds beyond the state. Raises as the constructor says."""

    def close(self) -> None:
        """Stop the threads and let go of everyone who waits. The stores belong to whoever gave them.

        Raises what the state store raises when it cannot keep the last blocks; they are replayed at the next start.
        """
        self._give_up(LedgerAway("the node is stopping"))
        self._thread.shutdown(wait=True)
        self._behind.close()

    def flush(self) -> None:
        """Wait, in any thread, until the state store has every block kept. Raises what that store raises."""
        self._behind.flush()

    # --------------------------------------------------------------------------------------------------- where we are

    @property
    def height(self) -> Height:
        """Of the last block executed."""
        return self._machine.applied.height

    @property
    def authority(self) -> Authority:
        """In force after the last block."""
        return self._authority

    @property
    def machine(self) -> Machine:
        """For reading only: what evidence and status need beyond `ports.Ledger`."""
        return self._machine

    @property
    def connected(self) -> bool:
        """Whether this node has caught up and is on the line."""
        return self._uplink is not None

    def _head(self) -> Checkpoint:
        tip = self._machine.tip
        return Checkpoint(self._origin, tip.size, tip.root)

    def _read_authority(self) -> Authority:
        data = self._machine.get(AUTHORITY_KEY)
        assert data is not None, "genesis writes the authority"
        return Authority.parse(data)

    def key_holder(self, key: KeyId, purpose: Purpose) -> MemberId | None:
        """The active member for whom this key is registered and valid now, by the last block or by our clock."""
        found = self._machine.view().roll.key(key)
        now = max(self._machine.applied.time, self._clock.now())
        if found is None or found.purpose != purpose or not found.covers(now):
            return None
        holder = self._machine.view().roll.get(found.member)
        return found.member if holder is not None and holder.active else None

    # ------------------------------------------------------------------------------------------------------- following

    def _write(self, height: int, data: bytes) -> "asyncio.Future[None] | None":
        if self._blocks.height >= height:  # written in an attempt that failed later
            if self._blocks.read(height) != data:
                raise CannotFollow(f"block {height} is in our log already, and is another")
            return None
        return asyncio.get_running_loop().run_in_executor(self._thread, self._blocks.append, height, data)

    async def _durable(self, written: "asyncio.Future[None]") -> None:
        try:
            await asyncio.shield(written)
        except asyncio.CancelledError:
            # Whoever comes next must find the log at rest.
            await asyncio.wait([written])
            raise
        except Exception as cause:
            raise CannotFollow(f"our block log could not keep a block: {cause}") from cause

    def _keep(self, staged: Staged, record: Record, note: Note) -> None:
        """Commit a staged block with its index, and register its checkpoint under the authority before it."""
        header, size = staged.header, staged.checkpoint.size
        rows = [
            (
                Row(
                    outcome.index,
                    outcome.digest,
                    outcome.kind if transaction is not None else 0,
                    outcome.code,
                    header.height,
                    header.time,
                    outcome.member,
                    position,
                ),
                transaction.payload if transaction is not None else None,
            )
            for position, (transaction, outcome) in enumerate(staged.transactions)
        ]
        block_leaf = None if staged.idle else staged.leaves[-1]
        self._index.add(BlockFacts(header.height, size, header.time), rows, block_leaf)
        try:
            self._machine.commit(staged)
        except Exception as cause:
            raise CannotFollow(f"our state store could not keep block {header.height}: {cause}") from cause
        before = self._authority
        self._cosigning.executed(note, header.height, before)
        if AUTHORITY_KEY in staged.cells:
            self._authority = self._read_authority()
            self._capture_authority()

    def _capture_authority(self) -> None:
        """A map proof exists for the current root only: what a trust file needs is taken now."""
        value = self._machine.get(AUTHORITY_KEY)
        assert value is not None
        changes = self.authority_changes()
        tip = self._machine.tip
        if self._authority.epoch <= _GENESIS_EPOCH or (changes and changes[-1].authority == value):
            return
        proof = encode(self._machine.prove_state(AUTHORITY_KEY).to_value())
        self._index.add_authority(AuthorityChange(tip.height, tip.time, tip.size, tip.state_root, value, proof))
        self._cosigning.pin(tip.size, lambda proven: self._index.add_authority_proof(tip.size, proven.note))

    def _tell(self, staged: Staged) -> None:
        header = staged.header
        landed = []
        for transaction, outcome in staged.transactions:
            pending = self._pending.get(outcome.digest)
            if pending is None:
                landed.append(outcome.digest)
                continue
            # Somebody may have carried our body under a bad proof: refused before its digest was burnt, it says
            # nothing about ours.
            if outcome.code and transaction is not None and transaction.raw != pending.raw and outcome.code < 200:
                continue
            landed.append(outcome.digest)
            del self._pending[outcome.digest]
            pending.settle(Committed(outcome.digest, outcome.code, header.height, header.time, outcome.index))
        self._carrier.landed(landed)
        self._expire(header.time)
        if self._listeners:
            executed = Executed(header, staged.checkpoint.size, staged.transactions)
            for listener in self._listeners:
                listener(executed)

    def listen(self, listener: Callable[[Executed], None]) -> None:
        """Call `listener` after each block. It must not raise or wait; after a restart, `history` fills the gap."""
        self._listeners.append(listener)

    def _accuse(self, fault: CosignerFault) -> None:
        known = self.accused.get(fault.member)
        if known is None or (known.equivocation is None and fault.equivocation is not None):
            self.accused[fault.member] = fault
            _log.error("cosigner_differs", fault=str(fault), do="compare with the other members: `commonward doctor`")

    def _halt(self, fault: OperatorFault | SignedOtherwise) -> None:
        self.fault = fault
        _log.critical("ledger_halted", fault=str(fault), do="keep the proof (doctor shows it), call the members")
        self._carrier.disconnected()
        self._uplink = None
        self._give_up(Halted(fault))

    def _give_up(self, why: LedgerAway) -> None:
        pending, self._pending = self._pending, {}
        for each in pending.values():
            each.fail(why)
        self._cosigning.fail(why)

    # ------------------------------------------------------------------------------------------------------- the line

    def attach(self, uplink: Uplink) -> None:
        """This node has caught up and is on the line."""
        if self.fault is not None:
            return
        self._uplink = uplink
        if not self.clock_doubt:
            self._cosigning.sign()
        self._carrier.connected(uplink.carry)

    def detach(self, uplink: Uplink) -> None:
        """The line broke; what it did not bring is offered again on the next."""
        if self._uplink is uplink:
            self._uplink = None
            self._carrier.disconnected()

    def hear(self, member: MemberId, size: int, root: Digest, line: str) -> None:
        """A cosignature line that `member` is said to have made."""
        if self.fault is not None:
            return
        try:
            self._cosigning.received(member, Checkpoint(self._origin, size, root), line)
        except SignedOtherwise as contrary:
            self._halt(contrary)

    def lines_over_latest(self) -> list[tuple[MemberId, Checkpoint, SignatureLine]]:
        """Every cosignature under the latest checkpoint that this node knows: for a member that may lack some."""
        return list(self._cosigning.lines_over_latest())

    def carried(self, number: int, refusals: Sequence[tuple[Digest, int, str]], why: str) -> None:
        """What became of the bundle that went out under this number."""
        self._carrier.checked(number, refusals, why)

    def _publish(self, checkpoint: Checkpoint, line: SignatureLine) -> None:
        if self._uplink is not None:
            self._uplink.cosigned(checkpoint, line)

    def _wrap(self, transactions: Sequence[bytes]) -> bytes:
        return build_bundle(
            self.ledger_id, self._carry_key, transactions, lambda digest: self._keys.sign(Purpose.CARRY, digest)
        )

    def _not_carried(self, digest: Digest, code: int, text: str) -> None:
        pending = self._pending.pop(digest, None)
        if pending is not None:
            pending.fail(NotCarried(digest, code, text))

    def tick(self) -> None:
        """What time alone brings: cosign the latest checkpoint again, stop offering what has expired."""
        if self.fault is not None:
            return
        if self._uplink is not None and not self.clock_doubt and self._cosigning.due_again():
            self._cosigning.sign()
        self._expire(self._clock.now() - SKEW_MS)

    async def run(self, every_s: float = 5.0) -> None:
        """Tick until cancelled."""
        while True:
            self.tick()
            await asyncio.sleep(every_s)

    def _expire(self, now: int) -> None:
        while self._expiries and self._expiries[0][0] < now:
            _, digest = heapq.heappop(self._expiries)
            pending = self._pending.pop(digest, None)
            if pending is not None:
                self._carrier.drop(digest)
                pending.fail(LedgerAway(f"transaction {digest.hex()} expired before it landed: sign it again"))

    # ----------------------------------------------------------------------------------------- ports.Ledger, that waits

    async def submit(self, raw: bytes) -> Committed:
        """As `ports.Ledger.submit`. Also raises NotCarried, Halted (both `LedgerAway`)."""
        if self.fault is not None:
            raise Halted(self.fault)
        try:
            transaction = self._machine.check(raw, self._clock.now())
        except (Malformed, TooLarge, UnknownKind):
            raise
        except Refusal:
            # What stands already is refused as replayed, or by now as expired.
            found = self.found(parse_transaction(raw).digest)
            if found is not None:
                return found
            raise
        digest = transaction.digest
        pending = self._pending.get(digest)
        if pending is None:
            pending = self._pending[digest] = _Pending(raw)
            heapq.heappush(self._expiries, (transaction.expiry, digest))
            self._carrier.add(digest, raw)
        try:
            async with asyncio.timeout(self._submit_ms / 1000):
                return await asyncio.shield(pending.future)
        except TimeoutError as cause:
            raise LedgerAway(
                f"transaction {digest.hex()} is in no block after {self._submit_ms} ms; it may land later"
            ) from cause

    async def cosigned(self, size: int, timeout_ms: int = 10_000) -> Proven:
        if self.fault is not None:
            raise Halted(self.fault)
        try:
            return await self._cosigning.wait(size, timeout_ms)
        except TimeoutError as cause:
            raise LedgerAway(f"no quorum cosigned size {size} within {timeout_ms} ms") from cause

    def accusations(self) -> list[Equivocation]:
        return [proof for each in self.accused.values() if (proof := each.equivocation) is not None]

    def proven(self) -> Proven | None:
        return self._cosigning.proven()

    def next_time(self) -> BlockTime:
        """As `ports.Ledger.next_time`: who orders dates a block by its clock, which agrees with ours."""
        return max(self.tip_time(), self._clock.now())

    def heard(self) -> Mapping[MemberId, BlockTime]:
        """When each member cosigned last, as the lines say that came, checked or not."""
        return self._cosigning.heard

    def proven_live(self) -> bool:
        """Whether the ledger is proven live: a quorum stood by the proven checkpoint within the last 60 s."""
        return self.fault is None and self._cosigning.live()
