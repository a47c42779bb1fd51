"""The sensitivity table: from the codes, labels, type and category of a record to its classes.

Two sorts of classes. *Data classes* (laboratory, medication, imaging, ...) follow from type and category, so that a
patient can say what kind of data a rule is about. *Sensitive classes* (mental-health, hiv, ...) follow from codes and
security labels, and need a permit that names them.

What is not known to be ordinary must not pass as ordinary: a record whose type depends on codes and whose telling
codes are not in the table is `classified=False`, and is withheld where any deny stands. To keep that rare, whole
systems (ICD-10, ATC, CVX, CPT) are known by ranges, and whole categories (vital signs) are ordinary. The table is a
versioned data file with a digest, adopted by vote; what a table lacks, a consortium adds in its next version.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Final

import orjson

from commonward.ledger.encoding import Digest, digest
from commonward.records.decide import Facts
from commonward.records.jurisdiction import TableError
from commonward.records.record import Coding, Concept, Record
from commonward.records.stored import parse

TABLE_LABEL: Final = "commonward sensitivity table v1"
_NONE: Final[frozenset[str]] = frozenset()
_MEMO: Final = 65_536
_OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class _TypeRule:
    """How records of one type are classified.

    Attributes:
        classes: data classes of the type when no category says otherwise.
        by: `type` when every record of the type is ordinary but for listed codes; `codes` when its telling codes must
            be known; `never` for free text and attachments, which may hold anything.
        needs_code: a record without any telling code is not classified.
        categories: code of a category to data classes.
    """

    classes: frozenset[str]
    by: str
    needs_code: bool
    categories: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class _System:
    """What the table knows of one code system.

    Attributes:
        codes: code to its classes; none means known and ordinary.
        ranges: (first, last, class): codes whose first letters lie from one to the other.
        complete: codes of this shape that are listed nowhere are ordinary; None when codes must be listed.
    """

    codes: Mapping[str, frozenset[str]]
    ranges: tuple[tuple[str, str, str], ...]
    complete: re.Pattern[str] | None


@dataclass(frozen=True, slots=True)
class SensitivityTable:
    """A parsed table.

    Attributes:
        name: and version, as people cite it.
        digest: digest("commonward sensitivity table v1", stored bytes of the file).
        classes: all classes to their names for people, by language.
        sensitive: the classes that need a permit which names them.
    """

    name: str
    version: int
    digest: Digest
    classes: Mapping[str, Mapping[str, str]]
    sensitive: frozenset[str]
    _types: Mapping[str, _TypeRule] = field(repr=False)
    _systems: Mapping[str, _System] = field(repr=False)
    _administrative: tuple[str, ...] = field(repr=False)
    _telling: frozenset[str] = field(repr=False)
    _ordinary_categories: frozenset[str] = field(repr=False)
    _labels: Mapping[str, Mapping[str, frozenset[str]]] = field(repr=False)
    _unknown_label: frozenset[str] = field(repr=False)
    _known: dict[Coding, frozenset[str] | None] = field(default_factory=dict, repr=False, compare=False)

    def facts(self, record: Record) -> Facts:
        """What `decide` needs to know of a record."""
        rule = self._types.get(record.resource_type)
        data = self._data_classes(rule, record)
        found: set[str] = set()
        for coding in record.labels:
            found |= self.label_classes(coding)
        unknown = telling = False
        for concept in record.concepts:
            classes = self._concept_classes(concept)
            if classes:
                found |= classes
            if concept.field in self._telling:
                telling = True
                unknown = unknown or classes is None
        classified = False
        if rule is not None and rule.by != "never":
            ordinary = rule.by == "type" or self._in_ordinary_category(record)
            classified = ordinary or (not unknown and (telling or not rule.needs_code))
        sensitive = frozenset(found & self.sensitive)
        return Facts(
            record.resource_type,
            data | found,
            sensitive,
            classified,
            frozenset(coding.code for coding in record.labels),
            record.effective,
        )

    def classes_of(self, coding: Coding) -> frozenset[str] | None:
        """Classes of one code: none when it is known and ordinary, None when it is not known."""
        try:
            return self._known[coding]
        except KeyError:
            pass
        system = self._systems.get(coding.system)
        if system is None:
            ordinary = coding.system.startswith(self._administrative) if coding.system else False
            classes = _NONE if ordinary else None
        else:
            classes = _looked_up(system, coding.code)
        if len(self._known) < _MEMO:
            self._known[coding] = classes
        return classes

    def label_classes(self, coding: Coding) -> frozenset[str]:
        """Classes of a security label. A label that the table does not know is taken for the strict one it may be."""
        codes = self._labels.get(coding.system)
        if codes is None:
            return self._unknown_label
        return codes.get(coding.code, codes.get("*", self._unknown_label))

    def unknown_codes(self, record: Record) -> tuple[Concept, ...]:
        """The telling concepts that keep a record from being classified: what the next version should add."""
        return tuple(
            each for each in record.concepts if each.field in self._telling and self._concept_classes(each) is None
        )

    def _concept_classes(self, concept: Concept) -> frozenset[str] | None:
        """One known coding makes a concept known: a local code beside it says the same."""
        known: frozenset[str] | None = None
        for coding in concept.codings:
            classes = self.classes_of(coding)
            if classes is not None:
                known = classes if known is None else known | classes
        return known

    def _data_classes(self, rule: _TypeRule | None, record: Record) -> frozenset[str]:
        if rule is None:
            return frozenset({_OTHER})
        if rule.categories:
            for concept in record.concepts:
                if concept.field == "category":
                    for coding in concept.codings:
                        if coding.code in rule.categories:
                            return rule.categories[coding.code]
        return rule.classes

    def _in_ordinary_category(self, record: Record) -> bool:
        return any(
            coding.code in self._ordinary_categories
            for concept in record.concepts
            if concept.field == "category"
            for coding in concept.codings
        )

    @classmethod
    def parse(cls, data: bytes) -> "SensitivityTable":
        """Read a table file. Raises TableError, or NotStorable when it is no JSON."""
        stored = parse(data).stored
        table = orjson.loads(stored)
        try:
            return _table(table, digest(TABLE_LABEL, stored))
        except (KeyError, TypeError, AttributeError, ValueError) as cause:
            raise TableError(f"expected a sensitivity table; wrong or missing: {cause}") from cause


@cache
def default_sensitivity() -> SensitivityTable:
    """The table that comes with the project: a beginning to adopt and extend, no complete terminology."""
    return SensitivityTable.parse((files("commonward.records") / "data" / "sensitivity.json").read_bytes())


def _looked_up(system: _System, code: str) -> frozenset[str] | None:
    bare = code.replace(".", "").upper()
    listed = system.codes.get(code)
    ranged = frozenset(name for first, last, name in system.ranges if first <= bare[: len(first)] and _to(bare, last))
    if listed is not None:
        return listed | ranged
    if ranged or (system.complete is not None and system.complete.match(code.upper())):
        return ranged
    return None


def _to(bare: str, last: str) -> bool:
    return bare[: len(last)] <= last


def _table(table: dict[str, Any], stated: Digest) -> SensitivityTable:
    classes: dict[str, dict[str, str]] = table["classes"]
    sensitive = frozenset(table["sensitive"])

    def known(names: Iterable[str]) -> frozenset[str]:
        found = frozenset(names)
        if not found <= classes.keys():
            raise ValueError(f"classes {sorted(found - classes.keys())} are not among `classes`")
        return found

    known(sensitive)
    systems = {alias: _System({}, (), _shape(each.get("complete"))) for alias, each in table["systems"].items()}
    codes: dict[str, dict[str, frozenset[str]]] = {alias: {} for alias in systems}
    ranges: dict[str, list[tuple[str, str, str]]] = {alias: [] for alias in systems}
    for group in table["codes"]:
        alias, name = group["system"], group["class"]
        marks = known({name}) if name != "ordinary" else _NONE
        for code in group.get("codes", {}):
            codes[alias][code] = codes[alias].get(code, _NONE) | marks
        for text in group.get("ranges", ()):
            first, _, last = text.replace(".", "").partition("-")
            ranges[alias].append((first, last or first, name))
    by_uri = {
        uri: _System(codes[alias], tuple(ranges[alias]), systems[alias].complete)
        for alias, each in table["systems"].items()
        for uri in each["uris"]
    }
    types = {
        kind: _TypeRule(
            known(each["classes"]),
            _one_of(each["by"], ("type", "codes", "never")),
            bool(each.get("needs_code", False)),
            {code: known(names) for code, names in table["categories"].get(each.get("categories", ""), {}).items()},
        )
        for kind, each in table["types"].items()
    }
    labels = {
        uri: {code: known(names) for code, names in group["codes"].items()}
        for group in table["labels"]
        for uri in group["uris"]
    }
    return SensitivityTable(
        table["table"],
        table["version"],
        stated,
        classes,
        sensitive,
        types,
        by_uri,
        tuple(table["administrative"]),
        frozenset(table["telling"]),
        frozenset(table["ordinary_categories"]),
        labels,
        known(table["unknown_label"]),
    )


def _shape(pattern: str | None) -> re.Pattern[str] | None:
    return None if pattern is None else re.compile(pattern, re.ASCII)


def _one_of(word: str, words: tuple[str, ...]) -> str:
    if word not in words:
        raise ValueError(f"{word!r} is not one of {words}")
    return word
