"""FHIR files as the pieces that `workflows.ingest` takes in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from commonward.adapters.fhir.bundles import Entry, read_bundle
from commonward.workflows.ports import Piece

KIND = "fhir-r4"


def pieces(source: Path | str | bytes | BinaryIO, system: str, *, name: str | None = None) -> Iterator[Piece]:
    """One piece a resource; what could not be cut out carries its trouble. Raises OSError if a path cannot be read."""
    for entry in read_bundle(source, name=name):
        if isinstance(entry, Entry):
            yield Piece(system, KIND, entry.where, entry.raw)
        else:
            yield Piece(system, KIND, entry.where, entry.raw, entry.why)
