"""Words of the API turned into ours at the door: hex digits, names. What cannot be read raises `BadWord`."""

from __future__ import annotations

from commonward.ledger.ids import (
    ConsentId,
    Handle,
    MemberId,
    Tag,
    parse_consent_id,
    parse_handle,
    parse_member_id,
    parse_tag,
)
from commonward.records.retention import Ground


class BadWord(ValueError):
    """A word that is not what was expected; the sentence says what was, and what came."""


def _hex(text: str, what: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as cause:
        raise BadWord(f"expected {what} in hex digits, got {text[:80]!r}") from cause


def to_bytes(text: str, what: str) -> bytes:
    return _hex(text, what)


def to_handle(text: str) -> Handle:
    try:
        return parse_handle(_hex(text, "a handle"))
    except ValueError as cause:
        raise BadWord(str(cause)) from cause


def to_tag(text: str) -> Tag:
    try:
        return parse_tag(_hex(text, "a tag"))
    except ValueError as cause:
        raise BadWord(str(cause)) from cause


def to_consent(text: str) -> ConsentId:
    try:
        return parse_consent_id(_hex(text, "a consent id"))
    except ValueError as cause:
        raise BadWord(str(cause)) from cause


def to_record(text: str) -> bytes:
    """A record's opaque id in the vault: 16 bytes."""
    record = _hex(text, "a record id")
    if len(record) != 16:
        raise BadWord(f"expected a record id of 16 bytes, got {len(record)}")
    return record


def to_member(text: str) -> MemberId:
    try:
        return parse_member_id(text)
    except ValueError as cause:
        raise BadWord(str(cause)) from cause


def to_ground(text: str) -> Ground:
    if text.upper() not in Ground.__members__:
        raise BadWord(f"expected a ground of {', '.join(each.name.lower() for each in Ground)}, got {text[:80]!r}")
    return Ground[text.upper()]
