"""How a long-running process collects its garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_YOUNG: Final = 20_000
"""Objects made before the young ones are looked through; a hundred records make about as many."""


def keep_loaded() -> None:
    """Pass over, in every collection from now on, what was loaded at start: it lives as long as the process.

    A full collection would otherwise walk some 300,000 objects of modules and schemas, for tens of milliseconds in the
    middle of an answer. Call it once, when everything is open and before the first request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 10, 20)


@contextmanager
def loading() -> Iterator[None]:
    """No collections while modules are imported: all that they make stays, and looking it over again and again takes a
    tenth of the time to start."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
