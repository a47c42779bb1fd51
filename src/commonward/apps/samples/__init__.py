"""Sample records that ship with Commonward (see NOTICE): Synthea and HL7 samples, and synthetic ones of ours."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable


def samples(folder: str) -> list[Traversable]:
    """The sample files of a folder (`fhir`, `hl7v2` or `malformed`), by name; licences and notices left out."""
    inside = files(__package__).joinpath(folder).iterdir()
    return sorted(
        (file for file in inside if file.name.endswith((".json", ".ndjson", ".hl7"))), key=lambda file: file.name
    )
