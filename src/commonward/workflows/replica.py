"""One member's node: executes every block itself, compares, remembers, cosigns, and answers `ports.Ledger`.

    block + signed checkpoint -> signed by the operator? next? -> keep durably, and execute
                              -> same checkpoint? -> commit, index, tell -> clock agrees? -> cosign

Whatever brings blocks (the sequencer's line, an in-memory test) calls `offer`; whatever carries this member's bundles
and cosignatures out is an `Uplink`. The operator of the sequencer is not trusted: what it signed and did not do halts
this node with a proof that names it (`faults`). Not promised here: that the operator orders fairly, or at all.
"""

import asyncio
import heapq
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from commonward.ledger.checkpoint import (
    NOTE_SIGNATURE,
    Authority,
    Checkpoint,
    Note,
    NoteError,
    SignatureLine,
    check_line,
    origin_of,
    parse_note,
)
from commonward.ledger.encoding import EncodingError, decode, encode
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import BlockTime, Digest, Handle, Height, KeyId, LedgerId, MemberId, Purpose, Tag
from commonward.ledger.members import AUTHORITY_KEY
from commonward.ledger.merkle.log import LogStore
from commonward.ledger.refusals import Malformed, Refusal, TooLarge, UnknownKind
from commonward.ledger.state import Store
from commonward.ledger.transactions import Transaction, build_bundle, parse_block, parse_transaction
from commonward.ledger.transition import Header, InvalidBlock, Machine, Outcome, Staged, UnknownProtocol, outcome_leaf
from commonward.workflows.behind import WriteBehind
from commonward.workflows.blocklog import BlockLog, Record, RecordError
from commonward.workflows.carrying import Carrier
from commonward.workflows.cosigning import SKEW_MS, Cosigning, CosignKey, SignedOtherwise
from commonward.workflows.faults import FaultKind, OperatorFault
from commonward.workflows.indexes import AuthorityChange, BlockFacts, IndexedStore, Indexes, Row
from commonward.workflows.ports import Clock, Committed, Entry, Keys, LedgerAway, PeerAway, Peers, Proven

__all__ = ["HEAD_PATH", "CannotFollow", "Executed", "Halted", "NotCarried", "Replica", "Uplink"]

HEAD_PATH: Final = "ledger/head"
"""Where members compare the checkpoints they were given, past the operator (`Replica.answer_head`)."""

SUBMIT_MS: Final = 15_000
_FAULT: Final = b"if"
_GENESIS_EPOCH: Final = 1
_AHEAD: Final = 64

_log = structlog.get_logger(__name__)


class CannotFollow(Exception):
    """What was offered cannot be taken now, through nobody's proven fault; ask the operator again."""


class Halted(LedgerAway):
    """This node follows no further, because the operator did what it may not; `fault` proves it."""

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


class Replica:
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
    ) -> None:
        """Open the node and replay what its block log holds beyond its state. `map_bits`: as `Machine` takes it.

        Raises:
            CannotFollow: the state is ahead of the block log, which has lost its end.
            StateDamaged: the state is not what was kept: remove it, and it is replayed from the block log.
        """
        self.member: MemberId = keys.member
        self.fault: OperatorFault | SignedOtherwise | None = None
        self.clock_doubt = False
        self._keys = keys
        self._clock = clock
        self._blocks = blocks
        self._submit_ms = submit_ms
        self._behind = WriteBehind(store)
        self._store = IndexedStore(self._behind)
        self._index = Indexes(self._store)
        self._machine = Machine(genesis, self._store, log_store, map_bits=map_bits)
        self._origin = origin_of(self._machine.ledger_id)
        self._genesis_time = genesis.created
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"blocks-{self.member}")
        self._turn = asyncio.Lock()
        self._uplink: Uplink | None = None
        self._pending: dict[Digest, _Pending] = {}
        self._expiries: list[tuple[int, Digest]] = []
        self._listeners: list[Callable[[Executed], None]] = []
        self._ahead: dict[int, Note] = {}
        _, _, self._carry_key = keys.public(Purpose.CARRY)
        self._carrier = Carrier(self._wrap, self._not_carried)
        _, public, _ = keys.public(Purpose.COSIGN)
        self._cosigning = Cosigning(
            CosignKey(self.member, public, lambda message: keys.sign(Purpose.COSIGN, message)),
            clock,
            self._publish,
            self._machine.log.root,
        )
        self._authority = self._read_authority()
        self._open()

    def _open(self) -> None:
        height, kept = self._machine.applied.height, self._blocks.height
        if height > kept:
            raise CannotFollow(
                f"the state stands at block {height}, the block log ends at {kept}: the log has lost its end. Remove "
                f"the state (it is replayed), and let the node catch up; it cosigns nothing that it has cosigned before"
            )
        if kept == 0 or height == kept:
            note = parse_note(Record.parse(self._blocks.read(kept)).note) if kept else Note(self._head(), ())
            self._cosigning.executed(note, height, self._authority)
        for at in range(height + 1, kept + 1):
            record = Record.parse(self._blocks.read(at))
            note = parse_note(record.note)
            public = self._operator_key(note)
            staged = self._execute(record.block, note, Height(at), public or b"")
            if staged is None:
                return
            self._keep(staged, record, note)
        self._capture_authority()
        stored = self._store.get(_FAULT)
        if stored is not None:
            self._halt(OperatorFault.parse(stored))

    def close(self) -> None:
        """Stop the threads and let go of everyone who waits. The stores belong to whoever gave them.

        Raises what the state store raises when it cannot keep the last blocks; they are replayed at the next start.
        """
        self._give_up(LedgerAway("the node is stopping"))
        self._thread.shutdown(wait=True)
        self._behind.close()

    # --------------------------------------------------------------------------------------------------- where we are

    @property
    def ledger_id(self) -> LedgerId:
        return self._machine.ledger_id

    @property
    def height(self) -> Height:
        """Of the last block executed."""
        return self._machine.applied.height

    @property
    def operator(self) -> MemberId:
        """The member who runs the sequencer, as the ledger says now."""
        return self._authority.operator

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

    # ------------------------------------------------------------------------------------------------------ following

    async def offer(self, data: bytes, *, live: bool) -> None:
        """Take the next block and the checkpoint signed after it (`Record` bytes).

        `live`: the block was cut while this node was on the line, so its time must agree with our clock; a block that
        is being caught up with has to be later than the one before, and that is all.

        Raises:
            CannotFollow: not the next block, not signed by the operator, or our disk failed: ask again later.
            Halted: the operator is at fault; for good.
        """
        async with self._turn:
            if self.fault is not None:
                raise Halted(self.fault)
            record, note, header = self._read(data)
            public = self._operator_key(note)
            if public is None:
                raise CannotFollow(f"the checkpoint after block {header.height} is not signed by {self.operator}")
            if header.height <= self.height:
                self._seen_before(record, note, header, public)
                return
            if header.height != self.height + 1:
                raise CannotFollow(f"expected block {self.height + 1}, got {header.height}")
            written = self._write(header.height, data)
            try:
                staged = self._execute(record.block, note, header.height, public)
            finally:
                if written is not None:
                    await self._durable(written)
            if staged is None:
                assert self.fault is not None
                raise Halted(self.fault)
            self._keep(staged, record, note)
            self._cosign(header, live)
            self._tell(staged)
            self._look_ahead()

    def _read(self, data: bytes) -> tuple[Record, Note, Header]:
        try:
            record = Record.parse(data)
            note = parse_note(record.note)
            match decode(record.block):
                case [[int(height), int(time)], list()]:
                    header = Header(Height(height), BlockTime(time))
                case _:
                    raise CannotFollow("expected a block [[height, time], [bundle ...]]")
        except (RecordError, NoteError, EncodingError) as cause:
            raise CannotFollow(f"not a block with its checkpoint: {cause}") from cause
        if note.checkpoint.origin != self._origin:
            raise CannotFollow(f"expected a checkpoint of {self._origin}, got one of {note.checkpoint.origin}")
        return record, note, header

    def _operator_key(self, note: Note) -> bytes | None:
        """The sequencing key that signed the note; None when none of the operator's did."""
        for key in self._authority.sequencer:
            for line in note.lines:
                if check_line(note.checkpoint, line, self._origin, NOTE_SIGNATURE, key.public):
                    return key.public
        return None

    def _seen_before(self, record: Record, note: Note, header: Header, public: bytes) -> None:
        """A block again: after a reconnection the same one; anything else is a rewritten history."""
        ours = Record.parse(self._blocks.read(header.height))
        if ours.block != record.block or parse_note(ours.note).checkpoint != note.checkpoint:
            self._judge(note, public)
            raise (
                CannotFollow(f"block {header.height} is offered again, and is another")
                if self.fault is None
                else (Halted(self.fault))
            )

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

    def _execute(self, block: bytes, note: Note, height: Height, public: bytes) -> Staged | None:
        """Stage a block; None when it shows the operator's fault, and this node has halted."""
        try:
            staged = self._machine.stage(block)
        except InvalidBlock as why:
            self._halt(OperatorFault.invalid_block(self.operator, public, height, note, block, str(why)))
            return None
        except UnknownProtocol as why:
            raise CannotFollow(str(why)) from why
        checkpoint = Checkpoint(self._origin, staged.checkpoint.size, staged.checkpoint.root)
        if checkpoint == note.checkpoint:
            contrary = self._cosigning.contradicted(checkpoint)
            if contrary is None:
                return staged
            self._halt(contrary)
            return None
        self._halt(OperatorFault.misexecution(self.operator, public, height, note, checkpoint, block))
        return None

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
        changes = self._index.authority_changes()
        tip = self._machine.tip
        if self._authority.epoch <= _GENESIS_EPOCH or (changes and changes[-1].authority == value):
            return
        proof = encode(self._machine.prove_state(AUTHORITY_KEY).to_value())
        self._index.add_authority(AuthorityChange(tip.height, tip.time, tip.size, tip.state_root, value, proof))
        self._cosigning.pin(tip.size, lambda proven: self._index.add_authority_proof(tip.size, proven.note))

    def _cosign(self, header: Header, live: bool) -> None:
        now = self._clock.now()
        self.clock_doubt = header.time > now + SKEW_MS or (live and header.time < now - SKEW_MS)
        if self.clock_doubt:
            _log.error(
                "header_time_off",
                height=header.height,
                header_ms=header.time,
                our_ms=now,
                do="not cosigned; see whose clock is wrong, ours or the operator's",
            )
        elif live or self._uplink is not None:
            self._cosigning.sign()

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

    # ---------------------------------------------------------------------------------------------------------- faults

    def _halt(self, fault: OperatorFault | SignedOtherwise) -> None:
        self.fault = fault
        _log.critical("operator_at_fault", fault=str(fault), do="keep the proof (doctor shows it), call the members")
        if isinstance(fault, OperatorFault) and fault.kind in (FaultKind.FORK, FaultKind.REWRITE):
            # The others show again when the block log is replayed.
            self._store.write({_FAULT: fault.to_bytes()})
        self._carrier.disconnected()
        self._uplink = None
        self._give_up(Halted(fault))

    def _give_up(self, why: LedgerAway) -> None:
        pending, self._pending = self._pending, {}
        for each in pending.values():
            each.fail(why)
        self._cosigning.fail(why)

    def clear_fault(self) -> None:
        """The members have settled it: follow again. For an operator's hands, never called by a program."""
        self._store.write({_FAULT: None})
        self.fault = None

    def witness(self, data: bytes) -> None:
        """Compare a checkpoint that another member was given with ours. A contradiction halts this node.

        Raises CannotFollow when it is no checkpoint that the operator signed.
        """
        try:
            note = parse_note(data)
        except NoteError as cause:
            raise CannotFollow(f"not a checkpoint: {cause}") from cause
        public = self._operator_key(note) if note.checkpoint.origin == self._origin else None
        if public is None:
            raise CannotFollow(f"not a checkpoint of this ledger that {self.operator} signed")
        if note.checkpoint.size > self._machine.tip.size:
            if len(self._ahead) < _AHEAD:
                self._ahead.setdefault(note.checkpoint.size, note)
        elif self.fault is None:
            self._judge(note, public)

    def _judge(self, note: Note, public: bytes) -> None:
        size = note.checkpoint.size
        here = self._machine.log.root(size)
        if here == note.checkpoint.root:
            return
        height = self._index.height_at(size)
        shown = Note(note.checkpoint, tuple(line for line in note.lines if line.name == self._origin))
        if height:
            ours = parse_note(Record.parse(self._blocks.read(height)).note)
            self._halt(OperatorFault.fork(self.operator, public, Height(height), ours, shown))
        else:
            self._halt(OperatorFault.rewrite(self.operator, public, self.height, shown, self._head(), here))

    def _look_ahead(self) -> None:
        for size in sorted(size for size in self._ahead if size <= self._machine.tip.size):
            note = self._ahead.pop(size)
            public = self._operator_key(note)
            if self.fault is None and public is not None:
                self._judge(note, public)

    def head(self) -> bytes:
        """The last checkpoint that the operator signed for us (its note); empty before the first block."""
        return Record.parse(self._blocks.read(self.height)).note if self.height else b""

    async def answer_head(self, member: MemberId, body: bytes) -> bytes:
        """Answers `HEAD_PATH`: hears the asker's checkpoint, says ours."""
        if body:
            try:
                self.witness(body)
            except CannotFollow as why:
                _log.warning("head_refused", member=member, why=str(why))
        return self.head()

    async def compare(self, peers: Peers, members: Sequence[MemberId]) -> None:
        """Compare heads with other members, past the operator: what it tells one, it must tell all."""
        for member in members:
            if member == self.member or self.fault is not None:
                continue
            try:
                said = await peers.ask(member, HEAD_PATH, self.head())
                if said:
                    self.witness(said)
            except (PeerAway, CannotFollow) as why:
                _log.info("head_not_compared", member=member, why=str(why))

    # ------------------------------------------------------------------------------------------------------ the line

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

    async def run(self, peers: Peers | None = None, every_s: float = 5.0, compare_each: int = 6) -> None:
        """Tick until cancelled; with `peers`, compare heads with all members every `compare_each` ticks."""
        turn = 0
        while True:
            self.tick()
            if peers is not None and turn % compare_each == 0:
                await self.compare(peers, [each.member for each in self._authority.cosigners])
            turn += 1
            await asyncio.sleep(every_s)

    def _expire(self, now: int) -> None:
        while self._expiries and self._expiries[0][0] < now:
            _, digest = heapq.heappop(self._expiries)
            pending = self._pending.pop(digest, None)
            if pending is not None:
                self._carrier.drop(digest)
                pending.fail(LedgerAway(f"transaction {digest.hex()} expired before it landed: sign it again"))

    # ----------------------------------------------------------------------------------------------------- ports.Ledger

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

    def proven(self) -> Proven | None:
        return self._cosigning.proven()

    def proven_live(self) -> bool:
        """Whether the ledger is proven live: a quorum stood by the proven checkpoint within the last 60 s."""
        return self.fault is None and self._cosigning.live()

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
        return self._entry(row, self._raws(row.height)) if row is not None else None

    def _raws(self, height: int) -> list[bytes]:
        block = parse_block(Record.parse(self._blocks.read(height)).block, self.ledger_id)
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
            if row is None or (kinds and row.kind not in kinds):
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
        """Every change of authority since genesis with its map proof, for trust files."""
        return self._index.authority_changes()
