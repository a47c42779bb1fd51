"""Keys and certificates: do they open, are they the registered ones, and how long do they and the others' last."""

from __future__ import annotations

from collections.abc import Iterator

from commonward.adapters.keys import CertificateAuthority, MemberKeys
from commonward.apps.announcing import authorities, ends_of
from commonward.apps.doctor.findings import Finding, fail, ok, warn
from commonward.apps.doctor.known import Known
from commonward.apps.errors import FORESEEN
from commonward.apps.settings import Settings
from commonward.apps.wiring import open_keys
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import BlockTime, MemberId, Purpose
from commonward.workflows.expiry import CA_SOON, DAY, SOON, endings, quorum_ends


def keys_of(settings: Settings) -> MemberKeys | Finding:
    try:
        return open_keys(settings)
    except FORESEEN as why:
        return fail(
            "keys", str(why), f"put the right passphrase in {settings.passphrase_file}, or restore the key file"
        )


def keys_findings(settings: Settings, known: Known, keys: MemberKeys, now: BlockTime) -> Iterator[Finding]:
    wanted = [each for each in Purpose if keys.has(each)]
    strange, days = [], []
    for purpose in wanted:
        found = known.key(keys.public(purpose)[2])
        if found is None or found.member != settings.member or found.revoked is not None:
            strange.append(purpose.name.lower())
        else:
            days.append(((found.ends - now) // DAY, purpose.name.lower()))
    yield ok("keys", f"the passphrase opens all {len(wanted)} of them")
    if strange:
        yield warn(
            "keys",
            f"the ledger, as this node last knew it, has no such {', '.join(strange)} key of {settings.member}",
            "right if they were replaced just now (`commonward member keys`); else restore the keys of this member",
        )
    if days:
        least, name = min(days)
        do = f"`commonward member rotate-key {name}`, then restart the node"
        yield _lasting("key registration", f"the {name} key", least, SOON // DAY, do)
    try:
        yield _certificate("TLS certificate", keys.tls_certificate, now, SOON, "`commonward member rotate-key tls`")
    except FORESEEN as why:
        yield fail("TLS certificate", str(why), "issue one under this member's CA: `commonward member rotate-key tls`")
    if not (settings.data / "ca").is_dir():
        return
    try:
        authority = CertificateAuthority.open(settings.data / "ca", settings.passphrase())
    except FORESEEN as why:
        yield fail("CA", str(why), "restore it: without it no staff and no TLS certificate can be issued")
        return
    registered = known.roll.certificate(settings.member)
    if registered is None and known.has(settings.member):
        do = "`commonward member new-ca`, and have the members vote on it; until then nobody here is believed"
        yield fail("CA", "the members took this member's CA out of force", do)
    elif registered is not None and authority.certificate != registered:
        do = "right while the members vote on it; else restore the CA"
        yield warn("CA", "it is not the one that the ledger knows for this member", do)
    yield _certificate("CA", authority.certificate, now, CA_SOON, "make a new CA and propose its certificate")


def others(genesis: Genesis, known: Known, own: MemberId, now: BlockTime) -> Iterator[Finding]:
    """What of other members' ends soon: a quorum is made of all."""
    lost = quorum_ends(known.roll, now, consensus=genesis.consensus)
    if lost is not None:
        do = f"tell {', '.join(lost.members)} to rotate theirs, each by itself, today"
        yield fail("quorum", lost.text(now), do)
    found = endings(known.roll, own, now, operator=genesis.operator, certificates=list(authorities(known.roll)))
    theirs = [each for each in found if each.member != own]
    for each in theirs:
        yield warn("others' keys", each.text(now), each.do)
    if not theirs and lost is None:
        count = len(known.roll.active())
        yield ok("others' keys", f"none of the {count} members' keys or CAs ends soon")


def _certificate(check: str, der: bytes, now: BlockTime, soon: int, do: str) -> Finding:
    ends = ends_of(der)
    if ends is None:
        return fail(check, "expected a certificate, found other bytes", do)
    return _lasting(check, "it", (ends - now) // DAY, soon // DAY, do)


def _lasting(check: str, what: str, days: int, soon: int, do: str) -> Finding:
    if days < 0:
        return fail(check, f"{what} ended {-days} days ago", do)
    return warn(check, f"{what} ends in {days} days", do) if days < soon else ok(check, f"{what} lasts {days} days")
