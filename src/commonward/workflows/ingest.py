"""Taking in: from what an existing system sends to sealed, fingerprinted records that wait for their anchor.

    piece -> read, validate, fingerprint, seal  (`prepare`: pure but for salts, runs in worker processes)
          -> versions, dead letters, recalls    (`Ingest.store`: one writer, one vault transaction a chunk)

Idempotent by source and content: a record's id follows from both, so what arrives twice is there once, and a run
that was killed is simply run again. A message whose control id was seen with other content is kept and flagged.
What cannot be read goes to the dead letters with where and why, and the rest goes on. Memory is flat: a bounded
window of chunks is under way.

A FHIR resource is its own source: its stored bytes keep everything the source said. Any other message is kept raw
too, as a record of its own that belongs to no patient and is never released.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

import orjson

from commonward.ledger.encoding import digest
from commonward.records.envelope import open_record, seal_record, unwrap_key, wrap_key
from commonward.records.fingerprint import fingerprint, source_fingerprint
from commonward.records.record import Record, Source, Standing, replaces
from commonward.records.stored import NotStorable, Parsed, Stored, parse
from commonward.workflows.member_log import Event, MemberLog
from commonward.workflows.ports import (
    Clock,
    Entropy,
    Piece,
    RecordRow,
    Steps,
    StorageKeys,
    Translated,
    Translator,
    Unreadable,
    Validator,
    Vault,
)
from commonward.workflows.sealing import Drawer, Sealing
from commonward.workflows.wire import Message

FHIR: Final = "fhir-r4"
NO_PATIENT: Final = bytes(16)
"""What source messages are filed under: no handle ever stands for it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A record ready for the vault, its version still open."""

    row: RecordRow
    standing: Standing
    is_source: bool
    where: str


@dataclass(frozen=True, slots=True)
class Dead:
    """A piece that could not be taken in."""

    piece: Piece
    why: str


@dataclass(frozen=True, slots=True)
class Tools:
    """What `prepare` needs; handed to each worker process once."""

    storage: StorageKeys
    entropy: Entropy
    validator: Validator
    translators: Mapping[str, Translator] = field(default_factory=dict)


# --- prepare: runs anywhere -----------------------------------------------------------------------


def prepare(pieces: Sequence[Piece], tools: Tools) -> list[Prepared | Dead]:
    """Each piece's records, in order; a piece with any fault gives one `Dead` and no record."""
    out: list[Prepared | Dead] = []
    sealing = Sealing(tools.storage, tools.entropy)
    for piece in pieces:
        try:
            out += _prepare_one(piece, tools, sealing)
        except (NotStorable, Unreadable) as fault:
            out.append(Dead(piece, str(fault)))
    return out


def _prepare_one(piece: Piece, tools: Tools, sealing: Sealing) -> list[Prepared]:
    if piece.trouble:
        raise Unreadable(piece.trouble)
    if piece.kind == FHIR:
        return [_record(Translated(parse(piece.raw)), piece, tools, sealing)]
    translator = tools.translators.get(piece.kind)
    if translator is None:
        raise Unreadable(f"no translator reads {piece.kind!r}; known are {sorted(tools.translators) or 'none'}")
    translation = translator.translate(piece.raw)
    made = [_source(translation.source_id, piece, tools, sealing)]
    return made + [_record(each, piece, tools, sealing) for each in translation.records]


def _record(translated: Translated, piece: Piece, tools: Tools, sealing: Sealing) -> Prepared:
    parsed: Parsed = translated.parsed
    plain = orjson.loads(parsed.stored)
    problems = tools.validator.errors(plain)
    if problems:
        raise Unreadable("; ".join(str(problem) for problem in problems))
    record = Record.from_tree(plain, parsed.stored, Source(piece.system, "", piece.kind))
    if not translated.match and not record.id:
        raise Unreadable(f"this {record.resource_type} has no id: without one no later version could be told from it")
    match = sealing.name("match", piece.system, *(translated.match or (record.resource_type, record.id)))
    patient = translated.patient or (local_patient(record.patient_ref) if record.patient_ref else "")
    owner = sealing.name("patient", piece.system, patient) if patient else NO_PATIENT
    salt = tools.entropy.bytes(32)
    row = _sealed(parsed.stored, salt, fingerprint(parsed.stored, salt).digest, match, owner, tools, sealing)
    return Prepared(row, record.standing, False, piece.where)


def _source(source_id: str, piece: Piece, tools: Tools, sealing: Sealing) -> Prepared:
    match = sealing.name("source", piece.system, piece.kind, source_id)
    salt = tools.entropy.bytes(32)
    print_ = source_fingerprint(piece.raw, salt).digest
    row = _sealed(Stored(piece.raw), salt, print_, match, NO_PATIENT, tools, sealing)
    return Prepared(row, Standing.FINAL, True, piece.where)


def _sealed(
    stored: Stored, salt: bytes, print_: bytes, match: bytes, patient: bytes, tools: Tools, sealing: Sealing
) -> RecordRow:
    # The id follows from what it is and what it says: the same record twice is one row, however often it is sent.
    # The patient is part of it: a record that moves to another patient is another record.
    row_id = sealing.name("record", match, patient, digest("commonward content v1", stored))
    key, nonces = tools.entropy.bytes(32), tools.entropy.bytes(24)
    sealed = seal_record(stored, salt, key, nonces[:12], row_id)
    wrapped = wrap_key(key, tools.storage.wrap, nonces[12:], row_id)
    return RecordRow(row_id, patient, match, 0, print_, sealed, wrapped)


_HISTORY: Final = re.compile(r"/_history/[^/]*$")


def local_patient(reference: str) -> str:
    """The id by which a source calls a patient, whichever way it refers: `Patient/1`, a URL, `urn:uuid:1`.

    A conditional reference (`Patient?identifier=...`) stands for itself.
    """
    if "?" in reference:
        return reference
    return _HISTORY.sub("", reference).removeprefix("urn:uuid:").rpartition("/")[2]


_tools: Tools | None = None


def start_worker(make_tools: Callable[[], Tools]) -> None:
    """Initialiser of a pool's processes: compiles schemas and takes the keys, once."""
    global _tools
    _tools = make_tools()


def prepare_in_worker(pieces: Sequence[Piece]) -> list[Prepared | Dead]:
    assert _tools is not None, "the pool was started without start_worker"
    return prepare(pieces, _tools)


# --- store: the one writer ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeadLetter(Message):
    """What could not be taken in: everything needed to look at it, mend the cause and replay it."""

    system: str
    kind: str
    where: str
    why: str
    raw: bytes
    at: int
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Replaced(Message):
    """A version that took another's place; kept until everyone who received the old one was told."""

    old: bytes
    new: bytes
    standing: int
    at: int


@dataclass(slots=True)
class Report:
    """What one run did, for people and for tests."""

    records: int = 0
    sources: int = 0
    duplicates: int = 0
    corrections: int = 0
    kept_aside: int = 0  # late preliminaries, kept but never current
    flagged: int = 0  # a control id seen before with other content
    dead: int = 0

    def add(self, other: Report) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Ingest:
    """The writing half. One at a time for a vault."""

    def __init__(
        self, vault: Vault, sealing: Sealing, storage: StorageKeys, log: MemberLog, clock: Clock, steps: Steps
    ) -> None:
        self._vault = vault
        self._storage = storage
        self._log = log
        self._clock = clock
        self._steps = steps
        self._sealing = sealing
        self.dead_letters = Drawer(vault, sealing, "dead-letters", DeadLetter)
        self.replaced = Drawer(vault, sealing, "replaced", Replaced)

    def store(self, results: Sequence[Prepared | Dead]) -> Report:
        """Writes a chunk, all or nothing. The order of the chunk is the order in which versions follow."""
        report = Report()
        with self._vault.transaction():
            self._write([each for each in results if isinstance(each, Prepared)], report)
            for each in results:
                if isinstance(each, Dead):
                    self._bury(each)
                    report.dead += 1
            self._steps.reach("ingest.before-commit")
        self._steps.reach("ingest.stored")
        return report

    def _write(self, results: Sequence[Prepared], report: Report) -> None:
        known = self._vault.records([each.row.id for each in results])
        heads = dict(self._vault.heads(list({each.row.match for each in results})))
        newest = {match: (head.id, head.version) for match, head in heads.items()}
        standings: dict[bytes, Standing] = {}
        rows: list[RecordRow] = []
        seen = set(known)
        for each in results:
            row = each.row
            if row.id in seen:
                report.duplicates += 1
                continue
            seen.add(row.id)
            head = newest.get(row.match)
            version = 1
            if head is not None:
                version = head[1] + 1
                if each.is_source:
                    report.flagged += 1
                    self._log.note(Event.FLAGGED, f"a control id came again with other content: {each.where}")
                elif head[1] == 0:
                    pass  # only versions that were kept aside so far: this is the first that counts
                elif replaces(self._standing(head[0], rows, standings), each.standing):
                    report.corrections += 1
                    self._replace(head[0], row.id, each.standing)
                else:
                    version = 0
                    report.kept_aside += 1
                    self._log.note(Event.FLAGGED, f"a late preliminary was kept and not shown: {each.where}")
            if version:
                newest[row.match] = (row.id, version)
            standings[row.id] = each.standing
            rows.append(replace(row, version=version))
            report.sources += each.is_source
            report.records += not each.is_source
        self._vault.add_records(rows)

    def _standing(self, row_id: bytes, pending: Sequence[RecordRow], known: dict[bytes, Standing]) -> Standing:
        """How final the newest version is: from this chunk, or read from its sealed bytes (corrections are few)."""
        if row_id not in known:
            _, row = self._vault.records([row_id])[row_id]
            if not row.wrapped:
                return Standing.FINAL  # erased: nothing preliminary comes back in its place
            stored, _ = open_record(row.sealed, unwrap_key(row.wrapped, self._storage.wrap, row.id), row.id)
            known[row_id] = Record.from_stored(stored, Source("", "", "")).standing
        return known[row_id]

    def _replace(self, old: bytes, new: bytes, standing: Standing) -> None:
        # Recorded in the same transaction as the new version: a kill between the two could lose a recall.
        self.replaced.put(old, Replaced(old, new, int(standing), self._clock.now()))

    def _bury(self, dead: Dead) -> None:
        piece = dead.piece
        key = self._sealing.name("dead", piece.system, piece.kind, digest("commonward content v1", piece.raw))
        held = self.dead_letters.get(key)
        attempts = held.attempts + 1 if held else 1
        letter = DeadLetter(piece.system, piece.kind, piece.where, dead.why, piece.raw, self._clock.now(), attempts)
        self.dead_letters.put(key, letter)

    # the road through a pool

    async def run(
        self,
        pieces: Iterable[Piece],
        prepare_chunk: Callable[[Sequence[Piece]], Awaitable[list[Prepared | Dead]]],
        *,
        chunk: int = 256,
        window: int = 6,
        progress: Callable[[Report], None] = lambda report: None,
    ) -> Report:
        """Takes in everything `pieces` yields; at most `window` chunks of `chunk` pieces are in memory.

        Raises what the source raises; what was stored until then stays, and the run can be repeated.
        """
        total = Report()
        under_way: deque[asyncio.Future[list[Prepared | Dead]]] = deque()
        try:
            for group in _chunks(pieces, chunk):
                under_way.append(asyncio.ensure_future(prepare_chunk(group)))
                if len(under_way) >= window:
                    total.add(self.store(await under_way.popleft()))
                    progress(total)
            while under_way:
                total.add(self.store(await under_way.popleft()))
                progress(total)
        finally:
            for left in under_way:
                left.cancel()
        return total

    def replay(self, tools: Tools) -> Report:
        """Tries every dead letter again; what can be taken in now leaves the drawer, the rest stays, with why."""
        total = Report()
        for key, letter in list(self.dead_letters.every()):
            results = prepare([Piece(letter.system, letter.kind, letter.where, letter.raw)], tools)
            if not any(isinstance(each, Dead) for each in results):
                report = Report()
                with self._vault.transaction():
                    self._write([each for each in results if isinstance(each, Prepared)], report)
                    self.dead_letters.remove(key)
                total.add(report)
            else:
                total.add(self.store(results))
        return total


def in_this_process(tools: Tools) -> Callable[[Sequence[Piece]], Awaitable[list[Prepared | Dead]]]:
    """For small inputs and tests: no pool."""

    async def run(pieces: Sequence[Piece]) -> list[Prepared | Dead]:
        return prepare(pieces, tools)

    return run


def in_pool(pool: Executor) -> Callable[[Sequence[Piece]], Awaitable[list[Prepared | Dead]]]:
    """For a process pool whose initialiser was `start_worker`."""

    async def run(pieces: Sequence[Piece]) -> list[Prepared | Dead]:
        return await asyncio.get_running_loop().run_in_executor(pool, prepare_in_worker, pieces)

    return run


def _chunks(pieces: Iterable[Piece], size: int) -> Iterator[list[Piece]]:
    each = iter(pieces)
    while group := list(islice(each, size)):
        yield group
