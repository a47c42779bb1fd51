"""The photographs of `bench keratitis`: drawn, encoded and seen by the backbone, in several processes. SYNTHETIC.

What is made depends on nothing but the arguments and the code that draws, encodes and sees, so it can be kept: in the
folder that COMMONWARD_BENCH_CACHE names, by a digest of both, or, without one, for this run alone.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from inspect import getfile
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from commonward.adapters.images import canvas, encode, eye, lesions, slitlamp
from commonward.apps.samples.keratitis import CLASSES
from commonward.records.images.photograph import PATHOGENS

Ints = NDArray[np.int64]
Features = NDArray[np.float32]

VARIABLE: Final = "COMMONWARD_BENCH_CACHE"
CHUNK: Final = 50
HELD_OUT: Final = "islands"
TOGETHER: Final = ("east", "north", "south", "west")


@dataclass(frozen=True, slots=True, eq=False)
class Hospital:
    """A site's patients, one photograph of each.

    Attributes:
        files: JPEG files as a vault holds them.
        labels: (n,) places in PATHOGENS.
        features: (n, 1280) of the frozen backbone.
        colours: (n, 10), see `roadtest.colour_numbers`.
    """

    name: str
    files: tuple[bytes, ...]
    labels: Ints
    features: Features
    colours: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.files)

    def take(self, rows: Sequence[int] | Ints) -> "Hospital":
        """These patients, in this order."""
        at = np.asarray(rows, np.int64)
        files = tuple(self.files[each] for each in at)
        return Hospital(self.name, files, self.labels[at], self.features[at], self.colours[at])


def drawn(patients: Mapping[str, int], seed: int) -> dict[str, Hospital]:
    """So many patients of each site, of the classes that `apps.samples.keratitis` gives it, at the usual difficulty."""
    parts = [(site, seed, at, min(CHUNK, many - at)) for site, many in patients.items() for at in range(0, many, CHUNK)]
    with _folder() as folder:
        paths = {part: folder / f"{_digest(part)}.npz" for part in parts}
        _make({part: path for part, path in paths.items() if not path.exists()})
        return {site: _joined(site, [paths[part] for part in parts if part[0] == site]) for site in patients}


Part = tuple[str, int, int, int]
"""Site, seed, number of the first patient, patients."""


@contextmanager
def _folder() -> Iterator[Path]:
    if named := os.environ.get(VARIABLE):
        Path(named).mkdir(parents=True, exist_ok=True)
        yield Path(named)
        return
    with tempfile.TemporaryDirectory(prefix="bench-keratitis-") as made:
        yield Path(made)


@cache
def _code() -> bytes:
    """SHA-256 of the sources that decide what is drawn and seen."""
    from commonward.adapters.flower.learners.vision import backbone, features, pictures, weights

    modules = (canvas, encode, eye, lesions, slitlamp, backbone, features, pictures, weights)
    whole = sha256()
    for each in modules:
        whole.update(sha256(Path(getfile(each)).read_bytes()).digest())
    return whole.digest()


def _digest(part: Part) -> str:
    said = repr((part, CLASSES[part[0]], slitlamp.Difficulty(), slitlamp.SIZE, "colours"))
    return sha256(_code() + said.encode()).hexdigest()[:32]


def _make(missing: Mapping[Part, Path]) -> None:
    """In as many processes as there are processors, each with one thread."""
    if not missing:
        return
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    started, done = time.perf_counter(), 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=context) as pool:
        waiting = [pool.submit(_write, part, path) for part, path in missing.items()]
        for each in as_completed(waiting):
            done += each.result()
            whole = sum(part[3] for part in missing)
            took = time.perf_counter() - started
            print(f"keratitis  {done} of {whole} photographs drawn and seen, {took:.0f} s", file=sys.stderr, flush=True)


def _write(part: Part, path: Path) -> int:
    """Draws a part and keeps it whole or not at all. Returns how many photographs."""
    from bench.roadtest import colour_numbers
    from commonward.adapters.flower.learners.vision import features

    features.one_thread()
    site, seed, first, many = part
    pictures = list(slitlamp.photographs(site, many, seed, classes=CLASSES[site], each=1, first=first))
    files = [encode.encoded(each.pixels) for each in pictures]
    found = {
        "blob": np.frombuffer(b"".join(files), np.uint8),
        "ends": np.cumsum([len(each) for each in files]),
        "labels": np.array([PATHOGENS.index(str(each.label)) for each in pictures], np.int64),
        "features": features.features(files),
        "colours": np.stack([colour_numbers(each) for each in pictures]),
    }
    features.forget()
    beside = path.with_suffix(f".{os.getpid()}.npz")
    np.savez(beside, **found)  # type: ignore[arg-type]
    beside.replace(path)
    return many


def _joined(site: str, paths: Sequence[Path]) -> Hospital:
    files: list[bytes] = []
    found: dict[str, list[NDArray[np.float64]]] = {"labels": [], "features": [], "colours": []}
    for path in paths:
        with np.load(path, allow_pickle=False) as read:
            whole, ends = read["blob"].tobytes(), read["ends"].tolist()
            files += [whole[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
            for name, each in found.items():
                each.append(read[name])
    labels, features, colours = (np.concatenate(found[name]) for name in ("labels", "features", "colours"))
    return Hospital(site, tuple(files), labels.astype(np.int64), features.astype(np.float32), colours)
