"""Large bundles in slabs: many entries as they lie in the file, so that the processes that prepare do the cutting too.

Cutting resources one by one costs more than storing them, and one process would do it for all. So a file is cut at
borders between entries, half a megabyte apart, where braces pair, and the worker reads a slab as one JSON list: what
parses as a list of whole values, from one border, ends at another. A slab that is anything but a plain list of entries
with numbers that survive is read again one entry at a time, by `bundles`, with the same results and the same faults.

Braces are counted, strings and all: a text with one brace and no mate makes the rest of its file go entry by entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from commonward.adapters.fhir.bundles import NEXT_ENTRY, BadEntry, Entry, Reader, opened, read_lines
from commonward.adapters.fhir.cut import CHUNK, Window
from commonward.records.stored import fits, read_faithful, stored_bytes
from commonward.workflows.ports import Cut, Piece

KIND = "fhir-r4"
SLAB_KIND = "fhir-r4-slab"
SLAB_BYTES = 1 << 19

_END = re.compile(rb"\]\s*\}\s*\Z")


class _Slab(NamedTuple):
    raw: bytes
    offset: int


def slabs(
    source: Path | str | bytes | BinaryIO, system: str, *, name: str | None = None, size: int = SLAB_BYTES
) -> Iterator[Piece]:
    """The file as slabs of about `size` bytes, for `SlabCutter`; what cannot be cut so, as pieces of one resource.

    Holds a few slabs. Raises OSError if the file cannot be read.
    """
    with opened(source) as stream:
        label = name or (Path(source).name if isinstance(source, Path | str) else "bytes")
        window = Window(stream)
        lines = read_lines(window, label)
        for found in _SlabReader(window, label, size).found() if lines is None else lines:
            if isinstance(found, _Slab):
                yield Piece(system, SLAB_KIND, f"{label} byte {found.offset}", found.raw)
            else:
                yield _piece(found, system)


class SlabCutter:
    """The other half, in the worker (`workflows.ports.Cutter`)."""

    def cut(self, slab: Piece) -> Iterator[Cut | Piece]:
        """Each resource of a slab, as values and stored bytes; where that is not plain, as a piece of its own."""
        entries = read_faithful(b"[%b]" % slab.raw)
        cuts = _plain(entries, slab.where) if entries is not None else None
        if cuts is not None:
            yield from cuts
            return
        label, _, offset = slab.where.rpartition(" byte ")
        window = Window(BytesIO(slab.raw + b"]"))
        window.base = int(offset)
        for found in Reader(window, label).elements(0):
            yield _piece(found, slab.system)


def _plain(entries: Any, where: str) -> list[Cut] | None:
    """None when any entry is more than {"fullUrl", "resource", "request", ...} around one resource of sane size."""
    cuts: list[Cut] = []
    for index, entry in enumerate(entries):
        resource = entry.get("resource") if type(entry) is dict else None
        if type(resource) is not dict:
            return None
        stored = stored_bytes(resource)
        if not fits(resource, stored):
            return None
        cuts.append(Cut(f"{where} entry {index}", resource, stored))
    return cuts


class _SlabReader(Reader):
    """A reader whose elements are slabs wherever the file is plain."""

    def __init__(self, window: Window, label: str, size: int) -> None:
        super().__init__(window, label)
        self._size = size

    def found(self) -> Iterator[_Slab | Entry | BadEntry]:
        at_entries = self.start()
        if not isinstance(at_entries, int):
            yield from at_entries
            return
        window, at = self._window, at_entries
        while True:
            if at > CHUNK // 2:
                window.drop(at)
                at = 0
            at = window.skip_space(at)
            if window.peek(at) == ord(","):
                at = window.skip_space(at + 1)
            while len(window.data) - at < 2 * self._size and window.more():
                pass
            slab = self._slab(at)
            if slab is None:
                yield from self.elements(at)
                return
            yield _Slab(slab, window.base + at)
            at += len(slab)

    def _slab(self, at: int) -> bytes | None:
        """The slab that starts here; None at the end of the list, or when there is no telling where it may end."""
        data = self._window.data
        found = NEXT_ENTRY.search(data, at + self._size)
        if found is not None:
            border = found.start() + 1
        elif self._window.ended and (end := _END.search(data, max(at, len(data) - 256))) is not None:
            border = end.start()
        else:
            return None
        slab = data[at:border]
        # Deeper than the list, the entry itself is still open. (`replace` finds by memchr: a third of `count`.)
        if len(slab.replace(b"{", b"")) != len(slab.replace(b"}", b"")):
            return None
        return slab or None


def _piece(found: Entry | BadEntry, system: str) -> Piece:
    return Piece(system, KIND, found.where, found.raw, found.why if isinstance(found, BadEntry) else "")
