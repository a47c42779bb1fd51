"""FHIR R4 from files: read as bytes, checked by the official schema, references listed and never rewritten."""

from commonward.adapters.fhir.bundles import BadEntry, Entry, links, read_bundle
from commonward.adapters.fhir.pieces import pieces
from commonward.adapters.fhir.references import Dangling, ReferenceCheck, references
from commonward.adapters.fhir.slabs import SLAB_KIND, SlabCutter, slabs
from commonward.adapters.fhir.validate import Problem, Validator

__all__ = [
    "SLAB_KIND",
    "BadEntry",
    "Dangling",
    "Entry",
    "Problem",
    "ReferenceCheck",
    "SlabCutter",
    "Validator",
    "links",
    "pieces",
    "read_bundle",
    "references",
    "slabs",
]
