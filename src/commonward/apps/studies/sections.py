"""The sections of a study file that say what a bundled learner does with any cohort's columns.

    [statistics]                           rule sum: what is counted
    threshold = 5
    tables = [["cp", "sex"]]               one categorical column against another
    means = [["age", "sex"]]               numbers in each category
    [statistics.columns]
    age = { low = 18, high = 100, bin = 5 }        or edges = [18, 40, 60, 100]; without bin no histogram
    cp = { categories = [1, 2, 3, 4] }

    [logistic]                             rules of models: what is predicted of what
    outcome = { column = "num", above = 0 }        or positive = [1, 2]
    [logistic.features]
    age = { low = 18, high = 100, mean = 55, deviation = 10 }
    cp = { categories = [4, 1, 2, 3], fill = 4 }   the first is the reference

They become settings of the learner and, of statistics, the shapes of the rule's sums, so that neither is written by
hand; what a section decides is refused where the file says it too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, NoReturn, Protocol

from commonward.records.regression import Categories, Measured, Outcome, Regression, RegressionError
from commonward.records.statistics import THRESHOLD, Categorical, Numeric, Statistics, StatisticsError
from commonward.records.table import Type

__all__ = ["Section", "taken"]


class Bad(Protocol):
    """Says what is wrong with a field, with file and line: what was expected and found, or in words of its own."""

    def __call__(self, field: str, expected: str, got: object, *, words: str = "") -> NoReturn: ...


_STATISTICS: Final = ("threshold", "tables", "means", "columns")
_LOGISTIC: Final = ("threshold", "outcome", "features")
_MOST_BINS: Final = 490


@dataclass(frozen=True, slots=True)
class Section:
    """What a section declares. `table`: of the file, in which a column's field lies."""

    table: str
    declared: Statistics | Regression
    bad: Bad

    def check(self, columns: Mapping[str, Type]) -> None:
        """Hold it against a cohort's columns; an error names file, line and field."""
        try:
            self.declared.check(columns)
        except (StatisticsError, RegressionError) as cause:
            column, _, why = str(cause).partition(": ")
            self.bad(f"{self.table}.{column}", "", None, words=why)


def taken(tree: dict[str, Any], bad: Bad) -> Section | None:
    """Takes `[statistics]` or `[logistic]` out of a study file's tree, and puts into it what follows from them."""
    sections = [name for name in ("statistics", "logistic") if name in tree]
    if not sections:
        return None
    if len(sections) > 1:
        bad("logistic", "either statistics or a regression in one study", "both")
    name = sections[0]
    given = tree.pop(name)
    if not isinstance(given, dict):
        bad(name, f"a table [{name}]", given)
    rule = str(tree.get("rule", "")).lower()
    if (rule == "sum") != (name == "statistics"):
        bad("rule", 'rule = "sum"' if name == "statistics" else "a rule that makes a model", rule)
    settings = _learner(tree, name, bad)
    if name == "statistics":
        return _statistics(tree, given, settings, bad)
    declared = _regression(given, bad)
    for key, value in (("regression", declared.to_text()), ("method", "newton" if rule == "newton" else "descent")):
        if key in settings:
            bad(f"learner.settings.{key}", "this in [logistic]", settings[key])
        settings[key] = value
    return Section("logistic.features", declared, bad)


def _learner(tree: dict[str, Any], name: str, bad: Bad) -> dict[str, Any]:
    """The learner's settings, to be added to. Its name goes without saying."""
    learner = tree.setdefault("learner", {})
    if not isinstance(learner, dict) or learner.setdefault("name", name) != name:
        bad("learner.name", f"the learner {name} with [{name}]", learner)
    settings = learner.setdefault("settings", {})
    if not isinstance(settings, dict):
        bad("learner.settings", "a table", settings)
    return settings


# ---------------------------------------------------------------------------------------------------------- statistics


def _statistics(tree: dict[str, Any], given: dict[str, Any], settings: dict[str, Any], bad: Bad) -> Section:
    _only("statistics", given, _STATISTICS, bad)
    if tree.get("rounds", 1) != 1:
        bad(
            "rounds",
            "1: a second sum of the same rows would tell of the patient who withdrew meanwhile",
            tree["rounds"],
        )
    if tree.get("test_share", 0) != 0:
        bad("test_share", "0: every row is counted", tree["test_share"])
    tree |= {"rounds": 1, "test_share": 0}
    privacy = tree.get("privacy")
    noisy = isinstance(privacy, dict) and "noise" in privacy
    if noisy and (privacy.get("rate", 1), privacy.get("steps", 1)) != (1, 1):  # type: ignore[union-attr]
        bad("privacy", "rate = 1 and steps = 1: every row is counted once", privacy)
    if noisy and tree.get("row_cap", 1) != 1:
        bad("row_cap", "1: the noise covers one row of a patient", tree["row_cap"])
    if noisy:
        tree["privacy"] = {"rate": 1, "steps": 1, **privacy}  # type: ignore[dict-item]
    named = given.get("columns")
    if not isinstance(named, dict) or not named:
        bad("statistics.columns", "a table [statistics.columns], a line for each column", named)
    columns = tuple(_column(name, value, bad) for name, value in named.items())
    threshold = given.get("threshold", THRESHOLD)
    if type(threshold) is not int:
        bad("statistics.threshold", "a whole number", threshold)
    tables, means = (_pairs(f"statistics.{key}", given.get(key, []), bad) for key in ("tables", "means"))
    try:
        declared = Statistics(columns, tables, means, threshold, sums=not noisy)
    except StatisticsError as cause:
        bad("statistics", "", None, words=str(cause))
    parameters = tree.setdefault("parameters", {})
    for where, table, key in (("parameters", parameters, "sums"), ("learner.settings", settings, "statistics")):
        if not isinstance(table, dict) or key in table:
            bad(f"{where}.{key}", "this in [statistics]", table)
    parameters["sums"] = {name: list(shape) for name, shape in declared.shapes.items()}
    settings["statistics"] = declared.to_text()
    return Section("statistics.columns", declared, bad)


def _column(name: str, value: Any, bad: Bad) -> Numeric | Categorical:
    where = f"statistics.columns.{name}"
    match value:
        case {"categories": list(categories), **rest} if not rest:
            made: Callable[[], Numeric | Categorical] = lambda: Categorical(name, tuple(categories))  # noqa: E731
        case {"edges": list(edges), **rest} if not rest:
            numbers = tuple(_number(where, each, bad) for each in edges)
            made = lambda: Numeric(name, numbers)  # noqa: E731
        case {"low": low, "high": high, **rest} if not set(rest) - {"bin"}:
            ends = _number(where, low, bad), _number(where, high, bad)
            numbers = _bins(where, *ends, _number(where, rest["bin"], bad), bad) if "bin" in rest else ends
            made = lambda: Numeric(name, numbers)  # noqa: E731
        case _:
            bad(where, "{ categories = [...] }, { edges = [...] }, or { low = , high = , bin = }", value)
    try:
        return made()
    except StatisticsError as cause:
        bad(where, "", value, words=str(cause).partition(": ")[2] or str(cause))


def _bins(where: str, low: Decimal, high: Decimal, width: Decimal, bad: Bad) -> tuple[Decimal, ...]:
    if width <= 0 or high <= low or (high - low) % width or (high - low) / width > _MOST_BINS:
        bad(where, f"at most {_MOST_BINS} whole bins between low and high", f"bins of {width} from {low} to {high}")
    return tuple(low + width * at for at in range(int((high - low) / width) + 1))


# ------------------------------------------------------------------------------------------------------------ logistic


def _regression(given: dict[str, Any], bad: Bad) -> Regression:
    _only("logistic", given, _LOGISTIC, bad)
    outcome = given.get("outcome")
    match outcome:
        case {"column": str(name), "above": above, **rest} if not rest:
            value = _number("logistic.outcome", above, bad)
            made: Callable[[], Outcome] = lambda: Outcome(name, above=value)  # noqa: E731
        case {"column": str(name), "positive": list(positive), **rest} if not rest:
            made = lambda: Outcome(name, tuple(positive))  # noqa: E731
        case _:
            bad("logistic.outcome", '{ column = "...", above = 0 } or { column = "...", positive = [...] }', outcome)
    named = given.get("features")
    if not isinstance(named, dict) or not named:
        bad("logistic.features", "a table [logistic.features], a line for each column", named)
    features = tuple(_feature(name, value, bad) for name, value in named.items())
    threshold = given.get("threshold", THRESHOLD)
    if type(threshold) is not int:
        bad("logistic.threshold", "a whole number", threshold)
    try:
        return Regression(made(), features, threshold)
    except RegressionError as cause:
        bad("logistic", "", None, words=str(cause))


def _feature(name: str, value: Any, bad: Bad) -> Measured | Categories:
    where = f"logistic.features.{name}"
    try:
        match value:
            case {"categories": list(categories), **rest} if not set(rest) - {"fill"}:
                instead = rest.get("fill")
                if instead is not None and not isinstance(instead, str | int):
                    bad(where, "one of the categories as fill", instead)
                return Categories(Categorical(name, tuple(categories)), instead)
            case {"low": low, "high": high, "mean": mean, "deviation": deviation, **rest} if not set(rest) - {"fill"}:
                numbers = [_number(where, each, bad) for each in (low, high, mean, deviation)]
                fill = _number(where, rest["fill"], bad) if "fill" in rest else None
                return Measured(name, numbers[0], numbers[1], numbers[2], numbers[3], fill)
    except (RegressionError, StatisticsError) as cause:
        bad(where, "", value, words=str(cause).partition(": ")[2] or str(cause))
    bad(where, "{ low = , high = , mean = , deviation = } or { categories = [...] }, either with fill = ", value)


# --------------------------------------------------------------------------------------------------------------- words


def _number(where: str, value: Any, bad: Bad) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not Decimal(value).is_finite():
        bad(where, "numbers", value)
    return Decimal(value)


def _pairs(where: str, value: Any, bad: Bad) -> tuple[tuple[str, str], ...]:
    fits = isinstance(value, list) and all(
        isinstance(each, list) and len(each) == 2 and all(isinstance(name, str) for name in each) for each in value
    )
    if not fits:
        bad(where, 'pairs of columns like [["age", "sex"]]', value)
    return tuple((each[0], each[1]) for each in value)


def _only(table: str, given: Mapping[str, Any], known: tuple[str, ...], bad: Bad) -> None:
    for key in given:
        if key not in known:
            bad(f"{table}.{key}", f"a field among {', '.join(sorted(known))}", key)
