"""The state of a large consortium: ten million anchored fingerprints and one million open consents on one node.

Consents lie in the authenticated map with the handles and passkeys they belong to (one for four consents), every
transaction in the log, and the fingerprints in batches of 65,536 whose trees the hospital keeps. Beside each figure is
the same store without authentication: the values alone in RocksDB, the fingerprints alone in flat files.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench._ledger_state import (
    BATCH,
    Served,
    Sizes,
    grow,
    grow_bare,
    keep_batches,
    serve,
    serve_bare,
)
from bench._machine import apart, disk_bytes, scratch
from bench.results import Result

CONSENTS = 1_000_000
FINGERPRINTS = 10_000_000
STEPS = (0.125, 0.25, 0.5, 1.0)
BACKFILL = 100_000_000
FIGURE = Path("docs/figures/state.svg")


@dataclass(frozen=True, slots=True)
class Point:
    """Everything known of one size."""

    sizes: Sizes
    ours: Served
    bare: Served
    disk: dict[str, tuple[int, int]]  # bytes: ours, bare


def run(scale: float = 1.0) -> Iterable[Result]:
    points, load, batch_seconds = [], [0.0, 0.0], 0.0
    with scratch() as path:
        old = Sizes(0, 0)
        for share in STEPS:
            new = Sizes(
                max(int(CONSENTS * scale * share), 1000),
                max(round(FINGERPRINTS * scale * share / BATCH), old.batches + 1),
            )
            batch_seconds = keep_batches(path, old.batches, new.batches, processes=2)
            load[0] += apart(grow, path, old, new)
            load[1] += apart(grow_bare, path, old, new)
            points.append(Point(new, apart(serve, path, new), apart(serve_bare, path, new), _disk(path)))
            old = new
    yield from _results(points[-1], load, batch_seconds)
    if scale >= 1:
        _plot(points)


def _disk(path: Path) -> dict[str, tuple[int, int]]:
    return {
        "state": (disk_bytes(path / "state"), disk_bytes(path / "bare")),
        "log": (disk_bytes(path / "tiles"), 0),
        "trees": (disk_bytes(path / "trees"), disk_bytes(path / "prints")),
    }


def _results(point: Point, load: list[float], batch_seconds: float) -> Iterable[Result]:
    sizes, ours, bare = point.sizes, point.ours, point.bare
    records = sizes.batches * BATCH
    size = f"{sizes.consents:,} open consents, {records:,} fingerprints in {sizes.batches} batches"
    warm = f"{size}; files in the system's cache, made and served by different processes"

    def less(name: str, value: float, unit: str, other: float, conditions: str, goal: float | None = None) -> Result:
        return Result(
            name=name,
            value=value,
            unit=unit,
            reference="without authentication",
            reference_value=other,
            goal=goal,
            more_is_better=False,
            conditions=conditions,
        )

    questions = {
        "consent": "proof that a consent is open",
        "absence": "proof that a consent is not open",
        "record": "proof that a record is anchored (batch and log)",
    }
    for key, name in questions.items():
        conditions = f"{warm}; 2,000 at random"
        yield less(f"{name}, median", ours.took[key][0], "ms", bare.took[key][0], conditions, 2)
        yield less(f"{name}, p99", ours.took[key][1], "ms", bare.took[key][1], conditions)
    yield less("restart to serving", ours.restart / 1e3, "s", bare.restart / 1e3, f"{warm}; to the first proof", 5)
    yield less("resident memory", ours.resident / 1e6, "MB", bare.resident / 1e6, f"{size}; after 6,000 proofs", 500)
    yield less("a block of 100 changed consents", ours.took["block"][0], "ms", bare.took["block"][0], f"{size}; synced")
    yield less("making the state", load[0], "s", load[1], f"{size}; in chunks of 50,000, not synced, one process")
    for key, name in {"state": "state", "log": "log", "trees": "batch trees"}.items():
        mine, other = point.disk[key]
        yield less(f"disk: {name}", mine / 1e6, "MB", other / 1e6, size)
    yield less(
        "disk of a consent",
        point.disk["state"][0] / sizes.consents,
        "bytes",
        point.disk["state"][1] / sizes.consents,
        f"{size}; a quarter of a handle and of a passkey with it, map included",
    )
    yield less(
        "disk of an anchored fingerprint",
        point.disk["trees"][0] / records,
        "bytes",
        point.disk["trees"][1] / records,
        size,
    )
    batches = -(-BACKFILL // BATCH)
    paper = f"on paper, from {sizes.batches} batches measured here: {BACKFILL:,} records are {batches:,} batches"
    yield Result(
        name="backfill of 100 million records: making the trees",
        value=batches * batch_seconds / 60,
        unit="min",
        more_is_better=False,
        conditions=f"{paper}; one process, two ran at once; records sealed and stored as `ingest` measures",
    )
    yield Result(
        name="backfill of 100 million records: disk of the trees",
        value=batches * point.disk["trees"][0] / sizes.batches / 1e9,
        unit="GB",
        more_is_better=False,
        conditions=f"{paper}; the hospital's own disk",
    )
    yield Result(
        name="backfill of 100 million records: transactions",
        value=batches,
        unit="",
        more_is_better=False,
        conditions=f"{paper}; all that the other members ever see of it",
    )


def _plot(points: list[Point]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(
        {"svg.hashsalt": "commonward", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    from matplotlib import pyplot as plt

    figure, (time, memory, disk) = plt.subplots(1, 3, figsize=(10, 3.2))
    n = [point.sizes.consents for point in points]
    for key, name in (("consent", "consent is open"), ("absence", "is not open"), ("record", "record is anchored")):
        time.plot(n, [point.ours.took[key][0] for point in points], marker="o", label=f"proof: {name}")
    time.plot(n, [point.ours.took["block"][0] for point in points], marker="s", label="block of 100 changes")
    time.plot(n, [point.ours.restart for point in points], marker="^", label="restart to serving")
    time.set_yscale("log")
    time.set_ylim(0.01, 1e6)
    time.set_title("Time, ms (median)")
    memory.plot(n, [point.ours.resident / 1e6 for point in points], marker="o", label="a serving node")
    memory.plot(n, [point.bare.resident / 1e6 for point in points], "--", marker="o", label="without authentication")
    memory.set_title("Resident memory, MB")
    for key, name in (("state", "state"), ("log", "log"), ("trees", "batch trees")):
        line = disk.plot(n, [point.disk[key][0] / 1e6 for point in points], marker="o", label=name)[0]
        if key != "log":
            bare = [point.disk[key][1] / 1e6 for point in points]
            disk.plot(n, bare, "--", color=line.get_color(), label=f"{name}, without authentication")
    disk.set_title("Disk, MB")
    for axes in (time, memory, disk):
        axes.set_xscale("log")
        axes.set_xticks(n, [f"{count / 1e6:g} M" for count in n])
        axes.minorticks_off()
        axes.legend(fontsize=7, frameon=False, loc="upper left" if axes is not memory else "lower right")
    for axes in (memory, disk):
        axes.set_ylim(bottom=0)
    figure.supxlabel("open consents, with ten times as many anchored fingerprints", fontsize=9)
    figure.tight_layout()
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, metadata={"Date": None})
    plt.close(figure)
