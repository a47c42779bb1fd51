"""Evidence files: one small text that shows, offline, what became of one transaction and what it commits to.

Form: C2SP tlog-proof. The proven leaf is the transaction's outcome leaf [1, digest, height, header time, code]; the
`extra` line holds our part in CBOR, of which nothing is believed until `judging` has traced it to that leaf:

    {1: transaction, 2: [height, header time, code], 3: [algorithm, public key of the author],
     4: [[index, height, header time, state root, path, shared, [[state key, value or absent, map proof] ...]] ...],
     5: what the transaction commits to, 6: [time-stamp token, size, root, path] (may be absent)}

Field 4 are block leaves of the same log: the transaction's own block, the block that its recent checkpoint ended with
(it was signed after that), and any whose state shows something (a key, an open consent, a certificate not revoked).
Their paths share their upper part with the transaction's; only what differs is written, and how many are shared.

Field 5, for an AnchorBatch, is one record: {1: salt, 2: index in the batch, 3: path (16 hashes), 4: stored bytes (may
be absent)}. For all other kinds it is {field of the payload: [salt, value]}: openings, as many as the holder shows.
The rules of a Consent are salted one by one: its field 5 is [32 zero bytes, [opened rule ...]] (`openings`).

Field 6 is a time stamp (RFC 3161, `timestamps`) over a checkpoint of the same log that holds the transaction already:
its size and root, and the consistency path (RFC 9162) from it to the checkpoint of the note. So a token that was made
once serves all that came before it, whatever checkpoint the evidence rests on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from commonward.ledger.checkpoint import NoteError, from_base64, parse_note, to_base64
from commonward.ledger.encoding import Digest, Encodable, Value, decode, encode
from commonward.ledger.ids import Algorithm
from commonward.ledger.merkle.map_proof import MapProof
from commonward.ledger.refusals import Refusal
from commonward.ledger.registry import AnchorBatch
from commonward.ledger.transactions import Payload, Transaction, parse_transaction
from commonward.records.fingerprint import BatchProof

HEADER: Final = "c2sp.org/tlog-proof@v1"
MAX_BYTES: Final = 32 << 20
"""Room for the largest record inside."""

SEALED_LABEL: Final = "commonward sealed bundle v1"
"""Of the digest that a Release's `sealed` commits to: over the bundle as it was sealed."""

_HASH: Final = 32


class EvidenceUnreadable(ValueError):
    """Not an evidence file. Says what was expected, and what came."""


read_note = lru_cache(maxsize=1024)(parse_note)
"""As `parse_note`; many files share one checkpoint."""


read_transaction = lru_cache(maxsize=1024)(parse_transaction)
"""As `parse_transaction`; a file's is asked for twice, and all records of a batch share one."""


def label_of(payload: type[Payload], field: str) -> str:
    """The label under which a payload's field commits to a value: "commonward Release request v1"."""
    return f"commonward {payload.__name__} {field} v1"


@dataclass(frozen=True, slots=True)
class StateFact:
    """That the state held this value under a key, or (value None) nothing."""

    key: bytes
    value: bytes | None
    proof: MapProof

    def to_value(self) -> list[Encodable]:
        return [self.key, [] if self.value is None else [self.value], self.proof.to_value()]

    @classmethod
    def from_value(cls, value: Value) -> "StateFact":
        match value:
            case [bytes(key), [], proof]:
                return cls(key, None, MapProof.from_value(proof))
            case [bytes(key), [bytes(held)], proof]:
                return cls(key, held, MapProof.from_value(proof))
        raise EvidenceUnreadable(f"expected a state fact [key, [value] or [], proof], got {value!r:.80}")


@dataclass(frozen=True, slots=True)
class BlockLeaf:
    """A block's leaf in the log, with its path, and what its state is said to have held."""

    index: int
    height: int
    time: int
    state_root: Digest
    path: tuple[bytes, ...]
    facts: tuple[StateFact, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordStatement:
    """One record in an anchored batch. `stored`: its bytes, when the file carries them."""

    salt: bytes
    proof: BatchProof
    stored: bytes | None = None

    def to_value(self) -> dict[int, Encodable]:
        value: dict[int, Encodable] = {1: self.salt, 2: self.proof.index, 3: b"".join(self.proof.path)}
        return value if self.stored is None else {**value, 4: self.stored}

    @classmethod
    def from_value(cls, value: Mapping[int, Value]) -> "RecordStatement":
        match value:
            case {1: bytes(salt), 2: int(index), 3: bytes(path), **rest} if (
                len(salt) == 32 and 0 <= index < 1 << 16 and len(path) == 16 * _HASH and rest.keys() <= {4}
            ):
                stored = rest.get(4)
                if stored is None or type(stored) is bytes:
                    return cls(salt, BatchProof(index, _hashes(path)), stored)
        raise EvidenceUnreadable("expected a record's salt, index, path of 16 hashes, and perhaps its bytes")


@dataclass(frozen=True, slots=True)
class Stamp:
    """A time-stamp token over the checkpoint of this size and root, which the log of the note continues by `path`."""

    token: bytes
    size: int
    root: Digest
    path: tuple[bytes, ...]

    def to_value(self) -> list[Encodable]:
        return [self.token, self.size, self.root, b"".join(self.path)]

    @classmethod
    def from_value(cls, value: Value) -> "Stamp":
        match value:
            case [bytes(token), int(size), bytes(root), bytes(path)] if size > 0 and len(root) == _HASH:
                return cls(token, size, Digest(root), _hashes(path))
        raise EvidenceUnreadable("expected a time stamp [token, size, root, path]")


Openings = Mapping[int, tuple[bytes, Value]]
"""Field number of the payload -> (salt, value)."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """An evidence file, read and not believed. `transaction` is `raw`, parsed."""

    raw: bytes
    transaction: Transaction
    height: int
    time: int
    code: int
    algorithm: Algorithm
    public: bytes
    index: int
    path: tuple[bytes, ...]
    blocks: tuple[BlockLeaf, ...]
    statement: "RecordStatement | Openings"
    note: bytes
    stamp: Stamp | None = None

    @classmethod
    def of(
        cls,
        raw: bytes,
        *,
        height: int,
        time: int,
        code: int,
        author: tuple[int, bytes],
        index: int,
        path: Sequence[bytes],
        note: bytes,
        blocks: Sequence[BlockLeaf] = (),
        statement: "RecordStatement | Openings | None" = None,
        stamp: Stamp | None = None,
    ) -> "Evidence":
        """Puts an evidence file together.

        Args:
            raw: the transaction's signed bytes.
            height, time, code: from its outcome leaf.
            author: algorithm and public key of who signed.
            index, path: its leaf's place in the log, and inclusion in the checkpoint of `note`.
            note: a cosigned checkpoint of the log at least that long.
            blocks: block leaves with paths to the same checkpoint; see the module.
            stamp: a time stamp over that checkpoint or an earlier one that holds the transaction.
        """
        algorithm, public = author
        return cls(
            raw, parse_transaction(raw), height, time, code, Algorithm(algorithm), public, index, tuple(path),
            tuple(blocks), {} if statement is None else statement, note, stamp,
        )  # fmt: skip

    def to_bytes(self) -> bytes:
        """The file."""
        statement = self.statement
        if isinstance(statement, RecordStatement):
            said = statement.to_value()
        else:
            said = {field: list(opening) for field, opening in statement.items()}
        fields: dict[int, Encodable] = {
            1: self.raw,
            2: [self.height, self.time, self.code],
            3: [int(self.algorithm), self.public],
            4: [self._block_value(block) for block in self.blocks],
            5: said,
        }
        extra = encode(fields if self.stamp is None else {**fields, 6: self.stamp.to_value()})
        lines = [HEADER, f"extra {to_base64(extra)}", f"index {self.index}", *map(to_base64, self.path), "", ""]
        return "\n".join(lines).encode() + self.note

    def _block_value(self, block: BlockLeaf) -> list[Encodable]:
        shared = 0
        while shared < min(len(self.path), len(block.path)) and self.path[-1 - shared] == block.path[-1 - shared]:
            shared += 1
        own = b"".join(block.path[: len(block.path) - shared])
        facts = [fact.to_value() for fact in block.facts]
        return [block.index, block.height, block.time, block.state_root, own, shared, facts]

    @classmethod
    def parse(cls, data: bytes) -> "Evidence":
        """Raises EvidenceUnreadable."""
        if len(data) > MAX_BYTES:
            raise EvidenceUnreadable(f"expected an evidence file of at most {MAX_BYTES} bytes, got {len(data)}")
        head, blank, note = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise EvidenceUnreadable("expected ASCII text before the checkpoint") from None
        if lines[0] != HEADER:
            raise EvidenceUnreadable(f"expected the first line {HEADER!r}, got {lines[0]!r:.60}")
        if not blank or len(lines) < 3 or not lines[1].startswith("extra ") or not lines[2].startswith("index "):
            raise EvidenceUnreadable("expected an extra line, an index line, hashes, a blank line and a checkpoint")
        try:
            index = _index(lines[2][6:])
            path = tuple(_hash(line) for line in lines[3:])
            read_note(note)
            return _read(decode(from_base64(lines[1][6:], "the extra data")), index, path, note)
        except EvidenceUnreadable:
            raise
        except (ValueError, Refusal) as cause:
            raise EvidenceUnreadable(f"expected an evidence file ({cause})") from cause


def _index(text: str) -> int:
    if not text.isdigit() or (text[0] == "0" and text != "0") or len(text) > 19:
        raise EvidenceUnreadable(f"expected an index as a decimal number without leading zeros, got {text!r:.40}")
    return int(text)


def _hash(line: str) -> bytes:
    found = from_base64(line, "a hash")
    if len(found) != _HASH:
        raise NoteError(f"expected a hash of {_HASH} bytes, got {len(found)}")
    return found


def _hashes(joined: bytes) -> tuple[bytes, ...]:
    if len(joined) % _HASH or len(joined) > 64 * _HASH:
        raise EvidenceUnreadable(f"expected at most 64 hashes of {_HASH} bytes, got {len(joined)} bytes")
    return tuple(joined[at : at + _HASH] for at in range(0, len(joined), _HASH))


def _read(extra: Value, index: int, path: tuple[bytes, ...], note: bytes) -> Evidence:
    stamp = Stamp.from_value(extra[6]) if isinstance(extra, dict) and 6 in extra else None
    match extra:
        case {
            1: bytes(raw),
            2: [int(height), int(time), int(code)],
            3: [int(algorithm), bytes(public)],
            4: list(blocks),
            5: dict(said),
            **rest,
        } if rest.keys() <= {6}:
            transaction = read_transaction(raw)
            statement: RecordStatement | Openings
            if isinstance(transaction.payload, AnchorBatch):
                statement = RecordStatement.from_value(said)
            else:
                statement = {field: _opening(opening) for field, opening in said.items()}
            return Evidence(
                raw, transaction, height, time, code, Algorithm(algorithm), public, index, path,
                tuple(_block(block, path) for block in blocks), statement, note, stamp,
            )  # fmt: skip
    raise EvidenceUnreadable("expected {transaction, outcome, author's key, blocks, statement} in the extra data")


def _opening(value: Value) -> tuple[bytes, Value]:
    match value:
        case [bytes(salt), opened] if len(salt) == 32:
            return salt, opened
    raise EvidenceUnreadable("expected an opening [salt of 32 bytes, value]")


def _block(value: Value, path: tuple[bytes, ...]) -> BlockLeaf:
    match value:
        case [int(index), int(height), int(time), bytes(root), bytes(own), int(shared), list(facts)] if (
            len(root) == _HASH and index >= 0 and 0 <= shared <= len(path)
        ):
            whole = _hashes(own) + path[len(path) - shared :]
            return BlockLeaf(index, height, time, Digest(root), whole, tuple(map(StateFact.from_value, facts)))
    raise EvidenceUnreadable("expected a block leaf [index, height, time, state root, path, shared, facts]")
