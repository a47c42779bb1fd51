"""Start and stop the processes of a consortium on one machine, for a pilot, a demo and tests.

A node of a ledger that CometBFT orders runs its CometBFT itself, as its child: who stops the node stops both.
"""

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
from typing import Any

from commonward.apps.founding import CONSORTIUM
from commonward.apps.settings import Address, BadSettings, load

PIDS = "processes.json"
SEQUENCER = "sequencer"
_LET_GO_S = 3.0


class NotUp(Exception):
    """A process did not start; the text says which and where its log is."""


def consortium(directory: Path) -> dict[str, Any]:
    """What founding wrote of the whole. Raises BadSettings."""
    try:
        found = json.loads((directory / CONSORTIUM).read_text())
    except OSError as cause:
        raise BadSettings(f"no {CONSORTIUM} in {directory}; `commonward init {directory}` makes one") from cause
    except ValueError as cause:
        raise BadSettings(f"{directory / CONSORTIUM}: not JSON: {cause}") from cause
    if not isinstance(found, dict) or not isinstance(found.get("members"), dict):
        raise BadSettings(f"{directory / CONSORTIUM}: expected a table of members")
    return found


def names(directory: Path) -> list[str]:
    """Every process that the consortium has: its members' nodes, and the sequencer where there is one."""
    found = consortium(directory)
    return [*([SEQUENCER] if "sequencer" in found else []), *sorted(found["members"])]


def log_of(directory: Path, name: str) -> Path:
    """Where a process writes what happens."""
    member = str(consortium(directory)["operator"]) if name == SEQUENCER else name
    return directory / "members" / member / f"{SEQUENCER if name == SEQUENCER else 'node'}.log"


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
    """Start the sequencer or a member's node, its output into a log file beside its data. Returns the pid."""
    path = log_of(directory, name)
    word = SEQUENCER if name == SEQUENCER else "node"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as log:
        child = subprocess.Popen(  # noqa: S603  # our own program with our own arguments
            [sys.executable, "-m", "commonward", word, str(path.parent)],
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
    doors = {name: _doors(directory, name) for name in names(directory)}
    running = processes(directory)
    for name, addresses in doors.items():
        if name not in running:
            taken = _taken(addresses)
            if taken is not None:
                raise NotUp(f"{name} cannot listen at {taken}: another program does; stop it, or found with --port")
            start_one(directory, name)
    deadline = time.monotonic() + wait_s
    waiting = {name: addresses[0] for name, addresses in doors.items()}
    while waiting:
        running = processes(directory)
        for name, address in list(waiting.items()):
            if name not in running:
                raise NotUp(f"{name} ended at once; see {log_of(directory, name)}")
            if _listens(address):
                del waiting[name]
        if waiting and time.monotonic() > deadline:
            name = next(iter(waiting))
            raise NotUp(f"{name} does not answer after {wait_s:g} s; see {log_of(directory, name)}")
        time.sleep(0.05)
    return processes(directory)


def _doors(directory: Path, name: str) -> list[Address]:
    """Where a process will listen; what others see of it first."""
    if name == SEQUENCER:
        return [Address.parse(str(consortium(directory)[SEQUENCER]), CONSORTIUM)]
    settings = load(directory / "members" / name)
    return [settings.listen, settings.signing, *([settings.p2p] if settings.p2p else [])]


def _taken(addresses: list[Address]) -> Address | None:
    """One that somebody listens at, and goes on to: a node that was killed a moment ago takes its CometBFT with it."""
    deadline = time.monotonic() + _LET_GO_S
    while (taken := next((each for each in addresses if _listens(each)), None)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return taken


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


def stop(directory: Path, wait_s: float = 40.0) -> list[str]:
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
