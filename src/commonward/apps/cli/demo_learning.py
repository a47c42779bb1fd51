"""The demonstration of learning as a command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commonward.apps.cli.demo import Directory, Port, Stop, console, told
from commonward.apps.cli.output import fail


def add_to(app: typer.Typer) -> None:
    app.command("demo-learning")(demo_learning)


def demo_learning(
    directory: Directory = Path("demo-learning-data"),
    engine: Annotated[
        str, typer.Option(help="Who orders: solo, the authority's sequencer; cometbft, the four hospitals together.")
    ] = "solo",
    port: Port = 0,
    small: Annotated[bool, typer.Option("--small", help="With the fewest patients that make both studies.")] = False,
    stop: Stop = False,
) -> None:
    """Let four hospitals learn two models together, and check what happened. Takes three minutes; needs PyTorch."""
    from importlib.util import find_spec

    from commonward.apps import running
    from commonward.apps.cli.consortium import checked_engine
    from commonward.apps.demo.learning_hospitals import CAST
    from commonward.apps.demo.learning_sizes import DEMO, SMALL
    from commonward.apps.demo.stage import Voice
    from commonward.apps.planning import ports

    lacking = [name for name in ("flwr", "PIL", "torch") if find_spec(name) is None]
    if lacking:
        fail(f"{', '.join(lacking)} cannot be imported: install requirements/vision.txt, or run `make demo-learning`")
    from commonward.apps.demo.learning import run

    with told(directory, stop=stop):
        count = ports(len(CAST), checked_engine(engine))
        run(directory, port or running.free_ports(count), Voice(console()), engine, SMALL if small else DEMO)
