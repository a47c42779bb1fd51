"""Stored bytes: one byte string for one meaning, with the digits that the source wrote."""

import json
import random
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.records.json_faults import MAX_DEPTH, find_fault
from commonward.records.stored import (
    MAX_BYTES,
    NotStorable,
    compose,
    number,
    number_text,
    parse,
    parse_tree,
    read,
    read_faithful,
    stored_bytes,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "stored.json").read_text())
NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,6})?([eE][-+]?[0-9]{1,3})?", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)


class _Number(str):
    """A number literal, so that a test can tell it from text."""


TREES = st.recursive(
    st.none() | st.booleans() | TEXTS | NUMBERS.map(_Number),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def _written(tree: Any, rng: random.Random) -> str:
    """JSON for a tree in some order, with some spacing and some escapes."""

    def space() -> str:
        return rng.choice(["", "", " ", "\n", "\t \r\n"])

    def text(value: str) -> str:
        out = []
        for mark in value:
            if rng.random() < 0.3:
                units = mark.encode("utf-16-be")
                out += [f"\\u{units[at]:02x}{units[at + 1]:02X}" for at in range(0, len(units), 2)]
            else:
                out.append(json.dumps(mark, ensure_ascii=False)[1:-1])
        return '"' + "".join(out) + '"'

    if isinstance(tree, _Number):
        return str(tree)
    if isinstance(tree, str):
        return text(tree)
    if isinstance(tree, list):
        return "[" + ",".join(space() + _written(each, rng) + space() for each in tree) + "]"
    if isinstance(tree, dict):
        items = list(tree.items())
        rng.shuffle(items)
        return "{" + ",".join(f"{space()}{text(k)}{space()}:{space()}{_written(v, rng)}" for k, v in items) + "}"
    return json.dumps(tree)


@given(TREES, st.integers(0, 2**32), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_order_spacing_and_escapes_of_the_input_do_not_show(tree: Any, one: int, other: int) -> None:
    first = parse(_written(tree, random.Random(one)).encode()).stored
    assert first == parse(_written(tree, random.Random(other)).encode()).stored
    assert first == parse(first).stored, "stored bytes are their own stored bytes"
    assert first.find(b" ") == -1 or any(" " in part for part in _texts(tree))


def _texts(tree: Any) -> list[str]:
    if isinstance(tree, dict):
        return [*tree, *(text for each in tree.values() for text in _texts(each))]
    if isinstance(tree, list):
        return [text for each in tree for text in _texts(each)]
    return [tree] if isinstance(tree, str) else []


@pytest.mark.parametrize(
    "digits", ["7.40", "7.4", "0.010", "1.0e2", "-0", "1E+2", "12345678901234567890", "-0.0", "0e0"]
)
def test_numbers_keep_the_digits_of_their_source(digits: str) -> None:
    parsed = parse(f'{{"value": {digits} }}'.encode())
    assert parsed.stored == f'{{"value":{digits}}}'.encode()
    assert number_text(parsed.tree["value"]) == digits


@given(TREES, st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_reading_plainly_gives_the_same_stored_bytes(tree: Any, seed: int) -> None:
    text = _written(tree, random.Random(seed)).encode()
    try:
        plain, stored = read(text)
    except NotStorable as refused:
        assert "binary64" in refused.what
        return
    assert stored == parse(text).stored
    assert plain == orjson.loads(stored)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":7.40}',
        '{"a":1e2}',
        '{"a":1,"a":1}',
        '{"a":-0}',
        '{"a":"\\u0041"}',
        '{"a":12345678901234567890123}',
        "[NaN]",
    ],
)
def test_what_would_lose_something_is_not_called_faithful(text: str) -> None:
    assert read_faithful(text.encode()) is None


def test_spaces_within_texts_do_not_hide_a_difference() -> None:
    assert read_faithful(b'{"a b" : "1 2", "ab": 1.5 }') == {"a b": "1 2", "ab": 1.5}
    assert read_faithful(b'{"a b": 1, "ab": 1.50}') is None


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda v: v["name"])
def test_vectors_that_are_stored(vector: dict[str, str]) -> None:
    assert parse(bytes.fromhex(vector["input"])).stored.hex() == vector["stored"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda v: v["name"])
def test_vectors_that_are_refused_with_their_place(vector: dict[str, Any]) -> None:
    with pytest.raises(NotStorable) as caught:
        parse(bytes.fromhex(vector["input"]))
    assert caught.value.offset == vector["offset"]


def test_a_refusal_says_line_column_and_path() -> None:
    with pytest.raises(NotStorable) as caught:
        parse(b'{"entry": [\n {"id": 1},\n {"id": 2, "id": 3}]}')
    assert (caught.value.line, caught.value.column, caught.value.path) == (3, 12, "entry[1].id")
    assert "'id' again" in str(caught.value)


def test_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(NotStorable, match="split the file"):
        parse(b" " * (MAX_BYTES + 1))


def test_depth_ends_at_64_containers_and_a_million_do_no_harm() -> None:
    parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    parse(b'{"a":' * 63 + b"[1]" + b"}" * 63)
    for depth in (MAX_DEPTH + 1, 1_000, 1_000_000):
        with pytest.raises(NotStorable, match="64 containers"):
            parse(b"[" * depth + b"]" * depth)
    assert parse(b"[" + b"[]," * 500 + b"[]]").stored.count(b"[") == 502, "wide is not deep"


@given(st.binary(max_size=30) | st.text(max_size=30).map(lambda t: t.encode(errors="surrogatepass")))
@settings(max_examples=50)
def test_no_bytes_whatever_do_anything_but_parse_or_be_refused(data: bytes) -> None:
    try:
        stored = parse(data).stored
    except NotStorable as refused:
        assert refused.offset is not None
    else:
        assert find_fault(data.decode()) is None
        assert orjson.loads(stored) is not ...


@given(TREES, st.integers(0, 2**32), st.integers(0, 40), st.sampled_from('{}[]",:0.-eE\\u ntN\x01\ud800'))
@settings(max_examples=50)
def test_the_fast_reader_and_the_slow_one_agree_on_damaged_text(tree: Any, seed: int, at: int, mark: str) -> None:
    text = _written(tree, random.Random(seed))
    damaged = text[:at] + mark + text[at + 1 :]
    data = damaged.encode(errors="surrogatepass")
    fault = find_fault(damaged) if "\ud800" not in damaged else "not UTF-8"
    try:
        parse(data)
    except NotStorable:
        assert fault is not None
    else:
        assert fault is None


def test_an_entry_of_a_bundle_is_stored_as_if_it_had_come_alone() -> None:
    bundle = parse_tree(b'{"entry":[{"resource":{"b":1.50,"a":"\\u00e9"}}]}')
    assert stored_bytes(bundle["entry"][0]["resource"]) == parse(b'{"a":"\xc3\xa9","b":1.50}').stored


def test_a_lone_surrogate_in_a_bundle_stops_only_its_entry() -> None:
    bundle = parse_tree(b'{"entry":[{"a":"\\ud800"},{"a":"b"}]}')
    with pytest.raises(NotStorable):
        stored_bytes(bundle["entry"][0])
    assert stored_bytes(bundle["entry"][1]) == b'{"a":"b"}'


def test_what_a_program_builds_keeps_digits_and_refuses_floats() -> None:
    assert compose({"value": number("7.40"), "n": 3, "ok": [True, None]}).stored == (
        b'{"n":3,"ok":[true,null],"value":7.40}'
    )
    for bad in (7.4, float("nan"), {1: "a"}, {"a": (1,)}, 1 << 70, orjson.Fragment(b"{}")):
        with pytest.raises(NotStorable):
            compose({"value": bad})
    for text in ("07", "1.", ".5", "+1", "NaN", "1 ", "", "١"):
        with pytest.raises(NotStorable):
            number(text)


def test_keys_sort_by_code_point_and_not_by_utf16_unit() -> None:
    assert parse('{"\U0001f600":1,"\uffee":2,"b":3,"B":4}'.encode()).stored == (
        '{"B":4,"b":3,"\uffee":2,"\U0001f600":1}'.encode()
    )
