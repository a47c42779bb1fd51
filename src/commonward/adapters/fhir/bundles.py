"""Reads FHIR R4 files: bundles of any size, NDJSON, single resources. Memory holds one resource at a time.

Each resource comes out as the bytes that the source wrote and as a plain tree of them. What cannot be read comes out as
a `BadEntry` with where and why, and reading goes on behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from commonward.adapters.fhir.cut import CHUNK, Torn, Window

MOST_BYTES = 16 << 20  # of one resource, as in records.stored
_KEPT = 1 << 20  # of a bad entry that is longer than MOST_BYTES, its first bytes

_ELEMENT = re.compile(rb'\{\s*(?:"fullUrl"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")\s*,\s*)?"resource"\s*:\s*(?=\{)')
NEXT_ENTRY = re.compile(rb'\}\s*,\s*(?=\{\s*"(?:fullUrl|resource)"\s*:)')
_TAIL = re.compile(rb'\}(?=\s*(?:,\s*"(?:request|search|response)"\s*:\s*\{[^{}]*\}\s*)?\}$)')
_UUID = re.compile(r"urn:uuid:([0-9a-fA-F-]{36})$")
_GUESSES = 3  # then cut exactly; a guess fails on a bundle inside a bundle


@dataclass(frozen=True, slots=True)
class Entry:
    """One resource: `raw` its bytes in the source, `tree` what `orjson.loads` makes of them (numbers lose digits).

    `where` names file, JSON pointer of the resource and byte offset, for messages.
    """

    raw: bytes
    tree: dict[str, Any]
    full_url: str | None
    index: int
    pointer: str
    where: str

    @property
    def resource_type(self) -> str:
        return str(self.tree.get("resourceType", ""))

    @property
    def resource_id(self) -> str | None:
        """The resource's own id; for one without, the UUID of its fullUrl, as a server would hand out one."""
        identity = self.tree.get("id")
        if isinstance(identity, str) and identity:
            return identity
        found = _UUID.match(self.full_url or "")
        return found[1].lower() if found else None

    @property
    def link(self) -> tuple[str, str] | None:
        """(fullUrl, "Type/id") for the side index that joins references."""
        if self.full_url is None or self.resource_id is None:
            return None
        return self.full_url, f"{self.resource_type}/{self.resource_id}"


@dataclass(frozen=True, slots=True)
class BadEntry:
    """Bytes that could not be read as a resource, for the dead-letter store."""

    where: str
    why: str
    raw: bytes
    index: int

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


def read_bundle(source: Path | str | bytes | BinaryIO, *, name: str | None = None) -> Iterator[Entry | BadEntry]:
    """The resources of a bundle, an NDJSON file (`.ndjson`, or one resource a line) or a single-resource file.

    `name` stands for the source in messages; a path's own name otherwise. Raises OSError if the file cannot be read;
    whatever the bytes hold, nothing else.
    """
    with opened(source) as stream:
        label = name or (Path(source).name if isinstance(source, Path | str) else "bytes")
        window = Window(stream)
        lines = read_lines(window, label)
        yield from (Reader(window, label).read() if lines is None else lines)


def links(entries: Iterable[Entry | BadEntry]) -> dict[str, str]:
    """fullUrl -> "Type/id" of every entry that has both. For a large file store `Entry.link` one by one instead."""
    return dict(entry.link for entry in entries if isinstance(entry, Entry) and entry.link)


class Reader:
    """Walks one JSON document: the keys of the top level, and the elements of its "entry"."""

    def __init__(self, window: Window, label: str) -> None:
        self._window = window
        self._label = label
        self._index = 0
        self._cut_short = False

    def read(self) -> Iterator[Entry | BadEntry]:
        start = self.start()
        yield from (self.elements(start) if isinstance(start, int) else start)

    def start(self) -> int | Iterator[Entry | BadEntry]:
        """Where the list of a bundle's entries begins; for a file without one, all that it holds."""
        window = self._window
        at = window.skip_space(0)
        if window.peek(at) != ord("{"):
            found = "an empty file" if window.peek(at) == -1 else f"{window.data[at : at + 20]!r}"
            return iter(
                (self._bad(at, at + _KEPT, f"expected a JSON object (a FHIR Bundle or resource), got {found}"),)
            )
        try:
            kind, entries = self._find_entries(at + 1)
        except Torn as torn:
            return iter((self._bad(at, at + _KEPT, f"not a JSON document: {torn}; nothing of this file was read"),))
        return self._single(at, kind) if entries is None else entries

    def _find_entries(self, at: int) -> tuple[str | None, int | None]:
        """(resourceType if seen, where the list of a Bundle's entries starts or None if this is no Bundle)."""
        window, kind, entries = self._window, None, None
        while True:
            at = window.skip_space(at)
            if window.peek(at) == ord("}"):
                return kind, None
            end = window.end_of_string(at, MOST_BYTES)
            key = window.data[at:end]
            at = window.skip_space(end)
            if window.peek(at) != ord(":"):
                raise Torn(f"expected ':' after {key[:40]!r}", window.base + at)
            at = window.skip_space(at + 1)
            if key == b'"entry"' and window.peek(at) == ord("[") and kind in (None, "Bundle"):
                entries = at + 1
                if kind == "Bundle" or self._is_bundle_by_its_entries(entries):
                    return kind, entries
            end = window.end_of_value(at, MOST_BYTES)
            if key == b'"resourceType"':
                kind = window.data[at:end].decode("utf-8", "replace").strip('"')
                if kind == "Bundle" and entries is not None:
                    return kind, entries
            at = window.skip_space(end)
            if window.peek(at) == ord(","):
                at += 1
            elif window.peek(at) != ord("}"):
                raise Torn("expected ',' or '}'", window.base + at)

    def _is_bundle_by_its_entries(self, at: int) -> bool:
        """Keys have no order: "entry" may come before "resourceType". List has "entry" too, but no resources there."""
        window = self._window
        while len(window.data) - at < 4096 and window.more():
            pass
        return _ELEMENT.match(window.data, window.skip_space(at)) is not None

    def _single(self, at: int, kind: str | None) -> Iterator[Entry | BadEntry]:
        window = self._window
        try:
            end = window.end_of_value(at, MOST_BYTES)
        except Torn as torn:
            yield self._bad(at, at + _KEPT, str(torn))
            return
        if kind == "Bundle":
            return  # a Bundle without entries says nothing
        yield self._entry(window.data[at:end], None, at, "")
        rest = window.skip_space(end)
        if window.peek(rest) != -1:
            yield self._bad(rest, rest + _KEPT, "bytes behind the end of the document were not read")

    def elements(self, at: int) -> Iterator[Entry | BadEntry]:
        window = self._window
        while True:
            if at > CHUNK // 2:  # seldom, so that dropping costs little for each element
                window.drop(at)
                at = 0
            at = window.skip_space(at)
            if window.peek(at) == ord(","):
                at = window.skip_space(at + 1)
            byte = window.peek(at)
            if byte == ord("]"):
                return
            if byte == -1:
                if not self._cut_short:
                    yield self._bad_bytes(b"", at, "the file ends inside the list of entries; send it again, whole")
                return
            entry, at = self._element(at)
            yield entry
            self._index += 1

    def _element(self, at: int) -> tuple[Entry | BadEntry, int]:
        """(the element of the list that starts at `at`, where it ends)."""
        window = self._window
        guess = self._guess(at)
        if guess is not None:
            return guess
        try:
            end = window.end_of_value(at, MOST_BYTES + _KEPT)
            return self._exact(window.data[at:end], at), end
        except Torn as torn:
            start, kept = window.base + at, window.data[at : at + MOST_BYTES]
            end = self._next_element(at)
            bad = BadEntry(
                self._where(start), f"{torn}; read on at the next entry", kept[: window.base + end - start], self._index
            )
            return bad, end

    def _guess(self, at: int) -> tuple[Entry, int] | None:
        """Most elements start `{"fullUrl": ..., "resource": {` and the next starts likewise: cut there and parse.

        Sound because a whole JSON object cannot be the beginning of another: if what was cut parses, it was the value.
        """
        window = self._window
        head = _ELEMENT.match(window.data, at)
        if head is None:
            return None
        start = at
        for _ in range(_GUESSES):
            found = NEXT_ENTRY.search(window.data, start)
            if found is None:
                return None
            end = found.start() + 1
            # The resource ends where the tail of the element begins: search no further back than a tail is long.
            tail = _TAIL.search(window.data, max(head.end(), end - 512), end)
            if tail is not None:
                raw = window.data[head.end() : tail.start() + 1]
                try:
                    tree = orjson.loads(raw)
                    full_url = orjson.loads(head[1]) if head[1] else None
                except orjson.JSONDecodeError:
                    pass
                else:
                    if len(raw) > MOST_BYTES:
                        return None
                    return self._made(raw, tree, full_url, head.end()), end
            start = end
        return None

    def _exact(self, element: bytes, at: int) -> Entry | BadEntry:
        try:
            tree = orjson.loads(element)
        except orjson.JSONDecodeError as cause:
            return self._bad_bytes(element, at, f"not JSON: {cause.msg} at byte {cause.pos} of the entry")
        if not isinstance(tree, dict):
            return self._bad_bytes(element, at, "expected an entry, a JSON object")
        if not isinstance(tree.get("resource"), dict):
            method = tree.get("request", {}).get("method") if isinstance(tree.get("request"), dict) else None
            why = f"an entry without a resource ({method or 'no'} request): there is nothing to take in"
            return self._bad_bytes(element, at, why)
        window = Window(BytesIO(element))
        window.more()
        position = 1
        raw = b""
        while True:  # the last "resource" counts, as it does in the tree
            position = window.skip_space(position)
            key_end = window.end_of_string(position, MOST_BYTES)
            key = window.data[position:key_end]
            start = window.skip_space(window.skip_space(key_end) + 1)
            position = window.end_of_value(start, MOST_BYTES + _KEPT)
            if key == b'"resource"':
                raw = window.data[start:position]
            position = window.skip_space(position)
            if window.peek(position) == ord("}"):
                break
            position += 1
        full_url = tree.get("fullUrl")
        if not raw:
            return self._bad_bytes(element, at, 'the key "resource" is written with escapes; write it plainly')
        if len(raw) > MOST_BYTES:
            return self._bad_bytes(element, at, f"a resource of {len(raw)} bytes; at most {MOST_BYTES} are taken in")
        return self._made(raw, tree["resource"], full_url if isinstance(full_url, str) else None, at)

    def _next_element(self, at: int) -> int:
        """Behind a torn element: where something that looks like the next one begins, else the end of the file."""
        window = self._window
        while True:
            found = NEXT_ENTRY.search(window.data, at)
            if found:
                return found.start() + 1
            if len(window.data) > MOST_BYTES + _KEPT:  # nothing in sight: forget the middle, keep what a match needs
                window.drop(len(window.data) - 4096)
                at = 0
            if not window.more():
                self._cut_short = True
                return len(window.data)

    def _entry(self, raw: bytes, full_url: str | None, at: int, pointer: str) -> Entry | BadEntry:
        try:
            tree = orjson.loads(raw)
        except orjson.JSONDecodeError as cause:
            return self._bad_bytes(raw, at, f"not JSON: {cause.msg} at byte {cause.pos}")
        where = f"{self._label} byte {self._window.base + at}"
        return Entry(raw, tree, full_url, self._index, pointer, where)

    def _made(self, raw: bytes, tree: dict[str, Any], full_url: str | None, at: int) -> Entry:
        pointer = f"/entry/{self._index}/resource"
        where = f"{self._label} {pointer} byte {self._window.base + at}"
        return Entry(raw, tree, full_url, self._index, pointer, where)

    def _bad(self, start: int, end: int, why: str) -> BadEntry:
        return self._bad_bytes(self._window.data[start:end], start, why)

    def _bad_bytes(self, raw: bytes, at: int, why: str) -> BadEntry:
        return BadEntry(self._where(self._window.base + at), why, raw[:MOST_BYTES], self._index)

    def _where(self, offset: int) -> str:
        return f"{self._label} /entry/{self._index} byte {offset}"


def read_lines(window: Window, label: str) -> Iterator[Entry | BadEntry] | None:
    """The lines of an NDJSON file, None for anything else. Opens the window and skips a byte order mark."""
    window.more()
    if window.data.startswith(b"\xef\xbb\xbf"):
        window.drop(3)
    lines = label.lower().endswith((".ndjson", ".jsonl")) or _looks_like_lines(window.data)
    return _lines(window, label) if lines else None


def _lines(window: Window, label: str) -> Iterator[Entry | BadEntry]:
    index = at = 0
    while True:
        end = window.data.find(b"\n", at)
        if end < 0:
            window.drop(at)
            at, end = 0, len(window.data)
            if end <= MOST_BYTES and window.more():
                continue
        where = f"{label} line {index + 1}"
        if end - at > MOST_BYTES:
            yield BadEntry(where, f"a line of more than {MOST_BYTES} bytes", window.data[at : at + _KEPT], index)
            end = _end_of_line(window, end)
        elif line := window.data[at:end].strip():
            yield _line(line, index, where)
        if end >= len(window.data) and not window.more():
            return
        at = end + 1
        index += 1


def _end_of_line(window: Window, at: int) -> int:
    """Where the line goes on to end, without holding it."""
    while True:
        end = window.data.find(b"\n", at)
        if end >= 0:
            return end
        window.drop(len(window.data))
        at = 0
        if not window.more():
            return 0


def _line(line: bytes, index: int, where: str) -> Entry | BadEntry:
    try:
        tree = orjson.loads(line)
    except orjson.JSONDecodeError as cause:
        return BadEntry(where, f"not JSON: {cause.msg} at byte {cause.pos} of the line", line, index)
    if not isinstance(tree, dict):
        return BadEntry(where, "expected a resource, a JSON object", line, index)
    return Entry(line, tree, None, index, "", where)


def _looks_like_lines(head: bytes) -> bool:
    """More than one line, and the first is a JSON object by itself."""
    first, newline, rest = head.partition(b"\n")
    if not newline or not first.startswith(b"{") or not rest or rest.isspace():
        return False
    try:
        return isinstance(orjson.loads(first), dict)
    except orjson.JSONDecodeError:
        return False


@contextmanager
def opened(source: Path | str | bytes | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield BytesIO(source)
    elif isinstance(source, Path | str):
        with Path(source).open("rb") as stream:
            yield stream
    else:
        yield source
