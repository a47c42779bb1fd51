"""What a hospital should know of its photographs before it learns from them: cameras, copies, files that are none.

**The scanner check.** Where a class comes from one camera and the others from another, a model learns the camera: from
ten colour numbers alone two sites could be told apart nine times in ten (docs/keratitis.md). A table of cameras by
class shows that before anything is learnt, and a warning says where a class is (almost) only from one camera that has
little else.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from commonward.apps.studies.pictures import looks, picture_columns
from commonward.records.images.duplicates import Pair
from commonward.records.table import Table
from commonward.workflows.training.cohorts import Rows

__all__ = ["DEVICE", "Pictures", "camera_table", "cameras", "pictured", "pictures_of"]

DEVICE: Final = "device"
"""The column that names a picture's camera, in cohorts of photographs."""

_ALMOST_ALL: Final = 0.9
_LITTLE_ELSE: Final = 0.5
_FEWEST: Final = 5
_NAMED: Final = 20
_UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Pictures:
    """One column of pictures.

    Attributes:
        column: its name.
        read: how many could be read.
        unreadable: patients whose picture could not.
        copies: (patient, patient, bits that differ, whether the very same file).
    """

    column: str
    read: int
    unreadable: tuple[str, ...]
    copies: tuple[tuple[str, str, int, bool], ...]


def pictures_of(rows: Rows) -> Pictures | None:
    """The pictures of a cohort; None where it has none. Reads them: milliseconds each, the first time."""
    columns = picture_columns(rows.table)
    if not columns:
        return None
    found = looks(rows.table, columns[0])

    def patient(at: int) -> str:
        return rows.patients[at] if rows.patients else f"row {at}"

    def named(pair: Pair) -> tuple[str, str, int, bool]:
        return patient(pair.first), patient(pair.second), pair.distance, pair.exact

    return Pictures(
        columns[0], len(found.at), tuple(patient(at) for at in found.unreadable), tuple(map(named, rows.copies))
    )


def pictured(pictures: Pictures, warnings: list[str]) -> dict[str, Any]:
    """The page's part on pictures; adds what is odd to the warnings."""
    if pictures.unreadable:
        warnings.append(
            f"{pictures.column}: {len(pictures.unreadable)} cannot be read as a JPEG or PNG picture: of the patients "
            f"{', '.join(pictures.unreadable[:_NAMED])}"
        )
    for exact, words, so in (
        (True, "the same picture under two patients", "the study does not take this site in while that is so"),
        (False, "nearly the same picture under two patients",
         "the study does not take this site in where one is to learn from and the other to judge by"),
    ):  # fmt: skip
        found = [each for each in pictures.copies if each[3] is exact]
        if found:
            named = "; ".join(f"{first} and {second}" for first, second, *_ in found[:_NAMED])
            warnings.append(f"{pictures.column}: {words}, {len(found)} times: {named}. Mend whose they are: {so}")
    return {
        "column": pictures.column,
        "read": pictures.read,
        "unreadable": list(pictures.unreadable),
        "copies": [{"first": a, "second": b, "bits": bits, "exact": same} for a, b, bits, same in pictures.copies],
    }


def cameras(table: Table, label: str, warnings: list[str]) -> list[dict[str, Any]] | None:
    """Cameras by how many pictures they took, with their classes; None where the cohort names no cameras."""
    if DEVICE not in table.names:
        return None
    taken = [each if isinstance(each, str) and each else _UNKNOWN for each in table.cells(DEVICE)]
    labels = [each if isinstance(each, str) else "" for each in (table.cells(label) if label else [""] * len(taken))]
    if taken and taken.count(_UNKNOWN) > len(taken) / 2:
        warnings.append(f"{DEVICE}: the camera of most pictures is not known; how cameras differ cannot be seen")
    by_camera = Counter(taken)
    if label and len(by_camera) > 1:
        warnings += _one_sided(taken, labels)
    return [
        {"camera": camera, "rows": count, "classes": dict(sorted(
            Counter(name for each, name in zip(taken, labels, strict=True) if each == camera and name).items()
        ))}
        for camera, count in sorted(by_camera.items(), key=lambda each: (-each[1], each[0]))
    ]  # fmt: skip


def _one_sided(taken: list[str], labels: list[str]) -> list[str]:
    """Classes that come (almost) only from one camera, which has little else to do."""
    found = []
    for name in sorted({each for each in labels if each}):
        of_it = Counter(camera for camera, each in zip(taken, labels, strict=True) if each == name)
        camera, most = of_it.most_common(1)[0]
        every = sum(of_it.values())
        others = [each for each, label in zip(taken, labels, strict=True) if label != name]
        if every < _FEWEST or not others or most < _ALMOST_ALL * every:
            continue
        elsewhere = others.count(camera)
        if elsewhere <= _LITTLE_ELSE * len(others):
            found.append(
                f"{DEVICE}: {most} of {every} pictures of {name} are from {camera}, and of the other classes "
                f"{elsewhere} of {len(others)}: a model may learn the camera instead of the disease"
            )
    return found


def camera_table(page: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The page's cameras as a table of texts: its head, and a row for each camera."""
    found = page.get("cameras") or []
    names = sorted({name for each in found for name in each["classes"]})
    head = ["camera", "rows", *names]
    return head, [[each["camera"], str(each["rows"]), *(str(each["classes"].get(name, 0)) for name in names)]
                  for each in found]  # fmt: skip
