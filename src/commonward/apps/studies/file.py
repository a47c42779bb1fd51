"""The study file: one TOML that says all of a study, read strictly before anything is proposed.

An error names the file, the line and the field. Fractions are written as decimals and read exactly: nothing of a study
passes through a float.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NoReturn

from commonward.apps.studies.card_items import KEYS
from commonward.apps.studies.sections import Bad, Section, taken
from commonward.ledger.ids import BlockTime, Digest, MemberId, StudyId, parse_member_id
from commonward.ledger.rounds import Mode, ProposeStudy, Rule, Waits, allows, least_sites
from commonward.ledger.rounds.words import (
    LONGEST_DISPUTE,
    LONGEST_ROUND,
    LONGEST_STUDY,
    LONGEST_VOTE,
    SHORTEST_WAIT,
    tolerates,
)
from commonward.records.model import ONE
from commonward.records.privacy import NOISE_UNIT, RATE_UNIT, PrivacyError, charge
from commonward.records.rule_parameters import BILLION, AggregationError, Parameters
from commonward.records.table import Type
from commonward.workflows.study_papers import Noise, Protocol, settings_bytes
from commonward.workflows.training.ports import Setting
from commonward.workflows.wire import MessageError

__all__ = ["BadStudyFile", "StudyFile", "read"]

DAY: Final = 86_400_000
_UNITS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": DAY}
_TOP: Final = (
    "title", "about", "cohort", "label", "label_share", "mode", "rule", "rounds", "min_sites", "awaited", "row_cap",
    "test_share", "evaluate_every", "end", "viewers", "synthetic", "contributions",
    "per_site", "learner", "parameters", "waits",
    "privacy", "statements",
)  # fmt: skip
_LEARNER: Final = ("name", "settings")
_WAITS: Final = {"votes": "7d", "sites": "7d", "updates": "1h", "signatures": "1h", "disputes": "30d"}
_BOUNDS: Final = {
    "votes": (SHORTEST_WAIT, LONGEST_VOTE),
    "sites": (0, LONGEST_VOTE),
    "updates": (SHORTEST_WAIT, LONGEST_ROUND),
    "signatures": (SHORTEST_WAIT, LONGEST_ROUND),
    "disputes": (SHORTEST_WAIT, LONGEST_DISPUTE),
}
"""Of the waits, in ms, as the ledger has them (`ledger.rounds.Waits`)."""
_PRIVACY: Final = ("waiver", "noise", "rate", "steps", "delta")
MAX_STATEMENT: Final = 4000
MAX_SITES_MEASURED: Final = 8
"""Up to so many sites, an open study measures what each contributes unless its file says no."""
_GREATEST: Final = 17
"""Exponent of ten of a number at most: in billionths it is exact, and no context of decimals overflows."""
_WHOLE: Final = ("f", "select", "intercept")
"""Parameters of rules that are no fractions."""
_LEAST: Final = {Rule.NORM_CLIP: 3}
"""Sites that a rule needs beyond what the ledger asks: of two, a liar's length is half of the median that bounds it."""


class BadStudyFile(ValueError):
    """A study file that cannot be used: which file, line and field, what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class StudyFile:
    """One study as its file says it; times in ms.

    `end_ms`: when it ends by itself, after it is proposed. The learner's digest and the first model are not in it: the
    proposer's node takes both from the learner that it has installed.
    """

    protocol: Protocol
    cohort: str  # the file with the views, as it is named
    mode: Mode
    rule: Rule
    rounds: int
    min_sites: int
    awaited: int | None
    row_cap: int
    waits: Waits
    end_ms: int
    viewers: tuple[MemberId, ...]
    waiver: bool
    charge: tuple[int, ...] | None
    delta: int | None
    section: Section | None = None  # what a bundled learner does with any cohort's columns
    bad: Bad | None = None

    def check(self, columns: Mapping[str, Type], members: Collection[MemberId]) -> None:
        """Hold it against the cohort's columns and the members there are. Raises BadStudyFile."""
        assert self.bad is not None, "made by `read`"
        if self.section is not None:
            self.section.check(columns)
        label = self.protocol.label
        if label and label not in columns:
            self.bad("label", f"a column of the cohort: {', '.join(columns)}", label)
        if strangers := [each for each in self.viewers if each not in members]:
            self.bad("viewers", "members of this consortium", strangers)

    def terms(self, learner: Digest, model: Digest, now: int) -> Callable[[StudyId, Digest, Digest, Digest], Any]:
        """What `workflows.studying.Proposal.terms` wants. `model`: digest of the first model. `now`: ledger time."""

        def made(study: StudyId, protocol: Digest, cohort: Digest, viewers: Digest) -> ProposeStudy:
            return ProposeStudy(
                study, self.mode, self.rule, self.protocol.rule_parameters.f, learner, model, self.min_sites,
                self.row_cap, self.rounds, self.waits, BlockTime(now + self.end_ms), protocol, cohort, viewers,
                self.waiver, self.awaited, self.charge, self.delta,
            )  # fmt: skip

        return made


def read(text: str, name: str, now: datetime | None = None) -> StudyFile:
    """Parse a study file. `name`: how it is called in errors. Raises BadStudyFile."""
    try:
        tree = tomllib.loads(text, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as cause:
        # Beside TOMLDecodeError: whole numbers of thousands of digits, exponents without end, lists without end.
        raise BadStudyFile(f"{name}: not TOML: {cause!s:.200}") from cause
    return _Reader(text, name, tree, now or datetime.now(UTC)).study()


class _Reader:
    def __init__(self, text: str, name: str, tree: dict[str, Any], now: datetime) -> None:
        self._lines, self._name, self._tree, self._now = text.splitlines(), name, tree, now

    def study(self) -> StudyFile:
        section = taken(self._tree, self._bad)
        self._only(self._tree, _TOP, "")
        mode = Mode[self._one_of("mode", Mode)]
        rule = Rule[self._one_of("rule", Rule)]
        if not allows(mode, rule):
            wanted = ", ".join(each.name.lower() for each in Rule if allows(mode, each))
            self._bad("rule", f"one that works in mode {mode.name.lower()}: {wanted}", rule.name.lower())
        parameters = self._parameters()
        min_sites = self._number("min_sites", 1, 64)
        if parameters.f and not tolerates(rule):
            self._bad("parameters.f", f"none: {rule.name.lower()} withstands no number of false sites", parameters.f)
        if tolerates(rule) and not parameters.f:
            self._bad("parameters.f", f"how many false sites {rule.name.lower()} is to withstand, 1 at least", 0)
        least = max(least_sites(mode, rule, parameters.f), _LEAST.get(rule, 1))
        if min_sites < least:
            f = f" and f = {parameters.f}" if parameters.f else ""
            self._bad(
                "min_sites", f"{least} at least for {rule.name.lower()} in mode {mode.name.lower()}{f}", min_sites
            )
        awaited = self._number("awaited", min_sites, 64, None)
        noise, waiver, delta = self._privacy(mode)
        shown = (self._contributions(mode, rule, awaited or min_sites or 0), self._per_site(mode, waiver))
        protocol = self._protocol(parameters, noise, shown)
        cohort = self._text("cohort", 300)
        if "\0" in cohort:
            self._bad("cohort", "the name of a file", cohort)
        return StudyFile(
            protocol, cohort, mode, rule, self._number("rounds", 1, 1000) or 0, min_sites, awaited,
            self._number("row_cap", 1, 1 << 20, 1) or 1, self._waits(), self._end(), self._viewers(), waiver,
            None if noise is None else charge(noise.noise, noise.rate, noise.steps), delta,
            section, self._bad,
        )  # fmt: skip

    def _protocol(
        self, parameters: Parameters, noise: Noise | None, shown: tuple[bool | None, bool | None]
    ) -> Protocol:
        learner = self._table("learner", _LEARNER)
        name = learner.get("name")
        if not isinstance(name, str) or not name.isidentifier():
            self._bad("learner.name", "the name of an installed learner, of letters, digits and _", name)
        share, shares = self._label_share()
        settings = settings_bytes(self._settings(learner, noise))
        try:
            return Protocol(
                self._text("title", 200), self._text("about", 4000, ""), name, settings,
                parameters.to_bytes(), self._share("test_share", Decimal("0.2")) or 0,
                self._number("evaluate_every", 1, 1000, 1) or 1, noise, self._text("label", 200, ""), share,
                self._synthetic(), self._statements(), contributions=shown[0], per_site=shown[1],
                label_shares=shares,
            )  # fmt: skip
        except MessageError as cause:
            raise BadStudyFile(f"{self._name}: {cause}") from cause

    def _synthetic(self) -> bool | None:
        value = self._tree.get("synthetic", False)
        if not isinstance(value, bool):
            self._bad("synthetic", "true where a program made the records, or false", value)
        return value or None

    def _contributions(self, mode: Mode, rule: Rule, sites: int) -> bool | None:
        """Asked for by itself where few enough sites show their updates: it costs each one evaluation for each site."""
        can = mode is Mode.OPEN and rule is not Rule.SUM and self._share("test_share", Decimal("0.2")) != 0
        value = self._tree.get("contributions", can and sites <= MAX_SITES_MEASURED)
        if not isinstance(value, bool):
            self._bad("contributions", "true or false", value)
        if value and not can:
            self._bad("contributions", "false, unless the study is open, makes a model and keeps test rows apart", True)
        return value or None

    def _per_site(self, mode: Mode, waiver: bool) -> bool | None:
        value = self._tree.get("per_site", False)
        if not isinstance(value, bool):
            self._bad("per_site", "true or false", value)
        if value and (mode is not Mode.OPEN or not waiver):
            self._bad(
                "per_site", "false, unless the study is open and privacy.waiver = true: the counts are exact", True
            )
        return value or None

    def _statements(self) -> bytes | None:
        """What only people know of a study, by the items of its model card."""
        given = self._table("statements", sorted(KEYS), {})
        for key, value in given.items():
            if not isinstance(value, str) or not 0 < len(value.strip()) <= MAX_STATEMENT:
                self._bad(f"statements.{key}", f"text of 1 to {MAX_STATEMENT} characters", value)
        return settings_bytes(given) if given else None

    def _settings(self, learner: Mapping[str, Any], noise: Noise | None) -> dict[str, Setting]:
        """Of the learner; what `[privacy]` declares is told to it too, so that it adds what is charged for."""
        given = learner.get("settings", {})
        if not isinstance(given, dict):
            self._bad("learner.settings", "a table", given)
        found: dict[str, Setting] = {}
        if noise is not None:
            found = {"noise": noise.noise, "steps": noise.steps}
            found |= {} if noise.rate == RATE_UNIT else {"rate": noise.rate}
        for key, value in given.items():
            where = f"learner.settings.{key}"
            if key == "noise" or key in found:
                self._bad(where, "this in [privacy], from which it is charged", value)
            if type(value) is int:
                found[key] = self._held(where, value)
            elif isinstance(value, str):
                found[key] = value
            elif isinstance(value, bool):
                found[key] = int(value)
            elif isinstance(value, list) and all(type(each) is int for each in value):
                found[key] = tuple(self._held(where, each) for each in value)
            elif isinstance(value, list) and value and all(type(each) in (int, Decimal) for each in value):
                fractions = (self._scaled(where, each, ONE) for each in value)  # in Q24
                found[key] = tuple(self._held(where, each) for each in fractions)
            else:
                self._bad(where, "a whole number, text, or a list of numbers, in the learner's own unit", value)
        return found

    def _parameters(self) -> Parameters:
        known = [each.name for each in fields(Parameters) if each.name != "sums"]
        given = self._table("parameters", (*known, "sums"), {})
        values: dict[str, Any] = {}
        for key, value in given.items():
            where = f"parameters.{key}"
            if key == "sums":
                values[key] = self._sums(value)
            elif key == "intercept":
                if not isinstance(value, bool):
                    self._bad(where, "true or false", value)
                values[key] = value
            elif key in _WHOLE:
                if type(value) is not int:
                    self._bad(where, "a whole number", value)
                values[key] = value
            else:
                values[key] = self._scaled(where, value, BILLION)
        try:
            return Parameters(**values)
        except AggregationError as cause:
            raise BadStudyFile(f"{self._where('parameters')}: {cause} (fractions in billionths)") from cause

    def _sums(self, value: Any) -> dict[str, tuple[int, ...]]:
        fits = isinstance(value, dict) and all(
            isinstance(shape, list) and all(type(each) is int and each > 0 for each in shape)
            for shape in value.values()
        )
        if not fits:
            self._bad("parameters.sums", "a table of name = [shape]", value)
        return {str(key): tuple(shape) for key, shape in value.items()}

    def _waits(self) -> Waits:
        given = self._table("waits", tuple(_WAITS), {})
        times = {key: self._duration(f"waits.{key}", given.get(key, usual)) for key, usual in _WAITS.items()}
        for key, (least, most) in _BOUNDS.items():
            if not least <= times[key] <= most:
                self._bad(f"waits.{key}", f"from {least // 1000}s to {most // DAY}d", given.get(key))
        return Waits(**times)

    def _privacy(self, mode: Mode) -> tuple[Noise | None, bool, int | None]:
        given = self._table("privacy", _PRIVACY, {})
        waiver = given.get("waiver", False)
        if not isinstance(waiver, bool):
            self._bad("privacy.waiver", "true or false", waiver)
        private = [each for each in _PRIVACY[1:] if each in given]
        if not private:
            if mode is Mode.OPEN and not waiver:
                self._bad(
                    "privacy", "noise, rate, steps and delta, or waiver = true, in an open study", "neither",
                )  # fmt: skip
            return None, waiver, None
        lacking = [each for each in _PRIVACY[1:] if each not in given]
        if lacking:
            self._bad(f"privacy.{lacking[0]}", "noise, rate, steps and delta together", "none")
        if waiver and self._tree.get("per_site") is not True:
            self._bad("privacy.waiver", "either a charge or a waiver (both only for per_site = true)", "both")
        noise = Noise(
            self._scaled("privacy.noise", given["noise"], NOISE_UNIT),
            self._scaled("privacy.rate", given["rate"], RATE_UNIT),
            self._whole("privacy.steps", given["steps"], 1, 1_000_000),
        )
        delta = self._whole("privacy.delta", given["delta"], 3, 12)
        try:
            charge(noise.noise, noise.rate, noise.steps)
        except PrivacyError as cause:
            raise BadStudyFile(f"{self._where('privacy')}: {cause}") from cause
        return noise, waiver, delta

    def _end(self) -> int:
        value = self._tree.get("end", "365d")
        if isinstance(value, str):
            return self._to_come(self._duration("end", value), value)
        if not isinstance(value, datetime):
            self._bad("end", "a duration like 30d, or a time like 2027-01-31T00:00:00Z", value)
        then = value if value.tzinfo else value.replace(tzinfo=UTC)
        return self._to_come(int((then - self._now).total_seconds() * 1000), value)

    def _to_come(self, left: int, value: object) -> int:
        if not 0 < left <= LONGEST_STUDY:
            self._bad("end", f"a time to come, within {LONGEST_STUDY // DAY}d", value)
        return left

    def _viewers(self) -> tuple[MemberId, ...]:
        value = self._tree.get("viewers", [])
        if not isinstance(value, list):
            self._bad("viewers", "a list of members", value)
        try:
            return tuple(sorted({parse_member_id(each) for each in value}))
        except ValueError as cause:
            raise BadStudyFile(f"{self._where('viewers')}: {cause}") from cause

    # words of the file

    def _table(self, key: str, known: Sequence[str], usual: dict[str, Any] | None = None) -> dict[str, Any]:
        value = self._tree.get(key, usual)
        if not isinstance(value, dict):
            self._bad(key, f"a table [{key}]", "none" if value is None else value)
        self._only(value, known, f"{key}.")
        return value

    def _only(self, table: Mapping[str, Any], known: Sequence[str], prefix: str) -> None:
        for key in table:
            if key not in known:
                raise BadStudyFile(
                    f"{self._where(prefix + key)}: unknown field; known are {', '.join(sorted(known))}"
                )  # fmt: skip

    def _one_of(self, key: str, table: Any) -> str:
        value = self._tree.get(key)
        name = value.upper().replace("-", "_") if isinstance(value, str) else ""
        if name not in table.__members__:
            self._bad(key, f"one of {', '.join(each.name.lower() for each in table)}", value)
        return name

    def _text(self, key: str, most: int, usual: str | None = None) -> str:
        value = self._tree.get(key, usual)
        if not isinstance(value, str) or len(value) > most or (usual is None and not value.strip()):
            self._bad(key, f"text of 1 to {most} characters", value)
        return value

    def _number(self, key: str, low: int, high: int, usual: int | None = -1) -> Any:
        value = self._tree.get(key, usual)
        if value is None and usual is None:
            return None
        return self._whole(key, value if key in self._tree or usual != -1 else None, low, high)

    def _whole(self, where: str, value: Any, low: int, high: int) -> int:
        if type(value) is not int or not low <= value <= high:
            self._bad(where, f"a whole number from {low} to {high}", value)
        return value

    def _label_share(self) -> tuple[int | None, bytes | None]:
        """A share above 0, or one for each class: {bacterial = 0.4, fungal = 0.2, ...}."""
        value = self._tree.get("label_share")
        if not isinstance(value, dict):
            return self._share("label_share", None), None
        found = {str(name): self._scaled(f"label_share.{name}", each, 1000) for name, each in value.items()}
        if not found or min(found.values()) < 0 or sum(found.values()) != 1000:
            self._bad("label_share", "a share for each class, which add up to 1", value)
        return None, settings_bytes(found)

    def _share(self, key: str, usual: Decimal | None) -> int | None:
        value = self._tree.get(key, usual)
        if value is None:
            return None
        found = self._scaled(key, value, 1000)
        if not 0 <= found <= 1000:
            self._bad(key, "a share from 0 to 1", value)
        return found

    def _scaled(self, where: str, value: Any, unit: int) -> int:
        """A decimal in units of 1 / `unit`: exact, but for Q24, which is rounded to its nearest."""
        if isinstance(value, bool) or not isinstance(value, int | Decimal) or not Decimal(value).is_finite():
            self._bad(where, "a number", value)
        if Decimal(value).adjusted() > _GREATEST:
            self._bad(where, f"a number below 10^{_GREATEST + 1}", value)
        exact = Decimal(value) * unit
        if exact != exact.to_integral_value() and unit != ONE:
            self._bad(where, f"a number in steps of 1/{unit}", value)
        return int(exact.to_integral_value())

    def _held(self, where: str, value: int) -> int:
        """What our encoding holds of whole numbers."""
        if not -(1 << 63) <= value < 1 << 64:
            self._bad(where, "a whole number from -2^63 to 2^64 - 1", value)
        return value

    def _duration(self, where: str, value: Any) -> int:
        found = re.fullmatch(r"(\d{1,6})\s*([smhd])", value) if isinstance(value, str) else None
        if found is None:
            self._bad(where, "a duration like 90s, 10m, 4h or 7d", value)
        return int(found[1]) * _UNITS[found[2]]

    def _bad(self, field: str, expected: str, got: object, *, words: str = "") -> NoReturn:
        try:
            said = "nothing" if got is None else (repr(got) if isinstance(got, str | list | dict) else str(got))[:80]
        except ValueError:  # Python writes no number out that has thousands of digits
            said = "a number of thousands of digits"
        raise BadStudyFile(f"{self._where(field)}: {words or f'expected {expected}, got {said}'}")

    def _where(self, field: str) -> str:
        """file, line, field. The line of the field itself, or else of its table; none where it is not written."""
        table, _, key = field.rpartition(".")
        line, at = 0, ""
        for number, row in enumerate(self._lines, 1):
            head = re.match(r"\s*\[([\w.\s]+)\]", row)
            if head:
                at = head[1].strip()
                line = number if at == field or (at == table and not line) else line
            elif at == table and re.match(rf"\s*\"?{re.escape(key)}\"?\s*=", row):
                line = number
        return f"{self._name}, line {line}: {field}" if line else f"{self._name}: {field}"
