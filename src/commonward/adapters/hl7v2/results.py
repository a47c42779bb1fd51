"""OBR, OBX, NTE and SPM: results -> FHIR DiagnosticReport and Observation.

Ids follow from sender, filler order number, code and sub-id, so that a correction has the id of what it corrects.
Set ids (OBX-1) take no part: a sender that corrects one line of ten numbers it 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from commonward.adapters.hl7v2.datatypes import (
    Json,
    Reading,
    clean,
    code_of,
    concept,
    drop_empty,
    ei,
    ei_of,
    first_concept,
    hd_or_name,
    person_name,
    xcn,
)
from commonward.adapters.hl7v2.er7 import Message, Segment
from commonward.adapters.hl7v2.observed import attachment, interpretation, range_of, set_value
from commonward.adapters.hl7v2.tables import (
    IMAGING_SECTIONS,
    LAB_SECTIONS,
    OBSERVATION_STATUS,
    REPORT_STATUS,
    TERMINOLOGY,
)

_CATEGORY = TERMINOLOGY + "observation-category"
_TEXT_TYPES = ("TX", "FT")


@dataclass(slots=True)
class Result:
    """One OBX with its notes; several where a text was sent line by line."""

    lines: list[Segment]
    notes: list[Segment] = field(default_factory=list)


@dataclass(slots=True)
class Order:
    """One OBR with what belongs to it. Without OBR: results that stand alone."""

    obr: Segment | None = None
    orc: Segment | None = None
    results: list[Result] = field(default_factory=list)
    specimens: list[Segment] = field(default_factory=list)


def orders(segments: Sequence[Segment], event: str) -> list[Order]:
    """Segments of one patient, gathered: ORC and SPM go with the OBR that the message's structure gives them to."""
    found = [Order()]
    orc: Segment | None = None
    coming: list[Segment] = []  # specimens whose OBR is still to come
    for segment in segments:
        now = found[-1]
        match segment.name:
            case "ORC":
                if event[:1] == "R" and event != "R01" and now.obr and not now.orc and not now.results:
                    now.orc = segment  # OUL writes ORC after its OBR
                else:
                    orc = segment
            case "OBR":
                found.append(Order(segment, orc, specimens=coming[:]))
                orc = None
                if event not in ("R22", "R23"):
                    coming = []
            case "SPM":
                if event in ("R22", "R23"):  # OUL by specimen: SPM opens a group, its OBRs follow
                    coming = [segment]
                    found.append(Order(specimens=coming[:]))
                else:
                    now.specimens.append(segment)
            case "OBX":
                _add(now, segment)
            case "NTE" if now.results:
                now.results[-1].notes.append(segment)
    return [order for order in found if order.obr or order.results]


def _add(order: Order, obx: Segment) -> None:
    """Text sent line by line under one code and sub-id is one result: a correction replaces all of it."""
    last = order.results[-1] if order.results else None
    if (
        last
        and not last.notes
        and obx.get(2) in _TEXT_TYPES
        and all(obx.raw(number) == last.lines[-1].raw(number) for number in (2, 3, 4, 11))
        and obx.raw(3)
    ):
        last.lines.append(obx)
    else:
        order.results.append(Result([obx]))


class Results:
    """Maps the orders of one patient."""

    def __init__(self, reading: Reading, subject: Json, encounter: Json, labels: Callable[[Segment | None], Json]):
        self._reading = reading
        self._subject = subject
        self._encounter = encounter
        self._labels = labels

    def resources(self, order: Order, message: Message) -> Iterator[Json]:
        """Observations, then the report that names them."""
        reading = self._reading
        anchor = self._anchor(order, message)
        observations = []
        documents = []
        counted: Counter[tuple[str, ...]] = Counter()
        for result in order.results:
            document = attachment(result.lines[0], reading) if order.obr else {}
            if document:
                documents.append(document)
                continue
            observation = self._observation(result, order, anchor, counted)
            if observation:
                observations.append(observation)
        yield from observations
        if order.obr:
            yield self._report(order, order.obr, anchor, observations, documents)

    def _anchor(self, order: Order, message: Message) -> tuple[str, ...]:
        """What names the order for good: filler number, else placer number, else patient, test and time."""
        reading, obr, orc = self._reading, order.obr, order.orc
        if obr:
            test = obr.get(4) or obr.get(4, 2)
            for kind, segment, number in (
                ("filler", obr, 3),
                ("filler", orc, 3),
                ("placer", obr, 2),
                ("placer", orc, 2),
            ):
                value = segment.value(number) if segment else None
                if value is not None and clean(value.get(1)):
                    authority = value.get(3) or value.get(2) or reading.facility
                    return kind, authority, clean(value.get(1)), test
            if obr.get(7) and self._subject:
                return "when", reading.facility, self._subject.get("reference", ""), test, obr.get(7)
        elif order.specimens and clean(order.specimens[0].get(2)):
            return "specimen", reading.facility, order.specimens[0].get(2), order.specimens[0].get(2, 2)
        elif self._encounter or self._subject:
            return "loose", reading.facility, self._subject.get("reference", ""), self._encounter.get("reference", "")
        return "message", reading.facility, message.control_id, message.digest.hex()

    def _observation(
        self, result: Result, order: Order, anchor: tuple[str, ...], counted: Counter[tuple[str, ...]]
    ) -> Json:
        reading, obx = self._reading, result.lines[0]
        code = first_concept(obx.values(3), reading)
        if not code and not any(obx.values(5)):
            return {}  # an empty OBX says nothing
        named = (obx.get(3) or obx.get(3, 2), obx.get(4))
        loose = () if order.obr else (obx.get(14),)  # without an order the time tells one pulse from the next
        counted[named + loose] += 1
        word = obx.get(11).upper()
        if word not in OBSERVATION_STATUS:
            reading.note(f"OBX-11: {word!r} is not in table 0085; the status is unknown")
        status = OBSERVATION_STATUS.get(word, "unknown")
        section = order.obr.get(24).upper() if order.obr else ""
        found: Json = {
            "resourceType": "Observation",
            "id": reading.id("Observation", *anchor, *named, *loose, str(counted[named + loose])),
            "meta": self._labels(order.orc),
            "identifier": [ei_of(value, reading) for value in obx.values(21)],
            "status": status,
            "category": _category(section),
            "code": code or _absent_code(),
            "subject": self._subject,
            "encounter": self._encounter,
            "effectiveDateTime": self._effective(obx, order),
            "performer": self._performers(obx),
            "interpretation": [flag for value in obx.values(8) if (flag := interpretation(value, reading))],
            "note": [{"text": text} for note in result.notes if (text := _lines(note, 3))],
            "bodySite": concept(obx.value(20), reading),
            "method": concept(obx.value(17), reading),
            "specimen": _specimen(order.specimens, reading),
            "device": _device(obx, reading),
        }
        set_value(found, [value for line in result.lines for value in line.values(5)], obx, status, reading)
        if not code and "dataAbsentReason" in found:
            return {}  # neither what was observed nor a value
        limits = range_of(obx.get(7), found.get("valueQuantity"))
        found["referenceRange"] = [limits] if limits else []
        return drop_empty(found)

    def _effective(self, obx: Segment, order: Order) -> str:
        """OBX-14; else when the specimen was taken: OBR-7."""
        if obx.get(14):
            return self._reading.datetime(obx.get(14), "OBX-14")
        return self._reading.datetime(order.obr.get(7), "OBR-7") if order.obr else ""

    def _performers(self, obx: Segment) -> list[Json]:
        people = [xcn(value, self._reading) for value in obx.values(16)]
        producer = obx.value(15)
        shown = clean(producer.get(2) or producer.get(1))
        organisations = [hd_or_name(value) for value in obx.values(23)]
        if shown and not any(organisations):
            organisations = [{"type": "Organization", "display": shown}]
        return [each for each in (*people, *organisations) if each]

    def _report(
        self, order: Order, obr: Segment, anchor: tuple[str, ...], observations: list[Json], documents: list[Json]
    ) -> Json:
        reading = self._reading
        word = obr.get(25).upper()
        status = REPORT_STATUS.get(word) or _status_of(observations)
        if word and word not in REPORT_STATUS:
            reading.note(f"OBR-25: {word!r} is not in table 0123; the report is called {status}")
        filler = obr.value(3) or (order.orc.value(3) if order.orc else obr.value(3))
        placer = obr.value(2) or (order.orc.value(2) if order.orc else obr.value(2))
        placed = ei_of(placer, reading, "PLAC")
        issued = reading.moment(obr.get(22), "OBR-22")
        section = code_of(obr.get(24))
        started, ended = reading.datetime(obr.get(7), "OBR-7"), reading.datetime(obr.get(8), "OBR-8")
        return drop_empty(
            {
                "resourceType": "DiagnosticReport",
                "id": reading.id("DiagnosticReport", *anchor),
                "meta": self._labels(order.orc),
                "identifier": [each for each in (ei_of(filler, reading, "FILL"), placed) if each],
                "basedOn": [{"type": "ServiceRequest", "identifier": placed}] if placed else [],
                "status": status,
                "category": [{"coding": [{"system": TERMINOLOGY + "v2-0074", "code": section}]}] if section else [],
                "code": first_concept(obr.values(4), reading) or _absent_code(),
                "subject": self._subject,
                "encounter": self._encounter,
                "effectiveDateTime": started if not ended else "",
                "effectivePeriod": drop_empty({"start": started, "end": ended}) if ended else {},
                "issued": issued.instant if issued else "",
                "resultsInterpreter": [each for number in (32, 33) for each in self._interpreters(obr, number)],
                "specimen": [found] if (found := _specimen(order.specimens, reading)) else [],
                "result": [{"reference": f"Observation/{each['id']}"} for each in observations],
                "presentedForm": documents,
            }
        )

    def _interpreters(self, obr: Segment, number: int) -> Iterator[Json]:
        """NDL: its first component is a name and number (CNN), part by part."""
        for value in obr.values(number):
            name = person_name(value.get(1, 2), value.get(1, 3), value.get(1, 4), value.get(1, 6), value.get(1, 5))
            ident = ei(value.get(1, 1), value.get(1, 9), value.get(1, 10), value.get(1, 11), self._reading)
            if name or ident:
                yield {"type": "Practitioner", **drop_empty({"identifier": ident, "display": name})}


def _status_of(observations: list[Json]) -> str:
    """Of a report that does not say: that of its results where they agree, and "partial" while one is open."""
    words = {each["status"] for each in observations}
    if len(words) == 1:
        return str(words.pop())
    if words & {"registered", "preliminary"}:
        return "partial"
    if "corrected" in words:
        return "corrected"
    return "amended" if "amended" in words else "unknown"


def _category(section: str) -> list[Json]:
    code = "laboratory" if section in LAB_SECTIONS else "imaging" if section in IMAGING_SECTIONS else ""
    return [{"coding": [{"system": _CATEGORY, "code": code}]}] if code else []


def _absent_code() -> Json:
    return {
        "coding": [{"system": TERMINOLOGY + "data-absent-reason", "code": "unknown"}],
        "text": "not named by the source",
    }


def _specimen(specimens: Sequence[Segment], reading: Reading) -> Json:
    """SPM -> a reference by number and kind, without a Specimen resource of its own."""
    for spm in specimens:
        pair = spm.value(2)  # EIP: placer's and filler's number
        ident = ei(pair.get(2) or pair.get(1), pair.get(2, 2) or pair.get(1, 2), "", "", reading)
        kind = concept(spm.value(4), reading)
        shown = kind.get("text", "") or (kind.get("coding") or [{}])[0].get("code", "")
        if ident or shown:
            return {"type": "Specimen", **drop_empty({"identifier": ident, "display": shown})}
    return {}


def _device(obx: Segment, reading: Reading) -> Json:
    value = obx.value(18)
    shown = clean(value.get(1))
    return {"type": "Device", "identifier": ei_of(value, reading), "display": shown} if shown else {}


def _lines(segment: Segment, number: int) -> str:
    return "\n".join(text for value in segment.values(number) if (text := clean(value.all())))
