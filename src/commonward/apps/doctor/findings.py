"""What a doctor says: findings, each with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, what was found, and what to do unless it is well."""

    check: str
    level: Level
    found: str
    do: str = ""


def ok(check: str, found: str) -> Finding:
    return Finding(check, Level.OK, found)


def warn(check: str, found: str, do: str) -> Finding:
    return Finding(check, Level.WARN, found, do)


def fail(check: str, found: str, do: str) -> Finding:
    return Finding(check, Level.FAIL, found, do)
