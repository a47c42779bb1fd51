"""`commonward backup` and `commonward restore`: one member in one file, and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn

from commonward.apps import backup as backing
from commonward.apps import restoring
from commonward.apps import settings as node_settings
from commonward.apps.backup import BackupRefused
from commonward.apps.cli.output import AsJson, Data, emit, err, fail
from commonward.apps.cli.plain import plain, size, when
from commonward.apps.wiring import WallClock


def add_to(app: typer.Typer) -> None:
    app.command("backup")(backup)
    app.command("restore")(restore)


@contextmanager
def _telling(words: str, *, quiet: bool) -> Iterator[backing.Progress]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as progress:
        task = progress.add_task(words)
        yield lambda what: progress.update(task, description=f"{words}: {what}")


def _fields(manifest: backing.Manifest) -> dict[str, object]:
    return {
        "member": manifest.member,
        "ledger": manifest.ledger,
        "made": manifest.made,
        "height": manifest.height,
        "validator": manifest.validator,
        "files": len(manifest.files),
        "bytes": sum(length for length, _ in manifest.files.values()),
        "passphrase": backing.PASSPHRASE in manifest.files,
    }


def backup(
    data: Data,
    to: Annotated[Path, typer.Option(help="The new file; never an old one.")],
    with_passphrase: Annotated[
        bool, typer.Option("--with-passphrase", help="Put the passphrase in: who has the file then has the member.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy a member into one file: keys, CA, settings, vault, blocks. Its node may go on running."""
    settings = node_settings.load(data)
    try:
        with _telling("Backing up", quiet=as_json) as progress:
            made = backing.back_up(settings, to, WallClock().now(), with_passphrase=with_passphrase, progress=progress)
    except BackupRefused as why:
        fail(plain(str(why)))
    fields = _fields(made)
    words = (
        "The passphrase is in it: who has the file has the member."
        if with_passphrase
        else "The passphrase is not in it: keep that apart. Without it the keys, and so the vault, stay shut."
    )
    emit(
        {"file": to, **fields},
        as_json=as_json,
        text=f"Backed up {plain(made.member)} into {plain(str(to))}: {fields['files']} files, "
        f"{size(float(str(fields['bytes'])))}, {_blocks(made)}.\n{words}",
    )


def restore(
    file: Annotated[Path, typer.Argument(help="What `commonward backup` wrote.")],
    data: Data,
    replace: Annotated[bool, typer.Option("--replace", help="Set aside what is at DATA, under another name.")] = False,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="The words that open the keys, in a file of mode 0600.")
    ] = None,
    validator_state: Annotated[
        Path | None, typer.Option(help="priv_validator_state.json from the dead machine's disk, for a validator.")
    ] = None,
    network_height: Annotated[
        int | None,
        typer.Option(min=0, help="The height that two other members show now: this validator votes above the next."),
    ] = None,
    check: Annotated[bool, typer.Option("--look", help="Say what the backup holds, and bring nothing back.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a member back from its backup, whole or not at all. The old machine must be off for good."""
    try:
        if check:
            found = restoring.look(file)
            emit(_fields(found), as_json=as_json, text=_said(found))
            return
        with _telling("Restoring", quiet=as_json) as progress:
            done = restoring.restore(
                file,
                data,
                WallClock().now(),
                replace=replace,
                passphrase_file=passphrase_file,
                votes_file=validator_state,
                network_height=network_height,
                progress=progress,
            )
    except BackupRefused as why:
        fail(plain(str(why)))
    lines = [f"Brought {plain(done.manifest.member)} back to {plain(str(done.data))}. {_said(done.manifest)}"]
    if done.aside is not None:
        lines.append(f"What was there is now at {plain(str(done.aside))}.")
    if done.votes_after is not None:
        lines.append(f"As a validator it votes at heights above {done.votes_after:,} only.")
    if not done.has_passphrase:
        lines.append(f"Put its passphrase into {plain(str(done.data / backing.PASSPHRASE))} (mode 0600).")
    lines.append(
        "What came in after the backup is missing: take the source messages in again. What was erased after it is "
        "back: erase it again before the node starts.\n"
        f"Look it over with: commonward doctor --data {plain(str(done.data))}"
    )
    emit(
        {
            "data": done.data,
            "aside": done.aside,
            "votes_after": done.votes_after,
            "has_passphrase": done.has_passphrase,
            **_fields(done.manifest),
        },
        as_json=as_json,
        text="\n".join(lines),
    )


def _blocks(manifest: backing.Manifest) -> str:
    return f"blocks up to {manifest.height:,}" if manifest.height else "no blocks: those come from the other members"


def _said(manifest: backing.Manifest) -> str:
    validator = "" if manifest.validator is None else f", a validator that had voted at {manifest.validator:,}"
    return (
        f"Backup of {plain(manifest.member)}{validator}, made {when(manifest.made)} by commonward "
        f"{plain(manifest.program)}: {len(manifest.files)} files, {_blocks(manifest)}; "
        f"ledger {plain(manifest.ledger[:16])}."
    )
