"""How fast the ledger grows here, and so how many days the disk lasts. Told by the block log's own times and sizes."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from commonward.apps.doctor.findings import Finding, fail, ok, warn
from commonward.ledger.encoding import EncodingError, decode
from commonward.ledger.ids import BlockTime
from commonward.workflows.blocklog import Record, RecordError

DAY: Final = 86_400_000
_LITTLE_ROOM: Final = 5 << 30
_NO_ROOM: Final = 500 << 20
_EACH: Final = 256  # one time remembered for so many blocks
_LATELY: Final = 7 * DAY
_LEAST: Final = DAY // 24  # less than an hour of blocks tells nothing about days
_SOON: Final = 60
_NOW: Final = 7


@dataclass(slots=True)
class Growth:
    """Sizes and times of the block log, noted while it is read anyway."""

    size: int = 0
    marks: list[tuple[int, int]] = field(default_factory=list)  # header time, bytes so far

    def note(self, height: int, record: bytes) -> None:
        self.size += len(record)
        if height % _EACH == 1 or not self.marks:
            time = header_time(record)
            if time is not None:
                self.marks.append((time, self.size))

    def close(self, record: bytes) -> None:
        """The last block."""
        time = header_time(record)
        if time is not None:
            self.marks.append((time, self.size))

    def a_day(self, factor: float = 1.0) -> float | None:
        """Bytes a day, lately; `factor`: what the disk takes for each byte of the block log."""
        if not self.marks:
            return None
        end, total = self.marks[-1]
        since = next(((time, size) for time, size in self.marks if time >= end - _LATELY), self.marks[-1])
        if end - since[0] < _LEAST:
            return None
        return (total - since[1]) / (end - since[0]) * DAY * factor


def header_time(record: bytes) -> BlockTime | None:
    try:
        match decode(Record.parse(record).block):
            case [[int(), int(time)], *_]:
                return BlockTime(time)
    except (RecordError, EncodingError):
        pass
    return None


def _taken(*folders: Path) -> int:
    total = 0
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                total += path.stat().st_size if path.is_file() else 0
            except OSError:
                continue  # a file of a running store, gone meanwhile
    return total


def room(data: Path, growth: Growth) -> Finding:
    """Free now, and how long that lasts at the pace of the last week."""
    usage = shutil.disk_usage(data)
    found = f"{usage.free / 1e9:.1f} GB free of {usage.total / 1e9:.1f} GB"
    taken = _taken(data / "ledger", data / "cometbft", data / "sequencer")
    pace = growth.a_day(taken / growth.size) if growth.size else None
    days = usage.free / pace if pace else None
    if pace is not None and days is not None:
        lasts = f"enough for {days:,.0f} days" if days < 36_500 else "enough for a century"
        found += f"; the ledger takes {taken / 1e9:.2f} GB and {pace / 1e6:,.1f} MB more a day: {lasts}"
    if usage.free < _NO_ROOM or (days is not None and days < _NOW):
        return fail("disk", found, "make room now: a node that cannot write stops, and goes on when there is room")
    if usage.free < _LITTLE_ROOM or (days is not None and days < _SOON):
        return warn("disk", found, "make room soon; docs/operations.md says what may be pruned")
    return ok("disk", found)
