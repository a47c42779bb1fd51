"""A cohort: the rows of several views of one hospital's records, joined by patient.

    {"key": "patient", "complete": ["age"], "views": [{"resourceType": "ViewDefinition", ...}, ...]}

Each view has the key as a text column. The first view says who is in the cohort; the others add their columns where
the patient has a row of theirs. A patient has one row in each view: a view of repeated measurements has, beside what
the standard says, `"latest"`: the column whose greatest text is the latest row (FHIR's dates sort as text); two rows
without it are refused. Patients who lack a value in a column of `complete` are left out here, and not by the learner:
how many rows there are is promised in a manifest before anything is learnt.

The rows remember which records they were made of, so that a manifest can name exactly those and a withdrawn consent
takes out what it covers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import orjson

from commonward.adapters.fhir.views import View, ViewError
from commonward.records.table import Cell, Column, Table, Type

__all__ = ["Cohort", "Gathered"]

Source = TypeVar("Source")
"""Whatever a caller knows a record by: its fingerprint, mostly."""

_COHORT: Final = frozenset({"key", "views", "complete"})


@dataclass(frozen=True, slots=True)
class Gathered(Generic[Source]):
    """A cohort at one hospital.

    Attributes:
        patients: their keys, sorted.
        table: one row for each, in that order, without the key.
        sources: for each, the records that its row was made of, in the order in which they were met.
    """

    patients: tuple[str, ...]
    table: Table
    sources: tuple[tuple[Source, ...], ...]


@dataclass(frozen=True, slots=True)
class Cohort:
    """Views that are joined.

    Attributes:
        key: the column that says whose a row is.
        views: the first decides who is in.
        latest: for each view, the column by which the latest of several rows is chosen, or None.
        columns: of the joined table: those of all views but the key and the columns that only order.
        complete: columns in which every row must have a value.
    """

    key: str
    views: tuple[View, ...]
    latest: tuple[str | None, ...]
    columns: tuple[Column, ...]
    complete: tuple[str, ...]

    @classmethod
    def parse(cls, definition: bytes | Mapping[str, Any]) -> "Cohort":
        """From JSON or its tree. Raises ViewError."""
        tree: Any = definition
        if isinstance(definition, bytes):
            try:
                tree = orjson.loads(definition)
            except ValueError as cause:
                raise ViewError(f"expected a cohort in JSON: {cause}") from cause
        if not isinstance(tree, Mapping) or set(tree) - _COHORT or not isinstance(tree.get("key"), str):
            raise ViewError("expected a cohort: an object with key and views")
        given = tree.get("views")
        if not isinstance(given, list) or not given:
            raise ViewError("views: expected a list of at least one view")
        key, views, latest, columns = tree["key"], [], [], list[Column]()
        for at, each in enumerate(given):
            if not isinstance(each, Mapping):
                raise ViewError(f"views[{at}]: expected an object, got {type(each).__name__}")
            try:
                view = View.parse({name: value for name, value in each.items() if name != "latest"})
            except ViewError as cause:
                raise ViewError(f"views[{at}].{cause}") from cause
            order = each.get("latest")
            for name in (key, *([order] if order is not None else [])):
                if Column(name, Type.TEXT) not in view.columns:
                    raise ViewError(f"views[{at}]: expected a text column {name!r} in every view")
            views.append(view)
            latest.append(order)
            columns += [column for column in view.columns if column.name not in (key, order)]
        names = [each.name for each in columns]
        if twice := sorted({each for each in names if names.count(each) > 1}):
            raise ViewError(f"views: expected each column in one view, got {', '.join(twice)} in two")
        complete = tree.get("complete", [])
        if not isinstance(complete, list) or set(complete) - set(names):
            raise ViewError(f"complete: expected a list of columns of the views, got {complete!r:.80}")
        return cls(key, tuple(views), tuple(latest), tuple(columns), tuple(complete))

    def gather(self, records: Iterable[tuple[Source, Mapping[str, Any]]]) -> Gathered[Source]:
        """Join what the views make of these records.

        Args:
            records: each with what the caller knows it by; the tree is `orjson.loads` of its stored bytes.

        Raises:
            ViewError: a record that a view cannot read, or two rows of one patient in a view that has no `latest`.
        """
        found: list[dict[str, tuple[dict[str, Cell], Source]]] = [{} for _ in self.views]
        for source, tree in records:
            for at, view in enumerate(self.views):
                for cells in view.rows(tree):
                    row = dict(zip((each.name for each in view.columns), cells, strict=True))
                    self._keep(found[at], at, row, source)
        patients, rows, sources = [], [], []
        for patient in sorted(found[0]):
            joined: dict[str, Cell] = {}
            used: list[Source] = []
            for each in found:
                if patient in each:
                    row, source = each[patient]
                    joined |= row
                    if source not in used:
                        used.append(source)
            if any(joined.get(name) is None for name in self.complete):
                continue
            patients.append(patient)
            rows.append(tuple(joined.get(column.name) for column in self.columns))
            sources.append(tuple(used))
        return Gathered(tuple(patients), Table(self.columns, tuple(rows)), tuple(sources))

    def _keep(
        self, view: dict[str, tuple[dict[str, Cell], Source]], at: int, row: dict[str, Cell], source: Source
    ) -> None:
        patient = row.pop(self.key)
        if not isinstance(patient, str):
            return  # about nobody: an observation of a specimen, or a subject that is no patient
        order = self.latest[at]
        before = view.get(patient)
        if before is None:
            view[patient] = (row, source)
        elif order is None:
            raise ViewError(
                f"views[{at}]: expected one row of each patient, got two of one: narrow its where, or say with "
                "`latest` which column tells the later row"
            )
        elif _text(row[order]) > _text(before[0][order]):
            view[patient] = (row, source)


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else ""
