"""Reading the ledger's live state through its own slices: what members, handles and consents are right now."""

from collections import OrderedDict
from typing import Final, NamedTuple

from commonward.ledger.consent import Consent, ConsentRecord, Consents, HandleRecord, Handles, Withdraw
from commonward.ledger.encoding import decode
from commonward.ledger.ids import BlockTime, ConsentId, Digest, Handle, MemberId, MemberKind, Purpose
from commonward.ledger.members import Roll
from commonward.ledger.members.keys import RevokedStaff
from commonward.ledger.members.weights import ORIGINS_KEY
from commonward.ledger.parameters import Parameter, Parameters
from commonward.ledger.transactions import AnchorBatch, Transaction, parse_transaction
from commonward.records.certificates import CertificateRefused, SignedStatement, Staff, revocation_digest
from commonward.workflows.ports import Entry, Ledger

_ANCHORS_KEPT: Final = 10_000


class Anchored(NamedTuple):
    """Whose root stands at a log index, and since when (header time, ms)."""

    member: MemberId
    root: Digest
    time: BlockTime


class LedgerCells:
    """The state as slices see it, read only."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def get(self, key: bytes) -> bytes | None:
        return self._ledger.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        raise TypeError("a workflow reads the state; only transactions change it")

    def delete(self, key: bytes) -> None:
        raise TypeError("a workflow reads the state; only transactions change it")


class Reading:
    """Questions to the live state."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        cells = LedgerCells(ledger)
        self._roll = Roll(cells)
        self._handles = Handles(cells)
        self._consents = Consents(cells)
        self._revoked = RevokedStaff(cells)
        self._parameters = Parameters(cells)
        self._anchors: OrderedDict[int, Anchored] = OrderedDict()

    def anchor_at(self, index: int) -> Anchored | None:
        """The accepted AnchorBatch at a log index. What stands there never changes, so it is remembered."""
        known = self._anchors.get(index)
        if known is None:
            entry = self._ledger.entry(index)
            payload = transaction_of(entry).payload if entry is not None and entry.code == 0 else None
            if entry is None or entry.member is None or not isinstance(payload, AnchorBatch):
                return None
            known = self._anchors[index] = Anchored(entry.member, payload.root, entry.time)
            if len(self._anchors) > _ANCHORS_KEPT:
                self._anchors.popitem(last=False)
        return known

    def parameter(self, parameter: Parameter) -> int:
        return self._parameters[parameter]

    def members(self) -> tuple[MemberId, ...]:
        return self._roll.active()

    def kind_of(self, member: MemberId) -> MemberKind | None:
        """None for one that is not an active member."""
        found = self._roll.get(member)
        return found.kind if found is not None and found.active else None

    def hpke_key(self, member: MemberId) -> bytes | None:
        """The X25519 key to seal to now: the one that lasts longest."""
        if self._roll.get(member) is None:
            return None
        live = self._roll.live(member, Purpose.HPKE, self._ledger.tip_time())
        return max(live, key=lambda key: (key.ends, key.public)).public if live else None

    def operate_key(self, member: MemberId, key: bytes) -> tuple[int, bytes] | None:
        """Algorithm and public bytes of a member's operate key that counts now."""
        found = self._roll.key(key)
        if found is None or found.member != member or found.purpose != Purpose.OPERATE:
            return None
        return (found.algorithm, found.public) if found.covers(self._ledger.tip_time()) else None

    def any_key(self, key: bytes) -> tuple[int, bytes] | None:
        """Algorithm and public bytes of a member's key that is in the state, whether it counts now or not."""
        found = self._roll.key(key)
        return (found.algorithm, found.public) if found is not None else None

    def staff(self, statement: SignedStatement, member: MemberId, at: int) -> Staff:
        """Who signed: certificate under the member's CA, valid, not revoked. Raises CertificateRefused."""
        kind, ca = self.kind_of(member), self._roll.certificate(member)
        if kind is None:
            raise CertificateRefused(f"{member} is not an active member")
        if ca is None:
            raise CertificateRefused(f"{member}'s CA certificate was revoked, and no other has taken its place yet")
        staff = statement.check(self._ledger.line, ca, member, kind, BlockTime(at))
        if self._revoked.is_revoked(member, revocation_digest(statement.certificate)):
            raise CertificateRefused("this certificate was revoked")
        return staff

    def handle(self, handle: Handle) -> HandleRecord | None:
        return self._handles.get(handle)

    def signing_origins(self) -> tuple[str, ...]:
        """Origins of the active members' signing pages."""
        value = decode(self._ledger.get(ORIGINS_KEY) or b"\x80")
        return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()

    def handles(self) -> Handles:
        return self._handles

    def consent(self, consent: ConsentId) -> ConsentRecord | None:
        """The open consent of this id."""
        return self._consents.get(consent)

    def history(self, handle: Handle) -> list[tuple[Entry, Consent | Withdraw]]:
        """Every consent and withdrawal that was ever accepted for a handle, in order."""
        found: list[tuple[Entry, Consent | Withdraw]] = []
        for entry in self._ledger.consents_of(handle):
            payload = transaction_of(entry).payload
            if isinstance(payload, Consent | Withdraw):
                found.append((entry, payload))
        return found

    def payload(self, digest: Digest) -> tuple[Entry, Consent | Withdraw] | None:
        """The accepted consent or withdrawal of this digest, once this node has it."""
        stands = self._ledger.found(digest)
        if stands is None or stands.code != 0:
            return None
        entry = self._ledger.entry(stands.index)
        if entry is None:
            return None
        payload = transaction_of(entry).payload
        return (entry, payload) if isinstance(payload, Consent | Withdraw) else None


def transaction_of(entry: Entry) -> Transaction:
    """What an entry's bytes say."""
    return parse_transaction(entry.raw)
