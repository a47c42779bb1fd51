"""Hands whole modules to workers: to the first those with real processes, to the others those that compute.

Tests of real processes wait much and must not be disturbed. So on two cores one consortium of real nodes runs at a
time, beside something that keeps the other core busy, until one kind is used up: then the others take of the processes
from the end of their list. What no list names is short, and comes last: the workers end together.

Within a list the longest come first. Tests that share a consortium (`tests/apps/conftest.py`) stand together, so that
it runs only as long as it is needed.
"""

from __future__ import annotations

from typing import Any

from xdist.scheduler.loadscope import LoadScopeScheduling  # type: ignore[import-untyped]

PROCESSES = (
    "tests/network/test_network_processes.py",
    "tests/apps/test_cli_care.py",  # these six share a consortium
    "tests/apps/test_cli_custody.py",
    "tests/apps/test_cli_evidence.py",
    "tests/apps/test_cli_governance.py",
    "tests/apps/test_cli_stamps.py",
    "tests/apps/test_metrics.py",
    "tests/scenarios/test_faults.py",
    "tests/network/test_story_cometbft.py",
    "tests/apps/test_demo_learning.py",
    "tests/apps/test_cli_study.py",
    "tests/apps/test_cli_study_on_cometbft.py",
    "tests/apps/test_cli_photographs_road.py",
    "tests/network/test_network_governed.py",
    "tests/network/",
    "tests/apps/test_cli_on_cometbft.py",
    "tests/apps/test_cli_network.py",
    "tests/apps/test_cli_migrate.py",
    "tests/apps/test_cli_intake.py",
    "tests/scenarios/test_killed_at_every_step.py",
    "tests/apps/test_cli_doctor.py",
    "tests/deploy/",
    "tests/adapters/test_solo",
)
"""Beginnings of paths, in the order in which they run."""

COMPUTING = (
    "tests/bench/",
    "tests/scenarios/",
    "tests/workflows/",
    "tests/ledger/",
    "tests/records/",
    "tests/browser/",
    "tests/adapters/",
)
"""Likewise, for the other workers."""


def place(scope: str, *, first: bool) -> tuple[int, int]:
    """When it is a module's turn, at the first worker or at another: sorts like it."""
    for at, beginning in enumerate(PROCESSES):
        if scope.startswith(beginning):
            return (0, at) if first else (1, -at)
    for at, beginning in enumerate(COMPUTING):
        if scope.startswith(beginning):
            return (2, -at) if first else (0, at)
    return (1, 0) if first else (2, 0)


class TwoEnds(LoadScopeScheduling):  # type: ignore[misc]
    """One module after the other, from the worker's end; of modules in one place, that of the most tests."""

    def _assign_work_unit(self, node: Any) -> None:
        first = node is min(self.nodes, key=lambda each: str(each.gateway.id))
        taken = min(self.workqueue, key=lambda scope: place(scope, first=first))
        self.workqueue.move_to_end(taken, last=False)
        super()._assign_work_unit(node)
