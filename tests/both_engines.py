"""Runs each test that tells its story with a `Consortium` on both engines. A folder's conftest imports the two names.

A test whose own text names the sequencer, its operator or solo's nodes is about solo, and runs on it alone.
"""

import inspect
import re
from collections.abc import Iterator

import pytest

from tests import consortium

__all__ = ["ordered_by", "pytest_generate_tests"]

_SOLO = re.compile(r"sequencer|operator|\bline\b|\.lines\b|\.open\(|disks|offer\(|solo", re.IGNORECASE)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    told = inspect.getsource(metafunc.function)
    if getattr(metafunc.module, "Consortium", None) is consortium.Consortium and not _SOLO.search(told):
        metafunc.fixturenames.append("ordered_by")
        metafunc.parametrize("ordered_by", ["solo", "consensus"], indirect=True)


@pytest.fixture
def ordered_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Which engine the consortium of this test is on."""
    monkeypatch.setattr(consortium, "ORDERED_BY", request.param)
    yield request.param
