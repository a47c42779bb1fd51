"""The processes a member runs: its node, and the sequencer if it operates one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from commonward.apps import settings as node_settings
from commonward.apps.memory import loading

DataArgument = Annotated[Path, typer.Argument(help="The member's data directory.")]


def add_to(app: typer.Typer) -> None:
    app.command("node")(node)
    app.command("sequencer")(sequencer)


def node(data: DataArgument) -> None:
    """Run a member's node until it is stopped. Killing it loses nothing."""
    with loading():
        from commonward.apps.node import run

    asyncio.run(run(node_settings.load(data)))


def sequencer(data: DataArgument) -> None:
    """Run the sequencer of the member that operates it."""
    with loading():
        from commonward.apps.sequencer import run

    asyncio.run(run(node_settings.load(data)))
