"""Decisions over a whole history: sensitivity and silence follow references.

A report on an HIV test is about HIV though its own code is not; a blood pressure taken in a psychiatric encounter
tells of that encounter. So a record takes on the sensitive classes and the labels of all it refers to, near and far.
And a record that refers to one that is held back is held back with it, whole: a reference that leads nowhere would
tell that something is there.

The patient is known to who asks, so a reference to the patient leads to nothing new.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from commonward.records.decide import Decider, Decision, Facts, Reason

Key = TypeVar("Key")


class Referring(Protocol):
    """What is needed of a record here; `Record` has it."""

    @property
    def id(self) -> str: ...

    @property
    def keys(self) -> tuple[str, str]: ...

    @property
    def references(self) -> tuple[str, ...]: ...


def references_within(records: Mapping[Key, Referring]) -> dict[Key, frozenset[Key]]:
    """For each record the others of this set that it refers to, by `Type/id`, `urn:uuid:id` or a URL that ends so."""
    by_name: dict[str, list[Key]] = defaultdict(list)  # several versions of a record bear one name
    for key, record in records.items():
        for name in record.keys if record.id else ():
            by_name[name].append(key)
    return {
        key: frozenset(
            target for name in map(_local, record.references) for target in by_name.get(name, ()) if target != key
        )
        for key, record in records.items()
    }


def propagate(facts: Mapping[Key, Facts], references: Mapping[Key, Iterable[Key]]) -> dict[Key, Facts]:
    """Each record's facts with the sensitive classes and labels of all that it refers to, through any number of steps.

    References out of the set are passed over: the caller gives all that it holds of the patient.
    """
    out = dict(facts)
    referrers = _referrers(facts, references)
    todo = [key for key, each in facts.items() if each.sensitive or each.labels]
    while todo:
        key = todo.pop()
        source = out[key]
        for referrer in referrers[key]:
            old = out[referrer]
            if source.sensitive <= old.sensitive and source.labels <= old.labels:
                continue
            out[referrer] = old._replace(
                classes=old.classes | source.sensitive,
                sensitive=old.sensitive | source.sensitive,
                labels=old.labels | source.labels,
            )
            todo.append(referrer)
    return out


def decide_set(
    decider: Decider, facts: Mapping[Key, Facts], references: Mapping[Key, Iterable[Key]]
) -> dict[Key, Decision]:
    """Decide on all records of a patient that a custodian holds, or a requester received.

    1. sensitive classes and labels propagate over references; 2. each record is decided on; 3. who refers to a record
    that is held back is held back too, through any number of steps.
    """
    spread = propagate(facts, references)
    decisions = {key: decider.decide(each) for key, each in spread.items()}
    referrers = _referrers(facts, references)
    todo = [key for key, each in decisions.items() if each.hidden and facts[key].resource_type != "Patient"]
    while todo:
        for referrer in referrers[todo.pop()]:
            each = decisions[referrer]
            if not each.hidden:
                decisions[referrer] = Decision(False, None, each.law, Reason.REFERS_TO_WITHHELD, ())
                todo.append(referrer)
    return decisions


def _referrers(facts: Mapping[Key, Facts], references: Mapping[Key, Iterable[Key]]) -> dict[Key, list[Key]]:
    found: dict[Key, list[Key]] = defaultdict(list)
    for key in facts:
        for target in references.get(key, ()):
            if target in facts:
                found[target].append(key)
    return found


def _local(reference: str) -> str:
    """`Type/id` of a reference by URL, without a version: `https://a.example/fhir/Condition/7/_history/2`."""
    if reference.startswith("urn:"):
        return reference
    parts = reference.partition("/_history/")[0].split("/")
    return "/".join(parts[-2:])
