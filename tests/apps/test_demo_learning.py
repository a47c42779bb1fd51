"""The demonstration of learning, whole, at its smallest: five nodes, two studies, a kill, a withdrawal, refusals."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from commonward.apps import running
from commonward.apps.api.client import ControlClient
from commonward.apps.demo.learning import run
from commonward.apps.demo.learning_hospitals import CAST, HOSPITALS, NORTH
from commonward.apps.demo.learning_sizes import SMALL
from commonward.apps.demo.stage import Voice
from commonward.apps.planning import ports
from commonward.apps.settings import load
from tests.apps.conftest import free_ports
from tests.cli_world import commonward


@dataclass(frozen=True)
class Told:
    """What was said, and the folder with what came out; the nodes still run."""

    text: str
    folder: Path

    def studies(self) -> dict[str, dict[str, object]]:
        node = ControlClient(load(self.folder / "members" / NORTH, {}))
        return {str(each["rule"]): each for each in node.get("/studies")}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder, out = tmp_path_factory.mktemp("learning") / "d", io.StringIO()
    try:
        run(folder, free_ports(ports(len(CAST), "solo")), Voice(Console(file=out, width=110)), "solo", SMALL)
        yield Told(out.getvalue(), folder)
    finally:
        running.stop(folder)


def test_both_studies_end_with_models_that_verify_offline_and_altered_ones_that_do_not(told: Told) -> None:
    assert {each["status"] for each in told.studies().values()} == {"closed"}
    for name in ("heart", "keratitis"):
        model = told.folder / "results" / f"{name}.safetensors"
        trust = model.with_suffix(".trust")
        assert commonward("verify", model, "--trust", trust).code == 0
        altered = model.with_name(f"{name}-altered.safetensors")
        assert commonward("verify", altered, "--trust", trust).code == 1


def test_the_story_tells_of_refusals_by_number_of_the_kill_and_of_the_withdrawal(told: Told) -> None:
    said = " ".join(told.text.split())
    for words in ("621 (StudyNotApproved;", "605 (ChargeNotSound;", "is killed (kill -9)", "models that learnt from"):
        assert words in said, words
    assert "all 8 rounds again: byte for byte the same" in said


def test_every_figure_of_drawn_photographs_is_marked_synthetic(told: Told) -> None:
    chapters = re.split(r"\n\d+\. ", told.text)
    rounds = next(each for each in chapters if each.startswith("Rounds with noise"))
    figures = [line for line in rounds.split("✓") if "accuracy" in line]
    assert figures and all("SYNTHETIC" in line for line in figures), rounds
    for language, mark in (("en", "SYNTHETIC"), ("zh", "合成数据")):
        assert mark in (told.folder / "results" / f"keratitis-{language}.html").read_text()
        assert mark not in (told.folder / "results" / f"heart-{language}.html").read_text()


def test_a_photograph_was_read_with_a_heat_map_and_advice_that_claims_nothing(told: Told) -> None:
    (heat,) = (told.folder / "results").glob("*-heat-map.png")
    assert heat.read_bytes().startswith(b"\x89PNG")
    said = " ".join(told.text.split())
    assert "never use it for a patient" in said and "no diagnosis" in said


def test_the_nodes_go_on_and_nobody_s_records_are_on_the_ledger(told: Told) -> None:
    assert {*HOSPITALS, "authority", "sequencer"} <= set(running.processes(told.folder))
    blocks = (told.folder / "members" / NORTH / "ledger" / "blocks").rglob("*")
    whole = b"".join(path.read_bytes() for path in blocks if path.is_file())
    for secret in (b"cleveland", b"fungal", b"moved away", b"Media", b"sound, with the written"):
        assert secret not in whole, secret
