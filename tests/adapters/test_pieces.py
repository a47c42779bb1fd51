"""From files on disk to what ingest takes in: every sample file, good and broken, loses nothing."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from commonward.adapters import fhir, hl7v2
from commonward.apps.samples import samples
from commonward.records.stored import parse


def test_every_sample_file_becomes_pieces_that_can_be_taken_in() -> None:
    validator = pickle.loads(pickle.dumps(fhir.Validator()))
    for file in samples("fhir"):
        for piece in fhir.pieces(file.read_bytes(), "north-emr", name=file.name):
            assert not piece.trouble and file.name in piece.where
            assert parse(piece.raw).stored and validator.errors(piece.raw) == []
    for file in samples("hl7v2"):
        (piece,) = hl7v2.pieces(file.read_bytes(), "north-lis", name=file.name)
        assert not piece.trouble
        for record in hl7v2.Hl7Translator().translate(piece.raw).records:
            assert validator.errors(record.parsed.stored) == []


def test_what_is_broken_says_where_and_why_and_the_rest_goes_on() -> None:
    found = {
        file.name: list((hl7v2 if file.name.endswith(".hl7") else fhir).pieces(file.read_bytes(), "x", name=file.name))
        for file in samples("malformed")
    }
    troubles = {name: [bool(piece.trouble) for piece in pieces] for name, pieces in found.items()}
    assert troubles["entry-not-json.json"] == [False, True, False]
    assert troubles["cut-short.json"] == [False, True]
    assert troubles["export.ndjson"] == [False, True, False]
    assert troubles["not-json.json"] == [True]
    assert troubles["no-msh.hl7"] == [True]
    assert troubles["batch-short-count.hl7"] == [False, False, True]
    problems = [fhir.Validator().errors(piece.raw) for piece in found["entry-not-fhir.json"]]
    assert [len(each) for each in problems] == [0, 3, 0]


def test_a_file_that_cannot_be_opened_raises_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        list(fhir.pieces(tmp_path / "absent.json", "x"))
    with pytest.raises(OSError, match="absent"):
        list(hl7v2.pieces(tmp_path / "absent.hl7", "x"))
