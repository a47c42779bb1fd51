"""Found a consortium on disk: for each member a folder of its own with CA, keys and settings, and the genesis.

Here one machine plays all members, for a pilot or a demo. In a consortium of many sites each member makes its own
folder and sends its public part; the folder made here can be carried to its own machine as it is.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from commonward.adapters.keys import CertificateAuthority, MemberKeys
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
from commonward.ledger.ids import BlockTime, MemberId, MemberKind, Purpose, parse_member_id
from commonward.ledger.parameters import YEAR, Parameter

GENESIS = "genesis.cwg"
CONSORTIUM = "consortium.json"
RP_ID = "sign.commonward.example"


class CannotFound(ValueError):
    """A consortium that cannot be made as asked; the text says what to change."""


@dataclass(frozen=True, kw_only=True)
class MemberPlan:
    """One member to be. `listen` and `signing` are where its node will answer members and patients."""

    id: MemberId
    name: str
    kind: MemberKind
    tier: int
    listen: Address
    signing: Address
    weight: int = 1

    @property
    def origin(self) -> str:
        """Where its signing page lives: one subdomain a member, so that each can be told from the others."""
        return f"https://{self.id}.{RP_ID}"


@dataclass(frozen=True, kw_only=True)
class Founded:
    directory: Path
    genesis: SignedGenesis
    members: Mapping[MemberId, Path]
    operator: MemberId


DEMO: tuple[tuple[str, str, MemberKind, int], ...] = (
    ("north", "North University Hospital", MemberKind.HOSPITAL, 3),
    ("clinic", "Riverside Community Clinic", MemberKind.HOSPITAL, 1),
    ("south", "South City Hospital", MemberKind.HOSPITAL, 2),
    ("insurer", "Provincial Health Insurance", MemberKind.INSURER, 0),
    ("authority", "Provincial Health Commission", MemberKind.AUTHORITY, 0),
)

_MEMBER = re.compile(r"(?P<id>[a-z][a-z0-9-]*):(?P<kind>[a-z]+)(?::(?P<tier>[1-3]))?(?:=(?P<name>.+))?")


def plan(texts: Sequence[str], host: str, first_port: int) -> list[MemberPlan]:
    """Read members as `ID:KIND[:TIER][=NAME]`; none means the five of the demo. Raises CannotFound."""
    wanted = [_parse_member(text) for text in texts] if texts else list(DEMO)
    return [
        MemberPlan(
            id=parse_member_id(member),
            name=name,
            kind=kind,
            tier=tier,
            listen=Address(host=host, port=first_port + 1 + 2 * place),
            signing=Address(host=host, port=first_port + 2 + 2 * place),
        )
        for place, (member, name, kind, tier) in enumerate(wanted)
    ]


def _parse_member(text: str) -> tuple[str, str, MemberKind, int]:
    found = _MEMBER.fullmatch(text)
    kinds = ", ".join(kind.name.lower() for kind in MemberKind)
    if not found or found["kind"].upper() not in MemberKind.__members__:
        raise CannotFound(f"expected ID:KIND[:TIER][=NAME] with a kind of {kinds}, got {text!r}")
    kind = MemberKind[found["kind"].upper()]
    if (kind is MemberKind.HOSPITAL) != (found["tier"] is not None):
        raise CannotFound(f"{text!r}: a hospital has a tier of 1, 2 or 3, and nobody else has one")
    return found["id"], found["name"] or found["id"], kind, int(found["tier"] or 0)


def found(
    directory: Path,
    members: Sequence[MemberPlan],
    *,
    name: str,
    operator: MemberId,
    sequencer: Address,
    now: BlockTime,
    tables: Mapping[str, Digest],
    tick_ms: int,
) -> Founded:
    """Make every member's folder and the genesis they all sign. Raises CannotFound, OSError, GenesisError.

    Args:
        now: ms since the epoch; genesis is dated so.
        tables: digests of the tables that all members judge by.
        tick_ms: how often each member anchors.
    """
    if directory.exists() and any(directory.iterdir()):
        raise CannotFound(f"{directory} is not empty; give a new directory, or remove it first")
    if operator not in {member.id for member in members}:
        raise CannotFound(f"the operator {operator!r} is not among the members")
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
        pilot=len(members) < 4,
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
    (directory / CONSORTIUM).write_text(json.dumps(_described(name, members, operator, sequencer), indent=2) + "\n")
    return Founded(directory=directory, genesis=signed, members=folders, operator=operator)


def make_member(
    directory: Path,
    plan: MemberPlan,
    members: Sequence[MemberPlan],
    operator: MemberId,
    sequencer: Address,
    now: BlockTime,
) -> tuple[MemberKeys, GenesisMember]:
    """One member's folder with passphrase, CA, keys and settings, and what genesis or an application says of it."""
    folder = directory / "members" / plan.id
    for path in (folder, folder / "ca", folder / "keys", folder / "staff", folder / "ledger"):
        path.mkdir(mode=0o700)
    passphrase = secrets.token_urlsafe(32).encode()
    descriptor = os.open(folder / "passphrase", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(passphrase + b"\n")
    authority = CertificateAuthority.create(folder / "ca", plan.name, passphrase, now)
    keys = MemberKeys.create(folder / "keys", plan.id, passphrase, sequencer=plan.id == operator)
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


def _settings(plan: MemberPlan, members: Sequence[MemberPlan], sequencer: Address) -> str:
    peers = "\n".join(f'{other.id} = "{other.listen}"' for other in members if other.id != plan.id)
    return f"""# The settings of {plan.name}'s node; docs/operations.md explains each entry.
member = "{plan.id}"
listen = "{plan.listen}"
signing = "{plan.signing}"
sequencer = "{sequencer}"
passphrase_file = "passphrase"

[peers]
{peers}
"""


def _described(name: str, members: Sequence[MemberPlan], operator: MemberId, sequencer: Address) -> dict[str, object]:
    return {
        "name": name,
        "operator": operator,
        "sequencer": str(sequencer),
        "rp_id": RP_ID,
        "members": {
            plan.id: {
                "name": plan.name,
                "kind": plan.kind.name.lower(),
                "tier": plan.tier,
                "listen": str(plan.listen),
                "signing": str(plan.signing),
                "origin": plan.origin,
            }
            for plan in members
        },
    }
