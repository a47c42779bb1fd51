"""A FHIR resource as one line: its own digits, its own words, and nothing invented."""

import json

import pytest

from commonward.apps.cli.resources import Line, as_json


def shown(stored: str) -> dict[str, object]:
    return {"stored": stored, "unchanged_since": 1, "recalled": None, "id": "00"}


@pytest.mark.parametrize("digits", ["7.40", "0.010", "1.0e2", "-0.0", "123456789012345678901234567890"])
def test_a_value_keeps_the_digits_of_its_source(digits: str) -> None:
    stored = f'{{"resourceType":"Observation","valueQuantity":{{"unit":"g/dL","value":{digits}}}}}'
    assert Line.of(shown(stored)).value == f"{digits} g/dL"
    line = as_json(shown(stored), "aa")
    assert stored in line and json.loads(line)["copy"] == "aa"


def test_components_are_all_told() -> None:
    parts = [{"code": {"text": name}, "valueQuantity": {"value": value, "unit": "mmHg"}} for name, value in
             (("Systolic", 120), ("Diastolic", 80))]  # fmt: skip
    line = Line.of(shown(json.dumps({"resourceType": "Observation", "code": {"text": "BP"}, "component": parts})))
    assert (line.what, line.value) == ("BP", "Systolic 120 mmHg; Diastolic 80 mmHg")


@pytest.mark.parametrize(
    "stored",
    ["{}", '{"resourceType":"X","code":[],"name":[]}', '{"code":"odd","valueQuantity":3}', '{"category":[[]]}'],
)
def test_what_is_odd_stays_empty_and_raises_nothing(stored: str) -> None:
    assert Line.of(shown(stored)).value == ""
