"""A consortium as a whole: found it, start and stop its processes on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commonward.apps import founding, running
from commonward.apps.cli.output import AWAY, AsJson, emit, fail
from commonward.apps.settings import Address
from commonward.apps.wiring import WallClock
from commonward.ledger.ids import parse_member_id
from commonward.records.jurisdiction import default_jurisdiction
from commonward.records.sensitivity import default_sensitivity

Directory = Annotated[Path, typer.Argument(help="The consortium's directory.")]


def add_to(app: typer.Typer) -> None:
    app.command("init")(init)
    app.command("up")(up)
    app.command("down")(down)


def init(
    directory: Directory,
    member: Annotated[
        list[str] | None,
        typer.Option(help="ID:KIND[:TIER][=NAME], once for each member; without any, the five of the demo."),
    ] = None,
    operator: Annotated[str, typer.Option(help="Who operates the sequencer.")] = "",
    name: Annotated[str, typer.Option(help="What the consortium is called.")] = "A Commonward consortium",
    host: Annotated[str, typer.Option(help="Where the processes listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The first of two ports a member and one for the sequencer.")] = 7400,
    tick: Annotated[int, typer.Option(help="Milliseconds between two anchors of a member.")] = 60_000,
    as_json: AsJson = False,
) -> None:
    """Found a consortium: a folder, keys and settings for each member, and the genesis they all sign."""
    members = founding.plan(member or (), host, port)
    chosen = parse_member_id(operator) if operator else members[-1].id
    made = founding.found(
        directory,
        members,
        name=name,
        operator=chosen,
        sequencer=Address(host=host, port=port),
        now=WallClock().now(),
        tables={"jurisdiction": default_jurisdiction().digest, "sensitivity": default_sensitivity().digest},
        tick_ms=tick,
    )
    ledger = made.genesis.genesis.ledger_id.hex()
    emit(
        {"directory": directory, "ledger": ledger, "operator": chosen, "members": [each.id for each in members]},
        as_json=as_json,
        text=f"Founded {name!r} in {directory} with {len(members)} members: {', '.join(each.id for each in members)}.\n"
        f"Its ledger id is {ledger}.\nStart it with: commonward up {directory}",
    )


def up(
    directory: Directory,
    wait: Annotated[float, typer.Option(help="Seconds to wait until every process answers.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Start every process of a consortium on this machine, in the background, and wait until all answer."""
    try:
        started = running.start(directory, wait)
    except running.NotUp as why:
        fail(str(why), AWAY)
    emit(
        {"started": started},
        as_json=as_json,
        text=f"{len(started)} processes run: {', '.join(sorted(started))}. Stop them with: commonward down {directory}",
    )


def down(directory: Directory, as_json: AsJson = False) -> None:
    """Stop every process of a consortium on this machine."""
    stopped = running.stop(directory)
    emit({"stopped": stopped}, as_json=as_json, text=f"Stopped {', '.join(sorted(stopped)) or 'nothing: none ran'}.")
