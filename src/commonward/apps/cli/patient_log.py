"""What a patient is told: who saw what, whether that list has a gap, and notices."""

from __future__ import annotations

import asyncio

import typer

from commonward.apps.cli.languages import PatientsLanguage
from commonward.apps.cli.output import AWAY, REFUSED, AsJson, Wallet, emit
from commonward.apps.cli.plain import plain
from commonward.apps.cli.wallets import PinFile, Session, session
from commonward.ledger.rules import Role
from commonward.workflows.breakglass import GlassNotice
from commonward.workflows.messages import MarkState, PatientMark
from commonward.workflows.patient_log import PROBED, PatientLog, read_log

_AHEAD = 2 * PROBED
"""Numbers of each line that are looked up in one question; later ones are asked for one by one."""


def add_to(app: typer.Typer) -> None:
    app.command("log")(log)
    app.command("notices")(notices)


def log(wallet: Wallet, pin_file: PinFile = None, lang: PatientsLanguage = "en", as_json: AsJson = False) -> None:
    """Who saw what, custodian by custodian, checked against the ledger.

    Exit 1 if the list has a gap or a mark does not fit, 3 if a custodian did not answer.
    """
    with session(wallet, pin_file, lang) as it:
        found = asyncio.run(_read(it))
        emit(_fields(it, found), as_json=as_json, text=_text(it, found))
        it.warn()
        if found.troubles:
            raise typer.Exit(REFUSED)
        if found.unreachable:
            raise typer.Exit(AWAY)


async def _read(it: Session) -> PatientLog:
    await it.patient.learn_links()
    it.gate.look_up(it.patient.tags(_AHEAD))
    found = await read_log(it.patient)
    it.patient.save()
    found.unreachable = list(dict.fromkeys(found.unreachable))
    return found


def _fields(it: Session, found: PatientLog) -> dict[str, object]:
    return {
        "whole": found.whole,
        "custodians": sorted(each.member for each in it.patient.wallet.custodians),
        "marks": [
            {
                "custodian": mark.custodian, "n": mark.facts.n, "requester": mark.requester, "purpose": mark.purpose,
                "role": mark.role, "department": mark.department, "staff": mark.number, "at": mark.at,
                "records": mark.records, "kinds": list(mark.kinds), "state": mark.state.name.lower(),
                "tag": mark.facts.tag, "glass": mark.glass, "reason": mark.reason,
            }
            for mark in found.marks
        ],
        "troubles": [{"custodian": trouble.custodian, "what": trouble.what} for trouble in found.troubles],
        "unreachable": found.unreachable,
        "warnings": it.warnings(),
        "fresh": it.gate.fresh_ms,
    }  # fmt: skip


def _text(it: Session, found: PatientLog) -> str:
    words = it.words
    custodians = sorted(each.member for each in it.patient.wallet.custodians)
    if not custodians:
        return words("log-not-linked")
    lines = [f"[bold]{words('log-title')}[/bold]"]
    for custodian in custodians:
        marks = [mark for mark in found.marks if mark.custodian == custodian]
        lines.append(f"[bold]{it.name(custodian)}[/bold]")
        lines += [f"  {line}" for mark in marks for line in _mark(it, mark)]
        if not marks:
            lines.append(f"  {words('log-nothing-here')}")
    lines.append("")
    if found.troubles:
        lines.append(f"[red]{words('log-gap')}[/red]")
        lines += [f"  {it.name(trouble.custodian)}: {plain(trouble.what)}" for trouble in found.troubles]
    lines += [words("log-away", member=it.name(member)) for member in found.unreachable]
    if found.whole:
        lines.append(f"[green]{words('log-whole')}[/green]")
    return "\n".join(lines)


def _mark(it: Session, mark: PatientMark) -> list[str]:
    words = it.words
    at = words.time(mark.at)
    if mark.state is MarkState.VOID:
        return [words("log-void", at=at, custodian=it.name(mark.custodian), n=mark.facts.n)]
    line = words(
        "log-line", at=at, requester=it.name(mark.requester), count=mark.records, custodian=it.name(mark.custodian),
        why=plain(words.name(mark.purpose)), role=plain(mark.role), department=plain(mark.department),
        number=plain(mark.number),
    )  # fmt: skip
    lines = [line]
    if mark.reason is not None:
        lines.append("  " + words("log-glass", reason=plain(mark.reason)))
    if mark.state is MarkState.LATE:
        lines.append("  " + words("log-late"))
    return lines


def notices(wallet: Wallet, pin_file: PinFile = None, lang: PatientsLanguage = "en", as_json: AsJson = False) -> None:
    """What happened without the patient's asking: glass broken, a recovery under way, mandates, links, receipts."""
    with session(wallet, pin_file, lang) as it:
        found = asyncio.run(_read(it))
        told = [*_glasses(it, found), *_handle(it), *_papers(it, found)]
        for fields, text in told:
            emit(fields, as_json=as_json, text=text)
        if not told and not as_json:
            emit({}, as_json=False, text=it.words("nothing-new"))
        it.warn()


Told = tuple[dict[str, object], str]


def _glasses(it: Session, found: PatientLog) -> list[Told]:
    return [_glass(it, notice) for notice in found.glasses]


def _glass(it: Session, notice: GlassNotice) -> Told:
    words = it.words
    stands = it.gate.broken_glass(notice.tag, notice.requester) is not None
    text = words(
        "glass", at=words.time(notice.at), requester=it.name(notice.requester), custodian=it.name(notice.custodian),
        role=plain(notice.role), department=plain(notice.department), number=plain(notice.number),
        reason=plain(notice.reason), by=words.time(notice.review_by),
    )  # fmt: skip
    fields: dict[str, object] = {
        "notice": "glass", "requester": notice.requester, "custodian": notice.custodian, "tag": notice.tag,
        "role": notice.role, "department": notice.department, "staff": notice.number, "reason": notice.reason,
        "at": notice.at, "review_by": notice.review_by, "on_ledger": stands,
    }  # fmt: skip
    return fields, text if stands else f"{text} [yellow]{words('glass-not-yet')}[/yellow]"


def _handle(it: Session) -> list[Told]:
    words = it.words
    told: list[Told] = []
    shown = it.gate.handle(it.patient.handle)
    record = shown.record
    if record is not None and record.recovery is not None:
        pending = record.recovery
        told.append(
            (
                {"notice": "recovery", "member": pending.member, "second": pending.second, "at": pending.at},
                words("recovery-pending", member=it.name(pending.member), at=words.time(pending.at)),
            )
        )
    for author, each in shown.passkeys.items():
        if each.role is Role.REPRESENTATIVE and each.live(it.gate.now()) and each.ends is not None:
            fields: dict[str, object] = {
                "notice": "mandate",
                "passkey": author,
                "member": each.member,
                "ends": each.ends,
            }
            told.append((fields, words("mandate", id=author.hex(), date=words.date(each.ends))))
    return told


def _papers(it: Session, found: PatientLog) -> list[Told]:
    words = it.words
    links: list[Told] = [
        ({"notice": "link", "custodian": each.member}, words("link", member=it.name(each.member)))
        for each in it.patient.wallet.custodians
    ]
    receipts: list[Told] = [
        (
            {"notice": "receipt", "requester": each.requester, "tag": each.tag, "at": each.at},
            words("receipt", at=words.time(each.at), requester=it.name(each.requester)),
        )
        for each in found.receipts
    ]
    return links + receipts
