"""Whether a record may go to who asks: one pure function for custodian, requester and auditor.

The custodian decides over all rules, the requester again over the permits it was opened, and an auditor over what
both open to it. The rules of the rule (DESIGN.md and PROTOCOL.md, Consent):

1. Nothing said means no.
2. A deny stands until it is withdrawn by name: no permit lifts it, whoever gave it and whenever. Of two
   representatives deny wins. A deny outlives the coarse end of its consent unless it carries an expiry of its own.
3. A sensitive class needs a permit that names it.
4. Where any deny stands for the asker, a record that nobody could classify is withheld.
5. Labels propagate over references, and who refers to a withheld record is withheld (`propagation`).
6. Another ground than consent (statute, vital interest, court, contract) holds only as far as the jurisdiction table
   says, and the decision names it.

A refusal shows outward only what `outward` makes of what the asker itself presented.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from commonward.ledger.encoding import Value
from commonward.records.jurisdiction import Basis, Entry, JurisdictionTable
from commonward.records.record import Period
from commonward.records.rules import Carve, Effect, Rule, Scope

_MEMO: Final = 4096


class Ask(NamedTuple):
    """Who asks, of whom, for what.

    Attributes:
        requester: member id of who asks.
        requester_kind: its MemberKind number, from the ledger.
        custodian: member id of who holds the record.
        purpose: one HL7 v3 PurposeOfUse code.
        role: of the person who asks, from the staff certificate.
        at: ms since the Unix epoch; the custodian's proven time.
        ground: the basis that the asker claims. Another than consent is proven elsewhere (a break-glass mark, an
            order): the caller has checked that before it decides.
    """

    requester: str
    requester_kind: int
    custodian: str
    purpose: str
    role: str
    at: int
    ground: Basis = Basis.CONSENT


class Facts(NamedTuple):
    """What a decision knows of a record (`SensitivityTable.facts` makes it).

    Attributes:
        resource_type: the FHIR type.
        classes: all its classes, data and sensitive.
        sensitive: those of them that are sensitive.
        classified: False when its codes are not in the table, so that it might be anything.
        labels: codes of its security labels.
        period: when what it tells of happened, or None when it does not say.
    """

    resource_type: str
    classes: frozenset[str]
    sensitive: frozenset[str]
    classified: bool
    labels: frozenset[str]
    period: Period | None


class Given(NamedTuple):
    """One live consent of the patient, as far as it was opened. Withdrawn ones are not given at all.

    Attributes:
        consent: its id.
        rules: its rules; for a requester the permits it was opened.
        assurance: 1 witnessed, 2 representative, 3 passkey, as the ledger has it.
        ends: ms of the coarse end on the ledger, from which its permits lapse; None for no end.
    """

    consent: bytes
    rules: tuple[Rule, ...]
    assurance: int = 3
    ends: int | None = None


class Reason(IntEnum):
    """Why a decision fell as it did. For the custodian's log and the patient, never for the asker."""

    PERMITTED = 1
    NOTHING_PERMITS = 2
    DENIED = 3
    SENSITIVE = 4
    UNCLASSIFIED = 5
    WEAK_ASSURANCE = 6
    NO_BASIS = 7
    REFERS_TO_WITHHELD = 8
    BEYOND_BASIS = 9


_HIDDEN: Final = frozenset(
    {Reason.DENIED, Reason.SENSITIVE, Reason.UNCLASSIFIED, Reason.WEAK_ASSURANCE, Reason.REFERS_TO_WITHHELD}
)


class Decision(NamedTuple):
    """What was decided for one record.

    Attributes:
        permit: whether it may go.
        basis: the legal basis, None when refused.
        law: `table version/entry` of the jurisdiction table, "" when no entry fits the ask.
        reason: why.
        rules: the rules that decided, as (consent id, rule number), sorted.
    """

    permit: bool
    basis: Basis | None
    law: str
    reason: Reason
    rules: tuple[tuple[bytes, int], ...]

    @property
    def hidden(self) -> bool:
        """Whether that the record exists must not show: it was held back, and not just outside of what was asked."""
        return self.reason in _HIDDEN

    def to_value(self) -> Value:
        return [
            int(self.permit),
            int(self.basis or 0),
            self.law,
            int(self.reason),
            [[consent, number] for consent, number in self.rules],
        ]


def decide(ask: Ask, facts: Facts, givens: Iterable[Given], jurisdiction: JurisdictionTable) -> Decision:
    """Whether this record may go to who asks. For many records of one ask, use `compile_rules` once."""
    return compile_rules(ask, givens, jurisdiction)._decide(facts)


def decide_as_requester(ask: Ask, facts: Facts, opened: Iterable[Given], jurisdiction: JurisdictionTable) -> Decision:
    """The second decision: what is received must be permitted by what was opened.

    The requester sees permits alone, so it can only find that a record goes further than it was told of. Denies among
    what was opened count too: a custodian's page that opens one by mistake makes the answer stricter, never looser.
    """
    return decide(ask, facts, opened, jurisdiction)


class _Data(NamedTuple):
    """The part of a scope that depends on the record, of a rule whose other part fits the ask."""

    classes: frozenset[str] | None
    labels: frozenset[str] | None
    period: Period | None
    carves: tuple["_Data", ...]


class _Held(NamedTuple):
    """A rule that holds for this ask."""

    data: _Data
    name: tuple[bytes, int]
    assurance: int


class Decider:
    """The rules that hold for one ask, ready to decide on records. Same facts, same decision."""

    __slots__ = ("_assurance", "_denies", "_entry", "_law", "_memo", "_permits", "_timed")

    def __init__(
        self, entry: Entry | None, permits: list[_Held], denies: list[_Held], assurance: dict[str, int]
    ) -> None:
        self._entry = entry
        self._law = "" if entry is None else entry.law
        self._permits = permits
        self._denies = denies
        self._assurance = assurance
        self._timed: bool | None = None
        self._memo: dict[Facts, Decision] = {}

    def decide(self, facts: Facts) -> Decision:
        """Whether this record may go."""
        if self._timed is None:
            # Without a rule on periods, a history has few different facts: remember what was decided for each.
            self._timed = any(_has_period(rule.data) for rule in (*self._permits, *self._denies))
        key = facts if self._timed else Facts("", facts[1], facts[2], facts[3], facts[4], None)
        known = self._memo.get(key)
        if known is None:
            known = self._decide(facts)
            if len(self._memo) < _MEMO:
                self._memo[key] = known
        return known

    def _decide(self, facts: Facts) -> Decision:
        entry = self._entry
        if entry is None:  # 1. the law knows such an ask
            return Decision(False, None, "", Reason.NO_BASIS, ())
        if not entry.despite_denies and self._denies:
            standing = [rule.name for rule in self._denies if _touches(rule.data, facts)]
            if standing:  # 2. no deny stands against it
                return self._refused(Reason.DENIED, standing)
            if not facts.classified:  # 3. where any deny stands, it is known what the record is
                return self._refused(Reason.UNCLASSIFIED, [rule.name for rule in self._denies])
        if entry.basis is not Basis.CONSENT:  # 4. on another ground: as far as the table says
            within = entry.classes is None or not entry.classes.isdisjoint(facts.classes)
            if within and (entry.sensitive is None or facts.sensitive <= entry.sensitive):
                return Decision(True, entry.basis, self._law, Reason.PERMITTED, ())
            return self._refused(Reason.BEYOND_BASIS, [])
        fitting = [rule for rule in self._permits if _covers(rule.data, facts)]
        if not fitting:  # 5. a permit covers it
            return self._refused(Reason.NOTHING_PERMITS, [])
        if self._assurance:
            least = max([self._assurance.get(name, 0) for name in facts.classes], default=0)
            sure = [rule for rule in fitting if rule.assurance >= least]
            if not sure:  # 6. given with the assurance that such data need
                return self._refused(Reason.WEAK_ASSURANCE, [rule.name for rule in fitting])
            fitting = sure
        for name in facts.sensitive:  # 7. each sensitive class is named by a permit
            if not any(rule.data.classes is not None and name in rule.data.classes for rule in fitting):
                return self._refused(Reason.SENSITIVE, [rule.name for rule in fitting])
        return Decision(True, Basis.CONSENT, self._law, Reason.PERMITTED, _sorted([rule.name for rule in fitting]))

    def _refused(self, reason: Reason, rules: list[tuple[bytes, int]]) -> Decision:
        return Decision(False, None, self._law, reason, _sorted(rules))

    @property
    def permits_something(self) -> bool:
        """Whether any record at all could go: the law knows the ask, and another ground or a permit holds."""
        return self._entry is not None and (self._entry.basis is not Basis.CONSENT or bool(self._permits))


_made: Final = tuple.__new__
"""Makes a named tuple without its own constructor, which costs twice as much: a single ask is mostly this."""


def compile_rules(ask: Ask, givens: Iterable[Given], jurisdiction: JurisdictionTable) -> Decider:
    """Keep of all rules those that hold for this ask, and of those the part that depends on records."""
    entry = jurisdiction.entry_for(ask.ground, ask.purpose, ask.requester_kind, ask.role)
    permits: list[_Held] = []
    denies: list[_Held] = []
    at = ask.at
    for consent, rules, assurance, ends in givens:
        lapsed = ends is not None and at >= ends
        for rule in rules:
            scope = rule.scope
            if (rule.expires is not None and at >= rule.expires) or not _fits(scope, ask):
                continue
            permit = rule.effect is Effect.PERMIT
            if permit and lapsed:
                continue
            if rule.exceptions:
                data = _compiled(scope, rule.exceptions, ask)
                if data is None:
                    continue
            else:
                data = _made(_Data, (scope.classes, scope.labels, scope.period, ()))
            held = _made(_Held, (data, (consent, rule.number), assurance))
            (permits if permit else denies).append(held)
    return Decider(entry, permits, denies, jurisdiction.assurance)


class Answer(IntEnum):
    """All that a refused asker is told. A function of what it presented, so it tells nothing about records."""

    NO_BASIS = 1
    NO_PERMIT = 2
    NOTHING_TO_RELEASE = 3

    @property
    def text(self) -> str:
        return _ANSWERS[self]


_ANSWERS: Final = {
    Answer.NO_BASIS: "The adopted table of legal bases knows no such ask: this purpose, on this ground, by this role.",
    Answer.NO_PERMIT: "Nothing that you presented permits this: no live rule names you for this purpose here.",
    Answer.NOTHING_TO_RELEASE: "There is nothing to release to you under what you presented.",
}


def outward(ask: Ask, presented: Sequence[Given], jurisdiction: JurisdictionTable) -> Answer:
    """The refusal that the asker gets, in words that depend only on what it presented itself.

    Args:
        ask: as the asker made it.
        presented: the permits that the asker showed; never the rules that the custodian holds.

    That records were withheld, that there are none, and that the patient is not known here look the same.
    """
    permits = [
        given._replace(rules=tuple(rule for rule in given.rules if rule.effect is Effect.PERMIT)) for given in presented
    ]
    if jurisdiction.entry_for(ask.ground, ask.purpose, ask.requester_kind, ask.role) is None:
        return Answer.NO_BASIS
    if not compile_rules(ask, permits, jurisdiction).permits_something:
        return Answer.NO_PERMIT
    return Answer.NOTHING_TO_RELEASE


def names_requester(rule: Rule, requester: str, kind: int) -> bool:
    """Whether a rule is a permit that names this requester, by id or kind: such rules are opened to it."""
    scope = rule.scope
    return rule.effect is Effect.PERMIT and (
        (scope.members is not None and requester in scope.members) or (scope.kinds is not None and kind in scope.kinds)
    )


def _fits(scope: Scope, ask: Ask) -> bool:
    """Whether the part of a scope that depends on the ask fits it."""
    members, kinds = scope.members, scope.kinds
    if (members is not None or kinds is not None) and not (
        (members is not None and ask.requester in members) or (kinds is not None and ask.requester_kind in kinds)
    ):
        return False
    return (
        (scope.purposes is None or ask.purpose in scope.purposes)
        and (scope.custodians is None or ask.custodian in scope.custodians)
        and (scope.roles is None or ask.role in scope.roles)
    )


def _compiled(scope: Scope, carves: tuple[Carve, ...], ask: Ask) -> _Data | None:
    """The scope less its exceptions, as far as it depends on records; None when they carve out all of it."""
    kept: list[_Data] = []
    for carve in carves:
        if _fits(carve.scope, ask):
            data = _compiled(carve.scope, carve.exceptions, ask)
            if data is None:
                continue
            if data.classes is None and data.labels is None and data.period is None and not data.carves:
                return None
            kept.append(data)
    return _Data(scope.classes, scope.labels, scope.period, tuple(kept))


def _covers(data: _Data, facts: Facts) -> bool:
    """For what permits: careful, so all of the record's time must lie within, and no exception may touch it."""
    return (
        (data.classes is None or not data.classes.isdisjoint(facts.classes))
        and (data.labels is None or not data.labels.isdisjoint(facts.labels))
        and (data.period is None or _within(facts.period, data.period))
        and not (data.carves and any(_touches(carve, facts) for carve in data.carves))
    )


def _touches(data: _Data, facts: Facts) -> bool:
    """For what denies: careful the other way, so any part of the record's time counts, less exceptions."""
    return (
        (data.classes is None or not data.classes.isdisjoint(facts.classes))
        and (data.labels is None or not data.labels.isdisjoint(facts.labels))
        and (data.period is None or _overlaps(facts.period, data.period))
        and not (data.carves and any(_covers(carve, facts) for carve in data.carves))
    )


def _within(inner: Period | None, outer: Period) -> bool:
    if inner is None:
        return False
    starts = outer.start is None or (inner.start is not None and inner.start >= outer.start)
    return starts and (outer.end is None or (inner.end is not None and inner.end <= outer.end))


def _overlaps(one: Period | None, other: Period) -> bool:
    if one is None:
        return True
    before = one.end is not None and other.start is not None and one.end <= other.start
    after = one.start is not None and other.end is not None and one.start >= other.end
    return not before and not after


def _has_period(data: _Data) -> bool:
    return data.period is not None or any(_has_period(carve) for carve in data.carves)


def _sorted(rules: list[tuple[bytes, int]]) -> tuple[tuple[bytes, int], ...]:
    return tuple(rules) if len(rules) < 2 else tuple(sorted(rules))
