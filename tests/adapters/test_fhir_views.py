"""Views: what SQL on FHIR v2 says a ViewDefinition makes of records, and what is refused rather than guessed."""

import pytest

from commonward.adapters.fhir.paths import Path, PathError
from commonward.adapters.fhir.views import View, ViewError
from commonward.records.table import Column, Type

ANNA = {
    "resourceType": "Patient",
    "id": "anna",
    "active": True,
    "gender": "female",
    "birthDate": "1961-02-03",
    "multipleBirthInteger": 2,
    "name": [
        {"use": "official", "family": "Meier", "given": ["Anna", "Maria"]},
        {"use": "maiden", "family": "Huber", "given": ["Anna"]},
    ],
    "telecom": [{"system": "phone", "value": "11"}, {"system": "email", "value": "a@example.org"}],
    "contact": [
        {"name": {"family": "Ott"}, "telecom": [{"system": "phone", "value": "22"}]},
        {"name": {"family": "Egli"}},
    ],
    "link": [{"type": "seealso", "other": {"reference": "Patient/bert"}}],
}
BERT = {
    "resourceType": "Patient",
    "id": "bert",
    "active": False,
    "link": [{"type": "seealso", "other": {"reference": "urn:uuid:bert"}}],
}
PRESSURE = {
    "resourceType": "Observation",
    "id": "bp",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "85354-9"}]},
    "subject": {"reference": "https://north.example/fhir/Patient/anna/_history/3"},
    "effectiveDateTime": "2026-03-01T08:00:00+01:00",
    "component": [
        {
            "code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]},
            "valueQuantity": {"value": 120.5, "unit": "mm[Hg]"},
        },
        {
            "code": {"coding": [{"system": "http://loinc.org", "code": "8462-4"}]},
            "valueQuantity": {"value": 80, "unit": "mm[Hg]"},
        },
    ],
}
ANSWERS = {
    "resourceType": "QuestionnaireResponse",
    "id": "qr",
    "item": [
        {"linkId": "1", "item": [{"linkId": "1.1"}, {"linkId": "1.2", "item": [{"linkId": "1.2.1"}]}]},
        {"linkId": "2"},
    ],
}


def column(name: str, path: str | None = None, kind: str = "string") -> dict[str, object]:
    return {"name": name, "path": path or name, "type": kind}


def rows(select, *trees, resource: str = "Patient", **rest):
    view = View.parse({"resourceType": "ViewDefinition", "resource": resource, "select": select, **rest})
    return list(view.table(trees or (ANNA, BERT)).rows)


ID = {"column": [column("id", kind="id")]}


def test_a_view_gives_a_row_for_each_resource_of_its_type_with_typed_cells() -> None:
    columns = [
        column("id", kind="id"),
        column("active", kind="boolean"),
        column("born", "birthDate", "date"),
        column("birth", "multipleBirth.ofType(integer)", "positiveInt"),
    ]
    view = View.parse({"resource": "Patient", "name": "people", "select": [{"column": columns}]})
    assert view.name == "people" and view.columns[3] == Column("birth", Type.INTEGER)
    assert view.table((ANNA, PRESSURE, BERT)).rows == (
        ("anna", True, "1961-02-03", 2),
        ("bert", False, None, None),
    )


def test_where_keeps_what_is_true_and_nothing_known_is_not_true() -> None:
    assert rows([ID], where=[{"path": "active"}]) == [("anna",)]
    assert rows([ID], where=[{"path": "gender = 'female'"}]) == [("anna",)]
    assert rows([ID], where=[{"path": "active.not()"}, {"path": "name.empty()"}]) == [("bert",)]
    with pytest.raises(ViewError, match=r"where\[0\].path: expected true or false, got \['Meier', 'Huber'\]"):
        rows([ID], where=[{"path": "name.family"}])
    with pytest.raises(ViewError, match=r"where\[0\].path: expected true or false, got \['female'\]"):
        rows([ID], where=[{"path": "gender"}])


def test_for_each_gives_a_row_for_each_element_and_none_without() -> None:
    names = {"forEach": "name", "column": [column("family")]}
    assert rows([ID, names]) == [("anna", "Meier"), ("anna", "Huber")]
    assert rows([ID, names], BERT) == []


def test_for_each_or_null_keeps_a_resource_that_has_none() -> None:
    names = {"forEachOrNull": "name", "column": [column("family"), column("given", "given.first()")]}
    assert rows([ID, names]) == [("anna", "Meier", "Anna"), ("anna", "Huber", "Anna"), ("bert", None, None)]


def test_groups_side_by_side_are_a_cross_product_and_groups_within_follow_their_element() -> None:
    phones = {"forEach": "telecom", "column": [column("value")]}
    names = {"forEach": "name", "column": [column("family")]}
    assert rows([names, phones], ANNA) == [
        ("Meier", "11"),
        ("Meier", "a@example.org"),
        ("Huber", "11"),
        ("Huber", "a@example.org"),
    ]
    contact = {
        "forEach": "contact",
        "column": [column("family", "name.family")],
        "select": [{"forEachOrNull": "telecom", "column": [column("value")]}],
    }
    assert rows([contact], ANNA) == [("Ott", "22"), ("Egli", None)]


def test_a_path_within_an_element_knows_where_in_fhir_it_stands() -> None:
    parts = {
        "forEach": "component",
        "column": [
            column("code", "code.coding.code.first()", "code"),
            column("value", "value.ofType(Quantity).value", "decimal"),
        ],
    }
    assert rows([parts], PRESSURE, resource="Observation") == [("8480-6", 120.5), ("8462-4", 80.0)]


def test_union_all_puts_branches_one_after_another_under_the_same_columns() -> None:
    ways = {
        "unionAll": [
            {"forEach": "telecom", "column": [column("value"), column("of", "'self'")]},
            {"forEach": "contact.telecom", "column": [column("value"), column("of", "'contact'")]},
        ]
    }
    assert rows([ID, ways]) == [("anna", "11", "self"), ("anna", "a@example.org", "self"), ("anna", "22", "contact")]
    other = {"forEach": "contact.telecom", "column": [column("of", "'contact'"), column("value")]}
    ways["unionAll"][1] = other
    with pytest.raises(ViewError, match=r"select\[1\].unionAll\[1\]: expected the columns of the first branch"):
        rows([ID, ways])


def test_repeat_walks_down_and_row_index_counts_what_is_walked() -> None:
    walk = {"repeat": ["item"], "column": [column("link", "linkId"), column("at", "%rowIndex", "integer")]}
    assert rows([walk], ANSWERS, resource="QuestionnaireResponse") == [
        ("1", 0),
        ("1.1", 1),
        ("1.2", 2),
        ("1.2.1", 3),
        ("2", 4),
    ]


def test_row_index_starts_anew_at_each_level_and_is_zero_outside() -> None:
    contact = {
        "forEach": "contact",
        "column": [column("outer", "%rowIndex", "integer")],
        "select": [
            {
                "unionAll": [
                    {"forEach": "telecom", "column": [column("inner", "%rowIndex", "integer")]},
                    {"column": [column("inner", "%rowIndex", "integer")]},
                ]
            }
        ],
    }
    top = {"column": [column("top", "%rowIndex", "integer")]}
    assert rows([top, contact], ANNA) == [(0, 0, 0), (0, 0, 0), (0, 1, 1)]
    null = {"forEachOrNull": "name", "column": [column("at", "%rowIndex", "integer"), column("family")]}
    assert rows([null]) == [(0, "Meier"), (1, "Huber"), (0, None)]


def test_constants_stand_for_their_values_and_dates_compare_as_dates() -> None:
    use = {"name": "use", "valueString": "maiden"}
    names = {"forEach": "name.where(use = %use)", "column": [column("family")]}
    assert rows([names], ANNA, constant=[use]) == [("Huber",)]
    born = {"column": [column("old", "birthDate < %since", "boolean")]}
    assert rows([born], constant=[{"name": "since", "valueDate": "1970-01-01"}]) == [(True,), (None,)]
    high = {"column": [column("high", "component.value.ofType(Quantity).value.first() > %limit", "boolean")]}
    assert rows([high], PRESSURE, resource="Observation", constant=[{"name": "limit", "valueDecimal": 120.4}]) == [
        (True,)
    ]
    with pytest.raises(ViewError, match=r"select\[0\].forEach: .*expected a declared constant, got %use"):
        rows([names], ANNA)
    assert rows([{"column": [column("text", "'100 %use'")]}], BERT) == [("100 %use",)]


def test_keys_of_references_are_the_keys_of_resources() -> None:
    same = {"column": [column("same", "getResourceKey() = link.other.getReferenceKey(Patient)", "boolean")]}
    assert rows([same]) == [(False,), (True,)]
    other = {"column": [column("key", "subject.getReferenceKey()"), column("typed", "subject.getReferenceKey(Group)")]}
    assert rows([other], PRESSURE, resource="Observation") == [("anna", None)]


def test_the_quick_way_to_filter_by_code_answers_as_the_library_does() -> None:
    for text in (
        "code.coding.exists(system='http://loinc.org' and code='85354-9')",
        "code.coding.where(system = 'http://loinc.org' and code = '85354-9').exists()",
    ):
        quick, slow = Path(text), Path(f"({text})")
        for tree in (PRESSURE, {**PRESSURE, "code": {"text": "pressure"}}, BERT):
            assert quick(tree, {}) == slow(tree, {})
        assert quick(PRESSURE, {}) == [True]


@pytest.mark.parametrize(
    "text", ["@@", "name.", "", "name) or true", "name.family(", "1 +", "name family", "birthDate.lowBoundary()"]
)
def test_what_is_no_expression_to_its_end_is_refused(text) -> None:
    with pytest.raises(PathError):
        Path(text)
    with pytest.raises(ViewError, match=r"select\[0\].column\[0\].path"):
        View.parse({"resource": "Patient", "select": [{"column": [{"name": "a", "path": text, "type": "string"}]}]})


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({}, "resource: expected the type"),
        ({"resource": "Patient"}, "select: expected a list of at least 1"),
        ({"resource": "Patient", "select": [{}]}, "expected at least one column"),
        ({"resource": "Patient", "select": [{"forEach": 1}]}, r"select\[0\].forEach: expected a FHIRPath"),
        ({"resource": "Patient", "select": [{"from": "name"}]}, r"select\[0\]: expected .*, got 'from'"),
        ({"resource": "Patient", "select": [ID, ID]}, "expected each column once, got id twice"),
        (
            {"resource": "Patient", "select": [{"forEach": "a", "forEachOrNull": "b"}]},
            "one of forEach, forEachOrNull and repeat",
        ),
        ({"resource": "Patient", "select": [{"column": [column("1a", "id")]}]}, r"column\[0\].name: expected letters"),
        ({"resource": "Patient", "select": [{"column": [{"name": "a", "path": "id"}]}]}, r"column\[0\].type"),
        ({"resource": "Patient", "select": [{"column": [column("n", "name", "HumanName")]}]}, r"column\[0\].type"),
        (
            {"resource": "Patient", "select": [{"column": [{**column("n", "id"), "collection": True}]}]},
            "one value a cell",
        ),
        ({"resource": "Patient", "select": [ID], "constant": [{"name": "a"}]}, r"constant\[0\]"),
        ({"resource": "Patient", "select": [ID], "profile": ["x"]}, "profile"),
        ({"resourceType": "Patient", "resource": "Patient", "select": [ID]}, "expected a ViewDefinition"),
        (b"{", "expected a ViewDefinition in JSON"),
    ],
)
def test_a_definition_that_is_no_view_is_refused_with_its_place(definition, message) -> None:
    with pytest.raises(ViewError, match=message):
        View.parse(definition)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (column("given", "name.given"), r"select\[0\].column\[0\] \(given\): expected one value or none, got 3"),
        (column("gender", kind="boolean"), "expected boolean, got 'female'"),
        (column("birthDate", kind="integer"), "expected integer, got '1961-02-03'"),
        (column("active", kind="integer"), "expected integer, got True"),
        (column("name", "name.first()"), "expected text, got"),
        (column("gender", kind="base64Binary"), "expected base64"),
        (column("age", "birthDate + 1"), r"select\[0\].column\[0\]: "),
    ],
)
def test_a_record_that_does_not_fit_is_named_and_never_coerced(wanted, message) -> None:
    with pytest.raises(ViewError, match=message):
        rows([{"column": [wanted]}], ANNA)


def test_a_cross_product_cannot_fill_the_memory() -> None:
    many = {**ANNA, "name": [{"family": str(n)} for n in range(101)]}
    wide = [{"forEach": "name", "column": [column(f"n{n}", "family")]} for n in range(2)]
    with pytest.raises(ViewError, match="at most 10000 rows of one resource"):
        rows(wide, many)
