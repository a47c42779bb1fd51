"""What ends soon: keys and certificates, this member's and the others', weeks before they do.

A key that ended signs nothing any more, and it is too late to warn. So each node looks at the whole roll, not only at
its own part: when the cosigning keys that still count carry two thirds of the weight no longer, releases stop for
everyone, though no one member has done anything wrong.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from commonward.ledger.ids import BlockTime, KeyId, MemberId, Purpose
from commonward.ledger.members import Key, Roll

DAY: Final = 86_400_000
SOON: Final = 30 * DAY
"""A key is registered within a block, so a month is enough for who looks once a week."""

CA_SOON: Final = 180 * DAY
"""A CA is replaced by vote."""

_ALWAYS: Final = (Purpose.OPERATE, Purpose.CARRY, Purpose.COSIGN, Purpose.TLS, Purpose.HPKE)
_QUORUM: Final = (Purpose.COSIGN, Purpose.VALIDATE)


class Certificate(NamedTuple):
    """One that somebody parsed. `what`: as a sentence names it."""

    member: MemberId
    what: str
    ends: int
    soon: int = SOON


@dataclass(frozen=True, slots=True)
class Ending:
    """Something of one member's that ends within its time of warning, or has. `what`: as a sentence names it."""

    member: MemberId
    what: str
    ends: int  # ms; 0 for a key that is not even registered any more
    do: str

    def days(self, now: int) -> int:
        """Whole days left; negative once it ended."""
        return (self.ends - now) // DAY

    def text(self, now: int) -> str:
        if self.ends <= now:
            return f"{self.member}: {self.what} ended" + (f" {-self.days(now)} days ago" if self.ends else "")
        return f"{self.member}: {self.what} {'end' if self.what.endswith('keys') else 'ends'} in {self.days(now)} days"


@dataclass(frozen=True, slots=True)
class QuorumEnds:
    """From then on the keys of this purpose carry too little weight. `members`: whose have ended by then."""

    purpose: Purpose
    at: int  # ms
    members: tuple[MemberId, ...]

    def text(self, now: int) -> str:
        word = self.purpose.name.lower()
        whose = f"the {word} keys of {', '.join(self.members)}"
        when = f"{whose} have ended" if self.at <= now else f"in {(self.at - now) // DAY} days {whose} will have ended"
        then = "no release is possible" if self.purpose is Purpose.COSIGN else "no block is agreed on"
        return f"{when}: what is left carries no two thirds of the weight, and {then}"


def endings(
    roll: Roll,
    own: MemberId,
    now: BlockTime,
    *,
    operator: MemberId,
    in_use: Collection[KeyId] = (),
    certificates: Iterable[Certificate] = (),
) -> list[Ending]:
    """All that ends soon, own first, then by end.

    Args:
        operator: who runs the sequencer; empty under consensus.
        in_use: the keys that this member's running node signs with.
        certificates: of whoever they are, with their ends.
    """
    found: dict[tuple[MemberId, int, str], list[tuple[str, int]]] = {}  # those of one member, day and remedy together
    for member in roll.active():
        for purpose in _wanted(roll, member, operator):
            keys = [key for key in _keys(roll, member, purpose) if key.revoked is None]
            ends = max((key.ends for key in keys), default=0)
            word = purpose.name.lower()
            if ends - now < SOON:
                found.setdefault((member, ends // DAY, _renew(own == member, member)), []).append((word, ends))
                continue
            for key in keys:
                if member == own and key.id in in_use and key.ends - now < SOON:
                    do = "restart the node, or the sequencer: a newer one is registered and lies ready"
                    found.setdefault((member, key.ends // DAY, do), []).append((word, key.ends))
    named = [
        Ending(member, _named([word for word, _ in words]), min(ends for _, ends in words), do)
        for (member, _, do), words in found.items()
    ]
    named += [
        Ending(each.member, each.what, each.ends, _reissue(each, own))
        for each in certificates
        if each.ends - now < each.soon
    ]
    return sorted(named, key=lambda each: (each.member != own, each.ends, each.member, each.what))


def quorum_ends(roll: Roll, now: BlockTime, *, consensus: bool, within: int = SOON) -> QuorumEnds | None:
    """When too little weight is left behind keys that count, if nobody registers another; None if not so soon."""
    lost = []
    for purpose in _QUORUM if consensus else (Purpose.COSIGN,):
        weights = {member: roll.must(member).weight for member in roll.active()}
        lasts = {
            member: max((key.ends for key in _keys(roll, member, purpose) if key.revoked is None), default=0)
            for member, weight in weights.items()
            if weight
        }
        left, total, gone = sum(weights.values()), sum(weights.values()), list[MemberId]()
        for member, ends in sorted(lasts.items(), key=lambda each: (each[1], each[0])):
            left -= weights[member]
            gone.append(member)
            if 3 * left <= 2 * total:
                if ends - now < within:
                    lost.append(QuorumEnds(purpose, ends, tuple(gone)))
                break
    return min(lost, key=lambda each: each.at, default=None)


def _wanted(roll: Roll, member: MemberId, operator: MemberId) -> Iterable[Purpose]:
    """What a member needs a key for. CometBFT's are wanted under consensus alone, the sequencer's of its operator."""
    yield from _ALWAYS
    if operator == member:
        yield Purpose.SEQUENCE
    if not operator:
        yield Purpose.NODE
        if roll.must(member).weight:
            yield Purpose.VALIDATE


def _keys(roll: Roll, member: MemberId, purpose: Purpose) -> list[Key]:
    return [key for name in roll.must(member).keys_for(purpose) if (key := roll.key(name)) is not None]


def _named(words: list[str]) -> str:
    if len(words) == 1:
        return f"the {words[0]} key"
    return f"the {', '.join(words[:-1])} and {words[-1]} keys"


def _renew(ours: bool, member: MemberId) -> str:
    if ours:
        return "`commonward member rotate-key PURPOSE` for each, then restart the node"
    return f"tell {member}: it replaces them with `commonward member rotate-key PURPOSE`"


def _reissue(certificate: Certificate, own: MemberId) -> str:
    if certificate.member != own:
        return f"tell {certificate.member}"
    if certificate.soon == CA_SOON:
        return "make a new CA and propose its certificate: that takes a vote (docs/operations.md)"
    return "`commonward member rotate-key tls`, then restart the node"
