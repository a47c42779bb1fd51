"""Finds the messages in what arrives: MLLP blocks, batch files, or messages one after another.

MLLP (HL7 v2 Transport, release 1): VT, message, FS, CR. Batch (HL7 v2.8.2 2.10.3): FHS BHS messages BTS FTS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20
MOST_BYTES = 16 << 20  # of one message, as of any record

VT, FS, CR = b"\x0b", b"\x1c", b"\r"
# A message, a batch header or trailer at the start of a line.
_START = re.compile(rb"(?:^|(?<=[\r\n\x0b\x1c]))(?:\xef\xbb\xbf)?(MSH|FHS|BHS|BTS|FTS)(?=[^A-Za-z0-9\s])")


@dataclass(frozen=True, slots=True)
class RawMessage:
    """The bytes of one message, framing taken off. `offset` counts from the start of the file or stream."""

    raw: bytes
    index: int
    offset: int

    @property
    def where(self) -> str:
        return f"message {self.index + 1} (byte {self.offset})"


@dataclass(frozen=True, slots=True)
class BadPart:
    """Bytes that belong to no message, or a batch that does not hold what it says."""

    where: str
    why: str
    raw: bytes

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


def frame(raw: bytes) -> bytes:
    """One message as an MLLP block."""
    return VT + raw.strip(VT + FS + b"\r\n") + CR + FS + CR


def split_messages(source: bytes | Path | str | BinaryIO) -> Iterator[RawMessage | BadPart]:
    """Every message in a file or stream, in order; what is none comes as BadPart. Holds one message in memory.

    Raises OSError if a path cannot be read, and nothing for what the bytes hold.
    """
    if isinstance(source, bytes):
        yield from _split(BytesIO(source))
    elif isinstance(source, Path | str):
        with Path(source).open("rb") as stream:
            yield from _split(stream)
    else:
        yield from _split(source)


@dataclass(slots=True)
class _Batch:
    index: int = 0
    in_batch: int = 0
    batches: int = 0


def _split(stream: BinaryIO) -> Iterator[RawMessage | BadPart]:
    state = _Batch()
    data, base, searched = b"", 0, 0
    while True:
        read = stream.read(CHUNK)
        if not data and not base and read.startswith((b"\xff\xfe", b"\xfe\xff")):
            # UTF-16 hides the starts of segments from a search in bytes; such a file is taken as one message.
            yield RawMessage(read + stream.read(), 0, 0)
            return
        data += read
        # A start at the very end may be incomplete: it is looked at again with the next chunk.
        starts = [found.start() for found in _START.finditer(data, searched)]
        starts = [at for at in starts if at < len(data) - 8 or not read]
        at = 0
        for start in starts:
            if start > at:
                yield from _part(data[at:start], base + at, state)
            at = start
        searched = max(at + 1, len(data) - 8)
        if not read:
            if at < len(data):
                yield from _part(data[at:], base + at, state)
            return
        if len(data) - at > MOST_BYTES + CHUNK:
            why = f"more than {MOST_BYTES} bytes without the start of another message; read on at the next"
            yield BadPart(f"byte {base + at}", why, data[at : at + CHUNK])
            at = len(data) - 8
        base += at
        searched -= at
        data = data[at:]


def _part(part: bytes, offset: int, state: _Batch) -> Iterator[RawMessage | BadPart]:
    """One stretch from a start to the next."""
    kind = part.removeprefix(b"\xef\xbb\xbf")[:3]
    if kind == b"MSH" and _START.match(part):
        body, _, rest = part.partition(FS)
        body = body.rstrip(VT + b"\r\n ")
        if len(body) > MOST_BYTES:
            yield BadPart(f"byte {offset}", f"a message of {len(body)} bytes; at most {MOST_BYTES}", body[:CHUNK])
        else:
            yield RawMessage(body, state.index, offset)
        state.index += 1
        state.in_batch += 1
        if rest.strip(VT + FS + b"\r\n\t "):
            yield BadPart(f"byte {offset + len(part) - len(rest)}", "bytes between MLLP blocks", rest)
        return
    if kind in (b"FHS", b"BHS") and _START.match(part):
        state.in_batch = 0
        return
    if kind in (b"BTS", b"FTS") and _START.match(part):
        yield from _trailer(part, kind.decode(), offset, state)
        return
    if part.strip(VT + FS + b"\r\n\t \xef\xbb\xbf\x1a\x00"):
        yield BadPart(f"byte {offset}", f"expected MSH at the start of a message, got {part.strip()[:20]!r}", part)


def _trailer(part: bytes, kind: str, offset: int, state: _Batch) -> Iterator[BadPart]:
    """BTS-1 says how many messages the batch holds, FTS-1 how many batches the file holds."""
    fields = part.strip(b"\r\n\xef\xbb\xbf").split(part.removeprefix(b"\xef\xbb\xbf")[3:4])
    said = fields[1].strip() if len(fields) > 1 else b""
    held, what = (state.in_batch, "messages") if kind == "BTS" else (state.batches, "batches")
    if kind == "BTS":
        state.batches += 1
        state.in_batch = 0
    if said and said.isdigit() and len(said) < 10 and int(said) != held and (kind == "BTS" or held):
        why = f"the trailer says {int(said)} {what}, {held} came; ask the sender for the whole file"
        yield BadPart(f"{kind}-1 (byte {offset})", why, part)
