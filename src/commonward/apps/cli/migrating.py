"""`commonward network migrate`: from one member's sequencer to the members' consensus, with the whole history."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from commonward.apps.cli.consortium import Directory
from commonward.apps.cli.groups import group
from commonward.apps.cli.output import REFUSED, AsJson, emit, err, fail
from commonward.apps.cli.plain import plain
from commonward.apps.migrating import CannotMigrate, migrate
from commonward.apps.switching import BEFORE
from commonward.records.trust import fingerprint_words


def add_to(app: typer.Typer) -> None:
    group(app, "network", "A consortium of many members, and how it stands.").command("migrate")(moved)


def moved(
    directory: Directory,
    weight: Annotated[
        list[str] | None,
        typer.Option(help="MEMBER=N, once for each validating weight that is to change; 0 follows without a vote."),
    ] = None,
    pilot: Annotated[
        bool, typer.Option("--pilot", help="Accept that one member alone, down or false, can stop the ledger.")
    ] = False,
    p2p_port: Annotated[
        int, typer.Option(help="The first of the ports for CometBFT, one a member; behind those in use without.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Move a solo ledger to CometBFT, with its history: all members' folders are here, and nothing runs.

    Cut short, it has changed nothing, or is finished by running it again. The old ledger stays beside the new.
    """
    weights = dict(_weight(text) for text in weight or ())
    progress = (lambda what: None) if as_json else (lambda what: err.print(f"{what} ...", markup=False))
    try:
        done = asyncio.run(migrate(directory, pilot=pilot, weights=weights, first_port=p2p_port, progress=progress))
    except CannotMigrate as why:
        fail(plain(str(why)), REFUSED)
    ledger = done.genesis.ledger_id
    emit(
        {
            "directory": directory,
            "before": done.before,
            "ledger": ledger,
            "size": done.size,
            "validators": list(done.validators),
            "pilot": done.genesis.pilot,
            "resumed": done.resumed,
        },
        as_json=as_json,
        text=f"{plain(done.genesis.name)!r} goes on under CometBFT, behind the {done.size:,} entries of its log. "
        f"Validators: {', '.join(done.validators)}.\n"
        f"Ledger before  {fingerprint_words(done.before)}\n"
        f"Ledger now     {fingerprint_words(ledger)}\n"
        f"The old ledger lies in {BEFORE}/ of each member's folder. Trust files that members give out from now on "
        f"cover both.\nStart it with: commonward up {plain(str(directory))}",
    )


def _weight(text: str) -> tuple[str, int]:
    member, _, number = text.partition("=")
    if not member or not number.isdigit():
        fail(f"--weight: expected MEMBER=N, got {plain(text)!r}")
    return member, int(number)
