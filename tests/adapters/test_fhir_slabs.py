"""Slabs give what reading entry by entry gives: the same records, the same faults, wherever the cuts fall."""

import json
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.adapters.fhir import SLAB_KIND, SlabCutter, pieces, slabs
from commonward.records.stored import NotStorable, read
from commonward.workflows.ports import Cut, Piece

SAMPLES = sorted((Path(__file__).parents[1] / "data" / "synthea_r4").glob("*.json"))
Seen = list[tuple[bytes, str]]


def one_by_one(data: bytes) -> Seen:
    return [_seen(piece) for piece in pieces(data, "emr")]


def by_slabs(data: bytes, size: int = 4096) -> tuple[Seen, int]:
    """(what came, how many pieces were slabs)."""
    found: Seen = []
    count = 0
    for piece in slabs(data, "emr", size=size):
        if piece.kind == SLAB_KIND:
            count += 1
            found += map(_seen, SlabCutter().cut(piece))
        else:
            found.append(_seen(piece))
    return found, count


def _seen(each: Cut | Piece) -> tuple[bytes, str]:
    """(stored bytes, no trouble) of what can be stored, else (raw bytes, the kind of trouble)."""
    if isinstance(each, Cut):
        assert orjson.loads(each.stored) == each.tree
        return each.stored, ""
    if each.trouble:
        return each.raw, each.trouble.split(" at byte")[0]
    try:
        return read(each.raw)[1], ""
    except NotStorable:
        return each.raw, "not storable"


def bundle(*resources: object) -> bytes:
    entries = [{"fullUrl": f"urn:uuid:{n}", "resource": each} for n, each in enumerate(resources)]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}, indent=1).encode()


def observations(count: int) -> Iterator[dict[str, object]]:
    for n in range(count):
        yield {"resourceType": "Observation", "id": f"o{n}", "status": "final", "note": [{"text": "x" * (n % 97)}]}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name[:16])
@pytest.mark.parametrize("size", [1000, 20_000, 1 << 19])
def test_a_synthea_bundle_comes_out_the_same(path: Path, size: int) -> None:
    found, count = by_slabs(path.read_bytes(), size)
    assert count > 0
    assert found == one_by_one(path.read_bytes())


def test_digits_survive_slabs() -> None:
    data = bundle(*observations(50)).replace(b'"status": "final"', b'"status": "final", "valueDecimal": 7.40')
    found, count = by_slabs(data)
    assert count > 1 and len(found) == 50
    assert all(b'"valueDecimal":7.40}' in stored for stored, _ in found)


def test_a_malformed_entry_stops_itself_alone() -> None:
    data = bundle(*observations(80)).replace(b'"id": "o40"', b'"id": o40')
    found, _ = by_slabs(data)
    assert found == one_by_one(data)
    assert sum(1 for _, trouble in found if trouble) == 1 and len(found) == 80


def test_an_entry_without_a_resource_is_reported() -> None:
    data = bundle(*observations(30)).replace(
        b'"resource": {\n    "resourceType": "Observation",\n    "id": "o7"', b'"x": {"id": 1'
    )
    assert by_slabs(data)[0] == one_by_one(data)


def test_a_bundle_inside_a_bundle_is_never_cut_through() -> None:
    inner = json.loads(bundle(*observations(60)))
    data = bundle(*observations(20), inner, *observations(20))
    found, count = by_slabs(data, 1500)
    assert found == one_by_one(data) and len(found) == 41
    assert count > 0


@pytest.mark.parametrize("text", ["{", "}", '"},{"fullUrl":', '}, {"resource": {', "\\"])
def test_braces_in_texts_change_nothing(text: str) -> None:
    resources = list(observations(60))
    resources[10]["note"] = [{"text": text}]
    data = bundle(*resources)
    assert by_slabs(data, 1500)[0] == one_by_one(data)


@pytest.mark.parametrize("end", [b"", b'{"fullUrl": "urn', b"]"])
def test_a_file_cut_short_keeps_what_came_before(end: bytes) -> None:
    whole = bundle(*observations(60))
    data = whole[: whole.index(b'{\n   "fullUrl": "urn:uuid:50"')] + end
    found, _ = by_slabs(data)
    assert found == one_by_one(data)
    assert sum(1 for _, trouble in found if not trouble) == 50


@pytest.mark.parametrize("data", [b"", b"[]", b'{"resourceType":"Patient","id":"p"}', b'{"a":1}\n{"b":2}\n', b"\xff"])
def test_what_is_no_bundle_goes_one_by_one(data: bytes) -> None:
    found, count = by_slabs(data)
    assert count == 0 and found == one_by_one(data)


@given(st.integers(1, 60), st.integers(200, 6000), st.integers(0, 6000), st.binary(max_size=3))
@settings(max_examples=50, deadline=None)
def test_noise_gives_the_same_records_or_fewer_never_others(count: int, size: int, at: int, noise: bytes) -> None:
    whole = bundle(*observations(count))
    data = whole[:at] + noise + whole[at:]
    good = {stored for stored, trouble in one_by_one(data) if not trouble}
    assert {stored for stored, trouble in by_slabs(data, size)[0] if not trouble} == good


def test_a_deep_resource_is_refused_in_a_slab_as_alone() -> None:
    deep: object = 1
    for _ in range(70):
        deep = [deep]
    data = bundle(*observations(20), {"resourceType": "Basic", "x": deep})
    assert by_slabs(data)[0] == one_by_one(data)
    assert by_slabs(data)[0][-1][1] == "not storable"
