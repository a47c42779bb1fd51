"""The stage: a consortium on this machine, its people, and a voice that says in plain words what happens."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from commonward.adapters.keys import StaffKey
from commonward.apps import founding, running
from commonward.apps.api.client import ControlClient
from commonward.apps.intake import Intake, Taken, find
from commonward.apps.planning import FOLLOWS, NOBODY
from commonward.apps.settings import Address, Settings, load
from commonward.apps.wiring import WallClock, open_authority
from commonward.ledger.ids import MemberId
from commonward.records.jurisdiction import default_jurisdiction
from commonward.records.sensitivity import default_sensitivity

TICK_MS = 1000
_SPOKEN_S = 10.0


class StoryBroken(Exception):
    """A step of the demo did not give what it must give; the sentence says which, and where to look."""


class Voice:
    """Speaks in chapters. Everything it says happened just before."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._chapter = 0
        self._started = time.monotonic()

    def chapter(self, title: str) -> None:
        self._chapter += 1
        self.console.print(f"\n[bold cyan]{self._chapter}. {title}[/bold cyan]")

    def say(self, text: str) -> None:
        self.console.print(f"   {text}")

    def good(self, text: str) -> None:
        self.console.print(f"   [green]✓[/green] {text}")

    def refused(self, text: str) -> None:
        self.console.print(f"   [yellow]✗[/yellow] {text}")

    def table(self, columns: list[str], rows: list[list[str]]) -> None:
        made = Table(*columns, box=None, padding=(0, 2), header_style="bold")
        for row in rows:
            made.add_row(*row)
        self.console.print(made)

    def panel(self, text: str, title: str) -> None:
        self.console.print(Panel(text, title=title, border_style="cyan"))

    @contextmanager
    def progress(self, what: str, total: float | None = None) -> Iterator[Any]:
        """A bar, or a spinner when there is no telling how long; `advance(done)` moves it.

        Without a terminal a line now and then, where it takes long.
        """
        if not self.console.is_terminal:
            yield self._spoken(what, total)
            return
        bars = Progress(
            TextColumn("   "), SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
            console=self.console, transient=True,
        )  # fmt: skip
        with bars:
            task = bars.add_task(what, total=total)
            yield lambda done: bars.update(task, completed=done)

    def _spoken(self, what: str, total: float | None) -> Callable[[float], None]:
        told = time.monotonic()

        def advance(done: float) -> None:
            nonlocal told
            if time.monotonic() - told >= _SPOKEN_S:
                told = time.monotonic()
                share = f": {done / total:.0%}" if total else ""
                self.say(f"… {what}{share}")

        return advance

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started


class Stage:
    """The consortium in `directory`, running.

    `cast`: its members as `planning.plan` reads them, the authority among them; none are the five of the main demo.
    `follows`: who follows without a vote in consensus where the members order together, because four are enough.
    `tick_ms`: how often each member anchors.
    """

    def __init__(
        self,
        directory: Path,
        voice: Voice,
        engine: str = "solo",
        cast: Sequence[str] = (),
        follows: frozenset[str] = FOLLOWS,
        tick_ms: int = TICK_MS,
    ) -> None:
        self.directory = directory
        self.voice = voice
        self.engine = engine
        self._cast, self._follows, self._tick_ms = tuple(cast), follows, tick_ms
        self._controls: dict[str, ControlClient] = {}

    def found(self, port: int) -> founding.Founded:
        """Five members in a fresh directory. One that an earlier demo made is replaced; another is left alone."""
        if (self.directory / founding.CONSORTIUM).exists():
            running.stop(self.directory)
            shutil.rmtree(self.directory)
        solo = self.engine == "solo"
        wanted = founding.plan(self._cast, "127.0.0.1", port, self.engine)
        if not solo:
            wanted = [replace(each, weight=0) if each.id in self._follows else each for each in wanted]
        with self.voice.progress("making keys and certificates for five members"):
            return founding.found(
                self.directory,
                wanted,
                name="Demo consortium",
                operator=MemberId("authority") if solo else NOBODY,
                sequencer=Address(host="127.0.0.1", port=port) if solo else None,
                now=WallClock().now(),
                tables={"jurisdiction": default_jurisdiction().digest, "sensitivity": default_sensitivity().digest},
                tick_ms=self._tick_ms,
            )

    def start(self) -> None:
        with self.voice.progress("starting five nodes and what orders the ledger"):
            running.start(self.directory, 120)
            self.until(lambda: all(self.control(m).get("/status")["live"] for m in self.members), "a live ledger", 120)

    @property
    def processes(self) -> list[str]:
        """What runs for this consortium, each CometBFT counted too."""
        own = list(running.processes(self.directory))
        return own if self.engine == "solo" else [*own, *(f"CometBFT of {member}" for member in own)]

    @property
    def members(self) -> list[str]:
        return [each.partition(":")[0] for each in self._cast] or [member for member, *_ in founding.DEMO]

    def data(self, member: str) -> Path:
        return self.directory / "members" / member

    def settings(self, member: str) -> Settings:
        return load(self.data(member), {})

    def control(self, member: str) -> ControlClient:
        if member not in self._controls:
            self._controls[member] = ControlClient(self.settings(member))
        return self._controls[member]

    async def ingest(self, member: str, paths: list[Path], what: str) -> Taken:
        """As `commonward ingest` does."""
        found = find(paths)
        taken = Taken()
        with Intake(self.settings(member)) as intake, self.voice.progress(what, float(found.size)) as advance:
            await intake.take(found, taken, lambda so_far: advance(so_far.bytes))
        return taken

    def anchored(self, member: str) -> bool:
        """Whether the ledger has a root over every record that this member has taken in."""
        path = self.data(member) / "vault.sqlite"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as vault:
            last = vault.execute("select coalesce(max(number), 0) from records").fetchone()[0]
            done = vault.execute('select coalesce(max("last"), 0) from batches where log_index >= 0').fetchone()[0]
        return bool(done >= last > 0)

    def employ(self, member: str, number: str, role: str, department: str) -> None:
        """A day certificate for one person, as signing in at a member's desk would give."""
        settings = self.settings(member)
        now = WallClock().now()
        key = StaffKey.issue(
            open_authority(settings), MemberId(member), role=role, department=department, number=number, starts=now
        )
        key.save(settings.data / "staff" / f"{number}.pem", settings.passphrase())

    def until(self, true: Any, what: str, seconds: float = 60) -> None:
        """Wait for something that another process does. Raises StoryBroken."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if true():
                    return
            except ConnectionError:
                pass
            time.sleep(0.05)
        raise StoryBroken(f"waited {seconds:g} s for {what} in vain; see the logs in {self.directory}/members/*/")
