"""Following a study while its rounds go on (`study run`)."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from commonward.apps import settings as node_settings
from commonward.apps.api.client import ControlClient
from commonward.apps.cli.output import REFUSED, AsJson, Data, emit, err
from commonward.apps.cli.plain import plain
from commonward.apps.cli.study_shown import Which, full
from commonward.apps.studies.telling import OVER

_POLL_S = 0.5
_BARS = "▁▂▃▄▅▆▇█"


def add_to(studies: typer.Typer) -> None:
    studies.command("run")(run)


def run(
    data: Data,
    study: Which,
    wait: Annotated[float, typer.Option(help="For how many seconds to follow it.", min=0)] = 86_400,
    as_json: AsJson = False,
) -> None:
    """Follow the rounds as they go: who has sent, who has signed, how the model does, what the budget is at.

    Nodes do the work by themselves; this looks on, and may be stopped and started again. Exit 0: the last round is
    final. Exit 1: it is not, after --wait, or will never be.
    """
    node = ControlClient(node_settings.load(data))
    wanted = full(node, study)
    deadline, told = time.monotonic() + wait, ""
    while True:
        found = node.get(f"/studies/{wanted}")
        line = _line(found)
        if line != told:
            told = line
            emit(_event(found), as_json=as_json, text=line)
        if found["status"] in OVER or time.monotonic() >= deadline:
            break
        time.sleep(_POLL_S)
    if found["round"] < found["rounds"]:
        why = f"{found['status']} at round {found['round']} of {found['rounds']}"
        err.print(f"[red]not complete:[/red] {why}")
        raise typer.Exit(REFUSED)


def _event(found: dict[str, Any]) -> dict[str, Any]:
    names = ("study", "status", "round", "rounds", "sites", "model", "progress", "local")
    return {name: found.get(name) for name in names}


def _line(found: dict[str, Any]) -> str:
    rounds = found["progress"]
    now = f"{found['status']}, {found['round']} of {found['rounds']} rounds"
    if rounds and rounds[-1]["stage"] != "final":
        last = rounds[-1]
        waiting = sorted(set(last["sites"]) - set(last["updates"]))
        unsigned = sorted(set(last["voters"]) - set(last["signed"]))
        if last["stage"] == "training":
            what = f"updates {len(last['updates'])} of {len(last['sites'])}"
            what += f", waits for {', '.join(waiting)}" if waiting else ""
        else:
            what = f"signed by {len(last['signed'])} of {len(last['voters'])}"
            what += f", not by {', '.join(unsigned)}" if unsigned else ""
        attempt = f", attempt {last['attempt']}" if last["attempt"] > 1 else ""
        now += f"; round {last['round']}{attempt}: {last['stage']}, {plain(what)}"
    waits = (found.get("local") or {}).get("waits_for")
    if waits and found["status"] in ("approved", "waiting"):
        now += f"; waits for {plain(waits)}"
    spent = [each["spent"] for each in found["site"] if each["spent"] is not None]
    if spent:
        now += f"; most privacy spent {max(spent):.2f}"
    return now + _curve(found.get("local"))


def _curve(local: dict[str, Any] | None) -> str:
    """The accuracy over the rounds that were judged: of all sites together, or of this one where no more is known."""
    curve = [each for each in (local or {}).get("curve", ()) if each.get("accuracy") is not None]
    for of, where in (("all", "at all sites"), ("own", "here")):
        shares = [each["accuracy"] for each in curve if each["of"] == of]
        if shares:
            drawn = "".join(_BARS[min(len(_BARS) - 1, int(each * len(_BARS)))] for each in shares)
            return f"; accuracy {where} {drawn} {shares[-1]:.3f}"
    return ""
