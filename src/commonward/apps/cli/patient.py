"""A patient's wallet, mandates and recovery; and the desk's side of enrolment, which runs at a member."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from commonward.apps import settings as node_settings
from commonward.apps.api.client import ControlClient
from commonward.apps.cli import consents, patient_log
from commonward.apps.cli.languages import PatientsLanguage
from commonward.apps.cli.output import AsJson, Data, Wallet, emit, fail
from commonward.apps.cli.plain import plain
from commonward.apps.cli.wallets import (
    PinFile,
    Session,
    Yes,
    read_pin,
    session,
    telling,
    to_handle,
)
from commonward.apps.founding import CONSORTIUM, GENESIS
from commonward.apps.settings import Address
from commonward.apps.signing.sheet import BadSheet, Sheet, print_sheet, read_sheet
from commonward.apps.signing.wallet import Site, WalletFolder, keep_sealing_key, write_atomically
from commonward.apps.signing.words import Words
from commonward.apps.wiring import SystemEntropy
from commonward.ledger.consent import EndMandate, StopRecovery
from commonward.ledger.ids import Digest, Handle, MemberId, parse_digest, parse_member_id
from commonward.ledger.possession import PasskeyPurpose
from commonward.ledger.rules import Role, author_of_passkey
from commonward.records.evidence import label_of
from commonward.records.openings import commit
from commonward.workflows.enrolment_request import EnrolmentRequest
from commonward.workflows.wire import MessageError

REQUEST = "enrolment.cwr"

_patient = typer.Typer(help="A patient's wallet, and its enrolment at a member's desk.")
_mandate = typer.Typer(help="Representatives: parents, guardians, proxies.")
_recovery = typer.Typer(help="When every passkey of a handle is lost.")

Staff = Annotated[str, typer.Option(help="The number of the staff member who checked the person's identity.")]
Checked = Annotated[str, typer.Option("--words", help="How identity was checked. Kept sealed at the member.")]
RequestFile = Annotated[Path, typer.Option("--request", help="The file that the patient's wallet wrote.")]


def add_to(app: typer.Typer) -> None:
    """Everything about and for patients."""
    for group, name in ((_patient, "patient"), (_mandate, "mandate"), (_recovery, "recovery")):
        app.add_typer(group, name=name, no_args_is_help=True)
    consents.add_to(app)
    patient_log.add_to(app)


# --- the wallet -------------------------------------------------------------------------------------


@_patient.command()
def new(
    wallet: Wallet,
    consortium: Annotated[Path, typer.Option(help="The consortium's public folder: its genesis and addresses.")],
    page: Annotated[str, typer.Option(help="Whose signing page to use; the first member's without.")] = "",
    represent: Annotated[str, typer.Option(help="Make a representative's wallet, for this handle.")] = "",
    recover: Annotated[str, typer.Option(help="Make a wallet with a new passkey for this lost handle.")] = "",
    sheet: Annotated[Path | None, typer.Option(help="The recovery sheet, typed into a file.")] = None,
    pin_file: PinFile = None,
    lang: PatientsLanguage = "en",
    as_json: AsJson = False,
) -> None:
    """Make a wallet with a passkey, and the request that a member's desk enrols it by."""
    words = Words(lang)
    with telling():
        genesis, site = _public(consortium, page)
        purpose, handle, sealing = _meant(represent, recover, sheet)
        made = WalletFolder.create(
            wallet, genesis, site, read_pin(pin_file, twice=True), SystemEntropy(),
            handle=handle, purpose=purpose, sealing=sealing,
        )  # fmt: skip
        request = asyncio.run(made.request(words))
        write_atomically(wallet / REQUEST, request.to_bytes())
        made.close()
    shown = request.handle.hex()
    fields = {
        "wallet": wallet, "handle": shown, "request": wallet / REQUEST, "purpose": purpose.name.lower(),
        "ledger": made.genesis.ledger_id, "passkey": author_of_passkey(request.credential),
    }  # fmt: skip
    lines = [words("new", folder=wallet, handle=shown), words("new-next", request=wallet / REQUEST)]
    if purpose is PasskeyPurpose.OWN:
        lines += ["", words("one-handle")]
    emit(fields, as_json=as_json, text=plain("\n".join(lines), lines=True))


def _public(consortium: Path, page: str) -> tuple[bytes, Site]:
    try:
        genesis = (consortium / GENESIS).read_bytes()
        found = json.loads((consortium / CONSORTIUM).read_text())
        signing = {parse_member_id(name): each["signing"] for name, each in found["members"].items()}
    except OSError as cause:
        fail(f"expected {GENESIS} and {CONSORTIUM} in {consortium}: {cause.strerror}: {cause.filename}")
    except (ValueError, KeyError, TypeError) as cause:
        fail(f"{consortium / CONSORTIUM}: expected members with their signing addresses, got {cause}")
    addresses = {name: Address.parse(str(text), f"{CONSORTIUM}: {name}") for name, text in signing.items()}
    chosen = MemberId(page) if page else min(addresses, default=MemberId(""))
    if chosen not in addresses:
        fail(f"--page: expected one of {', '.join(sorted(addresses))}, got {plain(page)!r}")
    return genesis, Site(page=chosen, addresses=addresses)


def _meant(represent: str, recover: str, sheet: Path | None) -> tuple[PasskeyPurpose, Handle | None, bytes | None]:
    if represent and (recover or sheet):
        fail("--represent makes a representative's wallet, --recover one for a lost handle: give one of them")
    if represent:
        return PasskeyPurpose.REPRESENTATIVE, to_handle(represent), None
    typed: Sheet | None = None
    if sheet is not None:
        try:
            typed = read_sheet(sheet.read_text())
        except (OSError, BadSheet) as cause:
            fail(f"--sheet: {plain(str(cause))}")
    if typed is None and not recover:
        return PasskeyPurpose.OWN, None, None
    handle = to_handle(recover) if recover else Handle(typed.handle if typed is not None else b"")
    if typed is not None and typed.handle != handle:
        fail(f"--recover: expected the handle of the sheet, {typed.handle.hex()}, got {handle.hex()}")
    return PasskeyPurpose.RECOVERY, handle, None if typed is None else typed.sealing


@_patient.command()
def show(wallet: Wallet, pin_file: PinFile = None, lang: PatientsLanguage = "en", as_json: AsJson = False) -> None:
    """What the wallet is and what the ledger knows of its handle; lets members keep the wrapped sealing key."""
    with session(wallet, pin_file, lang) as it:
        emit(asyncio.run(_standing(it)), as_json=as_json, text=_standing_text(it))
        it.warn()


async def _standing(it: Session) -> dict[str, Any]:
    shown = it.gate.handle(it.patient.handle)
    author = author_of_passkey(it.patient.signer.credential)
    mine = shown.passkeys.get(author)
    enrolled = mine is not None and mine.live(it.gate.now())
    keepers: Sequence[str] = []
    if enrolled:
        await it.patient.learn_links()
        keepers = await keep_sealing_key(it.gate, it.patient.signs, it.patient.kept)
    return {
        "handle": it.patient.handle,
        "ledger": it.gate.ledger_id,
        "passkey": author,
        "page": it.wallet.origin,
        "enrolled": enrolled,
        "role": None if mine is None else mine.role.name.lower(),
        "registered_by": None if mine is None else mine.member,
        "custodians": sorted(each.member for each in it.patient.wallet.custodians),
        "sealing_key_kept_by": sorted(keepers),
        "waiting_to_be_sent": len(it.patient.kept.pending),
        "seen_size": it.gate.seen.size,
        "fresh": it.gate.fresh_ms,
    }


def _standing_text(it: Session) -> str:
    words, wallet = it.words, it.patient.wallet
    linked = [it.wallet.member_name(each.member) for each in wallet.custodians]
    lines = [
        words("show-handle", handle=wallet.handle.hex()),
        words("show-page", origin=it.wallet.origin),
        words("show-linked", members=", ".join(linked)) if linked else words("log-not-linked"),
        words("show-seen", size=it.gate.seen.size, at=words.time(it.gate.fresh_ms)),
    ]
    return plain("\n".join(lines), lines=True)


@_patient.command("sheet")
def sheet_(wallet: Wallet, pin_file: PinFile = None, lang: PatientsLanguage = "en") -> None:
    """Print the recovery sheet. Whoever has it can read what is sealed to the patient, and sign nothing."""
    with session(wallet, pin_file, lang) as it:
        kept = it.patient.kept
        secret = Sheet(kept.ledger, kept.papers.handle, it.wallet.sealing_private(kept))
        typer.echo(print_sheet(secret, it.words), nl=False)


# --- at a member's desk -----------------------------------------------------------------------------


def _ask_desk(data: Path, path: str, request: Path, purpose: PasskeyPurpose, **more: object) -> dict[str, Any]:
    """Sends a wallet's request to this member's node. NodeAway and NodeRefused are told by `main`."""
    try:
        raw = request.read_bytes()
        found = EnrolmentRequest.parse(raw)
    except OSError as cause:
        fail(f"--request: cannot read {request}: {cause.strerror}")
    except MessageError as cause:
        fail(f"--request: {request} is no request of a wallet: {cause}")
    if found.purpose is not purpose:
        fail(
            f"--request: expected one made for {purpose.name.lower()}, got one for {found.purpose.name.lower()}; "
            "the patient's wallet makes it with `commonward patient new`"
        )
    client = ControlClient(node_settings.load(data))
    answer: dict[str, Any] = client.post(path, {"request": base64.b64encode(raw).decode(), **more})
    return answer


@_patient.command()
def enrol(data: Data, request: RequestFile, words: Checked, staff: Staff, as_json: AsJson = False) -> None:
    """At a member's desk: bind a patient's first passkey to its handle, after checking the person's identity."""
    told = _ask_desk(data, "/patients/enrol", request, PasskeyPurpose.OWN, words=words, staff=staff)
    emit(told, as_json=as_json, text=f"Enrolled handle {told['handle']} at log index {told['index']}.")


@_patient.command()
def link(
    data: Data,
    handle: Annotated[str, typer.Option(help="The patient's handle.")],
    patient: Annotated[str, typer.Option(help="Who the records call this person, e.g. Patient/123.")],
    words: Checked,
    staff: Staff,
    system: Annotated[str, typer.Option(help="The source system that names them so, as ingest was told.")] = "fhir",
    without_records: Annotated[
        bool, typer.Option("--without-records", help="Link though no record here names this patient yet.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """At a custodian's desk: from now on the handle stands for a local patient. Stays in this member's vault."""
    body = {
        "handle": to_handle(handle).hex(), "system": system, "patient": patient, "words": words, "staff": staff,
        "without_records": without_records,
    }  # fmt: skip
    told = ControlClient(node_settings.load(data)).post("/patients/link", body)
    emit(told, as_json=as_json, text=f"Linked; {told['records']} records of this patient are held here.")


@_patient.command()
def unlink(
    data: Data,
    handle: Annotated[str, typer.Option(help="The patient's handle.")],
    words: Annotated[str, typer.Option(help="Why, for the member's log.")],
    staff: Staff,
    as_json: AsJson = False,
) -> None:
    """At a custodian's desk: end a link that was a mistake, or of a patient who leaves. Releases stop at once."""
    body = {"handle": to_handle(handle).hex(), "words": words, "staff": staff}
    told = ControlClient(node_settings.load(data)).post("/patients/unlink", body)
    emit(told, as_json=as_json, text="Unlinked: the handle stands for nobody here.")


# --- mandates and recovery --------------------------------------------------------------------------


@_mandate.command()
def give(
    data: Data,
    request: RequestFile,
    words: Checked,
    staff: Staff,
    scope: Annotated[str, typer.Option(help="What the representative may do, in words. Committed to, not shown.")],
    days: Annotated[int, typer.Option(min=1, help="How long.")] = 365,
    as_json: AsJson = False,
) -> None:
    """At a member's desk: let a representative's passkey speak for a handle, after seeing the evidence for it."""
    told = _ask_desk(
        data, "/patients/mandate", request, PasskeyPurpose.REPRESENTATIVE,
        words=words, staff=staff, scope=scope, days=days,
    )  # fmt: skip
    emit(told, as_json=as_json, text=f"The mandate stands at log index {told['index']}, until {told['end']} ms.")


@_mandate.command()
def end(
    wallet: Wallet,
    passkey: Annotated[str, typer.Option(help="Whose mandate; this wallet's own, or the only one, without.")] = "",
    reason: Annotated[str, typer.Option(help="Committed to, not shown.")] = "",
    pin_file: PinFile = None,
    lang: PatientsLanguage = "en",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """End a representative's mandate: by the patient, or by the representative."""
    with session(wallet, pin_file, lang, yes=yes) as it:
        author = _mandate_of(it, passkey)
        payload = EndMandate(it.patient.handle, author, commit(label_of(EndMandate, "reason"), _salt(), reason))
        landed = asyncio.run(it.patient.say(payload))
        fields = {"handle": it.patient.handle, "passkey": author, "index": landed.index}
        emit(fields, as_json=as_json, text=it.words("landed"))


def _salt() -> bytes:
    return SystemEntropy().bytes(32)


def _mandate_of(it: Session, passkey: str) -> Digest:
    if passkey:
        try:
            return parse_digest(bytes.fromhex(passkey))
        except ValueError as cause:
            fail(f"--passkey: expected 64 hex digits as `notices` shows them, got {plain(passkey)!r}: {cause}")
    if it.patient.kept.purpose is PasskeyPurpose.REPRESENTATIVE:
        return author_of_passkey(it.patient.signer.credential)
    found = [
        author
        for author, each in it.gate.handle(it.patient.handle).passkeys.items()
        if each.role is Role.REPRESENTATIVE and each.live(it.gate.now())
    ]
    if len(found) != 1:
        fail(f"--passkey: expected which of {len(found)} mandates to end: {', '.join(each.hex() for each in found)}")
    return found[0]


@_recovery.command()
def start(
    data: Data,
    request: RequestFile,
    words: Checked,
    staff: Staff,
    second: Annotated[Path | None, typer.Option(help="The second member's file, from `recovery cosign`.")] = None,
    as_json: AsJson = False,
) -> None:
    """At a member's desk: a new passkey takes the place of the lost ones after a wait, unless one of them objects.

    The patient makes the request with `commonward patient new --recover HANDLE` (or --sheet FILE).
    """
    more = {} if second is None else {"second": base64.b64encode(_bytes(second)).decode()}
    told = _ask_desk(
        data, "/patients/recover", request, PasskeyPurpose.RECOVERY, words=words, staff=staff, **more
    )  # fmt: skip
    emit(told, as_json=as_json, text=f"The recovery of {told['handle']} is under way, at log index {told['index']}.")


@_recovery.command()
def cosign(
    data: Data,
    request: RequestFile,
    words: Checked,
    staff: Staff,
    out: Annotated[Path, typer.Option(help="Where to write the signature, for the first member.")],
    as_json: AsJson = False,
) -> None:
    """At a second member's desk: sign, after its own identity check, that this passkey may recover the handle."""
    told = _ask_desk(data, "/patients/recover/cosign", request, PasskeyPurpose.RECOVERY, words=words, staff=staff)
    out.write_bytes(base64.b64decode(told["second"]))
    emit({**told, "out": out}, as_json=as_json, text=f"Wrote {out}; it can be used until {told['until']} ms.")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        fail(f"cannot read {path}: {cause.strerror}")


@_recovery.command()
def stop(
    wallet: Wallet, pin_file: PinFile = None, lang: PatientsLanguage = "en", yes: Yes = False, as_json: AsJson = False
) -> None:
    """Object to a recovery under way: any live passkey of the handle can."""
    with session(wallet, pin_file, lang, yes=yes) as it:
        landed = asyncio.run(it.patient.say(StopRecovery(it.patient.handle)))
        fields = {"handle": it.patient.handle, "index": landed.index}
        emit(fields, as_json=as_json, text=it.words("landed"))
