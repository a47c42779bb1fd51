"""From what a folder held to what was prepared for it, so that a crash at any moment is finished by doing it again.

    FOLDER/next/            what was prepared, whole before anything is touched
    FOLDER/ledger-before/   what the folder held, moved there and never deleted
    DIRECTORY/moving.json   there from the moment at which all is prepared until all is in its place

Without `moving.json` nothing has been touched, and what was prepared is made anew. With it there is no way but on:
each file is first moved aside and then replaced, by two renames, and which of them are done shows by what is where.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

NEXT: Final = "next"
BEFORE: Final = "ledger-before"
MOVING: Final = "moving.json"


def prepare(folder: Path) -> Path:
    """An empty place for what a folder is to hold. What an earlier, unfinished preparation left is removed."""
    place = folder / NEXT
    if place.exists():
        shutil.rmtree(place)
    place.mkdir(mode=0o700)
    return place


def drop(folders: Sequence[Path]) -> None:
    """Remove what was prepared: it is not to be."""
    for folder in folders:
        shutil.rmtree(folder / NEXT, ignore_errors=True)


def agreed(directory: Path) -> str | None:
    """The ledger that is being moved to, when all was prepared and not all is in its place yet."""
    try:
        return str(json.loads((directory / MOVING).read_text())["ledger"])
    except FileNotFoundError:
        return None


def agree(directory: Path, ledger: str, folders: Sequence[Path]) -> None:
    """From here on there is no way back: all that was prepared is on disk, and this is what says so."""
    for folder in folders:
        _sync_tree(folder / NEXT)
        _sync(folder)
    scratch = directory / f"{MOVING}.new"
    scratch.write_text(json.dumps({"ledger": ledger}) + "\n")
    _sync(scratch)
    scratch.rename(directory / MOVING)
    _sync(directory)


def switch(folder: Path, leaves: Sequence[str] = ()) -> None:
    """Put what was prepared in its place, what was there aside. `leaves`: names that go and are not replaced."""
    staged, kept = folder / NEXT, folder / BEFORE
    kept.mkdir(mode=0o700, exist_ok=True)
    for name in sorted(path.name for path in staged.iterdir()) if staged.exists() else ():
        if (folder / name).exists():
            (folder / name).rename(kept / name)
        _sync(kept)
        (staged / name).rename(folder / name)
    for name in leaves:
        if (folder / name).exists():
            (folder / name).rename(kept / name)
    _sync(kept)
    _sync(folder)
    if staged.exists():
        staged.rmdir()


def done(directory: Path) -> None:
    """All is in its place."""
    (directory / MOVING).unlink()
    _sync(directory)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_tree(path: Path) -> None:
    for folder, _, names in os.walk(path):
        for name in names:
            _sync(Path(folder) / name)
        _sync(Path(folder))
