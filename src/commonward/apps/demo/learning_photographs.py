"""SYNTHETIC photographs for the demonstration, drawn in the background while the hospitals are busy with other things.

Four hospitals have four cameras and unequal classes; one more camera, which no hospital of the study has, takes the
photograph that is read at the end.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import Final

from commonward.apps.demo.stage import StoryBroken, Voice

STRANGER: Final = "islands"
"""The camera that no hospital of the study has."""

_SEED: Final = 2026
_PROCESSES: Final = 2
_POLL_S: Final = 0.2


def _draw(folder: Path, sites: Sequence[str], patients: int, side: int) -> None:
    """In a process of its own: a file of FHIR records (one a line) for each site, whole once it has its name."""
    from commonward.apps.samples import keratitis

    for site in sites:
        path = records_of(folder, site)
        with path.with_suffix(".part").open("w") as out:
            for tree in keratitis.resources(keratitis.pictures(site, patients, _SEED, size=side)):
                out.write(json.dumps(tree) + "\n")
                if tree["resourceType"] == "Media":
                    out.flush()
        path.with_suffix(".part").rename(path)


def _draw_stranger(folder: Path, count: int, side: int) -> None:
    """Photographs of patients whom nobody has seen, as files; what they show stands in their names."""
    from commonward.adapters.images.encode import encoded
    from commonward.apps.samples import keratitis

    for number, picture in enumerate(keratitis.pictures(STRANGER, count, _SEED, size=side), 1):
        path = folder / f"{STRANGER}-{number}-{picture.label}.jpg"
        path.with_suffix(".part").write_bytes(encoded(picture.pixels))
        path.with_suffix(".part").rename(path)


def records_of(folder: Path, site: str) -> Path:
    return folder / f"{site}.ndjson"


class Darkroom:
    """with Darkroom(...) as room: ... room.develop(voice)   drawing begins at once, and ends with the block."""

    def __init__(self, folder: Path, sites: Sequence[str], patients: int, side: int, strangers: int) -> None:
        self.folder = folder
        self._sites, self._patients, self._strangers = tuple(sites), patients, strangers
        folder.mkdir(parents=True, exist_ok=True)
        spawn = multiprocessing.get_context("spawn")
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        self._drawing: list[SpawnProcess] = [
            spawn.Process(target=_draw, args=(folder, self._sites[at::_PROCESSES], patients, side), daemon=True)
            for at in range(min(_PROCESSES, len(self._sites)))
        ]
        self._drawing.append(spawn.Process(target=_draw_stranger, args=(folder, strangers, side), daemon=True))

    def __enter__(self) -> Darkroom:
        for each in self._drawing:
            each.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for each in self._drawing:
            each.terminate()
            each.join()

    def develop(self, voice: Voice) -> dict[str, Path]:
        """Until all is drawn: the file of each site. Raises StoryBroken."""
        total = len(self._sites) * self._patients + self._strangers
        with voice.progress("the photographs are drawn", float(total)) as advance:
            while any(each.is_alive() for each in self._drawing):
                advance(self._drawn())
                time.sleep(_POLL_S)
        if any(each.exitcode for each in self._drawing):
            raise StoryBroken("drawing the photographs failed; what it said is above")
        return {site: records_of(self.folder, site) for site in self._sites}

    def strangers(self) -> list[Path]:
        return sorted(self.folder.glob(f"{STRANGER}-*.jpg"))

    def _drawn(self) -> int:
        count = len(self.strangers())
        for site in self._sites:
            for path in (records_of(self.folder, site), records_of(self.folder, site).with_suffix(".part")):
                if path.exists():
                    count += path.read_bytes().count(b'"resourceType": "Media"')
                    break
        return count
