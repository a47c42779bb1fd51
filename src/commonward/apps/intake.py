"""Taking in files at one member: the file adapters, the worker processes and `workflows.ingest`, joined.

Works beside a running node: the vault takes writers in turn, and the node anchors what is new at its next tick. Killed
at any point, it loses nothing and doubles nothing: run it again. Memory stays flat however long the input is.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final

from commonward.adapters import fhir, hl7v2
from commonward.adapters.store.vault import SqlVault
from commonward.apps.preparing import begin_worker, make_tools, zone
from commonward.apps.settings import Settings
from commonward.apps.wiring import NoSteps, SystemEntropy, WallClock, open_keys
from commonward.workflows.identity import Identity
from commonward.workflows.ingest import (
    Dead,
    DeadLetter,
    Ingest,
    Prepared,
    Report,
    Tools,
    in_pool,
    in_this_process,
)
from commonward.workflows.member_log import MemberLog
from commonward.workflows.ports import Piece, Steps
from commonward.workflows.sealing import Sealing

LARGE: Final = 8 << 20
"""Bytes from which two worker processes are worth their second of starting."""

SLABBED: Final = 4 << 20
"""Bytes from which a bundle is cut in the workers too."""

WORKERS: Final = 2

_LONGEST_PAUSE_S: Final = 0.25


class Form(StrEnum):
    """How a file is written."""

    FHIR = "fhir"
    HL7V2 = "hl7v2"


_SUFFIXES: Final = {
    ".json": Form.FHIR,
    ".ndjson": Form.FHIR,
    ".jsonl": Form.FHIR,
    ".hl7": Form.HL7V2,
    ".er7": Form.HL7V2,
    ".mllp": Form.HL7V2,
}
_HL7_STARTS: Final = (b"MSH", b"FHS", b"BHS", b"\x0b")
_MARKS: Final = b"\xef\xbb\xbf \t\r\n"


class NothingToTake(ValueError):
    """A path that cannot be taken in at all; the sentence says why and what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file. `label` names it in messages; `system` is the source system whose file it is."""

    path: Path
    label: str
    form: Form
    system: str
    size: int


@dataclass(frozen=True, slots=True)
class Found:
    """What the paths hold: files to take in, and how many in directories were left alone, being of no known form."""

    sources: tuple[Source, ...]
    skipped: int = 0
    unreadable: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> int:
        return sum(source.size for source in self.sources)


def find(paths: Sequence[Path], *, system: str = "", form: Form | None = None) -> Found:
    """The files under these paths, in order of name. Raises NothingToTake for a path that is none, or of no known form.

    Args:
        system: which source system they come from; without, the word for the form.
        form: how they are written; without, the name or the first bytes tell.
    """
    sources: list[Source] = []
    unreadable: list[tuple[str, str]] = []
    skipped = 0
    for path in paths:
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if not each.is_dir() and not each.name.startswith("."))
            for each in inside:
                known = form or _SUFFIXES.get(each.suffix.lower())
                label = str(Path(path.name) / each.relative_to(path))
                if known is None:
                    skipped += 1
                elif not each.is_file():
                    unreadable.append((label, "not a plain file, or a link to nothing"))
                else:
                    sources.append(Source(each, label, known, system or known.value, each.stat().st_size))
        elif not path.exists():
            raise NothingToTake(f"{path}: there is no such file or directory; check the path")
        elif not path.is_file():
            raise NothingToTake(f"{path}: expected a plain file or a directory; save what it gives into a file first")
        else:
            known = form or _SUFFIXES.get(path.suffix.lower()) or _by_first_bytes(path)
            sources.append(Source(path, path.name, known, system or known.value, path.stat().st_size))
    return Found(tuple(sources), skipped, tuple(unreadable))


def _by_first_bytes(path: Path) -> Form:
    try:
        with path.open("rb") as stream:
            start = stream.read(256)
    except OSError as cause:
        raise NothingToTake(f"{path}: cannot be read ({cause.strerror}); mend its permissions") from cause
    head = start.lstrip(_MARKS)
    if head.startswith(_HL7_STARTS) or start.startswith(_HL7_STARTS):
        return Form.HL7V2
    if head.startswith((b"{", b"[")):
        return Form.FHIR
    raise NothingToTake(
        f"{path}: neither its name ({', '.join(sorted(_SUFFIXES))}) nor its first bytes ({start[:16]!r}) say that "
        "it is FHIR or HL7 v2; say --form fhir or --form hl7v2 if it is"
    )


# ------------------------------------------------------------------------------------------------------------- the run


@dataclass(slots=True)
class Taken:
    """What a run did. `unreadable` names files of which nothing, or not all, could be read, and why."""

    report: Report = field(default_factory=Report)
    files: int = 0
    bytes: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)


class CourteousVault(SqlVault):
    """A vault that a running node writes too. Writers take turns by polling, at growing intervals: who writes without a
    pause would shut the node out for seconds, and the node waits on the thread that also cosigns. So each transaction
    is followed by a pause as long as it was.
    """

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """As the vault's own, and then a pause."""
        with super().transaction():
            began = time.monotonic()
            yield
        time.sleep(min(time.monotonic() - began, _LONGEST_PAUSE_S))


def runs(settings: Settings) -> bool:
    """Whether this member's node is there."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as line:
        line.settimeout(1.0)
        line.connect(str(settings.socket))
        return True
    return False


Prepare = Callable[[Sequence[Piece]], Awaitable[list[Prepared | Dead]]]


class Intake:
    """One member's vault, opened to take in. Close it."""

    def __init__(self, settings: Settings, steps: Steps | None = None) -> None:
        """`steps` is told of each named step. Raises BadSettings, and what keys and vault raise when they do not open
        (`apps.errors.FORESEEN`)."""
        zone(settings.time_zone)
        self._storage = open_keys(settings).storage()
        self._tools = partial(make_tools, self._storage, settings.time_zone)
        self.vault = (CourteousVault if runs(settings) else SqlVault)(settings.vault_file)
        clock, entropy = WallClock(), SystemEntropy()
        sealing = Sealing(self._storage, entropy)
        self.log = MemberLog(self.vault, sealing, clock)
        self.identity = Identity(self.vault, sealing, clock, entropy)
        self.ingest = Ingest(self.vault, sealing, self._storage, self.log, clock, steps or NoSteps(), self.identity)

    def close(self) -> None:
        self.vault.close()

    def __enter__(self) -> Intake:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def take(self, found: Found, taken: Taken, progress: Callable[[Taken], None] = lambda taken: None) -> None:
        """Takes in every file, in order, and says in `taken` what was stored, also when it is broken off.

        Raises VaultFull when there is no room. What was stored until then stays.
        """
        taken.unreadable += found.unreadable
        with self._prepare(found.size) as (prepare, has_workers):
            before = Report()

            def tell(report: Report) -> None:
                taken.report = Report()
                taken.report.add(before)
                taken.report.add(report)
                progress(taken)

            for slabbed, some in groupby(found.sources, lambda each: has_workers and _slabbed(each)):
                pieces = _pieces(some, taken, slabbed=slabbed)
                # A slab holds some hundred resources already.
                before.add(await self.ingest.run(pieces, prepare, chunk=1 if slabbed else 256, progress=tell))
            taken.report = before
        progress(taken)

    @contextmanager
    def _prepare(self, size: int) -> Iterator[tuple[Prepare, bool]]:
        if size < LARGE:
            yield in_this_process(self._tools()), False
            return
        pool = ProcessPoolExecutor(
            WORKERS,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=begin_worker,
            initargs=(self._tools,),
        )
        try:
            yield in_pool(pool), True
        except BrokenProcessPool as cause:
            raise ConnectionError(
                "a worker process ended before its time (killed, or out of memory); run it again: nothing is lost"
            ) from cause
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def tools(self) -> Tools:
        """What prepares pieces in this process."""
        return self._tools()

    def dead_letters(self) -> Iterator[tuple[bytes, DeadLetter]]:
        """By id, one at a time."""
        return self.ingest.dead_letters.every()

    def replay(self, only: Iterable[bytes] | None = None) -> Report:
        """Tries dead letters again, all or these."""
        return self.ingest.replay(self._tools(), None if only is None else frozenset(only))

    def run(self, found: Found, taken: Taken, progress: Callable[[Taken], None] = lambda taken: None) -> None:
        """`take`, on a loop of its own."""
        asyncio.run(self.take(found, taken, progress))


def _slabbed(source: Source) -> bool:
    return source.form is Form.FHIR and source.size >= SLABBED and source.path.suffix.lower() == ".json"


def _pieces(sources: Iterable[Source], taken: Taken, *, slabbed: bool) -> Iterator[Piece]:
    """Every piece of these files; counts bytes as they are read, and notes a file that cannot be read on."""
    for source in sources:
        start = taken.bytes
        try:
            with source.path.open("rb") as stream:
                if source.form is Form.HL7V2:
                    found = hl7v2.pieces(stream, source.system, name=source.label)
                else:
                    found = (fhir.slabs if slabbed else fhir.pieces)(stream, source.system, name=source.label)
                for piece in found:
                    taken.bytes = start + stream.tell()
                    yield piece
                taken.bytes = start + stream.tell()
        except OSError as cause:
            taken.unreadable.append((source.label, cause.strerror or str(cause)))
            continue
        taken.files += 1
        if taken.bytes == start and source.form is Form.HL7V2:
            yield Piece(
                source.system, "hl7v2", source.label, b"", "an empty file; expected a message that starts with MSH"
            )
