"""Synthetic photographs as FHIR records: valid, marked synthetic, and back from the cohort byte for byte."""

import base64
from collections import Counter
from typing import Any

import orjson
import pytest

from commonward.adapters.fhir import Validator
from commonward.adapters.fhir.cohort import Cohort
from commonward.adapters.images import decoded, read_list
from commonward.apps.samples import keratitis
from commonward.records.images.photograph import PATHOGENS
from commonward.records.table import Column, Type

PATIENTS = 2


@pytest.fixture(scope="module")
def trees() -> list[dict[str, Any]]:
    made = orjson.loads(keratitis.bundle("east", PATIENTS, seed=5, each=2, size=192))
    return [entry["resource"] for entry in made["entry"]]


def test_the_records_are_fhir_and_say_that_they_are_synthetic(trees: list[dict[str, Any]]) -> None:
    validator = Validator()
    assert [str(each) for tree in trees for each in validator.errors(tree)] == []
    assert Counter(tree["resourceType"] for tree in trees) == {"Patient": 2, "Condition": 2, "Media": 4}
    for tree in trees:
        assert [each["code"] for each in tree["meta"]["tag"]] == ["HTEST"]
        if tree["resourceType"] != "Patient":
            assert "SYNTHETIC" in tree["note"][0]["text"]


def test_the_cohort_gives_the_latest_picture_of_each_patient_byte_for_byte(trees: list[dict[str, Any]]) -> None:
    found = Cohort.parse(keratitis.cohort()).gather(list(enumerate(trees)))
    assert found.table.columns == (
        Column("photograph", Type.BYTES),
        Column("device", Type.TEXT),
        Column("eye", Type.TEXT),
        Column("label", Type.TEXT),
    )
    assert found.patients == tuple(f"east-{at:05}" for at in range(PATIENTS))
    causes = {tree["subject"]["reference"]: tree["code"]["coding"][0]["code"] for tree in trees if "code" in tree}
    for patient, row, sources in zip(found.patients, found.table.rows, found.sources, strict=True):
        late = max(
            (tree for tree in trees if tree.get("content") and tree["subject"]["reference"] == f"Patient/{patient}"),
            key=lambda tree: str(tree["createdDateTime"]),
        )
        picture, device, eye, label = row
        assert picture == base64.b64decode(late["content"]["data"])
        assert (device, eye) == ("Synthetic Optics SL-1", late["bodySite"]["text"])
        assert label == causes[f"Patient/{patient}"] and label in PATHOGENS
        assert {trees[at]["resourceType"] for at in sources} == {"Media", "Condition"}
        assert isinstance(picture, bytes) and decoded(picture, patient).shape == (192, 192, 3)


def test_a_diagnosis_that_was_entered_in_error_leaves_its_patient_out(trees: list[dict[str, Any]]) -> None:
    first = next(tree for tree in trees if tree["resourceType"] == "Condition")
    wrong = {**first, "verificationStatus": {"coding": [{"code": "entered-in-error"}]}}
    bent = [wrong if tree is first else tree for tree in trees]
    found = Cohort.parse(keratitis.cohort()).gather(list(enumerate(bent)))
    assert len(found.patients) == PATIENTS - 1


def test_the_same_pictures_as_a_folder_have_a_list_that_the_loader_reads(tmp_path) -> None:
    listed = keratitis.folder(tmp_path / "photographs", "north", 2, seed=9, each=2)
    read = list(read_list(listed, PATHOGENS))
    assert [each.patient for each in read] == ["north-00000", "north-00000", "north-00001", "north-00001"]
    assert [each.taken for each in read] == ["2025-01-01", "2025-01-02"] * 2
    assert all(each.device == "Synthetic Optics SL-9" for each in read)


def test_classes_are_unequal_over_the_sites_and_sum_to_one() -> None:
    assert {site: round(sum(shares), 9) for site, shares in keratitis.CLASSES.items()} == dict.fromkeys(
        keratitis.SITES, 1.0
    )
    assert len(set(keratitis.CLASSES.values())) == len(keratitis.SITES)
