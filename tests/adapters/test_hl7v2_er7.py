"""HL7 v2 as it really arrives: every framing, charset and escape; nothing lost, nothing guessed in silence."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from commonward.adapters.hl7v2 import (
    BadMessage,
    BadPart,
    Fault,
    Message,
    RawMessage,
    Separators,
    acknowledge,
    frame,
    source_id,
    split_messages,
)
from commonward.adapters.hl7v2 import framing as framing_module
from commonward.adapters.hl7v2.datatypes import number
from commonward.adapters.hl7v2.er7 import escape, unescape
from commonward.adapters.hl7v2.times import moment
from commonward.apps.samples import samples

TESTS = Path(__file__).parents[1]
SAMPLES = sorted((TESTS / "data" / "hl7v2").glob("*.hl7"))
VECTORS = json.loads((TESTS / "vectors" / "hl7v2.json").read_text("utf-8"))
MARKS = Separators()
HEAD = b"MSH|^~\\&|APP|FAC|||20240531083000+0800||ADT^A08|C1|P|2.5"


def one(source: bytes) -> Message:
    (part,) = split_messages(source)
    assert isinstance(part, RawMessage)
    return Message.parse(part.raw)


def test_vectors_of_escapes_times_numbers_and_sources() -> None:
    for vector in VECTORS["escapes"]:
        assert unescape(vector["in"], MARKS) == vector["out"]
    for vector in VECTORS["times"]:
        for zone, key in (("", "out"), ("+08:00", "with_default_zone")):
            found = moment(vector["in"], zone)
            assert (found.datetime if found else None) == vector[key]
    for vector in VECTORS["numbers"]:
        found_number = number(vector["in"])
        assert (orjson.dumps(found_number).decode() if found_number is not None else None) == vector["out"]
    messages = {file.name: Message.parse(file.read_bytes()) for file in samples("hl7v2")}
    assert len(VECTORS["sources"]) == len(messages)
    for vector in VECTORS["sources"]:
        message = messages[vector["file"]]
        assert (str(source_id(message)), message.digest.hex()) == (vector["source"], vector["digest"])


def test_all_seventy_samples_are_read_without_losing_a_byte() -> None:
    assert len(SAMPLES) == 70
    for path in SAMPLES:
        raw = path.read_bytes()
        message = one(raw)
        assert message.raw.strip() == raw.strip()
        assert message.code and message.control_id
        marks = message.marks
        text = "\n".join(
            marks.field.join(s.fields if s.name != "MSH" else ["MSH", *s.fields[2:]]) for s in message.segments
        )
        assert text.split() == message.raw.decode("utf-8-sig").split()


def test_control_ids_are_not_unique_but_content_tells_messages_apart() -> None:
    messages = [one(path.read_bytes()) for path in SAMPLES]
    assert max(Counter(message.control_id for message in messages).values()) == 29
    assert len({source_id(message) for message in messages}) == 70


def test_a_resend_is_the_same_source_however_it_is_framed() -> None:
    body = HEAD + b"\rPID|1||7\r"
    ways = (body, body.replace(b"\r", b"\r\n"), body.replace(b"\r", b"\n"), b"\xef\xbb\xbf" + body, frame(body))
    assert len({source_id(one(way)) for way in ways}) == 1


def test_mllp_blocks_and_what_lies_between_them() -> None:
    stream = b"noise" + frame(HEAD) + b"garbage\r" + frame(HEAD + b"\rPID|1") + b"\r\n"
    parts = list(split_messages(stream))
    assert [type(part) for part in parts] == [BadPart, RawMessage, BadPart, RawMessage]
    assert parts[1].raw == HEAD and parts[3].raw == HEAD + b"\rPID|1"
    assert frame(HEAD) == b"\x0b" + HEAD + b"\r\x1c\r"


def test_a_batch_gives_its_messages_and_a_wrong_count_is_told() -> None:
    batch = b"FHS|^~\\&\rBHS|^~\\&\r" + HEAD + b"\rPID|1\r" + HEAD + b"\rBTS|%d\rFTS|1\r"
    assert [type(part) for part in split_messages(batch % 2)] == [RawMessage, RawMessage]
    *messages, bad = split_messages(batch % 3)
    assert len(messages) == 2 and isinstance(bad, BadPart) and "says 3 messages, 2 came" in bad.why


def test_messages_split_at_any_chunk_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = b"".join(frame(HEAD + b"\rPID|%d" % n) for n in range(5)) + b"\xef\xbb\xbf" + HEAD + b"\r\nPID|x\r\n"
    whole = list(split_messages(stream))
    assert len(whole) == 6
    for size in (1, 2, 3, 7, 50, 64):
        monkeypatch.setattr(framing_module, "CHUNK", size)
        assert list(split_messages(stream)) == whole


def test_a_message_without_end_is_not_held_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing_module, "CHUNK", 1000)
    monkeypatch.setattr(framing_module, "MOST_BYTES", 5000)
    parts = list(split_messages(HEAD + b"\rOBX|" + b"x" * 20_000 + b"\r" + HEAD))
    assert isinstance(parts[0], BadPart) and isinstance(parts[-1], RawMessage) and parts[-1].raw == HEAD


def test_separators_are_whatever_msh_says() -> None:
    message = Message.parse(b"MSH#*!%@#APP#FAC##############\rPID#1##7*x@y!8\r")
    assert message.marks == Separators("#", "*", "!", "%", "@")
    pid = message.segments[1]
    assert [value.get(1) for value in pid.values(3)] == ["7", "8"] and pid.get(3, 2, 2) == "y"
    with pytest.raises(BadMessage, match="MSH-2"):
        Message.parse(b"MSH|||||")
    with pytest.raises(BadMessage, match="MSH-1"):
        Message.parse(b"MSH")


@pytest.mark.parametrize(
    ("said", "codec"), [("GB 18030-2000", "gb18030"), ("UNICODE UTF-8", "utf-8"), ("BIG-5", "big5hkscs")]
)
def test_charsets_whose_letters_hide_separators(said: str, codec: str) -> None:
    # In GB 18030 each of these names has a byte that is '|', '^', '\\' or '~'.
    text = f"MSH|^~\\&|HIS|鎈|||20240531||ADT^A08|C1|P|2.5||||||{said}\rPID|1||7||檤^偰~亅^昞\r"
    try:
        raw = text.encode(codec)
    except UnicodeEncodeError:
        raw = text.translate(str.maketrans("鎈檤偰亅昞", "許功蓋許功")).encode(codec)
    message = Message.parse(raw)
    assert message.charset == codec
    assert message.control_id == "C1" and message.segments[1].get(3) == "7"
    assert len(message.segments[1].values(5)) == 2


def test_a_silent_charset_is_read_with_a_note_and_a_broken_promise_is_refused() -> None:
    head = "MSH|^~\\&|HIS|F|||20240531||ADT^A08|C1|P|2.5||||||{}\rPID|1||7||张^伟"
    utf8 = Message.parse(head.format("").encode())
    assert utf8.segments[1].get(5) == "张" and "read so" in utf8.notes[0]
    gbk = head.format("").encode("gb18030")
    assert "set the charset" in Message.parse(gbk).notes[0]
    assert Message.parse(gbk, charset="gb18030").segments[1].get(5) == "张"
    assert Message.parse(gbk, fallback="gb18030").segments[1].get(5) == "张"
    with pytest.raises(BadMessage, match="MSH-18"):
        Message.parse(head.format("UNICODE UTF-8").encode("gb18030"))
    assert Message.parse(head.format("UNICODE UTF-16").encode("utf-16")).segments[1].get(5) == "张"
    assert Message.parse(head.format("MARTIAN").encode()).notes[0].startswith("MSH-18 'MARTIAN'")


def test_a_bare_line_end_in_text_does_not_break_the_message() -> None:
    cr = Message.parse(HEAD + b"\rOBX|1|TX|x||first\nsecond\rNTE|1")
    assert [segment.name for segment in cr.segments] == ["MSH", "OBX", "NTE"]
    assert cr.segments[1].get(5) == "first\nsecond"
    lf = Message.parse(HEAD + b"\nOBX|1|TX|x||first\nsecond line\nNTE|1")
    assert lf.segments[1].get(5) == "first\nsecond line" and "line 3" in lf.notes[0]


def test_unread_fields_are_counted() -> None:
    message = Message.parse(HEAD + b'\rPID|1||7|""|Li||^^|F')
    message.msh.read.update(range(20))
    pid = message.segments[1]
    assert pid.get(3) == "7" and pid.get(4) == ""
    coverage = message.coverage()
    assert coverage.unmapped == {"PID-1": 1, "PID-5": 1, "PID-8": 1}
    assert coverage.seen - coverage.mapped == 3


def test_answers_go_back_to_the_sender_with_where_and_why() -> None:
    message = Message.parse(
        b"MSH|^~\\&|LIS|NORTH|EMR|SOUTH|20240531||ORU^R01^ORU_R01|C|1|P|2.5.1".replace(b"C|1", b"C1")
    )
    yes = Message.parse(acknowledge(message, "AA", control_id="A1", now=1_717_000_000_000))
    assert [yes.msh.get(n) for n in (3, 4, 5, 6, 7)] == ["EMR", "SOUTH", "LIS", "NORTH", "20240529162640+0000"]
    assert (yes.code, yes.event, yes.control_id, yes.version) == ("ACK", "R01", "A1", "2.5.1")
    msa = yes.first("MSA")
    assert msa and (msa.get(1), msa.get(2)) == ("AA", "C1")
    faults = [Fault(101, "no patient | identifier", "PID-3")]
    no = Message.parse(acknowledge(message, "AE", control_id="A2", now=0, faults=faults))
    err = no.first("ERR")
    assert err and [err.get(2), err.get(2, 3), err.get(3), err.get(4)] == ["PID", "3", "101", "E"]
    assert err.get(8) == "no patient | identifier"
    blind = Message.parse(acknowledge(None, "AR", control_id="A3", now=0, faults=[Fault(207, "unreadable")]))
    assert blind.first("MSA") and blind.first("ERR")
    old = Message.parse(b"MSH|^~\\&|A|B|C|D|2024||ADT^A01|9|P|2.3")
    assert b"MSA|AE|9|no patient" in acknowledge(old, "AE", control_id="A4", now=0, faults=faults)


@settings(max_examples=50)
@given(st.text(max_size=60))
@example("|^~\\&\r\n")
def test_what_is_escaped_comes_back(text: str) -> None:
    assert unescape(escape(text, MARKS), MARKS) == text
    assert not set(escape(text, MARKS).replace("\\", "")) & set("|^~&\r\n")


@settings(max_examples=50)
@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n|\x0b\x1c"), max_size=12), max_size=6),
        max_size=5,
    )
)
def test_split_and_joined_segments_are_the_same(segments: list[list[str]]) -> None:
    lines = ["ZZ" + str(n) + "".join("|" + field for field in fields) for n, fields in enumerate(segments)]
    raw = "\r".join([HEAD.decode() + "||||||UNICODE UTF-8", *lines]).encode()
    message = Message.parse(raw)
    assert ["|".join(segment.fields) for segment in message.segments[1:]] == [
        segment.text for segment in message.segments[1:]
    ]
    assert message.raw == raw and len(message.segments) == len(lines) + 1


@settings(max_examples=50)
@given(st.binary(max_size=120), st.booleans())
@example(b"\\X", True)
def test_no_bytes_raise_anything_but_bad_message(noise: bytes, with_head: bool) -> None:
    raw = (HEAD + b"\r" if with_head else b"MSH") + noise
    for part in split_messages(raw):
        assert isinstance(part, RawMessage | BadPart)
    try:
        message = Message.parse(raw)
    except BadMessage:
        return
    for segment in message.segments:
        for field in range(len(segment.fields)):
            for value in segment.values(field):
                assert isinstance(value.get(1), str) and isinstance(value.all(), str)
    message.coverage()
