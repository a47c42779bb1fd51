"""The requester's side at a desk or a bedside: ask, look, break the glass, review, rely."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.cells import cell_len

from commonward.apps import settings as node_settings
from commonward.apps.api.client import ControlClient, NodeRefused
from commonward.apps.cli import resources
from commonward.apps.cli.output import REFUSED, AsJson, Data, emit, err, out
from commonward.apps.cli.plain import plain, when

_records = typer.Typer(help="Records that came from other members: which copies are held, and what is in them.")

Handle = Annotated[str, typer.Option(help="The patient's handle, in hex digits.")]
Encounter = Annotated[str, typer.Option(help="The visit's number here; outside it is only a commitment.")]
Staff = Annotated[str, typer.Option(help="Who asks, by number: the day certificate in DATA/staff/NUMBER.pem signs.")]
Custodian = Annotated[str, typer.Option("--from", help="The member that holds the records.")]
Purpose = Annotated[str, typer.Option(help="HL7 purpose of use: TREAT, HPAYMT, HRESCH, PUBHLTH, ...")]


def add_to(app: typer.Typer) -> None:
    app.command("request")(request)
    app.add_typer(_records, name="records", no_args_is_help=True)
    app.command("break-glass")(break_glass)
    app.command("review")(review)
    app.command("recalls")(recalls)
    app.command("rely")(rely)


def _node(data: Any) -> ControlClient:
    return ControlClient(node_settings.load(data))


# -------------------------------------------------------------------------------------------------------------- asking


def request(
    data: Data,
    handle: Handle,
    custodian: Custodian,
    staff: Staff,
    encounter: Encounter,
    purpose: Purpose = "TREAT",
    consent: Annotated[str, typer.Option(help="Under this consent; without, the newest that names us.")] = "",
    as_json: AsJson = False,
) -> None:
    """Open a visit and fetch ahead what the patient's consent lets us have. What comes stays sealed until shown."""
    body = {
        "encounter": encounter,
        "handle": handle,
        "custodian": custodian,
        "staff": staff,
        "purpose": purpose,
        "consent": consent or None,
    }
    copy = _node(data).post("/copies", body)
    emit(copy, as_json=as_json, text=_came(copy, f"commonward records show --data {data} --handle {handle}"))


def _came(copy: dict[str, Any], show: str) -> str:
    who, count = plain(copy["custodian"]), copy["records"]
    lines = [f"[bold]{_number(count, 'record')} came from {who}[/bold], sealed to us. Checked before they were kept:"]
    lines.append("  they open with our key alone, and answer this very request;")
    if copy["mark_index"] >= 0:
        lines.append(
            f"  {who}'s mark stands on the ledger at index {copy['mark_index']}, cosigned before anything left, "
            "and commits to these bytes;"
        )
    else:
        lines.append(
            f"  [yellow]their mark does not stand yet: the ledger was away. {who} owes it, and it is fetched later;"
            "[/yellow]"
        )
    lines.append(f"  {_of(copy['anchored'], count)} exactly what {who} anchored;")
    if copy["pending"]:
        lines.append(
            f"  [yellow]{_number(copy['pending'], 'record')} not anchored yet: the proof follows within minutes;"
            "[/yellow]"
        )
    ground = "an emergency" if copy["glass"] else "the consent that was opened to us"
    lines.append(f"  decided again here: each may be shown, on the ground of {ground}.")
    lines.append(
        f"Our receipt {'stands on the ledger' if copy['receipted'] else 'follows'}. "
        f"This copy expires {when(copy['expires'])}."
    )
    lines.append(f"Show them to a clinician with: {plain(show)} --staff NUMBER --encounter NUMBER")
    return "\n".join(lines)


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _of(some: int, count: int) -> str:
    if count == 1 and some == 1:
        return "it is"
    return f"all {count:,} are" if some == count else f"{some:,} of {count:,} are"


# ------------------------------------------------------------------------------------------------------------- looking


@_records.command("list")
def list_(
    data: Data, handle: Annotated[str, typer.Option(help="Of this patient only.")] = "", as_json: AsJson = False
) -> None:
    """Copies that are held now. Listing shows nothing of what is in them, and is not logged."""
    found = _node(data).get("/copies", **({"handle": handle} if handle else {}))
    for copy in found:
        emit(copy, as_json=as_json, text=_listed(copy))
    if not as_json:
        hint = "Look inside with `commonward records show --copy COPY --staff NUMBER --encounter NUMBER`."
        emit({}, as_json=False, text=hint if found else "No copies are held. `commonward request` fetches one.")


def _listed(copy: dict[str, Any]) -> str:
    if "custodian" not in copy:
        return f"[bold]{copy['tag'][:16]}[/bold]  [red]ALTERED[/red] where it was kept: ask for it again"
    parts = [
        f"[bold]{copy['tag'][:16]}[/bold]  {_number(copy['records'], 'record')} from {plain(copy['custodian'])}",
        f"for {plain(copy['purpose'])}, received {when(copy['received'])}, expires {when(copy['expires'])}",
    ]
    if copy["altered"]:
        parts.append("[red]ALTERED since it came: ask for it again[/red]")
    if copy["recalled"]:
        parts.append(f"[yellow]{_number(len(copy['recalled']), 'record')} recalled[/yellow]")
    if copy["mark_index"] < 0:
        parts.append("[yellow]its mark is owed[/yellow]")
    return "; ".join(parts)


@_records.command()
def show(
    data: Data,
    staff: Staff,
    encounter: Encounter,
    handle: Annotated[str, typer.Option(help="Every copy of this patient.")] = "",
    copy: Annotated[str, typer.Option(help="One copy, by its tag or the first digits of it.")] = "",
    purpose: Purpose = "TREAT",
    as_json: AsJson = False,
) -> None:
    """Show records to a clinician, once. Each showing is checked anew and stands in the member's log first."""
    node = _node(data)
    found = [each for each in node.get("/copies", **({"handle": handle} if handle else {})) if _wanted(each, copy)]
    if not (handle or copy):
        raise typer.BadParameter("expected --handle or --copy; `commonward records list` shows what is held")
    if not found:
        err.print("[red]refused:[/red] no such copy is held; `commonward request` fetches one")
        raise typer.Exit(REFUSED)
    failed = False
    for each in found:
        try:
            shown = node.post(
                f"/copies/{each['tag']}/display", {"encounter": encounter, "staff": staff, "purpose": purpose}
            )
        except NodeRefused as why:
            failed = True
            _not_shown(each, why)
            continue
        if as_json:
            for record in shown:
                print(resources.as_json(record, each["tag"]))
        else:
            _table(each, shown)
    if failed:
        raise typer.Exit(REFUSED)


def _wanted(copy: dict[str, Any], tag: str) -> bool:
    return str(copy["tag"]).startswith(tag.lower())


def _not_shown(copy: dict[str, Any], why: NodeRefused) -> None:
    who = plain(str(copy.get("custodian", "its custodian")))
    if why.error == "WrongDelivery":
        err.print(
            f"[red]ALTERED:[/red] copy {copy['tag'][:16]} is not what {who} delivered, so it is not shown. "
            f"What did not hold: {plain(str(why))}.\nDo not rely on it. Ask {who} again with `commonward request`, "
            "and tell whoever looks after this node."
        )
    else:
        err.print(f"[red]refused:[/red] copy {copy['tag'][:16]} from {who}: {plain(str(why))}")


def _table(copy: dict[str, Any], shown: list[dict[str, Any]]) -> None:
    who = plain(copy["custodian"])
    rows = [("type", "what", "value", "date", f"unchanged at {who} since", "")]
    for each in sorted(map(resources.Line.of, shown), key=lambda line: (line.date, line.type), reverse=True):
        since = when(each.since) if each.since is not None else "not anchored yet"
        note = f"RECALLED: {resources.FAULTS.get(each.recalled, each.recalled)}" if each.recalled else ""
        rows.append((plain(each.type), plain(each.what), plain(each.value), plain(each.date), since, note))
    out.print(f"[bold]From {who}[/bold], copy {copy['tag'][:16]}, received {when(copy['received'])}:")
    # Not rich's table: that breaks a value in two where the window is narrow.
    widths = [max(cell_len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for number, row in enumerate(rows):
        style = "bold" if number == 0 else "red" if row[-1] else ""
        line = "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        out.print(line.rstrip(), style=style)
    recalled = sum(each["recalled"] is not None for each in shown)
    out.print(
        f"{_number(len(shown), 'record')} shown; this showing is in the log."
        + (f" [red]{_number(recalled, 'record')} recalled by {who}: do not rely on them.[/red]" if recalled else "")
    )


# ----------------------------------------------------------------------------------------------------- in an emergency


def break_glass(
    data: Data,
    handle: Handle,
    custodian: Custodian,
    staff: Staff,
    encounter: Encounter,
    reason: Annotated[str, typer.Option(help="Why, in words. The patient and the reviewer read it.")],
    as_json: AsJson = False,
) -> None:
    """In an emergency, fetch without a consent. It is written down first, the patient is told, and others review it."""
    copy = _node(data).post(
        "/glass",
        {"encounter": encounter, "handle": handle, "custodian": custodian, "staff": staff, "reason": reason},
    )
    emit(
        copy,
        as_json=as_json,
        text=f"[bold red]The glass is broken[/bold red], under the tag {copy['glass']}. The patient is told, "
        f"with your reason.\n{_came(copy, f'commonward records show --data {data} --copy ' + copy['tag'][:16])}\n"
        f"A colleague reviews it with: commonward review {copy['glass'][:16]} --data {plain(str(data))} "
        "--staff NUMBER --finding WORDS",
    )


def review(
    data: Data,
    glass: Annotated[str, typer.Argument(metavar="[TAG]", help="The broken glass; without, the open ones.")] = "",
    staff: Annotated[str, typer.Option(help="Who reviews: not who broke it.")] = "",
    finding: Annotated[str, typer.Option(help="What was found, in words.")] = "",
    as_json: AsJson = False,
) -> None:
    """Look at broken glasses that nobody has reviewed yet, or close one with a finding."""
    node = _node(data)
    waiting = node.get("/glass")
    if not glass:
        for each in waiting:
            emit(
                each,
                as_json=as_json,
                text=f"[bold]{each['glass'][:16]}[/bold]  by {plain(each['who'])}, {when(each['at'])}, of a patient "
                f"of {plain(each['custodian'])}; review by {when(each['review_by'])}\n    {plain(each['reason'])}",
            )
        if not as_json:
            emit({}, as_json=False, text=f"{_number(len(waiting), 'broken glass')[:-1]}es wait for review."
                 if len(waiting) != 1 else "1 broken glass waits for review.")  # fmt: skip
        return
    if not staff or not finding:
        raise typer.BadParameter("expected --staff and --finding with a TAG")
    found = [each for each in waiting if each["glass"].startswith(glass.lower())]
    if len(found) != 1:
        err.print(
            f"[red]refused:[/red] {len(found)} open broken glasses have a tag that starts with {plain(glass)}; "
            "`commonward review` lists them"
        )
        raise typer.Exit(REFUSED)
    done = node.post(f"/glass/{found[0]['glass']}/review", {"staff": staff, "finding": finding})
    emit(
        done,
        as_json=as_json,
        text=f"Reviewed by {plain(done['reviewer'])}, and closed on the ledger: {plain(done['finding'])}",
    )


# --------------------------------------------------------------------------------------------------------- afterwards


def recalls(data: Data, as_json: AsJson = False) -> None:
    """What we recalled from others, and what others recalled from copies that we hold."""
    node = _node(data)
    ours, copies = node.get("/recalls"), node.get("/copies")
    theirs = [copy for copy in copies if copy.get("recalled")]
    for each in ours:
        known = "they know" if each["acknowledged"] else "[yellow]not acknowledged yet; sent again[/yellow]"
        emit(
            {"by": "us", **each},
            as_json=as_json,
            text=f"By us, to {plain(each['to'])}: {_number(len(each['records']), 'record')}, "
            f"{resources.FAULTS.get(each['fault'], each['fault'])}, {when(each['at'])}: {known}",
        )
    for copy in theirs:
        emit(
            {"by": copy["custodian"], "tag": copy["tag"], "records": copy["recalled"]},
            as_json=as_json,
            text=f"By {plain(copy['custodian'])}: {_number(len(copy['recalled']), 'record')} in copy "
            f"{copy['tag'][:16]}. Showing it says which; a new request brings what replaced them.",
        )
    if not as_json and not ours and not theirs:
        emit({}, as_json=False, text="Nothing was recalled.")


def rely(
    data: Data,
    copy: Annotated[str, typer.Option(help="The copy that it is in, by its tag or the first digits of it.")],
    record: Annotated[str, typer.Option(help="The record's id, as `records show --json` gives it.")],
    staff: Staff,
    why: Annotated[str, typer.Option(help="What was decided on it, in words.")],
    as_json: AsJson = False,
) -> None:
    """Keep one record that a clinician relied on, with its origin, when the copy goes."""
    node = _node(data)
    found = [each for each in node.get("/copies") if _wanted(each, copy)]
    if len(found) != 1:
        err.print(
            f"[red]refused:[/red] {len(found)} copies have a tag that starts with {plain(copy)}; see records list"
        )
        raise typer.Exit(REFUSED)
    kept = node.post(f"/copies/{found[0]['tag']}/rely", {"record": record, "staff": staff, "why": why})
    emit(kept, as_json=as_json, text=f"Kept {plain(record)}, with its origin and your reason, beyond the copy's life.")
