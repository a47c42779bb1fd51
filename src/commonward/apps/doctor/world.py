"""Everyone else: sequencer and members over mutual TLS, whose keys they show, and what their clocks say."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Final

from commonward.adapters.keys import MemberKeys, client_context
from commonward.apps.doctor.findings import Finding, Level, fail, ok, warn
from commonward.apps.errors import FORESEEN
from commonward.apps.probing import Met, call
from commonward.apps.settings import Address, Settings
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import MemberId, Purpose, key_id
from commonward.records.certificates import CertificateRefused, leaf_key

_CLOCK_FAR: Final = 30_000
_CLOCK_OFF: Final = 5_000


def world(settings: Settings, genesis: Genesis, keys: MemberKeys) -> Iterator[Finding]:
    try:
        context = client_context(keys, [each.certificate for each in genesis.members])
    except FORESEEN as why:
        yield fail("TLS", str(why), "issue a TLS certificate for the key in use")
        return
    others = sorted(settings.peers.items())
    with ThreadPoolExecutor(max_workers=max(len(others), 1) + 1) as threads:
        sequencer = threads.submit(call, context, settings.sequencer, http=False)
        calls = [(name, address, threads.submit(call, context, address, http=True)) for name, address in others]
        yield _met("sequencer", genesis.operator, settings.sequencer, sequencer.result(), genesis, Level.FAIL)
        clocks = []
        for name, address, pending in calls:
            met = pending.result()
            yield _met(f"peer {name}", name, address, met, genesis, Level.WARN)
            if met.ahead_ms is not None:
                clocks.append(met.ahead_ms)
    if clocks:
        yield _clock(median(clocks), len(clocks))


def _met(check: str, member: str, address: Address, met: Met, genesis: Genesis, away: Level) -> Finding:
    if met.why:
        do = "is it running, and is the address right? Its operator can run `commonward doctor` there"
        return Finding(check, away, f"{address}: {met.why}", do)
    try:
        found = key_id(*leaf_key(met.certificate))
    except (CertificateRefused, ValueError) as why:
        return fail(check, f"{address}: {why}", f"expected {member}; tell {member}")
    owner = {key.id: each.id for each in genesis.members for key in each.keys if key.purpose is Purpose.TLS}.get(found)
    if owner is None:
        do = "right if it was replaced since genesis, which the running node checks at each call"
        return warn(check, f"{address}: answers in {met.took_ms:.0f} ms with a key that is not in genesis", do)
    if owner != MemberId(member):
        return fail(check, f"{address}: the key there is {owner}'s, not {member}'s", "mend the address in node.toml")
    return ok(check, f"{address}: {member}, in {met.took_ms:.0f} ms")


def _clock(off_ms: float, count: int) -> Finding:
    found = f"{abs(off_ms) / 1000:.0f} s {'behind' if off_ms > 0 else 'ahead of'} {count} other members (their median)"
    if abs(off_ms) > _CLOCK_FAR:
        return fail("clock", found, "set the clock (NTP): at 30 s off the node refuses good blocks")
    if abs(off_ms) > _CLOCK_OFF:
        return warn("clock", found, "set the clock (NTP)")
    return ok("clock", f"within {_CLOCK_OFF // 1000} s of {count} other members (their median)")
