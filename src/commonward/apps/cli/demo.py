"""The demo as a command, and what it shares with the demonstration of learning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from commonward.apps.cli.output import REFUSED, err

Port = Annotated[int, typer.Option(help="The first of up to 16 ports on loopback; 0 looks for free ones.")]
Stop = Annotated[bool, typer.Option("--stop", help="Stop the nodes at the end.")]
_WHERE = "Where the consortium of the demo lives; an earlier one is replaced."
Directory = Annotated[Path, typer.Argument(help=_WHERE)]


def add_to(app: typer.Typer) -> None:
    app.command("demo")(demo)


def console() -> Console:
    """As wide as the terminal; 110 columns where there is none, so that a log of it stays readable."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=110)


def demo(
    directory: Directory = Path("demo-data"),
    engine: Annotated[
        str, typer.Option(help="Who orders: solo, one member's sequencer; cometbft, four of the five members together.")
    ] = "solo",
    port: Port = 0,
    stop: Stop = False,
) -> None:
    """Carry a patient's records from one hospital to another, and check what happened. Takes a minute."""
    from commonward.apps import running
    from commonward.apps.cli.consortium import checked_engine
    from commonward.apps.demo.stage import Voice
    from commonward.apps.demo.story import run
    from commonward.apps.planning import DEMO, ports

    with told(directory, stop=stop):
        count = ports(len(DEMO), checked_engine(engine))
        run(directory, port or running.free_ports(count), Voice(console()), engine)


@contextmanager
def told(directory: Path, *, stop: bool) -> Iterator[None]:
    """A story that breaks ends the command with its sentence and exit code 1. `stop`: the nodes end with it."""
    from commonward.apps import running
    from commonward.apps.demo.stage import StoryBroken

    try:
        yield
    except StoryBroken as why:
        err.print(f"[red]the demo broke:[/red] {why}")
        raise typer.Exit(REFUSED) from why
    finally:
        if stop:
            running.stop(directory)
