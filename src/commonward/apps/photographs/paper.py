"""One picture that is to be taken in, as bytes: what a worker process is given, and what a dead letter keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from commonward.workflows.wire import Message

KIND: Final = "photograph"
"""The form of a piece (`workflows.ports.Piece`) that holds an `Asked`."""

DICOM: Final = "dicom"
IMAGE: Final = "image"

MOST_KEPT: Final = 16 << 20
"""Of a refused file, so many bytes at most are kept to be tried again, as of a FHIR resource."""


@dataclass(frozen=True, slots=True)
class Asked(Message):
    """A file, and what a list or its folder says of it.

    Attributes:
        form: DICOM or IMAGE.
        data: the file's bytes as they came; empty where they were too many to keep.
        patient: "" where the file itself says whose it is.
        label: "" where nothing is known yet.
        eye, device, taken: as in `records.images.photograph.Photograph`.
        looked: number of the member of staff who looked for burnt-in text and found none; "" when nobody did.
        left_out: how many bytes were too many to keep.
    """

    form: str
    data: bytes
    patient: str = ""
    label: str = ""
    eye: str = ""
    device: str = "unknown"
    taken: str = ""
    looked: str = ""
    left_out: int = 0

    def kept(self) -> Asked:
        """As a dead letter keeps it: nobody has looked yet, and no more bytes than there is room for."""
        asked = replace(self, looked="")
        return asked if len(self.data) <= MOST_KEPT else replace(asked, data=b"", left_out=len(self.data))
