"""Validating weights, and the authority record that says whose cosignatures make a checkpoint binding."""

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


def check_weights(roll: Roll, member: MemberId, weight: int, *, pilot: bool) -> None:
    """Raises ThirdOfWeight if giving `member` this weight would leave anyone with a third, or moves a third at once.

    A pilot waives both; its evidence says that one party could rewrite.
    """
    if pilot:
        return
    weights = {each: found.weight for each in roll.ids() if (found := roll.must(each)).active}
    before, total_before = weights.get(member, 0), sum(weights.values())
    weights[member] = weight
    total = sum(weights.values())
    if abs(weight - before) * 3 >= max(total_before, total):
        raise ThirdOfWeight(member, abs(weight - before), max(total_before, total))
    for each, of_it in weights.items():
        if of_it * 3 >= total:
            raise ThirdOfWeight(each, of_it, total)


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
    now = Authority(epoch, tuple(cosigners), operator, _checkpoint_keys(roll, operator, Purpose.SEQUENCE), pilot)
    if data is None or now.to_bytes() != data:
        cells.put(AUTHORITY_KEY, Authority(epoch + 1, now.cosigners, operator, now.sequencer, pilot).to_bytes())
    origins = encode([roll.must(member).origin for member in roll.active()])
    if cells.get(ORIGINS_KEY) != origins:
        cells.put(ORIGINS_KEY, origins)
