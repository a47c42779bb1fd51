"""Reads one picture and makes FHIR records of it: Media with the picture written anew, Condition with what it shows.

Runs in worker processes for many pictures (decoders are what an attacker aims at), and in a member's own for one dead
letter. Loads pydicom and Pillow, which come with the extra `learning`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from commonward.adapters.dicom import read_photography
from commonward.adapters.fhir.photographs import Pictured, condition, media
from commonward.adapters.images import Listed, encoded, fitted, read_listed
from commonward.adapters.images.encode import JPEG
from commonward.apps.photographs.paper import DICOM, Asked
from commonward.records.images.photograph import PATHOGENS, Eye, ImageRefused, Photograph, Why
from commonward.records.images.quality import quality
from commonward.records.stored import compose
from commonward.workflows.ports import Cut, Piece
from commonward.workflows.wire import MessageError

_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")  # FHIR R4, 2.24.0.1: id


@dataclass(frozen=True, slots=True)
class Read:
    """A picture that may be taken in.

    Attributes:
        patient, label: whose it is, and what it shows ("" where that is not known).
        trees: its FHIR resources.
        poor: what the quality gate says of it; learners leave such pictures out.
        suspected: where writing was suspected though a person looked and found none; "" mostly.
    """

    patient: str
    label: str
    trees: tuple[dict[str, Any], ...]
    poor: tuple[str, ...]
    suspected: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """A picture that may not: the kind of reason, and the sentence. Travels between processes, as errors do not."""

    why: Why
    what: str

    def __str__(self) -> str:
        return f"{self.why.value}: {self.what}"


def read(asked: Asked, name: str) -> Read:
    """The records of a picture. `name` is for messages. Raises ImageRefused."""
    if asked.left_out:
        raise ImageRefused(
            f"{name}: its {asked.left_out} bytes were too many to keep; take the file in again", Why.SIZE
        )
    if asked.label and asked.label not in PATHOGENS:
        raise ImageRefused(f"{name}: expected a class of {', '.join(PATHOGENS)}, got {asked.label[:40]!r}", Why.LABEL)
    if asked.patient:
        _check_key(asked.patient, name)
    suspected = ""
    try:
        found = _photograph(asked, name, refuse_text=True)
    except ImageRefused as refused:
        if refused.why is not Why.TEXT or not asked.looked:
            raise
        suspected = str(refused)
        found = _photograph(asked, name, refuse_text=False)  # a file that says itself that there is text: refused
    _check_key(found.patient, name)
    height, width, _ = found.pixels.shape
    wide, high = fitted(width, height)
    device = " ".join("".join(each if each.isprintable() else " " for each in found.device).split()) or "unknown"
    picture = Pictured(
        found.patient, found.digest, encoded(found.pixels), JPEG, wide, high, str(found.eye), device, found.taken
    )
    trees = [condition(found.patient, asked.label)] if asked.label else []
    return Read(found.patient, asked.label, (*trees, media(picture)), quality(found).reasons, suspected)


def _check_key(patient: str, name: str) -> None:
    if not _ID.fullmatch(patient):
        raise ImageRefused(
            f"{name}: expected a patient's key of 1 to 64 letters, digits, '-' or '.', as FHIR's ids are, got "
            f"{patient[:80]!r}",
            Why.PATIENT,
        )


def _photograph(asked: Asked, name: str, *, refuse_text: bool) -> Photograph:
    if asked.form != DICOM:
        nowhere = Path()  # its bytes are here already
        listed = Listed(nowhere, name, asked.patient, asked.label, Eye(asked.eye), asked.device, asked.taken)
        return read_listed(listed, refuse_text=refuse_text, data=asked.data)
    found = read_photography(asked.data, name=name, label=asked.label or None, refuse_text=refuse_text)
    if asked.patient and asked.patient != found.patient:
        raise ImageRefused(
            f"{name}: expected the patient whom the list names, got another in Patient ID (0010,0020); one is wrong",
            Why.PATIENT,
        )
    return replace(found, eye=Eye(asked.eye) or found.eye, taken=asked.taken or found.taken)


def examine(asked: tuple[tuple[str, bytes], ...]) -> list[Read | Refused]:
    """`read` over (name, an `Asked` as bytes), for a worker process."""
    out: list[Read | Refused] = []
    for name, data in asked:
        try:
            out.append(read(Asked.parse(data), name))
        except ImageRefused as refused:
            out.append(Refused(refused.why, str(refused)))
    return out


class PhotographCutter:
    """Implements `workflows.ports.Cutter` for pieces of KIND: so that dead letters of pictures are replayed as any."""

    def cut(self, slab: Piece) -> Iterator[Cut | Piece]:
        """The records of one picture, or the piece with what is wrong with it."""
        try:
            found = read(Asked.parse(slab.raw), slab.where)
        except MessageError as fault:
            yield replace(slab, trouble=f"expected a picture as it was taken in: {fault}")
        except ImageRefused as refused:
            yield replace(slab, trouble=str(Refused(refused.why, str(refused))))
        else:
            for tree in found.trees:
                yield Cut(slab.where, tree, compose(tree).stored)


def key_of_file(name: str) -> str:
    """A patient's key for a picture of which only the file's name is known: one file, one patient."""
    return f"file-{sha256(name.encode()).hexdigest()[:16]}"
