"""Everyone else: sequencer and members over mutual TLS, whose keys they show, how long those last, and their clocks."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Final

from commonward.adapters.keys import MemberKeys, client_context
from commonward.apps.announcing import ends_of
from commonward.apps.doctor.findings import Finding, Level, fail, ok, warn
from commonward.apps.doctor.known import Known
from commonward.apps.errors import FORESEEN
from commonward.apps.probing import Met, call
from commonward.apps.settings import Address, Settings
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import BlockTime, MemberId, Purpose, key_id
from commonward.records.certificates import CertificateRefused, leaf_key
from commonward.workflows.expiry import DAY, SOON

_CLOCK_FAR: Final = 30_000
_CLOCK_OFF: Final = 5_000
_MOST_AT_ONCE: Final = 32


def world(settings: Settings, genesis: Genesis, known: Known, keys: MemberKeys, now: BlockTime) -> Iterator[Finding]:
    try:
        context = client_context(keys, known.authorities())
    except FORESEEN as why:
        yield fail("TLS", str(why), "issue a TLS certificate for the key in use: `commonward member rotate-key tls`")
        return
    yield from _addresses(settings, known)
    others = sorted(settings.peers.items())
    with ThreadPoolExecutor(max_workers=min(len(others) + 1, _MOST_AT_ONCE)) as threads:
        at = settings.sequencer
        sequencer = None if at is None else threads.submit(call, context, at, http=False)
        calls = [(name, address, threads.submit(call, context, address, http=True)) for name, address in others]
        if at is not None and sequencer is not None:
            yield _met("sequencer", genesis.operator, at, sequencer.result(), known, Level.FAIL, now)
        clocks = []
        for name, address, pending in calls:
            met = pending.result()
            yield _met(f"peer {name}", name, address, met, known, Level.WARN, now)
            if met.ahead_ms is not None:
                clocks.append(met.ahead_ms)
    if clocks:
        yield _clock(median(clocks), len(clocks))


def _addresses(settings: Settings, known: Known) -> Iterator[Finding]:
    members = {str(each) for each in known.roll.active()}
    for name in sorted(members - {settings.member, *settings.peers}):
        do = f'add {name} = "HOST:PORT" under [peers] of node.toml (ask {name}), and restart the node'
        yield warn("peers", f"{name} is a member and has no address here: nothing can be asked of it", do)
    for name in sorted(set(settings.peers) - members):
        do = "remove it under [peers] of node.toml when it has left for good"
        yield warn("peers", f"{name} has an address here and is no active member", do)


def _met(check: str, member: str, address: Address, met: Met, known: Known, away: Level, now: BlockTime) -> Finding:
    if met.why:
        do = "is it running, and is the address right? Its operator can run `commonward doctor` there"
        return Finding(check, away, f"{address}: {met.why}", do)
    try:
        found = key_id(*leaf_key(met.certificate))
    except (CertificateRefused, ValueError) as why:
        return fail(check, f"{address}: {why}", f"expected {member}; tell {member}")
    key = known.key(found)
    if key is None or key.purpose is not Purpose.TLS:
        do = "right if it was registered a moment ago; the running node checks it at each call"
        return warn(check, f"{address}: answers in {met.took_ms:.0f} ms with a key that the ledger does not know", do)
    if key.member != MemberId(member):
        return fail(
            check, f"{address}: the key there is {key.member}'s, not {member}'s", "mend the address in node.toml"
        )
    if key.revoked is not None or not key.covers(now):
        return fail(check, f"{address}: {member} shows a TLS key that was revoked or ended", f"tell {member}")
    ends = ends_of(met.certificate) or 0
    days = (min(ends, key.ends) - now) // DAY
    lasts = f"{address}: {member}, in {met.took_ms:.0f} ms; certificate lasts {days} days"
    if days < 0:
        return fail(check, f"{address}: {member}'s certificate ended {-days} days ago", f"tell {member}")
    if days < SOON // DAY:
        return warn(check, lasts, f"tell {member}: `commonward member rotate-key tls`, then restart its node")
    return ok(check, lasts)


def _clock(off_ms: float, count: int) -> Finding:
    found = f"{abs(off_ms) / 1000:.0f} s {'behind' if off_ms > 0 else 'ahead of'} {count} other members (their median)"
    if abs(off_ms) > _CLOCK_FAR:
        return fail("clock", found, "set the clock (NTP): at 30 s off the node refuses good blocks")
    if abs(off_ms) > _CLOCK_OFF:
        return warn("clock", found, "set the clock (NTP)")
    return ok("clock", f"within {_CLOCK_OFF // 1000} s of {count} other members (their median)")
