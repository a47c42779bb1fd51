"""What the operator of the sequencer did wrong, with the proof that names it. A node that has one stops following."""

from dataclasses import dataclass
from enum import IntEnum

from commonward.ledger.checkpoint import Checkpoint, Note
from commonward.ledger.encoding import decode, encode
from commonward.ledger.ids import Algorithm, Digest, Height, KeyId, MemberId, key_id, parse_key_id, parse_member_id
from commonward.ledger.members.equivocation import Equivocation

__all__ = ["FaultKind", "OperatorFault"]


class FaultKind(IntEnum):
    """How a sequencer can betray its members. Ordering, delaying and censoring leave no proof, and are not here."""

    FORK = 1  # two signed roots for one size
    MISEXECUTION = 2  # a signed root that executing the block does not give
    INVALID_BLOCK = 3  # a signed checkpoint after a block that the rules forbid
    REWRITE = 4  # a signed checkpoint of a history that ours is no part of, at a size where we have none


@dataclass(frozen=True, slots=True)
class OperatorFault:
    """One fault. `shown` is the note the operator signed; `ours` what this node has: the operator's other note of
    that size for a fork, else our own checkpoint's text. `block` is the bytes that were executed, where there are any.
    """

    kind: FaultKind
    operator: MemberId
    key: KeyId
    height: Height
    shown: bytes
    ours: bytes
    block: bytes
    text: str

    def __str__(self) -> str:
        return f"{self.operator}, who runs the sequencer, {self.text}"

    @property
    def equivocation(self) -> Equivocation | None:
        """The transaction's payload that takes the operator's weight away; only a fork proves so much by itself."""
        if self.kind is not FaultKind.FORK:
            return None
        return Equivocation(key=self.key, first=self.ours, second=self.shown)

    def to_bytes(self) -> bytes:
        """The proof file: {1: kind, 2: operator, 3: key, 4: height, 5: shown, 6: ours, 7: block, 8: text}."""
        return encode(
            {
                1: int(self.kind),
                2: self.operator,
                3: self.key,
                4: self.height,
                5: self.shown,
                6: self.ours,
                7: self.block,
                8: self.text,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "OperatorFault":
        """Raises ValueError."""
        match decode(data):
            case {
                1: int(kind),
                2: str(operator),
                3: bytes(key),
                4: int(height),
                5: bytes(shown),
                6: bytes(ours),
                7: bytes(block),
                8: str(text),
            }:
                return cls(
                    FaultKind(kind),
                    parse_member_id(operator),
                    parse_key_id(key),
                    Height(height),
                    shown,
                    ours,
                    block,
                    text,
                )
        raise ValueError("expected the proof file of an operator's fault")

    @classmethod
    def misexecution(
        cls, operator: MemberId, public: bytes, height: Height, shown: Note, ours: Checkpoint, block: bytes
    ) -> "OperatorFault":
        theirs = shown.checkpoint
        return cls(
            FaultKind.MISEXECUTION,
            operator,
            key_id(Algorithm.EDDSA, public),
            height,
            shown.to_bytes(),
            ours.note_body(),
            block,
            f"signed size {theirs.size}, root {theirs.root.hex()} after block {height}; "
            f"executing it gives size {ours.size}, root {ours.root.hex()}",
        )

    @classmethod
    def invalid_block(
        cls, operator: MemberId, public: bytes, height: Height, shown: Note, block: bytes, why: str
    ) -> "OperatorFault":
        return cls(
            FaultKind.INVALID_BLOCK,
            operator,
            key_id(Algorithm.EDDSA, public),
            height,
            shown.to_bytes(),
            b"",
            block,
            f"signed a checkpoint after block {height}, which the rules forbid: {why}",
        )

    @classmethod
    def fork(cls, operator: MemberId, public: bytes, height: Height, ours: Note, shown: Note) -> "OperatorFault":
        one, other = ours.checkpoint, shown.checkpoint
        return cls(
            FaultKind.FORK,
            operator,
            key_id(Algorithm.EDDSA, public),
            height,
            shown.to_bytes(),
            ours.to_bytes(),
            b"",
            f"signed two roots for size {one.size}: {one.root.hex()} and {other.root.hex()}",
        )

    @classmethod
    def rewrite(
        cls, operator: MemberId, public: bytes, height: Height, shown: Note, ours: Checkpoint, here: Digest
    ) -> "OperatorFault":
        theirs = shown.checkpoint
        return cls(
            FaultKind.REWRITE,
            operator,
            key_id(Algorithm.EDDSA, public),
            height,
            shown.to_bytes(),
            ours.note_body(),
            b"",
            f"signed root {theirs.root.hex()} for size {theirs.size}, where the log it gave us has {here.hex()}",
        )
