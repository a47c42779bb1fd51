"""Evidence, exported: what this member can show a third party of a record, a release, a consent, offline.

Map proofs exist for the current state only, so what a release rests on (the consent was open, the certificate not
revoked, the key registered) is captured when it is marked, and kept with the mark.
"""

from collections.abc import Sequence
from typing import Final

from commonward.ledger.consent import Consent, consent_key, credential_key
from commonward.ledger.encoding import decode
from commonward.ledger.ids import ConsentId, Handle
from commonward.ledger.members import key_key
from commonward.ledger.merkle.log import verify_consistency
from commonward.ledger.transactions import Transaction
from commonward.records.evidence import BlockLeaf, Evidence, Openings, RecordStatement, Stamp, StateFact
from commonward.records.openings import open_all_rules
from commonward.records.trust import block_fields
from commonward.workflows.captured import Captured, capture
from commonward.workflows.commitments import mark_openings
from commonward.workflows.consent import Openings as OpenedHere
from commonward.workflows.holdings import Holdings
from commonward.workflows.member import Member
from commonward.workflows.ports import Entry, Proven
from commonward.workflows.reading import transaction_of
from commonward.workflows.release import Releases
from commonward.workflows.timestamps import TimeStamps

_SALTED_ONE_BY_ONE: Final = bytes(32)
"""In place of a salt: each opened rule brings its own."""


class NoEvidence(Exception):
    """There is nothing to show yet, or not by this member; the sentence says why."""


class EvidenceDesk:
    """Makes evidence files of what one member holds and marked."""

    def __init__(
        self, member: Member, holdings: Holdings, releases: Releases, openings: OpenedHere, stamps: TimeStamps
    ) -> None:
        self._member = member
        self._stamps = stamps
        self._openings = openings
        self._holdings = holdings
        self._releases = releases
        self._ledger = member.ports.ledger

    def of_record(self, record: bytes, *, whole: bool = True, seen: Captured | None = None) -> bytes:
        """That one record is unchanged since its anchor. `whole`: with its bytes inside. Raises NoEvidence.

        `seen` shows whose key signed the anchor, where genesis does not know it (`shown_now` of its `key_key`).
        """
        member = self._member
        found = member.ports.vault.records([record]).get(record)
        if found is None:
            raise NoEvidence("no such record is held")
        held = self._holdings.open(*found)
        anchor = self._holdings.anchor(held) if held is not None else None
        if held is None or anchor is None:
            raise NoEvidence("this record is erased, altered, or not anchored yet")
        entry = self._entry(anchor.index)
        stored = held.stored if whole else None
        return self._build(entry, RecordStatement(held.salt, anchor.proof(), stored), seen)

    def anchored_by(self, record: bytes) -> bytes | None:
        """Id of the key that signed a record's anchor; None when it is not anchored."""
        found = self._member.ports.vault.records([record]).get(record)
        held = self._holdings.open(*found) if found is not None else None
        anchor = self._holdings.anchor(held) if held is not None else None
        return None if anchor is None else transaction_of(self._entry(anchor.index)).author

    def of_release(self, handle: Handle, n: int) -> bytes:
        """That this release was marked before it left, and what its mark commits to. Raises NoEvidence."""
        row = next(iter(self._member.ports.vault.marks(handle, n, 1)), None)
        if row is None or row.n != n:
            raise NoEvidence(f"there is no mark {n} for this handle")
        paper = self._releases.paper(row)
        if paper.index < 0:
            raise NoEvidence("this mark does not stand on the ledger yet")
        entry = self._entry(paper.index)
        fields = {each.name: each.number for each in transaction_of(entry).payload.FIELDS}
        names = ("request", "decision", "consent", "running", "previous", "sealed")
        openings: Openings = {
            fields[name]: (opening.salt, opening.value)
            for name, opening in zip(names, mark_openings(paper.facts), strict=True)
        }
        return self._build(entry, openings, paper.seen)

    async def of_consent(self, handle: Handle, consent: ConsentId, *, whole: bool = True) -> bytes:
        """That this consent was given, and whether it is open now. `whole`: with what was opened of it here.

        Raises NoEvidence, or LedgerAway when nobody cosigns what the state shows now.
        """
        for entry, payload in self._member.reading.history(handle):
            if isinstance(payload, Consent) and payload.id == consent:
                author = transaction_of(entry).author
                owner = credential_key(author) if entry.member is None else key_key(author)
                seen = await self.shown_now([owner, consent_key(consent)])
                return self._build(entry, self._opened(entry, payload) if whole else {}, seen)
        raise NoEvidence(f"no consent {consent.hex()} of this handle stands on the ledger")

    def _opened(self, entry: Entry, payload: Consent) -> Openings:
        """Field of the consent -> what opens it: all of it to a custodian, to a requester the permits it has."""
        fields = {each.name: each.number for each in payload.FIELDS}
        full, permits = self._openings.known(entry.digest)
        if full is not None:
            tree = open_all_rules(full.rules, payload.rules)
            return {
                fields["rules"]: (_SALTED_ONE_BY_ONE, [each.to_value() for each in tree.open_some(tree.values())]),
                fields["recipients"]: (full.recipients_salt, list(full.recipients)),
                fields["form"]: (full.form_salt, full.form),
            }
        if permits is not None:
            return {fields["rules"]: (_SALTED_ONE_BY_ONE, [decode(each) for each in permits.permits])}
        raise NoEvidence("this consent was not opened to this member")

    async def shown_now(self, keys: Sequence[bytes]) -> Captured:
        """What the state holds under these keys now, once a quorum has cosigned it. Raises NoEvidence, LedgerAway."""
        seen = capture(self._ledger, keys)
        if seen is None:
            raise NoEvidence("this node cannot prove its state now; ask again in a moment")
        await self._ledger.cosigned(seen.index + 1, self._member.practice.cosign_wait_ms)
        return seen

    def of_transaction(self, index: int, openings: Openings | None = None, seen: Captured | None = None) -> bytes:
        """Any transaction of the log, with the openings that the caller may show. Raises NoEvidence.

        `seen` shows whose key signed it, where genesis does not know it.
        """
        return self._build(self._entry(index), openings, seen)

    def _entry(self, index: int) -> Entry:
        entry = self._ledger.entry(index)
        if entry is None:
            raise NoEvidence(f"no transaction stands at {index} in this node's log")
        return entry

    def _build(self, entry: Entry, statement: RecordStatement | Openings | None, seen: Captured | None = None) -> bytes:
        try:
            return self._built(entry, statement, seen)
        except LookupError as cause:  # a node that joined by a snapshot, and has not fetched what was before
            raise NoEvidence(f"this node cannot prove it yet: {cause}") from cause

    def _built(self, entry: Entry, statement: RecordStatement | Openings | None, seen: Captured | None) -> bytes:
        proven = self._ledger.proven()
        if proven is None or proven.size <= entry.index:
            raise NoEvidence("no quorum has cosigned a checkpoint that covers it yet")
        transaction = transaction_of(entry)
        size = proven.size
        wanted: dict[int, tuple[StateFact, ...]] = {}
        for index in (transaction.recent.size - 1, self._block_leaf_after(entry.index, size)):
            if index is not None and 0 <= index < size:
                wanted[index] = ()
        if seen is not None and seen.index < size:
            wanted[seen.index] = seen.facts()
        blocks = [self._block(index, size, facts) for index, facts in sorted(wanted.items())]
        return Evidence.of(
            entry.raw, height=entry.height, time=entry.time, code=entry.code, author=self._author(entry, transaction),
            index=entry.index, path=self._ledger.prove_inclusion(entry.index, size), note=proven.note,
            blocks=[block for block in blocks if block is not None], statement=statement,
            stamp=self._stamp(entry.index, proven),
        ).to_bytes()  # fmt: skip

    def _stamp(self, index: int, proven: Proven) -> Stamp | None:
        """The earliest time stamp that covers a transaction, led to the checkpoint of the evidence."""
        paper = self._stamps.covering(index)
        if paper is None or paper.size > proven.size:
            return None
        try:
            path = self._ledger.prove_consistency(paper.size, proven.size)
        except LookupError:
            return None
        # A vault restored from another day's backup may hold what this log does not continue: better none than that.
        if not verify_consistency(paper.size, proven.size, paper.root, proven.root, path):
            return None
        return Stamp(paper.token, paper.size, paper.root, path)

    def _block(self, index: int, size: int, facts: tuple[StateFact, ...]) -> BlockLeaf | None:
        leaf = self._ledger.leaf(index)
        fields = block_fields(leaf) if leaf is not None else None
        if fields is None:
            return None
        height, time, root = fields
        return BlockLeaf(index, height, time, root, self._ledger.prove_inclusion(index, size), facts)

    def _block_leaf_after(self, index: int, size: int) -> int | None:
        """Of the transaction's own block: the first block leaf behind it."""
        for at in range(index + 1, size):
            leaf = self._ledger.leaf(at)
            if leaf is not None and block_fields(leaf) is not None:
                return at
        return None

    def _author(self, entry: Entry, transaction: Transaction) -> tuple[int, bytes]:
        """Algorithm and public key of who signed."""
        reading = self._member.reading
        if entry.member is None:
            found = reading.handles().credential(transaction.author)
            if found is None:
                raise NoEvidence("the passkey that signed this is not in the state any more")
            return found.algorithm, found.public
        key = reading.any_key(transaction.author)
        if key is None:
            raise NoEvidence("the key that signed this is not in the state any more")
        return key
