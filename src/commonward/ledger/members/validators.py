"""Who validates under consensus, with what power: the state cell `validators`, which the consensus engine follows.

A member with weight validates with one key, the newest that is valid; its power is its weight. Who signs two blocks
of one height loses its weight, and so its place, by whoever's proof. On solo the cell does not exist.
"""

import hashlib
from typing import Final, NamedTuple

from commonward.ledger.encoding import decode, encode
from commonward.ledger.ids import MemberId, Purpose
from commonward.ledger.members.roll import Roll
from commonward.ledger.rules import Cells

VALIDATORS_KEY: Final = b"validators"


class Validator(NamedTuple):
    """`public`: 32 bytes, Ed25519. `power`: the member's weight."""

    member: MemberId
    public: bytes
    power: int


def validator_address(public: bytes) -> bytes:
    """How consensus names a validator, and a node: the first 20 bytes of SHA-256 of its Ed25519 key."""
    return hashlib.sha256(public).digest()[:20]


def read_validators(cells: Cells) -> tuple[Validator, ...]:
    """In ascending order of member; none on solo."""
    value = decode(cells.get(VALIDATORS_KEY) or b"\x80")
    assert isinstance(value, list)
    found = []
    for each in value:
        match each:
            case [str(member), bytes(public), int(power)]:
                found.append(Validator(MemberId(member), public, power))
    return tuple(found)


def entitled(roll: Roll, at: int) -> tuple[Validator, ...]:
    """Who may validate by the roll at a time: active, with weight, with a live key."""
    found = []
    for member in roll.ids():
        of_it = roll.must(member)
        keys = roll.live(member, Purpose.VALIDATE, at) if of_it.active and of_it.weight else ()
        if keys:
            key = max(keys, key=lambda key: (key.starts, key.id))
            found.append(Validator(member, key.public, of_it.weight))
    return tuple(found)


def write_validators(cells: Cells, roll: Roll, at: int) -> None:
    """Brings the cell in line with the roll. When nobody were left, the last ones stay: no block could follow."""
    now = entitled(roll, at)
    if now and now != read_validators(cells):
        cells.put(VALIDATORS_KEY, encode([tuple(each) for each in now]))


def changed(before: tuple[Validator, ...], after: tuple[Validator, ...]) -> tuple[tuple[bytes, int], ...]:
    """(public key, power) of each validator that is to change; power 0 for one that is to go."""
    old = {each.public: each.power for each in before}
    new = {each.public: each.power for each in after}
    gone = [(public, 0) for public in old if public not in new]
    return (*gone, *((public, power) for public, power in new.items() if old.get(public) != power))


def punish(address: bytes, roll: Roll) -> None:
    """Takes the weight of the member whose validator key, live or not, has this address. One unknown is let be: its
    key has left the state, and its weight is no longer behind it."""
    for member in roll.ids():
        found = roll.must(member)
        for name in found.keys_for(Purpose.VALIDATE):
            key = roll.key(name)
            if key is not None and validator_address(key.public) == address and found.weight:
                roll.put(member, found.but(weight=0))
                return
