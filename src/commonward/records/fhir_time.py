"""FHIR R4 dates and times (2.24.0.1 date, dateTime, instant) as spans of milliseconds.

A FHIR time has the precision that its source knew: `2019` is a whole year. So each becomes a span [start, end), and
rules over periods can be careful at both ends. A time without a zone is taken as UTC, as nothing better is known.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

_SHAPE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d:\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)?)?)?)?", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_DAY: Final = 86_400_000


@lru_cache(maxsize=4096)  # the records of one encounter bear the same few times
def span(text: str) -> tuple[int, int]:
    """The span [start, end) in ms since the Unix epoch of a FHIR date, dateTime or instant.

    `2019-03` gives the month, a time with seconds gives one second, one with a fraction that fraction's width but at
    least one ms. A leap second (:60) counts as the second after. Raises ValueError for anything else.
    """
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a FHIR date or dateTime, got {text!r:.60}")
    year, month, day, clock, second, fraction, zone = match.groups()
    if clock is None:
        start = _instant(f"{year}-{month or '01'}-{day or '01'}T00:00:00+00:00", text)
        if day is not None:
            return start, start + _DAY
        following = (int(year) + (month in (None, "12")), int(month) % 12 + 1 if month else 1)
        return start, _instant(f"{following[0]:04}-{following[1]:02}-01T00:00:00+00:00", text)
    leap = second == "60"
    zone = "+00:00" if zone in (None, "Z") else zone
    start = _instant(f"{year}-{month}-{day}T{clock}:{'59' if leap else second}{zone}", text) + 1000 * leap
    if fraction is None:
        return start, start + 1000
    width = max(1, 1000 // 10 ** min(len(fraction), 3))
    start += int(fraction[:3].ljust(3, "0"))
    return start, start + width


def _instant(text: str, given: str) -> int:
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError) as cause:
        raise ValueError(f"expected a FHIR date or dateTime, got {given!r:.60}: no such day or time") from cause
