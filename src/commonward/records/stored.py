"""Stored bytes: the one byte string in which a record is kept, fingerprinted and handed on.

JSON with names sorted by code point, UTF-8, no spaces, escapes only where JSON demands one, and every number in the
digits its source wrote: FHIR R4 (2.24.0.1) lets 7.40 and 7.4 mean different things, and RFC 8785 would make them one.
Whatever the order, spacing and escapes of the input, the bytes are the same. They are written once: to verify is to
hash what is kept, never to write it again.

Left to others: whether the JSON is FHIR (the adapter's schema), and what the record means (`record`).
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final, NewType

import orjson

from commonward.records.json_faults import MAX_DEPTH, find_fault

Stored = NewType("Stored", bytes)
"""Canonical bytes, as `parse` or `stored_bytes` made them."""

Tree = Any
"""A parsed document: dict, list, str, bool, None, and `orjson.Fragment` for each number (see `number_text`)."""

MAX_BYTES: Final = 16 << 20

_SPACES: Final = b" \n\r\t"

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", re.ASCII)


class NotStorable(ValueError):
    """A text that cannot become stored bytes.

    Attributes:
        what: the rule that broke, what was expected and what came.
        offset: the byte where it broke, or None when a tree was given and not a text.
        line: and column, both from 1; 0 when unknown.
        path: where in the document, as in `entry[3].resource.status`; empty at the top.
    """

    def __init__(self, what: str, offset: int | None = None, line: int = 0, column: int = 0, path: str = "") -> None:
        where = "" if offset is None else f" at byte {offset} (line {line}, column {column})"
        super().__init__(f"{what}{where}{f', in {path}' if path else ''}")
        self.what = what
        self.offset = offset
        self.line = line
        self.column = column
        self.path = path


@dataclass(frozen=True, slots=True)
class Parsed:
    """A document as a tree to look into and as the bytes to keep."""

    tree: Tree
    stored: Stored


def parse(data: bytes) -> Parsed:
    """Read one JSON document and write its stored bytes.

    Args:
        data: JSON in UTF-8, at most 16 MiB, at most 64 containers deep.

    Raises:
        NotStorable: not JSON, a name twice in one object, NaN or Infinity, a lone surrogate, a byte order mark,
            too large, or too deep.
    """
    tree = parse_tree(data)
    try:
        stored = orjson.dumps(tree, option=orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError) as cause:
        raise _explained(data, cause) from cause
    return Parsed(tree, Stored(stored))


def read(data: bytes) -> tuple[Any, Stored]:
    """A document as plain values (`orjson.loads`: numbers are int and float) and its stored bytes, as in `parse`.

    For who needs to look into many documents and write none: half the time of `parse`. Raises NotStorable as it does,
    and for a number beyond 1.8e308, which has no plain value.
    """
    found = read_faithful(data) if len(data) <= MAX_BYTES else None
    if found is not None and fits(found, data):
        return found, stored_bytes(found)
    stored = parse(data).stored
    try:
        return orjson.loads(stored), stored
    except ValueError as cause:  # 1e400: correct JSON, and no float
        raise NotStorable(f"expected numbers that a binary64 can come near, got one beyond: {cause}") from cause


def fits(tree: Tree, text: bytes) -> bool:
    """Whether a document is within the limits of size and depth. `text`: its bytes, in any spacing."""
    # A document of 1.3 KB has some 25 brackets, so most are known to be shallow without being walked.
    shallow = text.count(b"{") + text.count(b"[") <= MAX_DEPTH
    return len(text) <= MAX_BYTES and (shallow or not _too_deep(tree))


def read_faithful(data: bytes) -> Any | None:
    """The plain values of a JSON text, if writing them again gives every number in its digits; else None.

    How it knows: it writes them, and compares both texts without spaces. Spaces within strings go too, but what a
    space never splits (a number, an escape, a name's quotes) then agrees token by token, so no digit was lost and no
    name came twice. Texts with 7.40, with 1e2 or with needless escapes give None, and `parse` reads those.
    Depth and size are the caller's to check.
    """
    try:
        tree = orjson.loads(data)
        # What is written has no spaces but in strings, and there none but U+0020.
        if orjson.dumps(tree).replace(b" ", b"") == data.translate(None, _SPACES):
            return tree
    except (ValueError, TypeError):  # not JSON, or nothing that can be written: `parse` says what
        pass
    return None


def parse_tree(data: bytes) -> Tree:
    """Read one JSON document and keep the digits of its numbers: for a bundle, whose entries are stored one by one.

    A lone surrogate passes here and is refused by `stored_bytes`. Raises NotStorable as `parse` does.
    """
    if len(data) > MAX_BYTES:
        raise NotStorable(f"expected at most {MAX_BYTES} bytes, got {len(data)}: split the file", MAX_BYTES)
    try:
        tree = _DECODER.decode(data.decode())
    except (ValueError, RecursionError) as cause:
        raise _explained(data, cause) from cause
    if not fits(tree, data):
        raise _explained(data, None)
    return tree


def stored_bytes(tree: Tree) -> Stored:
    """The stored bytes of a tree that `parse` or `parse_tree` made, or of a part of one.

    It trusts the tree: for one built by hand use `compose`, which refuses what JSON or this project cannot say.

    Raises:
        NotStorable: a lone surrogate, or something that is no tree.
    """
    try:
        return Stored(orjson.dumps(tree, option=orjson.OPT_SORT_KEYS))
    except (TypeError, ValueError) as cause:
        raise NotStorable(f"expected a tree of JSON values: {cause}") from cause


def compose(tree: Tree) -> Parsed:
    """Stored bytes of a tree that a program built (an HL7 message turned into FHIR, say). Slower than `stored_bytes`.

    Numbers come as `number("7.40")` or as int. Floats are refused: they have lost the digits that the source wrote.

    Raises:
        NotStorable: a float, a name that is not text, another type, too deep, or a lone surrogate.
    """
    _check_built(tree, "", MAX_DEPTH)
    return Parsed(tree, stored_bytes(tree))


def number(text: str) -> orjson.Fragment:
    """A number of a tree, in the digits given. Raises NotStorable when the text is no JSON number."""
    if _NUMBER.fullmatch(text) is None:
        raise NotStorable(f"expected a JSON number, got {text!r:.60}")
    return orjson.Fragment(text.encode())


def number_text(value: Tree) -> str:
    """The digits of a number of a tree, as its source wrote them."""
    if isinstance(value, orjson.Fragment):
        return orjson.dumps(value).decode()  # a fragment does not show what it holds but by being written
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise NotStorable(f"expected a number, got {type(value).__name__}")


def _unique(pairs: list[tuple[str, Tree]]) -> dict[str, Tree]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name twice in one object")
    return members


def _no_constant(word: str) -> Tree:
    raise ValueError(f"{word} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=orjson.Fragment, parse_int=orjson.Fragment, parse_constant=_no_constant
)


def _too_deep(tree: Tree) -> bool:
    level = [tree]
    for _ in range(MAX_DEPTH):
        below: list[Tree] = []
        for each in level:
            if type(each) is dict:
                below += each.values()
            elif type(each) is list:
                below += each
        level = below
        if not level:
            return False
    return any(type(each) in (dict, list) for each in level)


def _explained(data: bytes, cause: BaseException | None) -> NotStorable:
    """Why these bytes were refused, in words and with a place: walks them once more, slowly."""
    try:
        text = data.decode()
    except UnicodeDecodeError as bad:
        line = data.count(b"\n", 0, bad.start) + 1
        column = bad.start - data.rfind(b"\n", 0, bad.start)
        return NotStorable(f"expected UTF-8, got byte {data[bad.start]:#04x}", bad.start, line, column)
    fault = find_fault(text)
    if fault is None:  # never seen: the two statements of the rules would differ
        return NotStorable(f"expected JSON that can be stored: {cause}")
    before = text[: fault.at]
    line = before.count("\n") + 1
    column = fault.at - before.rfind("\n")
    return NotStorable(fault.what, len(before.encode(errors="surrogatepass")), line, column, fault.path)


def _check_built(tree: Tree, path: str, room: int) -> None:
    kind = type(tree)
    if kind is dict or kind is list:
        if room == 0:
            raise NotStorable(f"expected at most {MAX_DEPTH} containers within each other, got more", path=path)
        if kind is list:
            for index, each in enumerate(tree):
                _check_built(each, f"{path}[{index}]", room - 1)
            return
        for name, each in tree.items():
            if type(name) is not str:
                raise NotStorable(f"expected names of text, got {name!r:.60}", path=path)
            _check_built(each, f"{path}.{name}" if path else name, room - 1)
    elif kind is int:
        if not -(1 << 63) <= tree < 1 << 64:
            raise NotStorable("expected an int of 64 bits, or number(text) for a longer one", path=path)
    elif kind is orjson.Fragment:
        if _NUMBER.fullmatch(number_text(tree)) is None:
            raise NotStorable(f"expected a JSON number, got {number_text(tree)!r:.60}", path=path)
    elif tree is not None and kind not in (str, bool):
        raise NotStorable(f"expected text, a number in its digits, true, false or null, got {kind.__name__}", path=path)
