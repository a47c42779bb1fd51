"""Photographs of eyes into the vault: take in, see what was refused, look, try again. Copies: `photograph_pairs`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from commonward.apps import settings as node_settings
from commonward.apps import staffing
from commonward.apps.cli import photograph_pairs
from commonward.apps.cli.groups import group
from commonward.apps.cli.intake import INTERRUPTED
from commonward.apps.cli.output import REFUSED, AsJson, Data, emit, err, fail
from commonward.apps.cli.plain import plain, when
from commonward.apps.errors import FORESEEN
from commonward.apps.intake import Intake
from commonward.apps.photographs.paper import KIND, Asked
from commonward.apps.photographs.told import Staff, Told
from commonward.apps.settings import Settings
from commonward.apps.wiring import WallClock
from commonward.workflows.ingest import DeadLetter
from commonward.workflows.wire import MessageError

_NAMED = 10
_TEXT_HELP = "The number of a member of staff who looked at them and found no writing. Kept in the member's log."

Looked = Annotated[str, typer.Option("--text-looked-for", metavar="STAFF", help=_TEXT_HELP)]
Letter = Annotated[str, typer.Argument(metavar="ID", help="Its id, or the first digits of it.")]


def add_to(app: typer.Typer) -> None:
    photographs = group(app, "photographs", "Photographs of eyes: take in, see what was refused and why, try again.")
    photographs.command("take")(take)
    photographs.command("refused")(refused)
    photographs.command("show")(show)
    photographs.command("replay")(replay)
    photograph_pairs.add_to(photographs)


@contextmanager
def _opened(data: Path) -> Iterator[tuple[Settings, Intake]]:
    try:
        import pydicom  # noqa: F401  # with Pillow; late: they come with an extra, and cost every command a second
        from PIL import Image  # noqa: F401
    except ImportError as why:
        fail(f"{why}: photographs need requirements/learning.txt installed beside this node (docs/operations.md)")
    try:
        settings = node_settings.load(data)
        with Intake(settings) as intake:
            yield settings, intake
    except (*FORESEEN, ConnectionError) as why:
        fail(plain(str(why)))


def _staff(settings: Settings, number: str) -> Staff | None:
    """The person of that number, whose day certificate this member issued and is valid now."""
    if not number:
        return None
    now = WallClock().now()
    for each in staffing.held(settings, now):
        if each.path.stem == number:
            if each.staff is None or not each.staff.starts <= now < each.staff.ends:
                fail(f"--text-looked-for: the certificate of {plain(number)} is not valid now: {plain(each.why)}")
            return Staff(number, each.staff.revocation)
    fail(f"--text-looked-for: nobody of number {plain(number)} has a certificate here; `commonward staff issue`")


def take(
    data: Data,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="A list (CSV: file, patient, label, and perhaps eye, device, taken), a folder of class folders, or a "
            "folder of DICOM files.",
        ),
    ],
    system: Annotated[
        str, typer.Option(help="The source system whose keys of patients these are, as for `commonward ingest`.")
    ],
    text_looked_for: Looked = "",
    as_json: AsJson = False,
) -> None:
    """Take in photographs: read within limits, searched for writing, written anew without metadata, sealed and stored.

    Nothing stops at a bad one; `commonward photographs refused` lists those. Safe to repeat. Ends with 1 when something
    was not taken in.
    """
    told = Told()
    with _opened(data) as (settings, intake):
        from commonward.apps.photographs.finding import find
        from commonward.apps.photographs.taking import Taking

        staff = _staff(settings, text_looked_for)
        found = [each for path in paths for each in find(path)]
        taking = Taking(intake, system, staff)
        with _progress(len(found), quiet=as_json) as show_progress:
            try:
                taking.run(found, told, show_progress)
            except KeyboardInterrupt:
                stays = f"{told.report.records:,} new records before that stay"
                emit(
                    {"interrupted": True, **_fields(told)},
                    as_json=as_json,
                    text=f"Stopped. {stays}; run the same command again for the rest.",
                )
                raise typer.Exit(INTERRUPTED) from None
    _say(told, as_json)


@contextmanager
def _progress(count: int, *, quiet: bool) -> Iterator[Callable[[Told], None]]:
    if quiet or not err.is_terminal:
        yield lambda told: None
        return
    with Progress(TextColumn("Reading"), BarColumn(), MofNCompleteColumn(), console=err, transient=True) as progress:
        task = progress.add_task("Reading", total=max(count, 1))
        yield lambda told: progress.update(task, completed=told.seen)


def _say(told: Told, as_json: bool) -> None:
    emit(_fields(told), as_json=as_json, text=_summary(told))
    if told.refused or told.unread:
        raise typer.Exit(REFUSED)


def _fields(told: Told) -> dict[str, object]:
    report = told.report
    return {
        "seen": told.seen,
        "taken": told.taken,
        "new": report.records,
        "already_there": report.duplicates,
        "corrections": report.corrections,
        "refused": dict(sorted(told.refused.items())),
        "unread": [{"why": why, "what": what} for why, what in told.unread],
        "poor": [{"name": name, "why": why} for name, why in told.poor],
        "looked": told.looked,
        "classes": told.classes,
    }


def _summary(told: Told) -> str:
    report = told.report
    classes = "; ".join(f"{label} {count}" for label, count in told.classes.items())
    lines = [f"{told.taken:>7,}  photographs taken in, of {told.seen:,}"]
    lines += [f"{count:>7,}  {what}" for count, what in (
        (report.records, "new records: pictures, diagnoses, patients who had none"),
        (report.duplicates, "records were there already, left alone"),
        (report.corrections, "corrections: a diagnosis or picture that was here in another version"),
        (len(told.looked), "taken though writing was suspected: logged with who looked"),
        (len(told.poor), "taken, but too poor to judge: learners leave these out"),
    ) if count]  # fmt: skip
    lines += [f"         {plain(name)}: {plain(why)}" for name, why in told.poor[:_NAMED]]
    if classes:
        lines.append(f"         patients: {plain(classes)}")
    lines += [f"[yellow]{count:>7,}  refused: {why}[/yellow]" for why, count in sorted(told.refused.items())]
    if told.refused:
        lines.append(
            "         `commonward photographs refused` says which and why; `show ID --save FILE` lets you look"
        )
    if told.unread:
        lines.append(f"[yellow]{len(told.unread):>7,}  never opened[/yellow]: mend the list or folder and run it again")
        lines += [f"         {plain(what)}" for _, what in told.unread[:_NAMED]]
    return "\n".join(lines)


# ----------------------------------------------------------------------------------------------------- what was refused


def _letters(intake: Intake) -> Iterator[tuple[bytes, DeadLetter]]:
    return ((key, letter) for key, letter in intake.dead_letters() if letter.kind == KIND)


def _chosen(intake: Intake, text: str) -> tuple[bytes, DeadLetter]:
    found = [(key, letter) for key, letter in _letters(intake) if text and key.hex().startswith(text.lower())]
    if len(found) != 1:
        fail(
            f"{len(found)} refused photographs have an id that starts with {plain(text)!r}; "
            "`commonward photographs refused` shows them"
        )
    return found[0]


def refused(data: Data, as_json: AsJson = False) -> None:
    """What was refused: which, why, since when, how often it was tried."""
    with _opened(data) as (_, intake):
        count = 0
        for key, letter in _letters(intake):
            count += 1
            why = plain(letter.why)
            emit(
                {"id": key.hex(), "where": letter.where, "system": letter.system, "why": letter.why, "at": letter.at,
                 "attempts": letter.attempts},
                as_json=as_json,
                text=f"[bold]{key.hex()[:12]}[/bold]  {when(letter.at)}  {plain(letter.where)}\n    {why}",
            )  # fmt: skip
        if not as_json:
            emit({}, as_json=False, text=f"{count} refused photographs." if count else "No photograph was refused.")


def show(
    data: Data,
    letter_id: Letter,
    save: Annotated[
        Path | None, typer.Option(help="Write the file, as it came, into this new file (0600), to be looked at.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """One refused photograph, and its file to look at. It may hold names: delete what you saved once you looked."""
    with _opened(data) as (_, intake):
        key, letter = _chosen(intake, letter_id)
    asked = _asked(letter)
    if save is not None:
        _save(save, asked)
    emit(
        {"id": key.hex(), "where": letter.where, "system": letter.system, "why": letter.why, "form": asked.form,
         "patient": asked.patient, "label": asked.label, "bytes": len(asked.data) + asked.left_out,
         "attempts": letter.attempts},
        as_json=as_json,
        text=f"[bold]{key.hex()}[/bold]\nwhere     {plain(letter.where)}\nsystem    {plain(letter.system)}\n"
        f"patient   {plain(asked.patient or 'as the file says')}\nclass     {plain(asked.label or 'not said')}\n"
        f"why       {plain(letter.why)}\nlast try  {when(letter.at)}\nattempts  {letter.attempts}\n"
        f"bytes     {len(asked.data) + asked.left_out:,}",
    )  # fmt: skip


def _asked(letter: DeadLetter) -> Asked:
    try:
        return Asked.parse(letter.raw)
    except MessageError as why:
        fail(f"{plain(letter.where)}: {plain(str(why))}")


def _save(path: Path, asked: Asked) -> None:
    if asked.left_out:
        fail(f"its {asked.left_out:,} bytes were too many to keep; look at the file where it came from")
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(asked.data)
    except FileExistsError:
        fail(f"{path} exists; give the name of a new file")
    except OSError as cause:
        fail(f"{path}: cannot be written ({cause.strerror})")


def replay(
    data: Data,
    letter_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...]", help="Their ids, or the first digits of them.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Try every refused photograph again.")] = False,
    text_looked_for: Looked = "",
    as_json: AsJson = False,
) -> None:
    """Try refused photographs again: after the cause is mended, or after a person looked for writing and found none.

    Who looked is named for single photographs, not for all: each must have been seen. One whose own tag says that there
    is annotation stays refused; mend the tag. Ends with 1 when some stay.
    """
    if bool(letter_ids) == everything:
        fail("expected ids, or --all; `commonward photographs refused` shows the ids")
    if everything and text_looked_for:
        fail("--text-looked-for: expected the ids of the photographs that were looked at, not --all")
    with _opened(data) as (settings, intake):
        from commonward.apps.photographs.taking import Taking

        staff = _staff(settings, text_looked_for)
        chosen = [_chosen(intake, each)[1] for each in letter_ids or ()] or [each for _, each in _letters(intake)]
        told = Told()
        for system in sorted({each.system for each in chosen}):
            of_it = [(each.where, _asked(each)) for each in chosen if each.system == system]
            Taking(intake, system, staff).again(of_it, told)
    _say(told, as_json)
