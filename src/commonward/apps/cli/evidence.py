"""Evidence on the command line: one small file that convinces offline, and the trust file that it rests on."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from commonward.apps import settings as node_settings
from commonward.apps.api.client import ControlClient
from commonward.apps.cli.output import AsJson, Data, emit, fail
from commonward.apps.cli.plain import plain, size, when
from commonward.records.misbehaviour import ProofUnreadable, parse_proofs
from commonward.records.trust import fingerprint_words, load_trust

SUFFIX, TRUST = ".cwe", "consortium.trust"

_evidence = typer.Typer(
    help="Files that show a third party, offline, what stands on the ledger and what it commits to."
)

Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="The file to write; without, one named after what it shows, here.")
]
Handle = Annotated[str, typer.Option(help="The patient's handle, in hex digits.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(_evidence, name="evidence", no_args_is_help=True)


@_evidence.command()
def record(
    data: Data,
    record: Annotated[str, typer.Argument(metavar="ID", help="The record's id, as `commonward holdings` shows it.")],
    out: Out = None,
    closed: Annotated[
        bool, typer.Option("--closed", help="Without the record's bytes: `verify --record FILE` then needs them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """That one record here is unchanged since it was anchored."""
    found = ControlClient(node_settings.load(data)).get(f"/evidence/records/{record}", whole=int(not closed))
    what = (
        "It holds the record itself: give it to whom may read that." if not closed else "It does not hold the record."
    )
    _write(found, out or Path(f"record-{record[:16]}{SUFFIX}"), what, as_json=as_json)


@_evidence.command()
def release(
    data: Data,
    handle: Handle,
    number: Annotated[int, typer.Argument(metavar="N", help="The mark's number, as `commonward releases` shows it.")],
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """That a release was marked before it left: who asked, in which role, under which consent, and what was decided."""
    found = ControlClient(node_settings.load(data)).get(f"/evidence/releases/{handle}/{number}")
    what = "It names the requester's role and staff number and the consent, and holds no record."
    _write(found, out or Path(f"release-{handle[:8]}-{number}{SUFFIX}"), what, as_json=as_json)


@_evidence.command()
def consent(
    data: Data,
    handle: Handle,
    consent: Annotated[str, typer.Argument(metavar="ID", help="The consent's id.")],
    out: Out = None,
    closed: Annotated[bool, typer.Option("--closed", help="Without the rules that were opened to us.")] = False,
    as_json: AsJson = False,
) -> None:
    """That a patient gave a consent by their own key, and whether it is open now."""
    found = ControlClient(node_settings.load(data)).get(f"/evidence/consents/{handle}/{consent}", whole=int(not closed))
    what = (
        "It shows no rule."
        if closed
        else "It shows the rules that were opened to us: they say what the patient denies."
    )
    _write(found, out or Path(f"consent-{consent[:16]}{SUFFIX}"), what, as_json=as_json)


@_evidence.command()
def trust(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path(TRUST),
    as_json: AsJson = False,
) -> None:
    """The trust file alone: genesis, and every change since of who cosigns. Get it from two members and compare."""
    held = base64.b64decode(ControlClient(node_settings.load(data)).get("/evidence/trust")["trust"])
    _save(out, held)
    believed = load_trust(held)
    emit(
        {"trust": out, "fingerprint": believed.fingerprint, "genesis": believed.ledger_id},
        as_json=as_json,
        text=f"Wrote {plain(str(out))}, {size(len(held))}.\nGenesis     {fingerprint_words(believed.ledger_id)}\n"
        f"Trust file  {fingerprint_words(believed.fingerprint)}\nCompare both with what another member gives.",
    )


@_evidence.command()
def stamps(data: Data, as_json: AsJson = False) -> None:
    """How time-stamping stands: how many tokens are kept, the last one, and why there is none."""
    found = ControlClient(node_settings.load(data)).get("/evidence/stamps")
    if found["tokens"]:
        last = f"The last is by {plain(found['authority'])}: the history of {found['size']} entries stood before "
        last += f"{when(found['before'])}."
    else:
        last = "None yet."
    lines = [f"{found['tokens']} time stamps are kept. {last}"]
    if not found["on"]:
        lines.append("No time-stamping authority is set: see `tsa_url` in node.toml.")
    elif found["trouble"]:
        lines.append(f"The last try gave none: {plain(found['trouble'])}. It is tried again by itself.")
    emit(found, as_json=as_json, text="\n".join(lines))


@_evidence.command()
def accuse(
    data: Data,
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="What `commonward verify --proof` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Put to the ledger that a key signed two roots for one size: its member loses its weight."""
    try:
        shown = proof.read_bytes()
        parse_proofs(shown)
    except OSError as cause:
        fail(f"{plain(str(proof))}: cannot be read ({cause.strerror})")
    except ProofUnreadable as cause:
        fail(f"{plain(str(proof))}: {plain(str(cause))}")
    done = ControlClient(node_settings.load(data)).post("/evidence/accusations", {"proof": shown.decode()})
    accused = done["accused"]
    said = (
        f"{plain(each['member'])} signed two roots with key {each['key'][:16]}: entry {each['index']}"
        for each in accused
    )
    emit(done, as_json=as_json, text="\n".join([*said, "Their members have no weight from here on."]))


def _write(found: dict[str, Any], path: Path, what: str, *, as_json: bool) -> None:
    evidence, held = base64.b64decode(found["evidence"]), base64.b64decode(found["trust"])
    beside = path.parent / TRUST
    _save(path, evidence)
    _save(beside, held)
    emit(
        {"evidence": path, "bytes": len(evidence), "trust": beside},
        as_json=as_json,
        text=f"Wrote {plain(str(path))}, {size(len(evidence))}. {what}\n"
        f"Wrote {plain(str(beside))}, which says whose signatures count: who checks should get it from two members.\n"
        f"Anyone checks it offline with: commonward verify {plain(str(path))} --trust {plain(str(beside))}",
    )


def _save(path: Path, data: bytes) -> None:
    """Whole or not at all, and for this user's eyes: a record may be inside."""
    draft = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(data)
        draft.replace(path)
    except OSError as cause:
        fail(f"{plain(str(path))}: cannot be written ({cause.strerror})")
