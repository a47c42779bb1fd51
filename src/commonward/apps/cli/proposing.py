"""Putting changes to the vote (`governance propose ...`)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from commonward.apps import settings as node_settings
from commonward.apps.api.client import ControlClient
from commonward.apps.cli.output import AsJson, Data, emit, fail
from commonward.apps.cli.plain import plain
from commonward.ledger.ids import MemberKind
from commonward.ledger.members import ChangeKind
from commonward.ledger.parameters import Parameter

propose = typer.Typer(help="Put a change to the vote. It takes effect within the vote that completes its majority.")

Grounds = Annotated[str, typer.Option(help="Why, in words. Kept here; the ledger shows a commitment.")]
Days = Annotated[float, typer.Option(help="How long the vote is open.", min=0.0001)]
Whose = Annotated[str, typer.Argument(help="The member's id.")]
KindOfChange = Annotated[str, typer.Argument(help=f"One of {', '.join(each.name.lower() for each in ChangeKind)}.")]


@propose.command()
def admit(
    data: Data,
    application: Annotated[Path, typer.Argument(help="The file that the new member's `member apply` wrote.")],
    grounds: Grounds,
    days: Days = 7,
    as_json: AsJson = False,
) -> None:
    """Admit a new member, with the keys in its application."""
    said = base64.b64encode(_bytes(application)).decode()
    _put(data, {"kind": "admit", "application": said}, grounds, days, as_json=as_json)


@propose.command()
def suspend(data: Data, member: Whose, grounds: Grounds, days: Days = 7, as_json: AsJson = False) -> None:
    """Suspend a member: its transactions are refused and its weight is out, until it is resumed."""
    _put(data, {"kind": "suspend", "member": member}, grounds, days, as_json=as_json)


@propose.command()
def resume(data: Data, member: Whose, grounds: Grounds, days: Days = 7, as_json: AsJson = False) -> None:
    """Let a suspended member act again."""
    _put(data, {"kind": "resume", "member": member}, grounds, days, as_json=as_json)


@propose.command()
def parameter(
    data: Data,
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(each.name.lower() for each in Parameter)}.")],
    value: Annotated[int, typer.Argument(help="Its new value; times in milliseconds.")],
    grounds: Grounds,
    days: Days = 7,
    as_json: AsJson = False,
) -> None:
    """Change a number that the consortium may change by vote."""
    _put(data, {"kind": "parameter", "parameter": name, "value": value}, grounds, days, as_json=as_json)


@propose.command()
def weight(
    data: Data,
    member: Whose,
    value: Annotated[int, typer.Argument(help="Less than a third of all, and less than a third moves in a block.")],
    grounds: Grounds,
    days: Days = 7,
    as_json: AsJson = False,
) -> None:
    """Change what a member's cosignature, and its validator, count."""
    _put(data, {"kind": "weight", "member": member, "value": value}, grounds, days, as_json=as_json)


@propose.command()
def certificate(
    data: Data,
    member: Whose,
    file: Annotated[Path, typer.Argument(help="Its next CA certificate, PEM or DER.")],
    grounds: Grounds,
    days: Days = 7,
    as_json: AsJson = False,
) -> None:
    """Renew a member's CA certificate. What was signed under the old one before still counts."""
    change = {"kind": "certificate", "member": member, "certificate": _certificate(file)}
    _put(data, change, grounds, days, as_json=as_json)


@propose.command()
def revocation(
    data: Data,
    member: Whose,
    grounds: Grounds,
    replacement: Annotated[
        Path | None, typer.Option(help="The CA certificate that takes its place, PEM or DER; without one, none does.")
    ] = None,
    days: Days = 7,
    as_json: AsJson = False,
) -> None:
    """Take a member's CA certificate out of force, at once and for ever: its key may be in other hands.

    Every member that is known by the same certificate is meant. What was signed before still counts. To revoke one
    staff certificate or one key of this member's own takes no vote: `commonward member revoke-staff`, `revoke-key`.
    """
    change = {"kind": "revocation", "member": member, "certificate": _certificate(replacement) if replacement else ""}
    _put(data, change, grounds, days, as_json=as_json)


@propose.command()
def threshold(
    data: Data,
    change: KindOfChange,
    fraction: Annotated[str, typer.Argument(help="N/D: more than this part of the members must say yes.")],
    grounds: Grounds,
    days: Days = 7,
    as_json: AsJson = False,
) -> None:
    """Change how many must agree to a kind of change. Takes the higher of what it needs now and what it is to need."""
    _put(data, {"kind": "majority", "of": change, "fraction": fraction}, grounds, days, as_json=as_json)


@propose.command()
def proposers(
    data: Data,
    change: KindOfChange,
    kinds: Annotated[list[str], typer.Argument(help=f"Of {', '.join(each.name.lower() for each in MemberKind)}.")],
    grounds: Grounds,
    days: Days = 7,
    as_json: AsJson = False,
) -> None:
    """Change which kinds of member may propose a kind of change."""
    _put(data, {"kind": "proposers", "of": change, "proposers": kinds}, grounds, days, as_json=as_json)


@propose.command()
def table(
    data: Data,
    name: Annotated[str, typer.Argument(help="jurisdiction or sensitivity.")],
    digest: Annotated[str, typer.Argument(help="The digest of its next version, 64 hex digits.")],
    grounds: Grounds,
    days: Days = 7,
    as_json: AsJson = False,
) -> None:
    """Adopt a table that all members judge by."""
    _put(data, {"kind": "table", "table": name, "digest": digest}, grounds, days, as_json=as_json)


@propose.command()
def protocol(
    data: Data,
    version: Annotated[int, typer.Argument(help="The version of the ledger's rules; the one in force takes back.")],
    grounds: Grounds,
    at_height: Annotated[int, typer.Option(help="The first block that follows them.", min=1)],
    unknown: Annotated[bool, typer.Option("--unknown", help="Also a version that this program does not know.")] = False,
    days: Days = 7,
    as_json: AsJson = False,
) -> None:
    """Follow another version of the rules from a height on. Until then it can be moved, or taken back."""
    change = {"kind": "protocol", "value": version, "height": at_height, "unknown": unknown}
    _put(data, change, grounds, days, as_json=as_json)


def _put(data: Path, change: Mapping[str, object], grounds: str, days: float, *, as_json: bool) -> None:
    body = {**change, "grounds": grounds, "open_ms": int(days * 86_400_000)}
    made = ControlClient(node_settings.load(data)).post("/proposals", body)
    emit(
        made,
        as_json=as_json,
        text=f"Proposal {made['proposal']} is open to the vote: {plain(made['words'])}\n"
        "To propose is not to vote: each member, this one too, votes with\n"
        f"  commonward governance vote {made['proposal'][:12]} yes --data DATA",
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        fail(f"{plain(str(path))}: cannot be read ({cause.strerror})")


def _certificate(path: Path) -> str:
    """Base64 of its DER."""
    data = _bytes(path)
    try:
        pem = data.lstrip().startswith(b"-----BEGIN")
        found = x509.load_pem_x509_certificate(data) if pem else x509.load_der_x509_certificate(data)
    except ValueError as cause:
        fail(f"{plain(str(path))}: expected a CA certificate in PEM or DER ({plain(str(cause))})")
    return base64.b64encode(found.public_bytes(Encoding.DER)).decode()
