"""A node on the embedded engine: takes each block with the checkpoint that the operator of the sequencer signed.

    block + signed checkpoint -> signed by the operator? next? -> keep durably, and execute
                              -> same checkpoint? -> commit, index, tell -> clock agrees? -> cosign

Whatever brings blocks (the sequencer's line, an in-memory test) calls `offer`. The operator of the sequencer is not
trusted: what it signed and did not do halts this node with a proof that names it (`faults`). Not promised here: that
the operator orders fairly, or at all.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import structlog

from commonward.ledger.checkpoint import NOTE_SIGNATURE, Checkpoint, Note, NoteError, check_line, parse_note
from commonward.ledger.encoding import EncodingError, decode
from commonward.ledger.ids import BlockTime, Height, MemberId
from commonward.ledger.transition import Header, InvalidBlock, Staged, UnknownProtocol
from commonward.workflows.blocklog import Record, RecordError
from commonward.workflows.cosigning import SKEW_MS, SignedOtherwise
from commonward.workflows.faults import FaultKind, OperatorFault
from commonward.workflows.ports import PeerAway, Peers
from commonward.workflows.replica import CannotFollow, Halted, Replica

__all__ = ["HEAD_PATH", "FollowingReplica"]

HEAD_PATH: Final = "ledger/head"
"""Where members compare the checkpoints they were given, past the operator (`FollowingReplica.answer_head`)."""

_FAULT: Final = b"if"
_AHEAD: Final = 64

_log = structlog.get_logger(__name__)


class FollowingReplica(Replica):
    """One member's node where a member operates the sequencer."""

    def __init__(self, **arguments: Any) -> None:
        """As `Replica`."""
        self._ahead: dict[int, Note] = {}
        super().__init__(**arguments)

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

    @property
    def operator(self) -> MemberId:
        """The member who runs the sequencer, as the ledger says now."""
        return self._authority.operator

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

    # --------------------------------------------------------------------------------------------------------- faults

    def _halt(self, fault: OperatorFault | SignedOtherwise) -> None:
        super()._halt(fault)
        if isinstance(fault, OperatorFault) and fault.kind in (FaultKind.FORK, FaultKind.REWRITE):
            # The others show again when the block log is replayed.
            self._store.write({_FAULT: fault.to_bytes()})

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

    async def comparing(self, peers: Peers, every_s: float = 5.0, compare_each: int = 6) -> None:
        """As `run`, and compare heads with all members every `compare_each` ticks."""
        turn = 0
        while True:
            self.tick()
            if turn % compare_each == 0:
                await self.compare(peers, [each.member for each in self._authority.cosigners])
            turn += 1
            await asyncio.sleep(every_s)
