"""What a custodian holds of one patient: opened for a decision, checked against the anchor before it goes."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from commonward.ledger.ids import Handle
from commonward.records.decide import Decider, Decision, Facts
from commonward.records.envelope import EnvelopeError, open_record, unwrap_key
from commonward.records.fingerprint import Fingerprint, fingerprint, verify_in_batch
from commonward.records.propagation import decide_set, references_within
from commonward.records.record import Record, Source
from commonward.workflows.member import Member
from commonward.workflows.member_log import Event
from commonward.workflows.messages import Anchor
from commonward.workflows.ports import RecordRow

_HERE: Final = Source("", "", "fhir-r4")
_FACTS_KEPT: Final = 20_000


@dataclass(frozen=True, slots=True)
class Held:
    """One current record, opened. `number` is its place in the vault."""

    number: int
    row: RecordRow
    record: Record
    salt: bytes

    @property
    def id(self) -> bytes:
        return self.row.id

    @property
    def thing(self) -> bytes:
        return self.row.match

    @property
    def version(self) -> int:
        return self.row.version


class Holdings:
    """The records of one member, by patient."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._facts: OrderedDict[bytes, Facts] = OrderedDict()

    def of(self, handle: Handle) -> list[Held]:
        """Everything current that this handle stands for. What does not open is left out, and logged as altered."""
        found = []
        for number, row in self._member.ports.vault.current_records(sorted(self._member.identity.patients_of(handle))):
            held = self.open(number, row)
            if held is not None:
                found.append(held)
        return found

    def open(self, number: int, row: RecordRow) -> Held | None:
        """None when it was erased, or altered (logged)."""
        if not row.wrapped:
            return None
        try:
            key = unwrap_key(row.wrapped, self._member.storage.wrap, row.id)
            stored, salt = open_record(row.sealed, key, row.id)
        except EnvelopeError:
            self._altered(number, "its seal is broken")
            return None
        return Held(number, row, Record.from_stored(stored, _HERE, row.version), salt)

    def decide(self, held: list[Held], decider: Decider) -> dict[bytes, Decision]:
        """On all records of the patient at once: labels and silence follow references."""
        facts = {each.id: self._facts_of(each) for each in held}
        references = references_within({each.id: each.record for each in held})
        return decide_set(decider, facts, references)

    def _facts_of(self, held: Held) -> Facts:
        """Facts follow from the stored bytes, and an id from them: so they may be kept."""
        facts = self._facts.get(held.id)
        if facts is None:
            facts = self._facts[held.id] = self._member.sensitivity.facts(held.record)
            if len(self._facts) > _FACTS_KEPT:
                self._facts.popitem(last=False)
        return facts

    def is_sound(self, held: Held) -> bool:
        """Whether what is held is what was anchored (or, not anchored yet, what was taken in)."""
        print_ = fingerprint(held.record.stored, held.salt)
        if print_.digest != held.row.fingerprint:
            self._altered(held.number, "it does not have the fingerprint it was taken in with")
            return False
        anchor = self.anchor(held)
        if anchor is None:
            return True  # pending: its proof follows
        if not anchored(self._member, anchor, print_):
            self._altered(held.number, "its fingerprint is not under the anchored root")
            return False
        return True

    def anchor(self, held: Held) -> Anchor | None:
        try:
            return self._member.anchoring.prove(held.number, held.row.fingerprint)
        except KeyError:
            self._altered(held.number, "its fingerprint is not in its batch")
            return None

    def replaced_by(self, held: Held) -> bytes | None:
        """The id of the version before this one."""
        if held.version < 2:
            return None
        before = [row for _, row in self._member.ports.vault.versions(held.thing) if 0 < row.version < held.version]
        return max(before, key=lambda row: row.version).id if before else None

    def _altered(self, number: int, how: str) -> None:
        self._member.log.note(Event.FLAGGED, f"record {number} was altered in the vault: {how}")


def anchored(member: Member, anchor: Anchor, print_: Fingerprint, custodian: str | None = None) -> bool:
    """Whether a fingerprint stands under a root that the custodian (this member by default) anchored."""
    stands = member.reading.anchor_at(anchor.index)
    if stands is None or stands.member != (custodian or member.id):
        return False
    try:
        return verify_in_batch(print_, anchor.proof(), stands.root)
    except (ValueError, OverflowError):
        return False
