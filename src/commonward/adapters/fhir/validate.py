"""Is this resource what FHIR R4 says it should be? Validation by the official schema, in words for people.

One compiled schema for each resource type, chosen by `resourceType`, made when a type is first seen. A valid resource
costs a few microseconds; messages are made only for one that is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any

import jsonschema_rs
import orjson

from commonward.adapters.fhir.schema import resource_types, schema_of

MOST_PROBLEMS = 20  # named for one resource; whoever mends it validates again
_SHOWN = 60  # characters of a value shown in a message
_NESTING = 8  # resources inside resources; FHIR allows one level of `contained`, and bundles of bundles

_HOLDERS = frozenset({"Bundle", "Parameters"})  # types that hold resources elsewhere than in `contained`

_SHAPES = {  # the start of a pattern of the schema -> what it means
    r"^([0-9]([0-9]([0-9][1-9]|[1-9]0)|[1-9]00)|[1-9]000)(-(0[1-9]|1[0-2])(-(0[1-9]|[1-2][0-9]|3[0-1])(T": (
        "a dateTime such as 2024, 2024-05, 2024-05-31 or 2024-05-31T08:30:00+08:00 (a time needs seconds and a zone)"
    ),
    r"^([0-9]([0-9]([0-9][1-9]|[1-9]0)|[1-9]00)|[1-9]000)(-(0[1-9]|1[0-2])(-(0[1-9]|[1-2][0-9]|3[0-1]))?)?$": (
        "a date such as 2024, 2024-05 or 2024-05-31"
    ),
    r"^([0-9]([0-9]([0-9][1-9]|[1-9]0)|[1-9]00)|[1-9]000)-": "an instant such as 2024-05-31T08:30:00.120+08:00",
    r"^([01][0-9]|2[0-3]):": "a time such as 08:30:00",
    r"^[A-Za-z0-9\-\.]{1,64}$": "an id: 1 to 64 letters, digits, '-' or '.'",
    r"^[^\s]+(\s[^\s]+)*$": "a code: not empty, no space at either end, single spaces within",
    r"^\S*$": "a URI: no spaces",
    r"^[ \r\n\t\S]+$": "text that is not empty",
    r"^urn:oid:": "an OID such as urn:oid:1.2.156.1",
    r"^urn:uuid:": "a UUID such as urn:uuid:c757873d-ec9a-4326-a141-556f43239520",
    r"^(\s*([0-9a-zA-Z": "base64 text",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps a resource out: where (a JSON pointer, RFC 6901), what was expected, what was there."""

    pointer: str
    expected: str
    got: str
    fix: str = "correct it in the source system and send the resource again"

    def __str__(self) -> str:
        return f"at {self.pointer or '/'}: expected {self.expected}, got {self.got}; {self.fix}"


class Validator:
    """Validates against the official FHIR R4 schema. Safe to share between threads; keep one for the process."""

    def __init__(self) -> None:
        self._compiled: dict[str, jsonschema_rs.Validator] = {}

    def __reduce__(self) -> tuple[type[Validator], tuple[()]]:
        """Pickles as an empty one: compiled schemas do not travel, a worker compiles its own."""
        return Validator, ()

    def prepare(self, *types: str) -> None:
        """Compile these types now (10 to 60 ms each), so that the first record of the day does not wait."""
        for name in types:
            self._of(name)

    def errors(self, resource: Mapping[str, Any] | bytes) -> list[Problem]:
        """What is wrong with the resource: nothing, for almost every one. At most `MOST_PROBLEMS`.

        A mapping holds plain JSON values (`orjson.loads`); bytes are JSON text. Never raises for what the resource
        holds: text that is not JSON is a problem like another.
        """
        if isinstance(resource, bytes):
            try:
                tree = orjson.loads(resource)
            except orjson.JSONDecodeError as cause:
                return [Problem("", "JSON text", f"{cause.msg} at byte {cause.pos}")]
        else:
            tree = resource
        if self._plainly_valid(tree):
            return []
        return list(islice(self._errors(tree, "", _NESTING), MOST_PROBLEMS))

    def _plainly_valid(self, tree: Any) -> bool:
        """True for nearly every resource, without the cost of looking for more: valid, and none inside it."""
        name = tree.get("resourceType") if isinstance(tree, dict) else None
        if not isinstance(name, str) or name in _HOLDERS or "contained" in tree:
            return False
        validator = self._compiled.get(name)
        return validator is not None and validator.is_valid(tree)

    def _errors(self, tree: Any, pointer: str, deeper: int) -> Iterator[Problem]:
        if not isinstance(tree, dict):
            yield Problem(pointer, "a resource, a JSON object", _show(tree))
            return
        name = tree.get("resourceType")
        if not isinstance(name, str) or name not in resource_types():
            likely = get_close_matches(str(name), resource_types(), 1)
            hint = f"did you mean {likely[0]}?" if likely else "name the FHIR R4 type of the resource"
            yield Problem(pointer + "/resourceType", "a resource type of FHIR R4", _show(name, "nothing"), hint)
            return
        validator = self._of(name)
        if not validator.is_valid(tree):
            for error in validator.iter_errors(tree):
                yield _problem(error, pointer)
        for inner, at in _inside(tree, name):
            if deeper == 0:
                yield Problem(pointer + at, f"at most {_NESTING} resources one inside another", "one more")
                return
            yield from self._errors(inner, pointer + at, deeper - 1)

    def _of(self, name: str) -> jsonschema_rs.Validator:
        found = self._compiled.get(name)
        if found is None:
            found = self._compiled[name] = jsonschema_rs.validator_for(schema_of(name))
        return found


def _inside(tree: dict[str, Any], name: str) -> Iterator[tuple[Any, str]]:
    """The resources inside a resource, with where they are: the four places where R4 allows one."""
    yield from ((inner, f"/contained/{n}") for n, inner in enumerate(_list(tree.get("contained"))))
    if name == "Bundle":
        for n, entry in enumerate(_list(tree.get("entry"))):
            if isinstance(entry, dict):
                if "resource" in entry:
                    yield entry["resource"], f"/entry/{n}/resource"
                response = entry.get("response")
                if isinstance(response, dict) and "outcome" in response:
                    yield response["outcome"], f"/entry/{n}/response/outcome"
    elif name == "Parameters":
        yield from _of_parameters(tree.get("parameter"), "/parameter", "parameter")


def _of_parameters(parameters: Any, at: str, key: str) -> Iterator[tuple[Any, str]]:
    for n, parameter in enumerate(_list(parameters)):
        if isinstance(parameter, dict):
            if "resource" in parameter:
                yield parameter["resource"], f"{at}/{n}/resource"
            yield from _of_parameters(parameter.get("part"), f"{at}/{n}/part", key)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _problem(error: jsonschema_rs.ValidationError, above: str) -> Problem:
    pointer = above + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in error.instance_path)
    kind = error.kind
    match kind:
        case jsonschema_rs.ValidationErrorKind.Enum(options):
            return Problem(pointer, "one of " + _few(options), _show(error.instance))
        case jsonschema_rs.ValidationErrorKind.Constant(expected):
            return Problem(pointer, _show(expected), _show(error.instance))
        case jsonschema_rs.ValidationErrorKind.Pattern(pattern):
            shape = next((text for start, text in _SHAPES.items() if pattern.startswith(start)), f"text like {pattern}")
            return Problem(pointer, shape, _show(error.instance))
        case jsonschema_rs.ValidationErrorKind.Required(name):
            return Problem(f"{pointer}/{name}", "a value, FHIR requires it", "nothing")
        case jsonschema_rs.ValidationErrorKind.AdditionalProperties(unexpected):
            names = ", ".join(repr(name) for name in unexpected[:5])
            return Problem(
                pointer, "only elements that FHIR R4 defines here", names, "remove it, or send it as an extension"
            )
        case jsonschema_rs.ValidationErrorKind.Type(types):
            return Problem(pointer, " or ".join(map(str, types)), _show(error.instance))
        case _:
            return Problem(pointer, f"what the schema's {kind.name!r} says", error.message[:200])


def _few(options: Any) -> str:
    shown = [repr(option) for option in options[:8]]
    return ", ".join(shown) + (f" and {len(options) - 8} more" if len(options) > 8 else "")


def _show(value: Any, absent: str | None = None) -> str:
    """A value as JSON, shortened: enough to find it, too little to spread a record through messages."""
    if value is None and absent:
        return absent
    try:
        text = orjson.dumps(value).decode()
    except TypeError:
        text = type(value).__name__
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
