"""The sequencer: one process that orders everyone's transactions, run by a named member.

    bundles -> checked -> waiting, shared fairly -> cut -> executed -> checkpoint signed -> durable -> published

It cuts a block whenever the last is durable and something waits or is due: while one block goes to disk in a thread,
the next one fills (group commit), so blocks grow with the load and nothing ever waits for a timer. Its key signs every
checkpoint, so a fork names its operator; it never signs two roots for one size itself, since the record it replays at
start was durable before anyone saw the signature. It trusts no node: what a bundle says is checked on arrival.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from commonward.ledger.checkpoint import (
    NOTE_SIGNATURE,
    Authority,
    Checkpoint,
    Note,
    NoteError,
    check_line,
    origin_of,
    parse_note,
    sign_note,
)
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import BlockTime, Digest, Height, LedgerId, MemberId
from commonward.ledger.members import AUTHORITY_KEY
from commonward.ledger.merkle.log import LogStore
from commonward.ledger.parameters import Parameter
from commonward.ledger.state import Store
from commonward.ledger.transactions import (
    build_block,
)
from commonward.ledger.transition import Header, InvalidBlock, Machine, Staged
from commonward.workflows.behind import WriteBehind
from commonward.workflows.blocklog import BlockLog, Record
from commonward.workflows.checking import Checker, Verdict
from commonward.workflows.ports import Clock

from .waiting import Full, Limits, Waiting, WaitingRoom

__all__ = ["Sequencer", "SequencerError", "Verdict"]

_RECENT: Final = 64
_BLOCK_HEAD: Final = 64
_AGAIN_S: Final = 1.0

_log = structlog.get_logger(__name__)


class SequencerError(Exception):
    """The sequencer must not go on; the text says why and what to do."""


class Sequencer:
    """Orders, executes, signs. One thread (the loop's), one for the disk, two for signatures."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        store: Store,
        log_store: LogStore,
        blocks: BlockLog,
        clock: Clock,
        public: bytes,
        sign: Callable[[bytes], bytes],
        map_bits: int = 17,
    ) -> None:
        """Open, and replay what the block log holds beyond the state.

        Args:
            public, sign: the sequencing key (Ed25519) that the ledger has registered for the operator.
            map_bits: as `Machine` takes it.

        Raises:
            SequencerError: executing the block log gives another root than was signed, or the state is ahead of it,
                or the key is not the operator's.
        """
        self.published: Callable[[], None] = lambda: None
        self.room = WaitingRoom()
        self._behind = WriteBehind(store)
        self._machine = Machine(genesis, self._behind, log_store, map_bits=map_bits)
        self._blocks = blocks
        self._clock = clock
        self._public = public
        self._sign = sign
        self._origin = origin_of(self._machine.ledger_id)
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=_RECENT)
        self._wake = asyncio.Event()
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="signatures")
        self._error: SequencerError | None = None
        self._cutting: set[Digest] = set()
        self._checker = Checker(
            self._machine, self._threads, lambda each: each in self.room or each in self._cutting, look_in_threads=True
        )
        self._replay()
        self._check_key()

    def _replay(self) -> None:
        height, kept = self._machine.applied.height, self._blocks.height
        if height > kept:
            raise SequencerError(
                f"the state stands at block {height}, the block log ends at {kept}: the log has lost its end. Restore "
                f"the log from a member's node; to go on from here would sign a second history"
            )
        while self.height < kept:
            self._finish()

    def _check_key(self) -> None:
        data = self._machine.get(AUTHORITY_KEY)
        assert data is not None, "genesis writes the authority"
        authority = Authority.parse(data)
        if all(key.public != self._public for key in authority.sequencer):
            raise SequencerError(
                f"this key is not registered for sequencing by {authority.operator}: nodes would not believe it"
            )

    @property
    def ledger_id(self) -> LedgerId:
        return self._machine.ledger_id

    @property
    def height(self) -> Height:
        """Of the last published block."""
        return self._machine.applied.height

    @property
    def machine(self) -> Machine:
        """For reading only."""
        return self._machine

    def record(self, height: int) -> bytes:
        """The block at a height with its checkpoint (`Record` bytes)."""
        if self._recent and self._recent[0][0] <= height <= self._recent[-1][0]:
            return self._recent[height - self._recent[0][0]][1]
        return self._blocks.read(height)

    def compare(self, member: MemberId, head: bytes) -> None:
        """A node shows the last checkpoint that we are said to have signed for it.

        If our key did sign it and our log does not hold it, we have lost our log's end: nothing more is cut, since
        every block would be a second history.
        """
        try:
            note = parse_note(head)
        except NoteError:
            return
        shown, tip = note.checkpoint, self._machine.tip
        if shown.origin != self._origin:
            return
        if shown.size <= tip.size and self._machine.log.root(shown.size) == shown.root:
            return
        if any(check_line(shown, line, self._origin, NOTE_SIGNATURE, self._public) for line in note.lines):
            self._error = SequencerError(
                f"{member} holds a checkpoint that our key signed, size {shown.size}, root {shown.root.hex()}, and our "
                f"log (size {tip.size}) does not: restore the block log from that member's node before going on"
            )
            self._wake.set()

    # ------------------------------------------------------------------------------------------------------- arriving

    async def take(self, member: MemberId, data: bytes) -> Verdict:
        """Check a bundle that `member` brings, and queue it if all of it is good. Never raises for what it holds."""
        checked = await self._checker.look(data, self._clock.now(), member)
        if not checked.verdict.good:
            return checked.verdict
        try:
            self.room.add(Waiting(member, data, checked.digests, checked.signatures))
        except Full as why:
            return Verdict(why=str(why))
        self._wake.set()
        return checked.verdict

    def _limits(self) -> Limits:
        parameters = self._machine.view().parameters
        transactions, size = self._machine.quota()
        return Limits(
            parameters[Parameter.BLOCK_BYTES] - _BLOCK_HEAD,
            parameters[Parameter.BLOCK_SIGNATURES],
            transactions,
            size,
        )

    def poke(self) -> None:
        """Look again whether something is due: the clock was moved."""
        self._wake.set()

    # --------------------------------------------------------------------------------------------------------- cutting

    async def run(self) -> None:
        """Cut blocks until cancelled. Raises SequencerError when it must not go on."""
        while True:
            await self._something_to_do()
            if self._error is not None:
                raise self._error
            try:
                await self.cut()
            except SequencerError:
                raise
            except Exception as cause:
                # Such as a full disk. Nothing was published; the same is tried again until there is room.
                _log.error("block_not_kept", why=str(cause), again_in_s=_AGAIN_S)
                await asyncio.sleep(_AGAIN_S)

    async def _something_to_do(self) -> None:
        """Wait until a bundle waits, something falls due, or `compare` found an error."""
        while not self.room and self._error is None and self._blocks.height == self.height:
            due, now = self._machine.next_due, self._clock.now()
            if due is not None and due <= now:
                return
            self._wake.clear()
            try:
                # Capped: a clock that jumps must not leave a due block waiting for days.
                async with asyncio.timeout(None if due is None else min((due - now) / 1000, 60.0)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def cut(self) -> bool:
        """Make one block of what waits and is due; False when there was nothing for it.

        Raises what the stores raise; what was to be in the block waits again then, or is finished at the next call.
        """
        if self._blocks.height > self.height:
            self._finish()
            return True
        now = self._clock.now()
        header = Header(Height(self.height + 1), BlockTime(max(now, self._machine.applied.time + 1)))
        taken = self._cut_room()
        due = self._machine.next_due
        if not taken and (due is None or due > header.time):
            return False
        made = self._made(header, taken)
        if made is None:
            return False
        staged, record = made
        self._cutting = {digest for waiting in taken for digest in waiting.digests}
        try:
            await asyncio.get_running_loop().run_in_executor(self._disk, self._blocks.append, header.height, record)
        except BaseException:
            self._machine.discard()
            if self._blocks.height < header.height:  # else the record stands, and `_finish` will publish it
                self.room.give_back(taken)
            raise
        finally:
            self._cutting = set()
        self._machine.commit(staged)
        self._publish(header.height, record)
        return True

    def _finish(self) -> None:
        """A record is durable, but its state was not kept: it is that block, never another of its height."""
        height = Height(self.height + 1)
        data = self._blocks.read(height)
        record = Record.parse(data)
        staged = self._machine.stage(record.block)
        signed = parse_note(record.note).checkpoint
        if (signed.size, signed.root) != (staged.checkpoint.size, staged.checkpoint.root):
            raise SequencerError(
                f"block {height} was signed as size {signed.size}, root {signed.root.hex()}; executing it now gives "
                f"size {staged.checkpoint.size}, root {staged.checkpoint.root.hex()}: run the version that signed it"
            )
        self._machine.commit(staged)
        self._publish(height, data)

    def _publish(self, height: Height, record: bytes) -> None:
        self._recent.append((height, record))
        self.published()

    def _cut_room(self) -> list[Waiting]:
        limits = self._limits()
        taken = self.room.cut(limits)
        if not taken and self.room:
            for dropped in self.room.drop_heads():
                _log.error("bundle_dropped", carrier=dropped.carrier, why="it no longer fits a block")
        return taken

    def _made(self, header: Header, taken: Sequence[Waiting]) -> tuple[Staged, bytes] | None:
        block = build_block(header, [waiting.data for waiting in taken])
        try:
            staged = self._machine.stage(block)
        except InvalidBlock as why:
            # A carry key ended or was revoked between arrival and now. Its nodes offer again what did not land.
            _log.error("block_invalid", why=str(why), bundles=len(taken))
            return None
        checkpoint = Checkpoint(self._origin, staged.checkpoint.size, staged.checkpoint.root)
        note = Note(checkpoint, (sign_note(checkpoint, self._public, self._sign),))
        return staged, Record(block, note.to_bytes()).to_bytes()

    def close(self) -> None:
        """Stop the threads. The stores belong to whoever gave them. Raises as `WriteBehind.close`."""
        self._disk.shutdown(wait=True)
        self._threads.shutdown(wait=True)
        self._behind.close()
