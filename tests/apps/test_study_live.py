"""Who follows a study sees how far it is, what it waits for, how good the model is, and what it costs."""

from __future__ import annotations

import io
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from rich.console import Console

from commonward.apps import settings
from commonward.apps.api.client import NodeAway
from commonward.apps.cli import study_running
from commonward.apps.cli.study_live import line, screen, spark
from commonward.apps.cli.study_shown import shown
from commonward.apps.studies import telling
from commonward.apps.studies.metrics import variants
from tests.reportkit import NASTY, bare, masked, nasty, open_study, two_classes


def running(stage: str = "training", **bent: Any) -> dict[str, Any]:
    """The study of four classes in its sixth round, which has gone on for ten minutes of an hour."""
    found = open_study(status="running", round=5, now=1_000_000, **bent)
    for each in found["site"]:
        each["enrolled"] = True
    at = {"deadline": 4_000_000, "sign_by": 1_060_000, "final": None, "stage": stage, "updates": ["clinic", "north"]}
    found["progress"] = [*found["progress"][:5], {**found["progress"][5], **at, "attempt": 2, "signed": ["north"]}]
    found["local"]["curve"] = [each for each in found["local"]["curve"] if each["round"] <= 5]
    return found


def drawn(found: dict[str, Any], width: int = 80, note: str = "") -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(screen(found, note))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_a_long_round_says_what_it_waits_for_and_how_long_that_may_take() -> None:
    shown = drawn(running())
    assert "5 of 8 rounds" in shown and "round 6, attempt 2: training" in shown
    assert "waits for authority, south" in shown and "50 min" in shown
    assert "60 s left" in " ".join(drawn(running("signing")).split())
    late = drawn({**running(), "now": 5_000_000})
    assert "its time is over" in " ".join(late.split())


def test_four_classes_show_balanced_accuracy_and_loss_beside_the_commonest_class_and_every_number_says_synthetic() -> (
    None
):
    shown = drawn(running(), 120)
    for name in ("accuracy", "balanced accuracy", "AUROC", "loss (Brier)"):
        (row,) = [each for each in shown.splitlines() if each.startswith(name + " ")]
        assert "SYNTHETIC" in row and "at all sites" in row
    assert "commonest class 0.4" in shown
    assert "2.26" in shown and "of 3.00 in all" in shown and "1.50 of 10" in shown
    assert "SYNTHETIC" not in drawn(masked()) and "balanced" not in drawn(masked())


def test_a_site_is_shown_where_it_stands() -> None:
    rows = {each.split()[0]: each for each in drawn(running()).splitlines() if each.strip()}
    assert "sent" in rows["north"] and "training" in rows["south"]
    rows = {each.split()[0]: each for each in drawn(running("signing")).splitlines() if each.strip()}
    assert " signed" in rows["north"] and "to sign" in rows["south"]


def test_a_line_changes_when_something_happened_and_holds_all_that_a_log_needs() -> None:
    found = running()
    assert line(found) == line({**found, "now": 2_000_000}), "the clock is no news"
    said = line(found)
    assert "updates 2 of 4" in said and "most privacy spent 1.50" in said and "SYNTHETIC accuracy at all sites" in said
    sent = {**found["progress"][5], "updates": ["clinic", "north", "south"]}
    assert line({**found, "progress": [*found["progress"][:5], sent]}) != said
    assert "proposed, 0 of 3 rounds" in line(bare())


@pytest.mark.parametrize("width", [60, 80, 200])
def test_what_others_wrote_cannot_draw_on_the_terminal(width: int) -> None:
    found = {**nasty(), "title": "[red]\x1b[2J" + NASTY, "now": 1}
    shown = drawn(found, width, "[bold]away")
    assert "\x1b" not in shown and "[red]" in shown and "[bold]away" in shown
    assert drawn(bare(), width)


def test_a_curve_of_many_rounds_is_cut_to_the_line_and_keeps_its_last_value() -> None:
    assert spark([0.0, 0.5, 1.0]) == "▁▅█"
    many = spark([0.1] * 999 + [0.99])
    assert len(many) <= 32 and many.endswith("█")
    assert spark([]) == ""


class Node:
    """Answers in turn; what is an exception is raised. Stands in for a node's control socket."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def get(self, _: str) -> Any:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def follows(monkeypatch: pytest.MonkeyPatch, node: Node, **how: Any) -> list[float]:
    """Runs the command against it; returns how long it slept between two looks."""
    slept: list[float] = []
    monkeypatch.setattr(settings, "load", lambda _: None)
    monkeypatch.setattr(study_running, "ControlClient", lambda _: node)
    monkeypatch.setattr(time, "sleep", slept.append)
    study_running.run(Path(), "ab" * 16, **{"wait": 3600.0, "as_plain": True, "as_json": False, **how})
    return slept


def test_a_node_that_restarts_does_not_end_the_watch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away, done = NodeAway("the node of north does not answer"), open_study()
    follows(monkeypatch, Node(running(), away, away, away, running(), done))
    said = capsys.readouterr().out
    assert said.count("does not answer") == 1 and "8 of 8 rounds" in said


def test_a_round_that_takes_long_is_looked_at_less_often_and_ends_with_what_is_not_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept = follows(monkeypatch, Node(*[running()] * 40, open_study()))
    assert slept[0] == 0.5 and slept[-1] == 3.0 and len(slept) == 40
    with pytest.raises(typer.Exit) as ended:
        follows(monkeypatch, Node(bare(status="rejected")))
    assert ended.value.exit_code == 1


def test_who_votes_sees_that_records_are_synthetic_and_what_the_proposer_states() -> None:
    terms = {"end": 1_800_000_000_000, "min_sites": 3, "row_cap": 1}
    told = shown({**open_study(), **terms})
    assert "SYNTHETIC records" in told and "stated, intended_use: None: made to try the software." in told
    assert "SYNTHETIC" not in shown({**masked(), **terms})
    assert "[red]" not in shown({**open_study(statements={"funding": "[red]all"}), **terms}).replace(r"\[red]", "")


def test_figures_of_rounds_that_were_judged_are_computed_once_however_often_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def counting(tensors: Any) -> Any:
        asked.append(len(tensors))
        return variants(tensors)

    monkeypatch.setattr(telling, "variants", counting)
    telling._figures.cache_clear()
    rounds = tuple(
        SimpleNamespace(round=at, all_sites=tuple(two_classes(60 + at)), own=(), agrees=None) for at in range(1, 21)
    )
    progress: Any = SimpleNamespace(rounds=rounds, waits_for="", updates_kept=0)
    first, again = telling.local_told(progress), telling.local_told(progress)
    assert first == again and [each["round"] for each in first["curve"]] == list(range(1, 21))
    assert first["all"][""]["rows"] == 80 and first["all"]["round"] == 20 and "own" not in first
    assert len([each for each in asked if each]) == 20 + 2, "each round once, and the last one whole for each who asks"
