"""A consortium as a whole: found it, start and stop its processes on one machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from commonward.apps import founding, running
from commonward.apps.cli.output import AWAY, AsJson, emit, fail
from commonward.apps.cli.plain import plain
from commonward.apps.planning import NOBODY, MemberPlan, Plan
from commonward.apps.settings import ENGINES, Address
from commonward.apps.wiring import WallClock
from commonward.ledger.ids import parse_member_id
from commonward.records.jurisdiction import default_jurisdiction
from commonward.records.sensitivity import default_sensitivity

Directory = Annotated[Path, typer.Argument(help="The consortium's directory.")]
Name = Annotated[str, typer.Option(help="What the consortium is called.")]
Host = Annotated[str, typer.Option(help="Where the processes listen.")]
Port = Annotated[int, typer.Option(help="The first of the ports: two or three a member, and one for the sequencer.")]
Tick = Annotated[int, typer.Option(help="Milliseconds between two anchors of a member.")]
Wait = Annotated[float, typer.Option(help="Seconds to wait until every process answers.")]


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
    engine: Annotated[
        str,
        typer.Option(help="Who orders: solo, a sequencer that one member operates; cometbft, the members together."),
    ] = "solo",
    operator: Annotated[str, typer.Option(help="Who operates the sequencer (solo); the last member without.")] = "",
    name: Name = "A Commonward consortium",
    host: Host = "127.0.0.1",
    port: Port = 7400,
    tick: Tick = 60_000,
    as_json: AsJson = False,
) -> None:
    """Found a consortium: a folder, keys and settings for each member, and the genesis they all sign."""
    members = founding.plan(member or (), host, port, checked_engine(engine))
    found(directory, whole(name, engine, members, operator, host, port, tick), as_json=as_json)


def checked_engine(engine: str) -> str:
    if engine not in ENGINES:
        fail(f"--engine: expected {' or '.join(ENGINES)}, got {plain(engine)!r}")
    return engine


def whole(
    name: str, engine: str, members: Sequence[MemberPlan], operator: str, host: str, port: int, tick: int
) -> Plan:
    """A plan as the options of a command say it. Who operates the sequencer is the last member, if nobody is named."""
    if engine != "solo":
        if operator:
            fail(f"--operator: the members order together under {engine}; there is no sequencer to operate")
        return Plan(name=name, members=tuple(members), operator=NOBODY, sequencer=None, tick_ms=tick)
    return Plan(
        name=name,
        members=tuple(members),
        operator=parse_member_id(operator) if operator else members[-1].id,
        sequencer=Address(host=host, port=port),
        tick_ms=tick,
    )


def found(directory: Path, plan: Plan, *, as_json: bool) -> None:
    """Make it, and say what was made."""
    made = founding.found(
        directory,
        plan.members,
        name=plan.name,
        operator=plan.operator,
        sequencer=plan.sequencer,
        now=WallClock().now(),
        tables={"jurisdiction": default_jurisdiction().digest, "sensitivity": default_sensitivity().digest},
        tick_ms=plan.tick_ms,
    )
    ledger = made.genesis.genesis.ledger_id.hex()
    ids = [each.id for each in plan.members]
    voting = [each.id for each in plan.members if each.weight]
    if plan.engine == "cometbft":
        order = f"{len(voting)} of them order it together: {', '.join(voting)}"
    else:
        order = f"{plan.operator} operates its sequencer"
    pilot = "\nIt is a pilot: one member alone, down or false, can stop it. Four or more with even votes are none."
    emit(
        {
            "directory": directory,
            "ledger": ledger,
            "engine": plan.engine,
            "operator": plan.operator or None,
            "members": ids,
            "validators": voting if plan.engine == "cometbft" else [],
            "pilot": made.genesis.genesis.pilot,
        },
        as_json=as_json,
        text=f"Founded {plain(plan.name)!r} in {plain(str(directory))} with {len(ids)} members: {', '.join(ids)}.\n"
        f"Its ledger id is {ledger}; {order}." + (pilot if made.genesis.genesis.pilot else "") + "\n"
        f"Start all of it on this machine with: commonward up {plain(str(directory))}\n"
        f"Or carry each folder {plain(str(directory))}/members/ID to its own machine and run there: commonward node ID",
    )


def up(directory: Directory, wait: Wait = 60.0, as_json: AsJson = False) -> None:
    """Start every process of a consortium on this machine, in the background, and wait until all answer."""
    started = start(directory, wait)
    emit(
        {"started": started},
        as_json=as_json,
        text=f"{len(started)} processes run: {', '.join(sorted(started))}.\n"
        f"Stop them with: commonward down {directory}\nSee how they stand with: commonward network status {directory}",
    )


def start(directory: Path, wait: float) -> dict[str, int]:
    """Name -> pid. Ends the program, with the exit code of what is away, when one does not start."""
    try:
        return running.start(directory, wait)
    except running.NotUp as why:
        fail(plain(str(why)), AWAY)


def down(directory: Directory, as_json: AsJson = False) -> None:
    """Stop every process of a consortium on this machine; a node takes its CometBFT with it."""
    stopped = running.stop(directory)
    emit({"stopped": stopped}, as_json=as_json, text=f"Stopped {', '.join(sorted(stopped)) or 'nothing: none ran'}.")
