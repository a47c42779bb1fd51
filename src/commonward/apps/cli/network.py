"""A consortium of many members: found it by number or from a file, run it on one machine, see how it stands."""

from __future__ import annotations

import json
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live

from commonward.apps import planning, running
from commonward.apps.cli import ceremony, migrating
from commonward.apps.cli.consortium import (
    Directory,
    Host,
    Name,
    Port,
    Tick,
    Wait,
    checked_engine,
    found,
    start,
    whole,
)
from commonward.apps.cli.groups import group
from commonward.apps.cli.output import AsJson, fail, out
from commonward.apps.cli.plain import plain
from commonward.apps.network import screen
from commonward.apps.network.judging import judge, well
from commonward.apps.network.looking import Looker, Seen

_AWAY_CODE = 3

Every = Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2)]
Once = Annotated[bool, typer.Option("--once", help="Look once and end, with exit code 3 if something is wrong.")]
Plain = Annotated[bool, typer.Option("--plain", help="Lines for a log, no screen; so too where there is no terminal.")]


def add_to(app: typer.Typer) -> None:
    network = group(app, "network", "A consortium of many members, and how it stands.")
    network.command("init")(init)
    network.command("example")(example)
    network.command("up")(up)
    network.command("status")(status)
    ceremony.add_to(app)
    migrating.add_to(app)


def init(
    directory: Directory,
    members: Annotated[int, typer.Option(help="So many members of the usual kinds, all on this machine.")] = 0,
    file: Annotated[
        Path | None, typer.Option(help="A file that says who they are; `commonward network example` prints one.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="Who orders: cometbft, the members together; solo, one member's sequencer.")
    ] = "cometbft",
    name: Name = "A Commonward consortium",
    host: Host = "127.0.0.1",
    port: Port = 7400,
    tick: Tick = 60_000,
    as_json: AsJson = False,
) -> None:
    """Found a consortium ready to run: for each member a folder with CA, certificates, keys, genesis and settings."""
    if (members == 0) == (file is None):
        fail("expected --members NUMBER or --file FILE, one of the two")
    if file is not None:
        found(directory, planning.read(file), as_json=as_json)
        return
    planned = planning.by_number(members, host, port, checked_engine(engine))
    found(directory, whole(name, engine, planned, "", host, port, tick), as_json=as_json)


def example() -> None:
    """Print a file of members to change, for `network init --file`."""
    print(files("commonward.apps.network").joinpath("members.toml").read_text(), end="")


def up(
    directory: Directory,
    wait: Wait = 60.0,
    every: Every = 2.0,
    once: Once = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop all when you leave the screen.")] = False,
    as_plain: Plain = False,
    as_json: AsJson = False,
) -> None:
    """Start every member's node on this machine, and show how they stand until Ctrl-C; they go on running then."""
    start(directory, wait)
    leave = (
        "Ctrl-C stops all of it." if stop else f"Ctrl-C leaves this screen; stop all with: commonward down {directory}"
    )
    try:
        _show(directory, every, leave, once=once, as_plain=as_plain, as_json=as_json)
    finally:
        if stop:
            running.stop(directory)


def status(
    directory: Annotated[Path, typer.Argument(help="A consortium's directory, or one member's data directory.")],
    every: Every = 2.0,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    as_plain: Plain = False,
    as_json: AsJson = False,
) -> None:
    """How every member's node stands: up or down, height, lag, who cosigned; exit code 3 unless all is well."""
    _show(directory, every, "Ctrl-C leaves this screen.", once=not watch, as_plain=as_plain, as_json=as_json)


def _show(directory: Path, every: float, leave: str, *, once: bool, as_plain: bool, as_json: bool) -> None:
    looker = Looker(directory)
    if once:
        seen = looker.look()
        if as_json or as_plain:
            _say(seen, as_json=as_json)
        else:
            out.print(screen.screen(seen))
        if not well(judge(seen)):
            raise typer.Exit(_AWAY_CODE)
        return
    try:
        if as_json or as_plain or not out.is_terminal:
            while True:
                _say(looker.look(), as_json=as_json)
                time.sleep(every)
        with Live(screen.screen(looker.look(), leave), console=out, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(every)
                live.update(screen.screen(looker.look(), leave), refresh=True)
    except KeyboardInterrupt:
        return


def _say(seen: Seen, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(screen.described(seen), ensure_ascii=False))
    else:
        for line in screen.lines(seen):
            out.print(plain(line), soft_wrap=True)
    sys.stdout.flush()
