"""UCI heart disease of four hospitals, as the FHIR R4 records that hospitals would hold.

The data are real (Janosi, Steinbrunn, Pfisterer, Detrano, 1988; CC BY 4.0, see NOTICE): Cleveland, Budapest, Zurich and
Basel, Long Beach. The records are made of them here.

A row of the data becomes a Patient, up to ten Observations and, where the angiogram found a narrowing, a Condition.
What is `?` in the data is not recorded at all. A cholesterol of 0 was asked for and never measured: an Observation with
a reason why it has no value (`dataAbsentReason`). `cohort()` is the view that gives the columns back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, Final

SITES: Final = ("cleveland", "hungarian", "switzerland", "va")
COLUMNS: Final = (
    "age",
    "sex",
    "cp",
    "trestbps",
    "chol",
    "fbs",
    "restecg",
    "thalach",
    "exang",
    "oldpeak",
    "slope",
    "ca",
    "thal",
    "num",
)
"""Of the data, in their order; `num` is what the angiogram found, 0 to 4, and above 0 is heart disease."""

UCI: Final = "https://archive.ics.uci.edu/dataset/45/heart+disease"
_LOINC: Final = "http://loinc.org"
_SNOMED: Final = "http://snomed.info/sct"
_UNITS: Final = "http://unitsofmeasure.org"

_PAIN: Final = {
    1: ("429559004", "Typical angina"),
    2: ("371807002", "Atypical angina"),
    3: ("274668005", "Non-cardiac chest pain"),
    4: ("84387000", "Asymptomatic"),
}
_ECG: Final = {
    0: ("164854000", "Electrocardiogram normal"),
    1: ("428750005", "Nonspecific ST-T abnormality on electrocardiogram"),
    2: ("164873001", "Left ventricular hypertrophy on electrocardiogram"),
}


def rows(site: str) -> list[tuple[float | None, ...]]:
    """The data of one site as published, None for `?`. A cholesterol of 0 is 0 here."""
    text = files(__package__).joinpath("heart_disease", f"processed.{site}.data").read_text("ascii")
    return [
        tuple(None if cell == "?" else float(cell) for cell in line.split(",")) for line in text.splitlines() if line
    ]


def cohort() -> bytes:
    """The views that give the columns of the data back, of the patients whom the protocol of FLamby keeps."""
    return files(__package__).joinpath("heart_disease", "cohort.json").read_bytes()


def bundle(site: str, first: int = 0, count: int | None = None) -> bytes:
    """Some or all patients of a site as a FHIR collection: what a hospital's own system would export."""
    wanted = rows(site)[first : None if count is None else first + count]
    entries = [
        {"resource": resource}
        for at, row in enumerate(wanted, start=first)
        for resource in resources(f"{site}-{at + 1:03}", row)
    ]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}).encode()


def resources(patient: str, row: tuple[float | None, ...]) -> Iterator[dict[str, Any]]:
    """The records of one row; `patient` becomes the id of the Patient."""
    given = dict(zip(COLUMNS, row, strict=True))
    gender = {1.0: "male", 0.0: "female"}.get(-1.0 if given["sex"] is None else given["sex"], "unknown")
    yield {"resourceType": "Patient", "id": patient, "gender": gender}

    def observed(name: str, coding: dict[str, str], **value: Any) -> dict[str, Any]:
        return {
            "resourceType": "Observation",
            "id": f"{patient}-{name}",
            "status": "final",
            "code": {"coding": [_local(name), coding]},
            "subject": {"reference": f"Patient/{patient}"},
            **value,
        }

    if (age := given["age"]) is not None:
        yield observed("age", _loinc("30525-0", "Age"), **_quantity(age, "a"))
    if (pain := given["cp"]) is not None:
        yield observed("cp", _snomed("29857009", "Chest pain"), **_concept("cp", pain, _PAIN[int(pain)]))
    if (pressure := given["trestbps"]) is not None:
        yield observed("trestbps", _loinc("8480-6", "Systolic blood pressure"), **_quantity(pressure, "mm[Hg]"))
    if (cholesterol := given["chol"]) is not None:
        code = _loinc("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma")
        yield observed("chol", code, **(_quantity(cholesterol, "mg/dL") if cholesterol else _ABSENT))
    if (sugar := given["fbs"]) is not None:
        code = _loinc("1558-6", "Fasting glucose [Mass/volume] in Serum or Plasma")
        yield observed("fbs", code, **_quantity(120, "mg/dL", ">" if sugar else "<="))
    if (ecg := given["restecg"]) is not None:
        yield observed("restecg", _loinc("8601-7", "EKG impression"), **_concept("restecg", ecg, _ECG[int(ecg)]))
    if parts := list(_exercise(given)):
        yield observed("exercise", _loinc("18752-6", "Exercise stress test study"), component=parts)
    if (vessels := given["ca"]) is not None:
        yield observed("ca", _snomed("44491008", "Fluoroscopy"), valueInteger=int(vessels))
    if (thallium := given["thal"]) is not None:
        yield observed(
            "thal", _snomed("252432008", "Radionuclide myocardial perfusion study"), **_concept("thal", thallium)
        )
    if (found := given["num"]) is not None:
        yield observed("num", _loinc("18745-0", "Cardiac catheterization study"), valueInteger=int(found))
        if found:
            yield {
                "resourceType": "Condition",
                "id": f"{patient}-disease",
                "clinicalStatus": {
                    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]
                },
                "code": {"coding": [_snomed("53741008", "Coronary arteriosclerosis")]},
                "subject": {"reference": f"Patient/{patient}"},
            }


_ABSENT: Final = {
    "dataAbsentReason": {
        "coding": [{"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "unknown"}]
    }
}


def _exercise(given: dict[str, float | None]) -> Iterator[dict[str, Any]]:
    if (rate := given["thalach"]) is not None:
        code = {"coding": [_local("thalach"), _loinc("8867-4", "Heart rate")]}
        yield {"code": code, **_quantity(rate, "/min")}
    if (angina := given["exang"]) is not None:
        code = {"coding": [_local("exang"), _snomed("300995000", "Exercise-induced angina")]}
        yield {"code": code, "valueBoolean": bool(angina)}
    if (depression := given["oldpeak"]) is not None:
        yield {"code": {"coding": [_local("oldpeak")]}, **_quantity(depression, "mm")}
    if (slope := given["slope"]) is not None:
        yield {"code": {"coding": [_local("slope")]}, **_concept("slope", slope)}


def _plain(number: float) -> int | float:
    return int(number) if number == int(number) else number


def _quantity(number: float, unit: str, comparator: str = "") -> dict[str, Any]:
    value = {"value": _plain(number), "unit": unit, "system": _UNITS, "code": unit}
    return {"valueQuantity": {**value, "comparator": comparator} if comparator else value}


def _concept(name: str, number: float, known: tuple[str, str] | None = None) -> dict[str, Any]:
    codings = [{"system": f"{UCI}/{name}", "code": str(int(number))}]
    return {"valueCodeableConcept": {"coding": [*codings, _snomed(*known)] if known else codings}}


def _local(name: str) -> dict[str, str]:
    return {"system": UCI, "code": name}


def _loinc(code: str, display: str) -> dict[str, str]:
    return {"system": _LOINC, "code": code, "display": display}


def _snomed(code: str, display: str) -> dict[str, str]:
    return {"system": _SNOMED, "code": code, "display": display}
