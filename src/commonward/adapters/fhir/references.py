"""References of FHIR resources: listed, joined to what they mean, never rewritten.

In a transaction bundle `urn:uuid:...` names another entry by its fullUrl. A server would rewrite it; we keep the
source's bytes and keep beside them the link from fullUrl to "Type/id" (PROTOCOL.md, Records).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_DEPTH = 64  # as in records.stored: what nests deeper is refused there


def references(tree: Any, pointer: str = "", depth: int = _DEPTH) -> Iterator[tuple[str, str]]:
    """(JSON pointer, reference) for each literal reference in the resource, in document order."""
    if depth == 0:
        return
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key == "reference" and isinstance(value, str):
                yield f"{pointer}/reference", value
            elif isinstance(value, dict | list):
                yield from references(value, f"{pointer}/{key}", depth - 1)
    elif isinstance(tree, list):
        for position, value in enumerate(tree):
            if isinstance(value, dict | list):
                yield from references(value, f"{pointer}/{position}", depth - 1)


@dataclass(frozen=True, slots=True)
class Dangling:
    """A warning: a reference that nothing in the file answers to. The resource itself is kept."""

    where: str
    reference: str

    def __str__(self) -> str:
        return (
            f"{self.where} refers to {self.reference}, which is not in this file; "
            "send what it names too, unless it is already here"
        )


@dataclass(slots=True)
class ReferenceCheck:
    """Show it every resource of a file; then ask which references lead nowhere.

    Absolute references (http://...) point outside and `#id` inside the resource: the first are not judged, the second
    at once. Holds a hash for each resource and each open reference, about 100 bytes, and stops judging after `most` of
    them, so that memory stays flat on an endless file; `complete` then says False.
    """

    most: int = 2_000_000
    complete: bool = True
    _known: set[int] = field(default_factory=set)
    _open: dict[str, str] = field(default_factory=dict)
    _broken: list[Dangling] = field(default_factory=list)

    def see(self, tree: dict[str, Any], full_url: str | None, where: str) -> None:
        kind, identity = tree.get("resourceType"), tree.get("id")
        names = [full_url] if full_url else []
        if isinstance(kind, str) and isinstance(identity, str):
            names.append(f"{kind}/{identity}")
        for name in names:
            self._open.pop(name, None)
            self._known.add(hash(name))
        contained = {part.get("id") for part in tree.get("contained") or () if isinstance(part, dict)}
        for pointer, reference in references(tree):
            if reference.startswith("#"):
                if len(reference) > 1 and reference[1:] not in contained:
                    self._broken.append(Dangling(where + pointer, reference))
            elif not reference.startswith(("http:", "https:", "urn:oid:")):
                target = _without_version(reference)
                if hash(target) not in self._known:
                    self._open.setdefault(target, where + pointer)
        if len(self._known) + len(self._open) > self.most:
            self.complete = False
            self._known.clear()
            self._open.clear()

    def dangling(self) -> list[Dangling]:
        """At the end of the file. Conditional references (`Patient?identifier=...`) always count: nobody looks."""
        return [*self._broken, *(Dangling(where, name) for name, where in self._open.items())]


def _without_version(reference: str) -> str:
    return reference.split("/_history/", 1)[0]
