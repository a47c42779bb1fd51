"""What a member sets for its own node reaches the parts of the engine that it is for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commonward.apps import engines
from commonward.apps.settings import Settings, load
from commonward.apps.syncing import open_snapshots
from commonward.apps.wiring import WallClock, open_keys, read_genesis
from commonward.workflows.agreeing import AgreeingReplica
from tests.cli_world import commonward


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("engines") / "c"
    assert commonward("network", "init", directory, "--members", 1, "--port", 17_900).code == 0
    return directory / "members" / "north"


def told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What its replica and its snapshots were told."""
    found: dict[str, Any] = {}

    class Replica(AgreeingReplica):
        def __init__(self, *, keep_blocks: int = 0, **arguments: Any) -> None:
            found["keep_blocks"] = keep_blocks
            super().__init__(keep_blocks=keep_blocks, **arguments)

    def opening(**arguments: Any) -> Any:
        found["every"] = arguments["every"]
        return open_snapshots(**arguments)

    monkeypatch.setattr(engines, "AgreeingReplica", Replica)
    monkeypatch.setattr(engines, "open_snapshots", opening)
    genesis, keys = read_genesis(settings), open_keys(settings)
    files = engines.open_files(settings, genesis)
    engines.open_engine(settings, keys, genesis, files, WallClock()).close()
    files.close()
    return found


def test_a_node_forgets_blocks_and_makes_snapshots_as_it_is_set(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(data, {})
    assert told(settings, monkeypatch) == {"keep_blocks": 2_000_000, "every": 1000}
    changed = replace(settings, keep_blocks=0, snapshot_every=5000)
    assert told(changed, monkeypatch) == {"keep_blocks": 0, "every": 5000}
