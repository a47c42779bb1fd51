"""The changes of authority from before a member joined: what its trust file needs, fetched and proven.

A map proof exists for the current root alone, so a member keeps each change with its proof when it happens. Who joined
later asks for them. Each must stand in the log (its block leaf), under that leaf's state root, follow the one before
without a gap, and be proven by the members of the one before: as in a trust file. Of a ledger that goes on from another
these are the changes since it moved, with epochs counted from its own genesis: what was before stands, proven, in the
trust file that this genesis carries.
"""

from collections.abc import Sequence

from commonward.ledger.checkpoint import Authority, WeakQuorum, check_quorum, origin_of, parse_note
from commonward.ledger.encoding import decode, encode
from commonward.ledger.ids import BlockTime, Digest, Height
from commonward.ledger.members import AUTHORITY_KEY
from commonward.ledger.merkle.log import leaf_hash
from commonward.ledger.merkle.map import MapProof, verify_presence
from commonward.ledger.staging import block_leaf
from commonward.records.trust import genesis_authority
from commonward.workflows.indexes import AuthorityChange
from commonward.workflows.past_proofs import NotHistory
from commonward.workflows.replica import Replica

__all__ = ["AUTHORITY_PATH", "PastAuthority", "changes_to_bytes", "read_changes"]

AUTHORITY_PATH = "ledger/authority"


def changes_to_bytes(changes: Sequence[AuthorityChange]) -> bytes:
    return encode(
        [
            [each.height, each.time, each.size, each.state_root, each.authority, each.proof, each.note]
            for each in changes
        ]
    )


def read_changes(data: bytes) -> list[AuthorityChange]:
    """Raises NotHistory."""
    try:
        value = decode(data)
    except ValueError as cause:
        raise NotHistory(f"not changes of authority: {cause}") from cause
    if not isinstance(value, list):
        raise NotHistory("expected an array of changes of authority")
    return [_change(each) for each in value]


def _change(value: object) -> AuthorityChange:
    match value:
        case [int(height), int(time), int(size), bytes(root), bytes(authority), bytes(proof), bytes(note)]:
            return AuthorityChange(Height(height), BlockTime(time), size, Digest(root), authority, proof, note)
    raise NotHistory(f"expected a change of authority, got {value!r:.60}")


class PastAuthority:
    """Of one node, whose log is whole."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._genesis = genesis_authority(replica.machine.genesis)

    @property
    def missing(self) -> bool:
        """Whether this node lacks a change between genesis and the authority in force."""
        return self._lacks(self._replica.authority_changes())

    def _lacks(self, changes: Sequence[AuthorityChange]) -> bool:
        epochs = [Authority.parse(each.authority).epoch for each in changes]
        return epochs != list(range(self._genesis.epoch + 1, self._replica.authority.epoch + 1))

    def take(self, data: bytes) -> None:
        """Adopt the changes that another member has, once all of them are proven, before our own that come later.

        Raises NotHistory.
        """
        before, found = self._genesis, list[AuthorityChange]()
        for change in read_changes(data):
            try:
                before = self._judge(change, before)
            except (ValueError, WeakQuorum, LookupError) as cause:
                raise NotHistory(f"change of authority at block {change.height}: {cause}") from cause
            found.append(change)
        own = self._replica.authority_changes()
        found += [each for each in own if Authority.parse(each.authority).epoch > before.epoch]
        if self._lacks(found):
            raise NotHistory(f"expected every change of authority up to epoch {self._replica.authority.epoch}")
        self._replica.indexes.put_authorities(found)

    def _judge(self, change: AuthorityChange, before: Authority) -> Authority:
        """Raises ValueError and what proofs raise."""
        log, after = self._replica.machine.log, Authority.parse(change.authority)
        if after.epoch != before.epoch + 1:
            raise ValueError(f"expected epoch {before.epoch + 1}, got {after.epoch}")
        imported = self._replica.machine.genesis.imported
        if imported is not None and change.size <= imported.size:
            raise ValueError(f"it is of the ledger before, which ended at size {imported.size}")
        if log.leaf(change.size - 1) != leaf_hash(block_leaf(change.height, change.time, change.state_root)):
            raise ValueError(f"leaf {change.size - 1} of the log is another")
        proof = MapProof.from_value(decode(change.proof))
        if not verify_presence(change.state_root, AUTHORITY_KEY, change.authority, proof):
            raise ValueError("its value is not proven under the state root")
        note = parse_note(change.note)
        head = note.checkpoint
        if head.origin != origin_of(self._replica.ledger_id) or head.size < change.size:
            raise ValueError(f"expected a checkpoint of this ledger of {change.size} leaves or more")
        if log.root(head.size) != head.root:
            raise ValueError(f"the checkpoint of {head.size} leaves has another root")
        check_quorum(head, note.lines, before)
        return after
