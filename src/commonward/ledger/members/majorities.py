"""Who may propose what, and how many must agree: as genesis fixed it first, and as votes have changed it since.

One member, one vote. The state holds only what was changed, so a ledger that never changes it has no cell of it.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from commonward.ledger.encoding import Encodable, decode, encode
from commonward.ledger.ids import MemberId, MemberKind
from commonward.ledger.members.changes import STANDS_FOR, Change, ChangeKind, SetMajority, SetProposers
from commonward.ledger.rules import Cells

MAJORITIES_KEY: Final = b"majorities"
PROPOSERS_KEY: Final = b"proposers"


class Majority(NamedTuple):
    """More than this fraction of the active members."""

    numerator: int
    denominator: int

    def reached(self, ayes: int, members: int) -> bool:
        return ayes * self.denominator > members * self.numerator

    def needed(self, members: int) -> int:
        """The fewest ayes that reach it."""
        return members * self.numerator // self.denominator + 1

    @property
    def sound(self) -> bool:
        """At least a half, so that two opposite changes cannot both carry; less than one, so that all can reach it."""
        return self.denominator <= 2 * self.numerator < 2 * self.denominator

    def exceeds(self, other: "Majority") -> bool:
        return self.numerator * other.denominator > other.numerator * self.denominator


def highest(*majorities: Majority) -> Majority:
    found = majorities[0]
    for each in majorities[1:]:
        if each.exceeds(found):
            found = each
    return found


class Constitution(NamedTuple):
    """What genesis says about deciding."""

    majorities: Mapping[ChangeKind, Majority]
    proposers: Mapping[ChangeKind, tuple[MemberKind, ...]]
    operator: MemberId
    pilot: bool

    @property
    def consensus(self) -> bool:
        """Whether nobody orders alone (`Genesis.consensus`)."""
        return not self.operator

    def majority(self, kind: ChangeKind) -> Majority:
        found = self.majorities.get(kind)
        return self.majorities[STANDS_FOR[kind]] if found is None else found

    def may_propose(self, kind: ChangeKind) -> tuple[MemberKind, ...]:
        found = self.proposers.get(kind)
        return self.proposers.get(STANDS_FOR.get(kind, kind), ()) if found is None else found


class Majorities:
    """The slice: `majorities` -> {kind of change: [numerator, denominator]}; `proposers` -> {kind of change: [kind of
    member...]}; what is not there is as genesis says."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def majority(self, kind: ChangeKind, constitution: Constitution) -> Majority:
        match self._read(MAJORITIES_KEY).get(int(kind)):
            case [int(numerator), int(denominator)]:
                return Majority(numerator, denominator)
        return constitution.majority(kind)

    def may_propose(self, kind: ChangeKind, constitution: Constitution) -> tuple[MemberKind, ...]:
        match self._read(PROPOSERS_KEY).get(int(kind)):
            case list(kinds):
                return tuple(MemberKind(each) for each in kinds)
        return constitution.may_propose(kind)

    def set_majority(self, kind: ChangeKind, majority: Majority) -> None:
        self._change(MAJORITIES_KEY, kind, tuple(majority))

    def set_proposers(self, kind: ChangeKind, proposers: tuple[MemberKind, ...]) -> None:
        self._change(PROPOSERS_KEY, kind, tuple(sorted({int(each) for each in proposers})))

    def needed(self, change: Change, constitution: Constitution) -> Majority:
        """The majority that this change needs.

        A change of the rules of deciding needs the highest of: what such changes need (MAJORITY, PROPOSERS), what the
        kind of change that it is about needs now, and, for a majority, what it is to need. Else a half, where a half
        may change majorities, would first lower the bar of admission and then admit whom it likes: whoever can reach
        a bar by lowering it has that bar already. And who raises a bar shows that it can be reached: nobody locks a
        door that the same votes could not open again.
        """
        own = self.majority(change.CHANGE, constitution)
        match change:
            case SetMajority():
                new = Majority(change.numerator, change.denominator)
                return highest(own, self.majority(change.kind, constitution), new)
            case SetProposers():
                return highest(own, self.majority(change.kind, constitution))
        return own

    def _read(self, key: bytes) -> dict[int, Any]:
        value = decode(self._cells.get(key) or b"\xa0")
        assert isinstance(value, dict)
        return dict(value)

    def _change(self, key: bytes, kind: ChangeKind, value: Encodable) -> None:
        self._cells.put(key, encode({**self._read(key), int(kind): value}))
