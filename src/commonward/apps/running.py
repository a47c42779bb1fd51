"""Start and stop the processes of a consortium on one machine, for a pilot, a demo and tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from commonward.apps.founding import CONSORTIUM
from commonward.apps.settings import Address, BadSettings, load

PIDS = "processes.json"


class NotUp(Exception):
    """A process did not start; the text says which and where its log is."""


def _consortium(directory: Path) -> dict[str, object]:
    try:
        found = json.loads((directory / CONSORTIUM).read_text())
    except OSError as cause:
        raise BadSettings(f"no {CONSORTIUM} in {directory}; `commonward init {directory}` makes one") from cause
    assert isinstance(found, dict)
    return found


def _alive(pid: int) -> bool:
    # A pid may have been given to another program since: only one of ours is ours. Between fork and exec a child has
    # no command line yet; one that ended and was not waited for (state Z) has none any more.
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" and (not command or b"commonward" in command)
    return False


def processes(directory: Path) -> dict[str, int]:
    """Name -> pid of those that run."""
    try:
        known: dict[str, int] = json.loads((directory / PIDS).read_text())
    except FileNotFoundError:
        return {}
    return {name: pid for name, pid in known.items() if _alive(pid)}


def start_one(directory: Path, name: str) -> int:
    """Start `sequencer` or a member's node, its output into a log file beside its data. Returns the pid."""
    consortium = _consortium(directory)
    member = str(consortium["operator"]) if name == "sequencer" else name
    folder = directory / "members" / member
    word = "sequencer" if name == "sequencer" else "node"
    descriptor = os.open(folder / f"{word}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as log:
        child = subprocess.Popen(  # noqa: S603  # our own program with our own arguments
            [sys.executable, "-m", "commonward", word, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    running = {**processes(directory), name: child.pid}
    (directory / PIDS).write_text(json.dumps(running))
    return child.pid


def start(directory: Path, wait_s: float) -> dict[str, int]:
    """Start what does not run yet and wait until every process listens. Raises NotUp, BadSettings."""
    consortium = _consortium(directory)
    members = consortium["members"]
    assert isinstance(members, dict)
    waiting = {"sequencer": Address.parse(str(consortium["sequencer"]), CONSORTIUM)}
    waiting |= {name: load(directory / "members" / name).listen for name in sorted(members)}
    running = processes(directory)
    for name, address in waiting.items():
        if name not in running:
            if _listens(address):
                raise NotUp(f"{name} cannot listen at {address}: another program does; stop it, or found with --port")
            start_one(directory, name)
    deadline = time.monotonic() + wait_s
    while waiting:
        running = processes(directory)
        for name, address in list(waiting.items()):
            if name not in running:
                raise NotUp(f"{name} ended at once; see {_log(directory, consortium, name)}")
            if _listens(address):
                del waiting[name]
        if waiting and time.monotonic() > deadline:
            name = next(iter(waiting))
            raise NotUp(f"{name} does not answer after {wait_s:g} s; see {_log(directory, consortium, name)}")
        time.sleep(0.05)
    return processes(directory)


def _log(directory: Path, consortium: dict[str, object], name: str) -> Path:
    member = str(consortium["operator"]) if name == "sequencer" else name
    return directory / "members" / member / f"{'sequencer' if name == 'sequencer' else 'node'}.log"


def _listens(address: Address) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address.host, address.port), timeout=0.5):
        return True
    return False


def free_ports(count: int, first: int = 7400) -> int:
    """The first of `count` ports in a row on loopback that nobody listens at. Raises NotUp."""
    for start in range(first, first + 2000, 20):
        if not any(_listens(Address(host="127.0.0.1", port=port)) for port in range(start, start + count)):
            return start
    raise NotUp(f"no {count} free ports in a row from {first} to {first + 2000}; give one with --port")


def stop(directory: Path, wait_s: float = 10.0) -> list[str]:
    """Ask every process to end, and kill what does not. Returns the names of those that ran."""
    running = processes(directory)
    for pid in running.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + wait_s
    while processes(directory) and time.monotonic() < deadline:
        _reap()
        time.sleep(0.05)
    for pid in processes(directory).values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _reap()
    (directory / PIDS).unlink(missing_ok=True)
    return sorted(running)


def _reap() -> None:
    """Collect children of ours that ended, so that they do not look alive."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
