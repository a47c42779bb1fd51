"""What a node can find again: transactions by place or digest, anchors by tick, marks by signer and tag, and consents.

All of it follows from the blocks. It is written in the same atomic step as the machine's own changes (`IndexedStore`),
so after a crash both stand at the same block, and nothing is rebuilt. The raw bytes stay in the block log; the index
keeps where. Keys begin with `i`, which the machine does not use.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from commonward.ledger.consent import ConsentRecord, consent_key
from commonward.ledger.encoding import decode, encode
from commonward.ledger.ids import BlockTime, ConsentId, Digest, Handle, Height, MemberId, Tag
from commonward.ledger.refusals import Replayed
from commonward.ledger.staging import outcome_leaf
from commonward.ledger.state import Store
from commonward.ledger.transactions import AnchorBatch, BreakGlass, Consent, Payload, Release, Withdraw

__all__ = [
    "LEAF_SPACE",
    "PAST",
    "AuthorityChange",
    "BlockFacts",
    "IndexedStore",
    "Indexes",
    "Row",
    "leaf_of",
    "leaves_only",
    "past_missing",
    "stood",
]

LEAF_SPACE: Final = b"ie"
PAST: Final = b"iP"  # [next, last, size before next] of the blocks from before a snapshot that are to be indexed
_ROW: Final = LEAF_SPACE  # index -> Row, or the bytes of a leaf: a block's, or one that a snapshot brought
_DIGEST: Final = b"id"  # transaction digest -> index
_BLOCK: Final = b"ih"  # height -> [size, time]
_SIZE: Final = b"iz"  # size -> height
_ANCHOR: Final = b"ia"  # member, tick -> index
_MARK: Final = b"im"  # member, 00, tag -> index of the first
_GLASS: Final = b"ig"  # member, 00, tag -> index of the first
_CONSENT: Final = b"ic"  # consent id -> handle
_HANDLE: Final = b"iC"  # handle, n -> index
_HANDLE_COUNT: Final = b"in"  # handle -> n
_AUTHORITY: Final = b"iu"  # n -> AuthorityChange
_AUTHORITY_COUNT: Final = b"iU"
_AUTHORITY_NOTE: Final = b"ip"  # size -> the cosigned note


def _number(n: int) -> bytes:
    return n.to_bytes(8, "big")


def _tagged(member: MemberId, tag: Tag) -> bytes:
    """A tag counts together with who signed: whoever sees one on its way cannot take it."""
    return member.encode() + b"\0" + tag


@dataclass(frozen=True, slots=True)
class Row:
    """Where a transaction lies, and what became of it."""

    index: int
    digest: Digest
    kind: int  # 0 where the bytes could not be read as a transaction
    code: int
    height: Height
    time: BlockTime
    member: MemberId | None
    position: int  # in its block, over all bundles


@dataclass(frozen=True, slots=True)
class BlockFacts:
    """Where a block ended: the log's size after it, its time."""

    height: Height
    size: int
    time: BlockTime


@dataclass(frozen=True, slots=True)
class AuthorityChange:
    """The authority (bytes of the state value) as block `height` left it, with the map proof under its state root."""

    height: Height
    time: BlockTime
    size: int
    state_root: Digest
    authority: bytes
    proof: bytes
    note: bytes = b""  # of that size, cosigned by a quorum of the authority before; empty until there was one


def _row_bytes(row: Row) -> bytes:
    return encode([row.digest, row.kind, row.code, row.height, row.time, row.member or "", row.position])


def _authority_bytes(change: AuthorityChange) -> bytes:
    return encode([change.height, change.time, change.size, change.state_root, change.authority, change.proof])


def leaf_of(value: bytes) -> bytes:
    """The bytes of a leaf, from what stands under `LEAF_SPACE`."""
    match decode(value):
        case [bytes(digest), int(), int(code), int(height), int(time), str(), int()]:
            return outcome_leaf(Digest(digest), height, time, code)
    return value


def leaves_only(facts: BlockFacts, leaves: Sequence[bytes]) -> dict[bytes, bytes | None]:
    """What the index keeps of a block that came as leaves alone, in a snapshot: those, and where it ended."""
    first = facts.size - len(leaves)
    put: dict[bytes, bytes | None] = {_ROW + _number(first + n): leaf for n, leaf in enumerate(leaves)}
    put[_SIZE + _number(facts.size)] = _number(facts.height)
    return put | stood(facts)


def past_missing(last: int) -> dict[bytes, bytes | None]:
    """Says that blocks 1 to `last` are not indexed, since they came as a snapshot (`workflows.past`)."""
    return {PAST: encode([1, last, 1])}


def stood(facts: BlockFacts) -> dict[bytes, bytes | None]:
    """What the index keeps of where a block ended."""
    return {_BLOCK + _number(facts.height): encode([facts.size, facts.time])}


class IndexedStore:
    """The machine's store. What is put `beside` is written with the machine's next write, in one atomic step."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.beside: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        return self._inner.get(key)

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Raises what the inner store raises; `beside` stays for the next try then."""
        if self.beside:
            changes = {**changes, **self.beside}
        self._inner.write(changes)
        self.beside = {}


class Indexes:
    """Reads the index, and says what a block adds to it."""

    def __init__(self, store: IndexedStore) -> None:
        self._store = store

    # ------------------------------------------------------------------------------------------------------- writing

    def add(self, facts: BlockFacts, rows: Sequence[tuple[Row, Payload | None]], block_leaf: bytes | None) -> None:
        """Put a block's entries beside the machine's next write. `block_leaf` is its last leaf, if it has any."""
        put = self._store.beside
        put.clear()
        counts: dict[bytes, int] = {}
        handles: dict[ConsentId, Handle] = {}
        for row, payload in rows:
            at = _number(row.index)
            put[_ROW + at] = _row_bytes(row)
            # A digest stands where it was burnt; later copies are refused as replayed. A copy under a bad proof may
            # have been refused before, and does not count once the true one has landed.
            known = _DIGEST + row.digest
            if row.code != Replayed.code or (known not in put and self._store.get(known) is None):
                put[known] = at
            if row.code == 0 and payload is not None:
                self._by_kind(put, row, payload, at, counts, handles)
        if block_leaf is not None:
            put[_ROW + _number(facts.size - 1)] = block_leaf
        put[_BLOCK + _number(facts.height)] = encode([facts.size, facts.time])
        if block_leaf is not None:  # a block that left no trace ends at the size of the one before
            put[_SIZE + _number(facts.size)] = _number(facts.height)

    def _by_kind(
        self,
        put: dict[bytes, bytes | None],
        row: Row,
        payload: Payload,
        at: bytes,
        counts: dict[bytes, int],
        handles: dict[ConsentId, Handle],
    ) -> None:
        match payload:
            case AnchorBatch() if row.member is not None and payload.extra is None:
                put[_ANCHOR + row.member.encode() + b"\0" + _number(payload.tick)] = at
            case Release() if row.member is not None:
                self._first(put, _MARK + _tagged(row.member, payload.tag), at)
            case BreakGlass() if row.member is not None:
                self._first(put, _GLASS + _tagged(row.member, payload.tag), at)
            case Consent():
                put[_CONSENT + payload.id] = payload.handle
                handles[payload.id] = payload.handle
                self._of_handle(put, payload.handle, at, counts)
            case Withdraw():
                handle = handles.get(payload.id) or self._store.get(_CONSENT + payload.id) or self._open(payload.id)
                if handle is not None:
                    self._of_handle(put, handle, at, counts)

    def _open(self, consent: ConsentId) -> Handle | None:
        """The handle of a consent that came with a snapshot: in the state, which this block has not reached yet."""
        data = self._store.get(b"s" + consent_key(consent))
        return ConsentRecord.parse(data).handle if data is not None else None

    def _first(self, put: dict[bytes, bytes | None], key: bytes, at: bytes) -> None:
        if self._store.get(key) is None:
            put.setdefault(key, at)

    def _of_handle(self, put: dict[bytes, bytes | None], handle: bytes, at: bytes, counts: dict[bytes, int]) -> None:
        count = counts.get(handle)
        if count is None:
            count = self._count(_HANDLE_COUNT + handle)
        counts[handle] = count + 1
        put[_HANDLE + handle + _number(count)] = at
        put[_HANDLE_COUNT + handle] = _number(count + 1)

    def get(self, key: bytes) -> bytes | None:
        return self._store.get(key)

    def put(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Write at once, beside no block."""
        self._store.write(changes)

    def add_past(
        self,
        facts: BlockFacts,
        rows: Sequence[tuple[Row, Payload | None]],
        block_leaf: bytes | None,
        more: Mapping[bytes, bytes | None],
    ) -> None:
        """A block from before what was indexed first, and `more` with it. What came first counts, so it comes first
        now; done twice, it is done once."""
        put: dict[bytes, bytes | None] = dict(more)
        lists: dict[bytes, list[int]] = {}
        handles: dict[ConsentId, Handle] = {}
        for row, payload in rows:
            at = _number(row.index)
            put[_ROW + at] = _row_bytes(row)
            if row.code != Replayed.code and not self._landed_after(row):
                put[_DIGEST + row.digest] = at
            if row.code or payload is None:
                continue
            match payload:
                case AnchorBatch() if row.member is not None and payload.extra is None:
                    put[_ANCHOR + row.member.encode() + b"\0" + _number(payload.tick)] = at
                case Release() if row.member is not None:
                    self._earliest(put, _MARK + _tagged(row.member, payload.tag), row.index)
                case BreakGlass() if row.member is not None:
                    self._earliest(put, _GLASS + _tagged(row.member, payload.tag), row.index)
                case Consent():
                    put[_CONSENT + payload.id] = payload.handle
                    handles[payload.id] = payload.handle
                    self._into_list(lists, payload.handle, row.index)
                case Withdraw():
                    handle = handles.get(payload.id) or self._store.get(_CONSENT + payload.id)
                    if handle is not None:
                        self._into_list(lists, handle, row.index)
        for handle, indexes in lists.items():
            for n, index in enumerate(sorted(set(indexes))):
                put[_HANDLE + handle + _number(n)] = _number(index)
            put[_HANDLE_COUNT + handle] = _number(len(set(indexes)))
        if block_leaf is not None:
            put[_ROW + _number(facts.size - 1)] = block_leaf
            put[_SIZE + _number(facts.size)] = _number(facts.height)
        put.update(stood(facts))
        self._store.write(put)

    def _landed_after(self, row: Row) -> bool:
        """Whether a later copy counts: this one had a bad proof then."""
        held = self.of_digest(row.digest)
        later = self.row(held) if held is not None and held > row.index else None
        return later is not None and later.code != Replayed.code

    def _earliest(self, put: dict[bytes, bytes | None], key: bytes, index: int) -> None:
        held = put.get(key) or self._store.get(key)
        if held is None or index < int.from_bytes(held, "big"):
            put[key] = _number(index)

    def _into_list(self, lists: dict[bytes, list[int]], handle: bytes, index: int) -> None:
        if handle not in lists:
            lists[handle] = self.consents_of(Handle(handle))
        lists[handle].append(index)

    def add_authority(self, change: AuthorityChange) -> None:
        """Keep a change of authority. Written at once: it was proven under the root that has just been committed."""
        last = self.authority_changes(first=max(0, self._count(_AUTHORITY_COUNT) - 1))
        if last and last[-1].height >= change.height:
            return
        number = self._count(_AUTHORITY_COUNT)
        value = _authority_bytes(change)
        self._store.write({_AUTHORITY + _number(number): value, _AUTHORITY_COUNT: _number(number + 1)})

    @property
    def lacks_past(self) -> bool:
        """Whether blocks from before a snapshot are not indexed yet."""
        return self._store.get(PAST) is not None

    def put_authorities(self, changes: Sequence[AuthorityChange]) -> None:
        """Keep these changes, and no others, in this order."""
        put: dict[bytes, bytes | None] = {_AUTHORITY_COUNT: _number(len(changes))}
        for number, each in enumerate(changes):
            put[_AUTHORITY + _number(number)] = _authority_bytes(each)
            if each.note:
                put[_AUTHORITY_NOTE + _number(each.size)] = each.note
        self._store.write(put)

    def add_authority_proof(self, size: int, note: bytes) -> None:
        """The checkpoint that ended an authority-changing block is proven."""
        self._store.write({_AUTHORITY_NOTE + _number(size): note})

    # ------------------------------------------------------------------------------------------------------- reading

    def _count(self, key: bytes) -> int:
        value = self._store.get(key)
        return int.from_bytes(value, "big") if value is not None else 0

    def _index(self, key: bytes) -> int | None:
        value = self._store.get(key)
        return int.from_bytes(value, "big") if value is not None else None

    def row(self, index: int) -> Row | None:
        """The transaction whose leaf is at `index`; None for a block leaf or beyond the end."""
        value = self._store.get(_ROW + _number(index))
        if value is None:
            return None
        match decode(value):
            case [bytes(digest), int(kind), int(code), int(height), int(time), str(member), int(position)]:
                return Row(
                    index,
                    Digest(digest),
                    kind,
                    code,
                    Height(height),
                    BlockTime(time),
                    MemberId(member) if member else None,
                    position,
                )
        return None

    def block_leaf(self, index: int) -> bytes | None:
        """The bytes of the block leaf at `index`; None where a transaction's outcome stands."""
        value = self._store.get(_ROW + _number(index))
        return value if value is not None and self.row(index) is None else None

    def of_digest(self, digest: Digest) -> int | None:
        return self._index(_DIGEST + digest)

    def block(self, height: int) -> BlockFacts | None:
        value = self._store.get(_BLOCK + _number(height))
        match decode(value) if value is not None else None:
            case [int(size), int(time)]:
                return BlockFacts(Height(height), size, BlockTime(time))
        return None

    def height_at(self, size: int) -> int | None:
        """The block after which the log had `size` leaves; None when no block ended there."""
        return self._index(_SIZE + _number(size))

    def anchor(self, member: MemberId, tick: int) -> int | None:
        return self._index(_ANCHOR + member.encode() + b"\0" + _number(tick))

    def mark(self, tag: Tag, member: MemberId) -> int | None:
        return self._index(_MARK + _tagged(member, tag))

    def broken_glass(self, tag: Tag, member: MemberId) -> int | None:
        return self._index(_GLASS + _tagged(member, tag))

    def consents_of(self, handle: Handle) -> list[int]:
        """Log indexes, ascending."""
        count = self._count(_HANDLE_COUNT + handle)
        found = [self._index(_HANDLE + handle + _number(n)) for n in range(count)]
        return [index for index in found if index is not None]

    def authority_changes(self, first: int = 0) -> list[AuthorityChange]:
        changes = []
        for number in range(first, self._count(_AUTHORITY_COUNT)):
            value = self._store.get(_AUTHORITY + _number(number))
            match decode(value) if value is not None else None:
                case [int(height), int(time), int(size), bytes(root), bytes(authority), bytes(proof)]:
                    changes.append(
                        AuthorityChange(
                            Height(height),
                            BlockTime(time),
                            size,
                            Digest(root),
                            authority,
                            proof,
                            self._store.get(_AUTHORITY_NOTE + _number(size)) or b"",
                        )
                    )
        return changes
