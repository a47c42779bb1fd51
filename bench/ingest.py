"""How fast records are taken in: Synthea bundles read from files, validated, fingerprinted, sealed, stored, anchored.

Two worker processes prepare, one process writes the vault (SQLite, every transaction synced), as `commonward ingest`
does. Then each step by itself, in one process, so that one sees where the time goes.
"""

import asyncio
import gc
import os
import pickle
import re
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import jsonschema_rs
import orjson

from bench._machine import resident_bytes, scratch
from bench.results import Result
from commonward.adapters.fhir import SLAB_KIND, SlabCutter, Validator, slabs
from commonward.adapters.fhir.schema import schema_of
from commonward.adapters.store.vault import SqlVault
from commonward.ledger.encoding import Digester, encode
from commonward.ledger.ids import BlockTime
from commonward.records.envelope import seal_record, wrap_key
from commonward.records.fingerprint import MAX_LEAVES, Fingerprint, build_batch, fingerprint
from commonward.records.record import outline
from commonward.workflows import ingest
from commonward.workflows.ingest import Ingest, Prepared, Report, Tools, in_pool, prepare_in_worker, start_worker
from commonward.workflows.member_log import MemberLog
from commonward.workflows.ports import BatchRow, Cut, Piece, StorageKeys
from commonward.workflows.sealing import Sealing

RESOURCES = 60_000
GOAL = 20_000
WORKERS = 2
CHUNK, WINDOW = 12, 4  # slabs of half a megabyte: about 2,000 resources a transaction
KEYS = StorageKeys(b"w" * 32, b"i" * 32)

T = TypeVar("T")
_UUID = re.compile(rb"\b([0-9a-f]{8})(-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b")


class SystemEntropy:
    def bytes(self, n: int) -> bytes:
        return os.urandom(n)


class SystemClock:
    def now(self) -> BlockTime:
        return BlockTime(time.time_ns() // 1_000_000)


class NoSteps:
    def reach(self, name: str) -> None:
        pass


def samples() -> list[Path]:
    """The bundles of one patient each: all of them where the project's shared data is beside it, else the two here."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here.parent / "shared" / "data" / "synthea_r4", here / "tests" / "data" / "synthea_r4"):
        found = sorted(folder.glob("*.json"))
        if found:
            return found
    raise FileNotFoundError("expected Synthea bundles in tests/data/synthea_r4")


def replicate(files: Sequence[Path], into: Path, resources: int) -> tuple[list[Path], int, int]:
    """Copies with fresh ids until there are enough resources: (files, resources in all, bytes in all)."""
    texts = [file.read_bytes() for file in files]
    each = [len(orjson.loads(text)["entry"]) for text in texts]
    made: list[Path] = []
    count = size = copy = 0
    while count < resources:
        for index, text in enumerate(texts):
            fresh = partial(_fresh, copy * 2654435761 & 0xFFFFFFFF)
            made.append(into / f"{copy}-{index}.json")
            made[-1].write_bytes(_UUID.sub(fresh, text))
            count += each[index]
            size += len(text)
        copy += 1
    return made, count, size


def _fresh(mask: int, found: "re.Match[bytes]") -> bytes:
    return b"%08x" % (int(found[1], 16) ^ mask) + found[2]


def types_in(files: Sequence[Path]) -> tuple[str, ...]:
    return tuple(sorted({entry["resource"]["resourceType"] for f in files for entry in _entries(f)}))


def _entries(file: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = orjson.loads(file.read_bytes())["entry"]
    return entries


# --- the floor: no more than parse and validate, in as many processes

_compiled: dict[str, jsonschema_rs.Validator] = {}


def floor_start(types: Sequence[str]) -> None:
    _compiled.update({name: jsonschema_rs.validator_for(schema_of(name)) for name in types})


def floor_file(file: Path) -> int:
    count = 0
    for entry in _entries(file):
        found = entry["resource"]
        assert _compiled[found["resourceType"]].is_valid(found)
        count += 1
    return count


def floor(files: Sequence[Path], types: Sequence[str]) -> float:
    """Resources a second."""
    with ProcessPoolExecutor(WORKERS, get_context("spawn"), floor_start, (types,)) as pool:
        list(pool.map(floor_file, files[:WORKERS]))
        started = time.perf_counter()
        count = sum(pool.map(floor_file, files))
        return count / (time.perf_counter() - started)


# --- the real road


def make_tools(types: Sequence[str]) -> Tools:
    validator = Validator()
    validator.prepare(*types)
    return Tools(KEYS, SystemEntropy(), validator, cutters={SLAB_KIND: SlabCutter()})


def all_slabs(files: Iterable[Path]) -> Iterator[Piece]:
    for file in files:
        yield from slabs(file, "bench")


def open_ingest(vault: SqlVault) -> Ingest:
    sealing = Sealing(KEYS, SystemEntropy())
    clock = SystemClock()
    return Ingest(vault, sealing, KEYS, MemberLog(vault, sealing, clock), clock, NoSteps())


def anchor(vault: SqlVault) -> int:
    """Builds and plans every batch of what came in, as a tick does before it signs: how many."""
    last = vault.last_number()
    ticks = 0
    for ticks, first in enumerate(range(1, last + 1, MAX_LEAVES), 1):
        end = min(last, first + MAX_LEAVES - 1)
        seed = os.urandom(32)
        tree = build_batch((Fingerprint(each) for each in vault.fingerprints(first, end)), seed)
        vault.plan_batch(BatchRow(ticks << 17, first, end, seed, tree.root, -1))
    return ticks


class Memory:
    """Resident memory of this process and its workers, a third of the way, two thirds, at the end."""

    def __init__(self, pool: ProcessPoolExecutor, total: int) -> None:
        self._pool = pool
        self._total = total
        self.marks: list[tuple[float, float]] = []  # MB of the writer, MB of each worker

    def __call__(self, report: Report) -> None:
        if report.records >= self._total * (len(self.marks) + 1) // 3 and len(self.marks) < 3:
            workers = [_resident(pid) for pid in self._pool._processes]
            self.marks.append((resident_bytes() / 1e6, statistics.mean(workers) / 1e6))


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


def cpu_seconds() -> float:
    """Of this process and of those it started and that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def whole_road(files: Sequence[Path], total: int, path: Path, types: Sequence[str]) -> tuple[float, float, Memory]:
    """(seconds, processor seconds, memory)."""
    context = get_context("spawn")
    before = cpu_seconds()
    with (
        SqlVault(path / "vault.db") as vault,
        ProcessPoolExecutor(WORKERS, context, start_worker, (partial(make_tools, types),)) as pool,
    ):
        warm = list(all_slabs(files[:1]))
        list(pool.map(prepare_in_worker, [warm] * WORKERS * 2))  # started, schemas compiled; nothing stored
        warmed = cpu_seconds() - before + _cpu_of(pool)
        memory = Memory(pool, total)
        started = time.perf_counter()
        taking = open_ingest(vault).run(all_slabs(files), in_pool(pool), chunk=CHUNK, window=WINDOW, progress=memory)
        report = asyncio.run(taking)
        anchor(vault)
        took = time.perf_counter() - started
        assert report.records == total and not report.dead, report
    return took, cpu_seconds() - before - warmed, memory


def _cpu_of(pool: ProcessPoolExecutor) -> float:
    ticks = os.sysconf("SC_CLK_TCK")
    found = 0.0
    for pid in pool._processes:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        found += (int(fields[11]) + int(fields[12])) / ticks
    return found


# --- step by step, in one process


def each_step(files: Sequence[Path], types: Sequence[str], path: Path) -> dict[str, float]:
    """Processor microseconds a resource, step by step; storing also waits for the disk, so that is wall time."""
    gc.set_threshold(200_000, 20, 20)  # as `start_worker` does
    found: dict[str, float] = {}
    count = sum(len(_entries(file)) for file in files)

    def timed(name: str, job: Callable[[], T]) -> T:
        took = []
        for _ in range(5):
            started = time.process_time()
            result = job()
            took.append(time.process_time() - started)
        found[name] = statistics.median(took) / count * 1e6
        return result

    pieces = timed("cut into slabs", lambda: list(all_slabs(files)))
    texts = [b"[%b]" % piece.raw for piece in pieces]
    timed("parse", lambda: _all_of(orjson.loads, texts))
    cutter = SlabCutter()
    timed("stored bytes", lambda: _all_of(lambda piece: list(cutter.cut(piece)), pieces))
    found["stored bytes"] -= found["parse"]
    cuts = [each for piece in pieces for each in cutter.cut(piece)]
    plain = [each for each in cuts if isinstance(each, Cut)]
    assert len(plain) == len(cuts) == count, "a sample was not plain"
    validator = make_tools(types).validator
    assert not any(timed("validate", lambda: [validator.errors(each.tree) for each in plain]))
    salt = os.urandom(32)
    timed("fingerprint", lambda: [fingerprint(each.stored, salt) for each in plain])
    timed("name", lambda: [_names(each) for each in plain])
    timed("seal", lambda: [_seal(each) for each in plain])
    ingest._tools = make_tools(types)
    timed("prepare, all of the above", lambda: _all_of(lambda piece: prepare_in_worker([piece]), pieces))
    flat = prepare_in_worker(pieces)
    timed("travel between processes", lambda: (pickle.loads(pickle.dumps(pieces)), pickle.loads(pickle.dumps(flat))))
    batch = [Fingerprint(os.urandom(32)) for _ in range(count)]
    timed("anchor (build the tree)", lambda: build_batch(batch, salt))
    found["store, synced (wall)"] = _storing(prepare_in_worker(pieces), path) * 1e6
    return found


def _all_of(job: Callable[[T], object], each: Iterable[T]) -> None:
    """Keeping nothing, as a worker keeps nothing."""
    for one in each:
        job(one)


_match, _record = Digester("commonward vault match v1", KEYS.index), Digester("commonward vault record v1", KEYS.index)


def _names(each: Cut) -> bytes:
    kind, ident, _, _ = outline(each.tree)
    match = _match(encode(("bench", kind, ident)))[:16]
    return _record(match + match + _record(each.stored))[:16]


def _seal(each: Cut) -> tuple[bytes, bytes]:
    random = os.urandom(88)
    aad = random[:16]
    sealed = seal_record(each.stored, random[:32], random[32:64], random[64:76], aad)
    return sealed, wrap_key(random[32:64], KEYS.wrap, random[76:], aad)


def _storing(flat: Sequence[object], path: Path) -> float:
    """Seconds a resource, in transactions as large as those of a run."""
    rows = [ingest._whole(each) for each in flat if isinstance(each, tuple)]
    seen: dict[bytes, Prepared] = {row.row.id: row for row in rows}
    rows = list(seen.values())
    with SqlVault(path / "steps.db") as vault:
        taking = open_ingest(vault)
        started = time.perf_counter()
        for first in range(0, len(rows), 2000):
            taking.store(rows[first : first + 2000])
        return (time.perf_counter() - started) / len(rows)


def run(scale: float = 1.0) -> Iterator[Result]:
    base = samples()
    types = types_in(base)
    with scratch() as path:
        (path / "bundles").mkdir()
        files, total, size = replicate(base, path / "bundles", max(int(RESOURCES * scale), 2000))
        bare = floor(files, types)
        took, cpu, memory = whole_road(files, total, path, types)
        after = floor(files, types)
        steps = each_step(files[: len(base) * 3], types, path)
    of = f"{total:,} Synthea resources of {size / total / 1e3:.1f} KB as written"
    how = f"{of}, {WORKERS} workers and the writer, {os.cpu_count()} cores, SQLite synced each ~2,000, schemas compiled"
    floor_name = f"orjson and jsonschema-rs alone, {WORKERS} processes (mean of before and after)"
    yield Result(
        name="ingest, files to anchored", value=total / took, unit="resources/s", goal=GOAL,
        reference=floor_name, reference_value=(bare + after) / 2, conditions=how,
    )  # fmt: skip
    yield Result(
        name="ingest, processor time of all processes", value=cpu / total * 1e6, unit="us/resource",
        goal=WORKERS / GOAL * 1e6, more_is_better=False,
        conditions=f"{how}; the goal is what {WORKERS} cores have for each resource when nobody else uses them",
    )  # fmt: skip
    for name, cost in steps.items():
        yield Result(name=f"step: {name}", value=cost, unit="us/resource", more_is_better=False,
                     conditions=f"one process, processor time, median of 5, {of}")  # fmt: skip
    for part, (writer, worker) in zip(("1/3", "2/3", "3/3"), memory.marks, strict=True):
        yield Result(name=f"resident memory at {part}, writer", value=writer, unit="MB", more_is_better=False,
                     conditions=of, reference="each worker", reference_value=worker)  # fmt: skip
