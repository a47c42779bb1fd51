"""Every attack on a study that docs/learning.md lists is stopped by tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WANTED = (
    "inflated row counts",
    "a replayed update",
    "a swapped update",
    "an aggregator that alters the model",
    "different models sent to different sites",
    "an update after a withdrawal",
    "an over-budget round",
    "re-enrolment to refill a budget",
    "a learner whose digest was not approved",
    "a poisoned pickle",
    "a NaN, infinite or exploding update",
    "a masked sum with too few survivors",
    "a curious member in masked mode",
    "garbage updates",
    "scaled updates",
    "sign-flipped updates",
    "stealthy updates",
    "backdoored updates",
    "membership inference",
    "less noise than declared",
)


def rows() -> dict[str, str]:
    """Of the table under "## Attacks": what is tried, and the tests."""
    section = (ROOT / "docs" / "learning.md").read_text().split("\n## Attacks\n")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "::" in line]
    return {each[0]: each[-1] for each in cells}


@pytest.mark.parametrize("attack", WANTED)
def test_every_attack_has_its_row(attack: str) -> None:
    assert attack in rows(), f"docs/learning.md, Attacks: no row for {attack!r}"


def test_every_named_test_is_there() -> None:
    for attack, tests in rows().items():
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)
        assert named, f"{attack}: names no test"
        for path, function in named:
            tree = ast.parse((ROOT / path).read_text())
            defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
            assert function in defined, f"{attack}: {path}::{function} is not there"
