"""Photographs held to be copies of each other: which, both to look at, and that they are of two patients after all."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any

import typer

from commonward.apps import settings as node_settings
from commonward.apps.api.client import ControlClient
from commonward.apps.cli.output import AsJson, Data, emit, fail, save
from commonward.apps.cli.plain import plain, when
from commonward.apps.cli.study_shown import Which, full, refused

Pair = Annotated[str, typer.Argument(metavar="PAIR", help="The pair's id, or the first digits of it.")]


def add_to(photographs: typer.Typer) -> None:
    photographs.command("copies")(copies)
    photographs.command("distinct")(distinct)


def copies(
    data: Data,
    study: Which,
    pair: Annotated[
        str | None, typer.Argument(metavar="[PAIR]", help="One pair, by its id or the first digits of it.")
    ] = None,
    save_to: Annotated[
        Path | None,
        typer.Option("--save", metavar="FOLDER", help="Write both pictures of the pair into this new folder (0600)."),
    ] = None,
    staff: Annotated[str, typer.Option(help="The number of who looks at them. Kept in the member's log.")] = "",
    as_json: AsJson = False,
) -> None:
    """Photographs in a study's cohort here that are the same, or nearly, under two patients; one pair to look at.

    The pictures are of patients: delete the folder once you looked.
    """
    if save_to is not None and (pair is None or not staff):
        fail("--save: expected the id of one pair, and --staff with the number of who looks at it")
    node = ControlClient(node_settings.load(data), timeout_s=600.0)
    wanted = full(node, study)
    found = node.get(f"/studies/{wanted}/copies")
    if pair is not None:
        found = [_one(found, pair)]
    if save_to is not None:
        _write(save_to, node.post(f"/studies/{wanted}/copies/{found[0]['pair']}/pictures", {"staff": staff}))
    for each in found:
        emit(each, as_json=as_json, text=_told(each))
    if not as_json:
        many = "1 pair." if len(found) == 1 else f"{len(found)} pairs."
        emit({}, as_json=False, text=many if found else "No photograph here is held to be a copy of another.")


def distinct(
    data: Data,
    study: Which,
    pair: Pair,
    looked: Annotated[
        str,
        typer.Option(metavar="STAFF", help="The number of a member of staff who looked at both. Kept in the log."),
    ],
    as_json: AsJson = False,
) -> None:
    """Say that two photographs held to be near copies are of two patients, after a person looked at both.

    For one pair at a time. The very same picture under two patients stays refused whoever looked: correct whose it is.
    """
    node = ControlClient(node_settings.load(data), timeout_s=600.0)
    wanted = full(node, study)
    one = _one(node.get(f"/studies/{wanted}/copies"), pair)
    done = node.post(f"/studies/{wanted}/copies/{one['pair']}/distinct", {"staff": looked})
    emit(
        done,
        as_json=as_json,
        text=f"Kept in this member's log: {plain(done['distinct']['who'])} looked at pair {done['pair'][:12]} and "
        "found two patients.\nThe study goes on by itself where nothing else holds this site back.",
    )


def _one(found: list[dict[str, Any]], pair: str) -> dict[str, Any]:
    chosen = [each for each in found if pair and each["pair"].startswith(pair.lower())]
    if len(chosen) != 1:
        refused(
            f"{len(chosen)} pairs have an id that starts with {plain(pair)!r}; `commonward photographs copies` lists "
            "them"
        )
    return chosen[0]


def _write(folder: Path, found: dict[str, Any]) -> None:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        fail(f"{plain(str(folder))} exists; give the name of a new folder")
    except OSError as cause:
        fail(f"cannot make {plain(str(folder))}: {cause.strerror}")
    for name, held in zip(("first", "second"), found["pictures"], strict=True):
        picture = base64.b64decode(held)
        suffix = "png" if picture.startswith(b"\x89PNG") else "jpg"
        save(folder / f"{name}.{suffix}", picture)


def _told(each: dict[str, Any]) -> str:
    alike = "the same picture" if each["certain"] else f"nearly the same: {each['bits']} of 256 bits differ"
    lines = [
        f"[bold]{each['pair'][:12]}[/bold]  patients {plain(each['first'])} and {plain(each['second'])}: {alike}",
    ]
    known = each["distinct"]
    if known is not None:
        lines.append(f"    of two patients, as {plain(known['who'])} found who looked at both, {when(known['at'])}")
    elif each["certain"]:
        lines.append("    correct whose it is, join the two names of one person, or withdraw the one")
    return "\n".join(lines)
