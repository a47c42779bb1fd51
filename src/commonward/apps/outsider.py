"""What an outsider learns who has the whole ledger: read from a member's own block files, with no key and no secret.

Every block is executed again from genesis, so the outcomes are not the node's word: after each block the result is
compared with the checkpoint kept with it: the one that the operator signed, or, where the members order together, the
one that this node reached and cosigned. Reads beside a running node. Memory grows with the live state.
"""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Final

from commonward.adapters.store.errors import StoreCorrupt
from commonward.adapters.store.readonly import read_blocks
from commonward.ledger.checkpoint import Checkpoint, NoteError, parse_note
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import BlockTime, Height, MemberId
from commonward.ledger.importing import ImportRefused
from commonward.ledger.merkle.log import MemoryLogStore
from commonward.ledger.refusals import REFUSALS, Refusal
from commonward.ledger.state import MemoryStore
from commonward.ledger.transactions import KINDS, Transaction
from commonward.ledger.transition import InvalidBlock, Machine, Outcome, StateDamaged
from commonward.ledger.wire import Struct
from commonward.records.trust import TrustFile, load_trust
from commonward.workflows.blocklog import Record, RecordError

PATIENT: Final = "a passkey"
"""Who signed, where no member did."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One transaction as it stands. `member` is None for one that a passkey signed, or that nobody did."""

    height: Height
    time: BlockTime
    outcome: Outcome
    transaction: Transaction | None
    refusal: Refusal | None

    @property
    def member(self) -> MemberId | None:
        return self.outcome.member

    @property
    def signer(self) -> str:
        """A member's id, or the word for a passkey; for what could not be read, nobody."""
        if self.outcome.member is not None:
            return self.outcome.member
        return PATIENT if self.transaction is not None and self.transaction.proof_kind == 2 else "nobody known"

    @property
    def kind(self) -> str:
        return kind_name(self.outcome.kind)

    @property
    def outcome_name(self) -> str:
        if not self.outcome.code:
            return "accepted"
        known = REFUSALS.get(self.outcome.code)
        return known.__name__ if known else "refused"


def kind_name(kind: int) -> str:
    known = KINDS.get(kind)
    return known.__name__ if known else f"kind {kind}"


@dataclass(slots=True)
class Counts:
    """How often each signer did what; and where the ledger stands. Filled as the ledger is read."""

    by_kind: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: int = 0
    height: int = 0
    size: int = 0
    root: bytes = b""


def kept_checkpoint(record: Record) -> Checkpoint:
    """What was kept with a block: a note that the operator signed, or under consensus the checkpoint alone. Raises
    NoteError."""
    try:
        return Checkpoint.parse(record.note)
    except NoteError:
        return parse_note(record.note).checkpoint


def geneses_before(file: bytes) -> tuple[Genesis, ...]:
    """Of the ledgers that the one of this genesis file goes on from, oldest first. Raises TrustRefused."""
    return tuple(each.genesis for each in load_trust(TrustFile(file).to_bytes()).ledgers())[:0:-1]


def replay(
    genesis: Genesis,
    blocks: Path,
    counts: Counts,
    progress: Callable[[int], None] = lambda height: None,
    *,
    before: Sequence[Genesis] = (),
) -> Iterator[Seen]:
    """Every transaction, in the log's order. `before`: the geneses of the ledgers that it goes on from, oldest first.

    Raises StoreCorrupt where the files are not the ledger of `genesis`.
    """
    line, store, log = [*before, genesis], MemoryStore(), MemoryLogStore()
    machine = Machine(line.pop(0), store, log, map_bits=8)
    for height, data in read_blocks(blocks):
        try:
            record = Record.parse(data)
            kept = kept_checkpoint(record)
            if line and height == line[0].height:
                machine, staged = Machine(line.pop(0), store, log, map_bits=8), None
            else:
                staged = machine.stage(record.block)
        except (RecordError, NoteError, InvalidBlock, StateDamaged, ImportRefused) as cause:
            raise StoreCorrupt(blocks, f"block {height} is none that follows from this genesis: {cause}") from cause
        made = machine.tip if staged is None else staged.checkpoint
        if (made.size, made.root) != (kept.size, kept.root):
            who = "this node reached" if machine.genesis.consensus else "the operator signed"
            raise StoreCorrupt(
                blocks,
                f"executing block {height} gives size {made.size}, root {made.root.hex()}; {who} size "
                f"{kept.size}, root {kept.root.hex()}: keep the files, and show them to the other members",
            )
        counts.height, counts.size, counts.root = height, made.size, made.root
        if staged is None:
            continue
        machine.commit(staged)
        for (transaction, outcome), refusal in zip(staged.transactions, staged.refusals, strict=True):
            seen = Seen(staged.header.height, staged.header.time, outcome, transaction, refusal)
            counts.by_kind[seen.signer, seen.kind] += 1
            counts.refused += bool(outcome.code)
            yield seen
        progress(height)


# ------------------------------------------------------------------------------------------------------- field by field


@dataclass(frozen=True, slots=True)
class Part:
    """One field: its name, its value (plain, for JSON) and what kind of thing it is."""

    name: str
    value: object
    what: str


_WORDS: Final = {
    "Digest": "digest: a salted commitment, or a root; says nothing by itself",
    "BlockTime": "time",
    "MemberId": "member",
    "KeyId": "key",
    "Handle": "handle: a patient's pseudonym",
    "ConsentId": "random id",
    "ProposalId": "random id",
    "Tag": "one-time tag",
    "CredentialId": "passkey's id",
}


def parts(payload: Struct) -> list[Part]:
    """The fields of a payload, in order; those that are absent left out."""
    hints = typing.get_type_hints(type(payload))
    found = []
    for each in payload.FIELDS:
        value = getattr(payload, each.name)
        if value is not None:
            found.append(Part(each.name, _plain(value), _what(hints[each.name])))
    return found


def _what(hint: object) -> str:
    named = [hint, *typing.get_args(hint)]
    names = (getattr(each, "__name__", "") for each in named)
    return next((_WORDS[name] for name in names if name in _WORDS), "")


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, IntEnum):
        return value.name
    if isinstance(value, Struct):
        return {part.name: part.value for part in parts(value)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value
