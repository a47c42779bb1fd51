"""Tests of real processes run one module after the other, beside tests that compute."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.two_ends import COMPUTING, PROCESSES, TwoEnds

ROOT = Path(__file__).parents[1]


def test_what_the_order_names_is_there() -> None:
    lost = [
        each
        for each in (*PROCESSES, *COMPUTING)
        if not list(ROOT.glob(each + ("test_*.py" if each[-1] == "/" else "*")))
    ]
    assert not lost


class Worker:
    """One that keeps what it is sent."""

    shutting_down = False

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.sent: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.sent += indices

    def shutdown(self) -> None:
        pass


def test_the_first_worker_takes_processes_and_the_second_what_computes(pytestconfig: pytest.Config) -> None:
    names = ["tests/apps/test_verify.py", "tests/bench/test_a.py", PROCESSES[0], "tests/ledger/test_b.py", PROCESSES[1]]
    tests = [f"{name}::test_{number}" for name in names for number in range(3)]
    config = SimpleNamespace(option=SimpleNamespace(loadscopereorder=True), getvalue=lambda name: ["popen", "popen"])
    scheduler = TwoEnds(config, SimpleNamespace(loadscopesched=lambda *words: None))
    first, second = Worker("gw0"), Worker("gw1")
    for each in (first, second):
        scheduler.add_node(each)
        scheduler.add_node_collection(each, tests)
    scheduler.schedule()
    while scheduler.has_pending:
        for each in (first, second):
            for at in [*each.sent]:
                scheduler.mark_test_complete(each, at)
    ran = [list(dict.fromkeys(tests[at].split("::")[0] for at in each.sent)) for each in (first, second)]
    assert ran[0][:2] == list(PROCESSES[:2])
    assert ran[1][:2] == ["tests/bench/test_a.py", "tests/ledger/test_b.py"]
    assert sorted(ran[0] + ran[1]) == sorted(names), "each module once, at one worker"
