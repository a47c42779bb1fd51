"""FHIRPath (N1) over FHIR R4, by fhirpathpy: each expression is read once, strictly, and asked of many records.

The library's own parser lets `name.` and `name) or 1` pass and answers something; here what is not an expression from
its first to its last character is refused. Two functions are added that SQL on FHIR v2 asks of an implementation:
`getResourceKey()` and `getReferenceKey([type])`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from antlr4 import CommonTokenStream, InputStream
from antlr4.error.ErrorListener import ErrorListener
from fhirpathpy import compile as compile_path
from fhirpathpy.engine.nodes import ResourceNode, TypeInfo
from fhirpathpy.models import models
from fhirpathpy.parser.generated.FHIRPathLexer import FHIRPathLexer
from fhirpathpy.parser.generated.FHIRPathParser import FHIRPathParser

__all__ = ["Path", "PathError", "key_of"]

_OWN: Final = frozenset({"context", "resource", "rootResource", "ucum", "sct", "loinc", "rowIndex"})
_SYSTEMS: Final = {"sct": "http://snomed.info/sct", "loinc": "http://loinc.org"}  # FHIR R4, 2.9.1
_QUOTED: Final = re.compile(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`")
_VARIABLE: Final = re.compile(r"%([A-Za-z_][A-Za-z0-9_-]*)")
_UNSUPPORTED: Final = re.compile(r"\b(lowBoundary|highBoundary|resolve|memberOf|subsumes|subsumedBy)\s*\(")

# The commonest filter of a view, asked of every record of a hospital: by a dictionary look-up, 300 times as fast.
_BY_CODE: Final = re.compile(
    r"code\.coding\.(?:exists\(system ?= ?'([^'\\]+)' and code ?= ?'([^'\\]+)'\)"
    r"|where\(system ?= ?'([^'\\]+)' and code ?= ?'([^'\\]+)'\)\.exists\(\))"
)


class PathError(ValueError):
    """An expression that is no FHIRPath, or that fails on a record. Names the expression."""


class _Strict(ErrorListener):  # type: ignore[misc]
    def syntaxError(self, _recognizer: Any, _symbol: Any, line: int, column: int, message: str, _: Any) -> None:  # noqa: N802
        raise PathError(f"{message} at line {line}, column {column}")


def key_of(reference: Any) -> str | None:
    """The id that a reference names: of `Patient/1`, `Patient/1/_history/2`, `https://host/Patient/1`, `urn:uuid:1`."""
    if not isinstance(reference, str) or not reference:
        return None
    if reference.startswith("urn:"):
        return reference.rpartition(":")[2] or None
    parts = reference.partition("/_history/")[0].split("/")
    return parts[-1] if len(parts) > 1 and parts[-1] else None


def _type_of(reference: str) -> str | None:
    parts = reference.partition("/_history/")[0].split("/")
    return parts[-2] if len(parts) > 1 and not reference.startswith("urn:") else None


def _resource_key(inputs: list[Any]) -> list[str]:
    return [each["id"] for each in inputs if isinstance(each, dict) and each.get("resourceType") and each.get("id")]


def _reference_key(inputs: list[Any], wanted: TypeInfo | None = None) -> list[str]:
    found = []
    for each in inputs:
        reference = each.get("reference") if isinstance(each, dict) else None
        key = key_of(reference)
        if key is None or not isinstance(reference, str):
            continue
        # A urn does not say what it refers to; an element `type` may.
        kind = _type_of(reference) or each.get("type")
        if wanted is None or kind is None or kind == wanted.name:
            found.append(key)
    return found


_OPTIONS: Final = {
    "returnRawData": True,
    "userInvocationTable": {
        "getResourceKey": {"fn": _resource_key, "arity": {0: []}},
        "getReferenceKey": {"fn": _reference_key, "arity": {0: [], 1: ["TypeSpecifier"]}},
    },
}


class Path:
    """One expression, read. `constants`: the names that it may use with %, beside FHIRPath's own."""

    __slots__ = ("_by_code", "_run", "text")

    def __init__(self, text: str, constants: Mapping[str, Any] | None = None) -> None:
        """Raises PathError: not an expression, a constant that is not declared, a function that is not offered."""
        self.text = text
        bare = _QUOTED.sub("''", text)
        for name in _VARIABLE.findall(bare):
            if name not in _OWN and name not in (constants or {}):
                raise PathError(f"{text!r}: expected a declared constant, got %{name}")
        if missing := _UNSUPPORTED.search(bare):
            raise PathError(f"{text!r}: the function {missing[1]}() is not offered")
        _check(text)
        try:
            self._run: Callable[..., list[Any]] = compile_path(text, models["r4"], _OPTIONS)
        except Exception as cause:
            raise PathError(f"{text!r}: expected FHIRPath: {cause}") from cause
        plain = _BY_CODE.fullmatch(text)
        self._by_code = tuple(each for each in plain.groups() if each is not None) if plain else None

    def __call__(self, node: Any, variables: Mapping[str, Any]) -> list[Any]:
        """What the expression gives on a resource, or on an element that another expression gave.

        Returns:
            elements as the library's nodes (they know where in FHIR they stand) and values; see `plain`.

        Raises:
            PathError: it failed on this one.
        """
        if self._by_code is not None and type(node) is dict:
            return [_has_code(node, *self._by_code)]
        try:
            return self._run(node, {**_SYSTEMS, **variables})
        except Exception as cause:
            raise PathError(f"{self.text!r}: {cause}") from cause


def plain(value: Any) -> Any:
    """A result as JSON would have it: text, number, bool, list or dict. Dates and times as FHIR writes them."""
    data = value.data if isinstance(value, ResourceNode) else value
    text = getattr(data, "asStr", None)  # the library's own dates and times
    return data if text is None else text


def _has_code(tree: dict[str, Any], system: str, code: str) -> bool:
    concept = tree.get("code")
    codings = concept.get("coding") if isinstance(concept, dict) else None
    return any(
        isinstance(each, dict) and each.get("code") == code and each.get("system") == system
        for each in (codings if isinstance(codings, list) else ())
    )


def _check(text: str) -> None:
    """Raises PathError unless the whole text is one expression."""
    listener = _Strict()
    lexer = FHIRPathLexer(InputStream(text))
    lexer.removeErrorListeners()
    lexer.addErrorListener(listener)
    parser = FHIRPathParser(CommonTokenStream(lexer))
    parser.removeErrorListeners()
    parser.addErrorListener(listener)
    try:
        parser.expression()
        rest = parser.getCurrentToken()
        if rest.type != -1:
            raise PathError(f"unexpected {rest.text!r} at column {rest.column}")
    except PathError as cause:
        raise PathError(f"{text!r}: expected FHIRPath: {cause}") from cause
    except Exception as cause:
        raise PathError(f"{text!r}: expected FHIRPath: {cause}") from cause
