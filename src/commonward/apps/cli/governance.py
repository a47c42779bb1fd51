"""Deciding together (`governance rules|propose|list|show|vote|enact`).

`member propose|vote|proposals`, the names of before, still answer and are not listed.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, NoReturn

import typer

from commonward.apps import settings as node_settings
from commonward.apps.api.client import ControlClient, NodeRefused
from commonward.apps.cli.groups import group
from commonward.apps.cli.output import REFUSED, AsJson, Data, emit, err, fail
from commonward.apps.cli.plain import plain, when
from commonward.apps.cli.proposing import propose

Proposal = Annotated[str, typer.Argument(help="Its id, or the first digits of it.")]

_POLL_S = 0.5


def add_to(app: typer.Typer) -> None:
    deciding = group(app, "governance", "Decide together: what is open to the vote, who has voted, what it takes.")
    deciding.command("rules")(rules)
    deciding.add_typer(propose, name="propose", no_args_is_help=True)
    deciding.command("list")(list_)
    deciding.command("show")(show)
    deciding.command("vote")(vote)
    deciding.command("enact")(enact)
    members = group(app, "member", "Who belongs to the consortium.")
    members.add_typer(propose, name="propose", no_args_is_help=True, hidden=True)
    members.command("proposals", hidden=True)(list_)
    members.command("vote", hidden=True)(vote)


def rules(data: Data, as_json: AsJson = False) -> None:
    """What each kind of change needs now, who may propose it, and which version of the rules is in force."""
    found = ControlClient(node_settings.load(data)).get("/rules")
    if as_json:
        emit(found, as_json=True, text="")
        return
    emit({}, as_json=False, text=f"[bold]{'change':<12} {'more than':<10} {'yes':<8} proposed by[/bold]")
    for each in found["changes"]:
        of_them = f"{each['needed']} of {found['members']}"
        who = ", ".join(each["proposers"]) or "nobody"
        emit({}, as_json=False, text=f"{each['kind']:<12} {each['majority']:<10} {of_them:<8} {who}")
    emit({}, as_json=False, text=f"Rules of version {found['version']} are in force.")
    lacking = {each["height"] for each in found["lacking"]}
    for each in found["scheduled"]:
        warning = "; [red]this program does not know them: upgrade before then[/red]"
        text = (
            f"From height {each['height']} on: version {each['version']}{warning if each['height'] in lacking else ''}"
        )
        emit({}, as_json=False, text=text)


def list_(data: Data, as_json: AsJson = False) -> None:
    """What is open to the vote, who has voted and who has not, how many more it takes, and until when."""
    found = ControlClient(node_settings.load(data)).get("/proposals")
    for each in found:
        emit(each, as_json=as_json, text=_tally(each))
    if not as_json and not found:
        emit({}, as_json=False, text="Nothing is open to the vote.")


def _tally(each: dict[str, Any]) -> str:
    own = {True: "yes", False: "no", None: "not yet"}[each["voted"]]
    lost = "; [red]it cannot carry any more[/red]" if each["lost"] else ""
    return (
        f"[bold]{each['proposal'][:12]}[/bold]  {plain(each['words'])}\n"
        f"    by {plain(each['by'])}; open until {when(each['close'])}\n"
        f"    yes: {_names(each['ayes'])}; no: {_names(each['noes'])}; not yet: {_names(each['missing'])}\n"
        f"    {each['needed']} yes carry it (more than {each['majority']}); this member: {own}{lost}"
    )


def _names(members: list[str]) -> str:
    return plain(", ".join(members) or "nobody")


def show(data: Data, proposal: Proposal, as_json: AsJson = False) -> None:
    """One proposal, whole: each field of the change, and what its certificates say."""
    node = ControlClient(node_settings.load(data))
    found = node.get(f"/proposals/{_full(node, proposal)}")
    facts = "\n".join(_facts(found["change"]))
    emit(found, as_json=as_json, text=f"{_tally(found)}\n{facts}{''.join(map(_certificate, found['certificates']))}")


def _facts(change: dict[str, Any], depth: int = 1) -> list[str]:
    lines = []
    for name, value in change.items():
        indent = "    " * depth
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for each in value:
                lines += [f"{indent}{plain(name)}:", *_facts(each, depth + 1)]
        else:
            said = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            lines.append(f"{indent}{plain(name):<12} {plain(said)}")
    return lines


def _certificate(found: dict[str, Any]) -> str:
    problem = f"\n      [red]no member could use it: {plain(found['problem'])}[/red]" if found["problem"] else ""
    lasts = f", {when(found['starts'])} to {when(found['ends'])}" if "ends" in found else ""
    return f"\n    CA certificate {found['sha256']}: {plain(found.get('subject', 'unreadable'))}{lasts}{problem}"


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
    wanted = _full(node, proposal)
    done = node.post(f"/proposals/{wanted}/vote", {"choice": choice == "yes"})
    then = "The vote is still open." if done["open"] else "That completes the majority: the change is in effect."
    emit(done, as_json=as_json, text=f"Voted {choice} on {wanted[:12]}. {then}")


def enact(
    data: Data,
    proposal: Proposal,
    wait: Annotated[float, typer.Option(help="For how many seconds to wait for the others' votes.", min=0)] = 600,
    as_json: AsJson = False,
) -> None:
    """Vote yes if this member has not voted, then wait until the change stands, or say who has yet to vote.

    Exit 0: it stands. Exit 1: not yet, or not any more.
    """
    node = ControlClient(node_settings.load(data))
    wanted = _full(node, proposal)
    found = node.get(f"/proposals/{wanted}")
    if found["voted"] is False:
        _refused(f"this member voted no on {wanted[:12]}, and a vote is not taken back")
    if found["voted"] is None:
        done = node.post(f"/proposals/{wanted}/vote", {"choice": True})
        err.print(f"Voted yes on {wanted[:12]}: {plain(found['words'])}")
        if not done["open"]:
            _stands(found, as_json=as_json)
            return
    deadline, told = time.monotonic() + wait, -1
    while True:
        try:
            now = node.get(f"/proposals/{wanted}")
        except NodeRefused as why:
            if why.error != "NotOpen":
                raise
            break
        found = {**found, **now}
        if len(found["ayes"]) != told:
            told = len(found["ayes"])
            err.print(f"{told} of {found['needed']} yes; not yet: {_names(found['missing'])}")
        if found["lost"] or time.monotonic() >= deadline:
            _not_yet(found, as_json=as_json)
        time.sleep(_POLL_S)
    if not node.post("/changes/stands", {"change": found["bytes"]})["stands"]:
        _refused(f"proposal {wanted[:12]} closed at {when(found['close'])} without its majority; propose it again")
    _stands(found, as_json=as_json)


def _stands(found: dict[str, Any], *, as_json: bool) -> None:
    fields = {"proposal": found["proposal"], "words": found["words"], "stands": True}
    emit(fields, as_json=as_json, text=f"It stands: {plain(found['words'])}")


def _not_yet(found: dict[str, Any], *, as_json: bool) -> NoReturn:
    names = ("proposal", "words", "ayes", "noes", "missing", "needed", "close", "lost")
    lost = f"It cannot carry any more: no from {_names(found['noes'])}."
    lacking = found["needed"] - len(found["ayes"])
    waiting = f"{lacking} more yes of {_names(found['missing'])}, until {when(found['close'])}."
    emit(
        {**{name: found[name] for name in names}, "stands": False},
        as_json=as_json,
        text=f"It does not stand: {plain(found['words'])}\n{lost if found['lost'] else f'It takes {waiting}'}",
    )
    raise typer.Exit(REFUSED)


def _full(node: ControlClient, proposal: str) -> str:
    """The id of the one open proposal whose id begins so."""
    open_now = [each["proposal"] for each in node.get("/proposals")]
    found = [each for each in open_now if each.startswith(proposal.lower())]
    if len(found) != 1:
        _refused(
            f"{len(found)} open proposals have an id that starts with {plain(proposal)}; "
            "`commonward governance list` lists them"
        )
    return str(found[0])


def _refused(why: str) -> NoReturn:
    err.print(f"[red]refused:[/red] {why}")
    raise typer.Exit(REFUSED)
