"""A record's facts: whose, when, how final, about what."""

import json
from pathlib import Path
from typing import Any

import pytest

from commonward.records.fhir_time import span
from commonward.records.record import Coding, Period, Record, Source, Standing, replaces
from commonward.records.stored import NotStorable, parse

SAMPLES = sorted((Path(__file__).parents[1] / "data" / "synthea_r4").glob("*.json"))
SOURCE = Source("his", "1", "fhir-r4")
DAY = 86_400_000


def record(**fields: Any) -> Record:
    return Record.parse(json.dumps({"resourceType": "Observation", "id": "o1"} | fields).encode(), SOURCE)


def test_every_sample_resource_has_a_type_and_all_that_belong_to_a_patient_name_it() -> None:
    directory = {"Organization", "Practitioner", "Location"}
    seen = 0
    for path in SAMPLES:
        for entry in json.loads(path.read_text())["entry"]:
            made = Record.parse(json.dumps(entry["resource"]).encode(), SOURCE)
            assert made.resource_type == entry["resource"]["resourceType"]
            if made.resource_type not in directory:
                assert made.patient_ref is not None, made.stored
            if made.resource_type not in directory | {"Patient", "Claim", "Coverage"}:
                assert made.effective is not None, made.stored
            seen += 1
    assert seen > 100


def test_facts_are_the_same_from_stored_bytes_and_from_the_tree() -> None:
    parsed = parse(b'{"resourceType":"Observation","status":"final","valueQuantity":{"value":7.40}}')
    assert Record.from_tree(parsed.tree, parsed.stored, SOURCE) == Record.from_stored(parsed.stored, SOURCE)


@pytest.mark.parametrize("data", [b"[]", b"{}", b'{"resourceType":""}', b'{"resourceType":5}', b"null"])
def test_what_is_no_resource_is_refused(data: bytes) -> None:
    with pytest.raises(NotStorable, match="a FHIR resource"):
        Record.parse(data, SOURCE)


def test_codes_labels_and_references_are_found_wherever_they_stand() -> None:
    made = record(
        meta={"security": [{"system": "s", "code": "R"}], "tag": [{"system": "t", "code": "x"}]},
        code={"coding": [{"system": "http://loinc.org", "code": "85354-9"}, {"system": "local", "code": "BP"}]},
        component=[{"code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]}, "valueQuantity": {
            "value": 120, "unit": "mmHg", "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}}],
        subject={"reference": "Patient/1"},
        contained=[{"resourceType": "Condition", "meta": {"security": [{"system": "s", "code": "PSY"}]},
                    "code": {"text": "low mood"}}],
        hasMember=[{"reference": "Observation/2"}, {"reference": "#inner"}, {"reference": "Patient/1"}],
    )  # fmt: skip
    assert set(made.labels) == {Coding("s", "R"), Coding("s", "PSY")}
    assert made.references == ("Observation/2", "Patient/1")
    assert made.patient_ref == "Patient/1"
    concepts = {(each.field, each.codings) for each in made.concepts}
    assert ("code", (Coding("http://loinc.org", "85354-9"), Coding("local", "BP"))) in concepts
    assert ("code", ()) in concepts, "a code in words alone is there, without a coding"
    assert Coding("http://unitsofmeasure.org", "mm[Hg]") not in made.codes


@pytest.mark.parametrize(
    ("status", "standing"),
    [
        ("registered", Standing.PRELIMINARY),
        ("preliminary", Standing.PRELIMINARY),
        ("final", Standing.FINAL),
        ("amended", Standing.AMENDED),
        ("corrected", Standing.CORRECTED),
        ("cancelled", Standing.CANCELLED),
        ("entered-in-error", Standing.ENTERED_IN_ERROR),
    ],
)
def test_status_words_have_a_standing(status: str, standing: Standing) -> None:
    made = record(status=status)
    assert (made.status, made.standing) == (status, standing)


def test_a_condition_entered_in_error_is_one() -> None:
    wrong = {"coding": [{"system": "v", "code": "entered-in-error"}]}
    active = {"coding": [{"system": "c", "code": "active"}]}
    assert record(resourceType="Condition", verificationStatus=wrong).standing is Standing.ENTERED_IN_ERROR
    both = record(resourceType="Condition", verificationStatus=wrong, clinicalStatus=active)
    assert both.standing is Standing.ENTERED_IN_ERROR
    assert record(resourceType="Condition", clinicalStatus=active).status == "active"


def test_a_late_preliminary_never_replaces_a_final() -> None:
    assert replaces(Standing.PRELIMINARY, Standing.PRELIMINARY)
    assert replaces(Standing.PRELIMINARY, Standing.FINAL)
    assert replaces(Standing.FINAL, Standing.CORRECTED)
    assert not any(replaces(old, Standing.PRELIMINARY) for old in Standing if old is not Standing.PRELIMINARY)
    assert not replaces(Standing.ENTERED_IN_ERROR, Standing.FINAL)
    assert replaces(Standing.ENTERED_IN_ERROR, Standing.CORRECTED)


@pytest.mark.parametrize(
    ("text", "start", "length"),
    [
        ("1970", 0, 365 * DAY),
        ("1970-12", 334 * DAY, 31 * DAY),
        ("1972-02", 761 * DAY, 29 * DAY),
        ("1970-01-02", DAY, DAY),
        ("1970-01-01T00:00:01Z", 1_000, 1_000),
        ("1970-01-01T01:00:01+01:00", 1_000, 1_000),
        ("1970-01-01T00:00:01", 1_000, 1_000),
        ("1970-01-01T00:00:01.5Z", 1_500, 100),
        ("1970-01-01T00:00:01.2345Z", 1_234, 1),
        ("1970-01-01T23:59:60Z", DAY, 1_000),
        ("1969-12-31T23:59:59Z", -1_000, 1_000),
    ],
)
def test_a_time_is_as_long_as_it_is_imprecise(text: str, start: int, length: int) -> None:
    assert span(text) == (start, start + length)


@pytest.mark.parametrize(
    "text", ["", "70", "1970-13", "1970-02-30", "1970-01-01T25:00:00Z", "1970-1-1", "now", "１９７０"]
)
def test_what_is_no_fhir_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="FHIR date"):
        span(text)


def test_the_effective_period_is_that_of_the_type() -> None:
    assert record(effectiveDateTime="1970-01-02").effective == Period(DAY, 2 * DAY)
    assert record(effectivePeriod={"start": "1970-01-02"}).effective == Period(DAY, None)
    assert record(effectivePeriod={"end": "1970-01-02"}).effective == Period(None, 2 * DAY)
    assert record(issued="1970-01-01T00:00:00Z").effective == Period(0, 1_000)
    assert record(effectiveDateTime="soon").effective is None
    condition = record(resourceType="Condition", onsetDateTime="1970-01-02", abatementDateTime="1970-01-04")
    assert condition.effective == Period(DAY, 4 * DAY)
    assert record(resourceType="Condition", onsetDateTime="1970-01-02").effective == Period(DAY, None)
    assert record(resourceType="Patient", birthDate="1970-01-02").effective is None


def test_a_patient_is_its_own_patient() -> None:
    made = record(resourceType="Patient", id="p1")
    assert made.patient_ref == "Patient/p1"
    assert made.keys == ("Patient/p1", "urn:uuid:p1")


@pytest.mark.parametrize(
    "odd", [5, "text", None, True, [], {}, [[]], [5], {"coding": 5}, {"coding": [5]}, {"reference": 5}]
)
def test_fields_of_another_shape_than_fhirs_count_as_absent(odd: Any) -> None:
    for name in ("meta", "code", "subject", "effectivePeriod", "effectiveDateTime", "status", "id", "category"):
        assert record(**{name: odd}).patient_ref is None
    assert record(meta={"security": odd}).resource_type == "Observation"
    assert record(resourceType="Condition", verificationStatus=odd, onsetDateTime=odd).effective is None
