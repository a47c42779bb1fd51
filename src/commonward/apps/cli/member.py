"""The members of a consortium, a member's staff, and what its staff did (the member's own log)."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from commonward.apps import settings as node_settings
from commonward.apps import staffing
from commonward.apps.api.client import ControlClient, NodeAway, NodeRefused
from commonward.apps.cli import authority
from commonward.apps.cli.output import AsJson, Data, emit, err, fail
from commonward.apps.cli.plain import plain, when
from commonward.apps.errors import FORESEEN
from commonward.apps.intake import Intake
from commonward.apps.settings import Settings
from commonward.apps.staffing import CannotIssue
from commonward.apps.wiring import WallClock, read_genesis
from commonward.ledger.genesis import Genesis
from commonward.ledger.members.roll import certificate_digest
from commonward.workflows.member_log import Event

_member = typer.Typer(help="Who belongs to the consortium.")
_staff = typer.Typer(help="Day certificates of this member's staff.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(_member, name="member", no_args_is_help=True)
    authority.add_to(app)
    app.add_typer(_staff, name="staff", no_args_is_help=True)
    app.command("uses")(uses)


# ------------------------------------------------------------------------------------------------------------- members


def _at_genesis(genesis: Genesis) -> list[dict[str, Any]]:
    return [
        {
            "member": each.id,
            "name": each.name,
            "kind": each.kind.name.lower(),
            "tier": each.tier,
            "weight": each.weight,
            "origin": each.origin,
        }
        for each in genesis.members
    ]


def _members(settings: Settings, genesis: Genesis) -> tuple[list[dict[str, Any]], str]:
    """The active members, and as of when: now where the node answers, else at genesis."""
    try:
        return ControlClient(settings, 5.0).get("/members"), "now"
    except (NodeAway, NodeRefused):
        return _at_genesis(genesis), "genesis"


def _genesis(settings: Settings) -> Genesis:
    try:
        return read_genesis(settings)
    except FORESEEN as why:
        fail(plain(str(why)))


def _said(as_of: str) -> None:
    if as_of == "genesis":
        err.print("The node does not answer: this is how it was at genesis.")


@_member.command("list")
def list_(data: Data, as_json: AsJson = False) -> None:
    """Every member: kind, tier, weight, and who operates the sequencer."""
    settings = node_settings.load(data)
    genesis = _genesis(settings)
    members, as_of = _members(settings, genesis)
    if not as_json:
        _said(as_of)
        emit({}, as_json=False, text=f"[bold]{'member':<14} {'kind':<10} {'tier':<5} {'weight':<7} name[/bold]")
    for each in members:
        notes = ["this node"] if each["member"] == settings.member else []
        notes += ["operates the sequencer"] if each["member"] == genesis.operator else []
        tier = each["tier"] or "-"
        emit(
            {**each, "operator": each["member"] == genesis.operator, "as_of": as_of},
            as_json=as_json,
            text=f"{plain(each['member']):<14} {each['kind']:<10} {tier!s:<5} {each['weight']!s:<7} "
            + plain(each["name"])
            + (f"  [dim]({', '.join(notes)})[/dim]" if notes else ""),
        )


@_member.command()
def show(
    data: Data,
    member: Annotated[str, typer.Argument(help="Whose; this node's own without.")] = "",
    as_json: AsJson = False,
) -> None:
    """One member: where its signing page is, its CA's fingerprint, and the keys that genesis registered."""
    settings = node_settings.load(data)
    genesis = _genesis(settings)
    wanted = member or settings.member
    members, as_of = _members(settings, genesis)
    found = next((each for each in members if each["member"] == wanted), None)
    if found is None:
        fail(f"no active member is called {plain(wanted)!r}; there are {', '.join(each['member'] for each in members)}")
    at_genesis = next((each for each in genesis.members if each.id == wanted), None)
    keys = [
        {"purpose": key.purpose.name.lower(), "key": key.id.hex(), "starts": key.starts, "ends": key.ends}
        for key in (at_genesis.keys if at_genesis else ())
    ]
    ca = certificate_digest(at_genesis.certificate).hex() if at_genesis else None
    lines = [
        f"[bold]{plain(found['member'])}[/bold]  {plain(found['name'])}",
        f"kind          {found['kind']}" + (f", tier {found['tier']}" if found["tier"] else ""),
        f"weight        {found['weight']}",
        f"signing page  {plain(found['origin'])}",
        f"CA            SHA-256 {ca or 'admitted after genesis'}",
        f"{'keys at genesis' if keys else 'no keys at genesis'}",
        *(f"  {key['purpose']:<9} {str(key['key'])[:32]}...  until {when(int(str(key['ends'])))}" for key in keys),
    ]
    if not as_json:
        _said(as_of)
    emit({**found, "ca_sha256": ca, "keys": keys, "as_of": as_of}, as_json=as_json, text="\n".join(lines))


# --------------------------------------------------------------------------------------------------------------- staff


@_staff.command()
def issue(
    data: Data,
    role: Annotated[str, typer.Option(help="What the person does, such as clinician or registrar.")],
    department: Annotated[str, typer.Option(help="Where, such as cardiology.")],
    number: Annotated[str, typer.Option(help="An opaque number; who it is stays with the privacy officer.")],
    hours: Annotated[float, typer.Option(help="How long it lives, at most 24.")] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Issue a key and a certificate for a person's day, into DATA/staff/NUMBER.pem."""
    settings = node_settings.load(data)
    try:
        path, staff = staffing.issue(
            settings, role=role, department=department, number=number, hours=hours, now=WallClock().now()
        )
    except (CannotIssue, *FORESEEN) as why:
        fail(plain(str(why)))
    emit(
        {
            "file": path,
            "number": staff.number,
            "role": staff.role,
            "department": staff.department,
            "ends": staff.ends,
            "revocation": staff.revocation,
        },
        as_json=as_json,
        text=f"Issued {plain(staff.number)}: {plain(staff.role)}, {plain(staff.department)}, until {when(staff.ends)}, "
        f"in {plain(str(path))}.",
    )


@_staff.command("list")
def staff_list(data: Data, as_json: AsJson = False) -> None:
    """Whose certificates are here, and until when."""
    settings = node_settings.load(data)
    now = WallClock().now()
    try:
        held = list(staffing.held(settings, now))
    except FORESEEN as why:
        fail(plain(str(why)))
    if not held:
        emit(
            {}, as_json=False, text="Nobody yet; `commonward staff issue` makes a certificate."
        ) if not as_json else None
    for each in held:
        staff = each.staff
        if staff is None:
            emit(
                {"file": each.path, "valid": False, "why": each.why},
                as_json=as_json,
                text=f"[red]{plain(each.path.name)}: {plain(each.why)}[/red]",
            )
            continue
        valid = staff.starts <= now <= staff.ends
        emit(
            {
                "file": each.path,
                "number": staff.number,
                "role": staff.role,
                "department": staff.department,
                "starts": staff.starts,
                "ends": staff.ends,
                "valid": valid,
                "revocation": staff.revocation,
            },
            as_json=as_json,
            text=f"{plain(staff.number):<16} {plain(staff.role):<16} {plain(staff.department):<20} "
            + (f"until {when(staff.ends)}" if valid else f"[yellow]ended {when(staff.ends)}[/yellow]"),
        )


# ---------------------------------------------------------------------------------------------------------------- uses


def uses(
    data: Data,
    first: Annotated[int, typer.Option(help="Start at this entry.", min=1)] = 1,
    last: Annotated[int, typer.Option(help="So many of the last entries; 0 for all.", min=0)] = 0,
    event: Annotated[str, typer.Option(help="Only one kind, such as displayed or release_refused.")] = "",
    as_json: AsJson = False,
) -> None:
    """The member's own log: what its staff and its node did and refused, its chain checked as it is read."""
    settings = node_settings.load(data)
    known = {each.name.lower(): each for each in Event}
    if event and event.lower() not in known:
        fail(f"event: expected one of {', '.join(sorted(known))}; got {plain(event)!r}")
    try:
        with Intake(settings) as own:
            head = own.log.head()[0]
            count = 0
            for number, at, entry in own.log.entries(max(first, head - last + 1 if last else 1)):
                if event and entry.event is not known[event.lower()]:
                    continue
                count += 1
                who = f"{plain(entry.who)}: " if entry.who else ""
                emit(
                    {
                        "number": number,
                        "at": at,
                        "event": entry.event.name.lower(),
                        "who": entry.who,
                        "detail": entry.detail,
                        "handle": entry.handle,
                        "request": entry.request,
                    },
                    as_json=as_json,
                    text=f"{number:>6}  {when(at)}  {entry.event.name.lower():<16} {who}{plain(entry.detail)}",
                )
    except FORESEEN as why:
        fail(plain(str(why)))
    if not as_json:
        emit(
            {},
            as_json=False,
            text=f"{count} entries; the chain of all that were read holds." if count else "No entries.",
        )
