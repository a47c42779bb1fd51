"""HL7 v2 times as FHIR writes them, with no precision and no time zone made up.

v2 (DTM, chapter 2A.3.21): YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ]. FHIR wants a zone with every time of day and
seconds with every minute. The zone is the value's own; else that of MSH-7, which by the standard (2.13.9.7) is the
message's default; else the one configured for the sender; else the time of day is left out and a note says so. Seconds
are filled with 00, as FHIR allows ("may be zero-filled and may be ignored"); minutes are not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

_DTM = re.compile(r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(\.\d{1,9})?)?)?)?)?)?([+-]\d{4})?", re.ASCII)
_TM = re.compile(r"(\d\d)(?:(\d\d)(?:(\d\d)(\.\d{1,9})?)?)?([+-]\d{4})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in FHIR's words. `date` is its day (or month, or year); `time` is "" where the source gives none."""

    date: str
    time: str = ""
    zone: str = ""
    note: str = ""

    @property
    def datetime(self) -> str:
        """FHIR dateTime."""
        return f"{self.date}T{self.time}{self.zone}" if self.time and self.zone else self.date

    @property
    def instant(self) -> str:
        """FHIR instant, or "" where it is not known to the second with a zone."""
        return self.datetime if self.time and self.zone else ""


def zone_of(text: str) -> str:
    """The offset that a v2 time carries, as FHIR writes it, or ""."""
    found = _DTM.fullmatch(text.strip())
    return _offset(found[8]) if found and found[8] else ""


def moment(text: str, default_zone: str = "", zone: tzinfo | None = None) -> Moment | None:
    """None where the text is no time. `default_zone` is MSH-7's offset, `zone` the configured one."""
    found = _DTM.fullmatch(text.strip())
    if not found:
        return None
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    try:
        whole = datetime(  # noqa: DTZ001 (the zone is found below)
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), min(int(second or 0), 59)
        )
    except ValueError:
        return None
    if int(second or 0) > 60:
        return None
    days = "-".join(part for part in (year, month, day) if part)
    if hour is None:
        return Moment(days)
    if minute is None:
        return Moment(days, note="an hour without minutes was left out: FHIR cannot say it")
    time = f"{hour}:{minute}:{second or '00'}{fraction or ''}"
    if offset and not _offset(offset):
        return Moment(days, note=f"the offset {offset} is not a time zone; the time of day was left out")
    shown = (_offset(offset) if offset else "") or default_zone
    if shown:
        return Moment(days, time, shown)
    if zone is None:
        return Moment(days, note="a time without zone: the time of day was left out; set this sender's time zone")
    return _in_zone(Moment(days, time), whole, zone)


def day(text: str) -> str:
    """FHIR date, or ""."""
    found = moment(text)
    return found.date if found else ""


def time_of_day(text: str) -> str:
    """FHIR time from v2 TM (HHMM[SS[.S]]), or "". FHIR's time has no zone."""
    found = _TM.fullmatch(text.strip())
    if not found or not found[2] or int(found[1]) > 23 or int(found[2]) > 59 or int(found[3] or 0) > 59:
        return ""
    return f"{found[1]}:{found[2]}:{found[3] or '00'}{found[4] or ''}"


def _offset(text: str) -> str:
    hours, minutes = int(text[1:3]), int(text[3:5])
    if minutes > 59 or hours > 14 or (hours == 14 and minutes):
        return ""
    return f"{text[:3]}:{text[3:5]}"


def _in_zone(known: Moment, local: datetime, zone: tzinfo) -> Moment:
    early, late = (local.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    if early is None or early != late:
        note = "this local time happens twice or never in the sender's zone; the time of day was left out"
        return Moment(known.date, note=note)
    minutes = int(early / timedelta(minutes=1))
    sign = "-" if minutes < 0 else "+"
    return Moment(known.date, known.time, f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}")


def utc(milliseconds: int) -> str:
    """A v2 time for messages that we write."""
    at = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return at.strftime("%Y%m%d%H%M%S+0000")
