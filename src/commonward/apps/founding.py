"""Found a consortium on disk: for each member a folder of its own with CA, keys and settings, and the genesis.

Here one machine plays all members, for a pilot or a demo. In a consortium of many sites each member makes its own
folder and sends its public part; the folder made here can be carried to its own machine as it is.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from commonward.adapters.keys import CertificateAuthority, MemberKeys
from commonward.apps.planning import DEMO, NOBODY, RP_ID, CannotFound, MemberPlan, plan
from commonward.apps.settings import FILE, Address
from commonward.ledger.encoding import Digest
from commonward.ledger.genesis import (
    GenesisKey,
    GenesisMember,
    SignedGenesis,
    genesis_signature_digest,
    key_possession,
    make_genesis,
)
from commonward.ledger.ids import BlockTime, MemberId, Purpose
from commonward.ledger.parameters import YEAR, Parameter

__all__ = [
    "CONSORTIUM",
    "DEMO",
    "GENESIS",
    "RP_ID",
    "CannotFound",
    "Founded",
    "MemberPlan",
    "found",
    "make_member",
    "plan",
]

GENESIS = "genesis.cwg"
CONSORTIUM = "consortium.json"


@dataclass(frozen=True, kw_only=True)
class Founded:
    """`operator` is "" where the members order together."""

    directory: Path
    genesis: SignedGenesis
    members: Mapping[MemberId, Path]
    operator: MemberId


def found(
    directory: Path,
    members: Sequence[MemberPlan],
    *,
    name: str,
    operator: MemberId,
    sequencer: Address | None,
    now: BlockTime,
    tables: Mapping[str, Digest],
    tick_ms: int,
) -> Founded:
    """Make every member's folder and the genesis they all sign. Raises CannotFound, OSError, GenesisError.

    Args:
        operator, sequencer: who orders alone, and where it listens; NOBODY and None where CometBFT orders.
        now: ms since the epoch; genesis is dated so.
        tables: digests of the tables that all members judge by.
        tick_ms: how often each member anchors.
    """
    if directory.exists() and any(directory.iterdir()):
        raise CannotFound(f"{directory} is not empty; give a new directory, or remove it first")
    if operator != NOBODY and operator not in {member.id for member in members}:
        raise CannotFound(f"the operator {operator!r} is not among the members")
    if (operator == NOBODY) != (sequencer is None):
        raise CannotFound("a sequencer needs a member who operates it, and an operator a sequencer's address")
    without = [member.id for member in members if sequencer is None and member.p2p is None]
    if without:
        raise CannotFound(f"{without[0]} has no p2p address: where its CometBFT is to listen")
    for folder in (directory, directory / "members", directory / "patients"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    started = BlockTime(now - now % 1000)
    made = {plan.id: make_member(directory, plan, members, operator, sequencer, started) for plan in members}
    genesis = make_genesis(
        name=name,
        created=started,
        members=tuple(made[plan.id][1] for plan in members),
        operator=operator,
        rp_id=RP_ID,
        pilot=is_pilot([member.weight for member in members if member.weight]),
        parameters={Parameter.TICK: tick_ms},
        tables=tables,
    )
    keys = {plan.id: made[plan.id][0] for plan in members}
    signed = SignedGenesis(
        genesis,
        {
            key.id: keys[member.id].sign(key.purpose, key_possession(genesis, member.id, key))
            for member in genesis.members
            for key in member.keys
            if key.purpose is not Purpose.HPKE  # a key that only opens cannot sign; whoever seals to it tests it
        },
        {id_: each.sign(Purpose.OPERATE, genesis_signature_digest(genesis.ledger_id)) for id_, each in keys.items()},
    )
    signed.check()
    folders = {plan.id: directory / "members" / plan.id for plan in members}
    for path in (directory, *folders.values()):
        (path / GENESIS).write_bytes(signed.to_bytes())
    (directory / CONSORTIUM).write_text(json.dumps(describe(name, members, operator, sequencer), indent=2) + "\n")
    return Founded(directory=directory, genesis=signed, members=folders, operator=operator)


def is_pilot(weights: Sequence[int]) -> bool:
    """Whether one member, misbehaving or down, is enough to stop the others."""
    return len(weights) < 4 or any(3 * each >= sum(weights) for each in weights)


def make_member(
    directory: Path,
    plan: MemberPlan,
    members: Sequence[MemberPlan],
    operator: MemberId,
    sequencer: Address | None,
    now: BlockTime,
) -> tuple[MemberKeys, GenesisMember]:
    """One member's folder with passphrase, CA, keys and settings, and what genesis or an application says of it."""
    folder = directory / "members" / plan.id
    consensus = operator == NOBODY
    own = ("ca", "keys", "staff", "ledger", *(("cometbft",) if consensus else ()))
    for path in (folder, *(folder / name for name in own)):
        path.mkdir(mode=0o700)
    passphrase = secrets.token_urlsafe(32).encode()
    descriptor = os.open(folder / "passphrase", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(passphrase + b"\n")
    authority = CertificateAuthority.create(folder / "ca", plan.name, passphrase, now)
    keys = MemberKeys.create(folder / "keys", plan.id, passphrase, sequencer=plan.id == operator, validate=consensus)
    algorithm, public, _ = keys.public(Purpose.TLS)
    hosts = sorted({plan.listen.host, plan.signing.host, "localhost", f"{plan.id}.{RP_ID}"})
    keys.install_tls(authority.issue_tls(plan.id, algorithm, public, hosts=hosts, starts=now))
    (folder / FILE).write_text(_settings(plan, members, sequencer))
    public_keys = tuple(
        GenesisKey(purpose, *keys.public(purpose)[:2], now, BlockTime(now + 3 * YEAR))
        for purpose in Purpose
        if keys.has(purpose)
    )
    return keys, GenesisMember(
        plan.id, plan.name, plan.kind, plan.tier, authority.certificate, plan.weight, plan.origin, public_keys
    )


def _settings(plan: MemberPlan, members: Sequence[MemberPlan], sequencer: Address | None) -> str:
    others = [other for other in members if other.id != plan.id]
    if sequencer is not None:
        engine = f'engine = "solo"\nsequencer = "{sequencer}"'
        p2p_peers = ""
    else:
        engine = f'engine = "cometbft"\np2p = "{plan.p2p}"'
        p2p_peers = "\n[p2p_peers]\n" + "".join(f'{other.id} = "{other.p2p}"\n' for other in others)
    peers = "".join(f'{other.id} = "{other.listen}"\n' for other in others)
    return f"""# The settings of {_one_line(plan.name)}'s node; docs/operations.md explains each entry.
member = "{plan.id}"
listen = "{plan.listen}"
signing = "{plan.signing}"
{engine}
passphrase_file = "passphrase"

[peers]
{peers}{p2p_peers}"""


def _one_line(name: str) -> str:
    """A name in a comment: a line end in it would begin a setting."""
    return " ".join(name.split())


def describe(
    name: str, members: Sequence[MemberPlan], operator: MemberId, sequencer: Address | None
) -> dict[str, object]:
    """What is public of a consortium beside its genesis: names and addresses."""
    solo = {"operator": operator, "sequencer": str(sequencer)}
    return {
        "name": name,
        "engine": "cometbft" if sequencer is None else "solo",
        **(solo if sequencer is not None else {}),
        "rp_id": RP_ID,
        "members": {
            plan.id: {
                "name": plan.name,
                "kind": plan.kind.name.lower(),
                "tier": plan.tier,
                "weight": plan.weight,
                "listen": str(plan.listen),
                "signing": str(plan.signing),
                **({"p2p": str(plan.p2p)} if plan.p2p is not None else {}),
                "origin": plan.origin,
            }
            for plan in members
        },
    }
