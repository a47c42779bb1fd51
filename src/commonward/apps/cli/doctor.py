"""`commonward doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn

from commonward.adapters.keys import write_private
from commonward.adapters.store.errors import StoreError
from commonward.apps import doctor as examiner
from commonward.apps import settings as node_settings
from commonward.apps.cli.output import REFUSED, AsJson, Data, emit, err, fail
from commonward.apps.cli.plain import plain
from commonward.apps.doctor import Level
from commonward.apps.wiring import WallClock
from commonward.ledger.checkpoint import Note
from commonward.ledger.ids import MemberId

_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


def add_to(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    data: Data,
    deep: Annotated[bool, typer.Option("--deep", help="Also execute the whole ledger again from genesis.")] = False,
    proof: Annotated[Path | None, typer.Option(help="Save the proof of an operator's fault here.")] = None,
    notes: Annotated[
        Path | None, typer.Option(help="Save here, in a folder, what a member signed that our log contradicts.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look everything over: program, files, keys, certificates, disk, ledger, vault, node, ports, members, clock.

    Changes nothing. Ends with 1 when something fails; a warning alone ends with 0.
    """
    worst = dict.fromkeys(Level, 0)
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=err, transient=True, disable=as_json or not err.is_terminal) as progress:
        task = progress.add_task("Looking")
        look = examiner.Examination(
            data, WallClock(), deep, lambda what: progress.update(task, description=f"Looking at {what}")
        )
        for finding in look.findings():
            worst[finding.level] += 1
            _say(finding, as_json=as_json)
    if notes is not None:
        _save_notes(look.notes, notes)
    if proof is not None:
        _save_proof(data, proof)
    if not as_json:
        told = f"{worst[Level.FAIL]} failures, {worst[Level.WARN]} warnings, {worst[Level.OK]} in order."
        emit({}, as_json=False, text=told)
    if worst[Level.FAIL]:
        raise typer.Exit(REFUSED)


def _say(finding: examiner.Finding, *, as_json: bool) -> None:
    colour = _COLOURS[finding.level]
    emit(
        {"check": finding.check, "level": finding.level.value, "found": finding.found, "do": finding.do},
        as_json=as_json,
        text=f"[{colour}]{finding.level.value:<5}[/{colour}] {finding.check:<16} {plain(finding.found)}"
        + (f"\n{'':<23}[bold]->[/bold] {plain(finding.do)}" if finding.do else ""),
    )


def _save_notes(notes: Mapping[MemberId, Note], folder: Path) -> None:
    """Each as the member shows it: `commonward verify EVIDENCE --against FILE` holds it against our evidence."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for member, note in notes.items():
            write_private(folder / f"{member}-{note.checkpoint.size}.note", note.to_bytes(), replace=True)
    except OSError as cause:
        fail(f"{plain(str(folder))}: cannot be written ({cause.strerror})")


def _save_proof(data: Path, path: Path) -> None:
    try:
        found = examiner.stored_fault(node_settings.load(data))
    except StoreError as why:
        fail(plain(str(why)))
    if found is None:
        fail("there is no proof of a fault here to save")
    try:
        write_private(path, found)
    except FileExistsError:
        fail(f"{plain(str(path))} exists; give the name of a new file")
    except OSError as cause:
        fail(f"{plain(str(path))}: cannot be written ({cause.strerror})")
