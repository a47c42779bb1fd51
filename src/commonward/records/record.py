"""A record: one FHIR R4 resource, as stored bytes and the facts that others need of it.

One resource is one record. References are never rewritten and records are never changed: a correction is a new
version. The facts are read once, when a record comes in or is opened: whose it is, when, how final, which codes,
labels and references it holds. What they mean for consent is `sensitivity` and `decide`.

It reads leniently what the adapter's schema has already checked: a field of another shape than FHIR's counts as absent.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

import orjson

from commonward.records.fhir_time import span
from commonward.records.stored import NotStorable, Stored, Tree, parse


class Coding(NamedTuple):
    """A code and the URI of the system that defines it; either may be empty."""

    system: str
    code: str


class Concept(NamedTuple):
    """One CodeableConcept or Coding: several codings of the same meaning (often a local code and a standard one).

    Attributes:
        field: the name of the element that holds it, as in `reasonCode`.
        codings: empty when the concept is text alone.
    """

    field: str
    codings: tuple[Coding, ...]


class Period(NamedTuple):
    """[start, end) in ms since the Unix epoch, UTC. None is open: since ever, or still going on."""

    start: int | None
    end: int | None


class Standing(IntEnum):
    """How final a record is, over the status words of all resource types."""

    PRELIMINARY = 1
    FINAL = 2
    AMENDED = 3
    CORRECTED = 4
    CANCELLED = 5
    ENTERED_IN_ERROR = 6


class Source(NamedTuple):
    """Where a record came from: the system's name, its id there, and the form (`fhir-r4`, `hl7v2`, ...)."""

    system: str
    id: str
    kind: str


class Outline(NamedTuple):
    """What taking in needs of a resource, without a walk through all of it. Fields as in `Record`."""

    resource_type: str
    id: str
    patient_ref: str | None
    standing: Standing


@dataclass(frozen=True, slots=True)
class Record:
    """One version of one FHIR R4 resource, with its facts.

    Attributes:
        resource_type: as in `Observation`.
        id: the resource's id, "" when it has none.
        version: 1 for the first, counted by the custodian.
        stored: the bytes that are fingerprinted.
        source: where it came from.
        patient_ref: the reference to its patient as written (`Patient/1`, `urn:uuid:...`), or None.
        effective: when what it tells of happened, or None when it does not say.
        issued: when it was made available, in ms, or None.
        status: the word of its status element, "" when it has none.
        standing: what that word means for replacing it.
        concepts: every coded element, in no promised order; security labels apart.
        labels: codings of `meta.security` and `securityLabel`, also of contained resources.
        references: every reference as written, without contained ones (`#...`), each once, sorted.
    """

    resource_type: str
    id: str
    version: int
    stored: Stored
    source: Source
    patient_ref: str | None
    effective: Period | None
    issued: int | None
    status: str
    standing: Standing
    concepts: tuple[Concept, ...]
    labels: tuple[Coding, ...]
    references: tuple[str, ...]

    @property
    def codes(self) -> tuple[Coding, ...]:
        """All codings of all concepts."""
        return tuple(coding for concept in self.concepts for coding in concept.codings)

    @property
    def keys(self) -> tuple[str, str]:
        """The two ways in which another record may name this one: `Type/id` and `urn:uuid:id`."""
        return f"{self.resource_type}/{self.id}", f"urn:uuid:{self.id}"

    @classmethod
    def from_stored(cls, stored: Stored, source: Source, version: int = 1) -> "Record":
        """Read the facts from stored bytes. Raises NotStorable when they hold no resource.

        They are trusted to be canonical: they were made by `stored`, or their fingerprint has been checked.
        """
        return cls.from_tree(orjson.loads(stored), stored, source, version)

    @classmethod
    def parse(cls, data: bytes, source: Source, version: int = 1) -> "Record":
        """From JSON as it comes. Raises NotStorable."""
        parsed = parse(data)
        return cls.from_tree(parsed.tree, parsed.stored, source, version)

    @classmethod
    def from_tree(cls, tree: Tree, stored: Stored, source: Source, version: int = 1) -> "Record":
        """From a tree and its stored bytes, when both are at hand. Raises NotStorable when it holds no resource."""
        kind = tree.get("resourceType") if type(tree) is dict else None
        if type(kind) is not str or not kind:
            raise NotStorable("expected a FHIR resource: an object with a resourceType")
        ident = _text(tree, "id")
        concepts, labels, references = _collect(tree)
        status, standing = _status(kind, tree)
        return cls(
            kind,
            ident,
            version,
            stored,
            source,
            _patient(kind, ident, tree),
            _effective(kind, tree),
            _issued(tree),
            status,
            standing,
            concepts,
            labels,
            references,
        )


def outline(tree: Tree) -> Outline:
    """The outline of a resource's tree, plain or parsed. Raises NotStorable when it holds no resource."""
    kind = tree.get("resourceType") if type(tree) is dict else None
    if type(kind) is not str or not kind:
        raise NotStorable("expected a FHIR resource: an object with a resourceType")
    ident = _text(tree, "id")
    return Outline(kind, ident, _patient(kind, ident, tree), _status(kind, tree)[1])


def replaces(old: Standing, new: Standing) -> bool:
    """Whether a record of the new standing may take the place of one of the old as what is shown.

    A late preliminary never replaces what was already final; nothing but a correction follows an error.
    """
    if old is Standing.ENTERED_IN_ERROR:
        return new in (Standing.CORRECTED, Standing.AMENDED, Standing.ENTERED_IN_ERROR)
    return new is not Standing.PRELIMINARY or old is Standing.PRELIMINARY


# FHIR R4: ObservationStatus, DiagnosticReportStatus, CompositionStatus (docStatus), and the words that other types
# share. Every word that is not here stands for a record that is what its author means to say: FINAL.
STANDINGS: Final = {
    "registered": Standing.PRELIMINARY,
    "partial": Standing.PRELIMINARY,
    "preliminary": Standing.PRELIMINARY,
    "draft": Standing.PRELIMINARY,
    "amended": Standing.AMENDED,
    "appended": Standing.AMENDED,
    "corrected": Standing.CORRECTED,
    "cancelled": Standing.CANCELLED,
    "entered-in-error": Standing.ENTERED_IN_ERROR,
}

# FHIR R4, the search parameter `patient` of each type: the element that refers to the patient.
_PATIENT_FIELDS: Final = ("subject", "patient", "beneficiary", "for")

# FHIR R4, the search parameter `date` of each type, and where that has none the element that says when it happened.
# The first that is present counts. A name ending in `Period` or `period` holds a Period.
EFFECTIVE_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "AdverseEvent": ("date", "detected", "recordedDate"),
    "AllergyIntolerance": ("onsetDateTime", "onsetPeriod", "recordedDate", "lastOccurrence"),
    "CarePlan": ("period", "created"),
    "CareTeam": ("period",),
    "Claim": ("billablePeriod", "created"),
    "ClaimResponse": ("created",),
    "ClinicalImpression": ("effectiveDateTime", "effectivePeriod", "date"),
    "Communication": ("sent", "received"),
    "Composition": ("date",),
    "Condition": ("onsetDateTime", "onsetPeriod", "recordedDate"),
    "Consent": ("dateTime",),
    "Coverage": ("period",),
    "Device": ("manufactureDate",),
    "DeviceRequest": ("occurrenceDateTime", "occurrencePeriod", "authoredOn"),
    "DiagnosticReport": ("effectiveDateTime", "effectivePeriod", "issued"),
    "DocumentReference": ("date",),
    "Encounter": ("period",),
    "EpisodeOfCare": ("period",),
    "ExplanationOfBenefit": ("billablePeriod", "created"),
    "FamilyMemberHistory": ("date",),
    "Flag": ("period",),
    "Goal": ("startDate", "statusDate"),
    "ImagingStudy": ("started",),
    "Immunization": ("occurrenceDateTime", "recorded"),
    "List": ("date",),
    "MedicationAdministration": ("effectiveDateTime", "effectivePeriod"),
    "MedicationDispense": ("whenHandedOver", "whenPrepared"),
    "MedicationRequest": ("authoredOn",),
    "MedicationStatement": ("effectiveDateTime", "effectivePeriod", "dateAsserted"),
    "NutritionOrder": ("dateTime",),
    "Observation": ("effectiveDateTime", "effectivePeriod", "effectiveInstant", "issued"),
    "Procedure": ("performedDateTime", "performedPeriod"),
    "Provenance": ("occurredDateTime", "occurredPeriod", "recorded"),
    "QuestionnaireResponse": ("authored",),
    "RiskAssessment": ("occurrenceDateTime", "occurrencePeriod"),
    "ServiceRequest": ("occurrenceDateTime", "occurrencePeriod", "authoredOn"),
    "SupplyDelivery": ("occurrenceDateTime", "occurrencePeriod"),
    "Task": ("executionPeriod", "authoredOn"),
}
# Elements that say what a record is about: when they hold text alone, that must show (a concept without codings).
_ABOUT: Final = frozenset({"code", "reasonCode", "conclusionCode", "vaccineCode", "productOrService"})
# Elements that hold neither what a record is about nor what it refers to: who bears an id, a name, an address; and
# codings, which are read with the concept around them. Of meta only the security labels count.
_SKIPPED: Final = frozenset({"text", "meta", "identifier", "telecom", "address", "coding", "amount", "valueQuantity"})
_ABATEMENT: Final = {"Condition": ("abatementDateTime", "abatementPeriod")}


def _text(tree: dict[str, Any], name: str) -> str:
    value = tree.get(name)
    return value if type(value) is str else ""


def _patient(kind: str, ident: str, tree: dict[str, Any]) -> str | None:
    if kind == "Patient":
        return f"Patient/{ident}" if ident else None
    for name in _PATIENT_FIELDS:
        value = tree.get(name)
        if type(value) is dict and type(value.get("reference")) is str:
            reference: str = value["reference"]
            return reference
    return None


def _span(value: Any) -> tuple[int, int] | None:
    if type(value) is not str:
        return None
    try:
        return span(value)
    except ValueError:
        return None


def _period(value: Any) -> Period | None:
    """A FHIR Period's outer bounds: from the start of its start to the end of its end."""
    if type(value) is not dict:
        return None
    start, end = _span(value.get("start")), _span(value.get("end"))
    return Period(start and start[0], end and end[1]) if start or end else None


def _effective(kind: str, tree: dict[str, Any]) -> Period | None:
    for name in EFFECTIVE_FIELDS.get(kind, ()):
        if name in tree:
            value = tree[name]
            found = _period(value) if type(value) is dict else _span(value)
            if found is not None:
                return _until_abated(kind, tree, Period(*found))
    return None


def _until_abated(kind: str, tree: dict[str, Any], found: Period) -> Period:
    """A condition lasts from its onset until it abated; without an end it is still there."""
    if kind not in _ABATEMENT:
        return found
    for name in _ABATEMENT[kind]:
        value = tree.get(name)
        ended = _period(value) if type(value) is dict else _span(value)
        if ended is not None:
            return Period(found.start, ended[1])
    return Period(found.start, None)


def _issued(tree: dict[str, Any]) -> int | None:
    for name in ("issued", "recordedDate", "authoredOn", "created"):
        found = _span(tree.get(name))
        if found is not None:
            return found[0]
    return None


def _status(kind: str, tree: dict[str, Any]) -> tuple[str, Standing]:
    word = _text(tree, "docStatus") if kind == "DocumentReference" else ""
    if _text(tree, "status") == "entered-in-error" or not word:
        word = _text(tree, "status")
    if kind in ("Condition", "AllergyIntolerance"):  # their status is a concept
        for name in ("verificationStatus", "clinicalStatus"):
            value = tree.get(name)
            codings = value.get("coding") if type(value) is dict else None
            for each in codings if type(codings) is list else ():
                if type(each) is dict and type(each.get("code")) is str:
                    code: str = each["code"]
                    if name == "clinicalStatus" or code == "entered-in-error":
                        return code, STANDINGS.get(code, Standing.FINAL)
        return word, STANDINGS.get(word, Standing.FINAL)
    return word, STANDINGS.get(word, Standing.FINAL)


def _collect(tree: dict[str, Any]) -> tuple[tuple[Concept, ...], tuple[Coding, ...], tuple[str, ...]]:
    """Every concept, label and reference of a resource: one walk, as this runs for each record that comes or goes."""
    concepts: list[Concept] = []
    labels: list[Coding] = []
    references: set[str] = set()
    todo: list[tuple[str, dict[str, Any]]] = [("", tree)]
    while todo:
        field, here = todo.pop()
        inner = here.get("coding")
        if type(inner) is list:
            codings = tuple([_coding(each) for each in inner if type(each) is dict])
        elif "code" in here and "system" in here and "value" not in here and type(here["code"]) is str:
            codings = (_coding(here),)  # a bare Coding; with a value it would be a Quantity and its unit
        else:
            codings = None
            if field in _ABOUT or field.endswith("CodeableConcept"):
                codings = ()  # text alone where a code should say what the record is about
        if codings is not None:
            if field == "security" or field == "securityLabel":
                labels += codings
            else:
                concepts.append(Concept(field, codings))
        for name, value in here.items():
            kind = type(value)
            if kind is str:
                if name == "reference" and not value.startswith("#"):
                    references.add(value)
            elif kind is dict:
                if name not in _SKIPPED:
                    todo.append((name, value))
                elif name == "meta":
                    marks = value.get("security")
                    todo += [
                        ("security", each) for each in (marks if type(marks) is list else ()) if type(each) is dict
                    ]
            elif kind is list and name not in _SKIPPED:
                for each in value:
                    if type(each) is dict:
                        todo.append((name, each))
    return tuple(concepts), tuple(labels), tuple(sorted(references))


def _coding(each: dict[str, Any]) -> Coding:
    system, code = each.get("system"), each.get("code")
    return Coding(system if type(system) is str else "", code if type(code) is str else "")
