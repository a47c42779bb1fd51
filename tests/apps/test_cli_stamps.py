"""Time stamps and accusations on the command line: a real `openssl ts`, real nodes, evidence checked offline."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commonward.ledger.ids import KeyId
from commonward.records.misbehaviour import TwoRoots, write_proofs
from tests.apps.conftest import Patient, Processes, waits
from tests.cli_world import commonward
from tests.tsa_world import Responder, Tsa

Make = Callable[..., Patient]


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return Tsa.new(tmp_path_factory.mktemp("tsa"))


@pytest.fixture
def stamped(processes: Processes, tsa: Tsa) -> Iterator[Callable[[str], None]]:
    """Gives south an authority at an address, and takes it out of the settings at the end."""
    folder = processes.data("south")
    before = (folder / "node.toml").read_text()
    (folder / "tsa.pem").write_bytes(tsa.chain)

    def at(url: str) -> None:
        told = f'tsa_url = "{url}"\ntsa_certificate = "tsa.pem"\ntsa_every_s = 60\n'
        (folder / "node.toml").write_text(told + before)
        processes.restart("south")

    try:
        yield at
    finally:
        (folder / "node.toml").write_text(before)  # the node goes on with an authority that is dead: it costs nothing


def test_evidence_of_a_running_member_carries_an_openssl_time_stamp(
    processes: Processes, patients: Make, stamped: Callable[[str], None], tsa: Tsa, tmp_path: Path
) -> None:
    patient = patients(grant=False)
    consent = patient.grants()
    asked = ("consent", "--handle", patient.handle, consent)
    out = tmp_path / "e.cwe"
    node = processes.node("south")
    with Responder(tsa) as responder:
        stamped(responder.url)
        assert waits(lambda: node.get("/evidence/stamps")["tokens"])
    said = processes.run("south", "evidence", "stamps")
    assert said.code == 0 and "Stamp Office" in said.out
    assert processes.run("south", "evidence", *asked, "--out", out).code == 0
    (tmp_path / "root.pem").write_bytes(tsa.chain)
    ran = commonward("verify", out, "--tsa-certificate", tmp_path / "root.pem")
    assert ran.code == 0, ran.out + ran.err
    assert "as the time-stamping authority Stamp Office says" in ran.out.replace("\n", " ")
    assert "[not checked] Its time stamp" in commonward("verify", out).out.replace("\n", " ")


def test_a_member_without_an_authority_says_so(processes: Processes) -> None:
    ran = processes.run("clinic", "evidence", "stamps")
    assert ran.code == 0 and "No time-stamping authority is set" in ran.out


def test_what_proves_nothing_accuses_nobody(processes: Processes, tmp_path: Path) -> None:
    """Neither junk, nor two checkpoints that the accused never signed."""
    note = b"commonward/0011223344556677\n1\n" + b"A" * 43 + b"=\n\n\xe2\x80\x94 north " + b"A" * 104 + b"\n"
    keys = processes.node("north").get("/keys")
    cosign = next(each["key"] for each in keys if each["purpose"] == "cosign")
    forged = TwoRoots(KeyId(bytes.fromhex(cosign)), "north", False, note, note.replace(b"AAA=", b"BBA="))
    (tmp_path / "forged").write_bytes(write_proofs((forged,)))
    ran = processes.run("south", "evidence", "accuse", tmp_path / "forged")
    assert ran.code == 1 and "NoConflict" in ran.err.replace("\n", " "), ran.err
    (tmp_path / "junk").write_bytes(b"junk")
    assert processes.run("south", "evidence", "accuse", tmp_path / "junk").code == 2
    assert processes.run("south", "evidence", "accuse", tmp_path / "nothing").code == 2
