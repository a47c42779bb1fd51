"""A study's whole road where the members order together: what its people see does not differ."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.apps.conftest import consortium_on
from tests.apps.study_world import StudyWorld
from tests.apps.test_cli_study import (
    test_a_masked_study_runs_to_a_model_that_anyone_verifies_offline_and_sites_compute_again,
    test_a_site_killed_midway_comes_back_and_a_consent_withdrawn_meanwhile_is_in_no_later_round,
)

__all__ = [
    "test_a_masked_study_runs_to_a_model_that_anyone_verifies_offline_and_sites_compute_again",
    "test_a_site_killed_midway_comes_back_and_a_consent_withdrawn_meanwhile_is_in_no_later_round",
    "world",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyWorld]:
    with consortium_on("cometbft", tmp_path_factory.mktemp("together") / "c", tick_ms=2000) as processes:
        made = StudyWorld(processes, tmp_path_factory.mktemp("heart"))
        made.prepare()
        yield made
