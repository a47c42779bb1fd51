"""A member's own keys and staff certificates (`member keys|rotate-key|revoke-key|revoke-staff`)."""

from __future__ import annotations

from typing import Annotated

import typer

from commonward.apps import settings as node_settings
from commonward.apps.api.client import ControlClient
from commonward.apps.cli.groups import group
from commonward.apps.cli.output import REFUSED, AsJson, Data, emit, err
from commonward.apps.cli.plain import plain, when
from commonward.ledger.ids import Purpose

Why = Annotated[str, typer.Option(help="Why, in words. Kept here; the ledger shows a commitment.")]


def add_to(app: typer.Typer) -> None:
    members = group(app, "member", "Who belongs to the consortium.")
    members.command("keys")(keys)
    members.command("rotate-key")(rotate_key)
    members.command("revoke-key")(revoke_key)
    members.command("revoke-staff")(revoke_staff)


def keys(data: Data, as_json: AsJson = False) -> None:
    """This member's keys as the ledger knows them, and which of them the running node uses."""
    for each in ControlClient(node_settings.load(data)).get("/keys"):
        state = f"[red]revoked {when(each['revoked'])}[/red]" if each["revoked"] else f"until {when(each['ends'])}"
        emit(
            each,
            as_json=as_json,
            text=f"{each['purpose']:<9} {each['key']}  {state}{'  [green]in use[/green]' if each['in_use'] else ''}",
        )


def rotate_key(
    data: Data,
    purpose: Annotated[str, typer.Argument(help=f"One of {', '.join(each.name.lower() for each in Purpose)}.")],
    as_json: AsJson = False,
) -> None:
    """Make the next key of a purpose, register it, and take it into use at the node's next start."""
    done = ControlClient(node_settings.load(data)).post(f"/keys/{purpose}/rotate", {})
    process = "sequencer" if purpose == "sequence" else "node"
    if purpose == "validate":
        use = "Restart the node now: from the next block on its vote counts by the new key alone."
    else:
        use = f"Restart the {process} to use it: until then it goes on with the old one, which counts as well."
    emit(
        done,
        as_json=as_json,
        text=f"Registered the next {plain(purpose)} key, {done['new']}.\n{use}\n"
        f"Then end the old one with: commonward member revoke-key "
        f"{done['old']} --why rotated --data {plain(str(data))}",
    )


def revoke_key(
    data: Data,
    key: Annotated[str, typer.Argument(help="The key's id, as `commonward member keys` shows it.")],
    why: Why,
    as_json: AsJson = False,
) -> None:
    """End one of this member's keys now. What it signs from then on is refused by its name."""
    node = ControlClient(node_settings.load(data))
    used = next((each for each in node.get("/keys") if each["key"] == key.lower() and each["in_use"]), None)
    if used is not None:
        err.print(
            f"[red]refused:[/red] the running node uses this {used['purpose']} key; "
            f"`commonward member rotate-key {used['purpose']}`, restart the node, then revoke it"
        )
        raise typer.Exit(REFUSED)
    done = node.post(f"/keys/{key.lower()}/revoke", {"why": why})
    emit(done, as_json=as_json, text=f"Revoked {plain(key)}, at index {done['index']} of the ledger.")


def revoke_staff(
    data: Data,
    number: Annotated[str, typer.Argument(help="The staff number, as in DATA/staff/NUMBER.pem.")],
    why: Why,
    as_json: AsJson = False,
) -> None:
    """End a staff certificate before its time: from then on every member refuses what it signs."""
    done = ControlClient(node_settings.load(data)).post(f"/staff/{number}/revoke", {"why": why})
    emit(
        done,
        as_json=as_json,
        text=f"Revoked the certificate of {plain(number)}, at index {done['index']} of the ledger. "
        f"It would have ended {when(done['end'])}.",
    )
