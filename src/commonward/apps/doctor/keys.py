"""Keys and certificates: do they open, are they the registered ones, and how long do they last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cryptography import x509

from commonward.adapters.keys import CertificateAuthority, MemberKeys
from commonward.apps.doctor.findings import Finding, fail, ok, warn
from commonward.apps.errors import FORESEEN
from commonward.apps.settings import Settings
from commonward.apps.wiring import open_keys
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import BlockTime, Purpose

_DAY: Final = 86_400_000
_SOON: Final = 30
_CA_SOON: Final = 180  # days: a CA is replaced by vote


def keys_of(settings: Settings) -> MemberKeys | Finding:
    try:
        return open_keys(settings)
    except FORESEEN as why:
        return fail(
            "keys", str(why), f"put the right passphrase in {settings.passphrase_file}, or restore the key file"
        )


def keys_findings(settings: Settings, genesis: Genesis, keys: MemberKeys, now: BlockTime) -> Iterator[Finding]:
    registered = {key.id: key for member in genesis.members if member.id == settings.member for key in member.keys}
    wanted = [each for each in Purpose if keys.has(each)]
    strange, days = [], []
    for purpose in wanted:
        found = registered.get(keys.public(purpose)[2])
        if found is None:
            strange.append(purpose.name.lower())
        else:
            days.append((_days(found.ends, now), purpose.name.lower()))
    yield ok("keys", f"the passphrase opens all {len(wanted)} of them")
    if strange:
        yield warn(
            "keys",
            f"not in genesis: {', '.join(strange)}",
            "right if they were replaced since (`commonward member show`); else restore the keys of this member",
        )
    if days:
        least, name = min(days)
        yield _lasting("key registration", f"the {name} key", least, _SOON, "register a new one: AddKey")
    try:
        tls = x509.load_der_x509_certificate(keys.tls_certificate)
        left = _days(int(tls.not_valid_after_utc.timestamp() * 1000), now)
        yield _lasting("TLS certificate", "it", left, _SOON, "issue a new one under this member's CA")
    except (*FORESEEN, ValueError) as why:
        yield fail("TLS certificate", str(why), "issue one under this member's CA")
    if not (settings.data / "ca").is_dir():
        return
    try:
        authority = CertificateAuthority.open(settings.data / "ca", settings.passphrase())
    except FORESEEN as why:
        yield fail("CA", str(why), "restore it: without it no staff and no TLS certificate can be issued")
        return
    known = next((each.certificate for each in genesis.members if each.id == settings.member), None)
    if known is not None and authority.certificate != known:
        yield warn("CA", "it is not the one in genesis", "right if it was replaced by vote; else restore the CA")
    ca = x509.load_der_x509_certificate(authority.certificate)
    left = _days(int(ca.not_valid_after_utc.timestamp() * 1000), now)
    yield _lasting("CA", "it", left, _CA_SOON, "make a new CA and propose its certificate")


def _days(ends_ms: int, now: int) -> int:
    return (ends_ms - now) // _DAY


def _lasting(check: str, what: str, days: int, soon: int, do: str) -> Finding:
    if days < 0:
        return fail(check, f"{what} ended {-days} days ago", do)
    return warn(check, f"{what} ends in {days} days", do) if days < soon else ok(check, f"{what} lasts {days} days")
