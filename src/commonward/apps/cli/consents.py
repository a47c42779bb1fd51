"""A patient's consents: give, hold, list, withdraw, deliver their openings."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from commonward.apps.cli.languages import PatientsLanguage
from commonward.apps.cli.output import AWAY, AsJson, Wallet, emit, fail
from commonward.apps.cli.plain import plain
from commonward.apps.cli.wallets import PinFile, Session, Yes, session, to_consent
from commonward.apps.signing.signer import rules_of
from commonward.ledger.consent import Research
from commonward.ledger.ids import ConsentId, parse_member_id, parse_study_id
from commonward.records.rules import Effect, Rule, Scope, everything_but
from commonward.records.sensitivity import default_sensitivity
from commonward.workflows.patient import Delivered, Given

PURPOSES = ("TREAT", "ETREAT", "HPAYMT", "HRESCH", "PUBHLTH")
"""HL7 v3 PurposeOfUse codes that a consent may permit."""

_consent = typer.Typer(help="Say who may see what.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(_consent, name="consent", no_args_is_help=True)


@_consent.command()
def grant(
    wallet: Wallet,
    to: Annotated[list[str] | None, typer.Option(help="A member that may ask; may be repeated.")] = None,
    at: Annotated[list[str] | None, typer.Option(help="A custodian whose records are meant; all without.")] = None,
    purpose: Annotated[list[str] | None, typer.Option(help="TREAT and ETREAT without.")] = None,
    but: Annotated[
        list[str] | None,
        typer.Option("--except", help="Everything but this class of sensitive records; may be repeated."),
    ] = None,
    everything: Annotated[bool, typer.Option(help="Sensitive records of every kind, too.")] = False,
    study: Annotated[
        str | None, typer.Option(help="To take part in this study (its id), with --site; a wallet takes part in one.")
    ] = None,
    site: Annotated[str | None, typer.Option(help="With --study: the member whose records of you it may read.")] = None,
    days: Annotated[int, typer.Option(min=1, help="Until the midnight after so many days.")] = 365,
    pin_file: PinFile = None,
    lang: PatientsLanguage = "en",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Give a consent and open it to whom it concerns. Without --except or --everything: nothing sensitive."""
    with session(wallet, pin_file, lang, yes=yes) as it:
        research = _research(study, site, [*(to or []), *(at or []), *(purpose or [])])
        if research is not None:
            to, at, purpose = [research.site], [research.site], ["HRESCH"]
        elif not to:
            fail("expected --to MEMBER, or --study and --site")
        rules = _rules(it, to, at or [], purpose or ["TREAT", "ETREAT"], but or [], everything=everything)
        told = asyncio.run(_granted(it, rules, days, research))
        _tell(it, told, as_json=as_json)


def _research(study: str | None, site: str | None, others: list[str]) -> Research | None:
    if study is None and site is None:
        return None
    if study is None or site is None or others:
        fail("expected --study and --site together, without --to, --at and --purpose: they follow from it")
    try:
        return Research(parse_study_id(bytes.fromhex(study)), parse_member_id(site))
    except ValueError as cause:
        fail(f"--study, --site: {plain(str(cause))}")


def _rules(
    it: Session, to: list[str], at: list[str], purposes: list[str], but: list[str], *, everything: bool
) -> tuple[Rule, ...]:
    members = {member for member, _, _ in it.gate.members()}
    table = default_sensitivity()
    adopted = {each.name: each.digest for each in it.wallet.genesis.tables}.get("sensitivity")
    if adopted is not None and adopted != table.digest:
        fail("the consortium has adopted another table of sensitive classes than this program's: update it first")
    for option, given, known in (
        ("--to", to, members), ("--at", at, members), ("--purpose", purposes, set(PURPOSES)),
        ("--except", but, set(table.sensitive)),
    ):  # fmt: skip
        strange = sorted(set(given) - known)
        if strange:
            fail(f"{option}: expected one of {', '.join(sorted(known))}, got {plain(strange[0])!r}")
    who, why, where = frozenset(to), frozenset(purposes), frozenset(at) if at else None
    if but or everything:
        return everything_but(
            frozenset(but), members=who, purposes=why, sensitive=frozenset(table.sensitive), custodians=where
        )
    return (Rule(1, Effect.PERMIT, Scope(members=who, purposes=why, custodians=where)),)


async def _granted(it: Session, rules: tuple[Rule, ...], days: int, research: Research | None) -> Delivered:
    await _ready(it)
    return await it.patient.grant(rules, days=days, research=research)


async def _ready(it: Session) -> None:
    """What was left behind first, and who custodians are by now."""
    await it.patient.finish()
    await it.patient.learn_links()


@_consent.command()
def hold(
    wallet: Wallet,
    reason: Annotated[str, typer.Option(help="For the custodians' eyes.")] = "",
    pin_file: PinFile = None,
    lang: PatientsLanguage = "en",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Stop all releases at once, whatever else was permitted, until withdrawn by its id."""
    with session(wallet, pin_file, lang, yes=yes) as it:

        async def held() -> Delivered:
            await _ready(it)
            return await it.patient.hold(reason)

        _tell(it, asyncio.run(held()), as_json=as_json)


@_consent.command()
def withdraw(
    consent: Annotated[str, typer.Argument(help="The consent's id, as `consent list` shows it.")],
    wallet: Wallet,
    reason: Annotated[str, typer.Option(help="For the custodians' eyes.")] = "",
    pin_file: PinFile = None,
    lang: PatientsLanguage = "en",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """End a consent, or lift a hold. Any member carries it; it acts at once."""
    with session(wallet, pin_file, lang, yes=yes) as it:
        chosen = _known(it, consent)

        async def withdrawn() -> Delivered:
            await _ready(it)
            return await it.patient.withdraw(chosen, reason)

        _tell(it, asyncio.run(withdrawn()), as_json=as_json)


@_consent.command()
def deliver(
    wallet: Wallet,
    consent: Annotated[str, typer.Argument(help="One consent's id; all that wait without.")] = "",
    pin_file: PinFile = None,
    lang: PatientsLanguage = "en",
    as_json: AsJson = False,
) -> None:
    """Send openings again to who has not acknowledged them, and what a crash left behind. Exit 3 if some still wait."""
    with session(wallet, pin_file, lang) as it:
        chosen = [_known(it, consent)] if consent else [each.opening.consent for each in it.patient.wallet.given]

        async def delivered() -> list[Delivered]:
            await _ready(it)
            given = {each.opening.consent for each in it.patient.wallet.given}
            return [await it.patient.deliver(each) for each in chosen if each in given]

        told = asyncio.run(delivered())
        for each in told:
            _tell(it, each, as_json=as_json)
        if not told and not as_json:
            emit({}, as_json=False, text=it.words("consents-none"))
        if any(each.waiting for each in told):
            raise typer.Exit(AWAY)


def _known(it: Session, text: str) -> ConsentId:
    """By its id or the beginning of it, if only one has it."""
    found = [each.opening.consent for each in it.patient.wallet.given]
    fitting = [each for each in found if each.hex().startswith(text.lower())] if len(text) >= 4 else []
    if len(fitting) == 1:
        return fitting[0]
    asked = to_consent(text) if len(text) == 32 else text
    fail(f"expected one of the consents that `commonward consent list` shows, got {plain(str(asked))!r}")


def _tell(it: Session, told: Delivered, *, as_json: bool) -> None:
    fields = {
        "consent": told.consent, "acknowledged": sorted(told.acknowledged), "waiting": sorted(told.waiting),
        "partly": sorted(told.partly),
    }  # fmt: skip
    lines = [it.words("landed"), it.words("consent-id", id=told.consent.hex()), *_delivery(it, told)]
    emit(fields, as_json=as_json, text="\n".join(lines))
    it.warn()


def _delivery(it: Session, told: Delivered) -> list[str]:
    lines = []
    if told.acknowledged:
        lines.append(it.words("acknowledged", members=", ".join(it.name(each) for each in sorted(told.acknowledged))))
    if told.partly:
        lines.append(it.words("partly", members=", ".join(it.name(each) for each in sorted(told.partly))))
    if told.waiting:
        lines.append(it.words("waiting", members=", ".join(it.name(each) for each in sorted(told.waiting))))
    return lines


@_consent.command("list")
def list_(wallet: Wallet, pin_file: PinFile = None, lang: PatientsLanguage = "en", as_json: AsJson = False) -> None:
    """Every consent given from this wallet: its rules, and what the ledger says of it now."""
    with session(wallet, pin_file, lang) as it:
        given = it.patient.wallet.given
        now = it.gate.consents([each.opening.consent for each in given])
        for each in given:
            state = _state(it, each, is_open=now[each.opening.consent] is not None)
            rules = [plain(it.words.rule(rule, it.wallet.member_name, _sensitive())) for rule in rules_of(each.opening)]
            fields = {
                "consent": each.opening.consent, "state": state, "hold": each.hold,
                "rules": rules, "acknowledged": sorted(it.patient.acknowledged(each)),
            }  # fmt: skip
            head = f"{each.opening.consent.hex()}  {it.words(f'state-{state}')}"
            emit(fields, as_json=as_json, text="\n".join([head, *(f"  {rule}" for rule in rules)]))
        if not given and not as_json:
            emit({}, as_json=False, text=it.words("consents-none"))
        it.warn()


def _state(it: Session, given: Given, *, is_open: bool) -> str:
    if it.patient.is_pending(given):
        return "pending"
    if given.withdrawn is not None:
        return "withdrawn"
    return "open" if is_open else "ended"


def _sensitive() -> frozenset[str]:
    return frozenset(default_sensitivity().sensitive)
