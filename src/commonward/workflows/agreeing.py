"""A node where the members agree on each block by consensus: it proposes, judges, executes, keeps and cosigns.

    a bundle comes      check          good enough to wait, and to hand on
    our turn            propose        the next block, of what waits
    another's turn      judge          may an honest member have proposed this?
    agreed              execute        staged; its app hash is what the next block must name
    to keep             commit         block log, then state; then cosigned and told

The engine that carries these calls is trusted as this member's own machine is: that more than two thirds of the power
stood behind an agreed block is its to check. Nobody signs a checkpoint before the members do, so there is no operator
to follow; what shows a false member is its cosignature under another root (`accused`), and an app hash of its own.
All methods are called on one thread, and blocks one after another; `check` may run beside them.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import structlog

from commonward.ledger.checkpoint import Checkpoint, Note, NoteError, app_hash
from commonward.ledger.ids import BlockTime, Height, MemberId, Purpose
from commonward.ledger.members.validators import Validator, read_validators, validator_address
from commonward.ledger.merkle.log import LogStore
from commonward.ledger.proposals import choose, judge
from commonward.ledger.refusals import Expired, Replayed, StaleRoot
from commonward.ledger.rules import Header
from commonward.ledger.staging import block_leaf
from commonward.ledger.state import Store
from commonward.ledger.transactions import InvalidBlock, build_block
from commonward.ledger.transition import Staged, UnknownProtocol
from commonward.workflows.blocklog import BlockLog, Record
from commonward.workflows.checking import Checker, Verdict
from commonward.workflows.cosigning import SKEW_MS
from commonward.workflows.indexes import BlockFacts, leaves_only
from commonward.workflows.replica import CannotFollow, Replica
from commonward.workflows.retaining import Retaining

__all__ = ["Agreed", "AgreeingReplica", "WaitingFull"]

_OVERHEAD: Final = 8
"""Bytes that a bundle costs in a proposal beside its own: at most a tag and a length of five bytes."""

_WAITING_BLOCKS: Final = 4
"""How many blocks' worth of its quota a carrier may have waiting."""

_log = structlog.get_logger(__name__)


class WaitingFull(Exception):
    """A carrier has as much waiting as it may."""


class Agreed(NamedTuple):
    """What an agreed block came to: `app_hash` (40 bytes); for each bundle the outcome code of each transaction;
    (public key, power) of validators whose power changes."""

    app_hash: bytes
    outcomes: tuple[tuple[int, ...], ...]
    validators: tuple[tuple[bytes, int], ...]


class _Waiting:
    """What each carrier has waiting, as this node knows it: filled as bundles come, counted anew after each block."""

    def __init__(self) -> None:
        self._sizes: dict[bytes, tuple[str, int]] = {}
        self._bytes: dict[str, int] = {}

    def add(self, data: bytes, carrier: str, most: int) -> None:
        """Raises WaitingFull."""
        if data in self._sizes:
            return
        held = self._bytes.get(carrier, 0) + len(data)
        if held > most:
            raise WaitingFull(f"{carrier} has {held} bytes waiting for a block, and may have {most}: wait for the next")
        self._sizes[data] = carrier, len(data)
        self._bytes[carrier] = held

    def clear(self) -> None:
        self._sizes.clear()
        self._bytes.clear()


class AgreeingReplica(Replica):
    """One member's node under consensus."""

    def __init__(self, *, keep_blocks: int = 0, **arguments: Any) -> None:
        """As `Replica`. `keep_blocks`: how many blocks the engine is asked to keep for others; 0 for all."""
        self._retaining = Retaining(keep_blocks, arguments["genesis"].height)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="signatures")
        self._waiting = _Waiting()
        self._executed: tuple[Staged, Record, Note] | None = None
        self._looked_through = b""  # the block whose signatures `judge` has seen to
        super().__init__(**arguments)

    def _mount(self, store: Store, log_store: LogStore, blocks: BlockLog) -> None:
        super()._mount(store, log_store, blocks)
        self._checker = Checker(self._machine, self._threads)

    def let_go(self) -> None:
        """Before `begin_from`: write what waits, and hold the stores no longer. Raises what the state store raises."""
        self._executed = None
        self._behind.close()

    def begin_from(self, store: Store, log_store: LogStore, blocks: BlockLog) -> None:
        """Go on from stores that a verified snapshot was restored into; nothing of what was here before counts.

        Raises as the constructor.
        """
        self._waiting.clear()
        self._mount(store, log_store, blocks)

    def _open(self) -> None:
        genesis, kept = self._machine.genesis, self._blocks.height
        height = self._machine.applied.height
        if not self._machine.whole:
            if kept:
                raise CannotFollow(
                    f"our block log ends at {kept}, but the state that {genesis.name!r} goes on from is lost: remove "
                    f"state, log and block log, and take a snapshot from the others"
                )
            return  # and cosign nothing: what stands here is no checkpoint of this ledger
        if genesis.imported is not None and height == genesis.height:
            self._go_on()
            kept = self._blocks.height
        if height > kept:
            raise CannotFollow(
                f"the state stands at block {height}, the block log ends at {kept}: the log has lost its end. Remove "
                f"state, log and block log, and let the node catch up or take a snapshot from the others"
            )
        if height >= kept:
            self._cosigning.executed(Note(self._head(), ()), height, self._authority)
        for at in range(height + 1, kept + 1):
            record = Record.parse(self._blocks.read(at))
            signed = _checkpoint(record)
            try:
                staged = self._machine.stage(record.block)
            except (InvalidBlock, UnknownProtocol) as why:
                raise CannotFollow(f"block {at} of our own log cannot be executed: {why}") from why
            ours = Checkpoint(self._origin, staged.checkpoint.size, staged.checkpoint.root)
            if ours != signed:
                raise CannotFollow(
                    f"executing block {at} gives size {ours.size}, root {ours.root.hex()}; it was kept with size "
                    f"{signed.size}, root {signed.root.hex()}: run the version of the program that kept it"
                )
            self._keep(staged, record, Note(ours, ()))
        if not self._index.lacks_past:  # else it may have changed before the snapshot: the history says when
            self._capture_authority()

    def _go_on(self) -> None:
        """The block log of the ledger that ended goes on with genesis itself, as an empty block: heights stay places
        in it, and what refers to an old one finds it. Said again after a crash, it is the same."""
        tip = self._machine.tip
        if self._blocks.height == tip.height - 1:
            block = build_block(Header(tip.height, tip.time), ())
            self._blocks.append(tip.height, Record(block, self._head().note_body()).to_bytes())
        if self._index.block(tip.height) is None:
            leaf = block_leaf(tip.height, tip.time, tip.state_root)
            self._store.write(leaves_only(BlockFacts(tip.height, tip.size, tip.time), [leaf]))

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        super().close()

    # ------------------------------------------------------------------------------------------------ what others ask

    def info(self) -> tuple[Height, bytes]:
        """Height of the last block kept, 0 where that is genesis, and the app hash after it."""
        height = self.height
        return Height(0) if height == self._machine.genesis.height else height, self._app_hash()

    def _app_hash(self) -> bytes:
        tip = self._machine.tip
        return app_hash(tip.size, tip.root)

    def next_time(self) -> BlockTime:
        """A header's time is when the members voted on the block before: long ago, if the ledger was idle or stood."""
        return self.tip_time()

    def validators(self) -> tuple[Validator, ...]:
        """Who validates by the last state, with what power."""
        return read_validators(self._machine.view())

    def admits(self, node: str) -> bool:
        """Whether a node id (40 hex digits) is that of a live node key of an active member."""
        roll = self._machine.view().roll
        now = max(self._machine.applied.time, self._clock.now())
        return any(
            validator_address(key.public).hex() == node.lower()
            for member in roll.active()
            for key in roll.live(member, Purpose.NODE, now)
        )

    # ---------------------------------------------------------------------------------------------- before it is agreed

    async def check(self, bundle: bytes, *, again: bool = False) -> Verdict:
        """Whether a bundle may wait for a block. `again`: it waited already when the last block came, and has been
        verified then; it goes on waiting while it brings anything new.

        Never raises for what the bytes hold.
        """
        if again:
            return self._still_waits(bundle)
        checked = await self._checker.look(bundle, self._clock.now())
        verdict = checked.verdict
        if not verdict.good:
            ours = checked.carrier == self.member
            if ours or verdict.why or any(code not in _PASSED for _, code, _ in verdict.refusals):
                return verdict
            # Another member's, of which some landed meanwhile by another road, or whose author is a block ahead of us.
            return self._still_waits(bundle)
        return self._wait(bundle, checked.carrier)

    def _still_waits(self, bundle: bytes) -> Verdict:
        """By its carrier, and by what it brings: its transactions' signatures are not looked at."""
        try:
            parsed = self._machine.read_bundle(bundle)
            header = Header(Height(self.height + 1), BlockTime(max(self._clock.now(), self.tip_time() + 1)))
            carrier = self._machine.carrier_of(parsed, header)
        except (ValueError, InvalidBlock) as why:
            return Verdict(why=str(why))
        machine = self._machine
        if not any(machine.is_new(raw, header.time) or machine.is_ahead(raw) for raw in parsed.transactions):
            return Verdict(why="brings nothing new: each of its transactions landed or expired")
        return self._wait(bundle, carrier)

    def _wait(self, bundle: bytes, carrier: MemberId) -> Verdict:
        try:
            self._waiting.add(bundle, carrier, _WAITING_BLOCKS * self._machine.quota()[1])
        except WaitingFull as why:
            return Verdict(why=str(why), later=True)
        return Verdict()

    def _raws_of(self, bundle: bytes) -> tuple[bytes, ...]:
        return self._machine.read_bundle(bundle).transactions

    def propose(
        self, header: Header, waiting: Sequence[bytes], room: int, misbehaved: Sequence[bytes] = ()
    ) -> list[bytes]:
        """The bundles of our proposal, of those that wait; `room` in bytes. Always passes `judge`, anywhere."""
        return choose(self._machine, header, waiting, room, misbehaved, _OVERHEAD)

    async def judge(self, header: Header, bundles: Sequence[bytes], misbehaved: Sequence[bytes] = ()) -> str:
        """ "" for a proposal that an honest member may have made, else why it did not. Signatures of members are
        verified here, in threads, so that executing the block finds them good."""
        try:
            block = judge(self._machine, header, bundles, misbehaved)
        except InvalidBlock as why:
            _log.warning("proposal_refused", height=header.height, why=str(why))
            return str(why)
        await self._checker.prefetch(block)
        self._looked_through = block
        return ""

    # ---------------------------------------------------------------------------------------------------------- agreed

    async def execute(self, header: Header, bundles: Sequence[bytes], misbehaved: Sequence[bytes] = ()) -> Agreed:
        """Stage the agreed block. Asking again (after the engine's restart) stages it again.

        Raises CannotFollow when this program cannot execute what the members agreed on: the process must stop.
        """
        if not self._machine.whole:
            raise CannotFollow(
                "this ledger goes on from another, which is not here: start from a snapshot of the others"
            )
        block = build_block(header, bundles, misbehaved)
        if block != self._looked_through:
            await self._checker.prefetch(block)
        try:
            staged = self._machine.stage(block)
        except InvalidBlock as why:
            raise CannotFollow(f"the members agreed on block {header.height}, which the rules forbid: {why}") from why
        except UnknownProtocol as why:
            raise CannotFollow(str(why)) from why
        made = Checkpoint(self._origin, staged.checkpoint.size, staged.checkpoint.root)
        contrary = self._cosigning.contradicted(made)
        if contrary is not None:
            self._halt(contrary)
            raise CannotFollow(str(contrary))
        self._executed = staged, Record(block, made.note_body()), Note(made, ())
        codes = [outcome.code for outcome in staged.outcomes]
        outcomes, at = [], 0
        for bundle in bundles:
            count = len(self._raws_of(bundle))
            outcomes.append(tuple(codes[at : at + count]))
            at += count
        return Agreed(app_hash(made.size, made.root), tuple(outcomes), staged.validators)

    async def commit(self) -> int:
        """Keep what `execute` staged: block log first, one sync, then the state. Returns the height below which the
        engine may forget blocks (0: none).

        Raises CannotFollow when a store fails: the process must stop, and the block comes again at its next start.
        """
        if self._executed is None:
            raise CannotFollow("asked to commit, but no block was executed")
        staged, record, note = self._executed
        async with self._turn:
            header = staged.header
            written = self._write(header.height, record.to_bytes())
            if written is not None:
                await self._durable(written)
            self._keep(staged, record, note)
            self._executed = None
            self._waiting.clear()
            self._cosign_agreed(header, idle=staged.idle)
            self._tell(staged)
        return self._retaining.height(header.height)

    def _cosign_agreed(self, header: Header, *, idle: bool) -> None:
        """The latest checkpoint, unless we are catching up: then the last of it is cosigned at the next tick.

        Under consensus a header's time is the median of the clocks of those who voted on the block before, so it lies
        back by as long as the ledger was idle or stood; only one ahead of our clock says that a clock is wrong.
        """
        now = self._clock.now()
        self.clock_doubt = header.time > now + SKEW_MS
        if self.clock_doubt:
            _log.error(
                "header_time_off", height=header.height, header_ms=header.time, our_ms=now,
                do="not cosigned; our clock is behind that of more than half of the members",
            )  # fmt: skip
        elif header.time >= now - SKEW_MS and self._uplink is not None and not idle:
            self._cosigning.sign()


_PASSED: Final = frozenset({Expired.code, Replayed.code, StaleRoot.code})
"""What time alone makes of a good transaction."""


def _checkpoint(record: Record) -> Checkpoint:
    """The checkpoint that was kept with a block. Raises CannotFollow."""
    try:
        return Checkpoint.parse(record.note)
    except NoteError as cause:
        raise CannotFollow(f"a record of our block log holds no checkpoint: {cause}") from cause
