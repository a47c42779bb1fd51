"""Documentation that can go stale is tested: what exists has its entry, and what is named exists."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest
import typer

from commonward.apps.cli import program
from commonward.apps.settings import Settings
from commonward.ledger.refusals import REFUSALS
from commonward.ledger.transactions import KINDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def text(name: str) -> str:
    return (DOCS / name).read_text()


@pytest.mark.parametrize("name", sorted(payload.__name__ for payload in KINDS.values()))
def test_every_transaction_is_documented(name: str) -> None:
    assert f"\n### {name}\n" in text("transactions.md"), f"docs/transactions.md has no entry '### {name}'"


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_every_refusal_is_documented_with_its_number(code: int) -> None:
    assert f"| {code} | {REFUSALS[code].__name__} |" in text("transactions.md"), (
        f"docs/transactions.md lacks a row '| {code} | {REFUSALS[code].__name__} |'"
    )


@pytest.mark.parametrize("name", sorted(field.name for field in fields(Settings) if field.name != "data"))
def test_every_setting_is_documented(name: str) -> None:
    assert f"| `{name}` |" in text("operations.md"), f"docs/operations.md has no row for the setting `{name}`"


def commands() -> list[str]:
    """Every command a person can type, as words: `consent grant`."""
    found = []

    def walk(group: object, words: list[str]) -> None:
        subcommands = getattr(group, "commands", None)
        if subcommands is None:
            found.append(" ".join(words))
            return
        for name, command in subcommands.items():
            if not command.hidden:
                walk(command, [*words, name])

    walk(typer.main.get_command(program()), [])
    return sorted(found)


@pytest.mark.parametrize("command", commands())
def test_every_command_is_documented(command: str) -> None:
    assert f"`commonward {command}" in text("operations.md"), (
        f"docs/operations.md does not mention `commonward {command}`"
    )


def documents() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}, which is not there"


TRUST_ROW = re.compile(r"^\|(?!\s*(?:-|#))(.+)\|$", re.MULTILINE)


def trust_rows() -> list[list[str]]:
    rows = [[cell.strip() for cell in row.split("|")] for row in TRUST_ROW.findall(text("trust.md"))]
    return [row for row in rows if len(row) == 5 and row[0].isdigit()]


def test_the_trust_table_has_rows() -> None:
    assert len(trust_rows()) >= 20


@pytest.mark.parametrize("row", trust_rows(), ids=lambda row: f"row-{row[0]}")
def test_every_row_of_the_trust_table_names_tests_that_exist(row: list[str]) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[4])
    assert named, f"row {row[0]} ({row[1]}) names no test"
    for path, function in named:
        tree = ast.parse((ROOT / path).read_text())
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert function in defined, f"row {row[0]} names {path}::{function}, which is not there"
