"""The worker process: `python -m commonward.adapters.flower.worker SOCKET FOLDER LEARNER MEMORY`.

It first gives up what it does not need (`confine`), then imports Flower and the learner, says that it is ready, and
answers one request after another until its socket ends. What the learner raises is an answer; the process goes on.
"""

import importlib
import os
import socket
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any, Final

from commonward.adapters.flower.confine import confine

PACKAGE: Final = "installed_learners"
"""The name under which a learner's folders are imported, so that relative imports reach those beside it."""


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
            case ["read", model, bytes(photograph)]:
                return ["reading", grid.read(frames.model_of(model), photograph).to_value()]
        return ["failed", "expected load, first, train, evaluate or read"]

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
    given_up = confine(memory, folder)
    end_with_parent(parent)
    link = socket.socket(fileno=descriptor)
    from commonward.adapters.flower.frames import write_frame
    from commonward.adapters.flower.grid import LocalGrid

    grid = LocalGrid(load_app(folder / "learners", name))
    write_frame(link, ["ready", int(given_up.network), int(given_up.files), int(given_up.calls)])
    serve(link, grid)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
