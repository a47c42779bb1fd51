"""One value, one byte string: what the decoder takes and, above all, what it refuses."""

import contextlib
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.ledger import ids
from commonward.ledger.encoding import EncodingError, Value, decode, digest, encode

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "encoding.json").read_text())

integers = st.one_of(
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.sampled_from([0, 23, 24, 255, 256, 65535, 65536, (1 << 32) - 1, 1 << 32, -1, -24, -25, -256, -257, -(1 << 63)]),
)
values = st.recursive(
    st.one_of(integers, st.binary(max_size=40), st.text(max_size=30)),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(integers, inner, max_size=5)),
    max_leaves=20,
)


@settings(max_examples=50, deadline=None)
@given(values)
def test_a_value_comes_back_from_its_bytes(value):
    assert decode(encode(value)) == value


@settings(max_examples=50, deadline=None)
@given(values, st.data())
def test_bytes_that_decode_are_the_one_encoding_of_what_they_say(value, data):
    """Change, drop or add a byte of a good encoding: refused, or else the one encoding of another value."""
    good = bytearray(encode(value))
    at = data.draw(st.integers(0, len(good) - 1))
    how = data.draw(st.sampled_from(["change", "drop", "add"]))
    if how == "change":
        good[at] = data.draw(st.integers(0, 255))
    elif how == "drop":
        del good[at]
    else:
        good.insert(at, data.draw(st.integers(0, 255)))
    try:
        other = decode(bytes(good))
    except EncodingError:
        return
    assert encode(other) == bytes(good)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60))
def test_noise_is_refused_or_canonical_and_raises_nothing_else(noise):
    with contextlib.suppress(EncodingError):
        assert encode(decode(noise)) == noise


@pytest.mark.parametrize("vector", VECTORS["accept"], ids=lambda v: v["name"])
def test_vectors_that_every_implementation_accepts(vector):
    data = bytes.fromhex(vector["bytes"])
    assert encode(decode(data)) == data
    assert diagnostic(decode(data)) == vector["value"]


@pytest.mark.parametrize("vector", VECTORS["refuse"], ids=lambda v: v["name"])
def test_vectors_that_every_implementation_refuses(vector):
    with pytest.raises(EncodingError) as refused:
        decode(bytes.fromhex(vector["bytes"]))
    assert refused.value.offset == vector["offset"]
    assert refused.value.what == vector["what"]


@pytest.mark.parametrize("vector", VECTORS["digest"], ids=lambda v: v["label"])
def test_vectors_of_labelled_digests(vector):
    assert digest(vector["label"], bytes.fromhex(vector["data"])).hex() == vector["digest"]


def diagnostic(value):
    """RFC 8949 8, without its choices."""
    if isinstance(value, bytes):
        return f"h'{value.hex()}'"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=True)
    if isinstance(value, list):
        return "[" + ", ".join(diagnostic(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {diagnostic(item)}" for key, item in value.items()) + "}"
    return str(value)


@pytest.mark.parametrize(
    "value", [True, False, None, 1.5, {1}, object(), bytearray(b"x"), memoryview(b"x"), [None], {1: 1.0}, range(3)]
)
def test_values_without_an_encoding_are_refused(value):
    with pytest.raises(EncodingError, match="expected int, bytes, str"):
        encode(value)


@pytest.mark.parametrize("keys", [{"a": 1}, {b"a": 1}, {True: 1}, {1: 1, "a": 2}])
def test_keys_are_integers(keys):
    with pytest.raises(EncodingError, match="integer keys"):
        encode(keys)


@pytest.mark.parametrize("number", [1 << 64, -(1 << 63) - 1, 1 << 200])
def test_numbers_beyond_64_bits_have_no_encoding(number):
    with pytest.raises(EncodingError, match=r"2\^64 - 1"):
        encode(number)


def test_lone_surrogates_have_no_encoding():
    with pytest.raises(EncodingError, match="surrogates"):
        encode("\ud800")


def test_nesting_ends_at_sixteen_on_the_way_in_and_out():
    deep: Value = 0
    for _ in range(16):
        deep = [deep]
    assert decode(encode(deep)) == deep
    with pytest.raises(EncodingError, match="16 containers"):
        encode([deep])
    with pytest.raises(EncodingError, match="16 containers"):
        decode(b"\x81" * 17 + b"\0")
    with pytest.raises(EncodingError, match="16 containers"):
        decode(b"\xa1\0" * 17 + b"\0")
    with pytest.raises(EncodingError, match="16 containers"):
        decode(b"\x81" * 100_000)


def test_a_length_that_lies_costs_no_memory():
    for head in (b"\x9b" + b"\x7f" * 8, b"\xbb" + b"\x7f" * 8, b"\x5b" + b"\x7f" * 8, b"\x7a\x7f\xff\xff\xff"):
        with pytest.raises(EncodingError, match="more bytes"):
            decode(head + bytes(10))


def test_names_of_numbers_and_tuples_encode_as_what_they_stand_for():
    assert encode((ids.Algorithm.EDDSA, ids.Purpose.OPERATE)) == encode([-8, 1])
    assert encode({ids.Purpose.CARRY: ()}) == encode({2: []})


def test_only_bytes_are_decoded():
    with pytest.raises(TypeError, match="bytearray"):
        decode(bytearray(b"\0"))  # type: ignore[arg-type]  # on purpose


def test_a_label_keeps_digests_of_different_things_apart():
    assert digest("a", b"b") == hashlib.sha256(b"a\0b").digest()
    assert digest("a", b"b", b"c") == digest("a", b"bc")
    assert digest("ab", b"") != digest("a", b"b")


# ----------------------------------------------------------------------------------------------------------------- ids


@pytest.mark.parametrize("good", ["a", "north-general", "x" * 32, "h1"])
def test_member_ids_that_are(good):
    assert ids.parse_member_id(good) == good


@pytest.mark.parametrize("bad", ["", "North", "1st", "-a", "a_b", "x" * 33, "a\n", "é", b"a", None, "a b"])
def test_member_ids_that_are_not(bad):
    with pytest.raises(ValueError, match="expected a member id"):
        ids.parse_member_id(bad)


@pytest.mark.parametrize(
    ("parse", "length"),
    [
        (ids.parse_digest, 32),
        (ids.parse_ledger_id, 32),
        (ids.parse_key_id, 32),
        (ids.parse_tag, 32),
        (ids.parse_handle, 16),
        (ids.parse_consent_id, 16),
        (ids.parse_proposal_id, 16),
    ],
)
def test_identifiers_have_one_length(parse, length):
    assert parse(bytes(length)) == bytes(length)
    for bad in (bytes(length - 1), bytes(length + 1), "x" * length, bytearray(length), None):
        with pytest.raises(ValueError, match=f"of {length} bytes"):
            parse(bad)


def test_credential_ids_are_short_but_not_empty():
    assert ids.parse_credential_id(b"x" * 1023)
    for bad in (b"", b"x" * 1024, "x"):
        with pytest.raises(ValueError, match="1 to 1023"):
            ids.parse_credential_id(bad)


def test_times_and_heights_are_whole_and_not_negative():
    assert ids.parse_block_time(1_790_000_000_000) == 1_790_000_000_000
    assert ids.parse_height(0) == 0
    for bad in (-1, 1 << 53, 1.0, True, None):
        with pytest.raises(ValueError, match="expected"):
            ids.parse_block_time(bad)
        with pytest.raises(ValueError, match="expected"):
            ids.parse_height(bad)


def test_an_algorithm_is_one_of_three():
    assert ids.parse_algorithm(-7) is ids.Algorithm.ES256
    for bad in (0, -257, True, "ES256", None):
        with pytest.raises(ValueError, match="expected an algorithm"):
            ids.parse_algorithm(bad)
    assert ids.parse_public_key(-7, bytes(64))
    with pytest.raises(ValueError, match="of 32 bytes"):
        ids.parse_public_key(-8, bytes(64))


def test_one_key_under_two_algorithms_has_two_ids():
    assert ids.key_id(-8, bytes(32)) != ids.key_id(4, bytes(32))
    assert ids.key_id(-8, bytes(32)).hex() == VECTORS["key_id"]["digest"]
