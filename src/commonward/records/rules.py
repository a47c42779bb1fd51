"""The rules of a consent: a compact form of FHIR R4 Consent.provision, and their one encoding.

A rule permits or denies what its scope covers, less what its exceptions carve out. Exceptions carry no effect of their
own: one in a permit narrows that permit, one in a deny lifts that deny there, and permits nothing by itself; nested
ones carve out of the carving.

A rule of a form that is not known here is refused, never read in part: half a deny would fail open.
"""

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Final, TypeVar

from commonward.ledger.encoding import Value, encode
from commonward.records.record import Period

MAX_NESTING: Final = 4
MAX_NAMES: Final = 256

Names = frozenset[str] | None
"""None says nothing about this: any will do. An empty set is refused, as nobody can mean it."""


class RuleError(ValueError):
    """A rule that cannot be read or cannot be meant: what was expected and what came."""


class Effect(IntEnum):
    """What a rule does to what it covers."""

    PERMIT = 1
    DENY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a rule or an exception covers. Every part that is given must fit; None is any.

    Attributes:
        members: who asks, by member id; fits when these or `kinds` name the asker.
        kinds: who asks, by kind of member (MemberKind numbers).
        roles: the role in which the person asks, as in the staff certificate.
        purposes: codes of HL7 v3 PurposeOfUse (TREAT, ETREAT, HPAYMT, HRESCH, PUBHLTH, PATRQT), each for itself.
        custodians: who holds the record, by member id.
        classes: data classes and sensitive classes of the sensitivity table; fits when the record has one of them.
        labels: codes of HL7 security labels; fits when the record bears one of them.
        period: when what the record tells of happened, [start, end) in ms. A permit must hold all of the record's
            time, a deny any part of it; a record without a time is in no permit's period and in every deny's.
    """

    members: Names = None
    kinds: frozenset[int] | None = None
    roles: Names = None
    purposes: Names = None
    custodians: Names = None
    classes: Names = None
    labels: Names = None
    period: Period | None = None

    def __post_init__(self) -> None:
        for number, name in _SCOPE_FIELDS.items():
            names = getattr(self, name)
            if names is not None and not 0 < len(names) <= MAX_NAMES:
                got = f"{len(names)} in field {number}"
                raise RuleError(f"expected 1 to {MAX_NAMES} {name}, got {got}: leave out for any")
        if self.period is not None:
            start, end = self.period
            if (start is None and end is None) or (start is not None and end is not None and start >= end):
                raise RuleError(f"expected a period that starts before it ends, got {self.period}")

    def to_value(self) -> Value:
        value: dict[int, Value] = {}
        for number, name in _SCOPE_FIELDS.items():
            names = getattr(self, name)
            if names is not None:
                value[number] = sorted(names)
        if self.period is not None:
            value[_PERIOD] = {key: at for key, at in zip((1, 2), self.period, strict=True) if at is not None}
        return value

    @classmethod
    def from_value(cls, value: Value) -> "Scope":
        """Raises RuleError."""
        fields = _fields(value, {*_SCOPE_FIELDS, _PERIOD}, "a scope")
        given: dict[str, Any] = {
            name: _names(fields[number], name, int if name == "kinds" else str)
            for number, name in _SCOPE_FIELDS.items()
            if number in fields
        }
        if _PERIOD in fields:
            ends = _fields(fields[_PERIOD], {1, 2}, "a period")
            if any(type(at) is not int for at in ends.values()):
                raise RuleError(f"expected times in ms in a period, got {ends!r:.60}")
            given["period"] = Period(ends.get(1), ends.get(2))  # type: ignore[arg-type]
        return cls(**given)


_SCOPE_FIELDS: Final = {1: "members", 2: "kinds", 3: "roles", 4: "purposes", 5: "custodians", 6: "classes", 7: "labels"}
_PERIOD: Final = 8


@dataclass(frozen=True, slots=True)
class Carve:
    """An exception: carves its scope out of the rule around it, less what its own exceptions give back."""

    scope: Scope
    exceptions: tuple["Carve", ...] = ()

    def to_value(self) -> Value:
        return [self.scope.to_value(), _in_order(self.exceptions)]

    @classmethod
    def from_value(cls, value: Value, room: int = MAX_NESTING) -> "Carve":
        """Raises RuleError."""
        if room == 0:
            raise RuleError(f"expected exceptions nested at most {MAX_NESTING} deep, got more")
        match value:
            case [scope, list() as inner]:
                carve = cls(Scope.from_value(scope), tuple(cls.from_value(each, room - 1) for each in inner))
                if carve.to_value() == value:
                    return carve
        raise RuleError("expected an exception as [scope, exceptions], each once and in order")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a consent.

    A permit must name who asks (members or kinds) and for which purposes: nothing said means no. A deny may leave out
    everything: it then denies all, as a safety hold does.

    Attributes:
        number: 1 to 65,535, its own within the consent: people and decisions name the rule by it.
        effect: permit or deny.
        scope: what it covers.
        expires: ms since the Unix epoch from which it no longer holds, or None.
        exceptions: what it does not cover after all.
    """

    number: int
    effect: Effect
    scope: Scope = field(default_factory=Scope)
    expires: int | None = None
    exceptions: tuple[Carve, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.number < 1 << 16:
            raise RuleError(f"expected a rule number from 1 to 65535, got {self.number}")
        unnamed = self.scope.members is None and self.scope.kinds is None
        if self.effect is Effect.PERMIT and (unnamed or self.scope.purposes is None):
            raise RuleError(f"expected permit {self.number} to name who may ask and for which purposes")

    def to_value(self) -> Value:
        value: dict[int, Value] = {1: self.number, 2: int(self.effect), 3: self.scope.to_value()}
        if self.expires is not None:
            value[4] = self.expires
        if self.exceptions:
            value[5] = _in_order(self.exceptions)
        return value

    @classmethod
    def from_value(cls, value: Value) -> "Rule":
        """Raises RuleError, also when the value is not the one form that `to_value` writes."""
        fields = _fields(value, {1, 2, 3, 4, 5}, "a rule")
        number, effect, expires, inner = (fields.get(key) for key in (1, 2, 4, 5))
        if type(number) is not int or effect not in (1, 2) or type(expires) not in (int, type(None)) or 3 not in fields:
            raise RuleError("expected a number, an effect (1 permit, 2 deny), a scope and an expiry in ms or none")
        carves = tuple(Carve.from_value(each) for each in inner) if isinstance(inner, list) else ()
        rule = cls(number, Effect(effect), Scope.from_value(fields[3]), expires, carves)  # type: ignore[arg-type]
        if rule.to_value() != value:
            raise RuleError(f"expected rule {number} in its one form: names and exceptions each once and in order")
        return rule


def everything_but(
    denied: frozenset[str],
    *,
    members: frozenset[str],
    purposes: frozenset[str],
    sensitive: frozenset[str],
    custodians: Names = None,
    expires: int | None = None,
    first: int = 1,
) -> tuple[Rule, ...]:
    """What a patient means by "they may see everything but this": two permits and, if anything is denied, a deny.

    The second permit names every sensitive class of the table, the denied ones too: it is opened to the requester,
    which must not read off it what is missing. The deny, which it never sees, takes those out.
    """
    who = Scope(members=members, purposes=purposes, custodians=custodians)
    rules = [
        Rule(first, Effect.PERMIT, who, expires),
        Rule(first + 1, Effect.PERMIT, replace(who, classes=sensitive), expires),
    ]
    if denied:
        rules.append(Rule(first + 2, Effect.DENY, replace(who, classes=denied)))
    return tuple(rules)


def check_numbers(rules: tuple[Rule, ...]) -> None:
    """Raises RuleError when two rules of a consent bear the same number."""
    numbers = [rule.number for rule in rules]
    if len(set(numbers)) != len(numbers):
        raise RuleError("expected each rule number once in a consent, got one twice")


def _in_order(carves: tuple[Carve, ...]) -> list[Value]:
    return sorted((each.to_value() for each in carves), key=encode)


def _fields(value: Value, known: set[int], what: str) -> dict[int, Value]:
    if not isinstance(value, dict) or not value.keys() <= known:
        raise RuleError(f"expected {what} with fields {sorted(known)}, got {value!r:.80}: made for a later version?")
    return value


_Name = TypeVar("_Name", int, str)


def _names(value: Value, what: str, kind: type[_Name]) -> frozenset[_Name]:
    if not isinstance(value, list) or any(type(each) is not kind for each in value):
        raise RuleError(f"expected a list of {kind.__name__} for {what}, got {value!r:.80}")
    return frozenset(value)  # type: ignore[arg-type]
