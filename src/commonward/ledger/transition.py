"""The machine: state and block go in, outcomes and the next checkpoint come out. The same on every node, on any day.

    machine = Machine(genesis, store, log_store)      a fresh store is at height 0; any other goes on where it was
    machine.check(raw)                                raises the Refusal that a transaction would meet (CheckTx)
    staged = machine.stage(block)                     computes; nothing has changed
    machine.commit(staged)                            keeps: the log's hashes, then all else in one write

`stage` and `commit` are two steps because whoever runs the machine must compare, sign and keep the block in between.
A crash before, in or after `commit` leaves the old state or the new one, never a mixture: hashes of a block that was
not kept are cut off the log at the next start.

Log leaves: each transaction [1, digest, height, header time, code], in the block's order, then the block
[2, height, header time, state root]. A block in which nothing happened and nothing was due leaves no trace.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from commonward.ledger.authentic import (
    PastCheckpoint,
    SignatureJob,
    View,
    authenticate,
    check_common,
    member_signature_job,
)
from commonward.ledger.encoding import decode, encode
from commonward.ledger.genesis import Genesis, Imported, write_genesis
from commonward.ledger.ids import BlockTime, Digest, MemberId, Purpose
from commonward.ledger.importing import carry_over
from commonward.ledger.members.validators import changed, punish, read_validators, write_validators
from commonward.ledger.members.weights import write_authority
from commonward.ledger.merkle.log import Log, LogStore
from commonward.ledger.merkle.map import AuthenticatedMap, MapProof
from commonward.ledger.parameters import Parameter
from commonward.ledger.proofs import VerificationCache, Verifier
from commonward.ledger.refusals import QuotaExceeded, Refusal, TooManySignatures
from commonward.ledger.rulebook import Fixed, Rulebook
from commonward.ledger.rules import Header, MemberSigner
from commonward.ledger.staging import (
    ACCEPTED,
    TIP_KEY,
    Checkpointed,
    Outcome,
    Staged,
    Standing,
    StateDamaged,
    Tip,
    block_leaf,
    outcome_leaf,
    outcome_leaves,
)
from commonward.ledger.state import MemoryStore, State, Store
from commonward.ledger.transactions import (
    Bundle,
    InvalidBlock,
    Transaction,
    parse_block,
    parse_bundle,
    unreadable_digest,
)
from commonward.ledger.versions import VERSIONS, UnknownProtocol

__all__ = [
    "Header",
    "InvalidBlock",
    "Machine",
    "MemoryStore",
    "Outcome",
    "SignatureJob",
    "Staged",
    "StateDamaged",
    "Store",
    "Tip",
    "UnknownProtocol",
    "block_leaf",
    "outcome_leaf",
]

FORGET_AFTER: Final = 15 * 60 * 1000
"""Milliseconds after which neither a digest (expired) nor a checkpoint (stale) can matter: the bounds of EXPIRY and
FRESHNESS. Forgetting later changes no outcome, so it is done a little at a time."""

_FORGET_A_BLOCK: Final = 4
_MAX_CACHED: Final = 16_384
_MAX_PARSED: Final = 16_384
_MAX_BUNDLES: Final = 16 << 20
"""Bytes of bundles that are kept as they were read."""


class Machine:
    """One thread. Owns its stores: nobody else writes them."""

    def __init__(
        self,
        genesis: Genesis,
        store: Store,
        log_store: LogStore,
        *,
        map_bits: int = 17,
        versions: Mapping[int, Rulebook] = VERSIONS,
    ) -> None:
        """Opens the ledger that `genesis` began, or begins it. Raises StateDamaged.

        `map_bits`: how many levels of the map are held in memory (64 bytes << bits), which changes no root; a store
        is always opened with the bits it was made with. `versions`: of the rules, those that may come to rule.
        """
        self.genesis = genesis
        self.fixed = Fixed.of(genesis)
        self.ledger_id = self.fixed.ledger
        self.line = genesis.line  # here once: it digests all of genesis
        self._store = store
        self._cells: dict[bytes, bytes | None] = {}
        self._pasts: dict[int, PastCheckpoint | None] = {}
        self._parsed: dict[bytes, Transaction] = {}
        self._bundles: dict[bytes, Bundle] = {}
        self._bundle_bytes = 0
        self._unburnt: set[bytes] = set()
        self._committed = State(self._read)  # for reading: an overlay that nobody writes shows the state as it is
        self._cache = VerificationCache()
        self._versions = versions
        self._book = versions[genesis.protocol]
        self._map = AuthenticatedMap(store, map_bits)
        self._staged: Staged | None = None
        self._standing: Standing
        data = store.get(TIP_KEY)
        if data is None:
            log_store.truncate(0)
            self.log = Log(log_store, 0)
            self._begin()
            return
        imported = genesis.imported
        ended = imported is not None and Standing.is_of(data, imported.ledger)
        self._standing = Standing.parse(data, imported.ledger if imported is not None and ended else self.ledger_id)
        tip = self._standing.tip
        log_store.truncate(tip.size)
        try:
            self.log = Log(log_store, tip.size)
        except LookupError as cause:
            raise StateDamaged(f"the log is shorter than its {tip.size} leaves: {cause}") from cause
        if self.log.root() != tip.root:
            raise StateDamaged(f"expected log root {tip.root.hex()} at size {tip.size}, got {self.log.root().hex()}")
        if self._map.root != tip.state_root:
            raise StateDamaged(f"expected state root {tip.state_root.hex()}, got {self._map.root.hex()}")
        if imported is not None and ended:
            self._go_on(imported)
        self._open_book()

    def _begin(self) -> None:
        """Height 0: the state of genesis and its block leaf, so that there is a checkpoint to cosign at once."""
        header = Header(self.genesis.height, self.genesis.created)
        state = State(self._read)
        write_genesis(self.genesis, state)
        nothing = Tip(header.height, header.time, 0, self.log.root(), self._map.root)
        self._standing = Standing(nothing, header, 0, 0)
        self._keep(self._seal(header, state, [], ()))

    def _go_on(self, imported: Imported) -> None:
        """The ledger in these stores ended where genesis says: its state and its log go on under genesis, whose own
        block leaf is the next. One write: a crash leaves the ledger that ended, or the one that goes on."""
        tip, last = self.tip, self.applied
        if (tip.size, tip.root, last.height) != (imported.size, imported.root, imported.height):
            raise StateDamaged(
                f"genesis goes on from block {imported.height}, size {imported.size}, root {imported.root.hex()}; the "
                f"ledger here ends at block {last.height}, size {tip.size}, root {tip.root.hex()}"
            )
        header = Header(self.genesis.height, self.genesis.created)
        self._check_header(header)
        state = State(self._read)
        carry_over(self.genesis, state)
        self._keep(self._seal(header, state, [], ()))

    # ------------------------------------------------------------------------------------------------------ reading

    @property
    def whole(self) -> bool:
        """False where genesis goes on from a ledger that is not in these stores: what was begun from genesis alone
        executes nothing, and waits for a snapshot."""
        imported = self.genesis.imported
        return imported is None or self.tip.size > imported.size

    @property
    def tip(self) -> Tip:
        return self._standing.tip

    @property
    def applied(self) -> Header:
        """Of the last block applied, idle or not: the next has height + 1 and a later time."""
        return self._standing.applied

    @property
    def next_due(self) -> BlockTime | None:
        """When the ledger next does something by itself: a block with a header time from then on is made for it."""
        return self._committed.dues.next_due()

    def get(self, key: bytes) -> bytes | None:
        """A cell of the committed state."""
        return self._read(key)

    def view(self) -> State:
        """The committed state through its slices. For reading: what is put there is lost."""
        return State(self._read)

    def prove_state(self, key: bytes) -> MapProof:
        """Of presence or absence, under `tip.state_root`."""
        staged = self._staged
        if staged is None or staged.idle:
            return self._map.prove(key)
        self._map.rollback()
        try:
            return self._map.prove(key)
        finally:
            self._map.update(staged.cells)

    def quota(self) -> tuple[int, int]:
        """Transactions and bytes that a member may carry in a block."""
        parameters = self._committed.parameters
        return parameters[Parameter.QUOTA_TRANSACTIONS], parameters[Parameter.QUOTA_BYTES]

    def _read(self, key: bytes) -> bytes | None:
        try:
            return self._cells[key]
        except KeyError:
            pass
        value = self._store.get(b"s" + key)
        if len(self._cells) >= _MAX_CACHED:
            self._cells.clear()
        self._cells[key] = value
        return value

    def _past(self, size: int) -> PastCheckpoint | None:
        if size in self._pasts:
            return self._pasts[size]
        data = self._store.get(b"c" + size.to_bytes(8, "big"))
        past = None if data is None else PastCheckpoint(data[:32], BlockTime(int.from_bytes(data[32:], "big")))
        if len(self._pasts) >= _MAX_CACHED:
            self._pasts.clear()
        self._pasts[size] = past
        return past

    # ---------------------------------------------------------------------------------------------------- signatures

    def signature_jobs(self, block: bytes) -> Sequence[SignatureJob]:
        """The members' signatures in a block that nobody has verified yet, to be run wherever there are threads.

        `stage` is right without: it verifies what it does not know to be good.
        """
        jobs = []
        state = self._committed
        for bundle in parse_block(block, self.ledger_id, self.read_bundle).bundles:
            for raw in bundle.transactions:
                try:
                    job = member_signature_job(self._parse(raw), state)
                except Refusal:
                    continue
                if job is not None and not self._cache.knows(*job):
                    jobs.append(job)
        return jobs

    def knows(self, job: SignatureJob) -> bool:
        """Whether this signature was found good before."""
        return self._cache.knows(*job)

    def accept_verified(self, good: Sequence[SignatureJob]) -> None:
        """Jobs for which `proofs.verify` said yes."""
        for job in good:
            self._cache.remember(*job)

    # -------------------------------------------------------------------------------------------------------- checks

    def check(self, raw: bytes, now: BlockTime | None = None, *, verify: Verifier | None = None) -> Transaction:
        """What can be said before a block: form, size, ledger, expiry, replay, recent root, author, signature.

        `now` bounds the expiry: the caller's clock, since an idle ledger's last header is old. Whether the rule will
        accept it, the block decides. `verify` judges the signature in our place: whoever has threads notes it, says
        yes, and verifies many at once afterwards (`accept_verified`). Raises Refusal.
        """
        tx = self._parse(raw)
        view = self._view(self._committed, BlockTime(max(now or 0, self.tip.time)), self._is_burnt)
        check_common(tx, view)
        authenticate(tx, view, verify or self._cache.verify)
        return tx

    def check_next(self, header: Header) -> None:
        """Raises InvalidBlock unless the next block may have this header."""
        self._check_header(header)

    def carrier_of(self, bundle: Bundle, header: Header) -> MemberId:
        """Who carries a bundle into the next block. Raises InvalidBlock for one that may not, or did not sign it."""
        return self._check_carrier(bundle, header, self._committed)

    def is_new(self, raw: bytes, at: BlockTime) -> Digest | None:
        """The digest of a transaction that a block of this time could still accept, by all but its signature and its
        rule: readable, ours, not expired, not there already, of a recent root. None for any other."""
        try:
            tx = self._parse(raw)
            check_common(tx, self._view(self._committed, at, self._is_burnt))
        except Refusal:
            return None
        return tx.digest

    def digest_of(self, raw: bytes) -> Digest:
        """What a transaction is called, readable or not."""
        try:
            return self._parse(raw).digest
        except Refusal:
            return unreadable_digest(raw)

    def is_ahead(self, raw: bytes) -> bool:
        """Whether a transaction names a checkpoint that we are not at yet: its author has seen a block more than we."""
        try:
            return self._parse(raw).recent.size > self.tip.size
        except Refusal:
            return False

    def signatures(self, bundle: Bundle) -> int:
        """How many signatures a block counts for a bundle: its own, and those of its readable transactions."""
        count = 1
        for raw in bundle.transactions:
            try:
                count += 1 + self._parse(raw).payload.SECOND_SIGNATURES
            except Refusal:
                continue
        return count

    def read_bundle(self, data: bytes) -> Bundle:
        """`parse_bundle` for this ledger. It is a function of the bytes, and asked at each step of a bundle's way: when
        it comes, waits, is proposed, judged, executed. So what it gave is kept for a while. Raises ValueError."""
        found = self._bundles.get(data)
        if found is None:
            found = parse_bundle(data, self.ledger_id)
            if self._bundle_bytes + len(data) > _MAX_BUNDLES:
                self._bundles.clear()
                self._bundle_bytes = 0
            self._bundles[data] = found
            self._bundle_bytes += len(data)
        return found

    def _parse(self, raw: bytes) -> Transaction:
        """Reading is a function of the bytes: what a check or a prefetch has read, the block need not read again."""
        tx = self._parsed.get(raw)
        if tx is None:
            tx = self._book.read(raw)
            if len(self._parsed) >= _MAX_PARSED:
                self._parsed.clear()
            self._parsed[raw] = tx
        return tx

    def _open_book(self) -> None:
        """The rules of the next block. Where this program lacks them, the old ones stay open for checks, and the next
        block is refused."""
        version = self._committed.adopted.version_at(self.applied.height + 1)
        if version != self._book.version and version in self._versions:
            self._book = self._versions[version]
            self._parsed.clear()

    def _is_burnt(self, digest: bytes) -> bool:
        if digest in self._unburnt:
            return False
        if self._store.get(b"x" + digest) is not None:
            return True
        if len(self._unburnt) >= _MAX_CACHED:
            self._unburnt.clear()
        self._unburnt.add(digest)  # until a block burns it: asked again at each step on a transaction's way
        return False

    def _view(self, state: State, now: BlockTime, burnt: Callable[[bytes], bool]) -> View:
        return View(self.fixed, state, now, self.tip.size, self.tip.time, burnt, self._past)

    # -------------------------------------------------------------------------------------------------------- blocks

    def stage(self, block: bytes) -> Staged:
        """Computes what a block leads to. Raises InvalidBlock, or UnknownProtocol; nothing has changed then.

        Staging drops what was staged before and not committed.
        """
        self.discard()
        state = State(self._read)
        most = state.parameters[Parameter.BLOCK_BYTES]
        if len(block) > most:
            raise InvalidBlock(f"expected a block of at most {most} bytes, got {len(block)}")
        parsed = parse_block(block, self.ledger_id, self.read_bundle)
        header = parsed.header
        self._check_header(header)
        version = state.adopted.version_at(header.height)
        if version != self._book.version:  # else `_open_book` would have opened it
            raise UnknownProtocol(header.height, version, self._versions)
        carriers = [self._check_carrier(bundle, header, state) for bundle in parsed.bundles]
        # Due things come first: what ended before this block must not count in it.
        dues = state.dues.take(header.time, state.parameters[Parameter.DUES_A_BLOCK])
        if parsed.misbehaved and not self.fixed.consensus:
            raise InvalidBlock("expected no word of misbehaving validators: this ledger has none")
        if not dues and not carriers and not parsed.misbehaved:
            return self._stage_idle(header)
        for due in dues:
            self._book.apply_due(due, header, state)
        for address in parsed.misbehaved:
            punish(address, state.roll)
        run = _Run(self, header, state, len(carriers))
        for carrier, bundle in zip(carriers, parsed.bundles, strict=True):
            for raw in bundle.transactions:
                run.transaction(raw, carrier)
        self._staged = self._seal(header, state, run.done, run.burnt)
        return self._staged

    def _check_header(self, header: Header) -> None:
        last = self.applied
        if header.height != last.height + 1:
            raise InvalidBlock(f"expected height {last.height + 1}, got {header.height}")
        if header.time <= last.time:
            raise InvalidBlock(f"expected a time after {last.time} ms, got {header.time} ms")

    def _check_carrier(self, bundle: Bundle, header: Header, state: State) -> MemberId:
        """Judged by the state before the block, so that a proposer can judge it too."""
        key = state.roll.key(bundle.carrier)
        if key is None or key.purpose != Purpose.CARRY or not key.covers(header.time):
            raise InvalidBlock(f"expected a live carry key, got {bundle.carrier.hex()}")
        if not state.roll.must(key.member).active:
            raise InvalidBlock(f"expected an active carrier, got {key.member}")
        if not self._cache.verify(key.algorithm, key.public, bundle.digest, bundle.signature):
            raise InvalidBlock(f"a bundle of {key.member} is not signed by its carry key {bundle.carrier.hex()}")
        return key.member

    def _stage_idle(self, header: Header) -> Staged:
        tip, standing = self.tip, self._standing._replace(applied=header)
        self._staged = Staged(
            header, True, (), (), (), Checkpointed(tip.size, tip.root), tip.state_root, tip.size, (),
            {TIP_KEY: standing.to_bytes(self.ledger_id)}, standing, None, {},
        )  # fmt: skip
        return self._staged

    def _seal(self, header: Header, state: State, done: "list[_Done]", burnt: Iterable[bytes]) -> Staged:
        """The roots, the leaves, and all that is to be written."""
        if state.touched(b"member/"):
            write_authority(state, state.roll, self.fixed.operator, pilot=self.fixed.constitution.pilot)
        validators: tuple[tuple[bytes, int], ...] = ()
        if self.fixed.consensus:
            before = read_validators(self._committed)
            write_validators(state, state.roll, header.time)
            validators = changed(before, read_validators(state))
        cells = state.changes()
        changes: dict[bytes, bytes | None] = {b"s" + key: value for key, value in cells.items()}
        changes.update(self._map.update(cells))
        state_root = self._map.root
        leaves = [
            *outcome_leaves(header, [each.outcome for each in done]),
            block_leaf(header.height, header.time, state_root),
        ]
        append = self.log.stage(leaves)
        tip = Tip(header.height, header.time, append.size, append.root, state_root)
        old = self._standing
        changes[b"c" + tip.size.to_bytes(8, "big")] = tip.root + header.time.to_bytes(8, "big")
        for digest in burnt:
            changes[b"x" + digest] = b""
        changes[_forget_key(old.sealed)] = encode([header.time, tip.size, tuple(burnt)])
        forgotten = self._forget(old, header, changes)
        standing = Standing(tip, header, old.sealed + 1, forgotten)
        changes[TIP_KEY] = standing.to_bytes(self.ledger_id)
        return Staged(
            header,
            False,
            tuple(each.outcome for each in done),
            tuple((each.transaction, each.outcome) for each in done),
            tuple(each.refusal for each in done),
            Checkpointed(tip.size, tip.root),
            state_root,
            append.old_size,
            tuple(leaves),
            changes,
            standing,
            append,
            cells,
            validators,
        )

    def _forget(self, standing: Standing, header: Header, changes: dict[bytes, bytes | None]) -> int:
        number = standing.forgotten
        for number in range(standing.forgotten, min(standing.sealed, standing.forgotten + _FORGET_A_BLOCK)):
            key = _forget_key(number)
            match decode(self._store.get(key) or b"\x80"):
                case [int(time), int(size), list(digests)]:
                    if time >= header.time - FORGET_AFTER:
                        return number
                    changes[b"c" + size.to_bytes(8, "big")] = None
                    for digest in digests:
                        assert isinstance(digest, bytes)
                        changes[b"x" + digest] = None
                case _:
                    raise StateDamaged(f"expected the record {key!r} of what to forget")
            changes[key] = None
        return min(standing.sealed, standing.forgotten + _FORGET_A_BLOCK)

    def commit(self, staged: Staged) -> None:
        """Keeps what was staged last. If a store fails, nothing has changed; stage the same block again to retry.

        (A store that failed may yet have written: staging the same block again writes the same bytes over them.)
        """
        if staged is not self._staged:
            raise ValueError("expected the block that was staged last: stage it again")
        self._keep(staged)

    def _keep(self, staged: Staged) -> None:
        try:
            if staged.append is not None:
                self.log.commit(staged.append)
            self._store.write(staged.changes)
        except BaseException:
            self._staged = None
            self._map.rollback()
            if self.log.size != self.tip.size:
                self.log.truncate(self.tip.size)
            raise
        self._map.commit()
        for tx, _ in staged.transactions:
            if tx is not None:
                self._parsed.pop(tx.raw, None)
                self._unburnt.discard(tx.digest)
        self._standing = staged.standing
        self._staged = None
        self._cells.update(staged.cells)
        self._open_book()
        if not staged.idle:
            self._pasts[staged.tip.size] = PastCheckpoint(staged.tip.root, staged.tip.time)

    def discard(self) -> None:
        """Drops what was staged, if anything."""
        if self._staged is not None:
            self._map.rollback()
            self._staged = None


class _Done(NamedTuple):
    transaction: Transaction | None
    outcome: Outcome
    refusal: Refusal | None


class _Run:
    """The transactions of one block, in order."""

    def __init__(self, machine: Machine, header: Header, state: State, signatures: int) -> None:
        self._machine = machine
        self._header = header
        self._state = state
        self._signatures = signatures
        self._carried: dict[MemberId, tuple[int, int]] = {}
        self._index = machine.tip.size
        self._verify: Verifier = machine._cache.verify
        self._view = machine._view(state, header.time, self._is_burnt)
        self.burnt: dict[bytes, None] = {}
        self.done: list[_Done] = []

    def _is_burnt(self, digest: bytes) -> bool:
        return digest in self.burnt or self._machine._is_burnt(digest)

    def transaction(self, raw: bytes, carrier: MemberId) -> None:
        count, size = self._carried.get(carrier, (0, 0))
        self._carried[carrier] = count + 1, size + len(raw)
        tx: Transaction | None = None
        member: MemberId | None = None
        refusal: Refusal | None = None
        try:
            tx = self._machine._parse(raw)
            self._check_limits(tx, carrier)
            check_common(tx, self._view)
            signer = authenticate(tx, self._view, self._verify)
        except Refusal as refused:
            refusal = refused
        else:
            if isinstance(signer, MemberSigner):
                member = signer.member
            self.burnt[tx.digest] = None
            self._state.savepoint()
            try:
                self._machine._book.apply(tx.payload, signer, self._header, self._state, self._machine.fixed)
            except Refusal as refused:
                self._state.rollback()
                refusal = refused
        outcome = Outcome(
            unreadable_digest(raw) if tx is None else tx.digest,
            ACCEPTED if refusal is None else refusal.code,
            0 if tx is None else tx.kind,
            member,
            self._index,
        )
        self._index += 1
        self.done.append(_Done(tx, outcome, refusal))

    def _check_limits(self, tx: Transaction, carrier: MemberId) -> None:
        """What a carrier may take of a block, and what a block may ask of the nodes. Read as the block goes on."""
        count, size = self._carried[carrier]
        parameters = self._state.parameters
        if count > parameters[Parameter.QUOTA_TRANSACTIONS]:
            raise QuotaExceeded(carrier, "transactions", parameters[Parameter.QUOTA_TRANSACTIONS])
        if size > parameters[Parameter.QUOTA_BYTES]:
            raise QuotaExceeded(carrier, "bytes", parameters[Parameter.QUOTA_BYTES])
        signatures = self._signatures + 1 + tx.payload.SECOND_SIGNATURES
        if signatures > parameters[Parameter.BLOCK_SIGNATURES]:
            raise TooManySignatures(signatures, parameters[Parameter.BLOCK_SIGNATURES])
        self._signatures = signatures


def _forget_key(number: int) -> bytes:
    return b"cf" + number.to_bytes(8, "big")
