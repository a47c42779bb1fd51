"""What a study ends with: its model with its lineage, the proof of both, the report (`study model|verify|report`)."""

from __future__ import annotations

import base64
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from commonward.apps import settings as node_settings
from commonward.apps.api.client import ControlClient, NodeRefused
from commonward.apps.cli import study_reading
from commonward.apps.cli.languages import Language
from commonward.apps.cli.output import REFUSED, AsJson, Data, emit, fail, save
from commonward.apps.cli.plain import plain, size
from commonward.apps.cli.study_shown import Which, full
from commonward.apps.studies.report import for_others, render
from commonward.apps.verify_model import LINEAGE_SUFFIX, MODEL_SUFFIX, judged

Out = Annotated[Path | None, typer.Option("--out", "-o", help="The file to write; without, one named after the study.")]
_SAID: Final = {
    True: "what this member knows itself",
    False: "NOT what this member made itself: `commonward study dispute`",
    None: "not held against anything here",
}


def add_to(studies: typer.Typer) -> None:
    studies.command("model")(model)
    studies.command("verify")(verify)
    studies.command("report")(report)
    study_reading.add_to(studies)


def model(data: Data, study: Which, out: Out = None, as_json: AsJson = False) -> None:
    """Write the last final model (safetensors), and beside it its lineage and the trust file to verify them by."""
    node = ControlClient(node_settings.load(data), timeout_s=600.0)
    wanted = full(node, study)
    found = node.get(f"/studies/{wanted}/result")
    path = out or Path(f"study-{wanted[:12]}{MODEL_SUFFIX}")
    if path.suffix != MODEL_SUFFIX:
        fail(f"--out: expected a name that ends with {MODEL_SUFFIX}, got {plain(str(path))}")
    files = {path: "model", path.with_suffix(LINEAGE_SUFFIX): "lineage", path.with_suffix(".trust"): "trust"}
    for file, name in files.items():
        save(file, base64.b64decode(found[name]))
    names = [str(each) for each in files]
    emit(
        {"study": wanted, "digest": found["digest"], "files": names},
        as_json=as_json,
        text=f"Wrote {', '.join(map(plain, names))}.\nModel {found['digest']}\n"
        f"Anyone verifies it offline: commonward verify {plain(str(path))} --trust {plain(names[2])}",
    )


def verify(
    data: Data,
    study: Which,
    replay: Annotated[
        bool, typer.Option("--replay", help="Also compute every round again, from the sealed updates still kept.")
    ] = False,
    lang: Language = "en",
    as_json: AsJson = False,
) -> None:
    """Hold this member's copy of a study's model against its lineage, and what closing the study committed to against
    what this member knows; with --replay, compute every round again.

    Exit 0: all of it holds. Exit 1: it does not, or a round cannot be computed again here any more.
    """
    node = ControlClient(node_settings.load(data), timeout_s=600.0)
    wanted = full(node, study)
    found = node.get(f"/studies/{wanted}/result")
    held = {name: base64.b64decode(found[name]) for name in ("model", "lineage", "trust")}
    said = judged(held["model"], held["lineage"], held["trust"], lang)
    rounds: list[dict[str, Any]] = node.post(f"/studies/{wanted}/replay", {}) if replay else []
    lines = [f"  {each.number} {plain(f'[{each.state}]')} {plain(each.text)}" for each in said.steps]
    for each in rounds:
        state = "the same" if each["same"] else "NOT THE SAME" if each["same"] is False else "not computed"
        lines.append(f"  round {each['round']}: {state}{': ' + plain(each['why']) if each['why'] else ''}")
    committed: dict[str, Any] = found["committed"]
    lines += [
        f"  {name} that closing it committed to: {_SAID[committed[name]]}" for name in ("report", "contributions")
    ]
    lines += [f"  {plain(committed['why'])}"] if committed["why"] else []
    lines += [f"  {plain(note)}" for note in said.notes]
    good = said.exit_code == 0 and all(each["same"] for each in rounds) and False not in committed.values()
    emit(
        {**said.to_json(), "study": wanted, "replayed": rounds, "committed": committed, "holds": good},
        as_json=as_json,
        text="\n".join([*lines, f"  => {plain(said.verdict)}"]),
    )
    if not good:
        raise typer.Exit(said.exit_code or REFUSED)


def report(
    data: Data,
    study: Which,
    out: Out = None,
    lang: Language = "en",
    others: Annotated[
        bool, typer.Option("--for-others", help="Leave out what this site alone knows: its rows, results and consents.")
    ] = False,
    alone: Annotated[
        bool,
        typer.Option("--alone", help="Also train on this site's rows alone, to show what it would have by itself."),
    ] = False,
    show: Annotated[bool, typer.Option("--open", help="Also open it in the browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the report of a study: one HTML page that needs nothing else. At a site, with what the site knows."""
    node = ControlClient(node_settings.load(data), timeout_s=600.0)
    wanted = full(node, study)
    found = node.get(f"/studies/{wanted}")
    path = out or Path(f"study-{wanted[:12]}.html")
    if found["enrolled"] and not others:
        with suppress(NodeRefused):  # the page of a site whose rows cannot be read just now has all the rest
            found["local"]["look"] = node.get(f"/studies/{wanted}/look")
    if alone and not others:
        found["local"]["alone"] = node.get(f"/studies/{wanted}/alone")
    page = render(for_others(found) if others else found, lang, found["now"]).encode()
    save(path, page)
    emit(
        {"study": wanted, "file": str(path), "bytes": len(page)},
        as_json=as_json,
        text=f"Wrote {plain(str(path))}, {size(len(page))}.",
    )
    if show:
        webbrowser.open(path.resolve().as_uri())
