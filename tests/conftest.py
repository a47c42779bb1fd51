"""In what order the tests run, and beside which others; and what they need not pay for at every key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from commonward.adapters.keys import pkcs8

# Two workers on two cores, and the processes that they start: who calculates does it on one thread. numpy and torch
# read this when they are loaded, which is later.
for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

# The same examples in every run, however slow the machine; `--hypothesis-profile default` looks for others.
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With two workers, tests of real processes run beside tests that compute (`tests.two_ends`)."""
    from tests.two_ends import TwoEnds

    return TwoEnds(config, log) if config.getoption("dist") == "loadscope" else None


@pytest.fixture(scope="session", autouse=True)
def cheap_key_files() -> Iterator[None]:
    """Key files that this process makes are opened without the price that a thief is to pay for each guess.

    The file says its price: whoever opens it, a node of a test's consortium too, pays 45 ms less for each of ten keys.
    `tests/adapters/test_keys.py` holds the true price; processes of their own that make keys make them at that.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pkcs8, "_SCRYPT_N", 2)
        yield
