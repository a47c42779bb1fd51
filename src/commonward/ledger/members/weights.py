"""Validating weights, and the authority record that says whose cosignatures make a checkpoint binding."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from commonward.ledger.checkpoint import Authority, CheckpointKey, Cosigner
from commonward.ledger.encoding import encode
from commonward.ledger.ids import MemberId, Purpose
from commonward.ledger.members.roll import Roll
from commonward.ledger.refusals import Refusal
from commonward.ledger.rules import Cells

AUTHORITY_KEY: Final = b"authority"
ORIGINS_KEY: Final = b"origins"


@dataclass(eq=False)
class ThirdOfWeight(Refusal):
    """A member with a third of the weight could stop the ledger alone; a third changed at once is another ledger."""

    code: ClassVar[int] = 221
    member: str
    weight: int
    total: int

    def __str__(self) -> str:
        return f"{self.member} would have (or change) {self.weight} of a total weight of {self.total}: a third or more"


@dataclass(eq=False)
class NoWeightLeft(Refusal):
    """Without any weight no checkpoint binds and no block is agreed on: there would be no way back."""

    code: ClassVar[int] = 222
    member: str

    def __str__(self) -> str:
        return f"{self.member} has all the weight there is: give another member weight first"


class Weights:
    """The slice: `authority`, as the last block left it."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def before(self) -> dict[MemberId, int]:
        """Who had which weight when this block began: `authority` is written at a block's end."""
        data = self._cells.get(AUTHORITY_KEY)
        assert data is not None
        return {each.member: each.weight for each in Authority.parse(data).cosigners}


def _active_weights(roll: Roll, member: MemberId, weight: int) -> dict[MemberId, int]:
    """As they would be if `member` had this weight."""
    return {**{each: roll.must(each).weight for each in roll.active()}, member: weight}


def check_any_left(roll: Roll, member: MemberId, weight: int) -> None:
    """Raises NoWeightLeft if giving `member` this weight would leave nobody with any."""
    if not any(_active_weights(roll, member, weight).values()):
        raise NoWeightLeft(member)


def check_weights(roll: Roll, before: Mapping[MemberId, int], member: MemberId, weight: int, *, pilot: bool) -> None:
    """Raises ThirdOfWeight if giving `member` this weight would leave anyone with a third, or if a third of the weight
    would have moved since this block began (`before`); NoWeightLeft if nobody were left with any.

    What holds: of the weight that made the last block binding, more than two thirds is still there after a block's
    votes, and makes up more than two thirds of the weight there is then; several votes in one block count together.
    Two exceptions, both of them ends and not gains: a suspension and proof of two roots take effect whatever they
    leave, and the next vote then counts what they took. Over several blocks any weight may move, a step at a time:
    each step is a vote of the members, and each is proven under the authority before it (`records.trust`).

    A pilot waives the thirds; its evidence says that one party could rewrite.
    """
    check_any_left(roll, member, weight)
    if pilot:
        return
    now = _active_weights(roll, member, weight)
    everyone = sorted({*before, *now})
    gained = sum(max(0, now.get(each, 0) - before.get(each, 0)) for each in everyone)
    lost = sum(max(0, before.get(each, 0) - now.get(each, 0)) for each in everyone)
    for moved, total in ((gained, sum(now.values())), (lost, sum(before.values()))):
        if moved and 3 * moved >= total:
            raise ThirdOfWeight(member, moved, total)
    for each, of_it in now.items():
        if 3 * of_it >= sum(now.values()):
            raise ThirdOfWeight(each, of_it, sum(now.values()))


def _checkpoint_keys(roll: Roll, member: MemberId, purpose: Purpose) -> tuple[CheckpointKey, ...]:
    keys = (roll.key(each) for each in roll.must(member).keys_for(purpose))
    return tuple(
        CheckpointKey(key.public, key.starts, key.ends) for key in keys if key is not None and key.revoked is None
    )


def write_authority(cells: Cells, roll: Roll, operator: MemberId, *, pilot: bool) -> None:
    """Brings `authority` and `origins` in line with the roll; the epoch grows if anything in it changed.

    Suspended members stay listed, with weight 0, so that a trust file still knows their CA.
    """
    data = cells.get(AUTHORITY_KEY)
    epoch = 0 if data is None else Authority.parse(data).epoch
    cosigners = []
    for member in roll.ids():
        found = roll.must(member)
        keys = _checkpoint_keys(roll, member, Purpose.COSIGN)
        cosigners.append(Cosigner(member, found.weight if found.active else 0, int(found.kind), found.ca, keys))
    sequencer = _checkpoint_keys(roll, operator, Purpose.SEQUENCE) if operator else ()
    now = Authority(epoch, tuple(cosigners), operator, sequencer, pilot)
    if data is None or now.to_bytes() != data:
        cells.put(AUTHORITY_KEY, Authority(epoch + 1, now.cosigners, operator, now.sequencer, pilot).to_bytes())
    origins = encode([roll.must(member).origin for member in roll.active()])
    if cells.get(ORIGINS_KEY) != origins:
        cells.put(ORIGINS_KEY, origins)
