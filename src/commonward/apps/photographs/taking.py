"""Takes pictures into a member's vault beside its running node, and tells what became of each.

    file -> Asked -> read in a worker (limits, burnt-in text, quality; the picture written anew)
         -> Media, Condition, and a Patient where there is none -> `workflows.ingest` as any FHIR resource

Nothing stops at a bad picture: it goes to the dead letters with its bytes and what is wrong, to be looked at and tried
again. What a list says of files that were never opened (not there, outside the folder) is told and kept nowhere: there
is nothing to keep. Killed at any point it loses nothing and doubles nothing: run it again.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Final

import orjson

from commonward.adapters.fhir.photographs import patient as patient_record
from commonward.apps.intake import Intake
from commonward.apps.photographs.finding import Found
from commonward.apps.photographs.paper import KIND, Asked
from commonward.apps.photographs.reading import Read, Refused, examine
from commonward.apps.photographs.told import Staff, Told
from commonward.apps.preparing import begin_reader
from commonward.records.images.photograph import ImageRefused, Limits, Why
from commonward.workflows.ingest import FHIR, Dead, Prepared, prepare
from commonward.workflows.member_log import Event
from commonward.workflows.ports import Piece

MANY: Final = 64
"""Pictures from which two worker processes are worth their seconds of starting."""

_WORKERS: Final = 2
_CHUNK, _CHUNK_BYTES, _WINDOW = 16, 32 << 20, 4


class Taking:
    """One run over one member's opened vault."""

    def __init__(self, intake: Intake, system: str, staff: Staff | None = None, limits: Limits | None = None) -> None:
        """`system`: whose patients' keys these are, as in `commonward ingest --system`."""
        self._intake, self._system, self._staff = intake, system, staff
        self._limits = limits or Limits()
        self._tools = intake.tools()
        self._letters = frozenset(intake.ingest.dead_letters.places())

    def run(
        self, found: Sequence[Found | ImageRefused], told: Told, progress: Callable[[Told], None] = lambda told: None
    ) -> None:
        """Takes in all of these, and says in `told` what became of them, also when it is broken off.

        Raises VaultFull; ConnectionError where a worker process died while it read.
        """
        with _readers(len(found)) as submit:
            under_way: deque[tuple[list[tuple[str, Asked]], Future[list[Read | Refused]]]] = deque()
            for chunk in self._chunks(found, told):
                under_way.append((chunk, submit(tuple((name, asked.to_bytes()) for name, asked in chunk))))
                if len(under_way) >= _WINDOW:
                    self._store(*_answered(under_way.popleft()), told)
                    progress(told)
            while under_way:
                self._store(*_answered(under_way.popleft()), told)
                progress(told)

    def _chunks(self, found: Iterable[Found | ImageRefused], told: Told) -> Iterator[list[tuple[str, Asked]]]:
        """Files with their bytes, a few at a time; what cannot be opened is told at once."""
        chunk: list[tuple[str, Asked]] = []
        size = 0
        for each in found:
            try:
                if isinstance(each, ImageRefused):
                    raise each
                asked = each.asked("" if self._staff is None else self._staff.number, self._limits)
            except ImageRefused as refused:
                told.unread.append((refused.why.value, str(refused)))
                continue
            chunk.append((each.listed.name, asked))
            size += len(asked.data)
            if len(chunk) == _CHUNK or size >= _CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    def again(self, letters: Sequence[tuple[str, Asked]], told: Told) -> None:
        """Tries dead letters of this system again: (name, asked). What can be taken in now leaves the drawer."""
        looked = "" if self._staff is None else self._staff.number
        for name, asked in letters:
            tried = replace(asked, looked=looked)
            self._store([(name, tried)], examine(((name, tried.to_bytes()),)), told)

    # what came of it

    def _store(self, chunk: list[tuple[str, Asked]], answers: list[Read | Refused], told: Told) -> None:
        results: list[Prepared | Dead] = []
        for (name, asked), answer in zip(chunk, answers, strict=True):
            kept = Piece(self._system, KIND, name, asked.kept().to_bytes())
            if isinstance(answer, Read):
                answer = self._one_cause(answer, name, told)
            if isinstance(answer, Refused):
                told.refused[answer.why.value] += 1
                results.append(Dead(kept, str(answer)))
                continue
            results += self._records(answer, name)
            told.taken += 1
            if answer.poor:
                told.poor.append((name, "; ".join(answer.poor)))
            if answer.suspected:
                self._overruled(answer, name, told)
            if (letter := self._intake.ingest.letter_of(kept)) in self._letters:
                self._intake.ingest.dead_letters.remove(letter)
        told.report.add(self._intake.ingest.store(results))

    def _one_cause(self, read: Read, name: str, told: Told) -> Read | Refused:
        """A patient has one cause; a list that says two is wrong in one of its lines, and nobody here knows which."""
        before = told.labels.setdefault(read.patient, read.label)
        if read.label and before and before != read.label:
            what = f"{name}: expected the class {before}, as another picture of this patient has, got {read.label}"
            return Refused(Why.LABEL, f"{what}; one of them is wrong")
        if read.label:
            told.labels[read.patient] = read.label
        return read

    def _records(self, read: Read, name: str) -> list[Prepared | Dead]:
        trees = list(read.trees)
        if not self._intake.ingest.has(self._system, "Patient", read.patient):
            trees.insert(0, patient_record(read.patient))
        return prepare([Piece(self._system, FHIR, name, orjson.dumps(tree)) for tree in trees], self._tools)

    def _overruled(self, read: Read, name: str, told: Told) -> None:
        assert self._staff is not None
        told.looked.append(name)
        self._intake.log.note(
            Event.PHOTOGRAPH,
            f"taken in after a person looked for burnt-in text and found none: {read.suspected}",
            who=self._staff.number,
            staff=self._staff.certificate,
        )


Submit = Callable[[tuple[tuple[str, bytes], ...]], "Future[list[Read | Refused]]"]


@contextmanager
def _readers(count: int) -> Iterator[Submit]:
    if count < MANY:
        yield _here
        return
    pool = ProcessPoolExecutor(_WORKERS, mp_context=multiprocessing.get_context("spawn"), initializer=begin_reader)
    try:
        yield lambda chunk: pool.submit(examine, chunk)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _here(chunk: tuple[tuple[str, bytes], ...]) -> Future[list[Read | Refused]]:
    done: Future[list[Read | Refused]] = Future()
    done.set_result(examine(chunk))
    return done


def _answered(
    each: tuple[list[tuple[str, Asked]], Future[list[Read | Refused]]],
) -> tuple[list[tuple[str, Asked]], list[Read | Refused]]:
    chunk, answer = each
    try:
        return chunk, answer.result()
    except BrokenProcessPool as cause:
        names = ", ".join(name for name, _ in islice(chunk, _CHUNK))
        raise ConnectionError(
            f"a worker process died while it read one of: {names}. What was taken before that stays. Take these in one "
            "by one to find it, and keep that file for whoever looks into it"
        ) from cause
