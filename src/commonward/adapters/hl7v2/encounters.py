"""PV1 and PV2: the visit -> FHIR Encounter."""

from __future__ import annotations

from commonward.adapters.hl7v2.datatypes import (
    Json,
    Reading,
    clean,
    concept,
    cx,
    drop_empty,
    first_concept,
    period,
    place,
    xcn,
)
from commonward.adapters.hl7v2.er7 import Segment
from commonward.adapters.hl7v2.patients import PatientKey
from commonward.adapters.hl7v2.tables import ENCOUNTER_CLASS, ENCOUNTER_STATUS, TERMINOLOGY, V3

_PARTICIPANTS = ((7, "ATND"), (8, "REF"), (9, "CON"), (17, "ADM"), (52, "PART"))  # v3-ParticipationType
_NOT_DISCHARGED = frozenset(("A01", "A11", "A13", "A27", "A38"))


def encounter_id(pv1: Segment, pid: Segment | None, key: PatientKey | None, reading: Reading) -> str:
    """By visit number, alternate visit number or account; else by patient and admission; "" where all are missing."""
    values = (*pv1.values(19), *pv1.values(50), *(pid.values(18) if pid else ()))
    for value in values:
        if clean(value.get(1)):
            authority = value.get(4) or value.get(4, 2) or reading.facility
            return reading.id("Encounter", authority, clean(value.get(1)))
    admitted = pv1.get(44)
    return reading.id("Encounter", reading.facility, "by admission", key.id, admitted) if key and admitted else ""


def encounter(
    pv1: Segment,
    pv2: Segment | None,
    ident: str,
    subject: Json,
    reading: Reading,
    *,
    event: str = "",
    whole: bool = True,
) -> Json:
    """The visit as of this message; `whole` is False where a result only mentions it."""
    when = period(pv1.get(44), "" if event in _NOT_DISCHARGED else pv1.get(45), reading, "PV1-44")
    status = ENCOUNTER_STATUS.get(event) or ("finished" if "end" in when else "in-progress" if event else "unknown")
    found: Json = {
        "resourceType": "Encounter",
        "id": ident,
        "identifier": [
            identifier
            for number, kind in ((19, "VN"), (50, "VN"))
            for value in pv1.values(number)
            if (identifier := cx(value, reading, kind))
        ],
        "status": status,
        "class": _class(pv1),
        "subject": subject,
    }
    if whole:
        found |= {
            "type": [first_concept(pv1.values(4), reading, "0007")],
            "serviceType": first_concept(pv1.values(10), reading, "0069"),
            "participant": _participants(pv1, reading),
            "period": when,
            "hospitalization": _hospitalization(pv1, reading),
            "location": _locations(pv1),
        }
        if pv2:
            found["reasonCode"] = [concept(value, reading) for value in pv2.values(3)]
            text = clean(pv2.get(12))
            found["reasonCode"] += [{"text": text}] if text else []
    for name in ("type", "reasonCode"):
        found[name] = [each for each in found.get(name, []) if each]
    return drop_empty(found)


def _class(pv1: Segment) -> Json:
    code = pv1.get(2).upper()
    if code in ENCOUNTER_CLASS:
        return {"system": V3 + "ActCode", "code": ENCOUNTER_CLASS[code]}
    if code and not any(letter.isspace() for letter in code):
        return {"system": TERMINOLOGY + "v2-0004", "code": code}
    return {"system": V3 + "NullFlavor", "code": "UNK"}


def _participants(pv1: Segment, reading: Reading) -> list[Json]:
    found = []
    for number, role in _PARTICIPANTS:
        for value in pv1.values(number):
            person = xcn(value, reading)
            if person:
                kind = {"coding": [{"system": V3 + "ParticipationType", "code": role}]}
                found.append({"type": [kind], "individual": person})
    return found


def _hospitalization(pv1: Segment, reading: Reading) -> Json:
    def concepts(number: int, table: str) -> list[Json]:
        return [found for value in pv1.values(number) if (found := concept(value, reading, table))]

    return drop_empty(
        {
            "preAdmissionIdentifier": cx(pv1.value(5), reading),
            "admitSource": first_concept(pv1.values(14), reading, "0023"),
            "reAdmission": first_concept(pv1.values(13), reading, "0092"),
            "dietPreference": concepts(38, "0114"),
            "specialCourtesy": concepts(16, "0099"),
            "specialArrangement": concepts(15, "0009"),
            "dischargeDisposition": first_concept(pv1.values(36), reading, "0112"),
            "destination": _destination(pv1),
        }
    )


def _destination(pv1: Segment) -> Json:
    """DLD: a code of a place, with its date."""
    shown = clean(pv1.get(37, 1, 2) or pv1.get(37))
    return {"type": "Location", "display": shown} if shown else {}


def _locations(pv1: Segment) -> list[Json]:
    found = []
    for number, status in ((3, "active"), (6, "completed"), (11, "active"), (42, "planned")):
        where = place(pv1.value(number))
        if where:
            found.append({"location": where, "status": status})
    return found
