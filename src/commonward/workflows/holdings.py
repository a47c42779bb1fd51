"""What a custodian holds of one patient: opened for a decision, checked against the anchor before it goes."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from commonward.ledger.ids import Handle
from commonward.records.decide import Decider, Decision, Facts
from commonward.records.envelope import EnvelopeError, open_record, unwrap_key
from commonward.records.fingerprint import Fingerprint, fingerprint, verify_in_batch
from commonward.records.propagation import decide_set, references_within
from commonward.records.record import Record, Source
from commonward.records.stored import Stored
from commonward.workflows.member import Member
from commonward.workflows.member_log import Event
from commonward.workflows.messages import Anchor
from commonward.workflows.ports import RecordReader, RecordRow

_HERE: Final = Source("", "", "fhir-r4")
_KNOWN_KEPT: Final = 20_000


@dataclass(frozen=True, slots=True)
class Known:
    """What a decision needs of a record: facts, and the names by which records refer to each other."""

    resource_type: str
    id: str
    keys: tuple[str, str]
    references: tuple[str, ...]
    facts: Facts


@dataclass(frozen=True, slots=True)
class Held:
    """One current record, opened. `number` is its place in the vault."""

    number: int
    row: RecordRow
    stored: Stored
    salt: bytes
    known: Known

    @property
    def record(self) -> Record:
        """Read anew from the stored bytes each time."""
        return Record.from_stored(self.stored, _HERE, self.row.version)

    @property
    def id(self) -> bytes:
        return self.row.id

    @property
    def thing(self) -> bytes:
        return self.row.match

    @property
    def version(self) -> int:
        return self.row.version


@dataclass(frozen=True, slots=True)
class Broken:
    """A record whose seal does not open."""

    number: int


class Holdings:
    """The records of one member, by patient."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._sound: OrderedDict[tuple[int, bytes], None] = OrderedDict()

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
        return self.keep(self._unsealed(number, row))

    def read(self, reader: RecordReader, patients: Iterable[bytes]) -> list[Held | Broken]:
        """Everything current of these patients that was not erased. For another thread than the loop's: it changes
        nothing here, and `keep` is called for each of these in the loop's."""
        found = [self._unsealed(number, row) for number, row in reader.current_records(sorted(patients))]
        return [each for each in found if each is not None]

    def keep(self, read: Held | Broken | None) -> Held | None:
        """What was read is remembered as known; None for what was erased, or altered (logged)."""
        if isinstance(read, Broken):
            self._altered(read.number, "its seal is broken")
            return None
        if read is not None and read.id not in self._known:
            self._known[read.id] = read.known
            if len(self._known) > _KNOWN_KEPT:
                self._known.popitem(last=False)
        return read

    def _unsealed(self, number: int, row: RecordRow) -> Held | Broken | None:
        """In any thread."""
        if not row.wrapped:
            return None
        try:
            key = unwrap_key(row.wrapped, self._member.storage.wrap, row.id)
            stored, salt = open_record(row.sealed, key, row.id)
        except EnvelopeError:
            return Broken(number)
        return Held(number, row, stored, salt, self._known_of(row, stored))

    def decide(self, held: list[Held], decider: Decider) -> dict[bytes, Decision]:
        """On all records of the patient at once: labels and silence follow references."""
        known = {each.id: each.known for each in held}
        return decide_set(decider, {key: each.facts for key, each in known.items()}, references_within(known))

    def _known_of(self, row: RecordRow, stored: Stored) -> Known:
        """It follows from the stored bytes, and a row's id from them: so it may be kept. In any thread."""
        known = self._known.get(row.id)
        if known is None:
            record = Record.from_stored(stored, _HERE, row.version)
            facts = self._member.sensitivity.facts(record)
            known = Known(record.resource_type, record.id, record.keys, record.references, facts)
        return known

    def is_sound(self, held: Held) -> bool:
        """Whether what is held is what was anchored (or, not anchored yet, what was taken in)."""
        print_ = fingerprint(held.stored, held.salt)
        if print_.digest != held.row.fingerprint:
            self._altered(held.number, "it does not have the fingerprint it was taken in with")
            return False
        place = (held.number, print_.digest)
        if place in self._sound:
            return True  # this fingerprint was led to its root on the ledger before, and neither can change
        anchor = self.anchor(held)
        if anchor is None:
            return True  # pending: its proof follows
        if not anchored(self._member, anchor, print_):
            self._altered(held.number, "its fingerprint is not under the anchored root")
            return False
        self._sound[place] = None
        if len(self._sound) > _KNOWN_KEPT:
            self._sound.popitem(last=False)
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
