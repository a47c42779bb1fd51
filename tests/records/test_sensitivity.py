"""The sensitivity table: sensitive things are recognised, everyday things stay everyday, the unknown is unknown."""

import json
from pathlib import Path
from typing import Any

import pytest

from commonward.records.jurisdiction import TableError, default_jurisdiction
from commonward.records.record import Coding, Record, Source
from commonward.records.sensitivity import SensitivityTable, default_sensitivity

TABLE = default_sensitivity()
SOURCE = Source("his", "1", "fhir-r4")
SAMPLES = sorted((Path(__file__).parents[1] / "data" / "synthea_r4").glob("*.json"))
SNOMED, LOINC = "http://snomed.info/sct", "http://loinc.org"
ICD, RXNORM = "http://hl7.org/fhir/sid/icd-10", "http://www.nlm.nih.gov/research/umls/rxnorm"
ATC, CPT = "http://www.whocc.no/atc", "http://www.ama-assn.org/go/cpt"
ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"


def concept(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def facts(kind: str, **fields: Any) -> Any:
    return TABLE.facts(Record.parse(json.dumps({"resourceType": kind} | fields).encode(), SOURCE))


@pytest.mark.parametrize(
    ("system", "code", "name"),
    [
        (SNOMED, "35489007", "mental-health"),
        (SNOMED, "86406008", "hiv"),
        (SNOMED, "75544000", "substance-use"),
        (SNOMED, "287664005", "sexual-reproductive"),
        (ICD, "F32.9", "mental-health"),
        (ICD, "F32.900x001", "mental-health"),
        (ICD, "f20", "mental-health"),
        (ICD, "F10.2", "substance-use"),
        (ICD, "B20", "hiv"),
        (ICD, "Z21", "hiv"),
        (ICD, "O04", "sexual-reproductive"),
        (ICD, "Q90.9", "genetic"),
        (ICD, "T74.2", "violence"),
        (LOINC, "44261-6", "mental-health"),
        (LOINC, "75622-1", "hiv"),
        (RXNORM, "36437", "mental-health"),
        (RXNORM, "6813", "substance-use"),
        (ATC, "N06AB06", "mental-health"),
        (ATC, "J05AR10", "hiv"),
        (ATC, "N07BC02", "substance-use"),
        (CPT, "90837", "mental-health"),
        (CPT, "86703", "hiv"),
    ],
)
def test_sensitive_codes_are_recognised(system: str, code: str, name: str) -> None:
    classes = TABLE.classes_of(Coding(system, code))
    assert classes is not None
    assert name in classes


@pytest.mark.parametrize(
    ("system", "code"),
    [(ICD, "I10"), (ICD, "J45.909"), (ICD, "F17.2"), (SNOMED, "38341003"), (LOINC, "718-7"), (RXNORM, "6809"),
     (ATC, "C09AA03"), (CPT, "99213"), ("http://hl7.org/fhir/sid/cvx", "140")],
)  # fmt: skip
def test_everyday_codes_are_known_and_ordinary(system: str, code: str) -> None:
    assert not TABLE.classes_of(Coding(system, code))
    assert TABLE.classes_of(Coding(system, code)) is not None


@pytest.mark.parametrize(
    ("system", "code"),
    [
        (ICD, "X"),
        (ICD, ""),
        (SNOMED, "1"),
        (LOINC, "99999-9"),
        ("urn:local", "BP"),
        ("", "BP"),
        (ATC, "N06"),
        (CPT, "9"),
    ],
)
def test_codes_that_are_not_in_the_table_are_not_known(system: str, code: str) -> None:
    assert TABLE.classes_of(Coding(system, code)) is None


def test_every_resource_of_the_samples_is_classified() -> None:
    for path in SAMPLES:
        for entry in json.loads(path.read_text())["entry"]:
            record = Record.parse(json.dumps(entry["resource"]).encode(), SOURCE)
            assert TABLE.facts(record).classified, (record.resource_type, TABLE.unknown_codes(record))


def test_a_blood_pressure_is_a_vital_sign_under_any_code() -> None:
    vital = concept("http://terminology.hl7.org/CodeSystem/observation-category", "vital-signs")
    made = facts("Observation", category=[vital], code=concept("urn:local", "RR"))
    assert made.classified
    assert made.classes == {"vital-signs"}


def test_a_laboratory_test_under_a_local_code_alone_is_unclassified_and_with_a_known_one_is_not() -> None:
    lab = concept("http://terminology.hl7.org/CodeSystem/observation-category", "laboratory")
    local = {"system": "urn:local", "code": "HB"}
    assert not facts("Observation", category=[lab], code={"coding": [local]}).classified
    both = facts("Observation", category=[lab], code={"coding": [local, {"system": LOINC, "code": "718-7"}]})
    assert both.classified
    assert both.classes == {"laboratory"}


def test_words_without_a_code_free_text_and_unknown_types_are_unclassified() -> None:
    assert not facts("Condition", code={"text": "low mood"}).classified
    assert not facts("Condition").classified
    assert not facts("DocumentReference", type=concept(LOINC, "11488-4")).classified
    assert not facts("Basic", code=concept(ICD, "I10")).classified
    assert facts("Basic").classes == {"other"}


def test_an_unknown_finding_makes_a_known_test_unclassified() -> None:
    known = facts("Observation", code=concept(LOINC, "6463-4"), valueCodeableConcept=concept(SNOMED, "260385009"))
    assert known.classified
    assert not facts("Observation", code=concept(LOINC, "6463-4"), valueCodeableConcept=concept(SNOMED, "1")).classified


def test_a_sensitive_code_counts_wherever_it_stands() -> None:
    made = facts("Encounter", type=[concept(SNOMED, "185347001")], reasonCode=[concept(ICD, "F32.1")])
    assert made.sensitive == {"mental-health"}
    assert made.classes == {"encounter", "mental-health"}
    assert facts("AllergyIntolerance", code=concept(RXNORM, "36437")).sensitive == {"mental-health"}


@pytest.mark.parametrize(
    ("system", "code", "classes"),
    [
        (ACT, "PSY", {"mental-health"}),
        (ACT, "HIV", {"hiv"}),
        (ACT, "ETH", {"substance-use"}),
        (ACT, "SUD", {"substance-use"}),
        (ACT, "SEX", {"sexual-reproductive"}),
        (ACT, "GDIS", {"genetic"}),
        (ACT, "SDV", {"violence"}),
        (ACT, "TBOO", {"restricted"}),
        (CONFIDENTIALITY, "N", set()),
        (CONFIDENTIALITY, "R", {"restricted"}),
        (CONFIDENTIALITY, "V", {"very-restricted"}),
        ("urn:our-own", "SECRET", {"restricted"}),
        ("http://terminology.hl7.org/CodeSystem/v3-ActReason", "HTEST", set()),
    ],
)
def test_security_labels_are_heeded_and_unknown_ones_taken_strictly(system: str, code: str, classes: set[str]) -> None:
    made = facts("Patient", meta={"security": [{"system": system, "code": code}]})
    assert made.sensitive == classes
    assert made.labels == {code}


def test_the_tables_have_digests_and_every_class_has_names_in_both_languages() -> None:
    assert len(TABLE.digest) == 32
    assert TABLE.digest != default_jurisdiction().digest
    assert all({"en", "zh"} <= names.keys() for names in TABLE.classes.values())
    for entry in default_jurisdiction().entries:
        assert (entry.classes or set()) <= TABLE.classes.keys()
        assert (entry.sensitive or set()) <= TABLE.sensitive
    assert default_jurisdiction().assurance.keys() <= TABLE.classes.keys()


@pytest.mark.parametrize("hole", ["classes", "codes", "types", "labels", "unknown_label", "version"])
def test_a_table_with_a_hole_is_refused(hole: str) -> None:
    path = Path(__file__).parents[2] / "src" / "commonward" / "records" / "data" / "sensitivity.json"
    table = json.loads(path.read_text())
    del table[hole]
    with pytest.raises(TableError, match=hole):
        SensitivityTable.parse(json.dumps(table).encode())


def test_a_table_that_names_a_class_it_does_not_have_is_refused() -> None:
    path = Path(__file__).parents[2] / "src" / "commonward" / "records" / "data" / "sensitivity.json"
    table = json.loads(path.read_text())
    table["codes"][0]["class"] = "mental-helth"
    with pytest.raises(TableError, match="mental-helth"):
        SensitivityTable.parse(json.dumps(table).encode())
