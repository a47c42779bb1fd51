"""SQL on FHIR v2: a ViewDefinition makes rows of one type of resource.

    resource   which type
    where      keep those for which every path is true
    select     groups of columns, joined as a cross product; with forEach, forEachOrNull or repeat a group gives a row
               for each element found; unionAll puts the rows of several groups one after another
    constant   named values that paths use as %name

A view is a tabular one (the profile TabularViewDefinition): every column says its type and holds one value or none, so
that hospitals which read it alike get tables alike. What the standard lets an implementation guess is refused here,
with the place in the definition.

Left to others: which records there are and may be used, and joining the rows of several views (`cohort`).
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import orjson

from commonward.adapters.fhir.paths import Path, PathError, plain
from commonward.records.table import Cell, Column, Table, Type

__all__ = ["View", "ViewError"]

# FHIR R4, 2.24.0.1: primitive types, and how a table holds each.
TYPES: Final = {
    "boolean": Type.BOOLEAN,
    "integer": Type.INTEGER,
    "integer64": Type.INTEGER,
    "positiveInt": Type.INTEGER,
    "unsignedInt": Type.INTEGER,
    "decimal": Type.DECIMAL,
    "base64Binary": Type.BYTES,
    **dict.fromkeys(
        ("string", "code", "id", "uri", "url", "canonical", "oid", "uuid", "markdown"),
        Type.TEXT,
    ),
    **dict.fromkeys(("date", "dateTime", "instant", "time"), Type.TEXT),
}
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # invariant sql-name
_SELECT: Final = frozenset({"column", "select", "forEach", "forEachOrNull", "repeat", "unionAll", "description"})
_COLUMN: Final = frozenset({"name", "path", "type", "collection", "description", "tag"})
MAX_ROWS_OF_A_RESOURCE: Final = 10_000
MAX_REPEAT: Final = 64


class ViewError(ValueError):
    """A definition that is no view, or a record that it cannot read: where in the definition, what was expected."""


@dataclass(frozen=True, slots=True)
class _Cell:
    where: str
    column: Column
    path: Path


@dataclass(frozen=True, slots=True)
class _Group:
    """One `select`. `each`: the paths whose elements it goes through; None: the element that it stands in."""

    where: str
    each: tuple[Path, ...] | None
    or_null: bool
    repeat: bool
    cells: tuple[_Cell, ...]
    inner: tuple["_Group", ...]
    union: tuple["_Group", ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        found = [each.column for each in self.cells]
        for group in self.inner:
            found += group.columns
        return (*found, *(self.union[0].columns if self.union else ()))


@dataclass(frozen=True, slots=True)
class View:
    """A definition, read and checked.

    Attributes:
        name: of the view, "" when it has none.
        resource: the type of resource that it reads.
        columns: of its rows, in the order of the definition.
    """

    name: str
    resource: str
    columns: tuple[Column, ...]
    _where: tuple[tuple[str, Path], ...]
    _groups: tuple[_Group, ...]
    _constants: Mapping[str, Any]

    @classmethod
    def parse(cls, definition: bytes | Mapping[str, Any]) -> "View":
        """From a ViewDefinition as JSON or as its tree. Raises ViewError."""
        tree: Any = definition
        if isinstance(definition, bytes):
            try:
                tree = orjson.loads(definition)
            except ValueError as cause:
                raise ViewError(f"expected a ViewDefinition in JSON: {cause}") from cause
        if not isinstance(tree, Mapping) or tree.get("resourceType", "ViewDefinition") != "ViewDefinition":
            raise ViewError("expected a ViewDefinition")
        resource = tree.get("resource")
        if not isinstance(resource, str) or not resource:
            raise ViewError("resource: expected the type of the resources that it reads")
        if tree.get("profile"):
            raise ViewError("profile: which profiles a record meets is not checked; filter with where")
        constants = _constants(_list(tree, "constant", ""))
        where = []
        for at, each in enumerate(_list(tree, "where", "")):
            place = f"where[{at}].path"
            where.append((place, _path(each.get("path") if isinstance(each, Mapping) else None, place, constants)))
        groups = tuple(
            _group(each, f"select[{at}]", constants) for at, each in enumerate(_list(tree, "select", "", least=1))
        )
        columns = tuple(column for group in groups for column in group.columns)
        names = [each.name for each in columns]
        if twice := sorted({each for each in names if names.count(each) > 1}):
            raise ViewError(f"select: expected each column once, got {', '.join(twice)} twice")
        if not columns:
            raise ViewError("select: expected at least one column")
        return cls(str(tree.get("name", "")), resource, columns, tuple(where), groups, constants)

    def rows(self, tree: Mapping[str, Any]) -> list[tuple[Cell, ...]]:
        """The rows of one resource (`orjson.loads` of its stored bytes); none when it is of another type or filtered.

        Raises:
            ViewError: several values, or one of another type, where a column holds one; a filter that is not true or
                false; a path that fails.
        """
        if tree.get("resourceType") != self.resource:
            return []
        variables = {**self._constants, "resource": tree, "rootResource": tree, "rowIndex": 0}
        for place, path in self._where:
            if not _truth(_ask(path, tree, variables, place), place):
                return []
        return _product([_rows(group, tree, variables) for group in self._groups], "select")

    def table(self, trees: Iterable[Mapping[str, Any]]) -> Table:
        """The rows of many resources. Raises ViewError."""
        return Table(self.columns, tuple(row for tree in trees for row in self.rows(tree)))


def _list(tree: Mapping[str, Any], name: str, place: str, least: int = 0) -> Sequence[Any]:
    value = tree.get(name, [])
    if not isinstance(value, list) or len(value) < least:
        raise ViewError(f"{place}{name}: expected a list" + (f" of at least {least}" if least else ""))
    return value


def _path(text: Any, place: str, constants: Mapping[str, Any]) -> Path:
    if not isinstance(text, str):
        raise ViewError(f"{place}: expected a FHIRPath expression, got {text!r:.40}")
    try:
        return Path(text, constants)
    except PathError as cause:
        raise ViewError(f"{place}: {cause}") from cause


def _constants(given: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for at, each in enumerate(given):
        place = f"constant[{at}]"
        values = {name: each[name] for name in each if name.startswith("value")} if isinstance(each, Mapping) else {}
        name = each.get("name") if isinstance(each, Mapping) else None
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in found or len(values) != 1:
            raise ViewError(f"{place}: expected a name of its own and one value[x]")
        kind, value = next(iter(values.items()))
        if not isinstance(value, str | int | float | bool):
            raise ViewError(f"{place}.{kind}: expected a primitive value, got {value!r:.40}")
        if kind in ("valueDate", "valueDateTime", "valueInstant", "valueTime"):
            # As the literal that FHIRPath has for it: a text would not compare with a date.
            literal = ("@T" if kind == "valueTime" else "@") + str(value)
            value = _path(literal, place, {})({}, {})[0]
        found[name] = Decimal(str(value)) if isinstance(value, float) else value
    return found


def _group(tree: Any, place: str, constants: Mapping[str, Any]) -> _Group:
    if not isinstance(tree, Mapping):
        raise ViewError(f"{place}: expected an object, got {type(tree).__name__}")
    if unknown := sorted(set(tree) - _SELECT):
        raise ViewError(f"{place}: expected {', '.join(sorted(_SELECT))}, got {unknown[0]!r}")
    ways = [name for name in ("forEach", "forEachOrNull", "repeat") if name in tree]
    if len(ways) > 1:
        raise ViewError(f"{place}: expected one of forEach, forEachOrNull and repeat, got {' and '.join(ways)}")
    each: tuple[Path, ...] | None = None
    if ways == ["repeat"]:
        texts = _list(tree, "repeat", f"{place}.", least=1)
        each = tuple(_path(text, f"{place}.repeat[{at}]", constants) for at, text in enumerate(texts))
    elif ways:
        each = (_path(tree[ways[0]], f"{place}.{ways[0]}", constants),)
    made = _Group(
        place,
        each,
        ways == ["forEachOrNull"],
        ways == ["repeat"],
        tuple(
            _cell(column, f"{place}.column[{at}]", constants)
            for at, column in enumerate(_list(tree, "column", f"{place}."))
        ),
        tuple(
            _group(inner, f"{place}.select[{at}]", constants)
            for at, inner in enumerate(_list(tree, "select", f"{place}."))
        ),
        tuple(
            _group(branch, f"{place}.unionAll[{at}]", constants)
            for at, branch in enumerate(_list(tree, "unionAll", f"{place}."))
        ),
    )
    for branch in made.union[1:]:
        if branch.columns != made.union[0].columns:
            wanted, got = ([f"{c.name} {c.type.value}" for c in b.columns] for b in (made.union[0], branch))
            raise ViewError(f"{branch.where}: expected the columns of the first branch, {wanted}, got {got}")
    return made


def _cell(tree: Any, place: str, constants: Mapping[str, Any]) -> _Cell:
    if not isinstance(tree, Mapping) or (unknown := sorted(set(tree) - _COLUMN)):
        raise ViewError(f"{place}: expected {', '.join(sorted(_COLUMN))}, got {unknown[0] if tree else tree!r}")
    name, kind = tree.get("name"), tree.get("type")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ViewError(f"{place}.name: expected letters, digits and _, a letter first, got {name!r:.40}")
    if kind not in TYPES:
        raise ViewError(f"{place}.type: expected a primitive type of FHIR for {name}, got {kind!r:.40}")
    if tree.get("collection"):
        raise ViewError(f"{place}.collection: a table holds one value a cell; use forEach for {name}")
    return _Cell(place, Column(name, TYPES[kind]), _path(tree.get("path"), f"{place}.path", constants))


def _ask(path: Path, node: Any, variables: Mapping[str, Any], place: str) -> list[Any]:
    try:
        return path(node, variables)
    except PathError as cause:
        raise ViewError(f"{place}: {cause}") from cause


def _truth(found: list[Any], place: str) -> bool:
    values = [plain(each) for each in found]
    if not values:
        return False  # nothing known is not true
    if len(values) > 1 or not isinstance(values[0], bool):
        raise ViewError(f"{place}: expected true or false, got {values!r:.60}")
    return values[0]


def _rows(group: _Group, node: Any, variables: Mapping[str, Any]) -> list[tuple[Cell, ...]]:
    if group.each is None:
        return _of_one(group, node, variables)
    nodes = list(_elements(group, node, variables, 0))
    if not nodes and group.or_null:
        return [(None,) * len(group.columns)] if "%rowIndex" not in _texts(group) else _of_null(group, variables)
    found: list[tuple[Cell, ...]] = []
    for at, each in enumerate(nodes):
        found += _of_one(group, each, {**variables, "rowIndex": at})
    return found


def _elements(group: _Group, node: Any, variables: Mapping[str, Any], depth: int) -> Iterator[Any]:
    if depth > MAX_REPEAT:
        raise ViewError(f"{group.where}.repeat: expected at most {MAX_REPEAT} levels, got more")
    for path in group.each or ():
        for each in _ask(path, node, variables, group.where):
            yield each
            if group.repeat:
                yield from _elements(group, each, variables, depth + 1)


def _of_one(group: _Group, node: Any, variables: Mapping[str, Any]) -> list[tuple[Cell, ...]]:
    parts: list[list[tuple[Cell, ...]]] = []
    if group.cells:
        parts.append([tuple(_value(cell, _ask(cell.path, node, variables, cell.where)) for cell in group.cells)])
    parts += [_rows(inner, node, variables) for inner in group.inner]
    if group.union:
        parts.append([row for branch in group.union for row in _rows(branch, node, variables)])
    return _product(parts, group.where)


def _texts(group: _Group) -> str:
    return " ".join(cell.path.text for cell in group.cells)


def _of_null(group: _Group, variables: Mapping[str, Any]) -> list[tuple[Cell, ...]]:
    """The row of nothing, in which %rowIndex alone is something: 0."""
    index = {**variables, "rowIndex": 0}
    row: list[Cell] = []
    for cell in group.cells:
        known = cell.path.text.strip() == "%rowIndex"
        row.append(_value(cell, _ask(cell.path, {}, index, cell.where)) if known else None)
    return [(*row, *(None,) * (len(group.columns) - len(row)))]


def _product(parts: Sequence[list[tuple[Cell, ...]]], place: str) -> list[tuple[Cell, ...]]:
    found: list[tuple[Cell, ...]] = [()]
    for part in parts:
        if len(found) * len(part) > MAX_ROWS_OF_A_RESOURCE:
            raise ViewError(f"{place}: expected at most {MAX_ROWS_OF_A_RESOURCE} rows of one resource, got more")
        found = [(*row, *more) for row in found for more in part]
    return found


def _value(cell: _Cell, found: list[Any]) -> Cell:
    values = [value for each in found if (value := plain(each)) is not None]
    if not values:
        return None
    if len(values) > 1:
        raise ViewError(f"{cell.where} ({cell.column.name}): expected one value or none, got {len(values)}")
    value, kind = values[0], cell.column.type
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if kind is Type.BOOLEAN and isinstance(value, bool):
        return value
    if kind is Type.INTEGER and number and value == int(value) and -(1 << 63) <= value < 1 << 63:
        return int(value)
    if kind is Type.DECIMAL and number:
        return float(value)
    if kind is Type.TEXT and isinstance(value, str):
        return value
    if kind is Type.BYTES and isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error as cause:
            raise ViewError(f"{cell.where} ({cell.column.name}): expected base64: {cause}") from cause
    raise ViewError(f"{cell.where} ({cell.column.name}): expected {kind.value}, got {value!r:.40}")
