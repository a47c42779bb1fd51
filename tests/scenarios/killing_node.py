"""Processes of a founded consortium that kill themselves at a step: `python -m tests.scenarios.killing_node DIR`.

Reads one command a line and answers with one line of JSON. Programs are loaded and keys are opened once, here; each
process is a fork of this one, so that a restart costs a tenth of a second and not four.

    start NAME       a member's node, or `sequencer`; answers its pid
    ingest NAME FILE the import of a file beside the node
    wait NAME S      until it has ended, at most S seconds; answers its exit code (-9 after a kill), null if it runs on
    quit

A process dies at the step that the file `dies-at` in its data directory names, once: it renames the file to `died-at`.
Entries of `practice.json` there replace the node's own practice.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import structlog

from commonward.adapters.keys import MemberKeys
from commonward.apps import intake, sequencer, wiring
from commonward.apps import node as node_process
from commonward.apps.founding import CONSORTIUM
from commonward.apps.settings import Settings, load
from commonward.apps.wiring import contexts
from commonward.ledger.ids import MemberId

DIES_AT, DIED_AT, PRACTICE, SEEN = "dies-at", "died-at", "practice.json", "steps-seen"


class SuddenEnd:
    """Implements `ports.Steps`: kill -9 at the step that a file names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def reach(self, name: str) -> None:
        with suppress(FileNotFoundError):
            if (self._folder / DIES_AT).read_text() == name:
                (self._folder / DIES_AT).rename(self._folder / DIED_AT)
                os.kill(os.getpid(), signal.SIGKILL)


def run_node(settings: Settings) -> None:
    async def run() -> None:
        node = wiring.Node(settings, SuddenEnd(settings.data))
        with suppress(FileNotFoundError):
            practice = json.loads((settings.data / PRACTICE).read_text())
            object.__setattr__(node.member, "practice", replace(node.member.practice, **practice))
        await node_process.serve(node)

    asyncio.run(run())


def run_ingest(settings: Settings, file: Path) -> None:
    taken = intake.Taken()
    with intake.Intake(settings, SuddenEnd(settings.data)) as opened:
        opened.run(intake.find([file], system="his"), taken)
    assert not taken.unreadable and not taken.report.dead, taken


class _NoPages:
    """Instead of the server of patients' pages, which takes no part here and reads its key once more."""

    async def run(self) -> None:
        await asyncio.Event().wait()


class Forks:
    """The processes that were started here."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._operator = str(json.loads((directory / CONSORTIUM).read_text())["operator"])
        self._pids: dict[str, int] = {}
        self._keys: dict[str, MemberKeys] = {}
        self._contexts: dict[str, tuple[ssl.SSLContext, ssl.SSLContext]] = {}
        vars(wiring)["contexts"] = lambda keys, genesis, roll=None: self._contexts[keys.member]
        for module in (wiring, intake):
            vars(module)["open_keys"] = lambda settings: self._keys[settings.member]
        vars(node_process)["_signing"] = lambda node: _NoPages()

    def start(self, name: str) -> int:
        settings = self._settings(name)
        if name == "sequencer":
            return self._fork(name, settings, lambda: asyncio.run(sequencer.run(settings)))
        return self._fork(name, settings, lambda: run_node(settings))

    def ingest(self, name: str, file: str) -> int:
        settings = self._settings(name)
        return self._fork(f"ingest-{name}", settings, lambda: run_ingest(settings, Path(file)))

    def _settings(self, name: str) -> Settings:
        member = self._operator if name == "sequencer" else name
        settings = load(self._directory / "members" / member)
        if member not in self._keys:
            keys = MemberKeys.open(settings.data / "keys", MemberId(member), settings.passphrase())
            self._keys[member] = keys
            self._contexts[member] = contexts(keys, wiring.read_genesis(settings))
        return settings

    def _fork(self, name: str, settings: Settings, run: Callable[[], None]) -> int:
        pid = os.fork()
        if pid:
            self._pids[name] = pid
            return pid
        code = 70
        try:
            log = os.open(settings.data / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            for stream in (1, 2):
                os.dup2(log, stream)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            run()
            code = 0
        except BaseException as why:
            structlog.get_logger().exception("ended", why=str(why))
        finally:
            sys.stderr.flush()
            os._exit(code)

    def wait(self, name: str, seconds: str) -> int | None:
        deadline = time.monotonic() + float(seconds)
        while True:
            pid, status = os.waitpid(self._pids[name], os.WNOHANG)
            if pid:
                del self._pids[name]
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                return None
            time.sleep(0.005)

    def quit(self) -> None:
        for pid in self._pids.values():
            os.kill(pid, signal.SIGKILL)
        for pid in self._pids.values():
            os.waitpid(pid, 0)
        self._pids.clear()


def main() -> None:
    forks = Forks(Path(sys.argv[1]))
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    print(json.dumps("ready"), flush=True)
    try:
        for line in sys.stdin:
            word, *rest = line.split()
            print(json.dumps(getattr(forks, word)(*rest)), flush=True)
            if word == "quit":
                return
    finally:
        forks.quit()


if __name__ == "__main__":
    main()
