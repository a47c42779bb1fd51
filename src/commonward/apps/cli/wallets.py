"""What every patient's command shares: a wallet opened with its PIN, the gate, words, and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from commonward.apps.cli.output import AWAY, REFUSED, UNUSABLE, err, fail
from commonward.apps.cli.plain import plain
from commonward.apps.settings import BadSettings
from commonward.apps.signing.client import RemoteGate
from commonward.apps.signing.passkey import NotVerified, WrongRelyingParty
from commonward.apps.signing.proven import NotProven
from commonward.apps.signing.signer import Declined, NotWhatIsShown, Shown
from commonward.apps.signing.wallet import KeptPatient, WalletFolder
from commonward.apps.signing.words import Words
from commonward.apps.wiring import SystemEntropy, WallClock
from commonward.ledger.ids import ConsentId, Handle, parse_consent_id, parse_handle
from commonward.records.rules import RuleError
from commonward.records.trust import TrustRefused, TrustUnreadable, fingerprint_words
from commonward.workflows.patient import NotAccepted
from commonward.workflows.ports import PeerAway

PinFile = Annotated[
    Path | None,
    typer.Option("--pin-file", envvar="COMMONWARD_PIN_FILE", help="A file with the wallet's PIN; asked for without."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Sign what is shown without asking.")]


@dataclass(frozen=True, slots=True)
class Session:
    """An opened wallet at work."""

    wallet: WalletFolder
    gate: RemoteGate
    patient: KeptPatient
    words: Words

    def name(self, member: str) -> str:
        """How a member is called, safe for a terminal."""
        return plain(self.wallet.member_name(member))

    def warnings(self) -> list[str]:
        """What the patient must know of where the answers came from."""
        found = [self.words("doubt", member=member, what=what) for member, what in self.gate.doubts]
        if not self.gate.is_fresh:
            found.insert(0, self.words("not-fresh", at=self.words.time(self.gate.fresh_ms)))
        if self.gate.followed is not None:
            before, now = fingerprint_words(self.gate.followed), fingerprint_words(self.gate.ledger_id)
            found.insert(0, self.words("followed", before=before, now=now))
        return found

    def warn(self) -> None:
        for line in self.warnings():
            err.print(f"[yellow]{plain(line)}[/yellow]")


def read_pin(pin_file: Path | None, *, twice: bool = False) -> bytes:
    """From the file, or typed in unseen. Never an argument: those show in the process list."""
    if pin_file is not None:
        try:
            pin = pin_file.read_bytes().strip()
        except OSError as cause:
            fail(f"--pin-file: cannot read {pin_file}: {cause.strerror}")
    else:
        pin = str(typer.prompt("PIN", hide_input=True, confirmation_prompt=twice, err=True)).encode()
    if len(pin) < 4:
        fail(f"expected a PIN of at least 4 characters, got {len(pin)}")
    return pin


def shower(words: Words, *, yes: bool) -> Callable[[Shown], None]:
    """Shows what is about to be signed, and asks."""

    def show(shown: Shown) -> None:
        err.print(f"[bold]{plain(words('signing'))}[/bold]")
        err.print(f"  [bold]{plain(shown.title)}[/bold]")
        for line in shown.lines:
            err.print(f"  {plain(line)}")
        if yes:
            return
        if not sys.stdin.isatty():
            raise Declined(words("ask-yes"))
        if not typer.confirm(words("sign-it"), err=True):
            raise Declined(words("declined"))

    return show


@contextmanager
def telling() -> Iterator[None]:
    """Turns what can go wrong for a patient into words and an exit code."""
    try:
        yield
    except (BadSettings, NotVerified, WrongRelyingParty, TrustRefused, TrustUnreadable, RuleError) as why:
        fail(plain(str(why)), UNUSABLE)
    except (Declined, NotWhatIsShown, NotProven) as why:
        fail(plain(str(why)), REFUSED)
    except NotAccepted as why:
        fail(plain(str(why)), REFUSED if why.code > 0 else AWAY)
    except PeerAway as why:
        fail(plain(str(why)), AWAY)


@contextmanager
def session(folder: Path, pin_file: Path | None, language: str, *, yes: bool = False) -> Iterator[Session]:
    """Opens a wallet and a gate to all members."""
    words = Words(language)
    with telling():
        wallet = WalletFolder.open(folder, read_pin(pin_file))
        try:
            gate = wallet.gate(WallClock())
            try:
                yield Session(wallet, gate, wallet.patient(gate, shower(words, yes=yes), words, SystemEntropy()), words)
            finally:
                gate.close()
        finally:
            wallet.close()


def to_handle(text: str) -> Handle:
    return Handle(_hex(text, "a handle", parse_handle))


def to_consent(text: str) -> ConsentId:
    return ConsentId(_hex(text, "a consent's id", parse_consent_id))


def _hex(text: str, what: str, parse: Callable[[object], bytes]) -> bytes:
    try:
        return parse(bytes.fromhex(text))
    except ValueError as cause:
        fail(f"expected {what} in hex digits, got {plain(text[:80])!r}: {cause}")
