"""`commonward doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commonward.adapters.keys import write_private
from commonward.adapters.store.errors import StoreError
from commonward.apps import doctor as examiner
from commonward.apps import settings as node_settings
from commonward.apps.cli.output import REFUSED, AsJson, Data, emit, fail
from commonward.apps.cli.plain import plain
from commonward.apps.doctor import Level
from commonward.apps.wiring import WallClock

_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


def add_to(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    data: Data,
    deep: Annotated[bool, typer.Option("--deep", help="Also execute the whole ledger again from genesis.")] = False,
    proof: Annotated[Path | None, typer.Option(help="Save the proof of an operator's fault here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look everything over: settings, files, keys, certificates, disk, ledger, vault, node, ports, peers, clock.

    Changes nothing. Ends with 1 when something fails; a warning alone ends with 0.
    """
    worst = dict.fromkeys(Level, 0)
    for finding in examiner.examine(data, WallClock(), deep=deep):
        worst[finding.level] += 1
        colour = _COLOURS[finding.level]
        emit(
            {"check": finding.check, "level": finding.level.value, "found": finding.found, "do": finding.do},
            as_json=as_json,
            text=f"[{colour}]{finding.level.value:<5}[/{colour}] {finding.check:<16} {plain(finding.found)}"
            + (f"\n{'':<23}[bold]->[/bold] {plain(finding.do)}" if finding.do else ""),
        )
    if proof is not None:
        _save_proof(data, proof)
    if not as_json:
        told = f"{worst[Level.FAIL]} failures, {worst[Level.WARN]} warnings, {worst[Level.OK]} in order."
        emit({}, as_json=False, text=told)
    if worst[Level.FAIL]:
        raise typer.Exit(REFUSED)


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
