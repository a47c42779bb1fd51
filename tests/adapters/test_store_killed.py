"""kill -9 at random moments and at named ones: what was acknowledged stands, once; the rest stands whole or not at all.

Each worker is a process of its own that says over a pipe what a store acknowledged, and is killed.
"""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from commonward.adapters.store.blocks import BlockFiles
from commonward.adapters.store.state import RocksStore
from commonward.adapters.store.tiles import TileFiles
from commonward.adapters.store.vault import SqlVault
from commonward.ledger.ids import BlockTime
from commonward.ledger.merkle.log import Log
from commonward.workflows.ports import LogRow, RecordRow

ROUNDS = 3


def octets(name: str, length: int) -> bytes:
    return random.Random(name).randbytes(length)


def rows_of(step: int) -> list[RecordRow]:
    names = [f"{step}/{index}" for index in range(step % 40 + 1)]
    return [
        RecordRow(
            octets(f"i{n}", 16), octets("p", 16), octets(f"m{n}", 16), 1, octets(f"f{n}", 32), octets(n, 900), b"k"
        )
        for n in names
    ]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# --- workers: from `start` on, one step after another, each acknowledged over the pipe


def write_vault(path: Path, start: int, said: Connection) -> None:
    vault = SqlVault(path / "vault.db")
    for step in range(start, 1 << 30):
        with vault.transaction():
            vault.add_records(rows_of(step))
            vault.put("steps", step.to_bytes(8, "big"), b"done")
            vault.append_log(LogRow(step + 1, BlockTime(step), bytes(32), b""))
        said.send(step)


def write_state(path: Path, start: int, said: Connection) -> None:
    store = RocksStore(path / "state", cache_bytes=1 << 20)
    for step in range(start, 1 << 30):
        store.write({b"%d/%d" % (step, index): octets(f"{step}", 300) for index in range(20)} | {b"tip": b"%d" % step})
        said.send(step)


def write_blocks(path: Path, start: int, said: Connection) -> None:
    log = BlockFiles(path / "blocks", segment_bytes=20_000)
    for step in range(start, 1 << 30):
        log.append(step + 1, octets(f"{step}", 700))
        said.send(step)


def write_log(path: Path, start: int, said: Connection) -> None:
    tiles = TileFiles(path / "tiles")
    store = RocksStore(path / "state", cache_bytes=1 << 20, first=tiles.sync)
    tiles.truncate(100 * start)
    log = Log(tiles, 100 * start)
    for step in range(start, 1 << 30):
        root = log.append([b"%d" % index for index in range(100 * step, 100 * step + 100)])
        store.write({b"tip": b"%d" % step, b"root": root})
        said.send(step)


# --- checks: how many steps stand


def check_vault(path: Path) -> int:
    with SqlVault(path / "vault.db") as vault:
        steps = vault.count("steps")
        expected = [row.fingerprint for step in range(steps) for row in rows_of(step)]
        assert list(vault.fingerprints(1, 1 << 40)) == expected, "each record once, in order, none of a lost step"
        last = vault.last_log()
        assert (last.number if last else 0) == steps
        return steps


def check_state(path: Path) -> int:
    with RocksStore(path / "state") as store:
        tip = store.get(b"tip")
        steps = int(tip) + 1 if tip is not None else 0
        for step in range(steps):
            assert all(store.get(b"%d/%d" % (step, index)) == octets(f"{step}", 300) for index in (0, 19))
        assert store.get(b"%d/0" % steps) is None
        return steps


def check_blocks(path: Path) -> int:
    with BlockFiles(path / "blocks") as log:
        assert all(body == octets(f"{height - 1}", 700) for height, body in log.iterate())
        return log.height


def check_log(path: Path) -> int:
    with TileFiles(path / "tiles") as tiles, RocksStore(path / "state") as store:
        tip = store.get(b"tip")
        if tip is None:
            return 0
        steps = int(tip) + 1
        tiles.truncate(100 * steps)
        assert Log(tiles, 100 * steps).root() == store.get(b"root")
        assert Log(tiles, 100 * steps).root(50 * steps)
        return steps


STORES = {
    "vault": (write_vault, check_vault),
    "state": (write_state, check_state),
    "blocks": (write_blocks, check_blocks),
    "log": (write_log, check_log),
}


def run_and_kill(work: Callable[..., None], path: Path, start: int, after: float | None, *extra: object) -> int:
    """Steps acknowledged, counted from 0. Without `after` the worker kills itself."""
    hear, said = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=work, args=(path, start, said, *extra))
    process.start()
    said.close()
    done, deadline = start, None
    while True:
        try:
            if hear.poll(0.002):
                done = hear.recv() + 1
                deadline = deadline or (time.monotonic() + after if after is not None else None)
        except EOFError:
            break
        if deadline is not None and time.monotonic() > deadline and process.is_alive():
            process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    return done


@pytest.mark.parametrize("name", STORES)
def test_a_store_killed_at_random_loses_nothing_acknowledged_and_doubles_nothing(name: str, tmp_path: Path) -> None:
    work, check = STORES[name]
    stands, source = 0, random.Random(name)
    for _ in range(ROUNDS):
        done = run_and_kill(work, tmp_path, stands, source.uniform(0.01, 0.15))
        stands = check(tmp_path)
        assert stands in (done, done + 1), "the last step may stand unacknowledged, and nothing more"


# --- named points


def killed_at_call(path: Path, start: int, said: Connection, name: str, function: str, nth: int) -> None:
    """Runs a worker whose `os.<function>` kills the process at its nth call, `pwrite` half done."""
    real = getattr(os, function)
    left = [nth]

    def deadly(file: int, *args: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            if function == "pwrite":
                data, offset = args
                assert isinstance(data, memoryview)
                real(file, data[: len(data) // 2], offset)
            die()
        return real(file, *args)

    setattr(os, function, deadly)
    STORES[name][0](path, start, said)


@pytest.mark.parametrize(
    ("function", "nth"),
    [("pwrite", 1), ("pwrite", 30), ("fdatasync", 1), ("fdatasync", 2), ("fdatasync", 31), ("fsync", 1), ("fsync", 2)],
)
def test_a_block_log_killed_inside_an_append_goes_on(tmp_path: Path, function: str, nth: int) -> None:
    done = run_and_kill(killed_at_call, tmp_path, 0, None, "blocks", function, nth)
    stands = check_blocks(tmp_path)
    assert stands in (done, done + 1)
    done = run_and_kill(write_blocks, tmp_path, stands, 0.02)
    assert check_blocks(tmp_path) in (done, done + 1)


@pytest.mark.parametrize(("function", "nth"), [("pwrite", 1), ("pwrite", 8), ("fdatasync", 3)])
def test_a_log_killed_between_tiles_and_state_goes_on(tmp_path: Path, function: str, nth: int) -> None:
    done = run_and_kill(killed_at_call, tmp_path, 0, None, "log", function, nth)
    stands = check_log(tmp_path)
    assert stands in (done, done + 1)
    done = run_and_kill(write_log, tmp_path, stands, 0.02)
    assert check_log(tmp_path) in (done, done + 1)


def vault_killed(path: Path, start: int, said: Connection, point: str) -> None:
    vault = SqlVault(path / "vault.db")
    vault.add_records(rows_of(0))
    vault.put("steps", bytes(8), b"done")
    vault.append_log(LogRow(1, BlockTime(0), bytes(32), b""))
    said.send(0)
    with vault.transaction():
        vault.add_records(rows_of(1))
        if point == "after the records":
            die()
        vault.put("steps", (1).to_bytes(8, "big"), b"done")
        vault.append_log(LogRow(2, BlockTime(1), bytes(32), b""))
        if point == "before the commit":
            die()
    if point == "after the commit":
        die()
    said.send(1)
    vault._empty_log = die  # type: ignore[method-assign]
    vault.destroy_records([rows_of(0)[0].id])


@pytest.mark.parametrize(
    ("point", "steps"),
    [("after the records", 1), ("before the commit", 1), ("after the commit", 2), ("while emptying its log", 2)],
)
def test_a_vault_killed_at_a_named_point_has_all_of_a_transaction_or_none(
    tmp_path: Path, point: str, steps: int
) -> None:
    run_and_kill(vault_killed, tmp_path, 0, None, point)
    assert check_vault(tmp_path) == steps
    with SqlVault(tmp_path / "vault.db") as vault:
        record = rows_of(0)[0].id
        erased = vault.records([record])[record][1].sealed == b""
        assert erased == (point == "while emptying its log"), "an erasure that was committed stands"
        everything = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert (rows_of(0)[0].sealed in everything) != erased, "and its bytes are gone once the vault was opened again"
