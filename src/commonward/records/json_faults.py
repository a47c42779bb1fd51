"""Finds where JSON breaks our rules, for the message that a person reads.

`stored.parse` is fast and only learns that a text is bad; this walks the text once more, slowly, and says what, where
(byte, line, column) and inside what. It is also a second, independent statement of the rules: tests hold the two
against each other. Iterative, so that a text nested a million deep cannot exhaust the stack.
"""

import re
from dataclasses import dataclass
from typing import Final

MAX_DEPTH: Final = 64
"""Containers within containers. FHIR R4 resources in use stay under 20."""

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_ESCAPED = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS = ("true", "false", "null")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at a place in a JSON text.

    Attributes:
        what: the rule that broke, what was expected and what came.
        at: index of the character in the text.
        path: where in the document, as in `entry[3].resource.valueQuantity`; empty at the top.
    """

    what: str
    at: int
    path: str


class _Found(Exception):
    def __init__(self, what: str, at: int) -> None:
        self.what = what
        self.at = at


@dataclass(slots=True)
class _Open:
    """A container that is not closed yet."""

    names: set[str] | None  # None for an array
    step: str = ""
    index: int = 0


def find_fault(text: str) -> Fault | None:
    """The first place where the text breaks RFC 8259 or our rules, or None when it is good."""
    stack: list[_Open] = []
    try:
        _walk(text, stack)
    except _Found as found:
        return Fault(found.what, found.at, _path(stack))
    return None


def _walk(text: str, stack: list[_Open]) -> None:
    pos = _skip(text, 1 if text.startswith("\ufeff") else 0)
    if text.startswith("\ufeff"):
        raise _Found("expected JSON in UTF-8 without a byte order mark, got one", 0)
    wants_value = True
    while True:
        if wants_value:
            pos, opened = _value(text, pos, stack)
            if opened:
                continue
        if not stack:
            break
        pos = _skip(text, pos)
        top = stack[-1]
        mark = text[pos : pos + 1]
        if mark == ("]" if top.names is None else "}"):
            stack.pop()
            pos += 1
            wants_value = False
        elif mark == ",":
            pos = _skip(text, pos + 1)
            pos = _next_member(text, pos, top)
            wants_value = True
        else:
            raise _Found(f"expected ',' or the end of the {_kind(top)}, got {_shown(text, pos)}", pos)
    pos = _skip(text, pos)
    if pos != len(text):
        raise _Found(f"expected nothing after the value, got {_shown(text, pos)}", pos)


def _value(text: str, pos: int, stack: list[_Open]) -> tuple[int, bool]:
    """Reads one value, or opens a container whose first value comes next (then the flag is True)."""
    pos = _skip(text, pos)
    mark = text[pos : pos + 1]
    if mark == '"':
        return _string(text, pos)[1], False
    if mark in ("{", "["):
        if len(stack) == MAX_DEPTH:
            raise _Found(f"expected at most {MAX_DEPTH} containers within each other, got more", pos)
        inside = _skip(text, pos + 1)
        if text[inside : inside + 1] == ("}" if mark == "{" else "]"):
            return inside + 1, False
        top = _Open(set() if mark == "{" else None)
        stack.append(top)
        if top.names is not None:
            inside = _next_member(text, inside, top)
        return inside, True
    for word in _WORDS:
        if text.startswith(word, pos):
            return pos + len(word), False
    number = _NUMBER.match(text, pos)
    if number is None:
        raise _Found(f"expected a JSON value, got {_shown(text, pos)}", pos)
    return number.end(), False


def _next_member(text: str, pos: int, top: _Open) -> int:
    """Past the name and the colon in an object; nothing to read in an array."""
    if top.names is None:
        top.index += 1
        return pos
    if text[pos : pos + 1] != '"':
        raise _Found(f"expected a name in double quotes, got {_shown(text, pos)}", pos)
    name, end = _string(text, pos)
    if name in top.names:
        raise _Found(f"expected each name once in an object, got {name!r} again", pos)
    top.names.add(name)
    top.step = name
    colon = _skip(text, end)
    if text[colon : colon + 1] != ":":
        raise _Found(f"expected ':' after the name {name!r}, got {_shown(text, colon)}", colon)
    return colon + 1


def _string(text: str, start: int) -> tuple[str, int]:
    """The string that opens at `start`, and the index after its closing quote."""
    parts: list[str] = []
    high = -1  # index of a high surrogate that still wants its low half
    pos = start + 1
    while True:
        plain = _PLAIN.match(text, pos)
        assert plain is not None
        if plain.end() > pos:
            if high >= 0:
                raise _Found("expected a low surrogate after a high one, got other text", high)
            parts.append(plain.group())
            pos = plain.end()
        mark = text[pos : pos + 1]
        if mark == '"':
            if high >= 0:
                raise _Found("expected a low surrogate after a high one, got the end of the string", high)
            return "".join(parts), pos + 1
        if mark == "":
            raise _Found("expected the closing quote of a string, got the end of the text", start)
        escape = _ESCAPE.match(text, pos)
        if escape is None:
            what = "an escape JSON does not know" if mark == "\\" else f"the control character {ord(mark):#04x}"
            raise _Found(f"expected a character or an escape in a string, got {what}", pos)
        unit = int(escape.group()[2:], 16) if escape.group()[1] == "u" else -1
        if 0xDC00 <= unit <= 0xDFFF:
            if high < 0:
                raise _Found("expected no lone surrogate, got a low one", pos)
            parts.append(chr(0x10000 + (int(text[high + 2 : high + 6], 16) - 0xD800) * 0x400 + unit - 0xDC00))
            high = -1
        elif high >= 0:
            raise _Found("expected a low surrogate after a high one, got another escape", high)
        elif 0xD800 <= unit <= 0xDBFF:
            high = pos
        else:
            parts.append(chr(unit) if unit >= 0 else _ESCAPED[escape.group()[1]])
        pos = escape.end()


def _skip(text: str, pos: int) -> int:
    space = _SPACE.match(text, pos)
    assert space is not None
    return space.end()


def _kind(top: _Open) -> str:
    return "array" if top.names is None else "object"


def _shown(text: str, pos: int) -> str:
    for word in ("NaN", "Infinity", "-Infinity"):
        if text.startswith(word, pos):
            return f"{word}, which JSON does not have"
    return repr(text[pos : pos + 12]) if pos < len(text) else "the end of the text"


def _path(stack: list[_Open]) -> str:
    path = ""
    for each in stack:
        if each.names is None:
            path += f"[{each.index}]"
        elif each.step:
            path += f".{each.step}" if path else each.step
    return path
