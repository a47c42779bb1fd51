"""The benchmark harness says what it measured, against what, and whether the goal was met."""

import ast
import inspect
import json
from pathlib import Path

import pytest

from bench.__main__ import about, load, main, names
from bench.report import number, page
from bench.results import Result

FAST = Result(
    name="proof",
    value=0.5,
    unit="ms",
    conditions="n = 3",
    reference="floor",
    reference_value=0.25,
    goal=2,
    more_is_better=False,
)
SLOW = Result(name="throughput", value=900, unit="a second", conditions="n = 3", goal=1000)


def test_a_result_knows_its_ratio_and_whether_its_goal_was_met() -> None:
    assert (FAST.ratio, FAST.met) == (2.0, True)
    assert (SLOW.ratio, SLOW.met) == (None, False)
    wanted = {"name", "value", "unit", "reference", "reference_value", "ratio", "conditions"}
    assert wanted <= set(json.loads(json.dumps(FAST.to_json())))


def test_the_page_says_which_goals_were_missed_and_how_to_measure_again() -> None:
    text = page({"state": ("What it measures.", "python -m bench state", [FAST, SLOW])})
    assert "| proof | 0.5 | ms | at most 2 | met | floor: 0.25 | 2 | n = 3 |" in text
    assert "at least 1,000 | **missed**" in text
    assert "    python -m bench state\n" in text
    assert "Goals met: 1 of 2" in text


@pytest.mark.parametrize(("value", "text"), [(None, ""), (0.0123456, "0.0123"), (3.0, "3"), (123456.7, "123,457")])
def test_numbers_are_shown_with_the_digits_that_mean_something(value: float | None, text: str) -> None:
    assert number(value) == text


def test_every_benchmark_can_be_run_and_says_what_it_is() -> None:
    assert {"state", "stores"} <= set(names())
    for name in names():
        module = load(name)
        assert callable(module.run)
        assert about(module), f"bench/{name}.py lacks a docstring"
        assert set(inspect.signature(module.run).parameters) <= {"scale", "data"}


def test_without_a_name_the_benchmarks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == names()


def test_an_unknown_name_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["nonesuch"])
    assert "there are: " in capsys.readouterr().err


def test_a_small_run_prints_one_json_object_a_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["stores", "--json", "--scale", "0.001", "--write", str(tmp_path / "docs" / "performance.md")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"block of 1", "read", "disk"} <= {line["name"] for line in lines}
    assert all(line["reference"] == "SQLite" for line in lines)
    assert "## stores" in (tmp_path / "docs" / "performance.md").read_text()


def test_no_benchmark_imports_its_drawing_library_before_it_draws() -> None:
    """Listing must not cost a second, and a run without a figure needs no matplotlib."""
    for path in Path("bench").glob("*.py"):
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not any("matplotlib" in ast.unparse(node) for node in top), path
