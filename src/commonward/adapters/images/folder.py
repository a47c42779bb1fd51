"""Photographs from a folder: classes as subfolders, or a CSV file that says which picture is whose and what it shows.

A list is what a hospital should use, as it names patients: `file,patient,label` and, where known, `eye,device`. Class
folders have no patients, so each file counts as a patient of its own; duplicates are all that can then be found, and a
study on patients needs the list.

Pictures with burnt-in text are refused, as the adapter for DICOM does. Everything is refused by name: one bad file
stops the reading, because a study's cohort must be what its hospital says it is.
"""

import csv
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Final

from commonward.records.images.decode import decoded
from commonward.records.images.photograph import Eye, ImageRefused, Limits, Photograph
from commonward.records.images.text import text_lines

SUFFIXES: Final = (".jpg", ".jpeg", ".png")
_NEEDED: Final = ("file", "patient", "label")
_KNOWN: Final = (*_NEEDED, "eye", "device")
MAX_LIST: Final = 16 << 20


def read_folder(root: Path, limits: Limits | None = None, *, refuse_text: bool = True) -> Iterator[Photograph]:
    """Pictures of class folders (`root/<label>/<file>`), by name; the patient is the file's path.

    Raises:
        ImageRefused: a file is no picture, has writing in it, or there are no class folders.
    """
    folders = sorted(each for each in _real(root).iterdir() if each.is_dir() and not each.name.startswith("."))
    if not folders:
        raise ImageRefused(f"{root}: expected a folder for each class, got none")
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            if path.suffix.lower() not in SUFFIXES:
                raise ImageRefused(f"{path}: expected one of {', '.join(SUFFIXES)}")
            name = f"{folder.name}/{path.name}"
            yield _read(path, root, limits, refuse_text, patient=name, label=folder.name)


def read_list(
    path: Path, classes: tuple[str, ...], limits: Limits | None = None, *, refuse_text: bool = True
) -> Iterator[Photograph]:
    """Pictures named by a CSV file (UTF-8, with a header), relative to its folder.

    Args:
        path: the CSV: columns file, patient, label, and perhaps eye (R, L, B or empty) and device.
        classes: labels there may be.

    Raises:
        ImageRefused: with the line, a column is missing or unknown, a cell is empty or of no class, a file is named
            twice, lies outside the folder, is no picture or has writing in it.
    """
    if not path.is_file() or path.stat().st_size > MAX_LIST:
        raise ImageRefused(f"{path}: expected a CSV file of at most {MAX_LIST} bytes")
    try:
        rows = csv.DictReader(StringIO(path.read_text(encoding="utf-8-sig")), strict=True)
        columns = tuple(rows.fieldnames or ())
        if not set(_NEEDED) <= set(columns) or not set(columns) <= set(_KNOWN) or len(set(columns)) != len(columns):
            raise ImageRefused(f"{path}: expected the columns {', '.join(_NEEDED)} [eye, device], got {columns}")
        listed = list(rows)
    except (csv.Error, UnicodeDecodeError) as cause:
        raise ImageRefused(f"{path}: expected CSV in UTF-8: {cause}") from cause
    named: set[str] = set()
    for line, row in enumerate(listed, start=2):
        where = f"{path.name} line {line}"
        if None in row or any(row[each] is None for each in columns):
            raise ImageRefused(f"{where}: expected {len(columns)} cells")
        file, patient, label = (row[each].strip() for each in _NEEDED)
        if not file or not patient or label not in classes:
            raise ImageRefused(f"{where}: expected file, patient and a label of {', '.join(classes)}, got {label!r}")
        if file in named:
            raise ImageRefused(f"{where}: expected each file once, got {file} again")
        named.add(file)
        eye = (row.get("eye") or "").strip()
        if eye not in set(Eye):
            raise ImageRefused(f"{where}: expected eye R, L, B or empty, got {eye!r}")
        device = (row.get("device") or "").strip() or "unknown"
        yield _read(
            path.parent / file,
            path.parent,
            limits,
            refuse_text,
            patient=patient,
            label=label,
            eye=Eye(eye),
            device=device,
        )


def _read(
    path: Path,
    root: Path,
    limits: Limits | None,
    refuse_text: bool,
    *,
    patient: str,
    label: str,
    eye: Eye = Eye.UNKNOWN,
    device: str = "unknown",
) -> Photograph:
    asked = limits or Limits()
    # A list or a link must not lead out of the folder that the hospital chose.
    if not path.resolve().is_relative_to(_real(root)) or not path.is_file():
        raise ImageRefused(f"{path}: expected a file inside {root}")
    name = str(path.relative_to(root))
    asked.check_file(name, path.stat().st_size)
    with path.open("rb") as file:
        data = file.read(asked.file_bytes + 1)
    found = Photograph(decoded(data, name, asked), patient, name, eye, device, label)
    if refuse_text and (lines := text_lines(found)):
        raise ImageRefused(
            f"{name}: looks as if {len(lines[0])} letters were burnt in at row {lines[0][0].top}, column "
            f"{lines[0][0].left}; mask them, or say that text was looked for by a person (refuse_text=False)"
        )
    return found


def _real(root: Path) -> Path:
    if not root.is_dir():
        raise ImageRefused(f"{root}: expected a folder")
    return root.resolve()
