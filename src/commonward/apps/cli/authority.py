"""`commonward member new-ca|adopt-ca`: this member's next certificate authority."""

from __future__ import annotations

import typer

from commonward.apps import renewing
from commonward.apps import settings as node_settings
from commonward.apps.cli.groups import group
from commonward.apps.cli.output import AsJson, Data, emit
from commonward.apps.cli.plain import plain
from commonward.apps.wiring import WallClock


def add_to(app: typer.Typer) -> None:
    members = group(app, "member", "Who belongs to the consortium.")
    members.command("new-ca")(new_ca)
    members.command("adopt-ca")(adopt_ca)


def new_ca(data: Data, as_json: AsJson = False) -> None:
    """Make this member's next certificate authority, beside the one in use, for the members to vote on."""
    settings = node_settings.load(data)
    file = renewing.make_next(settings, WallClock().now())
    emit(
        {"certificate": file},
        as_json=as_json,
        text=f"Made {plain(str(file.parent))}. Put it to the vote:\n"
        f"    commonward governance propose certificate {settings.member} {plain(str(file))} --grounds WORDS\n"
        "Once a vote has carried it, every member reloads its node (kill -HUP); then here: commonward member adopt-ca",
    )


def adopt_ca(data: Data, as_json: AsJson = False) -> None:
    """Put the next certificate authority, which the members voted for, in the place of the one in use."""
    settings = node_settings.load(data)
    aside = renewing.adopt_next(settings, WallClock().now())
    emit(
        {"aside": aside},
        as_json=as_json,
        text=f"Adopted. The old one is in {plain(str(aside))}: destroy its key once nobody asks for it.\n"
        f"Restart the node, and issue the day's staff certificates anew: commonward node {plain(str(data))}",
    )
