"""The worker process: `python -m commonward.adapters.flower.worker SOCKET FOLDER LEARNER MEMORY`.

It first gives up what it does not need (core dumps, large files, memory beyond its limit, the network where the kernel
allows), then imports Flower and the learner, says that it is ready, and answers one request after another until its
socket ends. What the learner raises is an answer; the process goes on.
"""

import ctypes
import importlib
import os
import resource
import socket
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any, Final

_NEW_NETWORK: Final = 0x40000000  # CLONE_NEWNET, linux/sched.h
_NEW_USER: Final = 0x10000000  # CLONE_NEWUSER
_NO_NEW_PRIVILEGES: Final = 38  # PR_SET_NO_NEW_PRIVS, linux/prctl.h
_MAX_FILE: Final = 1 << 30
PACKAGE: Final = "installed_learners"
"""The name under which a learner's folders are imported, so that relative imports reach those beside it."""


def confine(memory: int) -> bool:
    """Give up what a learner does not need. Returns whether the network is gone: where the kernel allows it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE, _MAX_FILE))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return bool(libc.unshare(_NEW_NETWORK) == 0 or libc.unshare(_NEW_USER | _NEW_NETWORK) == 0)


def end_with_parent(parent: int) -> None:
    """A node that was killed leaves no worker behind: looks every second whose child this is."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(3)

    threading.Thread(target=watch, daemon=True).start()


def load_app(learners: Path, name: str) -> Any:
    """The ClientApp of a learner: `app` in its app.py."""
    package = types.ModuleType(PACKAGE)
    package.__path__ = [str(learners)]
    sys.modules[PACKAGE] = package
    return importlib.import_module(f"{PACKAGE}.{name}.app").app


def serve(link: socket.socket, grid: Any) -> None:
    """Answer until the other side ends."""
    from commonward.adapters.flower import frames, site
    from commonward.ledger.encoding import Encodable, Value
    from commonward.records.table import Table

    def answer(request: Value) -> Encodable:
        match request:
            case ["load", bytes(train), bytes(test)]:
                site.give(Table.parse(train), Table.parse(test))
                return ["loaded", 1]
            case ["first", settings]:
                return ["model", frames.tensors_value(grid.first_model(frames.settings_of(settings)))]
            case ["train", base, task]:
                made = grid.train(frames.model_of(base), frames.task_of(task))
                return ["trained", [made.kind.value, made.rows, frames.tensors_value(made.tensors)]]
            case ["evaluate", model, task]:
                counts = grid.evaluate(frames.model_of(model), frames.task_of(task))
                return ["counts", frames.tensors_value(counts)]
        return ["failed", "expected load, first, train or evaluate"]

    while True:
        try:
            request = frames.read_frame(link)
        except frames.FrameError:
            return
        try:
            reply = answer(request)
        except Exception as cause:  # a learner may raise anything
            reply = ["failed", f"{cause}"[:2000] or type(cause).__name__]
        frames.write_frame(link, reply)


def main(arguments: list[str]) -> int:
    """Arguments as in the module's text."""
    descriptor, folder, name, memory = int(arguments[0]), Path(arguments[1]), arguments[2], int(arguments[3])
    parent = os.getppid()
    cut_off = confine(memory)
    end_with_parent(parent)
    link = socket.socket(fileno=descriptor)
    from commonward.adapters.flower.frames import write_frame
    from commonward.adapters.flower.grid import LocalGrid

    grid = LocalGrid(load_app(folder / "learners", name))
    write_frame(link, ["ready", int(cut_off)])
    serve(link, grid)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
