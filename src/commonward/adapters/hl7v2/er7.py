"""ER7, the pipe-and-hat form of HL7 v2: split only as far as someone looks.

    segment CR field | repetition ~ component ^ subcomponent &, with escapes (HL7 v2.8.2 chapter 2.5 to 2.7)

Nothing is lost: a message keeps its raw bytes, unknown escapes stay as they were written, and each segment remembers
which of its fields someone read, so that what nobody read can be counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from commonward.adapters.hl7v2.charset import DEFAULT_FALLBACK, decode
from commonward.adapters.hl7v2.errors import BadMessage
from commonward.ledger.encoding import digest

NULL = '""'  # "delete what you have": for a snapshot the same as nothing

_NAME = re.compile(r"[A-Z][A-Z0-9]{2}(?![A-Za-z0-9])")
_LAYOUT = {"br": "\n", "sp": "\n", "ce": "\n", "fi": "", "nf": "", "in": "", "ti": "", "sk": " "}
MOST_SPACES = 99  # for \.sk9999999\ and \.sp...\


@dataclass(frozen=True, slots=True)
class Separators:
    """MSH-1 and MSH-2."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    truncation: str = ""

    @classmethod
    def of(cls, msh: str) -> Separators:
        """From the text of a segment MSH, FHS or BHS. Raises BadMessage."""
        mark = msh[3:4]
        if not mark or mark.isalnum() or mark.isspace():
            raise BadMessage("MSH-1", f"expected a field separator such as '|', got {mark!r}")
        marks = msh[4:].split(mark, 1)[0].rstrip()
        if len(marks) < 2 or len(marks) > 5 or len(set(marks + mark)) != len(marks) + 1 or re.search(r"[\w\s]", marks):
            raise BadMessage("MSH-2", f"expected 2 to 5 different marks such as '^~\\&', got {marks[:20]!r}")
        return cls(mark, *marks)


def unescape(text: str, marks: Separators, codec: str = "ascii") -> str:
    r"""What the text says: \F\ \S\ \T\ \R\ \E\ \P\, \X0D0A\, \.br\ and other layout; \H\ and \N\ go.

    \C..\ and \M..\ (another charset), \Z..\ (local) and what is no escape stay as written.
    """
    mark = marks.escape
    if mark not in text:
        return text
    parts = text.split(mark)
    out = [parts[0]]
    at = 1
    while at < len(parts):
        # An escape needs both its marks: the last part cannot be one.
        meaning = _meaning(parts[at], marks, codec) if at + 1 < len(parts) else None
        if meaning is None:
            out.append(mark + parts[at])
            at += 1
        else:
            out.append(meaning + parts[at + 1])
            at += 2
    return "".join(out)


def escape(text: str, marks: Separators) -> str:
    """The text as a field may hold it."""
    names = {marks.field: "F", marks.component: "S", marks.repetition: "R", marks.escape: "E", marks.subcomponent: "T"}
    names |= {"\r": "X0D", "\n": ".br"}
    return "".join(f"{marks.escape}{names[letter]}{marks.escape}" if letter in names else letter for letter in text)


def _meaning(code: str, marks: Separators, codec: str) -> str | None:
    match code:
        case "F":
            return marks.field
        case "S":
            return marks.component
        case "T":
            return marks.subcomponent
        case "R":
            return marks.repetition
        case "E":
            return marks.escape
        case "P":
            return marks.truncation or None
        case "H" | "N":
            return ""
    if code[:1] == "X" and re.fullmatch(r"X(?:[0-9A-Fa-f]{2})+", code):
        try:
            return bytes.fromhex(code[1:]).decode(codec)
        except (UnicodeDecodeError, LookupError):
            return None
    if code[:1] == "." and code[1:3] in _LAYOUT:
        count = code[3:].strip("+ ")
        if count and not (count.isascii() and count.isdigit()):
            return None
        repeated = int(count[:3] or 1) if code[1:3] in ("sp", "sk") else 1
        return _LAYOUT[code[1:3]] * min(repeated, MOST_SPACES)
    return None


class Value:
    """One repetition of a field. Components and subcomponents count from 1."""

    __slots__ = ("_codec", "_marks", "_parts", "text")

    def __init__(self, text: str, marks: Separators, codec: str) -> None:
        self.text = text
        self._marks = marks
        self._codec = codec
        self._parts = text.split(marks.component)

    def get(self, component: int, subcomponent: int = 1) -> str:
        """Unescaped and stripped; "" where there is nothing or the null value."""
        if component > len(self._parts):
            return ""
        part = self._parts[component - 1]
        if not part:
            return ""
        marks = self._marks
        if marks.subcomponent and marks.subcomponent in part:
            subs = part.split(marks.subcomponent)
            part = subs[subcomponent - 1] if subcomponent <= len(subs) else ""
        elif subcomponent > 1:
            return ""
        if marks.escape in part:
            part = unescape(part, marks, self._codec)
        return "" if part == NULL else part.strip()

    def all(self) -> str:
        """The whole repetition as text, its separators shown as they stand."""
        return "" if self.text == NULL else unescape(self.text, self._marks, self._codec)

    def __len__(self) -> int:
        return len(self._parts)

    def __bool__(self) -> bool:
        return bool(self.text.strip(" " + self._marks.component + self._marks.subcomponent)) and self.text != NULL


class Segment:
    """One segment; `read` collects the numbers of the fields that were asked for."""

    __slots__ = ("_codec", "_fields", "_marks", "name", "read", "text")

    def __init__(self, text: str, marks: Separators, codec: str) -> None:
        self.text = text
        self.name = text[:3]
        self.read: set[int] = set()
        self._marks = marks
        self._codec = codec
        self._fields: list[str] | None = None

    @property
    def fields(self) -> list[str]:
        """As written; fields[n] is field n, and of MSH field 1 is the separator itself."""
        if self._fields is None:
            self._fields = self.text.split(self._marks.field)
            if self.name in ("MSH", "FHS", "BHS"):
                self._fields.insert(1, self._marks.field)
        return self._fields

    def raw(self, number: int) -> str:
        self.read.add(number)
        return self.fields[number] if number < len(self.fields) else ""

    def values(self, number: int) -> list[Value]:
        """The repetitions that hold something."""
        text = self.raw(number)
        if not text or text == NULL:
            return []
        marks = self._marks
        parts = text.split(marks.repetition) if marks.repetition else [text]
        return [value for part in parts if (value := Value(part, marks, self._codec))]

    def value(self, number: int) -> Value:
        """The first repetition, or an empty value."""
        found = self.values(number)
        return found[0] if found else Value("", self._marks, self._codec)

    def get(self, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """A text of the first repetition that holds something."""
        return self.value(number).get(component, subcomponent)

    def seen(self) -> Iterator[int]:
        """Numbers of the fields that hold something."""
        for number, text in enumerate(self.fields):
            if number and text.strip(" ^~&") and text != NULL:
                yield number


@dataclass(slots=True)
class Coverage:
    """How much of a message was understood: fields that hold something, those that a mapping read, and the rest."""

    seen: int = 0
    mapped: int = 0
    unmapped: Counter[str] = field(default_factory=Counter)


@dataclass(eq=False)
class Message:
    """One message. `raw` is what came, to the byte; all else is read from it on demand."""

    raw: bytes
    marks: Separators
    segments: list[Segment]
    charset: str
    notes: list[str]

    @classmethod
    def parse(cls, raw: bytes, *, charset: str | None = None, fallback: str = DEFAULT_FALLBACK) -> Message:
        """Read one message (as `framing.split_messages` gives it). Raises BadMessage, nothing else.

        Segments end in CR; LF and CRLF are taken too. A line that does not start like a segment continues the field
        before it: some senders put bare line ends into text.
        """
        text, codec, notes = decode(raw, charset, fallback)
        text = text.lstrip("\ufeff \r\n\t\x0b")
        if not text.startswith("MSH"):
            raise BadMessage("segment 1", f"expected MSH, got {text[:20]!r}")
        lines = _lines(text.rstrip("\x1c\r\n "))
        marks = Separators.of(lines[0])
        segments: list[Segment] = []
        for number, line in enumerate(lines):
            if _NAME.match(line) and line[3:4] in ("", marks.field):
                segments.append(Segment(line, marks, codec))
            elif line.strip():
                last = segments[-1]
                notes.append(f"line {number + 1} does not start a segment; it was read as part of {last.name}")
                segments[-1] = Segment(f"{last.text}\n{line}", marks, codec)
        return cls(raw, marks, segments, codec, notes)

    def of(self, name: str) -> Iterator[Segment]:
        """Segments of that name, in order."""
        return (segment for segment in self.segments if segment.name == name)

    def first(self, name: str) -> Segment | None:
        return next(self.of(name), None)

    @property
    def msh(self) -> Segment:
        return self.segments[0]

    @cached_property
    def code(self) -> str:
        """`ADT`, `ORU`: MSH-9.1."""
        return self.msh.get(9)

    @cached_property
    def event(self) -> str:
        """`A01`: MSH-9.2, or EVN-1 where old senders leave that out."""
        evn = self.first("EVN")
        return self.msh.get(9, 2) or (evn.get(1) if evn else "")

    @cached_property
    def control_id(self) -> str:
        return self.msh.get(10)

    @cached_property
    def application(self) -> str:
        return self.msh.get(3)

    @cached_property
    def facility(self) -> str:
        return self.msh.get(4)

    @cached_property
    def version(self) -> str:
        return self.msh.get(12)

    @cached_property
    def digest(self) -> bytes:
        """Of the content, however it was framed: line ends, marks and blanks around it do not count."""
        body = self.raw.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\r").replace(b"\n", b"\r")
        return digest("commonward hl7v2 message v1", body.strip(b"\x0b\x1c\r\t "))

    def coverage(self) -> Coverage:
        """Over all segments, by what has been read until now."""
        found = Coverage()
        for segment in self.segments:
            for number in segment.seen():
                found.seen += 1
                if number in segment.read:
                    found.mapped += 1
                else:
                    found.unmapped[f"{segment.name}-{number}"] += 1
        return found


@dataclass(frozen=True, slots=True)
class SourceId:
    """What names a message. Control ids alone do not: 29 of our 70 samples share one. `digest` settles it."""

    facility: str
    application: str
    control_id: str
    digest: bytes

    def __str__(self) -> str:
        return "|".join(part.replace("|", "%7C") for part in (self.facility, self.application, self.control_id))


def source_id(message: Message) -> SourceId:
    return SourceId(message.facility, message.application, message.control_id, message.digest)


def _lines(text: str) -> list[str]:
    """Where CR ends segments, a bare LF belongs to a field; else LF ends them."""
    if re.search(r"\r(?!\n)", text):
        return [line.removeprefix("\n") for line in text.split("\r")]
    return text.split("\r\n") if "\r\n" in text else text.split("\n")
