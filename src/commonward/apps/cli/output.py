"""How commands speak: plain words for people on a terminal, one JSON object a line for machines."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from commonward.apps.cli.plain import plain

REFUSED, UNUSABLE, AWAY = 1, 2, 3

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")]
Data = Annotated[
    Path,
    typer.Option("--data", envvar="COMMONWARD_DATA", help="A member's data directory, as `commonward init` makes it."),
]
Wallet = Annotated[
    Path,
    typer.Option(
        "--wallet", envvar="COMMONWARD_WALLET", help="A patient's wallet, as `commonward patient new` makes it."
    ),
]


def emit(fields: Mapping[str, object], *, as_json: bool, text: str) -> None:
    """Say one thing: the fields as JSON, or the text."""
    if as_json:
        print(json.dumps(fields, ensure_ascii=False, default=_plain))
    else:
        out.print(text)


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def fail(message: str, code: int = UNUSABLE) -> NoReturn:
    """End with a message on stderr that says what was expected, what was found and what to do."""
    err.print(f"[red]commonward:[/red] {message}", markup=True)
    raise typer.Exit(code)


def save(path: Path, content: bytes) -> None:
    """Write a file that its owner alone may read. Exits as `fail` does."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as cause:
        fail(f"cannot write {plain(str(path))}: {cause.strerror}")
