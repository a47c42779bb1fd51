"""A process lives as long as its data directory."""

from __future__ import annotations

import asyncio
from pathlib import Path

_LOOK_S = 2.0


async def until_gone(data: Path) -> None:
    """Returns once the directory is no longer there: what runs on removed files serves nobody, and holds its ports."""
    while data.is_dir():
        await asyncio.sleep(_LOOK_S)
