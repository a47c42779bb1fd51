"""A member's data directory on disk, and the command line run against it."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from commonward.apps.cli import main
from commonward.apps.founding import found, plan
from commonward.apps.settings import Address
from commonward.apps.wiring import WallClock
from commonward.ledger.ids import MemberId
from commonward.records.jurisdiction import default_jurisdiction
from commonward.records.sensitivity import default_sensitivity


def found_pilot(directory: Path, port: int = 17400, members: Sequence[str] = ("north:hospital:3=North",)) -> Path:
    """A consortium of one member, who operates the sequencer; returns the member's folder."""
    planned = plan(list(members), "127.0.0.1", port)
    made = found(
        directory,
        planned,
        name="Pilot",
        operator=MemberId("north"),
        sequencer=Address(host="127.0.0.1", port=port),
        now=WallClock().now(),
        tables={"jurisdiction": default_jurisdiction().digest, "sensitivity": default_sensitivity().digest},
        tick_ms=1000,
    )
    return made.members[MemberId("north")]


def copied(folder: Path, to: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(folder, to, symlinks=True)
    return to


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


def commonward(*arguments: object) -> Ran:
    """Runs the command line in this process, as a shell would."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        patch.object(sys, "argv", ["commonward", *map(str, arguments)]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int | None)
    return Ran(code or 0, out.getvalue(), err.getvalue())


def begun(*arguments: object) -> subprocess.Popen[bytes]:
    """The command line in a process of its own, to be killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "commonward", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
