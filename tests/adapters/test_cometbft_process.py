"""CometBFT's process is never left behind, and never missing without a word."""

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from commonward.adapters.cometbft.process import BinaryMissing, Child, find_binary

PATIENCE = 60


def stand_in(folder: Path, script: str) -> Path:
    """A program that is started as CometBFT is."""
    path = folder / "stand-in"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


PARENT = """
import asyncio, sys
from pathlib import Path
from commonward.adapters.cometbft.process import Child

async def main():
    child = Child(Path(sys.argv[1]), Path(sys.argv[2]))
    await child.start()
    print(child.pid, flush=True)
    await child.wait()

asyncio.run(main())
"""


async def test_cometbft_does_not_outlive_a_node_that_was_killed(tmp_path: Path) -> None:
    """It would vote on with nobody to execute, and hold the locks of the next one."""
    program = stand_in(tmp_path, "exec sleep 600")
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(program), str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    async with asyncio.timeout(PATIENCE):
        child = int(await parent.stdout.readline())
    assert alive(child)
    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()
    async with asyncio.timeout(PATIENCE):
        while alive(child):
            await asyncio.sleep(0.01)


async def test_one_that_does_not_end_when_asked_is_ended(tmp_path: Path) -> None:
    child = Child(stand_in(tmp_path, "trap '' TERM\necho up\nwhile :; do sleep 0.05; done"), tmp_path)
    await child.start()
    async with asyncio.timeout(PATIENCE):
        while "up" not in child.last_words():
            await asyncio.sleep(0.01)
        await child.stop(patience_s=0.1)
    assert not child.running and child.pid is None
    await child.stop()  # again is no error


async def test_its_last_words_are_kept_and_its_log_is_bounded(tmp_path: Path) -> None:
    log = tmp_path / "cometbft.log"
    log.write_bytes(bytes(17 << 20))
    child = Child(stand_in(tmp_path, "echo GOGC is $GOGC\necho port in use >&2\nexit 3"), tmp_path, collector=400)
    await child.start()
    assert await child.wait() == 3
    assert child.last_words().splitlines() == ["GOGC is 400", "port in use"]
    assert log.stat().st_size < 1000 and (tmp_path / "cometbft.log.1").exists()


async def test_a_log_is_turned_over_while_it_is_written(tmp_path: Path) -> None:
    """A member that is away for months is a line every few seconds."""
    child = Child(stand_in(tmp_path, "echo before\nread line < go\necho after\nexec sleep 600"), tmp_path)
    os.mkfifo(tmp_path / "go")
    log = tmp_path / "cometbft.log"
    log.write_bytes(bytes(16 << 20))
    await child.start()
    async with asyncio.timeout(PATIENCE):
        while not log.read_bytes().endswith(b"before\n"):
            await asyncio.sleep(0.01)
        child.bound_log()
        assert log.stat().st_size == 0
        (tmp_path / "go").write_text("on\n")
        while "after" not in child.last_words():
            await asyncio.sleep(0.01)
    assert log.read_bytes() == b"after\n"
    assert (tmp_path / "cometbft.log.1").read_bytes().endswith(b"before\n")
    await child.stop()


def test_a_binary_that_is_not_there_is_said_with_what_to_do() -> None:
    with pytest.raises(BinaryMissing, match="make cometbft"):
        find_binary("/nowhere/cometbft")


def test_the_pinned_version_is_found_where_make_installs_it() -> None:
    assert find_binary().parts[-2:] == ("cometbft-0.38.25", "cometbft")
