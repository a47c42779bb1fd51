"""Succession: why whoever trusts one ledger may follow to the one that goes on from it.

A genesis that names another ledger's last checkpoint carries, outside its hash, what shows that the members of that
ledger wanted it:

    its trust file, and its last checkpoint with cosignatures          (`Before`)

and that is believed when

    1. the trust file holds, and is of the ledger that genesis names
    2. a quorum of its last authority cosigned the checkpoint, and it has the size and root that genesis names
    3. members with more than two thirds of the weight of that authority signed genesis, each with a cosigning key that
       the authority names: every key of genesis proves its possession over the new ledger id, so a member that takes
       its cosigning key along has signed genesis with the very key that made the old checkpoints binding

More than two thirds is what makes any checkpoint of the old ledger binding. Asking for all of them would let a member
that is gone for good hold the others; asking for less would let members found a successor that could not have made the
old ledger's next block.
"""

from dataclasses import dataclass

from commonward.ledger.checkpoint import Authority
from commonward.ledger.encoding import decode, encode
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import MemberId, Purpose

__all__ = ["Before", "BeforeUnreadable", "taken_along", "weight_behind"]


class BeforeUnreadable(ValueError):
    """Not what stands before a genesis. Says what was expected."""


@dataclass(frozen=True, slots=True)
class Before:
    """What a genesis carries of the ledger before. `trust`: that ledger's trust file; `note`: its last checkpoint."""

    trust: bytes
    note: bytes

    def to_bytes(self) -> bytes:
        return encode([self.trust, self.note])

    @classmethod
    def parse(cls, data: bytes) -> "Before":
        """Raises BeforeUnreadable."""
        try:
            match decode(data):
                case [bytes(trust), bytes(note)]:
                    return cls(trust, note)
        except ValueError as cause:
            raise BeforeUnreadable(f"expected [trust file, checkpoint] of the ledger before: {cause}") from cause
        raise BeforeUnreadable("expected [trust file, checkpoint] of the ledger before")


def taken_along(genesis: Genesis, authority: Authority) -> frozenset[MemberId]:
    """Members of the old authority whose cosigning key, as it names it, stands in the new genesis too."""
    found: set[MemberId] = set()
    for member in genesis.members:
        cosigner = authority.cosigner(member.id)
        if cosigner is None:
            continue
        known = {key.public for key in cosigner.keys if key.covers(genesis.created)}
        if any(key.purpose == Purpose.COSIGN and key.public in known for key in member.keys):
            found.add(member.id)
    return frozenset(found)


def weight_behind(genesis: Genesis, authority: Authority) -> tuple[int, int]:
    """(weight of the old members that signed the new genesis with their old cosigning keys, all the weight there was).

    `genesis` is of a `SignedGenesis` that was checked: each of its keys has proven its possession.
    """
    weights = {each.member: each.weight for each in authority.cosigners}
    return sum(weights[each] for each in taken_along(genesis, authority)), sum(weights.values())
