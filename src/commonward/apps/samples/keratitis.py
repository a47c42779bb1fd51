"""SYNTHETIC slit-lamp photographs as the FHIR R4 records that hospitals would hold, and the cohort that reads them.

Drawn by `adapters.images.slitlamp`, so nothing here says anything about patients. A patient has a Patient, a Condition
with the cause of the keratitis, and one or more Media with the pictures; each says that it is synthetic. `cohort()` is
the image query of the study: it works alike on what a hospital takes in by `commonward photographs take`.

`folder()` writes the same pictures as files with a list, as a hospital would have them before they are taken in.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from io import StringIO
from itertools import count, groupby
from pathlib import Path
from typing import Any, Final

from commonward.adapters.fhir import photographs as fhir
from commonward.adapters.images.encode import JPEG, encoded
from commonward.adapters.images.slitlamp import CAMERAS, SIZE, Difficulty, photographs
from commonward.records.images.photograph import PATHOGENS, Photograph

SITES: Final[tuple[str, ...]] = tuple(CAMERAS)

CLASSES: Final[Mapping[str, tuple[float, float, float, float]]] = {
    "east": (0.40, 0.20, 0.25, 0.15),
    "north": (0.20, 0.10, 0.45, 0.25),
    "south": (0.25, 0.50, 0.10, 0.15),
    "west": (0.30, 0.25, 0.25, 0.20),
    "islands": (0.15, 0.35, 0.20, 0.30),
}
"""Shares of PATHOGENS at each site. Unequal, as they are: fungi lead in the warm south, viruses in the north."""


def cohort() -> bytes:
    """The views that give `photograph` (bytes), `label`, `device` and `eye`: the latest picture of each patient."""
    return files(__package__).joinpath("infectious_keratitis", "cohort.json").read_bytes()


def pictures(
    site: str,
    patients: int,
    seed: int = 1,
    classes: Sequence[float] | None = None,
    difficulty: Difficulty | None = None,
    each: int = 1,
    size: int = SIZE,
) -> Iterator[Photograph]:
    """A site's pictures, patient by patient. Arguments as for `slitlamp.photographs`; `classes` are the site's own
    shares by default."""
    shares = CLASSES[site] if classes is None else classes
    return photographs(site, patients, seed, difficulty=difficulty, classes=shares, each=each, size=size)


def bundle(
    site: str,
    patients: int,
    seed: int = 1,
    classes: Sequence[float] | None = None,
    difficulty: Difficulty | None = None,
    each: int = 1,
    size: int = SIZE,
) -> bytes:
    """The pictures of `pictures` with their patients and diagnoses, as a FHIR collection: 25 to 40 KB a picture."""
    made = pictures(site, patients, seed, classes, difficulty, each, size)
    entries = [{"resource": tree} for tree in resources(made)]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}).encode()


def resources(made: Iterator[Photograph]) -> Iterator[dict[str, Any]]:
    """The records of pictures that come patient by patient."""
    for patient, theirs in groupby(made, key=lambda picture: picture.patient):
        for number, picture in enumerate(theirs):
            if not number:
                assert picture.label is not None
                yield fhir.patient(patient, synthetic=True)
                yield fhir.condition(patient, picture.label, synthetic=True)
            yield fhir.media(pictured(picture, number))


def pictured(picture: Photograph, number: int) -> fhir.Pictured:
    """One synthetic picture as the records tell it: the second of a patient was taken on the second day."""
    height, width, _ = picture.pixels.shape
    return fhir.Pictured(
        picture.patient, picture.digest, encoded(picture.pixels), JPEG, width, height, str(picture.eye), picture.device,
        f"2025-01-{number + 1:02}T09:00:00Z", synthetic=True,
    )  # fmt: skip


def folder(
    root: Path, site: str, patients: int, seed: int = 1, classes: Sequence[float] | None = None, each: int = 1
) -> Path:
    """Writes the pictures as JPEG files and `list.csv`, which names patients and classes. Returns the list's path."""
    root.mkdir(parents=True, exist_ok=True)
    numbers = count(1)
    listed = StringIO()
    out = csv.writer(listed, lineterminator="\n")
    out.writerow(("file", "patient", "label", "eye", "device", "taken"))
    for picture in pictures(site, patients, seed, classes, each=each):
        number = next(numbers)
        name = f"{picture.label}/{number:05}.jpg"
        (root / str(picture.label)).mkdir(exist_ok=True)
        (root / name).write_bytes(encoded(picture.pixels))
        taken = f"2025-01-{(number - 1) % each + 1:02}"
        out.writerow((name, picture.patient, picture.label, str(picture.eye), picture.device, taken))
    path = root / "list.csv"
    path.write_text(listed.getvalue(), "utf-8")
    return path


assert set(CLASSES) == set(SITES) and all(len(each) == len(PATHOGENS) for each in CLASSES.values())
