"""The demo as a command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from commonward.apps.cli.output import REFUSED, err


def add_to(app: typer.Typer) -> None:
    app.command("demo")(demo)


def console() -> Console:
    """As wide as the terminal; 110 columns where there is none, so that a log of it stays readable."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=110)


def demo(
    directory: Annotated[
        Path, typer.Argument(help="Where the consortium of the demo lives; an earlier one is replaced.")
    ] = Path("demo-data"),
    engine: Annotated[
        str, typer.Option(help="Who orders: solo, one member's sequencer; cometbft, four of the five members together.")
    ] = "solo",
    port: Annotated[int, typer.Option(help="The first of up to 16 ports on loopback; 0 looks for free ones.")] = 0,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the nodes at the end.")] = False,
) -> None:
    """Carry a patient's records from one hospital to another, and check what happened. Takes a minute."""
    from commonward.apps import running
    from commonward.apps.cli.consortium import checked_engine
    from commonward.apps.demo.stage import StoryBroken, Voice
    from commonward.apps.demo.story import run
    from commonward.apps.planning import DEMO, ports

    try:
        count = ports(len(DEMO), checked_engine(engine))
        run(directory, port or running.free_ports(count), Voice(console()), engine)
    except StoryBroken as why:
        err.print(f"[red]the demo broke:[/red] {why}")
        raise typer.Exit(REFUSED) from why
    finally:
        if stop:
            running.stop(directory)
