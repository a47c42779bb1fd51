"""Moving a ledger from a sequencer to consensus: the genesis that goes on from it, and who signs what.

    each member     its node stands at the last block, and cosigns the last checkpoint          `ending`
                    its keys, with those that consensus wants; it proves and signs              `member_keys`, `signed`
    together        the genesis that names that checkpoint, with the members as they are          `successor`
                    everybody's signatures, and what shows that the old members wanted it         `signed`

Nothing here writes a disk or asks another member: who does (`apps.migrating`) keeps the order, and may stop between
any two of these. Decision 0009 says why the log goes on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from commonward.ledger.checkpoint import known_lines, parse_note
from commonward.ledger.genesis import (
    PROTOCOL,
    Genesis,
    GenesisError,
    GenesisKey,
    GenesisMember,
    Imported,
    SignedGenesis,
    genesis_signature_digest,
    key_possession,
    make_genesis,
)
from commonward.ledger.ids import Algorithm, BlockTime, KeyId, MemberId, Purpose
from commonward.ledger.members.changes import ChangeKind
from commonward.ledger.parameters import Parameter
from commonward.ledger.transition import Machine
from commonward.records.succession import Before
from commonward.records.trust import TrustRefused, TrustUnreadable, load_trust
from commonward.workflows.replica import Replica

__all__ = [
    "CannotMigrate",
    "Ending",
    "Signs",
    "ending",
    "member_keys",
    "possessions",
    "signature",
    "signed",
    "successor",
]

_LEFT_BEHIND = frozenset({Purpose.SEQUENCE})


class CannotMigrate(Exception):
    """The ledger cannot move as asked. Says what was expected, of whom, and what to do."""


class Signs(Protocol):
    """A member's keys, those of `ports.Keys` and the ones that consensus wants."""

    def has(self, purpose: Purpose) -> bool: ...

    def public(self, purpose: Purpose) -> tuple[Algorithm, bytes, KeyId]: ...

    def sign(self, purpose: Purpose, message: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Ending:
    """Where a ledger ends, as one member's node has it: what the next one imports, and what shows it to strangers."""

    imported: Imported
    before: Before


def ending(replica: Replica, trust_file: bytes) -> Ending:
    """Where this node's ledger ends. `trust_file`: with every change of authority. Raises CannotMigrate."""
    machine = replica.machine
    tip = machine.tip
    if replica.fault is not None:
        raise CannotMigrate(f"{replica.member} has stopped following this ledger ({replica.fault}): settle that first")
    try:
        trust = load_trust(trust_file)
    except (TrustRefused, TrustUnreadable) as why:
        raise CannotMigrate(f"the trust file of {replica.member} does not hold: {why}") from why
    if trust.epochs[-1][1] != replica.authority:
        raise CannotMigrate(
            f"the last change of authority is not cosigned yet at {replica.member}: let the ledger run a minute more"
        )
    proven = replica.proven()
    if proven is None or (proven.size, proven.root) != (tip.size, tip.root):
        raise CannotMigrate(
            f"no quorum has cosigned the last checkpoint, of size {tip.size}, as {replica.member} sees it"
        )
    note = known_lines(parse_note(proven.note), trust.authority_for(tip.size)).to_bytes()
    old = machine.genesis
    imported = Imported(old.ledger_id, tip.size, tip.root, int(machine.applied.height), old.line)
    return Ending(imported, Before(trust_file, note))


def member_keys(machine: Machine, member: MemberId, keys: Signs, created: BlockTime) -> tuple[GenesisKey, ...]:
    """The keys of a member under the new genesis: those it uses, as long as they were registered for, and new ones
    for what consensus wants, as long as keys may last."""
    roll, lasts = machine.view().roll, machine.view().parameters[Parameter.KEY_LASTS]
    found = []
    for purpose in Purpose:
        if purpose in _LEFT_BEHIND or not keys.has(purpose):
            continue
        algorithm, public, name = keys.public(purpose)
        known = roll.key(name)
        if known is None and purpose not in (Purpose.VALIDATE, Purpose.NODE):
            raise CannotMigrate(
                f"the {purpose.name.lower()} key that {member} uses is not on the ledger: start its node on the old "
                f"ledger and register it (`commonward member rotate-key`)"
            )
        starts, ends = (created, BlockTime(created + lasts)) if known is None else (known.starts, known.ends)
        if known is not None and not known.covers(created):
            raise CannotMigrate(f"the {purpose.name.lower()} key of {member} does not count any more: replace it first")
        found.append(GenesisKey(purpose, algorithm, public, starts, ends))
    return tuple(found)


def successor(
    machine: Machine,
    imported: Imported,
    keys: Mapping[MemberId, tuple[GenesisKey, ...]],
    created: BlockTime,
    *,
    pilot: bool,
    weights: Mapping[MemberId, int] | None = None,
) -> Genesis:
    """The genesis that goes on from this ledger without an operator: everything else as it stands now.

    Args:
        keys: of every active member.
        created: its time; after the last block's.
        weights: those that are to change.

    Raises CannotMigrate.
    """
    old, state = machine.genesis, machine.view()
    if created <= machine.applied.time:
        raise CannotMigrate(
            f"expected a time after that of the last block, {machine.applied.time} ms, got {created} ms"
        )
    version = state.adopted.version_at(int(machine.applied.height) + 1)
    if version != PROTOCOL:
        raise CannotMigrate(f"this ledger goes by version {version} of the rules; a new genesis begins with {PROTOCOL}")
    constitution = old.constitution
    kinds = tuple(ChangeKind)
    majorities = {kind: state.majorities.majority(kind, constitution) for kind in kinds}
    proposers = {kind: state.majorities.may_propose(kind, constitution) for kind in kinds}
    try:
        return make_genesis(
            name=old.name,
            created=created,
            members=_members(machine, keys, weights or {}),
            operator="",
            rp_id=old.rp_id,
            pilot=pilot,
            parameters={each: state.parameters[each] for each in Parameter},
            tables=state.adopted.tables(),
            # What stands for another kind goes on standing for it, unless it was given a rule of its own.
            majorities={
                kind: of_it
                for kind, of_it in majorities.items()
                if kind in old.majorities or of_it != constitution.majority(kind)
            },
            proposers={
                kind: of_it
                for kind, of_it in proposers.items()
                if kind in old.proposers or of_it != constitution.may_propose(kind)
            },
            roles=old.roles,
            publishers=old.publishers,
            imported=imported,
        )
    except GenesisError as why:
        raise CannotMigrate(f"no genesis can go on from this ledger: {why}") from why


def _members(
    machine: Machine, keys: Mapping[MemberId, tuple[GenesisKey, ...]], weights: Mapping[MemberId, int]
) -> tuple[GenesisMember, ...]:
    roll = machine.view().roll
    active = roll.active()
    if set(keys) != set(active):
        odd = sorted(set(keys) ^ set(active))
        raise CannotMigrate(
            f"expected the keys of every active member and of nobody else; {', '.join(odd)} is one too many or missing"
        )
    found = []
    for member in active:
        known, certificate = roll.must(member), roll.certificate(member)
        if certificate is None:
            raise CannotMigrate(f"{member} has no CA certificate in force: vote one in first")
        found.append(
            GenesisMember(
                member, known.name, known.kind, known.tier, certificate, weights.get(member, known.weight),
                known.origin, keys[member],
            )
        )  # fmt: skip
    return tuple(found)


def possessions(genesis: Genesis, member: MemberId, keys: Signs) -> dict[KeyId, bytes]:
    """That a member holds the keys that genesis names for it; an X25519 key can show nothing."""
    return {
        key.id: keys.sign(key.purpose, key_possession(genesis, member, key))
        for key in genesis.member(member).keys
        if key.algorithm != Algorithm.X25519
    }


def signature(genesis: Genesis, keys: Signs) -> bytes:
    """A member's consent to genesis."""
    return keys.sign(Purpose.OPERATE, genesis_signature_digest(genesis.ledger_id))


def signed(genesis: Genesis, before: Before, signers: Sequence[tuple[MemberId, Signs]]) -> SignedGenesis:
    """The genesis file, which whoever trusts the old ledger can follow. Raises CannotMigrate."""
    proven: dict[KeyId, bytes] = {}
    for member, keys in signers:
        proven.update(possessions(genesis, member, keys))
    made = SignedGenesis(
        genesis, proven, {member: signature(genesis, keys) for member, keys in signers}, before.to_bytes()
    )
    try:
        made.check()
    except GenesisError as why:
        raise CannotMigrate(f"the new genesis is not signed as it must be: {why}") from why
    return made
