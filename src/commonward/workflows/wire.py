"""Frozen dataclasses as integer-keyed CBOR maps, by their type hints: one road from a message to its bytes.

A `Message`'s fields are numbered 1, 2, 3, ... in the order they are written; a field that is None is absent.
Allowed are int, bytes, str, bool (0 or 1), `IntEnum`, other messages, `X | None`, and tuples of one type
(`tuple[X, ...]`). Add fields at the end, with a default, and old bytes still parse. Parsing refuses what the
class does not have, so that two readers of the same bytes cannot see different things.
"""

import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, fields
from enum import IntEnum
from typing import Any, Self

from commonward.ledger import ids
from commonward.ledger.encoding import Encodable, EncodingError, Value, decode, encode


class MessageError(ValueError):
    """Bytes that are not the message they should be; says which field and what was expected."""


class Message:
    """Base of what members, patients and vaults hand each other. Subclasses are frozen dataclasses."""

    def to_value(self) -> dict[int, Encodable]:
        """The integer-keyed map."""
        out: dict[int, Encodable] = {}
        for number, name, put, _, _ in _plan(type(self)):
            value = getattr(self, name)
            if value is not None:
                out[number] = put(value)
        return out

    def to_bytes(self) -> bytes:
        return encode(self.to_value())

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Raises MessageError."""
        if not isinstance(value, dict):
            raise MessageError(f"{cls.__name__}: expected a map, got {type(value).__name__}")
        plan = _plan(cls)
        given: dict[str, Any] = {}
        for number, name, _, take, needed in plan:
            if number in value:
                try:
                    given[name] = take(value[number])
                except MessageError as cause:
                    raise MessageError(f"{cls.__name__}.{name}: {cause}") from None
            elif needed:
                raise MessageError(f"{cls.__name__}: field {name} ({number}) is missing")
        if len(given) != len(value):
            strange = min(set(value) - {number for number, *_ in plan})
            raise MessageError(f"{cls.__name__}: field {strange} is unknown")
        try:
            return cls(**given)
        except MessageError:
            raise
        except ValueError as cause:  # a subclass's own check of its facts
            raise MessageError(f"{cls.__name__}: {cause}") from cause

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises MessageError."""
        try:
            value = decode(data)
        except EncodingError as cause:
            raise MessageError(f"{cls.__name__}: {cause}") from cause
        return cls.from_value(value)


_Put = Callable[[Any], Encodable]
_Take = Callable[[Value], Any]


_Plan = tuple[tuple[int, str, _Put, _Take, bool], ...]
_plans: dict[type, _Plan] = {}  # made once for each class, from its hints alone


def _plan(cls: type[Message]) -> _Plan:
    """(number, name, to wire, from wire, needed) of each field."""
    plan = _plans.get(cls)
    if plan is None:
        plan = _plans[cls] = _made(cls)
    return plan


def _made(cls: type[Message]) -> _Plan:
    hints = typing.get_type_hints(cls)
    plan = []
    for number, field in enumerate(fields(cls), 1):  # type: ignore[arg-type]
        hint = hints[field.name]
        optional = False
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            arms = [arm for arm in typing.get_args(hint) if arm is not type(None)]
            if len(arms) != 1:
                raise TypeError(f"{cls.__name__}.{field.name}: only `X | None` is a union here, got {hint}")
            hint, optional = arms[0], True
        put, take = _codec(hint)
        needed = not optional and field.default is MISSING
        if optional and field.default is MISSING:
            raise TypeError(f"{cls.__name__}.{field.name}: an optional field needs the default None")
        plan.append((number, field.name, put, take, needed))
    return tuple(plan)


# Fields typed as one of the shared words are parsed by that word's own door, lengths and all.
_DOORS: dict[str, Callable[[object], Any]] = {
    "ConsentId": ids.parse_consent_id,
    "CredentialId": ids.parse_credential_id,
    "Digest": ids.parse_digest,
    "Handle": ids.parse_handle,
    "KeyId": ids.parse_key_id,
    "LedgerId": ids.parse_ledger_id,
    "MemberId": ids.parse_member_id,
    "Tag": ids.parse_tag,
}


def _codec(hint: Any) -> tuple[_Put, _Take]:
    door = _DOORS.get(getattr(hint, "__name__", "")) if hasattr(hint, "__supertype__") else None
    if door is not None:
        return (lambda value: value), lambda value: _through(door, value)
    hint = _base(hint)
    if typing.get_origin(hint) is tuple:
        item, dots = typing.get_args(hint)
        assert dots is Ellipsis, hint
        put, take = _codec(item)
        return (lambda values: [put(v) for v in values]), lambda value: tuple(take(v) for v in _of(list, value))
    if hint is bool:
        return int, _take_bool
    if hint in (int, bytes, str):
        return (lambda value: value), lambda value: _of(hint, value)
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return int, lambda value: _take_enum(hint, value)
    if isinstance(hint, type) and issubclass(hint, Message):
        return (lambda value: value.to_value()), hint.from_value
    raise TypeError(f"no wire form for {hint!r}")


def _through(door: Callable[[object], Any], value: Value) -> Any:
    try:
        return door(value)
    except ValueError as cause:
        raise MessageError(str(cause)) from None


def _base(hint: Any) -> Any:
    """The plain type under a NewType."""
    while hasattr(hint, "__supertype__"):
        hint = hint.__supertype__
    return hint


def _of(kind: type, value: Value) -> Any:
    if type(value) is not kind:
        raise MessageError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


def _take_bool(value: Value) -> bool:
    if value not in (0, 1) or type(value) is not int:
        raise MessageError("expected 0 or 1")
    return bool(value)


def _take_enum(kind: type[IntEnum], value: Value) -> IntEnum:
    number = _of(int, value)
    try:
        return kind(number)
    except ValueError:
        known = ", ".join(f"{item.value} ({item.name})" for item in kind)
        raise MessageError(f"expected one of {known}, got {number}") from None
