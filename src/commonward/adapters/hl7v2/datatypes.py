"""HL7 v2 data types as FHIR R4 data types. Each gives None or {} where the source says nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

import orjson

from commonward.adapters.hl7v2.er7 import Message, Value
from commonward.adapters.hl7v2.tables import (
    ADDRESS_USE,
    NAME_USE,
    SYSTEMS,
    TELECOM_SYSTEM,
    TELECOM_USE,
    TERMINOLOGY,
)
from commonward.adapters.hl7v2.times import Moment, moment, zone_of
from commonward.ledger.encoding import digest, encode

Json = dict[str, Any]

_OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CONTROL = re.compile(r"[^\S \r\n\t]|[\x00-\x08\x0e-\x1f\x7f]")
_CODE = re.compile(r"\S+(\s\S+)*")
_NUMBER = re.compile(r"([+-]?)0*(\d*)(?:\.(\d*))?", re.ASCII)
_V2_TABLE = re.compile(r"(?:HL7|HL7-|v2-)(\d{4})", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Context:
    """What is known of a sender besides the message. `systems` names the URI of a local authority or code system."""

    zone: tzinfo | None = None
    facility: str = ""
    charset: str | None = None
    fallback: str = "iso-8859-1"
    systems: Mapping[str, str] = field(default_factory=dict)


class Reading:
    """One message being mapped: its default zone, its notes, the ids it makes."""

    def __init__(self, message: Message, context: Context) -> None:
        self.message = message
        self.context = context
        self.notes: list[str] = list(message.notes)
        self.zone = zone_of(message.msh.get(7))
        self.facility = context.facility or message.facility or message.application

    def id(self, kind: str, *parts: str) -> str:
        """A resource id that follows from identifiers alone: a later message about the same thing gives it again."""
        return digest("commonward hl7v2 resource v1", encode([kind, *parts])).hex()[:40]

    def moment(self, text: str, where: str) -> Moment | None:
        if not text:
            return None
        found = moment(text, self.zone, self.context.zone)
        if found is None:
            self.note(f"{where}: {text[:30]!r} is no time and was left out")
        elif found.note:
            self.note(f"{where}: {found.note}")
        return found

    def datetime(self, text: str, where: str) -> str:
        found = self.moment(text, where)
        return found.datetime if found else ""

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def system(self, namespace: str, universal: str = "", kind: str = "") -> str:
        """The URI of an authority or code system, or "" where none is known: none is made up."""
        kind = kind.upper()
        if universal:
            if kind in ("ISO", "") and _OID.fullmatch(universal):
                return "urn:oid:" + universal
            if kind in ("UUID", "GUID") and _UUID.fullmatch(universal):
                return "urn:uuid:" + universal.lower()
            if kind == "URI" and universal and not re.search(r"\s", universal):
                return universal
        return self.context.systems.get(namespace) or self.context.systems.get(universal) or ""


def drop_empty(tree: Json) -> Json:
    """Without members that say nothing: FHIR has no empty strings, lists or objects."""
    return {key: value for key, value in tree.items() if value or value is False or type(value) is int}


def clean(text: str) -> str:
    """Text as FHIR allows it: other controls become spaces; "" if nothing is left to see."""
    return text.strip() if text.isprintable() else _CONTROL.sub(" ", text).strip()


def code_of(text: str) -> str:
    """Text as a FHIR code: single spaces within, none around; "" if it is none."""
    text = clean(text)
    return text if _CODE.fullmatch(text) else ""


def number(text: str) -> orjson.Fragment | None:
    """A v2 NM as a JSON number with its digits kept: 7.40 stays 7.40, +05.0 is 5.0. None if it is no number."""
    found = _NUMBER.fullmatch(text.strip())
    if not found or not (found[2] or found[3] or text.strip(" +-.")):
        return None
    sign, whole, decimals = found.groups()
    shown = (whole or "0") + (f".{decimals}" if decimals else "")
    return orjson.Fragment((("-" if sign == "-" else "") + shown).encode())


def coding_system(name: str, reading: Reading) -> str:
    known = SYSTEMS.get(name.upper())
    if known:
        return known
    table = _V2_TABLE.fullmatch(name)
    if table:
        return f"{TERMINOLOGY}v2-{table[1]}"
    return reading.system(name, name)


def concept(value: Value, reading: Reading, table: str = "") -> Json:
    """CWE, CE, CNE, IS: codings with their alternate, and the text. `table` is the system where none is named."""
    codings = []
    for code, text, system in ((1, 2, 3), (4, 5, 6), (10, 11, 12)):
        if code > len(value):
            break
        coding = _coding(value.get(code), value.get(text), value.get(system), reading, table if code == 1 else "")
        if coding:
            codings.append(coding)
    text_shown = value.get(9) or value.get(2) or ("" if codings else value.get(1))
    return drop_empty({"coding": codings, "text": clean(text_shown)})


def _coding(code: str, text: str, system: str, reading: Reading, table: str) -> Json:
    code = code_of(code)
    if not code:
        return {}
    uri = coding_system(system, reading) if system else (f"{TERMINOLOGY}v2-{table}" if table else "")
    return drop_empty({"system": uri, "code": code, "display": clean(text)})


def first_concept(values: Iterable[Value], reading: Reading, table: str = "") -> Json:
    return next((found for value in values if (found := concept(value, reading, table))), {})


def cx(value: Value, reading: Reading, kind: str = "") -> Json:
    """CX -> Identifier. `kind` is a code of table 0203 for where the field itself says the kind."""
    text = clean(value.get(1))
    if not text:
        return {}
    code = value.get(5) or kind
    system = reading.system(value.get(4), value.get(4, 2), value.get(4, 3))
    assigner = "" if system else value.get(4) or value.get(4, 2)
    return drop_empty(
        {
            "type": _identifier_type(code),
            "system": system,
            "value": text,
            "period": period(value.get(7), value.get(8), reading, "CX"),
            "assigner": drop_empty({"display": clean(assigner)}),
        }
    )


def ei(text: str, namespace: str, universal: str, kind: str, reading: Reading, code: str = "") -> Json:
    """EI -> Identifier."""
    if not clean(text):
        return {}
    system = reading.system(namespace, universal, kind)
    assigner = {} if system else drop_empty({"display": clean(namespace or universal)})
    return drop_empty({"type": _identifier_type(code), "system": system, "value": clean(text), "assigner": assigner})


def ei_of(value: Value, reading: Reading, code: str = "") -> Json:
    return ei(value.get(1), value.get(2), value.get(3), value.get(4), reading, code)


def _identifier_type(code: str) -> Json:
    code = code_of(code)
    return {"coding": [{"system": TERMINOLOGY + "v2-0203", "code": code}]} if code else {}


def period(start: str, end: str, reading: Reading, where: str) -> Json:
    return drop_empty({"start": reading.datetime(start, where), "end": reading.datetime(end, where)})


def xpn(value: Value, reading: Reading) -> Json:
    """XPN -> HumanName."""
    given = [clean(value.get(2)), *clean(value.get(3)).split(" ")]
    return drop_empty(
        {
            "use": NAME_USE.get(value.get(7).upper(), ""),
            "family": clean(value.get(1)),
            "given": [name for name in given if name],
            "prefix": [text for text in (clean(value.get(5)),) if text],
            "suffix": [text for text in (clean(value.get(4)), clean(value.get(6))) if text],
            "period": period(value.get(12), value.get(13), reading, "XPN"),
        }
    )


def xad(value: Value, reading: Reading) -> Json:
    """XAD -> Address. The street may come as one text or as street, name and number."""
    street = " ".join(text for text in (value.get(1, 3), value.get(1, 1), value.get(1, 2)) if text)
    lines = [clean(text) for text in (street, value.get(2)) if clean(text)]
    kind = value.get(7).upper()
    return drop_empty(
        {
            "use": ADDRESS_USE.get(kind, ""),
            "type": "postal" if kind == "M" else "",
            "line": lines,
            "city": clean(value.get(3)),
            "district": clean(value.get(9)),
            "state": clean(value.get(4)),
            "postalCode": clean(value.get(5)),
            "country": clean(value.get(6)),
            "period": period(value.get(13), value.get(14), reading, "XAD"),
        }
    )


def xtn(value: Value) -> Json:
    """XTN -> ContactPoint."""
    equipment, use = value.get(3).upper(), value.get(2).upper()
    system = TELECOM_SYSTEM.get(equipment, "phone")
    email = value.get(4)
    if email and (use == "NET" or system == "email" or not (value.get(1) or value.get(7) or value.get(12))):
        return drop_empty({"system": "email", "value": clean(email), "use": TELECOM_USE.get(use, "")})
    parts = (f"+{value.get(5)}" if value.get(5) else "", f"({value.get(6)})" if value.get(6) else "", value.get(7))
    local = " ".join(part for part in parts if part) if value.get(7) else ""
    extension = f" ext. {value.get(8)}" if value.get(8) and local else ""
    shown = clean(value.get(1) or value.get(12) or local + extension)
    if not shown:
        return {}
    if "@" in shown and system == "phone":
        system = "email"
    return drop_empty(
        {"system": system, "value": shown, "use": "mobile" if equipment == "CP" else TELECOM_USE.get(use, "")}
    )


def person_name(family: str, given: str, middle: str = "", prefix: str = "", suffix: str = "") -> str:
    return clean(" ".join(part for part in (prefix, given, middle, family, suffix) if part))


def xcn(value: Value, reading: Reading, kind: str = "Practitioner") -> Json:
    """XCN -> a reference by identifier and name: who it is, without a Practitioner resource of its own."""
    name = person_name(value.get(2), value.get(3), value.get(4), value.get(6), value.get(5))
    identifier = ei(value.get(1), value.get(9), value.get(9, 2), value.get(9, 3), reading, value.get(13))
    found = drop_empty({"identifier": identifier, "display": name})
    return {"type": kind, **found} if found else {}


def place(value: Value) -> Json:
    """PL -> a reference to a Location by name: point of care, room, bed, facility, building, floor."""
    parts = [value.get(part) for part in (1, 2, 3, 4, 7, 8, 9)]
    shown = clean(", ".join(part for part in parts if part))
    return {"type": "Location", "display": shown} if shown else {}


def hd_or_name(value: Value) -> Json:
    """XON -> a reference to an Organization by name."""
    shown = clean(value.get(1))
    return {"type": "Organization", "display": shown} if shown else {}
