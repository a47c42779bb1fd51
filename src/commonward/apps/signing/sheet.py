"""The recovery sheet: the patient's sealing key on paper, typed in again when every device is lost.

It opens what is sealed to the patient and signs nothing. Groups of four base32 characters (RFC 4648) with a check at
the end of each line, so that a slip of the pen is found in its line.
"""

from __future__ import annotations

import base64
from typing import Final, NamedTuple

from commonward.apps.signing.words import Words
from commonward.ledger.encoding import digest
from commonward.ledger.ids import Handle, LedgerId

_LINES: Final = {"LEDGER": 32, "HANDLE": 16, "KEY": 32}


class BadSheet(ValueError):
    """A recovery sheet that was not typed in right; names the line."""


class Sheet(NamedTuple):
    ledger: LedgerId
    handle: Handle
    sealing: bytes  # the X25519 private key, 32 bytes


def _check(word: str, data: bytes) -> str:
    return base64.b32encode(digest("commonward recovery sheet v1", word.encode(), data)[:5]).decode()[:4]


def print_sheet(sheet: Sheet, words: Words) -> str:
    lines = [words("sheet-title"), ""]
    for word, data in zip(_LINES, sheet, strict=True):
        text = base64.b32encode(data).decode().rstrip("=") + _check(word, data)
        groups = " ".join(text[at : at + 4] for at in range(0, len(text), 4))
        lines.append(f"{word:<7} {groups}")
    return "\n".join([*lines, "", words("sheet-use")]) + "\n"


def read_sheet(text: str) -> Sheet:
    """Raises BadSheet."""
    found: dict[str, bytes] = {}
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word.upper() in _LINES and rest:
            found[word.upper()] = _read(word.upper(), rest)
    missing = [word for word in _LINES if word not in found]
    if missing:
        raise BadSheet(f"expected the lines {', '.join(_LINES)}; {missing[0]} is missing")
    return Sheet(LedgerId(found["LEDGER"]), Handle(found["HANDLE"]), found["KEY"])


def _read(word: str, rest: str) -> bytes:
    text = "".join(rest.split()).upper()
    body, check = text[:-4], text[-4:]
    try:
        data = base64.b32decode(body + "=" * (-len(body) % 8))
    except ValueError as cause:
        raise BadSheet(f"line {word}: expected letters A to Z and digits 2 to 7 in groups of four") from cause
    if len(data) != _LINES[word] or _check(word, data) != check:
        raise BadSheet(f"line {word} does not fit its check: compare it with the sheet")
    return data
