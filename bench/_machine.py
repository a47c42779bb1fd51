"""Figures of this process and of the disk, shared by benchmarks."""

import gc
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

__all__ = ["apart", "disk_bytes", "load", "percentile", "resident_bytes", "scratch"]


def resident_bytes() -> int:
    """Memory of this process that is in RAM now."""
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("expected a VmRSS line in /proc/self/status (Linux)")


def disk_bytes(path: Path) -> int:
    """Blocks allocated to a file or to all files below a directory."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_blocks * 512 for file in files)


def load() -> str:
    """How busy the machine is, ourselves included: of what a figure cannot be read without where others work on it."""
    return f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} processors"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory on disk (never in memory: durability is what we measure), gone afterwards."""
    build = Path.cwd() / "build"
    build.mkdir(exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="bench-", dir=build))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def apart(job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `job` in a fresh process, so that its memory is its own. `job` is a function of a module."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(job, args, kwargs)
