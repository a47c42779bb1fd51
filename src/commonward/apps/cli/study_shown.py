"""Studies as text for people."""

from __future__ import annotations

from typing import Annotated, Any, NoReturn

import typer

from commonward.apps.api.client import ControlClient
from commonward.apps.cli.output import REFUSED, err
from commonward.apps.cli.plain import plain, when
from commonward.apps.studies.look_pictures import camera_table

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


def _class(label: str, each: dict[str, Any]) -> str:
    beside = "" if each["proposer"] is None else f"; {each['proposer']:.0%} at the proposer"
    share = "none" if each["share"] is None else f"{each['share']:.0%} ({each['low']:.0%} to {each['high']:.0%})"
    return f"    {plain(label)} {plain(each['class']):<12} {each['count']:>6} rows, {share}{beside}"


def _cells(row: list[str]) -> list[str]:
    return [f"{plain(row[0][:28]):<28}", *(f"{plain(each[:10]):>10}" for each in row[1:])]


def page(found: dict[str, Any]) -> str:
    """A site's own rows."""
    lines = [
        f"[bold]{plain(found['title'])}[/bold]: {found['rows']} rows here, {found['consents']} consents open",
        f"    {'column':<20} {'missing':>8} {'values':>8} {'least':>10} {'median':>10} {'most':>10}",
    ]
    for each in found["columns"]:
        numbers = " ".join(f"{each[name]:>10.4g}" if name in each else " " * 10 for name in ("least", "median", "most"))
        lines.append(f"    {plain(each['name'][:20]):<20} {each['missing']:>8} {each['distinct']:>8} {numbers}")
    label = found["label"]
    if label is not None and label["share"] is not None:
        beside = "" if label["proposer"] is None else f"; {label['proposer']:.0%} at the proposer"
        lines.append(
            f"    {plain(label['name'])} above 0 in {label['share']:.0%} ({label['low']:.0%} to {label['high']:.0%})"
            f" of rows{beside}"
        )
    if found.get("classes"):
        lines += [_class(found["classes"]["name"], each) for each in found["classes"]["shares"]]
    if found.get("cameras"):
        head, rows = camera_table(found)
        lines += ["    " + " ".join(_cells(each)) for each in (head, *rows)]
    if found.get("pictures"):
        lines.append(f"    {found['pictures']['read']} pictures read, {len(found['pictures']['copies'])} pairs alike")
    lines += [f"    [yellow]![/yellow] {plain(each)}" for each in found["warnings"]] or ["    Nothing odd was found."]
    return "\n".join(lines)
