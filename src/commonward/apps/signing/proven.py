"""What the ledger says, checked: a patient's page believes a quorum under the genesis it pinned, and no member's word.

Both sides read the state with the same functions: the server over `Recorder`, which notes what was read so that it can
prove just that, the client over `ProvenCells`, which hold nothing unproven. Pure: no network, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from commonward.apps.signing.messages import EntryProof, Fact, StateShown
from commonward.ledger.checkpoint import (
    Authority,
    Checkpoint,
    CosignatureError,
    NoteError,
    Quorum,
    WeakQuorum,
    parse_note,
)
from commonward.ledger.consent import Credential, HandleRecord, Handles
from commonward.ledger.encoding import decode
from commonward.ledger.ids import BlockTime, Digest, Height, KeyId, MemberId, MemberKind, Purpose
from commonward.ledger.members import AUTHORITY_KEY, Key, Roll
from commonward.ledger.merkle.log import leaf_hash, verify_consistency, verify_inclusion
from commonward.ledger.merkle.map_proof import MapProof, verify_absence, verify_presence
from commonward.ledger.refusals import Refusal
from commonward.ledger.rules import Cells
from commonward.ledger.transactions import parse_transaction
from commonward.ledger.transition import outcome_leaf
from commonward.records.trust import Trust, block_fields
from commonward.workflows.ports import Entry


class NotProven(Exception):
    """A member said something of the ledger that its proof does not show; the sentence says what."""


class Stale(NotProven):
    """A checkpoint older than one that was seen before: this member lags, or hides what came since."""


class Forked(NotProven):
    """A quorum signed two histories: keep both checkpoints and show them to every member."""


class Seen(NamedTuple):
    """The newest checkpoint that this wallet has believed; size 0 before the first."""

    size: int = 0
    root: Digest = Digest(bytes(32))


# --- reading the state, the same on both sides -----------------------------------------------------


class Recorder:
    """Cells that remember what was read. Implements `ledger.rules.Cells` for reading."""

    def __init__(self, get: Callable[[bytes], bytes | None]) -> None:
        self._get = get
        self.read: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        if key not in self.read:
            self.read[key] = self._get(key)
        return self.read[key]

    def put(self, key: bytes, value: bytes) -> None:
        raise TypeError("only transactions change the state")

    def delete(self, key: bytes) -> None:
        raise TypeError("only transactions change the state")


class ProvenCells:
    """Cells that hold what was proven under a state root, and say so when asked for anything else."""

    def __init__(self, root: bytes, facts: tuple[Fact, ...]) -> None:
        """Raises NotProven when a fact's proof does not show it."""
        self._held = {fact.key: fact.value for fact in facts if _shows(root, fact)}

    def get(self, key: bytes) -> bytes | None:
        if key not in self._held:
            raise NotProven(f"expected a proof of the state under {key[:24]!r}, got none")
        return self._held[key]

    def put(self, key: bytes, value: bytes) -> None:
        raise TypeError("only transactions change the state")

    def delete(self, key: bytes) -> None:
        raise TypeError("only transactions change the state")


def _shows(root: bytes, fact: Fact) -> bool:
    try:
        proof = MapProof.from_value(decode(fact.proof))
    except ValueError as cause:
        raise NotProven(f"expected a map proof, got {cause}") from cause
    if fact.value is None:
        holds = verify_absence(root, fact.key, proof)
    else:
        holds = verify_presence(root, fact.key, fact.value, proof)
    if not holds:
        raise NotProven(f"the proof does not show what the state holds under {fact.key[:24]!r}")
    return True


@dataclass(frozen=True, slots=True)
class MemberShown:
    """An active member as a patient's page needs it. `hpke`: the X25519 key to seal to; `ca`: certificate's digest."""

    id: MemberId
    kind: MemberKind
    name: str
    ca: bytes
    origin: str
    hpke: bytes | None


class Members(NamedTuple):
    """The active members; whose operate key is which (revoked and suspended ones too); the authority's epoch."""

    active: tuple[MemberShown, ...]
    signers: Mapping[KeyId, Key]
    epoch: int


def read_members(cells: Cells, at: int) -> Members:
    """`at`: the time (ms) of the block whose state this is."""
    roll = Roll(cells)
    active: list[MemberShown] = []
    signers: dict[KeyId, Key] = {}
    for member in roll.ids():
        found = roll.must(member)
        for key in found.keys_for(Purpose.OPERATE):
            held = roll.key(key)
            if held is not None:
                signers[key] = held
        live = roll.live(member, Purpose.HPKE, at)
        if found.active:
            hpke = max(live, key=lambda key: (key.ends, key.public)).public if live else None
            active.append(MemberShown(member, found.kind, found.name, found.ca, found.origin, hpke))
    return Members(tuple(active), signers, Authority.parse(cells.get(AUTHORITY_KEY) or b"").epoch)


class HandleShown(NamedTuple):
    """A handle and the passkeys that speak for it or wait to."""

    record: HandleRecord | None
    passkeys: Mapping[Digest, Credential]


def read_handle(cells: Cells, handle: bytes) -> HandleShown:
    handles = Handles(cells)
    record = handles.get(handle)
    if record is None:
        return HandleShown(None, {})
    authors = [*record.own, *record.mandates, *([record.recovery.author] if record.recovery is not None else [])]
    found = {author: handles.credential(author) for author in authors}
    return HandleShown(record, {author: each for author, each in found.items() if each is not None})


# --- checking ---------------------------------------------------------------------------------------


def check_note(note: bytes, trust: Trust) -> tuple[Checkpoint, Quorum]:
    """A checkpoint of the pinned ledger that more than two thirds of the weight cosigned. Raises NotProven."""
    try:
        return parse_note(note).checkpoint, trust.quorum(note)
    except (NoteError, CosignatureError, WeakQuorum) as cause:
        raise NotProven(f"its checkpoint does not convince: {cause}") from cause


def check_seen(checkpoint: Checkpoint, seen: Seen) -> None:
    """Two roots of one size are two histories. Raises Forked."""
    if checkpoint.size == seen.size and checkpoint.root != seen.root:
        raise Forked(f"a quorum signed two roots for the log's size {seen.size}: keep both, and show every member")


def check_later(checkpoint: Checkpoint, seen: Seen, consistency: tuple[bytes, ...]) -> Seen:
    """The checkpoint as the newest seen, if its log continues the one before. Raises Stale, Forked or NotProven."""
    check_seen(checkpoint, seen)
    if checkpoint.size < seen.size:
        raise Stale(f"expected a checkpoint of at least size {seen.size}, seen before, got one of {checkpoint.size}")
    if 0 < seen.size < checkpoint.size and not verify_consistency(
        seen.size, checkpoint.size, seen.root, checkpoint.root, consistency
    ):
        raise NotProven(f"the log of size {checkpoint.size} is not shown to continue the one of size {seen.size}")
    return Seen(checkpoint.size, checkpoint.root)


def check_state(shown: StateShown, checkpoint: Checkpoint) -> tuple[ProvenCells, BlockTime]:
    """The proven cells and the time of their block. `checkpoint` is `shown.note`'s, believed. Raises NotProven."""
    fields = block_fields(shown.leaf)
    if fields is None:
        raise NotProven("expected the leaf of a block, got another")
    if not verify_inclusion(leaf_hash(shown.leaf), shown.index, checkpoint.size, shown.path, checkpoint.root):
        raise NotProven(f"block {fields[0]} is not shown to be in the log of its checkpoint")
    return ProvenCells(fields[2], shown.facts), BlockTime(fields[1])


def check_entry(shown: EntryProof, checkpoint: Checkpoint, signer: Callable[[KeyId], MemberId | None]) -> Entry:
    """The transaction as it stands in the log of a believed checkpoint. Raises NotProven.

    `signer`: whose operate key a key id is, None for a passkey. The proof in `raw` is not looked at (the log does not
    hold it): the body names its author, and only that author's proof let it into the log.
    """
    try:
        transaction = parse_transaction(shown.raw)
    except Refusal as cause:
        raise NotProven(f"log entry {shown.index} is no transaction: {cause}") from cause
    leaf = outcome_leaf(transaction.digest, Height(shown.height), BlockTime(shown.time), shown.code)
    if not verify_inclusion(leaf_hash(leaf), shown.index, checkpoint.size, shown.path, checkpoint.root):
        raise NotProven(f"log entry {shown.index} is not what the log of its checkpoint holds there")
    return Entry(
        shown.index, transaction.digest, transaction.kind, shown.code, Height(shown.height), BlockTime(shown.time),
        signer(KeyId(transaction.author)), shown.raw,
    )  # fmt: skip
