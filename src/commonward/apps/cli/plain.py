"""Text of others on a terminal: shown as it is where that is harmless, with escapes where it could do something."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.markup import escape


def plain(text: str, *, lines: bool = False) -> str:
    """Without what moves a cursor, changes colours or reads as markup. `lines`: keep line ends (CR becomes one too)."""
    if lines:
        return "\n".join(plain(line) for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
    # `escape` leaves a backslash at the end alone, which would then escape what follows.
    return escape(shown) + ("\\" if shown.endswith("\\") else "")


def plain_bytes(data: bytes, most: int) -> str:
    """The first `most` bytes as text, line by line; bytes that are no UTF-8 as \\xNN."""
    return plain(data[:most].decode("utf-8", "backslashreplace"), lines=True)


def when(ms: int) -> str:
    """UTC, to the second."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def size(count: float) -> str:
    """A count of bytes for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
