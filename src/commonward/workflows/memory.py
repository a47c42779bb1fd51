"""In-memory twins of the ports: real code that keeps each port's promises and fails on cue.

`Cue` makes the next call of a named method fail, before its effect or after it: a write that raised may or
may not have happened, and a workflow must be right in both cases. `Deadly` dies at a named step, once.
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy

from commonward.ledger.ids import BlockTime, Digest, Handle, MemberId, Tag
from commonward.records.fingerprint import BatchProof, BatchTree, Fingerprint
from commonward.workflows.ports import (
    BatchRow,
    LogRow,
    MarkRow,
    MarkState,
    PeerAway,
    RecordHead,
    RecordReader,
    RecordRow,
    VaultFull,
)


class Killed(BaseException):
    """What `Deadly` raises: no workflow may catch it, as none can catch a kill -9."""


class Cue:
    """The next call named here fails, `before` its effect or `after` it; then all is well again."""

    def __init__(self, error: type[Exception]) -> None:
        self._error = error
        self._next: dict[str, bool] = {}

    def fail_next(self, method: str, *, after_effect: bool = False) -> None:
        self._next[method] = after_effect

    @contextmanager
    def of(self, method: str) -> Iterator[None]:
        when = self._next.pop(method, None)
        if when is False:
            raise self._error(f"{method} failed on cue, before its effect")
        yield
        if when is True:
            raise self._error(f"{method} failed on cue, after its effect")


class SteppedClock:
    """Stands still until it is moved."""

    def __init__(self, at: int = 1_800_000_000_000) -> None:
        self._at = at

    def now(self) -> BlockTime:
        return BlockTime(self._at)

    def move(self, by_ms: int) -> None:
        self._at += by_ms


class CountedEntropy:
    """The same bytes in the same order for the same seed: SHAKE-256 of seed and a counter."""

    def __init__(self, seed: bytes | str) -> None:
        self._seed = seed.encode() if isinstance(seed, str) else seed
        self._count = 0

    def bytes(self, count: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(self._seed + self._count.to_bytes(8, "big")).digest(count)


class Deadly:
    """Raises `Killed` when the armed step is reached, once, and keeps the names it saw."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._armed: str | None = None

    def arm(self, name: str) -> None:
        self._armed = name

    def reach(self, name: str) -> None:
        self.seen.append(name)
        if name == self._armed:
            self._armed = None
            raise Killed(name)


class NoSteps:
    """The real one: a step passes."""

    def reach(self, name: str) -> None:
        return None


class MemoryTrees:
    """Trees in a dictionary. `lose` forgets them all, as a directory that was removed does."""

    def __init__(self) -> None:
        self.cue = Cue(VaultFull)
        self._trees: dict[int, BatchTree] = {}

    def keep(self, batch: int, tree: BatchTree) -> None:
        with self.cue.of("keep"):
            self._trees[batch] = tree

    def prove(self, batch: int, seed: bytes, root: bytes, fp: Fingerprint) -> BatchProof | None:
        tree = self._trees.get(batch)
        if tree is None or tree.root != root:
            return None
        try:
            return tree.prove(fp)
        except KeyError:
            return None

    def lose(self) -> None:
        self._trees.clear()


class MemoryVault:
    """The vault in dictionaries. Its contents survive a `Killed` workflow, as a file survives a process."""

    _TABLES = ("_rows", "_numbers", "_batches", "_marks", "_papers", "_log")

    def __init__(self) -> None:
        self.cue = Cue(VaultFull)
        self._rows: list[RecordRow] = []  # number - 1 -> row
        self._numbers: dict[bytes, int] = {}
        self._batches: dict[int, BatchRow] = {}
        self._marks: dict[tuple[bytes, int], MarkRow] = {}
        self._papers: dict[tuple[str, bytes], tuple[bytes, bytes]] = {}
        self._log: list[LogRow] = []
        self._inside = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._inside:
            raise RuntimeError("a vault transaction does not nest")
        before = {name: copy(getattr(self, name)) for name in self._TABLES}
        self._inside = True
        try:
            with self.cue.of("transaction"):
                try:
                    yield
                except BaseException:
                    for name, table in before.items():
                        setattr(self, name, table)
                    raise
        finally:
            self._inside = False

    # records

    def add_records(self, rows: Sequence[RecordRow]) -> frozenset[bytes]:
        with self.cue.of("add_records"):
            new = []
            for row in rows:
                if row.id not in self._numbers:
                    self._rows.append(row)
                    self._numbers[row.id] = len(self._rows)
                    new.append(row.id)
        return frozenset(new)

    def records(self, ids: Sequence[bytes]) -> Mapping[bytes, tuple[int, RecordRow]]:
        found = {i: self._numbers[i] for i in ids if i in self._numbers}
        return {i: (number, self._rows[number - 1]) for i, number in found.items()}

    def heads(self, matches: Sequence[bytes]) -> Mapping[bytes, RecordHead]:
        wanted = frozenset(matches)
        heads: dict[bytes, RecordHead] = {}
        for row in self._rows:
            if row.match in wanted and (row.match not in heads or row.version > heads[row.match].version):
                heads[row.match] = RecordHead(row.id, row.version)
        return heads

    def versions(self, match: bytes) -> Sequence[tuple[int, RecordRow]]:
        return [(n, row) for n, row in enumerate(self._rows, 1) if row.match == match]

    def current_records(self, patients: Sequence[bytes]) -> Sequence[tuple[int, RecordRow]]:
        wanted = frozenset(patients)
        best: dict[bytes, tuple[int, RecordRow]] = {}
        for n, row in enumerate(self._rows, 1):
            held = best.get(row.match)
            if row.version >= 1 and (held is None or row.version > held[1].version):
                best[row.match] = (n, row)
        return sorted((pair for pair in best.values() if pair[1].patient in wanted), key=lambda pair: pair[0])

    @contextmanager
    def reading(self) -> Iterator[RecordReader]:
        yield self

    def last_number(self) -> int:
        return len(self._rows)

    def fingerprints(self, first: int, last: int) -> Sequence[bytes]:
        return [row.fingerprint for row in self._rows[first - 1 : last]]

    def destroy_records(self, ids: Sequence[bytes]) -> None:
        with self.cue.of("destroy_records"):
            for i in ids:
                n = self._numbers.get(i)
                if n is not None:
                    r = self._rows[n - 1]
                    self._rows[n - 1] = RecordRow(r.id, r.patient, r.match, r.version, r.fingerprint, b"", b"")

    def alter_record(self, record: bytes, at: int) -> None:
        """Flips a bit of a sealed record: what someone with the disk could do. For tests and the demo."""
        n = self._numbers[record]
        r = self._rows[n - 1]
        sealed = bytearray(r.sealed)
        sealed[at] ^= 1
        self._rows[n - 1] = RecordRow(r.id, r.patient, r.match, r.version, r.fingerprint, bytes(sealed), r.wrapped)

    def alter_paper(self, drawer: str, key: bytes) -> None:
        """Flips a bit in a sealed paper."""
        sealed, group = self._papers[drawer, key]
        self._papers[drawer, key] = sealed[:-1] + bytes([sealed[-1] ^ 1]), group

    def alter_fingerprint(self, record: bytes) -> None:
        """Flips a bit of a record's fingerprint in its row."""
        n = self._numbers[record]
        r = self._rows[n - 1]
        print_ = bytes([r.fingerprint[0] ^ 1]) + r.fingerprint[1:]
        self._rows[n - 1] = RecordRow(r.id, r.patient, r.match, r.version, print_, r.sealed, r.wrapped)

    # batches

    def plan_batch(self, batch: BatchRow) -> None:
        with self.cue.of("plan_batch"):
            self._batches[batch.tick] = batch

    def anchored_batch(self, tick: int, index: int) -> None:
        with self.cue.of("anchored_batch"):
            b = self._batches[tick]
            self._batches[tick] = BatchRow(b.tick, b.first, b.last, b.seed, b.root, index)

    def last_batch(self) -> BatchRow | None:
        return self._batches[max(self._batches)] if self._batches else None

    def batch_of(self, number: int) -> BatchRow | None:
        return next((b for b in self._batches.values() if b.first <= number <= b.last), None)

    def unanchored_batches(self) -> Sequence[BatchRow]:
        return [b for _, b in sorted(self._batches.items()) if b.index < 0]

    def forget_batches(self, before_tick: int) -> int:
        empty = [t for t, b in self._batches.items() if t < before_tick and b.index >= 0 and b.last < b.first]
        for tick in empty:
            del self._batches[tick]
        return len(empty)

    # marks

    def reserve_mark(self, row: MarkRow) -> None:
        with self.cue.of("reserve_mark"):
            taken = (row.handle, row.n) in self._marks
            if taken or self.mark_for(row.request) or self.mark_by_tag(row.tag):
                raise KeyError(f"number {row.n}, its tag or its request is taken for this handle")
            self._marks[(row.handle, row.n)] = row

    def change_mark(self, row: MarkRow) -> None:
        with self.cue.of("change_mark"):
            if (row.handle, row.n) not in self._marks:
                raise KeyError(f"no mark {row.n} for this handle")
            self._marks[(row.handle, row.n)] = row

    def last_mark(self, handle: Handle) -> MarkRow | None:
        numbers = [n for h, n in self._marks if h == handle]
        return self._marks[(handle, max(numbers))] if numbers else None

    def mark_for(self, request: Digest) -> MarkRow | None:
        return next((row for row in self._marks.values() if row.request == request), None)

    def mark_by_tag(self, tag: Tag) -> MarkRow | None:
        return next((row for row in self._marks.values() if row.tag == tag), None)

    def marks(self, handle: Handle, first: int = 0, limit: int = 1000) -> Sequence[MarkRow]:
        mine = sorted((row for row in self._marks.values() if row.handle == handle), key=lambda row: row.n)
        return [row for row in mine if row.n >= first][:limit]

    def marks_in(self, state: MarkState, limit: int = 1000) -> Sequence[MarkRow]:
        found = [row for row in self._marks.values() if row.state == state]
        return sorted(found, key=lambda row: (row.handle, row.n))[:limit]

    # papers

    def put(self, drawer: str, key: bytes, sealed: bytes, under: bytes = b"") -> None:
        with self.cue.of("put"):
            self._papers[(drawer, key)] = (sealed, under)

    def get(self, drawer: str, key: bytes) -> bytes | None:
        paper = self._papers.get((drawer, key))
        return paper[0] if paper else None

    def remove(self, drawer: str, key: bytes) -> None:
        with self.cue.of("remove"):
            self._papers.pop((drawer, key), None)

    def under(self, drawer: str, group: bytes, after: bytes = b"", limit: int = 1000) -> Sequence[tuple[bytes, bytes]]:
        return sorted(
            (key, sealed)
            for (name, key), (sealed, filed) in self._papers.items()
            if name == drawer and filed == group and key > after
        )[:limit]

    def every(self, drawer: str, after: bytes = b"", limit: int = 1000) -> Sequence[tuple[bytes, bytes]]:
        return sorted(
            (key, sealed) for (name, key), (sealed, _) in self._papers.items() if name == drawer and key > after
        )[:limit]

    def count(self, drawer: str) -> int:
        return sum(1 for name, _ in self._papers if name == drawer)

    # log

    def append_log(self, row: LogRow) -> None:
        with self.cue.of("append_log"):
            if row.number != len(self._log) + 1:
                raise KeyError(f"log entry {row.number} does not follow {len(self._log)}")
            self._log.append(row)

    def last_log(self) -> LogRow | None:
        return self._log[-1] if self._log else None

    def log_rows(self, first: int, limit: int) -> Sequence[LogRow]:
        return self._log[max(first, 1) - 1 : max(first, 1) - 1 + limit]


class MemoryPeers:
    """Members that talk without sockets. `cut` takes one away; `cue` fails the next `ask` before or after."""

    def __init__(self) -> None:
        self.cue = Cue(PeerAway)
        self._doors: dict[MemberId, Callable[[MemberId, str, bytes], Awaitable[bytes]]] = {}
        self._away: set[MemberId] = set()
        self.carried: list[tuple[MemberId, MemberId, str, bytes, bytes]] = []  # from, to, path, body, answer

    def open_door(self, member: MemberId, answer: Callable[[MemberId, str, bytes], Awaitable[bytes]]) -> None:
        self._doors[member] = answer

    def cut(self, member: MemberId) -> None:
        self._away.add(member)

    def mend(self, member: MemberId) -> None:
        self._away.discard(member)

    def of(self, member: MemberId) -> "_PeersOf":
        return _PeersOf(self, member)

    async def ask(self, asker: MemberId, member: MemberId, path: str, body: bytes) -> bytes:
        if member in self._away or asker in self._away or member not in self._doors:
            raise PeerAway(f"{member} does not answer")
        with self.cue.of(path):
            answer = await self._doors[member](asker, path, body)
            self.carried.append((asker, member, path, body, answer))
        return answer


class _PeersOf:
    """The `Peers` port of one member."""

    def __init__(self, peers: MemoryPeers, member: MemberId) -> None:
        self._peers = peers
        self._member = member

    async def ask(self, member: MemberId, path: str, body: bytes) -> bytes:
        return await self._peers.ask(self._member, member, path, body)


class SteppedPace:
    """Keeps what was asked of it and never waits."""

    def __init__(self) -> None:
        self.settled: list[int] = []

    def start(self) -> float:
        return 0.0

    async def settle(self, started: float, grid_ms: int) -> None:
        self.settled.append(grid_ms)
