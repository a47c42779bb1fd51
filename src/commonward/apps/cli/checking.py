"""`commonward verify`: evidence checked offline, by the program that an auditor may also run alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commonward.apps import verify as verifier
from commonward.apps.cli.languages import Language
from commonward.apps.cli.output import AsJson


def add_to(app: typer.Typer) -> None:
    app.command("verify")(verify)


def verify(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Evidence files; models (.safetensors), each with its .lineage beside it."
        ),
    ],
    trust: Annotated[
        Path | None, typer.Option(help="The trust file; get it from two members. Without, the one beside the evidence.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="The record, raw message or sealed bundle that the evidence is about.")
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="Another history: evidence, a trust file, or a checkpoint that a member's node showed."),
    ] = None,
    proof: Annotated[
        Path | None, typer.Option(help="Where to write the proof, if a key signed two roots for one size.")
    ] = None,
    tsa_certificate: Annotated[
        Path | None,
        typer.Option(help="Certificates (PEM) of the time-stamping authority that you believe, up to its root."),
    ] = None,
    lang: Language = "en",
    as_json: AsJson = False,
) -> None:
    """Check evidence offline, each step said. Ends with 0 if it convinces, 1 if it does not, 2 if it cannot be read."""
    arguments = [*map(str, files), "--lang", lang]
    if trust is not None:
        arguments += ["--trust", str(trust)]
    if record is not None:
        arguments += ["--record", str(record)]
    for other in against or []:
        arguments += ["--against", str(other)]
    if proof is not None:
        arguments += ["--proof", str(proof)]
    if tsa_certificate is not None:
        arguments += ["--tsa-certificate", str(tsa_certificate)]
    if as_json:
        arguments.append("--json")
    raise typer.Exit(verifier.main(arguments))
