"""FHIR resources as one line of a table: what it is, what it says, when; numbers with the digits of their source.

It reads leniently and promises little: what it does not know stays empty, and `--json` gives everything.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

FAULTS: Final = {
    "corrected": "corrected since; a new request brings the correction",
    "erroneous": "entered in error",
    "moved": "it belongs to another patient",
    "erased": "erased at its custodian",
    "withdrawn": "withdrawn",
}
"""Why a record was recalled, in words."""

_NAMES: Final = ("code", "vaccineCode", "medicationCodeableConcept", "type", "category", "class")
_DATES: Final = (
    "effectiveDateTime", "effectiveInstant", "performedDateTime", "occurrenceDateTime", "onsetDateTime", "recordedDate",
    "authoredOn", "issued", "date", "created", "birthDate",
)  # fmt: skip
_PERIODS: Final = ("effectivePeriod", "performedPeriod", "period", "billablePeriod", "onsetPeriod")


class _Digits(str):
    """A JSON number as it is written."""


def read(stored: str) -> dict[str, Any]:
    """A resource whose numbers are strings with the digits of the source."""
    found = json.loads(stored, parse_float=_Digits, parse_int=_Digits)
    return found if isinstance(found, dict) else {}


def as_json(shown: dict[str, Any], copy: str) -> str:
    """One line: what was checked, and the resource with its own digits, byte for byte."""
    facts = {key: value for key, value in shown.items() if key != "stored"}
    return json.dumps({**facts, "copy": copy}, ensure_ascii=False)[:-1] + f', "resource": {shown["stored"]}}}'


@dataclass(frozen=True, slots=True)
class Line:
    type: str
    what: str
    value: str
    date: str
    since: int | None
    recalled: str

    @classmethod
    def of(cls, shown: dict[str, Any]) -> Line:
        resource = read(shown["stored"])
        return cls(
            str(resource.get("resourceType", "")),
            _what(resource),
            _value(resource),
            _date(resource),
            shown["unchanged_since"],
            shown["recalled"] or "",
        )


def _concept(value: Any) -> str:
    """Text of a CodeableConcept or Coding, or of the first of several."""
    if isinstance(value, list):
        return _concept(value[0]) if value else ""
    if not isinstance(value, dict):
        return ""
    coding = value.get("coding") or [value]
    first = coding[0] if isinstance(coding, list) and isinstance(coding[0], dict) else {}
    return str(value.get("text") or first.get("display") or first.get("code") or "")


def _what(resource: dict[str, Any]) -> str:
    if resource.get("resourceType") == "Patient":
        name = (resource.get("name") or [{}])[0]
        return str(
            name.get("text") or " ".join([*map(str, name.get("given", [])), str(name.get("family", ""))])
        ).strip()
    return next((found for name in _NAMES if (found := _concept(resource.get(name)))), "")


def _value(resource: dict[str, Any]) -> str:
    parts = resource.get("component")
    if isinstance(parts, list) and parts:
        return "; ".join(f"{_what(part)} {_one(part)}".strip() for part in parts if isinstance(part, dict))
    return _one(resource) or str(resource.get("conclusion", ""))


def _one(element: dict[str, Any]) -> str:
    quantity = element.get("valueQuantity")
    if isinstance(quantity, dict):
        unit = quantity.get("unit") or quantity.get("code") or ""
        return f"{quantity.get('comparator', '')}{quantity.get('value', '')} {unit}".strip()
    if "valueCodeableConcept" in element:
        return _concept(element["valueCodeableConcept"])
    for name in ("valueString", "valueInteger", "valueBoolean", "valueDateTime"):
        if name in element:
            return str(element[name])
    return ""


def _date(resource: dict[str, Any]) -> str:
    for name in _DATES:
        if isinstance(resource.get(name), str):
            return str(resource[name])
    for name in _PERIODS:
        if isinstance(resource.get(name), dict):
            return str(resource[name].get("start", ""))
    return ""
