"""CometBFT beside the node: its program, its answers, whom it is connected to, and who votes.

Asked over its own socket in the member's folder, as the node does. What it says of others is checked against the roll:
node ids are members' NODE keys, validators their VALIDATE keys.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from commonward.adapters.cometbft.home import RPC_SOCKET, VOTE_STATE, Home, node_id
from commonward.adapters.cometbft.process import VERSION, BinaryMissing, find_binary
from commonward.adapters.cometbft.rpc import Rpc, RpcAway, Standing
from commonward.adapters.keys import MemberKeys
from commonward.apps.doctor.findings import Finding, fail, ok, warn
from commonward.apps.doctor.known import Known
from commonward.apps.doctor.process import status_of
from commonward.apps.probing import listens, why_not_free
from commonward.apps.settings import Settings
from commonward.ledger.ids import BlockTime, MemberId, Purpose
from commonward.ledger.members import read_validators, validator_address

_LOOK_BACK: Final = 10
_ABSENT: Final = 1  # BlockIDFlag of a validator whose vote did not reach a block
_VERSION_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What CometBFT said. `votes`: for each of the last blocks, by validator address, whether its vote is in it."""

    standing: Standing
    votes: tuple[dict[bytes, bool], ...]


def program(settings: Settings) -> Finding:
    """Which CometBFT would be started, and whether it is the pinned one."""
    try:
        binary = find_binary(str(getattr(settings, "cometbft", "") or os.environ.get("COMMONWARD_COMETBFT", "")))
        said = subprocess.run(  # noqa: S603  the program that the node starts too
            [binary, "version"], capture_output=True, text=True, timeout=_VERSION_S, check=True
        ).stdout.strip()
    except BinaryMissing as why:
        return fail("CometBFT", str(why), "the node cannot start without it")
    except (OSError, subprocess.SubprocessError) as why:
        return fail("CometBFT", f"it does not say its version: {why}", "install it again: `make cometbft`")
    found = said.removeprefix("v").split("+")[0]
    if found != VERSION:
        do = f"right while the members try it; {VERSION} is the one that was tested with this program"
        return warn("CometBFT", f"{binary} is version {found}, not the pinned {VERSION}", do)
    return ok("CometBFT", f"{binary}, version {found}, the pinned one")


def secrets(settings: Settings) -> Iterator[Finding]:
    """What it may vote with, and must remember."""
    home = settings.comet_home
    if (home / "data" / "blockstore.db").exists() and not (home / VOTE_STATE).exists():
        do = (
            "put the file back from this machine's own disk, never from an old copy; docs/operations.md, dead validator"
        )
        yield fail("vote state", f"{home / VOTE_STATE} is missing: it could vote twice, so it will not start", do)


def findings(
    settings: Settings, known: Known, keys: MemberKeys, status: dict[str, Any] | None, now: BlockTime
) -> Iterator[Finding]:
    """The process, as it answers now; `status` is the node's own."""
    if settings.p2p is None:
        return
    if status is None:
        why = why_not_free(settings.p2p)
        do = "see what holds it: a CometBFT that was left behind must be stopped before another starts"
        yield (
            fail("port", f"{settings.p2p}, for p2p: {why}", do) if why else ok("port", f"{settings.p2p}, for p2p: free")
        )
        return
    try:
        seen = asyncio.run(_ask(settings.comet_home))
    except (RpcAway, OSError) as why:
        log = settings.comet_home / "cometbft.log"
        yield fail("CometBFT RPC", str(why), f"see {log}; the node starts it again by itself")
        return
    # Blocks went on since `status` was asked: only one asked after CometBFT may be held against it.
    yield _height(seen.standing, status_of(settings) or status)
    if listens(settings.p2p):
        yield ok("port", f"{settings.p2p}, for p2p: listening")
    else:
        do = "is the address one of this machine? See cometbft/cometbft.log"
        yield fail("port", f"{settings.p2p}, for p2p: nothing listens though CometBFT runs", do)
    yield from _peers(settings, known, seen.standing, now)
    yield from _voting(settings, known, keys, seen)


def accused(status: dict[str, Any] | None) -> Iterator[Finding]:
    """Whoever this node caught at signing two things that cannot both be."""
    for member, what in sorted(dict((status or {}).get("accused") or {}).items()):
        do = "the proof goes onto the ledger by itself and takes its weight; ask it what happened"
        yield fail("members", f"{member}: {what}", do)


async def _ask(home: Path) -> Seen:
    where = Home(home)
    rpc = Rpc(where.socket(RPC_SOCKET), timeout_s=5.0)
    try:
        standing = await rpc.standing()
        first = max(1, standing.height - _LOOK_BACK)
        commits = [
            await rpc.call("commit", {"height": str(height)}) for height in range(first, max(standing.height, first))
        ]
        sets = await rpc.call("validators", {"height": str(max(standing.height, 1)), "per_page": "100"})
        addresses = [bytes.fromhex(str(each["address"])) for each in (sets.get("validators") or [])]
        return Seen(standing, tuple(_votes(each, addresses) for each in commits if "signed_header" in each))
    finally:
        await rpc.close()
        where.close()


def _votes(commit: dict[str, Any], addresses: list[bytes]) -> dict[bytes, bool]:
    votes = dict.fromkeys(addresses, False)
    for each in commit["signed_header"]["commit"]["signatures"]:
        if int(each["block_id_flag"]) != _ABSENT and each["validator_address"]:
            votes[bytes.fromhex(str(each["validator_address"]))] = True
    return votes


def _height(standing: Standing, status: dict[str, Any]) -> Finding:
    words = f"answers; height {standing.height:,}, ours {int(status['height']):,}"
    trouble = str(dict(status.get("line") or {}).get("trouble") or "")
    if trouble:
        return fail("CometBFT RPC", f"{words}; {trouble}", "docs/operations.md, Disk")
    if standing.catching_up:
        do = "wait: until it has caught up this node votes for nothing"
        return warn("CometBFT RPC", f"{words}; it is catching up", do)
    if standing.height > int(status["height"]) + 1:
        do = "see node.log: the node executes slower than blocks come, or has stopped executing"
        return warn("CometBFT RPC", f"{words}: our node lags behind it", do)
    return ok("CometBFT RPC", words)


def _peers(settings: Settings, known: Known, standing: Standing, now: BlockTime) -> Iterator[Finding]:
    """Every other active member should be connected; nobody else may be."""
    nodes = {
        node_id(key.public): member
        for member in known.roll.active()
        for key in known.roll.live(member, Purpose.NODE, now)
    }
    met = {str(nodes[each]) for each in standing.peers if each in nodes}
    strangers = [each for each in standing.peers if each not in nodes]
    missing = sorted({str(each) for each in known.roll.active()} - met - {settings.member})
    if strangers:
        do = "it leaves by itself once the node has filtered it; if it stays, restart the node"
        yield warn("p2p peers", f"connected to {', '.join(strangers)}, which is no active member's node key", do)
    if missing and not met:
        do = "is the way out open, and are the addresses under [p2p_peers] right?"
        yield fail("p2p peers", f"connected to nobody; expected {', '.join(missing)}", do)
    elif missing:
        do = "ask them, and compare their p2p address with [p2p_peers] of node.toml; blocks come by way of the others"
        yield warn("p2p peers", f"connected to {', '.join(sorted(met))}, not to {', '.join(missing)}", do)
    elif met:
        yield ok("p2p peers", f"connected to all {len(met)} others")


def _voting(settings: Settings, known: Known, keys: MemberKeys, seen: Seen) -> Iterator[Finding]:
    own = settings.member
    members = {validator_address(each.public): each for each in read_validators(known.state)}
    mine = next((each for each in members.values() if each.member == own), None)
    used = keys.public(Purpose.VALIDATE)[1] if keys.has(Purpose.VALIDATE) else b""
    weight = known.roll.must(MemberId(own)).weight if known.has(own) else 0
    if mine is None:
        if weight:
            do = "`commonward member rotate-key validate`, then restart the node"
            yield fail("validator", f"{own} has weight {weight} and no VALIDATE key that counts: it does not vote", do)
        else:
            yield ok("validator", f"{own} has no weight: it follows and does not vote")
    elif mine.public != used:
        do = "restart the node: the ledger knows a newer key than the one it votes with"
        yield fail("validator", f"{own} is in the set with power {mine.power}, by another key than the one in use", do)
    else:
        voted = [each[validator_address(used)] for each in seen.votes if validator_address(used) in each]
        found = f"{own} has power {mine.power} of {sum(each.power for each in members.values())}"
        if voted and not any(voted):
            do = (
                "rotated its key? Restart the node. Restored not long ago? It votes above the height that it was told. "
                "Else see cometbft/cometbft.log, the clock, and `lag`"
            )
            yield fail("validator", f"{found}, and none of the last {len(voted)} blocks has its vote", do)
        elif voted and not all(voted):
            do = "too slow, too far away, or just back? Its vote came late for the others"
            yield warn("validator", f"{found}; {sum(voted)} of the last {len(voted)} blocks have its vote", do)
        else:
            yield ok("validator", f"{found}; its vote is in the last {len(voted)} blocks")
    silent = sorted(
        str(each.member)
        for address, each in members.items()
        if each.member != own
        and (cast := [votes[address] for votes in seen.votes if address in votes])
        and not any(cast)
    )
    if silent:
        total = sum(each.power for each in members.values())
        lost = sum(each.power for each in members.values() if each.member in silent)
        near = "; a third or more: the ledger stands still" if 3 * lost >= total else ""
        do = f"ask {', '.join(silent)}: with a third of the weight away no block is agreed on"
        yield warn("validators", f"no vote lately from {', '.join(silent)}, {lost} of {total} of the power{near}", do)
    elif members:
        yield ok("validators", f"all {len(members)} vote")
