"""Which pictures there are under a path, and what is known of each before it is opened.

A list (CSV) names files, patients and classes; a folder of class folders gives the class; any other folder holds DICOM
files, which name their patients and no class. What a list says wrongly comes out as a refusal by line, and the rest
goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from commonward.adapters.images import Listed, inside, list_file, list_folder, read_bytes
from commonward.adapters.images.folder import SUFFIXES
from commonward.apps.photographs.paper import DICOM, IMAGE, Asked
from commonward.apps.photographs.reading import key_of_file
from commonward.records.images.photograph import PATHOGENS, ImageRefused, Limits, Why

DICOM_SUFFIXES: Final = (".dcm", ".dicom")
_ALL: Final = (*SUFFIXES, *DICOM_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Found:
    """One picture's file, named and located. `listed.patient` is "" where the file says whose it is."""

    listed: Listed
    form: str

    def asked(self, looked: str, limits: Limits) -> Asked:
        """With its bytes. Raises ImageRefused where it cannot be read, or is too large."""
        each, data = self.listed, read_bytes(self.listed, limits)
        return Asked(self.form, data, each.patient, each.label, str(each.eye), each.device, each.taken, looked)


def find(path: Path) -> Iterator[Found | ImageRefused]:
    """The pictures under a path, in order; a refusal where the path, or a line, names none that may be read.

    Class folders name no patients: each of their JPEG and PNG files counts as a patient of its own.
    """
    try:
        if path.is_file() and path.suffix.lower() == ".csv":
            for each in list_file(path, PATHOGENS):
                yield _found(each) if isinstance(each, Listed) else each
        elif path.is_file() and path.suffix.lower() in DICOM_SUFFIXES:
            yield Found(Listed(path, path.name, ""), DICOM)
        elif path.is_dir():
            yield from _of_folder(path)
        elif path.exists():
            yield ImageRefused(
                f"{path}: expected a list (.csv), a folder, or a DICOM file (.dcm): a picture alone does not say whose "
                "it is",
                Why.LISTED,
            )
        else:
            yield ImageRefused(f"{path}: there is no such file or folder", Why.LISTED)
    except ImageRefused as refused:
        yield refused


def _of_folder(root: Path) -> Iterator[Found | ImageRefused]:
    classes = [each for each in root.iterdir() if each.is_dir() and each.name in PATHOGENS]
    if not classes:
        for path in sorted(each for each in root.rglob("*") if each.suffix.lower() in DICOM_SUFFIXES):
            name = str(path.relative_to(root))
            yield inside(path, root) or Found(Listed(path, name, ""), DICOM)
        return
    for each in list_folder(root, _ALL):
        if isinstance(each, Listed) and each.label not in PATHOGENS:
            yield ImageRefused(
                f"{each.name}: expected a folder named as a class: {', '.join(PATHOGENS)}", Why.LABEL
            )  # fmt: skip
        elif isinstance(each, Listed):
            said = each.name if each.path.suffix.lower() in SUFFIXES else ""
            patient = key_of_file(said) if said else ""
            yield _found(Listed(each.path, each.name, patient, each.label))
        else:
            yield each


def _found(listed: Listed) -> Found:
    return Found(listed, DICOM if listed.path.suffix.lower() in DICOM_SUFFIXES else IMAGE)
