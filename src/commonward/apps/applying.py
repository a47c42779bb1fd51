"""Apply to join a consortium that runs: a folder of one's own, and a file that says who one is, to be voted on.

The file is public: name, kind, CA certificate, keys, each with its proof that the applicant holds it. A member
proposes it; after the vote the others write the new address into their node.toml and restart.
"""

from __future__ import annotations

import json
from pathlib import Path

from commonward.apps.founding import CONSORTIUM, GENESIS, CannotFound, MemberPlan, make_member
from commonward.apps.settings import Address
from commonward.ledger.genesis import GenesisError, GenesisMember, SignedGenesis
from commonward.ledger.ids import Algorithm, BlockTime, MemberId, MemberKind, Purpose
from commonward.ledger.members import AddKey, Admit
from commonward.ledger.possession import possession_digest
from commonward.ledger.refusals import Refusal

APPLICATION = "application.cwm"


def apply(directory: Path, consortium: Path, plan: MemberPlan, now: BlockTime) -> tuple[Path, Admit]:
    """Make the applicant's folder DIRECTORY/members/ID with keys, CA, settings, genesis and the application.

    Args:
        consortium: the public folder of the consortium: its genesis and its addresses.
        now: ms; from when the keys are to count.

    Raises:
        CannotFound: what to change, or what cannot be read.
        OSError: the folder cannot be written.
    """
    try:
        signed = (consortium / GENESIS).read_bytes()
        genesis = SignedGenesis.parse(signed).genesis
        found = json.loads((consortium / CONSORTIUM).read_text())
        others = [_plan(MemberId(name), each) for name, each in found["members"].items()]
        sequencer = None if genesis.consensus else Address.parse(str(found["sequencer"]), f"{CONSORTIUM}: sequencer")
    except (OSError, GenesisError, ValueError, KeyError, TypeError) as cause:
        raise CannotFound(f"expected {GENESIS} and {CONSORTIUM} of a consortium in {consortium}: {cause}") from cause
    if genesis.consensus and plan.p2p is None:
        raise CannotFound("the members of this ledger order together: say with --p2p where your CometBFT will listen")
    if plan.id in {member.id for member in genesis.members}:
        raise CannotFound(f"{plan.id} is a member since genesis; choose another id")
    folder = directory / "members" / plan.id
    if folder.exists():
        raise CannotFound(f"{folder} exists; remove it, or apply under another id")
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys, member = make_member(directory, plan, [*others, plan], genesis.operator, sequencer, now)
    registered = []
    for key in member.keys:
        wanted = possession_digest(genesis.ledger_id, plan.id.encode(), key.purpose, key.algorithm, key.public)
        possession = b"" if key.algorithm == Algorithm.X25519 else keys.sign(Purpose(key.purpose), wanted)
        registered.append(AddKey(key.purpose, key.algorithm, key.public, key.starts, key.ends, possession))
    asked = Admit(
        plan.id, plan.kind, plan.tier, plan.name, member.certificate, plan.weight, plan.origin, tuple(registered)
    )
    (folder / GENESIS).write_bytes(signed)
    (folder / APPLICATION).write_bytes(asked.to_bytes())
    return folder, asked


def _plan(member: MemberId, described: dict[str, object]) -> MemberPlan:
    return MemberPlan(
        id=member,
        name=str(described["name"]),
        kind=MemberKind[str(described["kind"]).upper()],
        tier=int(str(described["tier"])),
        weight=int(str(described.get("weight", 1))),
        listen=Address.parse(str(described["listen"]), f"{CONSORTIUM}: {member}"),
        signing=Address.parse(str(described["signing"]), f"{CONSORTIUM}: {member}"),
        p2p=Address.parse(str(described["p2p"]), f"{CONSORTIUM}: {member}") if "p2p" in described else None,
    )


def applied(data: Path) -> GenesisMember | None:
    """Who a member said it is when it applied; None where there is no application."""
    try:
        asked = Admit.parse((data / APPLICATION).read_bytes())
    except FileNotFoundError:
        return None
    except (Refusal, ValueError) as cause:
        raise CannotFound(f"{data / APPLICATION} is not an application: {cause}") from cause
    return GenesisMember(
        asked.member, asked.name, asked.kind, asked.tier, asked.certificate, asked.weight, asked.origin, ()
    )
