"""Photographs from a folder: classes as subfolders, or a CSV file that says which picture is whose and what it shows.

A list is what a hospital should use, as it names patients: `file,patient,label` and, where known, `eye,device,taken`.
Class folders have no patients, so each file counts as a patient of its own; duplicates are all that can then be found,
and a study on patients needs the list.

`list_folder` and `list_file` say what there is, line by line, what is wrong among it, and open no picture;
`read_listed` reads one, and refuses it where burnt-in text is found, as the adapter for DICOM does. `read_folder` and
`read_list` read all, and stop at the first bad one: for who wants all of a cohort or nothing.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final

from commonward.records.images.decode import decoded
from commonward.records.images.photograph import Eye, ImageRefused, Limits, Photograph, Why
from commonward.records.images.text import text_lines

SUFFIXES: Final = (".jpg", ".jpeg", ".png")
_NEEDED: Final = ("file", "patient", "label")
_KNOWN: Final = (*_NEEDED, "eye", "device", "taken")
MAX_LIST: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Listed:
    """One file that is to be read, and what is known of it beforehand.

    Attributes:
        path: the file; it was found inside the folder when it was listed.
        name: for messages.
        patient: "" where the file itself must say.
        label: "" where nothing is known.
        taken: as in `Photograph`.
    """

    path: Path
    name: str
    patient: str
    label: str = ""
    eye: Eye = Eye.UNKNOWN
    device: str = "unknown"
    taken: str = ""


def list_folder(root: Path, suffixes: Sequence[str] = SUFFIXES) -> Iterator[Listed | ImageRefused]:
    """The files of class folders (`root/<label>/<file>`), by name; the patient is the file's path.

    Raises:
        ImageRefused: there are no class folders.
    """
    folders = sorted(each for each in _real(root).iterdir() if each.is_dir() and not each.name.startswith("."))
    if not folders:
        raise ImageRefused(f"{root}: expected a folder for each class, got none", Why.LISTED)
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            name = f"{folder.name}/{path.name}"
            if path.suffix.lower() not in suffixes:
                yield ImageRefused(f"{path}: expected one of {', '.join(suffixes)}")
            else:
                yield inside(path, root) or Listed(path, name, name, folder.name)


def list_file(path: Path, classes: Sequence[str]) -> Iterator[Listed | ImageRefused]:
    """What a CSV file names (UTF-8, with a header), relative to its folder.

    Args:
        path: the CSV: columns file, patient, label, and perhaps eye (R, L, B or empty), device and taken.
        classes: labels there may be.

    Yields:
        a refusal, with the line, for one of a wrong cell, named twice, or outside the folder.

    Raises:
        ImageRefused: no CSV file, or of other columns.
    """
    columns, rows = _rows(path)
    named: set[str] = set()
    for line, row in enumerate(rows, start=2):
        try:
            yield _listed(path, f"{path.name} line {line}", columns, row, classes, named)
        except ImageRefused as refused:
            yield refused


def _rows(path: Path) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    if not path.is_file() or path.stat().st_size > MAX_LIST:
        raise ImageRefused(f"{path}: expected a CSV file of at most {MAX_LIST} bytes", Why.LISTED)
    try:
        rows = csv.DictReader(StringIO(path.read_text(encoding="utf-8-sig")), strict=True)
        columns = tuple(rows.fieldnames or ())
        if not set(_NEEDED) <= set(columns) or not set(columns) <= set(_KNOWN) or len(set(columns)) != len(columns):
            raise ImageRefused(
                f"{path}: expected the columns {', '.join(_NEEDED)} [eye, device, taken], got {columns}", Why.LISTED
            )
        return columns, list(rows)
    except (csv.Error, UnicodeDecodeError) as cause:
        raise ImageRefused(f"{path}: expected CSV in UTF-8: {cause}", Why.LISTED) from cause


def _listed(
    listing: Path, where: str, columns: tuple[str, ...], row: dict[str, str], classes: Sequence[str], named: set[str]
) -> Listed:
    if None in row or any(row[each] is None for each in columns):
        raise ImageRefused(f"{where}: expected {len(columns)} cells", Why.LISTED)
    file, patient, label = (row[each].strip() for each in _NEEDED)
    if not file or not patient or label not in classes:
        raise ImageRefused(
            f"{where}: expected file, patient and a label of {', '.join(classes)}, got {label!r}",
            Why.LABEL if file and patient else Why.LISTED,
        )
    if file in named:
        raise ImageRefused(f"{where}: expected each file once, got {file} again", Why.LISTED)
    named.add(file)
    eye = (row.get("eye") or "").strip()
    if eye not in set(Eye):
        raise ImageRefused(f"{where}: expected eye R, L, B or empty, got {eye!r}", Why.LISTED)
    device, taken = (row.get("device") or "").strip() or "unknown", (row.get("taken") or "").strip()
    if refused := inside(listing.parent / file, listing.parent):
        raise refused
    return Listed(listing.parent / file, file, patient, label, Eye(eye), device, taken)


def read_listed(
    listed: Listed, limits: Limits | None = None, *, refuse_text: bool = True, data: bytes | None = None
) -> Photograph:
    """One listed JPEG or PNG file; `data` are its bytes where they were read already.

    Raises:
        ImageRefused: not a picture, or there is writing in it.
    """
    asked = limits or Limits()
    if data is None:
        data = read_bytes(listed, asked)
    found = Photograph(
        decoded(data, listed.name, asked), listed.patient, listed.name, listed.eye, listed.device,
        listed.label or None, taken=listed.taken,
    )  # fmt: skip
    if refuse_text and (lines := text_lines(found)):
        raise ImageRefused(
            f"{listed.name}: looks as if {len(lines[0])} letters were burnt in at row {lines[0][0].top}, column "
            f"{lines[0][0].left}; mask them, or say that text was looked for by a person (refuse_text=False)",
            Why.TEXT,
        )
    return found


def read_bytes(listed: Listed, limits: Limits) -> bytes:
    """The bytes of a file, no more than the limits allow. Raises ImageRefused."""
    try:
        limits.check_file(listed.name, listed.path.stat().st_size)
        with listed.path.open("rb") as file:
            data = file.read(limits.file_bytes + 1)
    except OSError as cause:
        raise ImageRefused(f"{listed.name}: cannot be read ({cause.strerror})", Why.LISTED) from cause
    limits.check_file(listed.name, len(data))
    return data


def read_folder(root: Path, limits: Limits | None = None, *, refuse_text: bool = True) -> Iterator[Photograph]:
    """All pictures of class folders, in the order of `list_folder`.

    Raises:
        ImageRefused: a file is no picture, has writing in it, or there are no class folders.
    """
    yield from _whole(list_folder(root), limits, refuse_text)


def read_list(
    path: Path, classes: Sequence[str], limits: Limits | None = None, *, refuse_text: bool = True
) -> Iterator[Photograph]:
    """All pictures that a CSV file names, in its order; arguments as for `list_file`.

    Raises:
        ImageRefused: with the line, a column is missing or unknown, a cell is empty or of no class, a file is named
            twice, lies outside the folder, is no picture or has writing in it.
    """
    yield from _whole(list_file(path, classes), limits, refuse_text)


def _whole(found: Iterator[Listed | ImageRefused], limits: Limits | None, refuse_text: bool) -> Iterator[Photograph]:
    for each in found:
        if isinstance(each, ImageRefused):
            raise each
        yield read_listed(each, limits, refuse_text=refuse_text)


def inside(path: Path, root: Path) -> ImageRefused | None:
    """Why not, if it is no file inside the folder: a list or a link must not lead out of what the hospital chose."""
    try:
        if path.resolve().is_relative_to(_real(root)) and path.is_file():
            return None
    except (OSError, RuntimeError, ValueError):  # a name too long, a link to itself, a zero byte: no file has it
        pass
    return ImageRefused(f"{path}: expected a file inside {root}", Why.LISTED)


def _real(root: Path) -> Path:
    if not root.is_dir():
        raise ImageRefused(f"{root}: expected a folder", Why.LISTED)
    return root.resolve()
