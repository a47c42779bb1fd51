"""What a block came to: outcomes, leaves, the tip, and what is to be written. Values; nothing is decided here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from commonward.ledger.encoding import Digest, decode, encode
from commonward.ledger.ids import BlockTime, Height, LedgerId, MemberId
from commonward.ledger.merkle.log import StagedAppend
from commonward.ledger.refusals import Refusal
from commonward.ledger.rules import Header
from commonward.ledger.transactions import Transaction

ACCEPTED: Final = 0

_MARK: Final = Digest(b"\xff" * 32)


class StateDamaged(RuntimeError):
    """The stores do not hold what this node kept last: restore it, or replay the block log into fresh ones."""


class Tip(NamedTuple):
    """Where the ledger is: the last block that left a trace, and the checkpoint that it led to (`size`, `root`)."""

    height: Height
    time: BlockTime
    size: int
    root: Digest
    state_root: Digest


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one transaction: 0 or a refusal's number. `member`: whose key signed; None for a passkey, or
    when no author was found. `index`: of its leaf in the log."""

    digest: Digest
    code: int
    kind: int
    member: MemberId | None
    index: int


class Checkpointed(NamedTuple):
    size: int
    root: Digest


class Staged(NamedTuple):
    """A block that was computed and not kept.

    `outcomes`, and `transactions` beside them (None for what could not be read), are for whoever indexes the ledger;
    `refusals` (same order; None when accepted) are for people, and not consensus. `leaves`: the log's new ones,
    from `first` on. When `idle`, the checkpoint is the old one and there are none. `validators`: those whose power
    changes under consensus (public key, new power).
    """

    header: Header
    idle: bool
    outcomes: tuple[Outcome, ...]
    transactions: tuple[tuple[Transaction | None, Outcome], ...]
    refusals: tuple[Refusal | None, ...]
    checkpoint: Checkpointed
    state_root: Digest
    first: int
    leaves: tuple[bytes, ...]
    changes: Mapping[bytes, bytes | None]
    standing: "Standing"
    append: StagedAppend | None
    cells: Mapping[bytes, bytes | None]
    validators: tuple[tuple[bytes, int], ...] = ()

    @property
    def tip(self) -> Tip:
        """Where the ledger will be."""
        return self.standing.tip


def outcome_leaf(digest: Digest, height: int, time: int, code: int) -> bytes:
    return encode([1, digest, height, time, code])


def block_leaf(height: int, time: int, state_root: Digest) -> bytes:
    return encode([2, height, time, state_root])


TIP_KEY: Final = b"m/tip"


class Standing(NamedTuple):
    """What this node remembers of where it is, in one record."""

    tip: Tip
    applied: Header
    sealed: int  # blocks that left a trace, genesis included: numbers the records of what to forget
    forgotten: int  # of which so many are forgotten

    def to_bytes(self, ledger: LedgerId) -> bytes:
        return encode([ledger, tuple(self.tip), tuple(self.applied), self.sealed, self.forgotten])

    @staticmethod
    def is_of(data: bytes, ledger: LedgerId) -> bool:
        """Whether the record is of this ledger, whatever else it says."""
        match decode(data):
            case [bytes(of), *_]:
                return of == ledger
        return False

    @classmethod
    def parse(cls, data: bytes, ledger: LedgerId) -> "Standing":
        match decode(data):
            case [
                bytes(of),
                [int(height), int(time), int(size), bytes(root), bytes(state_root)],
                [int(at), int(when)],
                int(sealed),
                int(forgotten),
            ]:
                if of != ledger:
                    raise StateDamaged(f"expected the state of ledger {ledger.hex()}, got that of {of.hex()}")
                return cls(
                    Tip(Height(height), BlockTime(time), size, Digest(root), Digest(state_root)),
                    Header(Height(at), BlockTime(when)), sealed, forgotten,
                )  # fmt: skip
        raise StateDamaged("expected the record of where this node stands")


def outcome_leaves(header: Header, outcomes: Sequence[Outcome]) -> Iterator[bytes]:
    """As `outcome_leaf`, but encoded once for each code: the leaves of a block differ in their 32 bytes of digest."""
    forms: dict[int, tuple[bytes, bytes]] = {}
    for outcome in outcomes:
        form = forms.get(outcome.code)
        if form is None:
            before, after = outcome_leaf(_MARK, header.height, header.time, outcome.code).split(_MARK)
            form = forms[outcome.code] = before, after
        yield form[0] + outcome.digest + form[1]
