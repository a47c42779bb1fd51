"""A new genesis that some of the old members did not sign with the keys by which they are known."""

from dataclasses import replace

from commonward.ledger.genesis import GenesisMember, SignedGenesis, genesis_signature_digest, key_possession
from commonward.ledger.ids import Algorithm, Purpose
from tests.ledgerkit import SoftKey, member_soft_key


def _forged(member: str, purpose: Purpose, new: frozenset[str]) -> SoftKey:
    if purpose == Purpose.COSIGN and member in new:
        return SoftKey(f"{member} cosigning anew")
    return member_soft_key(member, purpose)


def with_new_cosigning_keys(file: SignedGenesis, count: int) -> SignedGenesis:
    """The same genesis, but the first so many members come with cosigning keys that nobody knew before."""
    new = frozenset(sorted(member.id for member in file.genesis.members)[:count])

    def of(member: GenesisMember) -> GenesisMember:
        keys = tuple(replace(key, public=_forged(member.id, key.purpose, new).public) for key in member.keys)
        return replace(member, keys=keys)

    genesis = replace(file.genesis, members=tuple(of(member) for member in file.genesis.members))
    wanted = genesis_signature_digest(genesis.ledger_id)
    return SignedGenesis(
        genesis,
        {
            key.id: _forged(member.id, key.purpose, new).sign(key_possession(genesis, member.id, key))
            for member in genesis.members
            for key in member.keys
            if key.algorithm != Algorithm.X25519
        },
        {member.id: member_soft_key(member.id, Purpose.OPERATE).sign(wanted) for member in genesis.members},
        file.before,
    )
