"""The demo's story on real CometBFT: four members order together, a fifth follows; no step may differ but in speed."""

import subprocess
import sys
from pathlib import Path

from tests.apps.conftest import free_ports
from tests.network.telling import last_lines

LONGEST_S = 1800.0


def test_the_whole_story_is_told_on_cometbft(tmp_path: Path) -> None:
    words = ["demo", str(tmp_path / "c"), "--engine", "cometbft", "--port", str(free_ports(16)), "--stop"]
    told = subprocess.run(
        [sys.executable, "-m", "commonward", *words], capture_output=True, text=True, timeout=LONGEST_S, check=False
    )
    logs = "".join(
        f"\n{path.parent.name}\n{last_lines(path)}\n{last_lines(path.parent / 'cometbft' / 'cometbft.log')}"
        for path in sorted(tmp_path.glob("c/members/*/node.log"))
    )
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr + logs
    assert "Nobody orders alone: authority, clinic, north, south agree on each block" in told.stdout
    assert "of 4 members cosigned the ledger" in told.stdout
    assert "13. What an outsider learns" in told.stdout
