"""A study while its rounds go on, on a terminal: one line for a log, or a screen that is drawn anew.

Both are made of what the control API tells. A round of photographs may take an hour: the screen says what is waited for
and how long that may take, so that nobody takes a long round for one that stands still.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from commonward.apps.cli.plain import plain

__all__ = ["line", "screen", "spark"]

_BARS: Final = "▁▂▃▄▅▆▇█"
_LONGEST: Final = 32
"""Letters of a curve; of more rounds, every so many."""

_WHERE: Final = (("all", "at all sites"), ("own", "here"))


def spark(values: Sequence[float], high: float = 1.0) -> str:
    """A curve in letters, from 0 to `high`. The last value is always in it."""
    step = -(-len(values) // _LONGEST) or 1
    shown = list(reversed(list(reversed(values))[::step]))
    return "".join(_BARS[min(len(_BARS) - 1, max(0, int(each / high * len(_BARS))))] for each in shown)


def line(found: dict[str, Any]) -> str:
    """One line, which changes when something happened. What others wrote is shown harmless."""
    now = f"{found['status']}, {found['round']} of {found['rounds']} rounds"
    doing = _doing(found)
    now += f"; {doing}" if doing else ""
    waits = (found.get("local") or {}).get("waits_for")
    if waits and found["status"] in ("approved", "waiting"):
        now += f"; waits for {plain(waits)}"
    spent = [each["spent"] for each in found["site"] if each["spent"] is not None]
    if spent:
        now += f"; most privacy spent {max(spent):.2f}"
    made = "SYNTHETIC " if found.get("synthetic") else ""
    for name, key in (("accuracy", "accuracy"), ("loss", "brier")):
        values, where = _curve(found, key)
        if values:
            now += f"; {made}{name} {where} {spark(values, _high(key, values))} {values[-1]:.3f}"
    return now


def _doing(found: dict[str, Any]) -> str:
    rounds = found["progress"]
    if not rounds or rounds[-1]["stage"] == "final":
        return ""
    last = rounds[-1]
    attempt = f", attempt {last['attempt']}" if last["attempt"] > 1 else ""
    if last["stage"] == "void":
        what = "failed, a new attempt follows"
    elif last["stage"] == "training":
        waiting = sorted(set(last["sites"]) - set(last["updates"]))
        what = f"updates {len(last['updates'])} of {len(last['sites'])}"
        what += f", waits for {', '.join(waiting)}" if waiting else ""
    else:
        unsigned = sorted(set(last["voters"]) - set(last["signed"]))
        what = f"signed by {len(last['signed'])} of {len(last['voters'])}"
        what += f", not by {', '.join(unsigned)}" if unsigned else ""
    return f"round {last['round']}{attempt}: {last['stage']}, {plain(what)}"


def _curve(found: dict[str, Any], key: str) -> tuple[list[float], str]:
    """Values over the rounds that were judged: of all sites together, or of this one where no more is known."""
    curve = [each for each in (found.get("local") or {}).get("curve", ()) if each.get(key) is not None]
    for of, where in _WHERE:
        values = [float(each[key]) for each in curve if each["of"] == of]
        if values:
            return values, where
    return [], ""


def _high(key: str, values: Sequence[float]) -> float:
    return 1.0 if key != "brier" or max(values) <= 1 else 2.0


def screen(found: dict[str, Any], note: str = "") -> RenderableType:
    """All of it at one look: how far, what is waited for, how good, what it costs, each site.

    Args:
        found: as GET /studies/{study} tells it, with `now`.
        note: what stands below, as "the node does not answer".
    """
    head = Text.from_markup(f"[bold]{plain(found['title'])}[/bold]")
    if found.get("synthetic"):
        head.append("  SYNTHETIC", "bold yellow")
    bar = Table.grid(padding=(0, 2))
    share = ProgressBar(total=max(1, found["rounds"]), completed=found["round"], width=30)
    bar.add_row(str(found["status"]), share, f"{found['round']} of {found['rounds']} rounds")
    parts: list[RenderableType] = [head, bar]
    doing, waits = _doing(found), (found.get("local") or {}).get("waits_for")
    if doing:
        parts.append(Text.from_markup(f"{doing}{_left(found)}"))
    elif waits:
        parts.append(Text.from_markup(f"waits for {plain(waits)}"))
    parts += [_curves(found), *([_sites(found)] if found["site"] else [])]
    if note:
        parts.append(Text.from_markup(f"[yellow]{plain(note)}[/yellow]"))
    return Group(*parts)


def _left(found: dict[str, Any]) -> str:
    """How much of the time that the protocol allows is left."""
    last = found["progress"][-1]
    until = {"training": last.get("deadline"), "signing": last.get("sign_by")}.get(last["stage"])
    if until is None or not found.get("now"):
        return ""
    left = (until - found["now"]) // 1000
    return f"; {_time(left)} left" if left > 0 else "; its time is over"


def _time(seconds: int) -> str:
    if seconds < 90:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _curves(found: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    best, made = _last(found), " SYNTHETIC" if found.get("synthetic") else ""
    for name, key in (
        ("accuracy", "accuracy"), ("balanced accuracy", "balanced"), ("AUROC", "auroc"), ("loss (Brier)", "brier")
    ):  # fmt: skip
        values, where = _curve(found, key)
        if key == "balanced" and len(best.get("truth") or ()) < 3:
            continue
        if values:
            beside = f"commonest class {best['majority']:.3f}" if key == "accuracy" and best else ""
            table.add_row(
                name, spark(values, _high(key, values)), f"[bold]{values[-1]:.3f}[/bold]{made}", where, beside
            )
    privacy = found["privacy"]
    if privacy.get("charged"):
        by_round = privacy.get("epsilon_by_round") or []
        done = by_round[: found["round"]]
        spent = f"{done[-1]:.2f}" if done else "0"
        table.add_row("privacy (epsilon)", spark(done, max(by_round, default=1.0)), f"[bold]{spent}[/bold]",
                      f"of {privacy['epsilon_in_all']:.2f} in all", "")  # fmt: skip
    return table


def _last(found: dict[str, Any]) -> dict[str, Any]:
    local = found.get("local") or {}
    for of, _ in _WHERE:
        if (local.get(of) or {}).get(""):
            return dict(local[of][""])
    return {}


def _sites(found: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    charged = any(each["spent"] is not None for each in found["site"])
    for head in ("site", "rows", "this round", "times left out", *(["privacy spent"] if charged else [])):
        table.add_column(head, header_style="dim", no_wrap=True)
    final = [each for each in found["progress"] if each["final"] is not None]
    for each in found["site"]:
        member = each["member"]
        out = sum(member in one["exclusions"] for one in final)
        row = [plain(member), each["rows"] or "no manifest yet", _at(found, each), f"{out}" if out else "-"]
        if charged:
            row.append("-" if each["spent"] is None else f"{each['spent']:.2f} of {each['budget']:g}")
        table.add_row(*row)
    return table


def _at(found: dict[str, Any], site: dict[str, Any]) -> str:
    """Where a site stands in the round that is open."""
    if not site["enrolled"]:
        return "left"
    last, member = (found["progress"] or [None])[-1], site["member"]
    if last is None or last["stage"] in ("final", "void"):
        return "-"
    if member not in last["sites"]:
        return "not in it"
    if last["stage"] == "training":
        return "sent" if member in last["updates"] else "training"
    return "signed" if member in last["signed"] else "to sign" if member in last["voters"] else "no vote"
