"""Studies as text for people."""

from __future__ import annotations

from typing import Annotated, Any, NoReturn

import typer
from rich.cells import cell_len, set_cell_size

from commonward.apps.api.client import ControlClient
from commonward.apps.cli.output import REFUSED, err
from commonward.apps.cli.plain import plain, when
from commonward.apps.studies.look import odd_told
from commonward.apps.studies.look_pictures import camera_table
from commonward.apps.studies.words import Text, class_in, words_in

__all__ = ["Which", "full", "page", "refused", "shown"]

Which = Annotated[str, typer.Argument(metavar="STUDY", help="Its id, or the first digits of it.")]


def full(node: ControlClient, study: str) -> str:
    """The id of the one study whose id begins so; a whole id as it is."""
    if len(study) == 32:
        return study.lower()
    found = [each["study"] for each in node.get("/studies") if each["study"].startswith(study.lower())]
    if len(found) != 1:
        refused(f"{len(found)} studies have an id that starts with {plain(study)}; `commonward study list` lists them")
    return str(found[0])


def refused(why: str) -> NoReturn:
    err.print(f"[red]refused:[/red] {why}")
    raise typer.Exit(REFUSED)


def shown(found: dict[str, Any]) -> str:
    """All of a study."""
    privacy = found["privacy"]
    charged = (
        f"epsilon {privacy['epsilon_a_round']:g} a round, {privacy['epsilon_in_all']:g} in all, "
        f"at delta 10^-{privacy['delta']}"
        if privacy["charged"]
        else "none charged; a waiver is asked for" if privacy["waiver"] else "none charged: only the sum comes out"
    )  # fmt: skip
    lines = [
        f"[bold]{plain(found['title'])}[/bold]  {found['study']}",
        *(["    [yellow]SYNTHETIC records: a program made them[/yellow]"] if found["synthetic"] else []),
        *([f"    {plain(found['about'])}"] if found["about"] else []),
        f"    by {plain(found['by'])}; [bold]{found['status']}[/bold]; ends {when(found['end'])}",
        f"    {found['rule']}, {found['mode']}; {found['rounds']} rounds of {found['min_sites']} sites at least; "
        f"{found['row_cap']} rows a patient at most",
        f"    learner {plain(found['learner']['name'])} {found['learner']['digest']}",
        f"    privacy: {charged}",
        f"    yes: {plain(', '.join(found['ayes']) or 'nobody')}; no: {plain(', '.join(found['noes']) or 'nobody')}",
        f"    may see the result: {plain(', '.join(found['viewers']) or 'the sites alone')}",
        *(f"    stated, {plain(item)}: {plain(said)}" for item, said in sorted(found["statements"].items())),
        *(_site(each) for each in found["site"]),
        *(_round(each) for each in found["progress"]),
        f"    model {found['model']} after round {found['round']}",
        *([f"    waits for {plain(waits)}"] if (waits := found["local"].get("waits_for")) else []),
    ]
    return "\n".join(lines)


def _site(each: dict[str, Any]) -> str:
    how = "leaving" if each["leaving"] else "takes part" if each["enrolled"] else "left"
    rows = "no manifest yet" if each["rows"] is None else f"{each['rows']} rows of {each['patients']} patients"
    spent = "" if each["spent"] is None else f"; privacy spent {each['spent']:.2f} of {each['budget']:g}"
    return f"    site {plain(each['member']):<14} {how}; {rows}{spent}"


def _round(each: dict[str, Any]) -> str:
    attempt = f", attempt {each['attempt']}" if each["attempt"] > 1 else ""
    excluded = f"; without {plain(', '.join(each['exclusions']))}" if each["exclusions"] else ""
    return (
        f"    round {each['round']}{attempt}: {each['stage']}; updates {len(each['updates'])} of {len(each['sites'])}, "
        f"signed by {len(each['signed'])} of {len(each['voters'])}{excluded}"
    )


def _class(text: Text, label: str, each: dict[str, Any]) -> str:
    share = text("look-terminal-none")
    if each["share"] is not None:
        between = text("range", low=f"{each['low']:.0%}", high=f"{each['high']:.0%}")
        share = f"{each['share']:.0%} ({between})"
    said = text("look-terminal-class", count=f"{each['count']:>6}", share=share)
    return f"    {plain(label)} {_wide(class_in(text, each['class']), 12)} {said}{_proposers(text, each['proposer'])}"


def _proposers(text: Text, there: float | None) -> str:
    return "" if there is None else text("look-terminal-proposer", share=f"{there:.0%}")


def _wide(said: str, cells: int, *, right: bool = False) -> str:
    """Cut or filled to so many columns of a terminal, of which a Chinese letter takes two. Safe for it."""
    said = plain(said if cell_len(said) <= cells else set_cell_size(said, cells))
    room = " " * max(0, cells - cell_len(said))
    return room + said if right else said + room


def _cells(row: list[str]) -> list[str]:
    return [_wide(row[0], 28), *(_wide(each, 10, right=True) for each in row[1:])]


def page(found: dict[str, Any], language: str = "en") -> str:
    """A site's own rows."""
    text = words_in(language)
    names = [text("look-column"), text("look-missing"), text("look-terminal-values")]
    names += [text(f"look-{each}") for each in ("least", "median", "most")]
    sizes = (20, 8, 8, 10, 10, 10)
    head = [_wide(each, size, right=size != 20) for each, size in zip(names, sizes, strict=True)]
    titled = text("look-terminal", title=plain(found["title"]), rows=found["rows"], consents=found["consents"])
    lines = [f"[bold]{titled}[/bold]", "    " + " ".join(head)]
    for each in found["columns"]:
        numbers = [f"{each[name]:.4g}" if name in each else "" for name in ("least", "median", "most")]
        cells = [str(each["missing"]), str(each["distinct"]), *numbers]
        row = [_wide(said, size, right=True) for said, size in zip(cells, sizes[1:], strict=True)]
        lines.append(f"    {_wide(each['name'], 20)} {' '.join(row)}")
    label = found["label"]
    if label is not None and label["share"] is not None:
        said = text("look-terminal-label", name=plain(label["name"]), share=f"{label['share']:.0%}",
                    low=f"{label['low']:.0%}", high=f"{label['high']:.0%}")  # fmt: skip
        lines.append(f"    {said}{_proposers(text, label['proposer'])}")
    if found.get("classes"):
        lines += [_class(text, found["classes"]["name"], each) for each in found["classes"]["shares"]]
    if found.get("cameras"):
        head, rows = camera_table(found, text)
        lines += ["    " + " ".join(_cells(each)) for each in (head, *rows)]
    if found.get("pictures"):
        pictures = found["pictures"]
        lines.append(f"    {text('look-terminal-pictures', read=pictures['read'], copies=len(pictures['copies']))}")
    odd = [f"    [yellow]![/yellow] {plain(odd_told(text, each))}" for each in found["odd"]]
    return "\n".join([*lines, *(odd or [f"    {text('look-fine')}"])])
