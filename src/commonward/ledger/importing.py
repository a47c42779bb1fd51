"""Going on from another ledger: what its live state becomes under the genesis that names it.

A consortium changes who orders (a sequencer before, the members together from now on) by a new genesis that names the
last checkpoint of the ledger before (decision 0009). The log goes on, leaf by leaf, and so does the state:

    patients' handles, passkeys, mandates, consents,      as they are; what falls due for them stays due
    open glasses, ticks, revoked staff, studies, spent
    privacy
    parameters, tables, majorities, protocol, members,    as genesis says
    the cap on spent privacy
    keys that hold the order up (`_OF_THE_ORDER`)          those of genesis; any other is revoked at its time
    other keys of members                                 as they are, beside those of genesis
    members whom genesis does not name                    suspended, without weight: they stay listed, for their CA
    open proposals, versions scheduled for later          closed: they were votes on another order

Pure: every member computes it from its own copy of the state, and all arrive at one root.
"""

from typing import Final

from commonward.ledger.dues import DueKind, Dues
from commonward.ledger.genesis import Genesis, GenesisMember
from commonward.ledger.ids import BlockTime, Purpose
from commonward.ledger.members.adopted import PROTOCOL_KEY, TABLES_KEY
from commonward.ledger.members.authorities import Authorities
from commonward.ledger.members.majorities import MAJORITIES_KEY, PROPOSERS_KEY
from commonward.ledger.members.roll import MAX_KEYS, Key, Member, Roll, certificate_digest
from commonward.ledger.members.validators import write_validators
from commonward.ledger.members.weights import AUTHORITY_KEY, write_authority
from commonward.ledger.rounds.study import PRIVACY_KEY
from commonward.ledger.state import State

__all__ = ["ImportRefused", "carry_over"]

_OF_THE_ORDER: Final = frozenset({Purpose.COSIGN, Purpose.SEQUENCE, Purpose.NODE, Purpose.VALIDATE})
"""Purposes of the keys by which checkpoints are made and believed: genesis alone says which count."""

_OF_THE_OLD_ORDER: Final = (AUTHORITY_KEY, MAJORITIES_KEY, PROPOSERS_KEY, TABLES_KEY, PROTOCOL_KEY, PRIVACY_KEY)


class ImportRefused(RuntimeError):
    """Genesis cannot go on from this state. Says what it names that the state has otherwise."""


def carry_over(genesis: Genesis, state: State) -> None:
    """Makes of the last state of the ledger before the first one of this. Raises ImportRefused."""
    for key in _OF_THE_OLD_ORDER:
        state.delete(key)
    for proposal in state.governance.open():
        state.governance.drop(proposal)  # when its time to close falls due, nothing is found
    state.parameters.write(genesis.parameters)
    _members(genesis, state.roll, state.dues, state.authorities)
    for table in genesis.tables:
        state.adopted.adopt(table.name, table.digest)
    state.adopted.schedule(0, genesis.protocol)
    if genesis.privacy is not None:
        state.rounds.put_cap(genesis.privacy)
    write_authority(state, state.roll, genesis.operator, pilot=genesis.pilot)
    write_validators(state, state.roll, genesis.created)


def _members(genesis: Genesis, roll: Roll, dues: Dues, authorities: Authorities) -> None:
    named = {each.id for each in genesis.members}
    for member in roll.ids():
        if member not in named:
            found = roll.must(member)
            roll.put(member, found.but(active=False, weight=0))
            _revoke(roll, found, genesis.created, keep=frozenset())
    for each in genesis.members:
        _member(each, genesis.created, roll, dues, authorities)


def _member(named: GenesisMember, now: BlockTime, roll: Roll, dues: Dues, authorities: Authorities) -> None:
    before = roll.get(named.id)
    ours = frozenset(key.id for key in named.keys)
    _check_keys(named, roll)
    now_known = Member(
        named.kind, named.tier, named.name, certificate_digest(named.certificate), True, named.weight, named.origin, ()
    )
    if before is None:
        roll.add(named.id, now_known, named.certificate)
    else:
        authorities.put_in_force(roll, named.id, named.certificate, now)
        roll.put(named.id, now_known)
    for key in named.keys:
        known = roll.key(key.id)
        roll.put_key(Key(named.id, key.purpose, key.algorithm, key.public, key.starts, key.ends))
        if known is None or known.ends != key.ends:
            dues.add(key.ends, DueKind.KEY_ENDS, key.id)
    if before is None:
        return
    # Behind those of genesis, so that the authority is byte for byte what genesis alone says, if nobody else is listed.
    others = tuple(ref for ref in before.keys if ref.key not in ours)
    listed = roll.must(named.id)
    if len(listed.keys) + len(others) > MAX_KEYS:
        raise ImportRefused(f"{named.id} would have more than {MAX_KEYS} keys: wait until some have ended")
    roll.put(named.id, listed.but(keys=(*listed.keys, *others)))
    _revoke(roll, before, now, keep=ours)


def _check_keys(named: GenesisMember, roll: Roll) -> None:
    for key in named.keys:
        known = roll.key(key.id)
        if known is None:
            continue
        if (known.member, known.purpose) != (named.id, key.purpose) or known.revoked is not None:
            raise ImportRefused(
                f"genesis names {key.id.hex()} as a {key.purpose.name} key of {named.id}; the state has it as a "
                f"{known.purpose.name} key of {known.member}" + ("" if known.revoked is None else ", revoked")
            )


def _revoke(roll: Roll, member: Member, now: BlockTime, *, keep: frozenset[bytes]) -> None:
    """Revokes keys of the order that genesis does not name. Their records stay until they would have ended."""
    for ref in member.keys:
        if ref.purpose in _OF_THE_ORDER and ref.key not in keep:
            key = roll.key(ref.key)
            if key is not None and key.revoked is None:
                roll.put_key(Key(key.member, key.purpose, key.algorithm, key.public, key.starts, key.ends, now))
