"""Studies: propose, vote, let patients and this site take part, and follow the rounds (`commonward study ...`)."""

from __future__ import annotations

import base64
import csv
import io
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from commonward.apps import settings as node_settings
from commonward.apps.api.client import ControlClient
from commonward.apps.cli import study_judging, study_results, study_running, study_statistics
from commonward.apps.cli.groups import group
from commonward.apps.cli.languages import Language
from commonward.apps.cli.output import AsJson, Data, emit, fail, save
from commonward.apps.cli.plain import plain
from commonward.apps.cli.study_shown import Which, full, page, shown
from commonward.apps.studies.file import BadStudyFile, read
from commonward.apps.studies.look_page import render_look

Staff = Annotated[str, typer.Option(help="The number of whose certificate signs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


def add_to(app: typer.Typer) -> None:
    studies = group(app, "study", "Learn together: studies over several hospitals, whose records stay where they are.")
    studies.command("learners")(learners)
    studies.command("propose")(propose)
    studies.command("list")(list_)
    studies.command("show")(show)
    studies.command("approve")(approve)
    studies.command("forms")(forms)
    studies.command("look")(look)
    studies.command("enrol")(enrol)
    studies.command("withdraw")(withdraw)
    studies.command("leave")(leave)
    studies.command("dispute")(dispute)
    studies.command("close")(close)
    study_running.add_to(studies)
    study_results.add_to(studies)
    study_judging.add_to(studies)
    study_statistics.add_to(studies)


def learners(data: Data, as_json: AsJson = False) -> None:
    """The learners installed here, with the digests that a study names and people approve."""
    for each in ControlClient(node_settings.load(data)).get("/learners"):
        settings = "".join(f"\n      {plain(name)}: {plain(what)}" for name, what in each["settings"].items())
        emit(
            each,
            as_json=as_json,
            text=f"[bold]{plain(each['name'])}[/bold]  {each['digest']}\n    {plain(each['about'])}{settings}",
        )


def propose(
    data: Data,
    file: Annotated[Path, typer.Argument(help="The study file (TOML); the cohort it names lies beside it.")],
    as_json: AsJson = False,
) -> None:
    """Put a study to the ethics roles of the members. It does not vote by itself."""
    text = _text(file)
    try:
        wanted = read(text, str(file))
    except BadStudyFile as why:
        fail(plain(str(why)))
    cohort = file.parent / wanted.cohort
    try:
        held = base64.b64encode(cohort.read_bytes()).decode()
    except OSError as cause:
        fail(f"{plain(str(file))}: cohort: cannot read {plain(str(cohort))}: {cause.strerror}")
    node = ControlClient(node_settings.load(data), timeout_s=300.0)
    done = node.post("/studies", {"study": text, "name": str(file), "cohort": held})
    emit(
        done,
        as_json=as_json,
        text=f"Proposed study [bold]{done['study']}[/bold], {plain(done['title'])}.\n"
        f"Learner      {done['learner']}\nFirst model  {done['model']}\n"
        "Each member's ethics officer votes with: commonward study approve",
    )


def list_(data: Data, as_json: AsJson = False) -> None:
    """Every study that is not over, and those that are whose papers are here."""
    found = ControlClient(node_settings.load(data)).get("/studies")
    for each in found:
        emit(
            each,
            as_json=as_json,
            text=f"[bold]{each['study'][:12]}[/bold]  {plain(each['title'] or '(papers not fetched yet)')}\n"
            f"    by {plain(each['by'])}; {each['status']}; {each['rule']}, {each['mode']}; "
            f"round {each['round']} of {each['rounds']}; sites: {plain(', '.join(each['sites']) or 'none yet')}",
        )
    if not as_json and not found:
        emit({}, as_json=False, text="No study is known here.")


def show(data: Data, study: Which, as_json: AsJson = False) -> None:
    """One study, whole: what it does, with what, who takes part, and each round so far."""
    node = ControlClient(node_settings.load(data))
    found = node.get(f"/studies/{full(node, study)}")
    emit(found, as_json=as_json, text=shown(found))


def approve(
    data: Data,
    study: Which,
    staff: Staff,
    opinion: Annotated[str, typer.Option(help="The ethics opinion, in words. Kept here; the ledger has a commitment.")],
    no: Annotated[bool, typer.Option("--no", help="Vote against it.")] = False,
    waive: Annotated[
        bool, typer.Option("--waive", help="Also waive patient-level privacy, where the study asks for that.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """This member's vote, once, by its ethics officer. More than two thirds of those who may vote carry a study."""
    node = ControlClient(node_settings.load(data))
    wanted = full(node, study)
    body = {"choice": not no, "waiver": waive, "opinion": opinion, "staff": staff}
    done = node.post(f"/studies/{wanted}/vote", body)
    vote = "no" if no else "yes"
    emit(done, as_json=as_json, text=f"Voted {vote} on study {wanted[:12]}; it is {done['status']} now.")


def forms(
    data: Data,
    study: Which,
    patients: Annotated[Path, typer.Argument(help="CSV, a line a form: source system, patient.")],
    text: Annotated[Path, typer.Option(help="The form's words, as the patients signed them.")],
    staff: Annotated[list[str], typer.Option(help="Who saw them sign: twice, two different people.")],
    days: Annotated[int, typer.Option(min=1, help="Until the midnight after so many days.")] = 365,
    as_json: AsJson = False,
) -> None:
    """Bring patients' consents on paper onto the ledger. A form brought again is the same consent."""
    if len(staff) != 2:
        fail("expected --staff twice, with the numbers of two people who saw the patients sign")
    named = _patients(patients)
    node = ControlClient(node_settings.load(data), timeout_s=600.0)
    body = {"patients": named, "text": _text(text), "staff": staff, "days": days}
    done = node.post(f"/studies/{full(node, study)}/forms", body)
    emit(
        done,
        as_json=as_json,
        text=f"{len(done['consents'])} forms stand on the ledger; {done['open']} consents to this study are open here.",
    )


def _patients(path: Path) -> list[dict[str, str]]:
    rows = list(csv.reader(io.StringIO(_text(path))))
    for number, row in enumerate(rows, 1):
        if len(row) != 2 or not all(each.strip() for each in row):
            fail(f"{plain(str(path))}, line {number}: expected SYSTEM,PATIENT, got {plain(','.join(row)[:80])!r}")
    return [{"system": system.strip(), "patient": patient.strip()} for system, patient in rows]


def look(
    data: Data,
    study: Which,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write it as an HTML page that needs nothing else, into this file."),
    ] = None,
    lang: Language = "en",
    show: Annotated[bool, typer.Option("--open", help="Also open that page in the browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """What this site's own rows look like to the study, what is odd about them, and what to do. Seen here alone."""
    node = ControlClient(node_settings.load(data), timeout_s=600.0)
    wanted = full(node, study)
    if show and out is None:
        out = Path(f"study-{wanted[:12]}-look.html")
    found = node.get(f"/studies/{wanted}/look")
    if out is None:
        emit(found, as_json=as_json, text=page(found, lang))
        return
    save(out, render_look(found, lang, found["now"]).encode())
    emit({**found, "file": str(out)}, as_json=as_json, text=f"Wrote {plain(str(out))}. Keep it in the hospital.")
    if show:
        webbrowser.open(out.resolve().as_uri())


def enrol(
    data: Data,
    study: Which,
    staff: Staff,
    words: Annotated[str, typer.Option(help="By whose decision. Kept here; the ledger has a commitment.")],
    lang: Language = "en",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Take part as a site, after its own page was shown: with the rows of those who consent, from the next round on."""
    node = ControlClient(node_settings.load(data), timeout_s=600.0)
    wanted = full(node, study)
    seen = node.get(f"/studies/{wanted}/look")
    if not as_json:
        emit({}, as_json=False, text=page(seen, lang))
    if not yes and (as_json or not typer.confirm("Take part with these rows?", err=True)):
        fail("expected --yes where nobody can be asked" if as_json else "Nothing was done.")
    done = node.post(f"/studies/{wanted}/enrol", {"words": words, "staff": staff, "seen": seen["digest"]})
    emit({**done, "warnings": seen["warnings"]}, as_json=as_json, text=f"This site takes part in study {wanted[:12]}.")


def withdraw(
    data: Data,
    study: Which,
    patient: Annotated[str, typer.Option(help="The patient, as the source system calls them.")],
    system: Annotated[str, typer.Option(help="The source system.")],
    reason: Annotated[str, typer.Option(help="Kept here; the ledger has a commitment.")] = "",
    as_json: AsJson = False,
) -> None:
    """A patient takes a consent on paper back: no later round learns from them. Says which models did before.

    Patients with a wallet withdraw by themselves: `commonward consent withdraw`.
    """
    node = ControlClient(node_settings.load(data))
    body = {"system": system, "patient": patient, "reason": reason}
    done = node.post(f"/studies/{full(node, study)}/withdraw", body)
    touched = "".join(f"\n    round {each['round']}: model {each['model']}" for each in done["touched"])
    told = (
        f"Models that learnt from it, and stay (later ones build on them):{touched}"
        if touched
        else "No model had learnt from it yet."
    )
    emit(done, as_json=as_json, text=f"Withdrawn; {done['open']} consents are open here.\n{told}")


def leave(
    data: Data,
    study: Which,
    reason: Annotated[str, typer.Option(help="Kept here; the ledger has a commitment.")],
    as_json: AsJson = False,
) -> None:
    """This site takes part no more, from the end of the attempt that is open."""
    node = ControlClient(node_settings.load(data))
    done = node.post(f"/studies/{full(node, study)}/leave", {"words": reason})
    emit(done, as_json=as_json, text="This site leaves the study at the end of the attempt that is open.")


def dispute(
    data: Data,
    study: Which,
    round: Annotated[int, typer.Option(help="The final round that is held to be false.", min=1)],
    claim: Annotated[str, typer.Option(help="Why. Kept here; the ledger has a commitment.")],
    as_json: AsJson = False,
) -> None:
    """Hold that a round is false: all sites keep their sealed updates longer, so that it can be looked at."""
    node = ControlClient(node_settings.load(data))
    done = node.post(f"/studies/{full(node, study)}/dispute", {"round": round, "words": claim})
    emit(done, as_json=as_json, text=f"Round {round} is disputed.")


def close(data: Data, study: Which, yes: Yes = False, as_json: AsJson = False) -> None:
    """As its proposer: end a study for good, or take a proposal back."""
    node = ControlClient(node_settings.load(data))
    wanted = full(node, study)
    if not yes and (as_json or not typer.confirm(f"End study {wanted[:12]} for good?", err=True)):
        fail("expected --yes where nobody can be asked" if as_json else "Nothing was done.")
    done = node.post(f"/studies/{wanted}/close", {})
    emit(done, as_json=as_json, text=f"Study {wanted[:12]} is closed.")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as cause:
        fail(f"cannot read {plain(str(path))}: {cause.strerror}")
    except UnicodeDecodeError:
        fail(f"{plain(str(path))}: expected UTF-8 text")
