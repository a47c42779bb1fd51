"""Found a consortium of many sites: no private key ever leaves the machine of its member.

    prepare   each member, at home: folder, CA, keys, settings; and its part, which is public
    draft     anyone: all parts together are the genesis, which nobody has signed yet; its digest is the ledger id
    sign      each member, at home: is my part in it as I made it, and is everyone who I think they are? Its signatures
    seal      anyone: the draft with everyone's signatures is the genesis; every node checks it again at each start

The plan (who, what kind, where, with what weight) is a file that everyone has agreed on beforehand. Whoever drafts or
seals can only fail to: a draft that differs from a member's part or plan is not signed by that member.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from commonward.adapters.keys import MemberKeys
from commonward.apps.founding import CONSORTIUM, GENESIS, RP_ID, describe, is_pilot, make_member
from commonward.apps.planning import CannotFound, MemberPlan, Plan
from commonward.apps.settings import Settings
from commonward.apps.wiring import open_keys
from commonward.ledger.encoding import decode
from commonward.ledger.genesis import (
    Genesis,
    GenesisError,
    GenesisMember,
    SignedGenesis,
    genesis_signature_digest,
    key_possession,
    make_genesis,
)
from commonward.ledger.ids import BlockTime, Digest, KeyId, MemberId, Purpose
from commonward.ledger.parameters import Parameter
from commonward.ledger.refusals import Refusal
from commonward.records.jurisdiction import default_jurisdiction
from commonward.records.sensitivity import default_sensitivity

PART: Final = "part.cwm"


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A genesis and whoever has signed it so far."""

    genesis: Genesis
    possessions: dict[KeyId, bytes]
    signatures: dict[MemberId, bytes]

    def to_bytes(self) -> bytes:
        """As a genesis file, with gaps: nothing takes it for one before they are filled."""
        return SignedGenesis(self.genesis, self.possessions, self.signatures).to_bytes()


def tables() -> dict[str, Digest]:
    """What this program decides by; the members adopt it in genesis."""
    return {"jurisdiction": default_jurisdiction().digest, "sensitivity": default_sensitivity().digest}


def _planned(plan: Plan, member: str) -> MemberPlan:
    found = next((each for each in plan.members if each.id == member), None)
    if found is None:
        raise CannotFound(f"the plan has no member {member!r}; it has {', '.join(each.id for each in plan.members)}")
    return found


def prepare(directory: Path, plan: Plan, member: str, now: BlockTime) -> Path:
    """This member's own folder, DIRECTORY/members/ID, and in it its part. Returns the part's path.

    Raises CannotFound, OSError.
    """
    planned = _planned(plan, member)
    folder = directory / "members" / planned.id
    if folder.exists():
        raise CannotFound(
            f"{folder} exists; a member is prepared once. Remove it only if its part was never given away"
        )
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    started = BlockTime(now - now % 1000)
    _, part = make_member(directory, planned, plan.members, plan.operator, plan.sequencer, started)
    path = folder / PART
    path.write_bytes(part.to_bytes())
    return path


def draft(plan: Plan, parts: Sequence[bytes], now: BlockTime) -> Draft:
    """The genesis of all parts, unsigned. Raises CannotFound naming the part that is missing or not as planned."""
    found: dict[MemberId, GenesisMember] = {}
    for data in parts:
        part = _part(data)
        _as_planned(part, _planned(plan, part.id))
        if found.setdefault(part.id, part) != part:
            raise CannotFound(f"there are two different parts of {part.id}: ask it which one is its own")
    missing = [each.id for each in plan.members if each.id not in found]
    if missing:
        raise CannotFound(f"no part of {', '.join(missing)}: `commonward network prepare` makes it, at that member")
    starts = max(key.starts for part in found.values() for key in part.keys)
    created = BlockTime(-(-max(now, starts) // 1000) * 1000)
    try:
        genesis = make_genesis(
            name=plan.name,
            created=created,
            members=tuple(found.values()),
            operator=plan.operator,
            rp_id=RP_ID,
            pilot=is_pilot([each.weight for each in plan.members if each.weight]),
            parameters={Parameter.TICK: plan.tick_ms},
            tables=tables(),
        )
    except GenesisError as cause:
        raise CannotFound(f"these parts make no genesis: {cause}") from cause
    return Draft(genesis=genesis, possessions={}, signatures={})


def _part(data: bytes) -> GenesisMember:
    try:
        return GenesisMember.parse(data)
    except (Refusal, ValueError) as cause:
        raise CannotFound(f"not a part as `commonward network prepare` writes it: {cause}") from cause


def _as_planned(part: GenesisMember, plan: MemberPlan) -> None:
    for what, found, wanted in (
        ("name", part.name, plan.name),
        ("kind", part.kind.name.lower(), plan.kind.name.lower()),
        ("tier", part.tier, plan.tier),
        ("weight", part.weight, plan.weight),
        ("signing page", part.origin, plan.origin),
    ):
        if found != wanted:
            raise CannotFound(f"{part.id}: its part says {what} {found!s}, the plan {wanted!s}: it has another plan")


def parse_draft(data: bytes) -> Draft:
    """Reads a draft, whoever has signed it. Raises CannotFound."""
    try:
        value = decode(data)
        if isinstance(value, list) and len(value) == 3:
            content, possessions, signatures = value
            if isinstance(content, bytes) and isinstance(possessions, list) and isinstance(signatures, list):
                genesis = Genesis.parse(content)
                keys = [key.id for member in genesis.members for key in member.keys]
                ids = [member.id for member in genesis.members]
                if len(possessions) == len(keys) and len(signatures) == len(ids):
                    return Draft(
                        genesis=genesis,
                        possessions={
                            key: each
                            for key, each in zip(keys, possessions, strict=True)
                            if isinstance(each, bytes) and each
                        },
                        signatures={
                            id_: each
                            for id_, each in zip(ids, signatures, strict=True)
                            if isinstance(each, bytes) and each
                        },
                    )
    except ValueError as cause:
        raise CannotFound(f"not a draft of a genesis: {cause}") from cause
    raise CannotFound("not a draft of a genesis, as `commonward network draft` writes it")


def sign(settings: Settings, plan: Plan, draft: Draft) -> Draft:
    """This member's signatures under a draft that is what this member prepared and planned. Raises CannotFound."""
    genesis = draft.genesis
    own = _part((settings.data / PART).read_bytes()) if (settings.data / PART).exists() else None
    inside = {each.id: each for each in genesis.members}
    if own is None or own.id != settings.member:
        raise CannotFound(f"no part of {settings.member} in {settings.data}; `commonward network prepare` makes one")
    if inside.get(own.id) != own:
        raise CannotFound(f"the draft does not hold the part of {own.id} as it was prepared here: do not sign it")
    if sorted(inside) != sorted(each.id for each in plan.members):
        raise CannotFound(f"the draft has the members {', '.join(sorted(inside))}; the plan has others")
    for each in plan.members:
        _as_planned(inside[each.id], each)
    if (genesis.name, genesis.operator) != (plan.name, plan.operator) or genesis.imported is not None:
        raise CannotFound("the draft's name, or who orders, is not what the plan says")
    wanted = make_genesis(
        name=plan.name,
        created=genesis.created,
        members=genesis.members,
        operator=plan.operator,
        rp_id=RP_ID,
        pilot=is_pilot([each.weight for each in plan.members if each.weight]),
        parameters={Parameter.TICK: plan.tick_ms},
        tables=tables(),
    )
    if wanted.ledger_id != genesis.ledger_id:
        raise CannotFound(
            "the draft's rules (parameters, majorities, roles, tables) are not those of this program and plan: do all "
            "members have the same version of commonward?"
        )
    keys = open_keys(settings)
    return Draft(genesis=genesis, possessions=_possessions(keys, genesis, own), signatures=_signature(keys, genesis))


def _possessions(keys: MemberKeys, genesis: Genesis, own: GenesisMember) -> dict[KeyId, bytes]:
    return {
        key.id: keys.sign(key.purpose, key_possession(genesis, own.id, key))
        for key in own.keys
        if key.purpose is not Purpose.HPKE  # a key that only opens cannot sign
    }


def _signature(keys: MemberKeys, genesis: Genesis) -> dict[MemberId, bytes]:
    return {keys.member: keys.sign(Purpose.OPERATE, genesis_signature_digest(genesis.ledger_id))}


def seal(plan: Plan, signed: Sequence[Draft]) -> SignedGenesis:
    """The genesis, whole, of the signatures of all. Raises CannotFound naming whose is missing or does not hold."""
    if not signed:
        raise CannotFound("expected the file that `commonward network sign` wrote, of each member")
    genesis = signed[0].genesis
    possessions: dict[KeyId, bytes] = {}
    signatures: dict[MemberId, bytes] = {}
    for each in signed:
        if each.genesis.ledger_id != genesis.ledger_id:
            whose = ", ".join(each.signatures) or "nobody"
            raise CannotFound(f"what {whose} signed is another draft, {each.genesis.ledger_id.hex()}: sign one")
        possessions |= each.possessions
        signatures |= each.signatures
    missing = sorted({each.id for each in plan.members} - set(signatures))
    if missing:
        raise CannotFound(f"no signature of {', '.join(missing)}: `commonward network sign`, at that member")
    sealed = SignedGenesis(genesis, possessions, signatures)
    try:
        sealed.check()
    except GenesisError as cause:
        raise CannotFound(f"the signatures do not hold: {cause}") from cause
    return sealed


def publish(directory: Path, plan: Plan, sealed: SignedGenesis) -> None:
    """The public folder: what each member takes its genesis from, and later applicants need. Raises CannotFound."""
    if (directory / GENESIS).exists():
        raise CannotFound(f"{directory / GENESIS} exists: a ledger has one genesis; give a new directory")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / GENESIS).write_bytes(sealed.to_bytes())
    said = describe(plan.name, plan.members, plan.operator, plan.sequencer)
    (directory / CONSORTIUM).write_text(json.dumps(said, indent=2) + "\n")
