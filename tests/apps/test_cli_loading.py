"""The command line loads what the typed command needs, and no command is lost by that."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest
import typer

from commonward.apps.cli import program
from commonward.apps.cli.main import FILES
from tests.cli_world import commonward


def words(app: typer.Typer) -> set[str]:
    """What its commands and groups are called."""
    return set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("file", FILES)
def test_each_file_adds_the_words_it_is_listed_with(file: str) -> None:
    alone = typer.Typer()
    alone.callback()(lambda: None)
    import_module(f"commonward.apps.cli.{file}").add_to(alone)
    assert words(alone) == set(FILES[file])


def test_a_word_finds_its_command_with_all_that_other_files_add_to_it() -> None:
    every = typer.main.get_command(program()).commands  # type: ignore[attr-defined]
    for word, whole in every.items():
        found = typer.main.get_command(program(word)).commands[word]  # type: ignore[attr-defined]
        assert set(getattr(found, "commands", ())) == set(getattr(whole, "commands", ())), word
        assert found.help == whole.help


def test_without_a_word_or_with_a_wrong_one_every_command_is_there() -> None:
    assert words(program()) == words(program("nod")) == {each for words in FILES.values() for each in words}
    wrong = commonward("nod")
    assert wrong.code == 2 and "node" in wrong.err


def test_a_node_starts_without_what_other_commands_are_made_of() -> None:
    loaded = "import sys; from commonward.apps.cli import program; program('node'); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", loaded], capture_output=True, check=True, text=True)
    modules = set(ran.stdout.split())
    assert "commonward.apps.cli.processes" in modules
    assert not modules & {"commonward.apps.cli.study", "commonward.apps.wiring", "numpy", "sqlalchemy", "aiohttp"}
