"""Following a study while its rounds go on (`study run`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.live import Live

from commonward.apps import settings as node_settings
from commonward.apps.api.client import ControlClient, NodeAway
from commonward.apps.cli.output import REFUSED, AsJson, Data, emit, err, out
from commonward.apps.cli.study_live import line, screen
from commonward.apps.cli.study_shown import Which, full
from commonward.apps.studies.telling import OVER

_POLL_S = 0.5
_CALM_S = 3.0
"""Between two looks while nothing happens: a round of photographs takes minutes, and the node has better to do."""

_CALM_AFTER = 10


def add_to(studies: typer.Typer) -> None:
    studies.command("run")(run)


def run(
    data: Data,
    study: Which,
    wait: Annotated[float, typer.Option(help="For how many seconds to follow it.", min=0)] = 86_400,
    as_plain: Annotated[bool, typer.Option("--plain", help="Lines instead of a screen, for logs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Follow the rounds as they go: who has sent, who has signed, how the model does, what the budget is at.

    Nodes do the work by themselves; this looks on, and may be stopped and started again. Exit 0: the last round is
    final. Exit 1: it is not, after --wait, or will never be.
    """
    node = ControlClient(node_settings.load(data))
    wanted = full(node, study)
    found = node.get(f"/studies/{wanted}")
    deadline, told, away, quiet = time.monotonic() + wait, ("", ""), "", 0
    with _teller(found, as_json=as_json, live=out.is_terminal and not as_plain and not as_json) as tell:
        while True:
            now = (line(found), away)
            quiet = quiet + 1 if now == told else 0
            tell(found, away, now != told)
            told = now
            if found["status"] in OVER or time.monotonic() >= deadline:
                break
            time.sleep(max(0.0, min(_CALM_S if quiet >= _CALM_AFTER else _POLL_S, deadline - time.monotonic())))
            try:
                found, away = node.get(f"/studies/{wanted}"), ""
            except NodeAway as why:  # it may be restarted; the study goes on when it is back
                away = str(why)
    if found["round"] < found["rounds"]:
        stands = f"{found['status']} at round {found['round']} of {found['rounds']}"
        err.print(f"[red]not complete:[/red] {stands}")
        raise typer.Exit(REFUSED)


@contextmanager
def _teller(
    found: dict[str, Any], *, as_json: bool, live: bool
) -> Iterator[Callable[[dict[str, Any], str, bool], None]]:
    """Tells (what is found, what is wrong, whether it is news): a screen is drawn anew, a line is written for news."""
    if live:
        with Live(screen(found), console=out, auto_refresh=False) as drawn:
            yield lambda now, note, _: drawn.update(screen(now, note), refresh=True)
        return

    def tell(now: dict[str, Any], note: str, news: bool) -> None:
        if news:
            emit({**_event(now), "away": note}, as_json=as_json, text=note or line(now))

    yield tell


def _event(found: dict[str, Any]) -> dict[str, Any]:
    names = ("study", "status", "round", "rounds", "sites", "model", "progress", "local")
    return {name: found.get(name) for name in names}
