"""Groups of commands that more than one file fills."""

from __future__ import annotations

import typer


def group(app: typer.Typer, name: str, words: str) -> typer.Typer:
    """The group of that name, made if it is not there yet: a second one of the same name would hide the first."""
    for each in app.registered_groups:
        if each.name == name and each.typer_instance is not None:
            return each.typer_instance
    made = typer.Typer(help=words)
    app.add_typer(made, name=name, no_args_is_help=True)
    return made
