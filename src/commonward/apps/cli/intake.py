"""Taking records in: files from a member's own systems, and the dead letters of what could not be read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from commonward.apps import settings as node_settings
from commonward.apps.cli.output import REFUSED, AsJson, Data, emit, err, fail
from commonward.apps.cli.plain import plain, plain_bytes, size, when
from commonward.apps.errors import FORESEEN
from commonward.apps.intake import Form, Found, Intake, NothingToTake, Taken, find
from commonward.workflows.ingest import DeadLetter, Report

INTERRUPTED = 130
"""What shells expect of a program that Ctrl-C ended."""

_SHOWN = 4096
_NAMED = 10

_dead_letters = typer.Typer(help="What could not be read, with where and why: look, mend the cause, replay.")


def add_to(app: typer.Typer) -> None:
    app.command("ingest")(ingest)
    app.add_typer(_dead_letters, name="dead-letters", no_args_is_help=True)


@contextmanager
def _opened(data: Path) -> Iterator[Intake]:
    try:
        with Intake(node_settings.load(data)) as intake:
            yield intake
    except FORESEEN as why:
        fail(plain(str(why)))


def ingest(
    data: Data,
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Files or directories: FHIR R4 JSON, NDJSON, HL7 v2.")
    ],
    system: Annotated[
        str, typer.Option(help="The source system they come from, such as his or lab; without, the word for the form.")
    ] = "",
    form: Annotated[Form | None, typer.Option(help="How they are written, where the name does not say it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take in records and messages: validate, seal and store. The node anchors what is new at its next tick.

    Safe to repeat: what is there already is counted and left alone. Ends with 1 when something was not taken in.
    """
    try:
        found = find(paths, system=system, form=form)
    except NothingToTake as why:
        fail(plain(str(why)))
    started = time.monotonic()
    taken = Taken()
    with _opened(data) as intake, _progress(found, quiet=as_json) as show:
        try:
            intake.run(found, taken, show)
        except KeyboardInterrupt:
            emit(
                {"interrupted": True, **_fields(taken, found, time.monotonic() - started)},
                as_json=as_json,
                text=f"Stopped. {_stored(taken.report)} before that stay; run the same command again for the rest.",
            )
            raise typer.Exit(INTERRUPTED) from None
        except FORESEEN as why:
            fail(
                f"{plain(str(why))}\n{_stored(taken.report)} before that stay; run the same command again for the rest."
            )
    emit(
        _fields(taken, found, time.monotonic() - started),
        as_json=as_json,
        text=_summary(taken, found, time.monotonic() - started),
    )
    if taken.report.dead or taken.unreadable:
        raise typer.Exit(REFUSED)


@contextmanager
def _progress(found: Found, *, quiet: bool) -> Iterator[Callable[[Taken], None]]:
    if quiet or not err.is_terminal:
        yield lambda taken: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("Taking in", total=max(found.size, 1))
        yield lambda taken: progress.update(
            task, completed=taken.bytes, description=f"Taking in: {taken.report.records:,} new"
        )


def _fields(taken: Taken, found: Found, seconds: float) -> dict[str, object]:
    report = taken.report
    return {
        "files": taken.files,
        "bytes": taken.bytes,
        "new": report.records,
        "messages": report.sources,
        "already_there": report.duplicates,
        "corrections": report.corrections,
        "kept_aside": report.kept_aside,
        "flagged": report.flagged,
        "merged": report.merged,
        "unmerged": report.unmerged,
        "noted": report.noted,
        "dead_letters": report.dead,
        "skipped_files": found.skipped,
        "unreadable": [{"file": name, "why": why} for name, why in taken.unreadable],
        "seconds": round(seconds, 3),
    }


def _stored(report: Report) -> str:
    messages = f" and {report.sources:,} source messages" if report.sources else ""
    return f"{report.records:,} new records{messages} that were stored"


def _summary(taken: Taken, found: Found, seconds: float) -> str:
    report = taken.report
    lines = [f"Read {taken.files:,} files, {size(taken.bytes)}, in {seconds:.1f} s."]
    told: list[tuple[int, str]] = [
        (report.records, "new records"),
        (report.sources, "source messages kept as they came"),
        (report.duplicates, "there already, left alone"),
        (report.corrections, "corrections: the older version gives way, and who received it will be told"),
        (report.kept_aside, "late preliminary results, kept aside and not shown"),
        (report.flagged, "messages under a control id that was used before for other content: kept, and flagged"),
        (report.merged, "pairs of patient names joined, as a message says: a link that can be taken back"),
        (report.unmerged, "pairs of patient names taken apart, as a message says"),
        (report.noted, "statements on identity for a person to look at: see `commonward uses`"),
        (found.skipped, "files left alone: neither FHIR nor HL7 v2 by name; name one with --form to take it in"),
    ]
    lines += [f"{count:>9,}  {what}" for count, what in told if count]
    if not (report.records or report.sources or report.duplicates or report.dead or taken.unreadable):
        lines.append("Nothing was found in them.")
    if report.dead:
        lines.append(
            f"[yellow]{report.dead:>9,}  dead letters[/yellow]: `commonward dead-letters list` says where and why"
        )
    if taken.unreadable:
        lines.append(
            f"[yellow]{len(taken.unreadable):>9,}  files could not be read[/yellow]: mend that and run it again"
        )
        lines += [f"           {plain(name)}: {plain(why)}" for name, why in taken.unreadable[:_NAMED]]
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------------ dead letters


def _letter(key: bytes, letter: DeadLetter) -> dict[str, object]:
    return {
        "id": key.hex(),
        "system": letter.system,
        "kind": letter.kind,
        "where": letter.where,
        "why": letter.why,
        "at": letter.at,
        "attempts": letter.attempts,
        "bytes": len(letter.raw),
    }


def _chosen(intake: Intake, text: str) -> tuple[bytes, DeadLetter]:
    """The dead letter whose id starts so."""
    wanted = text.lower()
    found = [(key, letter) for key, letter in intake.dead_letters() if wanted and key.hex().startswith(wanted)]
    if not found:
        fail(f"no dead letter has an id that starts with {plain(text)!r}; `commonward dead-letters list` shows them")
    if len(found) > 1:
        fail(f"{len(found)} dead letters have an id that starts with {plain(text)!r}; give more of it")
    return found[0]


@_dead_letters.command("list")
def list_(data: Data, as_json: AsJson = False) -> None:
    """What could not be taken in: where it was, why, when, and how often it was tried."""
    with _opened(data) as intake:
        count = 0
        for key, letter in intake.dead_letters():
            count += 1
            emit(
                _letter(key, letter),
                as_json=as_json,
                text=f"[bold]{key.hex()[:12]}[/bold]  {when(letter.at)}  {letter.attempts} attempt"
                f"{'s' if letter.attempts != 1 else ''}  {plain(letter.where)} ({plain(letter.system)})\n"
                f"    {plain(letter.why)}",
            )
        if not as_json:
            emit(
                {},
                as_json=False,
                text=f"{count} dead letters. Look at one with `dead-letters show ID`; when its cause is mended, "
                "`dead-letters replay ID`."
                if count
                else "No dead letters: everything that came was taken in.",
            )


@_dead_letters.command()
def show(
    data: Data,
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the first digits of it.")],
    save: Annotated[Path | None, typer.Option(help="Write its bytes, as they came, into this new file (0600).")] = None,
    as_json: AsJson = False,
) -> None:
    """One dead letter, its bytes shown so that they can do nothing to the terminal."""
    with _opened(data) as intake:
        key, letter = _chosen(intake, letter_id)
    if save is not None:
        _save(save, letter.raw)
    rest = len(letter.raw) - _SHOWN
    emit(
        {**_letter(key, letter), "raw": letter.raw},
        as_json=as_json,
        text=f"[bold]{key.hex()}[/bold]\nwhere     {plain(letter.where)}\nsystem    {plain(letter.system)}\n"
        f"form      {plain(letter.kind)}\nwhy       {plain(letter.why)}\nlast try  {when(letter.at)}\n"
        f"attempts  {letter.attempts}\nbytes     {len(letter.raw):,}\n\n{plain_bytes(letter.raw, _SHOWN)}"
        + (f"\n... and {rest:,} bytes more; --save FILE writes all" if rest > 0 else ""),
    )


def _save(path: Path, raw: bytes) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(raw)
    except FileExistsError:
        fail(f"{path} exists; give the name of a new file")
    except OSError as cause:
        fail(f"{path}: cannot be written ({cause.strerror})")


@_dead_letters.command()
def replay(
    data: Data,
    letter_id: Annotated[str, typer.Argument(metavar="[ID]", help="Its id, or the first digits of it.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Try every dead letter again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Try again: what can be taken in now leaves the dead letters. Ends with 1 when some stay."""
    if bool(letter_id) == everything:
        fail("expected the ID of one dead letter, or --all; `commonward dead-letters list` shows the ids")
    with _opened(data) as intake:
        report = intake.replay(None if everything else [_chosen(intake, letter_id)[0]])
        left = intake.ingest.dead_letters.count()
    emit(
        {
            "new": report.records,
            "messages": report.sources,
            "already_there": report.duplicates,
            "still_dead": report.dead,
            "left": left,
        },
        as_json=as_json,
        text=f"Taken in now: {report.records:,} records and {report.sources:,} source messages"
        + (f" ({report.duplicates:,} were there already)" if report.duplicates else "")
        + f". Still unreadable: {report.dead:,}. Dead letters left: {left:,}.",
    )
    if report.dead:
        raise typer.Exit(REFUSED)


@_dead_letters.command()
def discard(
    data: Data,
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the first digits of it.")],
    as_json: AsJson = False,
) -> None:
    """Throw one dead letter away, overwritten on disk: for what never was a record, or came again whole."""
    with _opened(data) as intake:
        key, letter = _chosen(intake, letter_id)
        intake.ingest.dead_letters.remove(key)
    emit(
        {"discarded": key.hex(), "where": letter.where},
        as_json=as_json,
        text=f"Discarded {key.hex()[:12]} ({plain(letter.where)}).",
    )
