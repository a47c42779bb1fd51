"""Cohorts: one row a patient, and the records that it was made of."""

import pytest

from commonward.adapters.fhir.cohort import Cohort
from commonward.adapters.fhir.views import ViewError
from commonward.records.table import Column, Type


def text(name: str, path: str) -> dict[str, str]:
    return {"name": name, "path": path, "type": "string"}


PEOPLE = {"resource": "Patient", "select": [{"column": [text("patient", "getResourceKey()"), text("sex", "gender")]}]}
WEIGHTS = {
    "resource": "Observation",
    "where": [{"path": "code.coding.exists(system='http://loinc.org' and code='29463-7')"}],
    "select": [
        {
            "column": [
                text("patient", "subject.getReferenceKey(Patient)"),
                text("taken", "effective.ofType(dateTime)"),
                {"name": "weight", "path": "value.ofType(Quantity).value", "type": "decimal"},
            ]
        }
    ],
}
COHORT = {"key": "patient", "views": [PEOPLE, {**WEIGHTS, "latest": "taken"}]}


def person(name: str) -> dict[str, object]:
    return {"resourceType": "Patient", "id": name, "gender": "female"}


def weight(name: str, value: float, taken: str, code: str = "29463-7") -> dict[str, object]:
    return {
        "resourceType": "Observation",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": f"Patient/{name}"},
        "effectiveDateTime": taken,
        "valueQuantity": {"value": value},
    }


RECORDS = [
    (1, weight("bea", 61.5, "2026-01-05")),
    (2, person("bea")),
    (3, person("ann")),
    (4, weight("bea", 60.5, "2026-03-05")),
    (5, weight("bea", 62.5, "2026-02-05")),
    (6, weight("stranger", 90, "2026-02-05")),
    (7, weight("ann", 1.7, "2026-02-05", code="8302-2")),
]


def test_views_are_joined_by_patient_and_the_latest_row_counts() -> None:
    found = Cohort.parse(COHORT).gather(RECORDS)
    assert found.patients == ("ann", "bea")
    assert found.table.columns == (Column("sex", Type.TEXT), Column("weight", Type.DECIMAL))
    assert found.table.rows == (("female", None), ("female", 60.5))
    assert found.sources == ((3,), (2, 4)), "a row names the records that it was made of, and no others"
    assert Cohort.parse(COHORT).gather(reversed(RECORDS)).table == found.table


def test_who_lacks_a_value_that_must_be_there_is_left_out_before_anything_is_promised() -> None:
    found = Cohort.parse({**COHORT, "complete": ["weight"]}).gather(RECORDS)
    assert found.patients == ("bea",) and len(found.table) == len(found.sources) == 1


def test_who_is_not_in_the_first_view_is_not_in_the_cohort() -> None:
    assert "stranger" not in Cohort.parse(COHORT).gather(RECORDS).patients


def test_two_rows_of_a_patient_are_not_chosen_between_in_silence() -> None:
    with pytest.raises(ViewError, match=r"views\[1\]: expected one row of each patient.*latest"):
        Cohort.parse({"key": "patient", "views": [PEOPLE, WEIGHTS]}).gather(RECORDS)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (b"[]", "expected a cohort"),
        ({"key": "patient"}, "views: expected a list"),
        ({"key": "person", "views": [PEOPLE]}, r"views\[0\]: expected a text column 'person'"),
        ({"key": "patient", "views": [PEOPLE, PEOPLE]}, "expected each column in one view, got sex in two"),
        ({"key": "patient", "views": [PEOPLE, {**WEIGHTS, "latest": "when"}]}, r"views\[1\]: .* column 'when'"),
        ({"key": "patient", "views": [{"resource": "Patient"}]}, r"views\[0\].select: expected a list"),
        ({"key": "patient", "views": [PEOPLE], "joins": []}, "expected a cohort"),
        ({"key": "patient", "views": [PEOPLE], "complete": ["age"]}, "complete: expected a list of columns"),
    ],
)
def test_a_definition_that_is_no_cohort_is_refused_with_its_place(definition, message) -> None:
    with pytest.raises(ViewError, match=message):
        Cohort.parse(definition)
