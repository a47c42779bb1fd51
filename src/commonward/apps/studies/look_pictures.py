"""What a hospital should know of its photographs before it learns from them: cameras, copies, files that are none.

**The scanner check.** Where a class comes from one camera and the others from another, a model learns the camera: from
ten colour numbers alone two sites could be told apart nine times in ten (docs/keratitis.md). A table of cameras by
class shows that before anything is learnt, and a warning says where a class is (almost) only from one camera that has
little else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from commonward.apps.studies.pictures import looks, picture_columns
from commonward.apps.studies.words import Text, class_in
from commonward.records.images.duplicates import Pair
from commonward.records.table import Table
from commonward.workflows.training.cohorts import Rows

__all__ = ["DEVICE", "Copy", "Odd", "Pictures", "camera_in", "camera_table", "cameras", "pictured", "pictures_of"]

Odd: TypeAlias = dict[str, Any]
"""What looks odd: `what` kind it is (`look_words`), and the facts that its sentence names."""

DEVICE: Final = "device"
"""The column that names a picture's camera, in cohorts of photographs."""

_ALMOST_ALL: Final = 0.9
_LITTLE_ELSE: Final = 0.5
_FEWEST: Final = 5
_NAMED: Final = 20
_UNKNOWN: Final = "unknown"


class Copy(NamedTuple):
    """Two patients with the same picture, or nearly.

    Attributes:
        pair: the id of the pair, in hex.
        bits: how many of 256 differ.
        certain: whether it is one picture beyond doubt.
        looked: the number of who looked at both and found two patients; "" where nobody did.
    """

    first: str
    second: str
    pair: str
    bits: int
    certain: bool
    looked: str = ""


@dataclass(frozen=True, slots=True)
class Pictures:
    """One column of pictures.

    Attributes:
        column: its name.
        read: how many could be read.
        unreadable: patients whose picture could not.
        copies: pairs of patients, those that a person found to be two among them.
    """

    column: str
    read: int
    unreadable: tuple[str, ...]
    copies: tuple[Copy, ...]


def pictures_of(rows: Rows, looked: Mapping[bytes, str] | None = None) -> Pictures | None:
    """The pictures of a cohort; None where it has none. Reads them: milliseconds each, the first time.

    Args:
        looked: pairs by their names, to the number of who looked at both and found two patients.
    """
    columns = picture_columns(rows.table)
    if not columns:
        return None
    found = looks(rows.table, columns[0])

    def patient(at: int) -> str:
        return rows.patients[at] if rows.patients else f"row {at}"

    def named(pair: Pair) -> Copy:
        who = "" if pair.certain else (looked or {}).get(pair.name, "")
        return Copy(patient(pair.first), patient(pair.second), pair.name.hex(), pair.distance, pair.certain, who)

    return Pictures(
        columns[0], len(found.at), tuple(patient(at) for at in found.unreadable), tuple(map(named, rows.copies))
    )


def pictured(pictures: Pictures, odd: list[Odd]) -> dict[str, Any]:
    """The page's part on pictures; adds what is odd."""
    name, unreadable = pictures.column, pictures.unreadable
    if unreadable:
        patients = list(unreadable[:_NAMED])
        odd.append({"what": "unreadable", "name": name, "count": len(unreadable), "patients": patients})
    for certain, what in ((True, "same-picture"), (False, "near-picture")):
        found = [each for each in pictures.copies if each.certain is certain and not each.looked]
        if found:
            pairs = [[each.first, each.second] for each in found[:_NAMED]]
            odd.append({"what": what, "name": name, "count": len(found), "pairs": pairs})
    return {
        "column": name,
        "read": pictures.read,
        "unreadable": list(unreadable),
        "copies": [each._asdict() for each in pictures.copies],
    }


def cameras(table: Table, label: str, odd: list[Odd]) -> list[dict[str, Any]] | None:
    """Cameras by how many pictures they took, with their classes; None where the cohort names no cameras."""
    if DEVICE not in table.names:
        return None
    taken = [each if isinstance(each, str) and each else _UNKNOWN for each in table.cells(DEVICE)]
    labels = [each if isinstance(each, str) else "" for each in (table.cells(label) if label else [""] * len(taken))]
    if taken and taken.count(_UNKNOWN) > len(taken) / 2:
        odd.append({"what": "camera-unknown", "name": DEVICE})
    by_camera = Counter(taken)
    if label and len(by_camera) > 1:
        odd += _one_sided(taken, labels)
    return [
        {"camera": camera, "rows": count, "classes": dict(sorted(
            Counter(name for each, name in zip(taken, labels, strict=True) if each == camera and name).items()
        ))}
        for camera, count in sorted(by_camera.items(), key=lambda each: (-each[1], each[0]))
    ]  # fmt: skip


def _one_sided(taken: list[str], labels: list[str]) -> list[Odd]:
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
            found.append({
                "what": "camera-class", "name": DEVICE, "class": name, "camera": camera, "count": most, "of": every,
                "elsewhere": elsewhere, "others": len(others),
            })  # fmt: skip
    return found


def camera_in(text: Text, name: str) -> str:
    """A camera as a reader calls it."""
    return text("own-none") if name == _UNKNOWN else name


def camera_table(page: dict[str, Any], text: Text) -> tuple[list[str], list[list[str]]]:
    """The page's cameras as a table of texts: its head, and a row for each camera."""
    found = page.get("cameras") or []
    names = sorted({name for each in found for name in each["classes"]})
    head = [text("camera"), text("class-rows"), *(class_in(text, name) for name in names)]
    return head, [[camera_in(text, each["camera"]), str(each["rows"]),
                   *(str(each["classes"].get(name, 0)) for name in names)] for each in found]  # fmt: skip
