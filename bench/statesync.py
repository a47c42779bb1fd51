"""Joining by a snapshot, and catching up: this node's own part, without CometBFT and the network.

A million entries of state (consents with their handles and passkeys) and 100,000 leaves of the last 15 minutes are cut
into a snapshot, restored from its chunks with every part proven, and opened. Then blocks are replayed as a node does
that was away. Where the time goes is listed part by part.
"""

from collections.abc import Iterable

from bench._machine import apart, scratch
from bench._statesync import Took, grow, idle_blocks, light_blocks, load_bare, make, replay, restore
from bench.results import Result

ENTRIES = 1_000_000
LEAVES = 100_000
BLOCKS = 1000


def run(scale: float = 1.0) -> Iterable[Result]:
    entries, leaves = max(int(ENTRIES * scale), 1000), max(int(LEAVES * scale), 200)
    with scratch() as path:
        apart(grow, path, entries, leaves)
        made = apart(make, path)
        bare = apart(load_bare, path)
        took = apart(restore, path)
    size = f"{entries:,} entries, {leaves:,} leaves, {made.chunks} chunks"
    yield _less("snapshot made", made.seconds, "s", f"{size}; in a thread that rests as long as it works")
    yield _less("longest wait of the loop meanwhile", made.longest_wait * 1e3, "ms", size)
    yield _less("snapshot", made.bytes / 1e6, "MB", size)
    yield Result(
        name="snapshot restored", value=took.total, unit="s", reference="cells loaded unproven, no map",
        reference_value=bare, goal=60, more_is_better=False,
        conditions=f"{size}; offer to opened machine, chunks on this disk, durable; one process",
    )  # fmt: skip
    yield from _parts("restore", took, size)
    yield _less("resident memory of who restores", took.resident / 1e6, "MB", size)
    for name, blocks in (("light", light_blocks), ("idle", idle_blocks)):
        count = max(int(BLOCKS * scale), 20)
        with scratch() as path:
            done = apart(replay, path, blocks(count))
        what = "one signed transaction each" if name == "light" else "nothing in them"
        conditions = f"{count} blocks, {what}; each block synced to the log before it is kept"
        yield Result(
            name=f"replay of {name} blocks", value=done.total * BLOCKS / count, unit="s a 1,000", goal=10,
            more_is_better=False, conditions=conditions,
        )  # fmt: skip
        yield from _parts(f"replay of {name} blocks", done, conditions)


def _less(name: str, value: float, unit: str, conditions: str) -> Result:
    return Result(name=name, value=value, unit=unit, more_is_better=False, conditions=conditions)


def _parts(what: str, took: Took, conditions: str) -> Iterable[Result]:
    for part, seconds in sorted(took.parts.items(), key=lambda each: -each[1]):
        yield _less(f"{what}: {part}", seconds, "s", conditions)
