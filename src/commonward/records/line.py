"""The geneses of a ledger that goes on from others: which one a block was judged by.

A genesis file carries the trust file of the ledger before, and that one the genesis file of its ledger, and so on to
the first of the line. What binds them is the hash: a genesis names the id of the ledger before, which is the hash of
that ledger's genesis, so nobody's word is taken for a genesis in the chain. (Whether the old members wanted the move is
another question: `records.trust` answers it for strangers.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from commonward.ledger.genesis import Genesis, GenesisError, SignedGenesis
from commonward.records.succession import Before, BeforeUnreadable
from commonward.records.trust import TrustFile, TrustUnreadable

__all__ = ["Line", "LineBroken", "line_of"]

_LONGEST: Final = 64
"""Ledgers; a consortium moves once or twice in its life."""


class LineBroken(ValueError):
    """Geneses that do not lead from one to the next. Says which ledger was expected."""


@dataclass(frozen=True, slots=True)
class Line:
    """`geneses`: from the first ledger of the line to the one in force, each going on from the one before."""

    geneses: tuple[Genesis, ...]

    def __post_init__(self) -> None:
        """Raises LineBroken."""
        if not self.geneses or self.geneses[0].imported is not None:
            raise LineBroken("expected the genesis of a ledger that goes on from none, at the beginning of the line")
        for before, after in zip(self.geneses, self.geneses[1:], strict=False):
            named = after.imported
            if named is None or named.ledger != before.ledger_id or named.height < before.height:
                raise LineBroken(f"expected a genesis that goes on from ledger {before.ledger_id.hex()}")

    @classmethod
    def of(cls, *geneses: Genesis) -> "Line":
        """From the first on. Raises LineBroken."""
        return cls(geneses)

    @property
    def first(self) -> Genesis:
        return self.geneses[0]

    def at(self, height: int) -> Genesis:
        """The genesis under which the block of this height was made; it is a block itself, at its own height."""
        return next(each for each in reversed(self.geneses) if each.height <= max(height, 0))

    def moved_at(self, height: int) -> Genesis | None:
        """The genesis that is the block of this height, where the ledger moved there."""
        found = self.at(height)
        return found if found.height == height and found.imported is not None else None

    def began_at(self, height: int) -> Sequence[Genesis]:
        """Whose members and keys count from the block of this height on. Block 1 brings those of the first, too."""
        moved = self.moved_at(height)
        return (*((self.first,) if height == 1 else ()), *((moved,) if moved is not None else ()))


def line_of(signed: SignedGenesis) -> Line:
    """The line that a genesis file tells. Raises LineBroken."""
    found = [signed.genesis]
    while found[-1].imported is not None:
        try:
            before = TrustFile.parse(Before.parse(signed.before).trust)
            signed = SignedGenesis.parse(before.genesis)
        except (BeforeUnreadable, TrustUnreadable, GenesisError) as cause:
            raise LineBroken(f"what stands before genesis {found[-1].ledger_id.hex()}: {cause}") from cause
        found.append(signed.genesis)
        if len(found) > _LONGEST:
            raise LineBroken(f"expected at most {_LONGEST} ledgers in a line")
    return Line(tuple(reversed(found)))
