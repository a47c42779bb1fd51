"""`commonward verify` gives the verdict of the program that an auditor runs alone."""

from pathlib import Path

import pytest

from tests.cli_world import commonward
from tests.evidence_world import World

STORED = b'{"resourceType":"Observation","value":7.40}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("auditor")
    world = World()
    (root / "ledger.trust").write_bytes(world.trust())
    (root / "record.tlog-proof").write_bytes(world.record(STORED).to_bytes())
    (root / "record.json").write_bytes(STORED)
    return root


def test_it_exits_as_the_verdict_says(folder: Path, tmp_path: Path) -> None:
    proof = folder / "record.tlog-proof"
    good = commonward("verify", proof, "--record", folder / "record.json", "--json")
    assert good.code == 0 and good.json["convinces"], good
    (tmp_path / "other.json").write_bytes(STORED.replace(b"7.40", b"7.41"))
    other = commonward("verify", proof, "--trust", folder / "ledger.trust", "--record", tmp_path / "other.json")
    assert other.code == 1
    (tmp_path / "torn").write_bytes(proof.read_bytes()[:100])
    assert commonward("verify", tmp_path / "torn", "--trust", folder / "ledger.trust").code == 2
    assert commonward("verify", tmp_path / "absent").code == 2
    assert commonward("verify").code == 2
