"""In which language a command speaks: the one option, held to the languages there are."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from commonward.apps.cli.output import fail
from commonward.apps.cli.plain import plain

__all__ = ["LANGUAGES", "Language", "PatientsLanguage"]

LANGUAGES: Final = ("en", "zh")


def _held(language: str) -> str:
    """Ends the command for a language there is no catalogue of."""
    if language not in LANGUAGES:
        fail(f"expected --lang {' or '.join(LANGUAGES)}, got {plain(language)}")
    return language


Language = Annotated[str, typer.Option("--lang", help="en or zh.", callback=_held)]
PatientsLanguage = Annotated[
    str, typer.Option("--lang", envvar="COMMONWARD_LANG", help="en or zh.", callback=_held)
]  # fmt: skip
