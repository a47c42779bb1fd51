"""HL7 v2 files as the pieces that `workflows.ingest` takes in; `Hl7Translator` is what reads them there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from commonward.adapters.hl7v2.framing import RawMessage, split_messages
from commonward.workflows.ports import Piece

KIND = "hl7v2"


def pieces(source: Path | str | bytes | BinaryIO, system: str, *, name: str | None = None) -> Iterator[Piece]:
    """One piece a message; what is none carries its trouble. Raises OSError if a path cannot be read."""
    label = name or (Path(source).name if isinstance(source, Path | str) else "bytes")
    for part in split_messages(source):
        if isinstance(part, RawMessage):
            yield Piece(system, KIND, f"{label} {part.where}", part.raw)
        else:
            yield Piece(system, KIND, f"{label} {part.where}", part.raw, part.why)
