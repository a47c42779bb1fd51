"""HL7 v2 to FHIR R4: what a message says becomes valid records, and nothing it does not say."""

from __future__ import annotations

import pickle
import string
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.adapters.fhir import Validator
from commonward.adapters.hl7v2 import BadMessage, Context, Hl7Translator, Mapped, Message, split_messages, to_fhir
from commonward.adapters.hl7v2.tables import OBSERVATION_STATUS, REPORT_STATUS
from commonward.apps.samples import samples
from commonward.records.stored import parse
from commonward.workflows.ports import Unreadable

VALIDATOR = Validator()
SAMPLES = sorted((Path(__file__).parents[1] / "data" / "hl7v2").glob("*.hl7"))
HEAD = "MSH|^~\\&|LIS|NORTH|EMR|NORTH|20240531083000{zone}||{type}|C1|P|2.5.1||||||UNICODE UTF-8"
PID = "PID|1||4711^^^NORTH^MR||LI^ANNA||19850617|F"


def mapped(*segments: str, type: str = "ORU^R01", zone: str = "+0800", context: Context | None = None) -> Mapped:
    text = "\r".join([HEAD.format(type=type, zone=zone), *segments])
    found = to_fhir(Message.parse(text.encode()), context)
    for each in found.made:
        assert VALIDATOR.errors(each.json) == [], each.json
        parse(each.json)
    return found


def trees(found: Mapped, kind: str) -> list[dict[str, Any]]:
    return [orjson.loads(each.json) for each in found.made if each.type == kind]


def observe(obx: str, *more: str) -> dict[str, Any]:
    obr = "OBR|1||F-1^LIS|24323-8^Panel^LN|||20240531073000"
    (found,) = trees(mapped(PID, obr, obx, *more), "Observation")
    return found


def sample(name: str) -> Mapped:
    (file,) = [file for file in samples("hl7v2") if file.name == name]
    return to_fhir(Message.parse(file.read_bytes()))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_each_of_the_seventy_samples_gives_valid_resources_or_stays_raw(path: Path) -> None:
    (part,) = split_messages(path)
    message = Message.parse(part.raw)
    found = to_fhir(message)
    assert found.raw == part.raw
    assert bool(found.made) == (message.code in ("ADT", "ORU", "OUL"))
    for each in found.made:
        assert VALIDATOR.errors(each.json) == []
    assert found.seen == found.mapped + sum(found.unmapped.values())
    assert to_fhir(Message.parse(part.raw)).resources == found.resources


def test_a_correction_has_the_id_of_what_it_corrects() -> None:
    names = ["1-preliminary", "2-final", "3-corrected", "4-late-preliminary"]
    found = [sample(f"synthetic-oru-{name}.hl7") for name in names]
    potassium = [trees(each, "Observation")[0] for each in found]
    assert len({each["id"] for each in potassium}) == 1
    assert [each["status"] for each in potassium] == ["preliminary", "final", "corrected", "preliminary"]
    reports = [trees(each, "DiagnosticReport")[0] for each in found]
    assert len({each["id"] for each in reports}) == 1
    assert [each["status"] for each in reports] == ["preliminary", "final", "corrected", "preliminary"]
    assert potassium[2]["note"][0]["text"].startswith("The first sample was haemolysed\nRepeated")


def test_a_correction_that_numbers_its_lines_anew_still_matches() -> None:
    obr = "OBR|1||F-1^LIS|panel^Panel^L"
    first = mapped(PID, obr, "OBX|1|NM|a^A^L||1|||||F", "OBX|2|NM|b^B^L|1|2|||||F", "OBX|3|NM|b^B^L|2|3|||||F")
    second = mapped(PID, obr, "OBX|1|NM|b^B^L|2|9|||||C")
    assert trees(second, "Observation")[0]["id"] == trees(first, "Observation")[2]["id"]
    assert len({each["id"] for each in trees(first, "Observation")}) == 3


def test_filler_numbers_of_two_senders_do_not_meet() -> None:
    obr, obx = "OBR|1||F-1|p^P^L", "OBX|1|NM|a^A^L||1|||||F"
    north = mapped(PID, obr, obx)
    south = mapped(PID, obr, obx, context=Context(facility="SOUTH"))
    assert trees(north, "Observation")[0]["id"] != trees(south, "Observation")[0]["id"]


def test_digits_are_kept_as_the_laboratory_wrote_them() -> None:
    for written, shown in (("7.40", b"7.40"), ("0.010", b"0.010"), ("+05.0", b"5.0"), ("100", b"100")):
        found = mapped(PID, "OBR|1||F-1|p^P^L", f"OBX|1|NM|a^A^L||{written}|mmol/L^mmol/L^UCUM|3.50-5.10||||F")
        (observation,) = [each.json for each in found.made if each.type == "Observation"]
        assert b'"value":' + shown + b"," in observation
        assert b'"value":3.50' in observation and b'"value":5.10' in observation
        assert shown in bytes(parse(observation).stored)


@pytest.mark.parametrize(
    ("obx", "key", "value"),
    [
        ("NM|a^A^L||5", "valueQuantity", {"value": 5}),
        ("NM|a^A^L||<5|mg/dl", "valueQuantity", {"value": 5, "comparator": "<", "unit": "mg/dl"}),
        ("NM|a^A^L||HAEMOLYSED", "valueString", "HAEMOLYSED"),
        ("SN|a^A^L||>^90", "valueQuantity", {"value": 90, "comparator": ">"}),
        ("SN|a^A^L||^1^-^3", "valueRange", {"low": {"value": 1}, "high": {"value": 3}}),
        ("SN|a^A^L||^1^:^128", "valueRatio", {"numerator": {"value": 1}, "denominator": {"value": 128}}),
        ("SN|a^A^L||^2^+", "valueString", "2+"),
        ("ST|a^A^L||a\\T\\b", "valueString", "a&b"),
        ("FT|a^A^L||one\\.br\\two", "valueString", "one\ntwo"),
        ("TX|a^A^L||one~two", "valueString", "one\ntwo"),
        ("DT|a^A^L||20240531", "valueDateTime", "2024-05-31"),
        ("TS|a^A^L||202405310830", "valueDateTime", "2024-05-31T08:30:00+08:00"),
        ("TM|a^A^L||0830", "valueTime", "08:30:00"),
        ("DR|a^A^L||20240501^20240531", "valuePeriod", {"start": "2024-05-01", "end": "2024-05-31"}),
        ("XPN|a^A^L||LI^ANNA", "valueString", "LI^ANNA"),
        ("|a^A^L||something", "valueString", "something"),
        (
            "CWE|a^A^L||10828004^Positive^SCT",
            "valueCodeableConcept",
            {
                "coding": [{"system": "http://snomed.info/sct", "code": "10828004", "display": "Positive"}],
                "text": "Positive",
            },
        ),
    ],
)
def test_each_value_type(obx: str, key: str, value: object) -> None:
    fields = f"OBX|1|{obx}".split("|")
    fields += [""] * (11 - len(fields)) + ["F"]
    found = observe("|".join(fields))
    assert found[key] == value and found["status"] == "final"


def test_several_values_in_one_field_are_components() -> None:
    found = observe("OBX|1|NM|8867-4^Heart rate^LN||60~120|/min^/min^UCUM|||||F")
    assert [each["valueQuantity"]["value"] for each in found["component"]] == [60, 120]
    assert not any(key.startswith("value") for key in found)


def test_text_sent_line_by_line_is_one_result() -> None:
    lines = [f"OBX|{n}|TX|18745-0^Report^LN||line {n}||||||F" for n in range(1, 4)]
    assert observe(*lines)["valueString"] == "line 1\nline 2\nline 3"


def test_every_status_of_the_tables_maps_and_an_unknown_one_is_unknown() -> None:
    for code, word in OBSERVATION_STATUS.items():
        assert observe(f"OBX|1|NM|a^A^L||1||||||{code}")["status"] == word
    assert observe("OBX|1|NM|a^A^L||1||||||?")["status"] == "unknown"
    for code, word in REPORT_STATUS.items():
        (report,) = trees(mapped(PID, "OBR|1||F-1|p^P^L" + "|" * 21 + code), "DiagnosticReport")
        assert report["status"] == word


def test_a_cancelled_result_has_no_value_and_says_so() -> None:
    found = observe("OBX|1|NM|a^A^L||||||||X")
    assert found["status"] == "cancelled"
    assert found["dataAbsentReason"]["coding"][0]["code"] == "not-performed"


def test_a_document_is_the_presented_form_of_its_report() -> None:
    obx = "OBX|1|ED|18842-5^Discharge letter^LN||LIS^AP^PDF^Base64^JVBERg==||||||F"
    found = mapped(PID, "OBR|1||F-1|p^P^L", obx)
    (report,) = trees(found, "DiagnosticReport")
    assert report["presentedForm"] == [
        {"contentType": "application/pdf", "data": "JVBERg==", "title": "Discharge letter"}
    ]
    broken = mapped(PID, "OBR|1||F-1|p^P^L", obx.replace("JVBERg==", "not base64!"))
    assert any("Base64" in note for note in broken.notes)


def test_no_time_zone_is_made_up() -> None:
    obr, obx = "OBR|1||F-1|p^P^L", "OBX|1|NM|a^A^L||1||||||F|||202405310830"

    def effective(zone: str, context: Context | None = None) -> tuple[str, Mapped]:
        found = mapped(PID, obr, obx, zone=zone, context=context)
        return trees(found, "Observation")[0]["effectiveDateTime"], found

    when, found = effective("")
    assert when == "2024-05-31" and any("time zone" in note for note in found.notes)
    assert effective("-0500")[0] == "2024-05-31T08:30:00-05:00"
    shanghai = Context(zone=ZoneInfo("Asia/Shanghai"))
    assert effective("", shanghai)[0] == "2024-05-31T08:30:00+08:00"
    paris = Context(zone=ZoneInfo("Europe/Paris"))
    twice = mapped(PID, obr, obx.replace("202405310830", "202410270230"), zone="", context=paris)
    assert trees(twice, "Observation")[0]["effectiveDateTime"] == "2024-10-27"
    assert any("twice or never" in note for note in twice.notes)


def test_units_and_flags_are_coded_only_where_the_sender_codes_them() -> None:
    plain = observe("OBX|1|NM|a^A^L||1|mg/dl|70_105|H~weird|||F")
    assert plain["valueQuantity"] == {"value": 1, "unit": "mg/dl"}
    assert plain["referenceRange"] == [{"text": "70_105"}]
    assert plain["interpretation"][0]["coding"][0]["system"].endswith("v3-ObservationInterpretation")
    assert plain["interpretation"][1]["coding"][0]["system"].endswith("v2-0078")
    assert "system" not in plain["code"]["coding"][0]


def test_what_is_no_code_in_fhir_is_kept_as_text() -> None:
    found = observe("OBX|1|CWE|a^A^L||two  spaces\x07^^L||||||F")
    assert found["valueCodeableConcept"] == {"text": "two  spaces"}
    obr = "OBR|1||F-1|p^P^L" + "|" * 20 + "A\x07\x07B|F"
    assert "category" not in trees(mapped(PID, obr), "DiagnosticReport")[0]


def test_a_chinese_message_in_gb18030_becomes_the_same_letters() -> None:
    found = sample("synthetic-adt-gb18030.hl7")
    (patient,), (visit,) = trees(found, "Patient"), trees(found, "Encounter")
    assert patient["name"] == [{"family": "张", "given": ["伟"]}]
    assert patient["address"][0]["city"] == "沈阳市" and patient["contact"][0]["name"]["family"] == "王"
    assert visit["reasonCode"][0]["coding"][0]["code"] == "I20.0"
    assert found.made[0].patient == "北方医院|SYN-88001"


@pytest.mark.parametrize(
    ("event", "status", "ends"),
    [
        ("A01", "in-progress", False),
        ("A03", "finished", True),
        ("A05", "planned", True),
        ("A08", "finished", True),
        ("A11", "cancelled", False),
        ("A13", "in-progress", False),
        ("A21", "onleave", True),
        ("A23", "entered-in-error", True),
        ("A38", "cancelled", False),
    ],
)
def test_each_event_of_a_visit_is_a_version_of_one_encounter(event: str, status: str, ends: bool) -> None:
    pv1 = ["PV1", "1", "I"] + [""] * 43
    pv1[19], pv1[44], pv1[45] = "V-1^^^NORTH^VN", "20240501080000", "20240505120000"
    (visit,) = trees(mapped(PID, "|".join(pv1), type=f"ADT^{event}"), "Encounter")
    (other,) = trees(mapped(PID, "|".join(pv1), type="ADT^A02"), "Encounter")
    assert visit["status"] == status and visit["id"] == other["id"]
    assert ("end" in visit["period"]) == ends


@pytest.mark.parametrize(
    ("event", "kind"), [("A40", "merge"), ("A18", "merge"), ("A34", "merge"), ("A47", "change-identifier")]
)
def test_a_merge_is_a_statement_about_two_names_and_rewrites_nothing(event: str, kind: str) -> None:
    found = mapped(PID, "MRG|4712^^^NORTH^MR", type=f"ADT^{event}")
    (said,) = found.identity
    assert said.kind == kind and said.survivor.name == "NORTH|4711"
    assert said.prior is not None and said.prior.name == "NORTH|4712" and said.prior.id != said.survivor.id
    assert [each.type for each in found.made] == ["Patient"]


def test_several_merges_in_one_message_and_links_without_mrg() -> None:
    second = PID.replace("4711", "4713")
    found = mapped(PID, "MRG|4712^^^NORTH", second, "MRG|4714^^^NORTH", type="ADT^A40")
    assert [(e.survivor.value, e.prior and e.prior.value) for e in found.identity] == [
        ("4711", "4712"),
        ("4713", "4714"),
    ]
    (link,) = mapped(PID, second, type="ADT^A24").identity
    assert link.kind == "link" and link.prior is not None and link.prior.value == "4713"
    moved = mapped(PID, "MRG|4712^^^NORTH||||V-9", type="ADT^A45").identity
    assert moved[0].kind == "move-visit" and moved[0].visit[1] == "V-9"


def test_restrictions_become_security_labels() -> None:
    restricted = sample("synthetic-oru-restricted.hl7")
    for kind in ("Observation", "DiagnosticReport"):
        (found,) = trees(restricted, kind)
        assert {each["code"] for each in found["meta"]["security"]} == {"R", "PSY"}
    everything = mapped(PID, "PD1" + "|" * 12 + "Y", "PV1|1|I" + "|" * 17 + "V-1", type="ADT^A01")
    assert all(orjson.loads(each.json)["meta"]["security"][0]["code"] == "R" for each in everything.made)
    assert all("meta" not in orjson.loads(each.json) for each in mapped(PID, "ARV|1|D", type="ADT^A01").made)


def test_a_result_mentions_its_patient_and_is_no_authority_for_it() -> None:
    found = mapped(PID + "||||STREET 1^^CITY", "PV1|1|I" + "|" * 17 + "V-1", "OBR|1||F-1|p^P^L")
    assert {each.type: each.supporting for each in found.made} == {
        "Patient": True,
        "Encounter": True,
        "DiagnosticReport": False,
    }
    assert "address" not in trees(found, "Patient")[0]


def test_a_message_that_names_no_patient_maps_to_nothing_and_says_why() -> None:
    found = mapped("PID|1||^^^NORTH||LI^ANNA", "OBR|1||F-1|p^P^L", "OBX|1|NM|a^A^L||1||||||F")
    assert found.made == () and any("PID-3" in note for note in found.notes)


def test_the_translator_is_the_port_that_ingest_asks_for() -> None:
    translator: Hl7Translator = pickle.loads(pickle.dumps(Hl7Translator()))
    text = "\r".join([HEAD.format(type="ORU^R01", zone=""), PID, "OBR|1||F-1|p^P^L", "OBX|1|NM|a^A^L||7.40||||||F"])
    translation = translator.translate(text.encode())
    assert translation.source_id == "NORTH|LIS|C1"
    assert [each.match[:1] for each in translation.records] == [("mentioned",), (), ()]
    assert {each.patient for each in translation.records} == {"NORTH|4711"}
    assert any(b"7.40" in bytes(each.parsed.stored) for each in translation.records)
    assert translator.translate(HEAD.format(type="MDM^T02", zone="").encode()).records == ()
    with pytest.raises(Unreadable, match="MSH"):
        translator.translate(b"PID|1")


def test_malformed_samples_are_refused_with_where() -> None:
    for name in ("bad-separators.hl7", "wrong-charset.hl7"):
        (file,) = [file for file in samples("malformed") if file.name == name]
        with pytest.raises(BadMessage):
            Message.parse(file.read_bytes())


FIELD = st.text(string.ascii_letters + string.digits + "^&~\\. +-<>:/\u4e00é\x07", max_size=20)


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(["ADT^A01", "ADT^A40", "ADT^A24", "ORU^R01", "OUL^R22", "MDM^T02", "^", ""]),
    st.lists(
        st.tuples(
            st.sampled_from(
                ["PID", "PV1", "PV2", "PD1", "NK1", "MRG", "ORC", "OBR", "OBX", "NTE", "SPM", "ARV", "ZZZ"]
            ),
            st.lists(FIELD, max_size=50),
        ),
        max_size=8,
    ),
)
def test_whatever_the_fields_hold_the_resources_are_valid(type: str, body: list[tuple[str, list[str]]]) -> None:
    segments = ["|".join([name, *fields]) for name, fields in body]
    mapped(PID, *segments, type=type)


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(["NM", "SN", "TX", "CWE", "DT", "TS", "TM", "DR", "ED", "RP", "IS", "", "??"]),
    FIELD,
    st.sampled_from(["mg", "mmol/L^mmol/L^UCUM", "a b^^UCUM", ""]),
    FIELD,
    FIELD,
)
def test_whatever_a_result_holds_the_observation_is_valid(
    kind: str, value: str, unit: str, limits: str, flag: str
) -> None:
    mapped(PID, "OBR|1||F-1|p^P^L", f"OBX|1|{kind}|a^A^L||{value}|{unit}|{limits}|{flag}|||F")
