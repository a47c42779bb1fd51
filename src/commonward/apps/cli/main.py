"""All commands, joined; and the one place where an error of ours becomes an exit code.

Only the file of the command that was typed is loaded: all of them take a second, and most need a tenth of that.
"""

from __future__ import annotations

import io
import logging
import sys
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from typing import Final, TextIO, cast

import structlog
import typer

from commonward.apps.cli.output import AWAY, REFUSED, UNUSABLE, err
from commonward.apps.cli.plain import plain

FILES: Final[dict[str, tuple[str, ...]]] = {
    "consortium": ("init", "up", "down"),
    "network": ("network",),
    "processes": ("node", "sequencer"),
    "intake": ("ingest", "dead-letters"),
    "ledger": ("ledger",),
    "member": ("member", "staff", "uses"),
    "checking": ("verify",),
    "doctor": ("doctor",),
    "backup": ("backup", "restore"),
    "demo": ("demo",),
    "demo_learning": ("demo-learning",),
    "patient": ("patient", "mandate", "recovery", "consent", "log", "notices"),
    "care": ("request", "records", "break-glass", "review", "recalls", "rely"),
    "custody": ("releases", "holdings", "erase", "hold", "merge", "unmerge"),
    "evidence": ("evidence",),
    "governance": ("governance", "member"),
    "joining": ("member",),
    "keys": ("member",),
    "study": ("study",),
    "photographs": ("photographs",),
}
"""Each file of commands, in the order of the help, and the words that its commands begin with."""


def program(word: str = "") -> typer.Typer:
    """The commands that begin with this word; every command where none does."""
    return _joined(tuple(file for file, words in FILES.items() if word in words) or tuple(FILES))


@lru_cache
def _joined(files: tuple[str, ...]) -> typer.Typer:
    app = typer.Typer(
        name="commonward",
        help="Share medical records between hospitals, patients, insurers and authorities, with no central owner.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    app.callback()(_options)
    for file in files:
        import_module(f"commonward.apps.cli.{file}").add_to(app)
    return app


def _options(
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log what happens inside."),
) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Tracebacks without local variables: those hold keys and records.
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, Unfailing(sys.stderr))),
    )


class Unfailing(io.TextIOBase):
    """A stream whose writes never raise: a log that the disk has no room for must not stop the node too."""

    def __init__(self, inner: TextIO) -> None:
        self._inner = inner

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._inner.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._inner.flush()


def main() -> None:
    """What `commonward` on the command line runs."""
    word = next((each for each in sys.argv[1:] if not each.startswith("-")), "")
    try:
        program(word)()
    except Exception as why:
        code = _code(why)
        if code is None:
            raise
        err.print(f"[red]{'refused' if code == REFUSED else 'commonward'}:[/red] {plain(str(why))}")
        sys.exit(code)


def _code(why: Exception) -> int | None:
    """How to exit after an error that was foreseen; None for a fault of this program."""
    # Loaded here: these name errors of every adapter, and a command that goes well needs none of them.
    from commonward.apps.api.client import NodeRefused
    from commonward.apps.errors import FORESEEN
    from commonward.apps.founding import CannotFound

    if isinstance(why, (*FORESEEN, CannotFound)):
        return UNUSABLE
    if isinstance(why, NodeRefused):
        return REFUSED
    return AWAY if isinstance(why, ConnectionError) else None
