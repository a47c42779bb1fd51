"""What one member's workflows need of the world, each need as a small port.

A port states its promises and says how far it is trusted. What stands behind one is chosen in
`apps/wiring.py`; `workflows/memory.py` holds twins that fail on cue, before or after the effect.

Two rules hold for every store here. It is synchronous and called from one thread (what a vault's `reading`
gives is for another). What it is given is ciphertext or keyed digests, sealed by `workflows.sealing`: columns
of the vault are opaque, so who steals the file learns counts and nothing else, who alters it is caught when it
is opened, and who deletes from it can delay care.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from commonward.ledger.ids import (
    Algorithm,
    BlockTime,
    CredentialId,
    Digest,
    Handle,
    Height,
    KeyId,
    LedgerId,
    MemberId,
    Purpose,
    Tag,
)
from commonward.ledger.members import Equivocation
from commonward.records.fingerprint import BatchProof, BatchTree, Fingerprint
from commonward.records.stored import Parsed, Stored


class WorldError(Exception):
    """Something outside did not answer; what was asked may or may not have happened."""


class LedgerAway(WorldError):
    """The ledger could not be reached, or no quorum cosigned in time. A submission may still land."""


class PeerAway(WorldError):
    """A member could not be reached, or the connection ended before its answer. It may have acted."""


class VaultFull(WorldError):
    """The store could not write (full disk, lost device). The transaction was rolled back whole."""


class Clock(Protocol):
    """Wall time. Not trusted by the ledger; judged against cosigning times where it matters."""

    def now(self) -> BlockTime:
        """Milliseconds since the Unix epoch, UTC. May jump; never compare two readings for order."""
        ...


class Entropy(Protocol):
    """Unpredictable bytes. Fully trusted: salts, keys and nonces are drawn here."""

    def bytes(self, count: int) -> bytes: ...


class Steps(Protocol):
    """Told each named step as it is reached. The real one does nothing; a test's dies at a chosen name."""

    def reach(self, name: str) -> None: ...


# --- the ledger ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of one transaction in a committed block. `code` 0 is accepted, else a refusal's number."""

    digest: Digest
    code: int
    height: Height
    time: BlockTime  # of the block's header
    index: int  # of its leaf in the log


@dataclass(frozen=True, slots=True)
class Proven:
    """A checkpoint that more than two thirds of the weight cosigned, checked by this node.

    `note` is the C2SP signed note with the lines of those who held authority for its size alone; `fresh` the latest
    time (ms) that more than two thirds of the weight reached by cosigning it, again and again. State read through
    `Ledger.get` is never older than `size` of `proven()`.
    """

    note: bytes
    size: int
    root: Digest
    height: Height
    fresh: BlockTime
    members: tuple[MemberId, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A transaction as it stands on the ledger: accepted or refused (`code`), its signed bytes (`raw`)."""

    index: int
    digest: Digest
    kind: int
    code: int
    height: Height
    time: BlockTime
    member: MemberId | None  # who signed by a member key; None for a passkey
    raw: bytes


class Ledger(Protocol):
    """This member's own node. Trusted as far as the member's own machine is: it replayed every block."""

    @property
    def ledger_id(self) -> LedgerId:
        """What transactions name, and new keys prove their possession for."""
        ...

    @property
    def line(self) -> LedgerId:
        """What all else that members and patients sign or seal for each other is bound to (`Genesis.line`)."""
        ...

    async def submit(self, raw: bytes) -> Committed:
        """Waits until the transaction stands in a committed block of this node, accepted or refused.

        A submission repeated with the same bytes returns the first outcome. Raises `Refusal` when this
        node's own check refuses it (nothing was sent), `LedgerAway` when no block came in time (it may
        land later: `found` tells).
        """
        ...

    async def cosigned(self, size: int, timeout_ms: int = 10_000) -> Proven:
        """The first proven checkpoint of at least `size` leaves. Raises `LedgerAway` on timeout."""
        ...

    def proven(self) -> Proven | None:
        """The newest proven checkpoint, by cosigning time; the same size may be proven again later."""
        ...

    def recent(self) -> tuple[int, Digest]:
        """Size and root that a transaction signed now should name."""
        ...

    def next_time(self) -> BlockTime:
        """What the next block's header will say at least: a rule that wants a time to have come looks at that."""
        ...

    def tip_time(self) -> BlockTime:
        """Header time of the last block applied; genesis time before the first."""
        ...

    def get(self, key: bytes) -> bytes | None:
        """A value of the live state, as the machine stores it; slices in `ledger` name keys and parse."""
        ...

    def prove_state(self, key: bytes) -> bytes | None:
        """Map proof (its wire bytes) for `key` in the current state, present or absent; None when unknown."""
        ...

    def found(self, digest: Digest) -> Committed | None:
        """The outcome of a transaction this node has seen in a block; None while it has not."""
        ...

    def entry(self, index: int) -> Entry | None:
        """The transaction whose outcome leaf is at `index`; None for a block leaf or beyond the tip."""
        ...

    def entries(self, first: int, limit: int, kinds: Sequence[int] = ()) -> Sequence[Entry]:
        """Transactions at log index `first` or later, in order, of the kinds named (all when none is)."""
        ...

    def anchor(self, member: MemberId, tick: int) -> Entry | None:
        """The accepted `AnchorBatch` of a member at a tick."""
        ...

    def mark(self, tag: Tag, member: MemberId) -> Entry | None:
        """The first accepted `Release` of this member with this tag; another member's under it is no matter."""
        ...

    def broken_glass(self, tag: Tag, member: MemberId) -> Entry | None:
        """The first accepted `BreakGlass` of this member with this tag."""
        ...

    def consents_of(self, handle: Handle) -> Sequence[Entry]:
        """Accepted `Consent` and `Withdraw` entries that concern a handle, in log order."""
        ...

    def awaits_past(self) -> bool:
        """Whether blocks from before the snapshot that this node started from are still to come: until then what they
        hold is not found here, a patient's old deny among it."""
        ...

    def leaf(self, index: int) -> bytes | None:
        """The log leaf's own bytes (an outcome leaf or a block leaf); None beyond the tip."""
        ...

    def prove_inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """RFC 9162 inclusion path of leaf `index` in the log of `size` leaves."""
        ...

    def prove_consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """RFC 9162 proof that the log of `old` leaves is the beginning of the log of `new`."""
        ...

    def accusations(self) -> Sequence[Equivocation]:
        """Of members whose key was heard to cosign two roots for one size: what proves it, to be put on the ledger."""
        ...


# --- keys ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StorageKeys:
    """Two 32-byte secrets of the member's vault; handed to worker processes at their start, never stored.

    `wrap` wraps each record's own key (AES-256-GCM). `index` keys the digests that stand in for patient
    and source ids in vault columns, so that the columns cannot be guessed by hashing names.
    """

    wrap: bytes
    index: bytes


class Keys(Protocol):
    """This member's private keys. Fully trusted. Never returns a private signing key."""

    @property
    def member(self) -> MemberId: ...

    def public(self, purpose: Purpose) -> tuple[Algorithm, bytes, KeyId]: ...

    def sign(self, purpose: Purpose, message: bytes) -> bytes:
        """Ed25519, or P-256 as r||s with low S: 64 bytes."""
        ...

    def storage(self) -> StorageKeys: ...

    def open_sealed(self, info: bytes, sealed: bytes, aad: bytes = b"") -> bytes:
        """Opens what `records.envelope.seal_to` sealed to this member's HPKE key. Raises EnvelopeError."""
        ...


class StaffSigner(Protocol):
    """One staff member's short-lived certificate and key; its use is a person's act, never a service's."""

    @property
    def certificate(self) -> bytes:
        """DER of a certificate under the member's CA (`records.certificates` says the profile)."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Signature by the certificate's key over `message`: Ed25519, or P-256 as r||s with low S."""
        ...


class PatientSigner(Protocol):
    """The patient's passkey and opening key, wherever they live: software in a demo, a browser later.

    What is shown is what is signed: an implementation decodes `body` and shows it before it signs.
    """

    @property
    def credential(self) -> CredentialId: ...

    @property
    def algorithm(self) -> Algorithm: ...

    @property
    def public(self) -> bytes:
        """The passkey's public key in the ledger's form (ES256: x||y, 64 bytes; EdDSA: 32)."""
        ...

    @property
    def sealing_public(self) -> bytes:
        """The X25519 key to which openings and notices for this patient are sealed; 32 bytes."""
        ...

    async def prove(self, body: bytes, digest: Digest) -> bytes:
        """The passkey proof (wire bytes, as `ledger.proofs` parses) over the transaction's digest."""
        ...

    async def possess(self, message: bytes) -> bytes:
        """The passkey proof (wire bytes) over `message`'s 32-byte digest that a new key's possession needs."""
        ...

    def open_sealed(self, info: bytes, sealed: bytes, aad: bytes = b"") -> bytes:
        """Opens what was sealed to `sealing_public`. Raises EnvelopeError."""
        ...


# --- peers -----------------------------------------------------------------------------------------


class Peers(Protocol):
    """The other members over mutual TLS. An answer surely comes from that member; its content is judged."""

    async def ask(self, member: MemberId, path: str, body: bytes) -> bytes:
        """One question, one answer (`workflows.messages`). Raises `PeerAway`; asking again is always safe.

        Asking one's own member works too (a single process talks to itself without a socket).
        """
        ...


Answer = Callable[[MemberId, str, bytes], Awaitable[bytes]]
"""What a peers server calls: (asking member by its TLS key, path, body). `workflows.desk.Desk.answer` fits."""


# --- the vault -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RecordRow:
    """One version of one record at rest.

    `id`, `patient`, `match`: 16-byte keyed digests. `id` follows from source and content, so the same record
    arriving twice has the same id. `match` is shared by all versions of one thing. `version` counts from 1;
    0 is kept but never current (a late preliminary). `sealed` is the envelope; `wrapped` its wrapped key.
    """

    id: bytes
    patient: bytes
    match: bytes
    version: int
    fingerprint: bytes
    sealed: bytes
    wrapped: bytes  # b"" once erased, and `sealed` with it


@dataclass(frozen=True, slots=True)
class RecordHead:
    """The newest version of a thing, as a correction needs it."""

    id: bytes
    version: int


class RecordReader(Protocol):
    """Reads records, as they were committed when it reads. For one thread at a time."""

    def current_records(self, patients: Sequence[bytes]) -> Sequence[tuple[int, RecordRow]]:
        """Each thing's row of highest version, if that row is 1 or more and of one of these patients; by number.

        What a correction moved to another patient is that one's alone: its older versions are not shown here.
        """
        ...


class RecordVault(RecordReader, Protocol):
    """Sealed records. Every row gets a number, 1, 2, 3, ..., in the order it was added, with no gap."""

    def add_records(self, rows: Sequence[RecordRow]) -> frozenset[bytes]:
        """Adds rows whose id is not there yet; returns the ids that were new. Made for thousands at once."""
        ...

    def records(self, ids: Sequence[bytes]) -> Mapping[bytes, tuple[int, RecordRow]]:
        """id -> (number, row), for the ids that are there."""
        ...

    def heads(self, matches: Sequence[bytes]) -> Mapping[bytes, RecordHead]:
        """match -> its row of highest version, for the matches that are there."""
        ...

    def versions(self, match: bytes) -> Sequence[tuple[int, RecordRow]]:
        """Every row of one thing, by number."""
        ...

    def reading(self) -> AbstractContextManager[RecordReader]:
        """A reader of its own for another thread: the vault goes on meanwhile in the one that it is called from."""
        ...

    def last_number(self) -> int:
        """0 when there is none."""
        ...

    def fingerprints(self, first: int, last: int) -> Sequence[bytes]:
        """Fingerprints of the rows numbered first..last, both included, by number."""
        ...

    def destroy_records(self, ids: Sequence[bytes]) -> None:
        """Overwrites `sealed` and `wrapped` with nothing and lets no copy stay in free pages or the WAL.

        The row, its number and fingerprint stay: the batch's tree is still built from them.
        """
        ...


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One anchoring tick: rows first..last (none when last < first), drawn and shuffled from `seed`."""

    tick: int
    first: int
    last: int
    seed: bytes
    root: bytes
    index: int  # of the AnchorBatch's leaf in the log; -1 until it is committed


class BatchVault(Protocol):
    """Batches by tick, contiguous over record numbers. A row, once planned, changes in `index` alone."""

    def plan_batch(self, batch: BatchRow) -> None: ...

    def anchored_batch(self, tick: int, index: int) -> None: ...

    def last_batch(self) -> BatchRow | None:
        """The one of highest tick."""
        ...

    def batch_of(self, number: int) -> BatchRow | None:
        """The batch that holds the record of this number."""
        ...

    def unanchored_batches(self) -> Sequence[BatchRow]:
        """Those with index -1, by tick."""
        ...

    def forget_batches(self, before_tick: int) -> int:
        """Drops anchored batches that hold no record (most ticks) below a tick; returns how many."""
        ...


class MarkState(IntEnum):
    """The road of one release mark."""

    RESERVED = 1  # n, previous and sealed bytes are durable; nothing was submitted yet or nothing landed yet
    COMMITTED = 2  # stands on the ledger
    DELIVERED = 3  # handed to the requester after a cosigned checkpoint covered it
    RECEIPTED = 4  # the requester's receipt arrived
    LATE = 5  # delivered under grace or break-glass while the ledger was away; must be marked late
    VOID = 6  # abandoned: a void mark stands for its number


@dataclass(frozen=True, slots=True)
class MarkRow:
    """One number in a patient's line of marks at this custodian. (handle, n), tag and request are unique."""

    handle: Handle
    n: int
    tag: Tag
    request: Digest  # of the request it answers
    state: MarkState
    sealed: bytes  # the mark's own facts, sealed at rest
    delivery: bytes  # the bundle sealed to the requester: the bytes that are sent and sent again; b"" if void


class MarkVault(Protocol):
    """Release marks at the custodian."""

    def reserve_mark(self, row: MarkRow) -> None:
        """Raises KeyError when (handle, n) or the request is taken: two workers cannot share a number."""
        ...

    def change_mark(self, row: MarkRow) -> None:
        """Replaces state, sealed and delivery of the mark (handle, n)."""
        ...

    def last_mark(self, handle: Handle) -> MarkRow | None: ...

    def mark_for(self, request: Digest) -> MarkRow | None: ...

    def mark_by_tag(self, tag: Tag) -> MarkRow | None: ...

    def marks(self, handle: Handle, first: int = 0, limit: int = 1000) -> Sequence[MarkRow]:
        """By n."""
        ...

    def marks_in(self, state: MarkState, limit: int = 1000) -> Sequence[MarkRow]:
        """By handle and n."""
        ...


class Cabinet(Protocol):
    """Everything of low volume: links, openings, copies, recalls, dead letters, mailboxes, each in a drawer.

    A drawer's name is a fixed word of ours; keys and groups are opaque bytes, at most 64. The store cannot
    know more: whatever a paper says is sealed. `workflows` wraps each drawer in a class of its own job.
    """

    def put(self, drawer: str, key: bytes, sealed: bytes, under: bytes = b"") -> None:
        """Adds or replaces a paper and the group it is filed under."""
        ...

    def get(self, drawer: str, key: bytes) -> bytes | None: ...

    def remove(self, drawer: str, key: bytes) -> None:
        """Also when it is not there. Overwrites as `destroy_records` does."""
        ...

    def under(self, drawer: str, group: bytes, after: bytes = b"", limit: int = 1000) -> Sequence[tuple[bytes, bytes]]:
        """(key, sealed) of one group, keys ascending bytewise, above `after`."""
        ...

    def every(self, drawer: str, after: bytes = b"", limit: int = 1000) -> Sequence[tuple[bytes, bytes]]:
        """(key, sealed) of a drawer, keys ascending bytewise, above `after`."""
        ...

    def count(self, drawer: str) -> int: ...


@dataclass(frozen=True, slots=True)
class LogRow:
    """One entry of the member's own log: number from 1, chained by `hash` to the one before."""

    number: int
    at: BlockTime
    hash: bytes
    sealed: bytes


class LogVault(Protocol):
    """The member's log, append only."""

    def append_log(self, row: LogRow) -> None:
        """Raises KeyError unless the number follows the last."""
        ...

    def last_log(self) -> LogRow | None: ...

    def log_rows(self, first: int, limit: int) -> Sequence[LogRow]:
        """By number."""
        ...


class Vault(RecordVault, BatchVault, MarkVault, Cabinet, LogVault, Protocol):
    """One member's store, one writer.

    Outside `transaction` each call is a transaction of its own. When one returns, its effect survives a
    power cut; when it raises, nothing of it stays. Raises `VaultFull` when it cannot write.
    """

    def transaction(self) -> AbstractContextManager[None]:
        """All calls inside happen together or not at all. Does not nest; nothing is awaited inside."""
        ...


class Trees(Protocol):
    """Built batch trees, kept so that an old record's proof is read and not rebuilt. A cache: may forget.

    Not trusted: a proof is checked against the batch's root before it is given out.
    """

    def keep(self, batch: int, tree: BatchTree) -> None:
        """Under the batch's number (`BatchRow.tick`). Raises VaultFull; nothing of it stays then."""
        ...

    def prove(self, batch: int, seed: bytes, root: bytes, fp: Fingerprint) -> BatchProof | None:
        """None when it cannot say: build the tree again."""
        ...


# --- ingest ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing from an existing system, as it came: one FHIR resource, one HL7 v2 message.

    `system` names the source; `kind` its form (`fhir-r4`, `hl7v2`, ...), by which a translator is chosen. `where`
    says where it was found, for people: file, pointer or line. Pickles, as it goes to worker processes.
    """

    system: str
    kind: str
    where: str
    raw: bytes
    trouble: str = ""  # not empty: an adapter could not even cut it out, and this says why


@dataclass(frozen=True, slots=True)
class Translated:
    """One record that a translator made of a message.

    `match` is what all versions of the same thing share (for HL7 v2: filler order, code, sub-id); empty means
    resource type and id. `patient` is the source's own patient id; empty means what the resource refers to.
    """

    parsed: Parsed
    match: tuple[str, ...] = ()
    patient: str = ""


@dataclass(frozen=True, slots=True)
class NamesSaid:
    """What a source says of two of its own patient names: one person (`joined`), or not after all."""

    left: str
    right: str
    joined: bool
    why: str


@dataclass(frozen=True, slots=True)
class Translation:
    """What became of one message: its own id (a control id, not trusted to be unique) and its records, if any.

    `names` is said once, with the message; `notes` are what a person must look at, because no rule may act on it.
    """

    source_id: str
    records: tuple[Translated, ...]
    names: tuple[NamesSaid, ...] = ()
    notes: tuple[str, ...] = ()


class Unreadable(ValueError):
    """A message that its translator cannot read; the sentence says where in it and why."""


class Translator(Protocol):
    """Turns one form of message into FHIR R4 records. Pure; runs in worker processes, so it must pickle."""

    def translate(self, raw: bytes) -> Translation:
        """Raises Unreadable. A message that maps to nothing gives no records and is anchored raw."""
        ...


@dataclass(frozen=True, slots=True)
class Cut:
    """One resource of a slab: plain JSON values (as `orjson.loads` gives), and the stored bytes of the same."""

    where: str
    tree: dict[str, Any]
    stored: Stored


class Cutter(Protocol):
    """Cuts a slab, a piece that holds many resources as they lay in a file. Runs in worker processes; must pickle."""

    def cut(self, slab: Piece) -> Iterable[Cut | Piece]:
        """Never raises: what is not plain comes out as a piece of its own, with its trouble if it has one."""
        ...


class Validator(Protocol):
    """Says what is wrong with a FHIR R4 resource, in words for people; empty when nothing is."""

    def errors(self, resource: Mapping[str, Any]) -> Sequence[object]:
        """`resource` holds plain JSON values (as `orjson.loads` gives). Each problem's `str` is its sentence."""
        ...
