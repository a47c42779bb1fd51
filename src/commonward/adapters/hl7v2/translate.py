"""One HL7 v2 message -> FHIR R4 resources, what it says of identities, and how much of it was understood.

ADT gives Patient, Encounter and loose observations; ORU and OUL give reports and observations, and the patient and
visit that they mention. Every other type gives no resource: the source message is kept raw, whole. Follows the HL7
guide "Version 2 to FHIR" (STU 1).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field

import orjson

from commonward.adapters.hl7v2.datatypes import Context, Json, Reading, drop_empty
from commonward.adapters.hl7v2.encounters import encounter, encounter_id
from commonward.adapters.hl7v2.er7 import Coverage, Message, Segment, source_id
from commonward.adapters.hl7v2.errors import BadMessage
from commonward.adapters.hl7v2.patients import IdentityEvent, brief, identity_event, patient, patient_key, subject
from commonward.adapters.hl7v2.results import Results, orders
from commonward.adapters.hl7v2.tables import CONFIDENTIALITY, IDENTITY_EVENTS, V3
from commonward.records.stored import NotStorable, parse
from commonward.workflows.ports import NamesSaid, Translated, Translation, Unreadable

_HEADER = (1, 2, 3, 4, 7, 9, 10, 12, 18)  # fields of MSH that the reading itself uses
_BETWEEN_TWO = frozenset(("A17", "A24", "A37"))  # events that name two patients, each with a PID
_RESULTS = ("ORU", "OUL")


@dataclass(frozen=True, slots=True)
class Resource:
    """One FHIR resource as JSON, digits as the source wrote them.

    `patient` is the source's own name of its patient. `supporting`: the message mentions it and is no authority for it
    (a result's patient), so it must not replace what the registration desk sent.
    """

    type: str
    id: str
    json: bytes
    patient: str = ""
    supporting: bool = False


@dataclass(frozen=True, slots=True)
class Mapped:
    """What one message became. `unmapped` counts fields that hold something and were not understood, by path."""

    made: tuple[Resource, ...]
    identity: tuple[IdentityEvent, ...]
    seen: int
    mapped: int
    unmapped: dict[str, int]
    notes: tuple[str, ...]
    raw: bytes

    @property
    def resources(self) -> list[bytes]:
        return [each.json for each in self.made]


@dataclass(slots=True)
class _Group:
    """The segments about one patient."""

    pid: Segment | None
    segments: list[Segment] = field(default_factory=list)

    def first(self, name: str) -> Segment | None:
        return next((segment for segment in self.segments if segment.name == name), None)


def to_fhir(message: Message, context: Context | None = None) -> Mapped:
    """Map what can be mapped. Pure and deterministic; never raises for what a message holds."""
    reading = Reading(message, context or Context())
    message.msh.read.update(_HEADER)
    made: list[Resource] = []
    events: list[IdentityEvent] = []
    if message.code == "ADT":
        events = _identity(message, reading)
        for group in _groups(message):
            made += _adt(group, message, reading)
    elif message.code in _RESULTS:
        for group in _groups(message):
            made += _results(group, message, reading)
    else:
        reading.note(f"{message.code or 'a message without type'} maps to nothing; the source message is kept")
    coverage: Coverage = message.coverage() if made or events else _nothing(message)
    unmapped = dict(sorted(coverage.unmapped.items()))
    return Mapped(
        tuple(_unique(made)), tuple(events), coverage.seen, coverage.mapped, unmapped, tuple(reading.notes), message.raw
    )


def _nothing(message: Message) -> Coverage:
    """Nothing became a record, so nothing counts as understood but the header."""
    for segment in message.segments[1:]:
        segment.read.clear()
    return message.coverage()


def _unique(made: Sequence[Resource]) -> Iterator[Resource]:
    """A message may say the same thing twice (a patient with two reports); it is one resource, the last said."""
    last = {(each.type, each.id): each for each in made}
    return iter(last.values())


def _groups(message: Message) -> list[_Group]:
    groups = [_Group(None)]
    for segment in message.segments[1:]:
        if segment.name == "PID":
            groups.append(_Group(segment))
        groups[-1].segments.append(segment)
    return [group for group in groups if group.pid]


def _adt(group: _Group, message: Message, reading: Reading) -> Iterator[Resource]:
    pid, event = group.pid, message.event
    if pid is None:
        return
    _header_of_event(message)
    key = patient_key(pid, reading)
    if key is None:
        reading.note("PID-3 holds no identifier: the message names no patient and maps to nothing")
        return
    labels = _labels(group)
    kin = [segment for segment in group.segments if segment.name == "NK1"]
    active = False if event == "A29" else None
    who = patient(pid, key, reading, group.first("PD1"), kin, active)
    yield _resource({**who, "meta": labels(None)}, key.name)
    about = subject(key, pid, reading)
    visit = yield from _visit(group, message, reading, about, key.name, labels(None), whole=True)
    results = Results(reading, about, visit, labels)
    for order in orders(group.segments, event):
        if order.obr is None:
            for found in results.resources(order, message):
                yield _resource(found, key.name)


def _results(group: _Group, message: Message, reading: Reading) -> Iterator[Resource]:
    pid = group.pid
    if pid is None:
        return
    key = patient_key(pid, reading)
    if key is None:
        reading.note("PID-3 holds no identifier: the results belong to nobody and map to nothing")
        return
    labels = _labels(group)
    yield _resource({**brief(pid, key, reading), "meta": labels(None)}, key.name, supporting=True)
    about = subject(key, pid, reading)
    visit = yield from _visit(group, message, reading, about, key.name, labels(None), whole=False)
    results = Results(reading, about, visit, labels)
    for order in orders(group.segments, message.event):
        for found in results.resources(order, message):
            yield _resource(found, key.name)


def _visit(
    group: _Group, message: Message, reading: Reading, about: Json, patient_name: str, labels: Json, *, whole: bool
) -> Generator[Resource, None, Json]:
    """Yields the Encounter, if there is one, and returns the reference to it."""
    pv1 = group.first("PV1")
    if pv1 is None or (pv1.get(2).upper() == "N" and not pv1.get(19)):  # N: not applicable
        return {}
    key = patient_key(group.pid, reading) if group.pid else None
    ident = encounter_id(pv1, group.pid, key, reading)
    if not ident or (not whole and not pv1.get(19)):
        if whole:
            reading.note("PV1 has neither a number nor an admission time: no Encounter was made")
        return {}
    event = message.event if whole else ""
    made = encounter(pv1, group.first("PV2"), ident, about, reading, event=event, whole=whole)
    yield _resource({**made, "meta": labels}, patient_name, supporting=not whole)
    return {"reference": f"Encounter/{ident}"}


def _labels(group: _Group) -> Callable[[Segment | None], Json]:
    """Security labels: what the message restricts as a whole, and what one order restricts (ORC-28, table 0177).

    PD1-12 and PV2-22 protection indicators and any ARV restrict everything that the message gives: a label too many
    withholds, a label too few reveals.
    """
    restricted = False
    for name, number in (("PD1", 12), ("PV2", 22)):
        segment = group.first(name)
        restricted = restricted or bool(segment and segment.get(number).upper() == "Y")
    for segment in group.segments:
        if segment.name == "ARV" and segment.get(2).upper() != "D":  # D takes a restriction back
            segment.read.update((1, 2, 3, 4, 5, 6))
            restricted = True

    def labels(orc: Segment | None) -> Json:
        found = [("Confidentiality", "R")] if restricted else []
        for value in orc.values(28) if orc else ():
            found += CONFIDENTIALITY.get(value.get(1).upper(), (("Confidentiality", "R"),))
        security = [{"system": V3 + system, "code": code} for system, code in dict.fromkeys(found)]
        return {"security": security} if security else {}

    return labels


def _identity(message: Message, reading: Reading) -> list[IdentityEvent]:
    kind = IDENTITY_EVENTS.get(message.event)
    if kind is None:
        return []
    _header_of_event(message)
    pids = list(message.of("PID"))
    if message.event in _BETWEEN_TWO and len(pids) > 1:  # two PIDs and no MRG: the second is the other name
        survivor, prior = patient_key(pids[0], reading), patient_key(pids[1], reading)
        return [IdentityEvent(kind, message.event, survivor, prior)] if survivor and prior else []
    found = []
    for position, segment in enumerate(message.segments):
        if segment.name == "PID":
            mrg = next((after for after in _until_next(message.segments, position) if after.name == "MRG"), None)
            event = identity_event(kind, message.event, segment, mrg, reading)
            if event:
                found.append(event)
    return found


def _until_next(segments: Sequence[Segment], position: int) -> Iterator[Segment]:
    for segment in segments[position + 1 :]:
        if segment.name == "PID":
            return
        yield segment


def _header_of_event(message: Message) -> None:
    evn = message.first("EVN")
    if evn:
        evn.read.add(1)


_JOINS = frozenset(("merge", "link", "change-identifier"))


def _said(events: Sequence[IdentityEvent]) -> tuple[tuple[NamesSaid, ...], tuple[str, ...]]:
    """What joins or parts two names of a patient, and what only a person may act on.

    Accounts and visits that move between patients are for a person: records keep the patient that they came with, and
    the sender sends them again under the other.
    """
    names, notes = [], []
    for event in events:
        survivor, prior = event.survivor.name, event.prior.name if event.prior else ""
        if prior and prior != survivor and (event.kind in _JOINS or event.kind == "unlink"):
            names.append(NamesSaid(survivor, prior, event.kind in _JOINS, f"HL7 ADT^{event.event} ({event.kind})"))
        elif event.kind not in (*_JOINS, "unlink", "delete"):
            notes.append(f"HL7 ADT^{event.event} says {event.kind}; look at it in the source system")
    return tuple(names), tuple(notes)


def _resource(tree: Json, patient_name: str, *, supporting: bool = False) -> Resource:
    tree = drop_empty(tree)
    return Resource(str(tree["resourceType"]), str(tree["id"]), orjson.dumps(tree), patient_name, supporting)


@dataclass(frozen=True)
class Hl7Translator:
    """The port `workflows.ports.Translator` for HL7 v2. A value: it pickles as long as its context does."""

    context: Context = field(default_factory=Context)

    def read(self, raw: bytes) -> tuple[Message, Mapped]:
        """Raises BadMessage."""
        message = Message.parse(raw, charset=self.context.charset, fallback=self.context.fallback)
        return message, to_fhir(message, self.context)

    def translate(self, raw: bytes) -> Translation:
        """Raises Unreadable. Resources that a message only mentions form a line of versions of their own."""
        try:
            message, mapped = self.read(raw)
            records = tuple(
                Translated(parse(each.json), ("mentioned", each.type, each.id) if each.supporting else (), each.patient)
                for each in mapped.made
            )
        except (BadMessage, NotStorable) as cause:
            raise Unreadable(str(cause)) from cause
        names, notes = _said(mapped.identity)
        return Translation(str(source_id(message)), records, names, notes)
