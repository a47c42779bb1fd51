"""Taking in: from what an existing system sends to sealed, fingerprinted records that wait for their anchor.

    piece -> read, validate, fingerprint, seal  (`prepare`: pure but for salts, runs in worker processes)
          -> versions, dead letters, recalls    (`Ingest.store`: one writer, one vault transaction a chunk)

Idempotent by source and content: a record's id follows from both, so what arrives twice is there once, and a run
that was killed is simply run again. A message whose control id was seen with other content is kept and flagged.
What cannot be read goes to the dead letters with where and why, and the rest goes on. Memory is flat: a bounded
window of chunks is under way.

What a message says of its patients' names (a merge of two) becomes a link of the overlay in the same transaction as
the message itself, once: sent again it changes nothing, so a link that a person took back stays taken back.

A FHIR resource is its own source: its stored bytes keep everything the source said. Any other message is kept raw
too, as a record of its own that belongs to no patient and is never released.
"""

from __future__ import annotations

import asyncio
import gc
import re
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple

import orjson

from commonward.ledger.encoding import Digester, digest, encode
from commonward.records.envelope import open_record, seal_record, unwrap_key, wrap_key
from commonward.records.fingerprint import fingerprint, source_fingerprint
from commonward.records.record import Record, Source, Standing, outline, replaces
from commonward.records.stored import NotStorable, Stored, read
from commonward.workflows.identity import Identity, IdentityError
from commonward.workflows.member_log import Event, MemberLog
from commonward.workflows.ports import (
    Clock,
    Cut,
    Cutter,
    Entropy,
    Piece,
    RecordRow,
    Steps,
    StorageKeys,
    Translation,
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
class NamesHeard:
    """Two keyed names of patients of which a message says that they are one person, or are not after all."""

    left: bytes
    right: bytes
    joined: bool
    why: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A record ready for the vault, its version still open."""

    row: RecordRow
    standing: Standing
    is_source: bool
    where: str
    heard: tuple[NamesHeard, ...] = ()
    notes: tuple[str, ...] = ()


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
    cutters: Mapping[str, Cutter] = field(default_factory=dict)


# --- prepare: runs anywhere -----------------------------------------------------------------------


def prepare(pieces: Sequence[Piece], tools: Tools) -> list[Prepared | Dead]:
    """Each piece's records, in order; a piece with any fault gives one `Dead` and no record."""
    out: list[Prepared | Dead] = []
    names = _Names(tools.storage.index)
    for piece in pieces:
        cutter = tools.cutters.get(piece.kind)
        for each in (piece,) if cutter is None else cutter.cut(piece):
            try:
                if isinstance(each, Cut):
                    made = _Resource(each.tree, each.stored, piece.system, FHIR, each.where)
                    out.append(_record(made, tools, names))
                else:
                    out += _prepare_one(each, tools, names)
            except (NotStorable, Unreadable) as fault:
                dead = Piece(piece.system, FHIR, each.where, each.stored) if isinstance(each, Cut) else each
                out.append(Dead(dead, str(fault)))
    return out


class _Names:
    """`Sealing.name` for what ingest names hundreds of thousands at a time."""

    __slots__ = ("_owner", "match", "patient", "record", "source")

    def __init__(self, index_key: bytes) -> None:
        self.match, self.patient, self.record, self.source = (
            Digester(f"commonward vault {kind} v1", index_key) for kind in ("match", "patient", "record", "source")
        )
        self._owner = (("", ""), NO_PATIENT)

    def owner(self, system: str, patient: str) -> bytes:
        """What a patient's records are filed under. Those of one patient mostly follow each other."""
        if not patient:
            return NO_PATIENT
        if self._owner[0] != (system, patient):
            self._owner = (system, patient), self.patient(encode((system, patient)))[:16]
        return self._owner[1]


class _Resource(NamedTuple):
    """One resource on its way: plain values, stored bytes, and where both came from."""

    tree: Any
    stored: Stored
    system: str
    kind: str
    where: str
    match: tuple[str, ...] = ()
    patient: str = ""


def _prepare_one(piece: Piece, tools: Tools, names: _Names) -> list[Prepared]:
    if piece.trouble:
        raise Unreadable(piece.trouble)
    if piece.kind == FHIR:
        return [_record(_Resource(*read(piece.raw), piece.system, FHIR, piece.where), tools, names)]
    translator = tools.translators.get(piece.kind)
    if translator is None:
        raise Unreadable(f"no translator reads {piece.kind!r}; known are {sorted(tools.translators) or 'none'}")
    translation = translator.translate(piece.raw)
    made = [_source(translation, piece, tools, names)]
    for each in translation.records:
        stored = each.parsed.stored
        resource = _Resource(
            orjson.loads(stored), stored, piece.system, piece.kind, piece.where, each.match, each.patient
        )
        made.append(_record(resource, tools, names))
    return made


def _record(resource: _Resource, tools: Tools, names: _Names) -> Prepared:
    tree, stored, system = resource.tree, resource.stored, resource.system
    problems = tools.validator.errors(tree)
    if problems:
        raise Unreadable("; ".join(str(problem) for problem in problems))
    kind, ident, patient_ref, standing = outline(tree)
    if not resource.match and not ident:
        raise Unreadable(f"this {kind} has no id: without one no later version could be told from it")
    match = names.match(encode((system, *(resource.match or (kind, ident)))))[:16]
    patient = resource.patient or (local_patient(patient_ref) if patient_ref else "")
    owner = names.owner(system, patient)
    random = tools.entropy.bytes(_RANDOM)
    row = _sealed(stored, fingerprint(stored, random[:32]).digest, random, match, owner, tools, names)
    return Prepared(row, standing, False, resource.where)


def _source(translation: Translation, piece: Piece, tools: Tools, names: _Names) -> Prepared:
    match = names.source(encode((piece.system, piece.kind, translation.source_id)))[:16]
    random = tools.entropy.bytes(_RANDOM)
    print_ = source_fingerprint(piece.raw, random[:32]).digest
    row = _sealed(Stored(piece.raw), print_, random, match, NO_PATIENT, tools, names)
    heard = tuple(
        NamesHeard(
            names.patient(encode((piece.system, said.left)))[:16],
            names.patient(encode((piece.system, said.right)))[:16],
            said.joined,
            f"{said.why} ({piece.system}, {piece.where})",
        )
        for said in translation.names
    )
    return Prepared(row, Standing.FINAL, True, piece.where, heard, translation.notes)


_RANDOM: Final = 32 + 32 + 12 + 12  # salt, key of the record, nonces of both seals


def _sealed(
    stored: Stored, print_: bytes, random: bytes, match: bytes, patient: bytes, tools: Tools, names: _Names
) -> RecordRow:
    # The id follows from what it is and what it says: the same record twice is one row, however often it is sent.
    # The patient is part of it: a record that moves to another patient is another record.
    row_id = names.record(match + patient + _content(stored))[:16]
    key = random[32:64]
    sealed = seal_record(stored, random[:32], key, random[64:76], row_id)
    wrapped = wrap_key(key, tools.storage.wrap, random[76:], row_id)
    return RecordRow(row_id, patient, match, 0, print_, sealed, wrapped)


_content: Final = Digester("commonward content v1")
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
    # Resources are trees of thousands of small objects and no cycles: looking for cycles in them again and again
    # would cost a third of the parsing. What has cycles is still found, seldom.
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
    _tools = make_tools()


Flat = tuple[bytes, bytes, bytes, bytes, bytes, bytes, int, bool, str, tuple[NamesHeard, ...], tuple[str, ...]]
"""A `Prepared` as it travels between processes: tuples pickle in a third of the time."""


def prepare_in_worker(pieces: Sequence[Piece]) -> list[Flat | Dead]:
    """`prepare`, for `in_pool`."""
    assert _tools is not None, "the pool was started without start_worker"
    return [each if isinstance(each, Dead) else _flat(each) for each in prepare(pieces, _tools)]


def _flat(each: Prepared) -> Flat:
    row = each.row
    print_, standing = row.fingerprint, int(each.standing)
    return (
        row.id, row.patient, row.match, print_, row.sealed, row.wrapped, standing, each.is_source, each.where,
        each.heard, each.notes,
    )  # fmt: skip


def _whole(each: Flat) -> Prepared:
    row_id, patient, match, print_, sealed, wrapped, standing, is_source, where, heard, notes = each
    row = RecordRow(row_id, patient, match, 0, print_, sealed, wrapped)
    return Prepared(row, _STANDINGS[standing], is_source, where, heard, notes)


_STANDINGS: Final = {int(each): each for each in Standing}


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
    merged: int = 0  # two names of one patient joined, as a message says
    unmerged: int = 0
    noted: int = 0  # what a message says of identities and only a person may act on

    def add(self, other: Report) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Ingest:
    """The writing half. One at a time for a vault."""

    def __init__(
        self,
        vault: Vault,
        sealing: Sealing,
        storage: StorageKeys,
        log: MemberLog,
        clock: Clock,
        steps: Steps,
        identity: Identity | None = None,
    ) -> None:
        """Without `identity`, what messages say of patients' names is noted in the member's log and makes no link."""
        self._identity = identity
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
            rows.append(RecordRow(row.id, row.patient, row.match, version, row.fingerprint, row.sealed, row.wrapped))
            report.sources += each.is_source
            report.records += not each.is_source
            self._hear_names(each, report)
        self._vault.add_records(rows)

    def _hear_names(self, each: Prepared, report: Report) -> None:
        """What a message that is new here says of its patients' names."""
        for said in each.heard:
            try:
                if self._identity is None:
                    raise IdentityError("this run makes no links")
                if said.joined:
                    self._identity.merge(said.left, said.right, said.why)
                    report.merged += 1
                else:
                    self._identity.unmerge(said.left, said.right, said.why)
                    report.unmerged += 1
                self._log.note(Event.LINKED, f"two names {'joined' if said.joined else 'taken apart'}: {said.why}")
            except IdentityError as why:
                report.noted += 1
                self._log.note(Event.FLAGGED, f"{said.why}: nothing was done, {why}")
        for note in each.notes:
            report.noted += 1
            self._log.note(Event.FLAGGED, f"{note} ({each.where})")

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

    def letter_of(self, piece: Piece) -> bytes:
        """The key of the dead letter that this piece has or would have."""
        return self._sealing.name("dead", piece.system, piece.kind, digest("commonward content v1", piece.raw))

    def has(self, system: str, kind: str, ident: str) -> bool:
        """Whether any version of a resource that the source knows by this id is here."""
        match = _Names(self._storage.index).match(encode((system, kind, ident)))[:16]
        return bool(self._vault.heads([match]))

    def _bury(self, dead: Dead) -> None:
        piece = dead.piece
        key = self.letter_of(piece)
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

    def replay(self, tools: Tools, only: Collection[bytes] | None = None) -> Report:
        """Tries dead letters again, all or those under these keys; what can be taken in now leaves the drawer, the rest
        stays, with why."""
        total = Report()
        for key, letter in self.dead_letters.every():  # a page at a time, by key, so what is put back is met once
            if only is not None and key not in only:
                continue
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
        flat = await asyncio.get_running_loop().run_in_executor(pool, prepare_in_worker, pieces)
        return [each if isinstance(each, Dead) else _whole(each) for each in flat]

    return run


def _chunks(pieces: Iterable[Piece], size: int) -> Iterator[list[Piece]]:
    each = iter(pieces)
    while group := list(islice(each, size)):
        yield group
