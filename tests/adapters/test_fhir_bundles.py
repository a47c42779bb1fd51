"""FHIR files of every shape and in every state of repair, read without loss and in flat memory."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.adapters.fhir import BadEntry, Entry, ReferenceCheck, links, read_bundle, references
from commonward.adapters.fhir import bundles as bundles_module
from commonward.adapters.fhir.cut import CHUNK, Torn, Window

DATA = Path(__file__).parents[1] / "data" / "synthea_r4"
BUNDLES = sorted(DATA.glob("*.json"))


def entries(source: bytes, **more: str) -> list[Entry | BadEntry]:
    return list(read_bundle(source, **more))


def bundle(*elements: bytes) -> bytes:
    return b'{"resourceType":"Bundle","type":"collection","entry":[' + b",".join(elements) + b"]}"


def element(number: int, body: bytes = b"") -> bytes:
    return (
        b'{"fullUrl":"urn:uuid:00000000-0000-0000-0000-%012d","resource":{"resourceType":"Observation","id":"o%d"%b}}'
        % (number, number, body)
    )


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.stem[:20])
def test_every_resource_of_a_synthea_bundle_comes_out_as_its_own_bytes(path: Path) -> None:
    found = list(read_bundle(path))
    wanted = orjson.loads(path.read_bytes())["entry"]
    text = path.read_bytes()
    assert [entry.tree for entry in found if isinstance(entry, Entry)] == [one["resource"] for one in wanted]
    for entry in found:
        assert isinstance(entry, Entry)
        assert orjson.loads(entry.raw) == entry.tree
        assert entry.raw in text


def test_numbers_keep_the_digits_of_the_source() -> None:
    raw = b'{"resourceType":"Observation","valueQuantity":{"value":7.40,"x":0.010,"y":1.0e2}}'
    (entry,) = entries(bundle(b'{"resource":' + raw + b"}"))
    assert isinstance(entry, Entry) and entry.raw == raw


def test_a_malformed_entry_is_named_and_the_rest_of_the_file_goes_on() -> None:
    broken = b'{"fullUrl":"urn:uuid:x","resource":{"resourceType":"Patient","birthDate":19x}}'
    first, bad, last = entries(bundle(element(1), broken, element(3)), name="lab.json")
    assert isinstance(first, Entry) and isinstance(last, Entry)
    assert isinstance(bad, BadEntry)
    assert bad.raw == broken and "lab.json /entry/1" in bad.where and "not JSON" in bad.why
    assert last.pointer == "/entry/2/resource"


@pytest.mark.parametrize(
    "broken",
    [
        b'{"fullUrl":"urn:uuid:x","resource":{"resourceType":"Patient"}',
        b'{"fullUrl":"urn:uuid:x","resource":{"resourceType":"Patient","name":[{"family":"Li"}}}',
        b'{"fullUrl":"urn:uuid:x","resource":{"resourceType":"Patient","name":"Li}}',
        b'{"fullUrl":"urn:uuid:x","resource":{"resourceType":"Patient"}}}',
        b"nonsense",
        b"}",
        b"[1,2]",
        b"7",
    ],
    ids=["unclosed", "crossed", "open-string", "one-too-many", "nonsense", "bracket", "list", "number"],
)
def test_a_torn_entry_does_not_swallow_its_neighbours(broken: bytes) -> None:
    found = entries(bundle(element(1), broken, element(3), element(4)))
    good = [entry.tree.get("id") for entry in found if isinstance(entry, Entry)]
    assert good[0] == "o1" and good[-1] == "o4"
    assert "o3" in good or len(found) - len(good) >= 1
    assert any(isinstance(entry, BadEntry) for entry in found)


def test_a_file_cut_short_says_so_and_keeps_what_came_before() -> None:
    whole = bundle(element(1), element(2), element(3))
    found = entries(whole[: len(whole) - 40])
    assert [entry.tree["id"] for entry in found if isinstance(entry, Entry)] == ["o1", "o2"]
    assert isinstance(found[-1], BadEntry) and "ends" in found[-1].why
    found = entries(bundle(element(1))[:-2])
    assert isinstance(found[-1], BadEntry) and "send it again" in found[-1].why


def test_an_entry_without_a_resource_is_reported_not_dropped() -> None:
    (bad,) = entries(bundle(b'{"fullUrl":"urn:x","request":{"method":"DELETE","url":"Patient/1"}}'))
    assert isinstance(bad, BadEntry) and "DELETE" in bad.why


def test_a_bundle_inside_a_bundle_is_one_resource() -> None:
    inner = bundle(element(7), element(8))
    one, two = entries(bundle(b'{"fullUrl":"urn:x","resource":' + inner + b"}", element(2)))
    assert isinstance(one, Entry) and one.raw == inner
    assert isinstance(two, Entry) and two.resource_id == "o2"


def test_entries_may_come_before_the_type_and_list_is_no_bundle() -> None:
    (entry,) = entries(b'{"entry":[' + element(1) + b'],"resourceType":"Bundle"}')
    assert isinstance(entry, Entry) and entry.pointer == "/entry/0/resource"
    plain = b'{"entry":[{"item":{"reference":"Patient/1"}}],"resourceType":"List","status":"current","mode":"working"}'
    (entry,) = entries(plain)
    assert isinstance(entry, Entry) and entry.raw == plain
    (entry,) = entries(b'{"entry":[{"search":{"mode":"match"},' + element(1)[1:] + b'],"resourceType":"Bundle"}')
    assert isinstance(entry, Entry) and entry.resource_id == "o1"


def test_a_single_resource_a_bom_and_an_empty_bundle() -> None:
    (entry,) = entries(b'\xef\xbb\xbf {"resourceType":"Patient","id":"p"}\n')
    assert isinstance(entry, Entry) and entry.raw == b'{"resourceType":"Patient","id":"p"}'
    assert entries(b'{"resourceType":"Bundle","type":"collection"}') == []
    assert entries(b'{"resourceType":"Bundle","entry":[]}') == []


@pytest.mark.parametrize("text", [b"", b"  ", b"MSH|^~\\&|", b"[]", b'{"resourceType', b'{"a":}', b'{"a" 1}', b"{,}"])
def test_a_file_that_is_no_json_document_is_one_bad_entry(text: bytes) -> None:
    (bad,) = entries(text)
    assert (isinstance(bad, BadEntry) and "expected" in bad.why) or "JSON" in bad.why  # type: ignore[union-attr]


def test_ndjson_goes_line_by_line() -> None:
    text = b'{"resourceType":"Patient","id":"a"}\r\n\n{broken\n{"resourceType":"Patient","id":"b"}'
    for found in (entries(text, name="export.ndjson"), entries(text)):
        assert [entry.tree["id"] for entry in found if isinstance(entry, Entry)] == ["a", "b"]
        (bad,) = [entry for entry in found if isinstance(entry, BadEntry)]
        assert "line 3" in bad.where and bad.raw == b"{broken"


def test_a_resource_too_large_to_keep_is_refused_and_the_next_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles_module, "MOST_BYTES", 3 * CHUNK)
    long = b',"note":[{"text":"' + b"x" * (6 * CHUNK) + b'"}]'
    first, bad, last = entries(bundle(element(1), element(2, long), element(3)))
    assert isinstance(first, Entry) and isinstance(bad, BadEntry) and isinstance(last, Entry)
    assert "bytes" in bad.why and last.resource_id == "o3"
    lines = [b'{"resourceType":"Patient","id":"%d"}' % n for n in range(3)]
    lines[1] = b'{"resourceType":"Patient","id":"' + b"y" * (7 * CHUNK) + b'"}'
    found = entries(b"\n".join(lines), name="x.ndjson")
    assert [type(entry) for entry in found] == [Entry, BadEntry, Entry]
    assert isinstance(entries(lines[1] + b"\n" + lines[1], name="x.ndjson")[-1], BadEntry)


def test_memory_is_flat_however_long_the_file(tmp_path: Path) -> None:
    body = b',"note":[{"text":"' + b"n" * 1200 + b'"}]'

    def peak(count: int) -> int:
        path = tmp_path / f"{count}.json"
        with path.open("wb") as out:
            out.write(b'{"resourceType":"Bundle","entry":[')
            for number in range(count):
                out.write((b"," if number else b"") + element(number, body))
            out.write(b"]}")
        tracemalloc.start()
        assert sum(isinstance(entry, Entry) for entry in read_bundle(path)) == count
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    small, large = peak(2_000), peak(10_000)
    assert large < small * 1.2 and large < 8 * CHUNK


def test_links_join_the_urn_of_a_transaction_to_type_and_id() -> None:
    uuid = "4d1f0a1e-1111-4a11-8111-aaaaaaaaaaaa"
    text = bundle(element(1), b'{"fullUrl":"urn:uuid:%s","resource":{"resourceType":"Patient"}}' % uuid.encode())
    assert links(read_bundle(text)) == {
        "urn:uuid:00000000-0000-0000-0000-000000000001": "Observation/o1",
        f"urn:uuid:{uuid}": f"Patient/{uuid}",
    }


def test_a_reference_that_leads_nowhere_is_a_warning() -> None:
    check = ReferenceCheck()
    known = {"resourceType": "Patient", "id": "p"}
    asks = {
        "resourceType": "Observation",
        "subject": {"reference": "Patient/p/_history/2"},
        "encounter": {"reference": "urn:uuid:later"},
        "performer": [{"reference": "Practitioner/none"}, {"reference": "http://elsewhere/Practitioner/1"}],
        "specimen": {"reference": "#gone"},
        "device": {"reference": "#here"},
        "contained": [{"resourceType": "Device", "id": "here"}],
    }
    check.see(asks, None, "f /entry/0")
    check.see(known, "urn:uuid:known", "f /entry/1")
    check.see({"resourceType": "Encounter"}, "urn:uuid:later", "f /entry/2")
    assert {one.reference for one in check.dangling()} == {"Practitioner/none", "#gone"}
    assert "f /entry/0/performer/0/reference" in {one.where for one in check.dangling()}
    assert ("/subject/reference", "Patient/p/_history/2") in set(references(asks))


def test_the_samples_have_no_dangling_reference() -> None:
    for path in BUNDLES:
        check = ReferenceCheck()
        for entry in read_bundle(path):
            assert isinstance(entry, Entry)
            check.see(entry.tree, entry.full_url, entry.where)
        assert check.dangling() == [] and check.complete


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=50)
@given(st.lists(st.dictionaries(st.text(max_size=8), JSON, max_size=4), max_size=6), st.sampled_from([None, 1, 4]))
def test_cutting_and_joining_gives_the_same_resources(resources: list[dict[str, object]], indent: int | None) -> None:
    whole = {"resourceType": "Bundle", "entry": [{"fullUrl": "urn:x", "resource": one} for one in resources]}
    found = entries(json.dumps(whole, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    trees = [entry.tree for entry in found if isinstance(entry, Entry)]
    assert trees == resources or any(isinstance(entry, BadEntry) for entry in found)
    assert len(found) == len(resources)


@settings(max_examples=50)
@given(st.binary(max_size=200), st.integers(0, 300))
def test_no_bytes_make_it_raise(noise: bytes, at: int) -> None:
    whole = bundle(element(1), element(2))
    for text in (noise, whole[:at] + noise, whole[:at] + noise + whole[at:]):
        for entry in read_bundle(text):
            assert isinstance(entry, Entry | BadEntry)


@settings(max_examples=50)
@given(JSON)
def test_a_value_ends_where_the_parser_says(value: object) -> None:
    text = json.dumps(value).encode()
    window = Window(io.BytesIO(text + b" ,tail"))
    assert window.end_of_value(0, 1 << 20) == len(text)
    with pytest.raises(Torn):
        Window(io.BytesIO(b'{"a":[')).end_of_value(0, 1 << 20)
