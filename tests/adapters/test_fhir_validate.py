"""The official R4 schema decides, quickly, and says what is wrong in words that help."""

from __future__ import annotations

import gzip
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from commonward.adapters.fhir import Entry, Validator, read_bundle
from commonward.adapters.fhir.schema import resource_types

DATA = Path(__file__).parents[1] / "data" / "synthea_r4"
VALIDATOR = Validator()


def pointers(resource: dict[str, Any]) -> set[str]:
    return {problem.pointer for problem in VALIDATOR.errors(resource)}


def test_the_schema_is_the_official_one_unaltered() -> None:
    package = files("commonward.adapters.fhir") / "r4"
    digest = hashlib.sha256(gzip.decompress((package / "fhir.schema.json.gz").read_bytes())).hexdigest()
    assert digest in (package / "NOTICE").read_text()
    assert len(resource_types()) == 146


def test_every_synthea_resource_is_valid() -> None:
    for path in DATA.glob("*.json"):
        for entry in read_bundle(path):
            assert isinstance(entry, Entry) and VALIDATOR.errors(entry.tree) == []


def test_a_whole_bundle_is_validated_with_the_resources_in_it() -> None:
    path = next(DATA.glob("*.json"))
    assert VALIDATOR.errors(path.read_bytes()) == []
    nested = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": {"resourceType": "Observation"}}]}
    assert pointers(nested) == {"/entry/0/resource/code"}


def test_each_problem_says_where_what_was_expected_and_what_was_there() -> None:
    patient = {
        "resourceType": "Patient",
        "birthDate": "3 May",
        "gender": "man",
        "name": {"family": "Li"},
        "favouriteColour": "red",
        "multipleBirthInteger": 1.5,
        "contained": [{"resourceType": "Observatio"}, "text"],
    }
    found = {problem.pointer: str(problem) for problem in VALIDATOR.errors(patient)}
    assert "a date such as 2024" in found["/birthDate"] and '"3 May"' in found["/birthDate"]
    assert "'male', 'female', 'other', 'unknown'" in found["/gender"]
    assert "expected array" in found["/name"]
    assert "'favouriteColour'" in found[""]
    assert "expected integer, got 1.5" in found["/multipleBirthInteger"]
    assert "did you mean Observation?" in found["/contained/0/resourceType"]
    assert "a JSON object" in found["/contained/1"]


@pytest.mark.parametrize("value", [{}, {"resourceType": 7}, {"resourceType": "Pacient"}, b"[]", b"{", b'{"a":1}'])
def test_what_is_no_resource_is_a_problem_not_an_exception(value: Any) -> None:
    assert VALIDATOR.errors(value)


def test_integers_are_integers_though_the_official_schema_lets_fractions_pass() -> None:
    assert pointers({"resourceType": "Bundle", "type": "searchset", "total": -1}) == {"/total"}
    assert pointers({"resourceType": "Bundle", "type": "searchset", "total": 0}) == set()
    assert pointers({"resourceType": "Appointment", "status": "booked", "participant": [], "priority": 2.5})


def test_null_in_a_list_beside_its_extensions_is_correct_fhir() -> None:
    absent = {"extension": [{"url": "http://x", "valueCode": "unknown"}]}
    name = {"given": [None, "Ann"], "_given": [absent, None]}
    assert pointers({"resourceType": "Patient", "name": [name]}) == set()
    assert pointers({"resourceType": "Patient", "name": [None]}) == {"/name/0"}


def test_a_data_type_is_an_object_though_the_official_schema_lets_text_pass() -> None:
    subject: dict[str, Any] = {"resourceType": "Observation", "code": {"text": "x"}, "subject": "Patient/1"}
    assert pointers(subject) == {"/subject"}
    assert pointers({"resourceType": "Patient", "name": ["Li"]}) == {"/name/0"}


def test_depth_does_not_bring_it_down() -> None:
    deep: dict[str, Any] = {"resourceType": "Patient"}
    for _ in range(50):
        deep = {"resourceType": "Patient", "contained": [deep]}
    assert any("one inside another" in str(problem) for problem in VALIDATOR.errors(deep))


def test_messages_show_little_of_the_record() -> None:
    (problem,) = VALIDATOR.errors({"resourceType": "Patient", "gender": "x" * 5000})
    assert len(str(problem)) < 300


def test_a_large_attachment_does_not_take_long() -> None:
    data = "QUJD" * 500_000
    report = {"resourceType": "DiagnosticReport", "code": {"text": "scan"}, "presentedForm": [{"data": data}]}
    assert VALIDATOR.errors(report) == []
