"""The official FHIR R4 JSON schema, cut into one small schema for each resource type.

The file in `r4/` is the official one, byte for byte. Four things in it keep a correct document out, or let a wrong one
in, because JSON Schema applies `pattern` to strings and `properties` to objects alone; they are corrected here, when it
is read:

1. integers are declared "number with a pattern", so 1.5 passes as an integer: they become integers with a minimum;
2. data types are "properties" without "type", so `"name": ["Li"]` passes as a list of HumanName: they become objects;
3. `"given": [null, "Ann"]` beside `"_given": [{...}, null]` is correct FHIR (JSON representation 2.6.2.3) and refused:
   lists of primitives, and the lists of extensions beside them, admit null;
4. a resource inside a resource is a choice among 146 types, tried one after another: here it need only be
   an object, and `validate` checks it by the type that it names.

What the schema does not say, nobody here says either: that a primitive must be present (an Observation without status
passes), that a date is in the calendar, that a code belongs to its value set, and FHIRPath invariants.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files
from typing import Any

import orjson

Schema = dict[str, Any]

_INTEGERS: dict[str, Schema] = {
    r"^-?([0]|([1-9][0-9]*))$": {"type": "integer"},
    r"^[1-9][0-9]*$": {"type": "integer", "minimum": 1},
    r"^[0]|([1-9][0-9]*)$": {"type": "integer", "minimum": 0},
}
_REFERENCE = "#/definitions/"


@cache
def _read() -> tuple[dict[str, Schema], frozenset[str]]:
    """(definition name -> schema, corrected as above and without descriptions; resource types). About 40 ms."""
    packed = files(__package__).joinpath("r4", "fhir.schema.json.gz").read_bytes()
    official: Schema = orjson.loads(gzip.decompress(packed))
    found = {name: _corrected(definition) for name, definition in official["definitions"].items()}
    primitives = {name for name, definition in found.items() if "type" in definition and "properties" not in definition}
    for definition in found.values():
        if "properties" in definition:
            definition["type"] = "object"
        for name, value in definition.get("properties", {}).items():
            if value.get("type") == "array":
                _admit_null(name, value, definition["properties"], found, primitives)
    found["ResourceList"] = {"type": "object"}
    return found, frozenset(official["discriminator"]["mapping"])


def resource_types() -> frozenset[str]:
    """The 146 resource types of R4."""
    return _read()[1]


def schema_of(resource_type: str) -> Schema:
    """The schema of one resource type, with the definitions that it reaches and no others."""
    every = _read()[0]
    reached: dict[str, Schema] = {}
    waiting = [resource_type]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached[name] = every[name]
            waiting.extend(_references(every[name]))
    return {
        "$schema": "http://json-schema.org/draft-06/schema#",
        "$ref": _REFERENCE + resource_type,
        "definitions": reached,
    }


def _corrected(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_corrected(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") in ("number", "boolean") and isinstance(schema.get("pattern"), str):
        return dict(_INTEGERS.get(schema["pattern"], {"type": schema["type"]}))
    # A property may be called "description": only the text that documents a schema goes.
    return {
        key: _corrected(value) for key, value in schema.items() if not (key == "description" and isinstance(value, str))
    }


def _admit_null(
    name: str, value: Schema, siblings: dict[str, Schema], found: dict[str, Schema], primitives: set[str]
) -> None:
    items = value["items"]
    target = items.get("$ref", "").removeprefix(_REFERENCE)
    if name.startswith("_") and target == "Element":
        value["items"] = {"anyOf": [{"type": "null"}, items]}
    elif "_" + name in siblings and target in primitives:
        primitive = found[target]
        value["items"] = {**primitive, "type": [primitive["type"], "null"]}
    elif "_" + name in siblings and "enum" in items:
        value["items"] = {"enum": [*items["enum"], None]}


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [name for part in schema for name in _references(part)]
    if not isinstance(schema, dict):
        return []
    names = [name for part in schema.values() for name in _references(part)]
    target = schema.get("$ref")
    if isinstance(target, str):
        names.append(target.removeprefix(_REFERENCE))
    return names
