"""The custodian's side: what was released of a patient, what it holds, erasure, legal holds, who is who."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from commonward.apps import settings as node_settings
from commonward.apps.api.client import ControlClient
from commonward.apps.cli.output import AsJson, Data, emit
from commonward.apps.cli.plain import plain, when
from commonward.records.retention import Ground

_hold = typer.Typer(help="Legal holds: nothing that one names is erased until it is lifted.")

Handle = Annotated[str, typer.Option(help="The patient's handle, in hex digits.")]
Staff = Annotated[str, typer.Option(help="Who does it, by number: the day certificate in DATA/staff/NUMBER.pem.")]
System = Annotated[str, typer.Option(help="The source system that calls the patient so.")]
Patient = Annotated[str, typer.Option(help="What it calls the patient.")]
OtherSystem = Annotated[str, typer.Option(help="The source system of the other name; without, the same.")]
OtherPatient = Annotated[str, typer.Option(help="The other name.")]
Why = Annotated[str, typer.Option(help="Why, in words. Kept sealed.")]

_STATES = {
    "reserved": "prepared, not sent",
    "committed": "marked, not sent",
    "delivered": "sent; no receipt yet",
    "receipted": "sent, and receipt confirmed",
    "late": "sent while the ledger was away; its mark follows",
    "void": "void: nothing was sent under this number",
}


def add_to(app: typer.Typer) -> None:
    app.command("releases")(releases)
    app.command("holdings")(holdings)
    app.command("erase")(erase)
    app.add_typer(_hold, name="hold", no_args_is_help=True)
    app.command("merge")(merge)
    app.command("unmerge")(unmerge)


def releases(data: Data, handle: Handle, as_json: AsJson = False) -> None:
    """What this custodian released of a patient, by running number: the line that the patient sees too."""
    found = ControlClient(node_settings.load(data)).get("/releases", handle=handle)
    for each in found:
        emit(
            each,
            as_json=as_json,
            text=f"{each['n']:>5}  {each['tag'][:16]}  {_STATES.get(each['state'], each['state'])}",
        )
    if not as_json:
        emit({}, as_json=False, text=f"{len(found)} marks." if found else "Nothing of this patient was released here.")


def holdings(data: Data, handle: Handle, as_json: AsJson = False) -> None:
    """What this custodian holds of a linked patient: which records, whether each is sound and anchored."""
    found = ControlClient(node_settings.load(data)).get("/patients/records", handle=handle)
    for each in found:
        anchor = each["anchored_at_index"]
        state = "[red]ALTERED in the vault: never released[/red]" if not each["sound"] else "sound"
        emit(
            each,
            as_json=as_json,
            text=f"{each['id']}  {plain(each['type']):<20} version {each['version']}  {state}, "
            + ("[yellow]not anchored yet[/yellow]" if anchor is None else f"anchored at index {anchor}"),
        )
    if not as_json:
        text = (
            f"{len(found)} records." if found else "Nothing: is the handle linked here? See `commonward patient link`."
        )
        emit({}, as_json=False, text=text)


def erase(
    data: Data,
    record: Annotated[str, typer.Argument(help="The record's id, as `commonward holdings` shows it.")],
    words: Annotated[str, typer.Option(help="On whose word and why. Kept sealed; the ledger shows a commitment.")],
    staff: Staff,
    ground: Annotated[
        str, typer.Option(help=f"One of {', '.join(each.name.lower() for each in Ground)}.")
    ] = Ground.PATIENT_REQUEST.name.lower(),
    as_json: AsJson = False,
) -> None:
    """Erase a record for good: destroy its salt and key, tell who received it, mark it. Retention and holds may refuse.

    Backups of the vault hold the key until they are destroyed too.
    """
    done = ControlClient(node_settings.load(data)).post(
        "/erasures", {"record": record, "ground": ground, "words": words, "staff": staff}
    )
    emit(
        done,
        as_json=as_json,
        text=f"Erased {plain(record)}: its salt and key are destroyed here, so its fingerprint says nothing any more. "
        f"Who received it is told. The mark stands on the ledger at index {done['mark_index']}.\n"
        "Backups of the vault still hold it until they are destroyed too.",
    )


@_hold.command()
def add(
    data: Data,
    name: Annotated[str, typer.Argument(help="What it is called; it is lifted by this name.")],
    record: Annotated[
        list[str] | None, typer.Option(help="A record's id; again for more. Without: all records.")
    ] = None,
    days: Annotated[int, typer.Option(help="Ends by itself after so many days; without, it stands.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Put a legal hold on records, or on everything."""
    from commonward.apps.wiring import WallClock

    until = WallClock().now() + days * 86_400_000 if days else None
    done = ControlClient(node_settings.load(data)).post(
        "/holds", {"name": name, "records": record or [], "until": until}
    )
    emit(
        {**done, "records": record or [], "until": until},
        as_json=as_json,
        text=f"Hold {plain(name)!r} stands on {f'{len(record)} records' if record else 'all records'}"
        + (f" until {when(until)}." if until else f": `commonward hold remove {plain(name)}` lifts it."),
    )


@_hold.command("list")
def list_(data: Data, as_json: AsJson = False) -> None:
    """Every hold that stands."""
    found = ControlClient(node_settings.load(data)).get("/holds")
    for each in found:
        on = f"{len(each['records'])} record{'s' * (len(each['records']) > 1)}" if each["records"] else "all records"
        until = f"until {when(each['until'])}" if each["until"] else "until it is lifted"
        emit(each, as_json=as_json, text=f"{plain(each['hold'])}: {on}, {until}")
    if not as_json and not found:
        emit({}, as_json=False, text="No hold stands.")


@_hold.command()
def remove(
    data: Data, name: Annotated[str, typer.Argument(help="What it is called.")], as_json: AsJson = False
) -> None:
    """Lift a legal hold by its name."""
    done = ControlClient(node_settings.load(data)).delete(f"/holds/{quote(name, safe='')}")
    emit(done, as_json=as_json, text=f"Hold {plain(name)!r} is lifted.")


def merge(
    data: Data,
    system: System,
    patient: Patient,
    other_patient: OtherPatient,
    why: Why,
    other_system: OtherSystem = "",
    as_json: AsJson = False,
) -> None:
    """Say that two names are one person. A link over the records, which stay as they are; `unmerge` takes it back."""
    done = ControlClient(node_settings.load(data)).post(
        "/patients/merge", _pair(system, patient, other_system, other_patient, why)
    )
    emit(
        done,
        as_json=as_json,
        text=f"{plain(patient)} and {plain(other_patient)} are one person here from now on; no record was changed.",
    )


def unmerge(
    data: Data,
    system: System,
    patient: Patient,
    other_patient: OtherPatient,
    why: Why,
    other_system: OtherSystem = "",
    as_json: AsJson = False,
) -> None:
    """Take a merge back. What was released under it is recalled from whoever received it."""
    done = ControlClient(node_settings.load(data)).post(
        "/patients/unmerge", _pair(system, patient, other_system, other_patient, why)
    )
    told = done["recalled_from"]
    emit(
        done,
        as_json=as_json,
        text=f"{plain(patient)} and {plain(other_patient)} are two again. "
        + (f"{told} recipient{'s' if told != 1 else ''} told." if told else "Nobody had received the other's records."),
    )


def _pair(system: str, patient: str, other_system: str, other_patient: str, why: str) -> dict[str, object]:
    return {
        "system": system,
        "patient": patient,
        "other_system": other_system or system,
        "other_patient": other_patient,
        "why": why,
    }
