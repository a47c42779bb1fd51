"""Whoever asks a command for a language that there is none of hears so, whichever command it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from commonward.apps.cli import program
from commonward.apps.cli.languages import LANGUAGES
from commonward.apps.signing import words as signing
from commonward.apps.studies import words as studies
from tests.cli_world import commonward


def commands(found: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that it is typed by."""
    if not hasattr(found, "commands"):
        yield names, found
        return
    for name, each in found.commands.items():
        yield from commands(each, *names, name)


def test_every_command_that_takes_a_language_holds_it_to_those_there_are() -> None:
    every = commands(typer.main.get_command(program()))
    taking = {names: option for names, each in every for option in each.params if "--lang" in option.opts}
    assert ("study", "look") in taking and ("study", "report") in taking and ("patient", "show") in taking
    assert [names for names, option in taking.items() if option.callback is None] == []
    assert LANGUAGES == signing.LANGUAGES == studies.LANGUAGES


def test_a_language_that_there_is_none_of_is_named_with_those_there_are() -> None:
    ran = commonward("study", "read", "model.safetensors", "eye.jpg", "--lang", "de")
    assert ran.code == 2 and "expected --lang en or zh, got de" in ran.err
