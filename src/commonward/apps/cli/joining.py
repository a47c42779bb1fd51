"""Joining a consortium that runs (`member apply`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from commonward.apps import applying, founding
from commonward.apps.cli.groups import group
from commonward.apps.cli.output import AsJson, emit
from commonward.apps.cli.plain import plain
from commonward.apps.settings import Address
from commonward.apps.wiring import WallClock


def add_to(app: typer.Typer) -> None:
    group(app, "member", "Who belongs to the consortium.").command("apply")(apply)


def apply(
    directory: Annotated[Path, typer.Argument(help="Where the new member's folder is to be: DIRECTORY/members/ID.")],
    member: Annotated[str, typer.Option(help="ID:KIND[:TIER][=NAME] of the applicant.")],
    consortium: Annotated[Path, typer.Option(help="The consortium's public folder: its genesis and addresses.")],
    listen: Annotated[str, typer.Option(help="HOST:PORT where the new node will answer members.")],
    signing: Annotated[str, typer.Option(help="HOST:PORT where it will answer patients.")],
    p2p: Annotated[str, typer.Option(help="HOST:PORT where its CometBFT will listen, if CometBFT orders.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a new member's folder, and the application that the members vote on."""
    (wanted,) = founding.plan([member], "127.0.0.1", 1)
    plan = replace(
        wanted,
        listen=Address.parse(listen, "--listen"),
        signing=Address.parse(signing, "--signing"),
        p2p=Address.parse(p2p, "--p2p") if p2p else None,
    )
    folder, asked = applying.apply(directory, consortium, plan, WallClock().now())
    file = folder / applying.APPLICATION
    also = (
        f',\n    {asked.member} = "{plan.p2p}"\nunder \\[p2p_peers], and reloads its node (kill -HUP)'
        if plan.p2p
        else " and reloads its node (kill -HUP), the operator its sequencer too"
    )
    emit(
        {"folder": folder, "application": file, "member": asked.member},
        as_json=as_json,
        text=f"Made {plain(str(folder))} for {plain(asked.member)}.\n"
        f"Give {plain(str(file))} to a member, which proposes you:\n"
        "    commonward governance propose admit FILE --grounds WORDS --data DATA\n"
        f'Once a vote has carried it, every member adds\n    {asked.member} = "{plan.listen}"\n'
        f"under \\[peers] of its node.toml{also}.\n"
        f"Then start yours with: commonward node {plain(str(folder))}",
    )
