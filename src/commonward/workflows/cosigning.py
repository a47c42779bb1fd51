"""Cosignatures: this member's own, and those of the others, until more than two thirds of the weight stand together.

A member cosigns what its own node executed. Rules kept here:

- Never two roots for one size. The block log is the memory of what was executed; should it be lost or restored from
  an old copy, our own earlier cosignatures, which others still hold, are heard first: nothing below the largest of
  them is cosigned again, and one over another root stops cosigning for good.
- The checkpoint that ends a block is judged by the authority in force before that block.
- Every line is verified before it counts; one that does not hold is dropped, and no other with it.

Lines are verified when somebody waits for them or asks, not as they come: most checkpoints are never asked about.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog

from commonward.ledger.checkpoint import (
    COSIGNATURE,
    Authority,
    Checkpoint,
    CosignatureError,
    Note,
    NoteError,
    SignatureLine,
    WeakQuorum,
    check_line,
    check_quorum,
    cosign,
    known_lines,
)
from commonward.ledger.ids import Algorithm, BlockTime, Digest, Height, KeyId, MemberId, key_id
from commonward.ledger.members.equivocation import Equivocation
from commonward.workflows.ports import Clock, Proven

__all__ = ["AGAIN_MS", "LIVE_MS", "SKEW_MS", "CosignKey", "CosignerFault", "Cosigning", "SignedOtherwise"]

AGAIN_MS: Final = 30_000
"""The latest checkpoint is cosigned again this often, so that an idle ledger is provably fresh."""

LIVE_MS: Final = 60_000
"""A proof is live while more than two thirds of the weight cosigned it at most this long ago."""

SKEW_MS: Final = 30_000
"""A header time or a cosigning time further from our clock than this is not believed."""

_KEPT: Final = 256
_EARLY: Final = 1024

_log = structlog.get_logger(__name__)


class SignedOtherwise(Exception):
    """Our own key has cosigned another root for this size: the operator forked, or our log was lost. Stop."""

    def __init__(self, size: int, ours: Digest, signed: Digest) -> None:
        super().__init__(f"our key cosigned root {signed.hex()} at size {size}, but our log has {ours.hex()} there")
        self.size = size
        self.ours = ours
        self.signed = signed


@dataclass(frozen=True, slots=True)
class CosignerFault:
    """A member's cosigning key stands under a root that is not ours at that size: it is false, or this node is.

    `shown`: a note with that one line. `beside`: where the same key also signed our root, a note with that line;
    both together prove that it signed two roots, whoever looks at them.
    """

    member: MemberId
    key: KeyId
    size: int
    ours: Digest
    theirs: Digest
    shown: bytes
    beside: bytes = b""

    def __str__(self) -> str:
        if self.beside:
            return f"{self.member} cosigned two roots for size {self.size}: {self.ours.hex()} and {self.theirs.hex()}"
        return f"{self.member} cosigned root {self.theirs.hex()} for size {self.size}; we have {self.ours.hex()}"

    @property
    def equivocation(self) -> Equivocation | None:
        """The transaction's payload that takes the member's weight away, once there are two roots to show."""
        return Equivocation(key=self.key, first=self.beside, second=self.shown) if self.beside else None


@dataclass(frozen=True, slots=True)
class CosignKey:
    """This member's cosigning key (Ed25519)."""

    member: MemberId
    public: bytes
    sign: Callable[[bytes], bytes]


@dataclass(slots=True)
class _Head:
    """One checkpoint that our node executed."""

    note: Note  # with the sequencer's line
    height: Height
    authority: Authority
    lines: dict[MemberId, SignatureLine] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return self.note.checkpoint.size

    def claimed(self) -> bool:
        """Whether the lines, if they all hold, suffice."""
        weights = {each.member: each.weight for each in self.authority.cosigners}
        return 3 * sum(weights.get(member, 0) for member in self.lines) > 2 * self.authority.total


class Cosigning:
    """Signs heads, gathers lines, answers what is proven. Single-threaded."""

    def __init__(
        self,
        key: CosignKey,
        clock: Clock,
        publish: Callable[[Checkpoint, SignatureLine], None],
        root_at: Callable[[int], Digest],
        accuse: Callable[[CosignerFault], None] = lambda fault: None,
    ) -> None:
        """
        Args:
            publish: hands our own line to whatever carries it to the others; does not wait.
            root_at: our log's root at a size up to the latest. Raises LookupError where that is not known any more.
            accuse: told of another member's line over a root that is not ours.
        """
        self._accuse = accuse
        self._key = key
        self._root_at = root_at
        self._clock = clock
        self._publish = publish
        self._heads: dict[int, _Head] = {}
        self._latest: _Head | None = None
        self._early: dict[int, dict[MemberId, tuple[Digest, SignatureLine]]] = {}
        self._proven: Proven | None = None
        self._stale = False  # lines came for the proven head since it was judged
        self._waiters: list[tuple[int, asyncio.Future[Proven]]] = []
        self._floor = 0
        self._pinned: dict[int, Callable[[Proven], None]] = {}
        self._signed_at: BlockTime | None = None
        self.heard: dict[MemberId, BlockTime] = {}
        """When each member cosigned last, by lines that came, checked or not: for whoever watches who is silent."""

    # ------------------------------------------------------------------------------------------------ own signature

    def executed(self, note: Note, height: Height, authority: Authority) -> None:
        """Our node executed a block to this checkpoint; `authority` is the one in force before it."""
        known = self._heads.get(note.checkpoint.size)
        if known is not None and known is self._latest and known.note.checkpoint == note.checkpoint:
            return  # an idle block changed nothing; the lines that were gathered stand
        head = _Head(note, height, authority)
        self._heads[head.size] = head
        self._latest = head
        for member, (root, line) in self._early.pop(head.size, {}).items():
            if root == note.checkpoint.root:
                head.lines[member] = line
            else:
                self._differs(member, Checkpoint(note.checkpoint.origin, head.size, root), line)
        for size in [size for size in self._early if size < head.size]:
            del self._early[size]
        if len(self._heads) > _KEPT:
            self._prune()

    def _prune(self) -> None:
        self.proven()
        keep = self._proven.size if self._proven is not None else 0
        for size in sorted(self._heads)[: len(self._heads) - _KEPT // 2]:
            if size != keep and size not in self._pinned and self._heads[size] is not self._latest:
                del self._heads[size]

    def sign(self) -> bool:
        """Cosign the latest checkpoint now, if the rules allow. The caller has made its blocks durable."""
        head = self._latest
        if head is None or head.size < self._floor:
            return False
        now = self._clock.now()
        line = cosign(head.note.checkpoint, self._key.member, self._key.public, now, self._key.sign)
        self._signed_at = now
        self._add(head, self._key.member, line)
        self._publish(head.note.checkpoint, line)
        return True

    def due_again(self) -> bool:
        """Whether 30 s have passed since we last cosigned anything, or our clock went backwards."""
        now = self._clock.now()
        return self._signed_at is None or now - self._signed_at >= AGAIN_MS or now < self._signed_at

    def own_line(self) -> tuple[Checkpoint, SignatureLine] | None:
        """Our line over the latest checkpoint, to give to whoever has just joined."""
        if self._latest is None or (line := self._latest.lines.get(self._key.member)) is None:
            return None
        return self._latest.note.checkpoint, line

    # ---------------------------------------------------------------------------------------------------- of others

    def received(self, member: MemberId, checkpoint: Checkpoint, text: str) -> None:
        """A line that `member` is said to have signed over `checkpoint`.

        Raises SignedOtherwise when it is our own and stands against our log.
        """
        try:
            line = SignatureLine.parse(text.removesuffix("\n"))
        except NoteError as why:
            _log.warning("cosignature_unreadable", member=member, why=str(why))
            return
        seconds = line.seconds
        if line.name != member or seconds is None or seconds * 1000 > self._clock.now() + SKEW_MS:
            return
        if member == self._key.member:
            self._hear_ourselves(checkpoint, line)
        self._note_heard(member, line)
        head = self._heads.get(checkpoint.size)
        if head is not None:
            if head.note.checkpoint == checkpoint:
                self._add(head, member, line)
            else:
                self._differs(member, checkpoint, line)
        elif self._latest is None or checkpoint.size > self._latest.size:
            self._early.setdefault(checkpoint.size, {})[member] = (checkpoint.root, line)
            if len(self._early) > _EARLY:
                del self._early[max(self._early)]
        else:
            self._differs(member, checkpoint, line)

    def _note_heard(self, member: MemberId, line: SignatureLine) -> None:
        at = BlockTime((line.seconds or 0) * 1000)
        if self._latest is None or self._latest.authority.cosigner(member) is None:
            return  # else whoever calls could fill the memory with names
        if at > self.heard.get(member, 0):
            self.heard[member] = at

    def _hear_ourselves(self, checkpoint: Checkpoint, line: SignatureLine) -> None:
        head = self._heads.get(checkpoint.size)
        if head is not None and head.lines.get(self._key.member) == line:
            return
        if not check_line(checkpoint, line, self._key.member, COSIGNATURE, self._key.public):
            return
        if self._latest is None or checkpoint.size > self._latest.size:
            _log.warning("own_cosignature_ahead_of_own_log", size=checkpoint.size)
            self._floor = max(self._floor, checkpoint.size)
        elif checkpoint.size and (ours := self._root_at(checkpoint.size)) != checkpoint.root:
            raise SignedOtherwise(checkpoint.size, ours, checkpoint.root)

    def _differs(self, member: MemberId, checkpoint: Checkpoint, line: SignatureLine) -> None:
        """A line of another member over what may not be our root; told of, if its key holds and it is not."""
        if member == self._key.member or self._latest is None or checkpoint.size == 0:
            return
        try:
            ours = self._root_at(checkpoint.size)
        except LookupError:
            return
        cosigner = self._latest.authority.cosigner(member)
        if ours == checkpoint.root or cosigner is None:
            return
        for key in cosigner.keys:
            if check_line(checkpoint, line, member, COSIGNATURE, key.public):
                self._accuse(
                    CosignerFault(
                        member, key_id(Algorithm.EDDSA, key.public), checkpoint.size, ours, checkpoint.root,
                        Note(checkpoint, (line,)).to_bytes(), self._also_ours(member, checkpoint.size, key.public),
                    )
                )  # fmt: skip
                return

    def _also_ours(self, member: MemberId, size: int, public: bytes) -> bytes:
        """A note with the line of this key under our own root, if it was heard; else empty."""
        head = self._heads.get(size)
        line = head.lines.get(member) if head is not None else None
        if head is None or line is None or not check_line(head.note.checkpoint, line, member, COSIGNATURE, public):
            return b""
        return Note(head.note.checkpoint, (line,)).to_bytes()

    def contradicted(self, checkpoint: Checkpoint) -> SignedOtherwise | None:
        """Whether our own key, as heard from others, has signed another root for this size."""
        heard = self._early.get(checkpoint.size, {}).get(self._key.member)
        if heard is None or heard[0] == checkpoint.root:
            return None
        other = Checkpoint(checkpoint.origin, checkpoint.size, heard[0])
        if not check_line(other, heard[1], self._key.member, COSIGNATURE, self._key.public):
            return None
        return SignedOtherwise(checkpoint.size, checkpoint.root, heard[0])

    def _add(self, head: _Head, member: MemberId, line: SignatureLine) -> None:
        self._note_heard(member, line)
        before = head.lines.get(member)
        if before is not None and (before.seconds or 0) >= (line.seconds or 0):
            return
        head.lines[member] = line
        pinned = self._pinned.get(head.size)
        if pinned is not None and (proof := self._checked(head)) is not None:
            del self._pinned[head.size]
            pinned(proof)
        if self._proven is not None and head.size <= self._proven.size:
            self._stale = self._stale or head.size == self._proven.size
        elif any(size <= head.size for size, _ in self._waiters):
            self._judge(head)

    # ------------------------------------------------------------------------------------------------------- proofs

    def proven(self) -> Proven | None:
        """The largest checkpoint that a quorum cosigned, with the latest times."""
        least = self._proven.size if self._proven is not None else 0
        for size in sorted((size for size in self._heads if size > least), reverse=True):
            if self._judge(self._heads[size]):
                return self._proven
        if self._stale and self._proven is not None and (head := self._heads.get(self._proven.size)) is not None:
            self._judge(head)
        return self._proven

    def live(self) -> bool:
        """Whether a quorum stood by the proven checkpoint within the last 60 s."""
        proven = self.proven()
        return proven is not None and self._clock.now() - proven.fresh <= LIVE_MS

    async def wait(self, size: int, timeout_ms: int) -> Proven:
        """The first proof of at least `size`. Raises TimeoutError."""
        proven = self.proven()
        if proven is not None and proven.size >= size:
            return proven
        waiter: asyncio.Future[Proven] = asyncio.get_running_loop().create_future()
        entry = (size, waiter)
        self._waiters.append(entry)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                return await waiter
        finally:
            if entry in self._waiters:
                self._waiters.remove(entry)

    def pin(self, size: int, proven: Callable[[Proven], None]) -> None:
        """Keep the head of this size until a quorum stands under it, though larger ones be proven before."""
        self._pinned[size] = proven

    def fail(self, why: Exception) -> None:
        """Tell everyone who waits that no proof will come."""
        waiters, self._waiters = self._waiters, []
        for _, waiter in waiters:
            if not waiter.done():
                waiter.set_exception(why)

    def _judge(self, head: _Head) -> bool:
        """Verify the lines of a head; True when they suffice, and it is the proven one then."""
        proven = self._checked(head)
        if proven is None:
            return False
        self._proven = proven
        self._stale = False
        self._settle(proven)
        return True

    def _checked(self, head: _Head) -> Proven | None:
        while head.claimed():
            try:
                quorum = check_quorum(head.note.checkpoint, head.lines.values(), head.authority)
            except CosignatureError:
                self._drop_false(head)
                continue
            except WeakQuorum:  # a line by a key that the authority does not name for its time
                return None
            checkpoint = head.note.checkpoint
            gathered = head.note.with_lines(head.lines[member] for member in sorted(head.lines))
            return Proven(
                # Lines of keys that this authority does not name would be a stranger's in evidence.
                note=known_lines(gathered, head.authority).to_bytes(),
                size=checkpoint.size,
                root=checkpoint.root,
                height=head.height,
                fresh=quorum.fresh_time,
                members=quorum.members,
            )
        return None

    def _drop_false(self, head: _Head) -> None:
        for member, line in list(head.lines.items()):
            try:
                check_quorum(head.note.checkpoint, [line], head.authority)
            except CosignatureError:
                _log.warning("cosignature_false", member=member, size=head.size)
                del head.lines[member]
            except WeakQuorum:
                pass

    def _settle(self, proven: Proven) -> None:
        met = [(size, waiter) for size, waiter in self._waiters if size <= proven.size]
        self._waiters = [entry for entry in self._waiters if entry not in met]
        for _, waiter in met:
            if not waiter.done():
                waiter.set_result(proven)
        for size in [size for size in self._heads if size < proven.size and size not in self._pinned]:
            del self._heads[size]

    def lines_over_latest(self) -> Iterable[tuple[MemberId, Checkpoint, SignatureLine]]:
        """What a node that joins should hear."""
        if self._latest is not None:
            for member, line in self._latest.lines.items():
                yield member, self._latest.note.checkpoint, line
