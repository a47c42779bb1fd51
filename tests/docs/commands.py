"""Reads a command line as a shell and our program would, without running it: does the command exist, and each flag."""

from __future__ import annotations

import shlex
from functools import lru_cache
from typing import Any

import typer

from commonward.apps.cli import program


def fault(line: str) -> str:
    """What is wrong with a line that starts with `commonward`; empty when it could be typed so.

    Words in capitals stand for what the reader puts there; what follows `|`, `&&`, `;` or `>` is not ours.
    """
    try:
        words = shlex.split(line.replace("...", ""), comments=True)
    except ValueError as why:
        return f"{line}: {why}"
    for at, word in enumerate(words):
        if word in ("|", "&&", "||", ";", "&", ">", "2>", ">>"):
            words = words[:at]
            break
    command = _whole()
    rest = words[1:]
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        either = rest[0].split("|")  # as a docstring lists several
        lacking = [each for each in either if each not in command.commands]
        if lacking:
            known = ", ".join(sorted(command.commands))
            return f"{line}: no command {lacking[0]!r} in `{command.name}`; there are {known}"
        command, rest = command.commands[either[0]], rest[1:]
    return _flags(command, rest, line)


@lru_cache
def _whole() -> Any:
    return typer.main.get_command(program())


def _flags(command: Any, rest: list[str], line: str) -> str:
    options = {name: each for each in command.params for name in (*each.opts, *each.secondary_opts)}
    places = sum(1 for each in command.params if each.param_type_name == "argument" and each.nargs == 1)
    many = any(each.nargs == -1 for each in command.params if each.param_type_name == "argument")
    given, at = 0, 0
    while at < len(rest):
        word, _, value = rest[at].partition("=")
        at += 1
        if not word.startswith("-") or word == "-":
            given += 1
            continue
        if word == "--help":
            continue
        option = options.get(word)
        if option is None:
            return f"{line}: `{command.name}` has no {word}; it has {', '.join(sorted(options))}"
        if not option.is_flag and not value:
            if at >= len(rest):
                continue  # named alone, as in "with `--data`"
            at += 1
    if given > places and not many and not hasattr(command, "commands"):
        return f"{line}: `{command.name}` takes {places} arguments, here are {given}"
    return ""
