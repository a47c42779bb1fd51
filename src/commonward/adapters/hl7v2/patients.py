"""PID, PD1, NK1 and MRG: who the patient is -> FHIR Patient, and what is said of two names being one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from commonward.adapters.hl7v2.datatypes import (
    Json,
    Reading,
    clean,
    concept,
    cx,
    drop_empty,
    ei,
    first_concept,
    hd_or_name,
    xad,
    xcn,
    xpn,
    xtn,
)
from commonward.adapters.hl7v2.er7 import Segment, Value
from commonward.adapters.hl7v2.tables import GENDER, MARITAL, TERMINOLOGY, V3
from commonward.adapters.hl7v2.times import day

_PREFERRED = ("MR", "PI", "PT", "MRN", "PE")  # table 0203: numbers that a facility gives its patients


@dataclass(frozen=True, slots=True)
class PatientKey:
    """The name under which a source knows a patient. `id` is the Patient resource's."""

    authority: str
    value: str
    id: str

    @property
    def name(self) -> str:
        """For links and for people: `AUTHORITY|number`, or the number where nobody is named."""
        return f"{self.authority}|{self.value}" if self.authority else self.value


@dataclass(frozen=True, slots=True)
class IdentityEvent:
    """Two names of a patient, or a visit that moves between them. A statement of the source: records stay as they are.

    `kind`: merge, link, unlink, change-identifier, move-patient, delete; and the same of accounts and visits, where
    `survivor` and `prior` are the patients and `account` or `visit` say which, as (new, old).
    """

    kind: str
    event: str
    survivor: PatientKey
    prior: PatientKey | None
    account: tuple[str, str] = ("", "")
    visit: tuple[str, str] = ("", "")


def key_of(values: Sequence[Value], reading: Reading) -> PatientKey | None:
    """The identifier that names the patient: a medical record number if there is one, else the first."""
    named = [value for value in values if clean(value.get(1))]
    if not named:
        return None
    best = next((value for kind in _PREFERRED for value in named if value.get(5).upper() == kind), named[0])
    authority = best.get(4) or best.get(4, 2)
    value = clean(best.get(1))
    return PatientKey(authority, value, reading.id("Patient", authority or reading.facility, value))


def patient_key(pid: Segment, reading: Reading) -> PatientKey | None:
    """PID-3; before v2.3.1 also PID-2; a patient without either has no name that would stay."""
    return key_of(pid.values(3), reading) or key_of(pid.values(2), reading)


def subject(key: PatientKey | None, pid: Segment | None, reading: Reading) -> Json:
    """A reference to the patient that also says who is meant."""
    if key is None:
        return {}
    name = xpn(pid.value(5), reading) if pid else {}
    shown = " ".join([*name.get("given", []), name.get("family", "")]).strip()
    return drop_empty({"reference": f"Patient/{key.id}", "display": shown})


def patient(
    pid: Segment, key: PatientKey, reading: Reading, pd1: Segment | None, kin: Sequence[Segment], active: bool | None
) -> Json:
    """The whole Patient, as an ADT message gives it."""
    birth = reading.moment(pid.get(7), "PID-7")
    deceased_at = reading.datetime(pid.get(29), "PID-29")
    dead = pid.get(30).upper()
    found: Json = {
        **brief(pid, key, reading),
        "active": active,
        "telecom": [point for number in (13, 14) for value in pid.values(number) if (point := xtn(value))],
        "address": [address for value in pid.values(11) if (address := xad(value, reading))],
        "maritalStatus": _marital(pid, reading),
        "communication": [{"language": language} for value in pid.values(15) if (language := concept(value, reading))],
        "contact": [contact for segment in kin if (contact := _contact(segment, reading))],
    }
    for number in (40,):
        found["telecom"] += [point for value in pid.values(number) if (point := xtn(value))]
    if deceased_at:
        found["deceasedDateTime"] = deceased_at
    elif dead in ("Y", "N"):
        found["deceasedBoolean"] = dead == "Y"
    order = pid.get(25)
    if order.isascii() and order.isdigit() and 0 < int(order[:9]) < 100:
        found["multipleBirthInteger"] = int(order[:9])
    elif pid.get(24).upper() in ("Y", "N"):
        found["multipleBirthBoolean"] = pid.get(24).upper() == "Y"
    if birth and birth.instant:
        url = "http://hl7.org/fhir/StructureDefinition/patient-birthTime"
        found["_birthDate"] = {"extension": [{"url": url, "valueDateTime": birth.instant}]}
    if pd1:
        doctors = [xcn(value, reading) for value in pd1.values(4)] + [hd_or_name(value) for value in pd1.values(3)]
        found["generalPractitioner"] = [doctor for doctor in doctors if doctor]
    return drop_empty(found)


def brief(pid: Segment, key: PatientKey, reading: Reading) -> Json:
    """What tells one patient from another, and no more: all that a result says of its patient counts for."""
    identifiers = [cx(value, reading) for value in pid.values(3)]
    identifiers += [cx(value, reading) for number in (2, 4) for value in pid.values(number)]
    identifiers += [cx(value, reading, "AN") for value in pid.values(18)]
    identifiers.append(drop_empty({"type": _social(), "value": clean(pid.get(19))}) if pid.get(19) else {})
    licence = pid.value(20)
    identifiers.append(ei(licence.get(1), licence.get(2), "", "", reading, "DL"))
    unique: list[Json] = []
    for identifier in identifiers:
        if identifier and identifier not in unique:
            unique.append(identifier)
    birth = day(pid.get(7))
    return drop_empty(
        {
            "resourceType": "Patient",
            "id": key.id,
            "identifier": unique,
            "name": [name for number in (5, 9) for value in pid.values(number) if (name := xpn(value, reading))],
            "gender": GENDER.get(pid.get(8).upper(), ""),
            "birthDate": birth,
        }
    )


def identity_event(kind: str, event: str, pid: Segment, mrg: Segment | None, reading: Reading) -> IdentityEvent | None:
    """From one PID and the MRG that follows it (HL7 v2.8.2 3.3.40 and 3.4.10)."""
    survivor = patient_key(pid, reading)
    if survivor is None:
        reading.note(f"{event}: PID-3 names no patient; nothing is joined")
        return None
    prior = (key_of(mrg.values(1), reading) or key_of(mrg.values(4), reading)) if mrg else None
    if kind in ("merge", "link", "unlink", "change-identifier", "move-patient") and prior is None:
        reading.note(f"{event}: MRG-1 names no patient; nothing is joined")
        return None
    account = (pid.get(18), mrg.get(3) if mrg else "")
    visit = ("", mrg.get(5) if mrg else "")
    return IdentityEvent(kind, event, survivor, prior, account, visit)


def _social() -> Json:
    return {"coding": [{"system": TERMINOLOGY + "v2-0203", "code": "SS"}]}


def _marital(pid: Segment, reading: Reading) -> Json:
    found = first_concept(pid.values(16), reading, "0002")
    code = MARITAL.get(pid.get(16).upper())
    if code:
        system = V3 + ("NullFlavor" if code == "UNK" else "MaritalStatus")
        return drop_empty({"coding": [{"system": system, "code": code}], "text": found.get("text")})
    return found


def _contact(nk1: Segment, reading: Reading) -> Json:
    """NK1 -> Patient.contact, which must say who: a name, a number, an address or an organisation."""
    name = xpn(nk1.value(2), reading)
    organisation = hd_or_name(nk1.value(13))
    told = {
        "name": name,
        "telecom": [point for number in (5, 6) for value in nk1.values(number) if (point := xtn(value))],
        "address": xad(nk1.value(4), reading),
        "organization": organisation,
    }
    if not drop_empty(told):
        return {}
    return drop_empty(
        {
            **told,
            "relationship": [
                found
                for number, table in ((3, "0063"), (7, "0131"))
                for value in nk1.values(number)
                if (found := concept(value, reading, table))
            ],
            "gender": GENDER.get(nk1.get(15).upper(), ""),
            "period": drop_empty({"start": day(nk1.get(8)), "end": day(nk1.get(9))}),
        }
    )
