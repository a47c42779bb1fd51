"""Which letters a message is written in: MSH-18, table 0211, and what to do where it is silent or wrong.

The separators cannot be looked for in bytes: in GB 18030 the second byte of a letter may be '|', '^', '\\' or '~'. So
a message is turned into text first, and to know how, MSH is read first.
"""

from __future__ import annotations

import codecs

from commonward.adapters.hl7v2.errors import BadMessage

CODECS = {  # HL7 table 0211 -> Python's name
    "ASCII": "ascii",
    "8859/1": "iso-8859-1",
    "8859/2": "iso-8859-2",
    "8859/3": "iso-8859-3",
    "8859/4": "iso-8859-4",
    "8859/5": "iso-8859-5",
    "8859/6": "iso-8859-6",
    "8859/7": "iso-8859-7",
    "8859/8": "iso-8859-8",
    "8859/9": "iso-8859-9",
    "8859/15": "iso-8859-15",
    "ISO IR14": "iso2022_jp",
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_2",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "CNS 11643-1992": "euc_tw",
    "BIG-5": "big5hkscs",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UNICODE UTF-16": "utf-16",
    "UNICODE UTF-32": "utf-32",
    # Not in the table, but seen: written as their makers call them.
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
    "GB18030": "gb18030",
    "GB 18030": "gb18030",
    "GBK": "gb18030",
    "GB2312": "gb18030",
    "ISO-8859-1": "iso-8859-1",
    "ISO8859-1": "iso-8859-1",
    "WINDOWS-1252": "cp1252",
    "BIG5": "big5hkscs",
}
DEFAULT_FALLBACK = "iso-8859-1"
_BOM = codecs.BOM_UTF8


def decode(raw: bytes, charset: str | None = None, fallback: str = DEFAULT_FALLBACK) -> tuple[str, str, list[str]]:
    """(text, codec, notes for people). `charset` overrules the message; `fallback` reads what says nothing.

    A message that names a charset and breaks it is refused rather than guessed at: a guess would change names. One
    that names none, or ASCII, and is not ASCII, is read as UTF-8 if it is that, else by the fallback, with a note.

    Raises BadMessage.
    """
    if charset is not None:
        return _strictly(raw.removeprefix(_BOM), charset, "the charset set for this sender"), charset, []
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _strictly(raw, "utf-16", "its byte order mark"), "utf-16", []
    marked = raw.startswith(_BOM)
    body = raw.removeprefix(_BOM)
    declared, codec = _declared(body)
    if marked:
        note = (
            [f"MSH-18 says {declared!r}, but a UTF-8 mark comes first"] if codec not in (None, "utf-8", "ascii") else []
        )
        return _strictly(body, "utf-8", "its byte order mark"), "utf-8", note
    if codec is not None and codec != "ascii":
        return _strictly(body, codec, f"MSH-18 {declared!r}"), codec, []
    notes = [f"MSH-18 {declared!r} is not in table 0211 and was ignored"] if declared and codec is None else []
    if body.isascii():
        return body.decode("ascii"), "ascii", notes
    said = f"MSH-18 says {declared!r}" if declared else "MSH-18 is empty"
    try:
        return body.decode("utf-8"), "utf-8", [*notes, f"{said}; the bytes are UTF-8 and were read so"]
    except UnicodeDecodeError:
        notes.append(f"{said}; read as {fallback}: check a name, and set the charset of this sender")
        return _strictly(body, fallback, "the fallback"), fallback, notes


def _declared(body: bytes) -> tuple[str, str | None]:
    """(MSH-18's first value, the codec it means). Tried as bytes, then as the charsets that hide separators."""
    head = body.split(b"\r", 1)[0].split(b"\n", 1)[0]
    declared = _field_18(head.decode("iso-8859-1"))
    if declared.upper() in CODECS or head.isascii():
        return declared, CODECS.get(declared.upper())
    for codec in ("utf-8", "gb18030", "big5hkscs"):
        try:
            hidden = _field_18(head.decode(codec))
        except UnicodeDecodeError:
            continue
        if CODECS.get(hidden.upper()) == codec:
            return hidden, codec
    return declared, None


def _field_18(head: str) -> str:
    separator = head[3:4]
    fields = head.split(separator) if separator else []
    repetition = head[5:6] or "~"
    return fields[17].split(repetition)[0].strip() if len(fields) > 17 else ""


def _strictly(body: bytes, codec: str, because: str) -> str:
    try:
        return body.decode(codec)
    except UnicodeDecodeError as cause:
        raise BadMessage(
            f"byte {cause.start}",
            f"expected {codec} ({because}), got {body[cause.start : cause.end].hex(' ')}; "
            "name the right charset in MSH-18 or in this sender's settings",
        ) from cause
    except LookupError as cause:
        raise BadMessage("settings", f"no charset is called {codec!r}") from cause
