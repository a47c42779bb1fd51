"""OBX-5 and the fields that qualify it: what was observed -> value[x], with its digits, unit and range."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence

from commonward.adapters.hl7v2.datatypes import Json, Reading, clean, coding_system, concept, drop_empty, number
from commonward.adapters.hl7v2.er7 import Segment, Value
from commonward.adapters.hl7v2.tables import INTERPRETATIONS, TERMINOLOGY, V3
from commonward.adapters.hl7v2.times import time_of_day

_COMPARED = re.compile(r"(<=|>=|<|>)\s*([+-]?[\d.]+)")
_BETWEEN = re.compile(r"\s*([+-]?\d*\.?\d+)\s*-\s*([+-]?\d*\.?\d+)\s*")
_LIMIT = re.compile(r"\s*(<=|>=|<|>)\s*([+-]?\d*\.?\d+)\s*")
_BASE64 = re.compile(r"(?:[0-9a-zA-Z+/=]{4})+")
_MIME = {"PDF": "application/pdf", "JPEG": "image/jpeg", "PNG": "image/png", "TIFF": "image/tiff", "GIF": "image/gif"}
_MIME |= {"RTF": "text/rtf", "HTML": "text/html", "XML": "text/xml", "PLAIN": "text/plain", "MRXS": "image/x-mrxs"}
_R5_VALUE = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Observation.value"


def set_value(found: Json, values: Sequence[Value], obx: Segment, status: str, reading: Reading) -> None:
    """Put OBX-5 into the observation: one value as value[x]; several as components, for FHIR has room for one."""
    kind = obx.get(2).upper()
    if kind in ("TX", "FT", "ST", "") and values:
        text = clean("\n".join(value.all() for value in values))
        if not kind:
            reading.note("OBX-2 is empty: OBX-5 was kept as text")
        if text:
            found["valueString"] = text
            return
    made = [each for value in values if (each := _value(kind, value, obx, reading))]
    if len(made) == 1:
        found.update(made[0])
    elif made:
        found["component"] = [{"code": found["code"], **each} for each in made]
    elif "extension" not in found:
        reason = {"cancelled": "not-performed", "registered": "temp-unknown", "preliminary": "temp-unknown"}
        coding = {"system": TERMINOLOGY + "data-absent-reason", "code": reason.get(status, "unknown")}
        found["dataAbsentReason"] = {"coding": [coding]}


def _value(kind: str, value: Value, obx: Segment, reading: Reading) -> Json:
    """HL7 v2.8.2 table 0125 -> value[x]. What does not fit its type is kept as text, with a note."""
    text = clean(value.all())
    match kind:
        case "NM":
            quantity = _numeric(value.get(1), obx, reading)
            if quantity:
                return {"valueQuantity": quantity}
            reading.note("OBX-5: a value of type NM is no number; it was kept as text")
        case "SN":
            return _structured(value, obx, reading)
        case "CE" | "CWE" | "CNE" | "CF" | "IS" | "ID":
            coded = concept(value, reading)
            return {"valueCodeableConcept": coded} if coded else {}
        case "DT" | "TS" | "DTM":
            at = reading.datetime(value.get(1), "OBX-5")
            if at:
                return {"valueDateTime": at}
        case "TM":
            at = time_of_day(value.get(1))
            if at:
                return {"valueTime": at}
        case "DR":
            start, end = reading.datetime(value.get(1), "OBX-5"), reading.datetime(value.get(2), "OBX-5")
            if start or end:
                return {"valuePeriod": drop_empty({"start": start, "end": end})}
        case "ED" | "RP":
            document = _document(kind, value, obx, reading)
            return {"extension": [{"url": _R5_VALUE, "valueAttachment": document}]} if document else {}
        case _:
            reading.note(f"OBX-2: values of type {kind!r} were kept as text")
    return {"valueString": text} if text else {}


def _numeric(text: str, obx: Segment, reading: Reading) -> Json:
    compared = _COMPARED.fullmatch(text)
    figure = number(compared[2] if compared else text)
    if figure is None:
        return {}
    return drop_empty({"value": figure, "comparator": compared[1] if compared else "", **_unit(obx, reading)})


def _structured(value: Value, obx: Segment, reading: Reading) -> Json:
    """SN: comparator ^ number ^ separator ^ number."""
    comparator, first, separator, second = (value.get(part) for part in (1, 2, 3, 4))
    left, right = number(first) if first else None, number(second) if second else None
    unit = _unit(obx, reading)
    if left is not None and not separator and not second and comparator in ("", "=", "<", ">", "<=", ">="):
        shown = "" if comparator in ("", "=") else comparator
        return {"valueQuantity": drop_empty({"value": left, "comparator": shown, **unit})}
    if left is not None and right is not None and not comparator:
        if separator == "-":
            return {"valueRange": {"low": {"value": left, **unit}, "high": {"value": right, **unit}}}
        if separator in (":", "/"):
            return {"valueRatio": {"numerator": {"value": left}, "denominator": {"value": right}}}
    text = clean(f"{comparator}{first}{separator}{second}")
    return {"valueString": text} if text else {}


def _unit(obx: Segment, reading: Reading) -> Json:
    """OBX-6. A unit is coded only where the sender says that it is: "mg/dl" alone is not UCUM."""
    unit = obx.value(6)
    code, text, system = clean(unit.get(1)), clean(unit.get(2)), unit.get(3)
    uri = coding_system(system, reading) if system else ""
    if uri and code and not any(letter.isspace() for letter in code):
        return {"unit": text or code, "system": uri, "code": code}
    return {"unit": text or code} if text or code else {}


def interpretation(value: Value, reading: Reading) -> Json:
    """OBX-8, table 0078."""
    code = value.get(1)
    if code in INTERPRETATIONS and value.get(3) in ("", "HL70078"):
        return {"coding": [{"system": V3 + "ObservationInterpretation", "code": code}]}
    return concept(value, reading, "0078")


def range_of(text: str, quantity: Json | None) -> Json:
    """OBX-7 as it was written, and as limits where it is plainly two numbers or one."""
    text = clean(text)
    if not text:
        return {}
    unit = {key: quantity[key] for key in ("unit", "system", "code") if key in quantity} if quantity else {}
    found: Json = {}
    if between := _BETWEEN.fullmatch(text):
        low, high = number(between[1]), number(between[2])
        if low is not None and high is not None:
            found = {"low": {"value": low, **unit}, "high": {"value": high, **unit}}
    elif limit := _LIMIT.fullmatch(text):
        figure = number(limit[2])
        if figure is not None and limit[1] in ("<=", ">="):  # FHIR's limits are inclusive; "< 5" stays text alone
            found = {"high" if limit[1] == "<=" else "low": {"value": figure, **unit}}
    return {**found, "text": text}


def attachment(obx: Segment, reading: Reading) -> Json:
    """A document sent as a result (ED, RP), for DiagnosticReport.presentedForm; {} if this OBX holds none."""
    kind = obx.get(2).upper()
    if kind not in ("ED", "RP"):
        return {}
    found = _document(kind, obx.value(5), obx, reading)
    if found:
        # Read here as well, so that they count as understood: an attachment has room for a title and a date only.
        found |= drop_empty({"title": clean(obx.get(3, 2) or obx.get(3)), "creation": _creation(obx, reading)})
    return found


def _creation(obx: Segment, reading: Reading) -> str:
    return reading.datetime(obx.get(14), "OBX-14") if obx.get(14) else ""


def _document(kind: str, value: Value, obx: Segment, reading: Reading) -> Json:
    """ED: source ^ type ^ subtype ^ encoding ^ data. RP: pointer ^ application ^ type ^ subtype."""
    if kind == "RP":
        url = value.get(1)
        if not url or any(letter.isspace() for letter in url):
            return {}
        return drop_empty({"contentType": _mime(value.get(3), value.get(4)), "url": url})
    encoding, data = value.get(4).upper(), value.get(5)
    if not data:
        return {}
    if encoding == "BASE64":
        packed = "".join(data.split())
        if not _BASE64.fullmatch(packed):
            reading.note("OBX-5: a document is called Base64 and is not; only the source message keeps it")
            return {}
        return drop_empty({"contentType": _mime(value.get(2), value.get(3)), "data": packed})
    if encoding == "HEX":
        try:
            packed = _base64(bytes.fromhex(data))
        except ValueError:
            reading.note("OBX-5: a document is called Hex and is not; only the source message keeps it")
            return {}
        return drop_empty({"contentType": _mime(value.get(2), value.get(3)), "data": packed})
    return drop_empty({"contentType": "text/plain; charset=utf-8", "data": _base64(data.encode())})


def _mime(kind: str, subtype: str) -> str:
    """MIME where the sender gives both halves, or one that everybody knows."""
    if subtype.upper() in _MIME:
        return _MIME[subtype.upper()]
    if "/" in subtype and " " not in subtype:
        return subtype.lower()
    if kind.lower() in ("application", "image", "text", "audio", "video") and subtype and " " not in subtype:
        return f"{kind}/{subtype}".lower()
    return ""


def _base64(data: bytes) -> str:

    return b64encode(data).decode()
