"""A node's own copy of every block, with the checkpoint that was signed after it: the node's memory.

What a node has cosigned follows from the blocks in here and nothing else, so once a record is durable the node can
never be brought to sign two roots for one size, whatever becomes of its state.
"""

from typing import NamedTuple, Protocol

from commonward.ledger.encoding import EncodingError, decode, encode

__all__ = ["BlockLog", "Record", "RecordError"]


class RecordError(ValueError):
    """Bytes that are not a record."""


class BlockLog(Protocol):
    """Records by height, 1, 2, 3, ..., append only. Trusted as far as this member's own disk is.

    `append` is called from one thread at a time; `read` may be called meanwhile from another.
    """

    @property
    def height(self) -> int:
        """Of the last record; 0 when there is none."""
        ...

    @property
    def first(self) -> int:
        """Of the first record that is, or would be, held: above 1 where a snapshot came before, or old ones went."""
        ...

    def append(self, height: int, record: bytes) -> None:
        """Returns once the record would survive a power cut. `height` is one above the last."""
        ...

    def read(self, height: int) -> bytes:
        """The record at a height from 1 to `height`."""
        ...


class Record(NamedTuple):
    """A block's bytes, and the note (C2SP signed checkpoint) of the log as it stands after the block."""

    block: bytes
    note: bytes

    def to_bytes(self) -> bytes:
        return encode([self.block, self.note])

    @classmethod
    def parse(cls, data: bytes) -> "Record":
        """Raises RecordError."""
        try:
            value = decode(data)
        except EncodingError as cause:
            raise RecordError(f"not a record of the block log: {cause}") from cause
        match value:
            case [bytes(block), bytes(note)]:
                return cls(block, note)
        raise RecordError(f"expected [block, note], got {value!r:.80}")
