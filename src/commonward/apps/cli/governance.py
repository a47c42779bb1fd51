"""Deciding together (`member propose|vote|proposals`), and this member's own keys and staff certificates."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from commonward.apps import applying, founding
from commonward.apps import settings as node_settings
from commonward.apps.api.client import ControlClient
from commonward.apps.cli.groups import group
from commonward.apps.cli.output import REFUSED, AsJson, Data, emit, err, fail
from commonward.apps.cli.plain import plain, when
from commonward.apps.settings import Address
from commonward.apps.wiring import WallClock
from commonward.ledger.ids import Purpose
from commonward.ledger.parameters import Parameter

_propose = typer.Typer(help="Put a change to the vote. It takes effect within the vote that completes its majority.")

Grounds = Annotated[str, typer.Option(help="Why, in words. Kept here; the ledger shows a commitment.")]
Days = Annotated[float, typer.Option(help="How long the vote is open.", min=0.0001)]
Proposal = Annotated[str, typer.Argument(help="Its id, or the first digits of it.")]
Why = Annotated[str, typer.Option(help="Why, in words. Kept here; the ledger shows a commitment.")]


def add_to(app: typer.Typer) -> None:
    members = group(app, "member", "Who belongs to the consortium.")
    members.command("apply")(apply)
    members.add_typer(_propose, name="propose", no_args_is_help=True)
    members.command("proposals")(proposals)
    members.command("vote")(vote)
    members.command("keys")(keys)
    members.command("rotate-key")(rotate_key)
    members.command("revoke-key")(revoke_key)
    members.command("revoke-staff")(revoke_staff)


# ------------------------------------------------------------------------------------------------------------ deciding


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
        f',\n    {asked.member} = "{plan.p2p}"\nunder \\[p2p_peers], and restarts its node'
        if plan.p2p
        else " and restarts its node, the operator its sequencer too"
    )
    emit(
        {"folder": folder, "application": file, "member": asked.member},
        as_json=as_json,
        text=f"Made {plain(str(folder))} for {plain(asked.member)}.\n"
        f"Give {plain(str(file))} to a member, which proposes you:\n"
        "    commonward member propose admit FILE --grounds WORDS --data DATA\n"
        f'Once a vote has carried it, every member adds\n    {asked.member} = "{plan.listen}"\n'
        f"under \\[peers] of its node.toml{also}.\n"
        f"Then start yours with: commonward node {plain(str(folder))}",
    )


@_propose.command()
def admit(
    data: Data,
    application: Annotated[Path, typer.Argument(help="The file that the new member's `member apply` wrote.")],
    grounds: Grounds,
    days: Days = 7,
    as_json: AsJson = False,
) -> None:
    """Admit a new member, with the keys in its application."""
    try:
        said = application.read_bytes()
    except OSError as cause:
        fail(f"{plain(str(application))}: cannot be read ({cause.strerror})")
    _put(data, {"kind": "admit", "application": base64.b64encode(said).decode()}, grounds, days, as_json=as_json)


@_propose.command()
def suspend(
    data: Data,
    member: Annotated[str, typer.Argument(help="Whose transactions are to be refused from then on.")],
    grounds: Grounds,
    days: Days = 7,
    as_json: AsJson = False,
) -> None:
    """Suspend a member, until it is resumed."""
    _put(data, {"kind": "suspend", "member": member}, grounds, days, as_json=as_json)


@_propose.command()
def resume(
    data: Data,
    member: Annotated[str, typer.Argument(help="Who is suspended.")],
    grounds: Grounds,
    days: Days = 7,
    as_json: AsJson = False,
) -> None:
    """Let a suspended member act again."""
    _put(data, {"kind": "resume", "member": member}, grounds, days, as_json=as_json)


@_propose.command()
def parameter(
    data: Data,
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(each.name.lower() for each in Parameter)}.")],
    value: Annotated[int, typer.Argument(help="Its new value; times in milliseconds.")],
    grounds: Grounds,
    days: Days = 7,
    as_json: AsJson = False,
) -> None:
    """Change a number that the consortium may change by vote."""
    _put(data, {"kind": "parameter", "parameter": name, "value": value}, grounds, days, as_json=as_json)


def _put(data: Path, change: dict[str, object], grounds: str, days: float, *, as_json: bool) -> None:
    body = {**change, "grounds": grounds, "open_ms": int(days * 86_400_000)}
    made = ControlClient(node_settings.load(data)).post("/proposals", body)
    emit(
        made,
        as_json=as_json,
        text=f"Proposal {made['proposal']} is open to the vote. To propose is not to vote: each member, "
        f"this one too, votes with\n  commonward member vote {made['proposal'][:12]} yes --data DATA",
    )


def proposals(data: Data, as_json: AsJson = False) -> None:
    """What is open to the vote, who has voted, and how many more it takes."""
    found = ControlClient(node_settings.load(data)).get("/proposals")
    for each in found:
        change = dict(each["change"])
        kind = plain(str(change.pop("change")))
        facts = "\n".join(f"    {plain(name):<12} {plain(_fact(value))}" for name, value in change.items())
        emit(
            each,
            as_json=as_json,
            text=f"[bold]{each['proposal'][:12]}[/bold]  {kind}, by {plain(each['by'])}; "
            f"open until {when(each['close'])}\n{facts}\n"
            f"    yes: {plain(', '.join(each['ayes']) or 'nobody')}; no: {plain(', '.join(each['noes']) or 'nobody')}; "
            f"{each['needed']} yes carry it",
        )
    if not as_json and not found:
        emit({}, as_json=False, text="Nothing is open to the vote.")


def _fact(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)}: " + ", ".join(str(each.get("purpose", each)) for each in value if isinstance(each, dict))
    return str(value)


def vote(
    data: Data,
    proposal: Proposal,
    choice: Annotated[str, typer.Argument(help="yes or no.")],
    as_json: AsJson = False,
) -> None:
    """This member's vote, once. The vote that completes the majority brings the change into effect."""
    if choice not in ("yes", "no"):
        fail(f"expected yes or no, got {plain(choice)}")
    node = ControlClient(node_settings.load(data))
    open_now = [each["proposal"] for each in node.get("/proposals")]
    found = [each for each in open_now if each.startswith(proposal.lower())]
    if len(found) != 1:
        err.print(
            f"[red]refused:[/red] {len(found)} open proposals have an id that starts with {plain(proposal)}; "
            "`commonward member proposals` lists them"
        )
        raise typer.Exit(REFUSED)
    done = node.post(f"/proposals/{found[0]}/vote", {"choice": choice == "yes"})
    then = "The vote is still open." if done["open"] else "That completes the majority: the change is in effect."
    emit(done, as_json=as_json, text=f"Voted {choice} on {found[0][:12]}. {then}")


# ---------------------------------------------------------------------------------------------------------------- keys


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
    emit(
        done,
        as_json=as_json,
        text=f"Registered the next {plain(purpose)} key, {done['new']}.\nRestart the {process} to use it: until then "
        f"it goes on with the old one, which counts as well.\nThen end the old one with: commonward member revoke-key "
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
