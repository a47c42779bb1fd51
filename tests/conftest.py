"""In what order the tests run, and beside which others."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With two workers, tests of real processes run beside tests that compute (`tests.two_ends`)."""
    from tests.two_ends import TwoEnds

    return TwoEnds(config, log) if config.getoption("dist") == "loadscope" else None
