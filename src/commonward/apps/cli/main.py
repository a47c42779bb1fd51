"""All commands, joined; and the one place where an error of ours becomes an exit code."""

from __future__ import annotations

import io
import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog
import typer

from commonward.apps.api.client import NodeRefused
from commonward.apps.cli import (
    backup,
    care,
    checking,
    consortium,
    custody,
    demo,
    demo_learning,
    doctor,
    evidence,
    governance,
    intake,
    joining,
    keys,
    ledger,
    member,
    network,
    patient,
    photographs,
    processes,
    study,
)
from commonward.apps.cli.output import AWAY, REFUSED, UNUSABLE, err
from commonward.apps.cli.plain import plain
from commonward.apps.errors import FORESEEN
from commonward.apps.founding import CannotFound

app = typer.Typer(
    name="commonward",
    help="Share medical records between hospitals, patients, insurers and authorities, with no central owner.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
consortium.add_to(app)
network.add_to(app)
processes.add_to(app)
intake.add_to(app)
ledger.add_to(app)
member.add_to(app)
checking.add_to(app)
doctor.add_to(app)
backup.add_to(app)
demo.add_to(app)
demo_learning.add_to(app)
patient.add_to(app)
care.add_to(app)
custody.add_to(app)
evidence.add_to(app)
governance.add_to(app)
joining.add_to(app)
keys.add_to(app)
study.add_to(app)
photographs.add_to(app)


@app.callback()
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
    try:
        app()
    except (*FORESEEN, CannotFound) as why:
        err.print(f"[red]commonward:[/red] {plain(str(why))}")
        sys.exit(UNUSABLE)
    except NodeRefused as why:
        err.print(f"[red]refused:[/red] {plain(str(why))}")
        sys.exit(REFUSED)
    except ConnectionError as why:
        err.print(f"[red]commonward:[/red] {plain(str(why))}")
        sys.exit(AWAY)
