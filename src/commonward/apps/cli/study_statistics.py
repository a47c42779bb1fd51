"""The tables of a study on the terminal (`study result`): statistics, and what a regression found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.table import Table

from commonward.apps import settings as node_settings
from commonward.apps.api.client import ControlClient
from commonward.apps.cli.languages import Language
from commonward.apps.cli.output import AsJson, Data, emit, out
from commonward.apps.cli.plain import plain
from commonward.apps.cli.study_shown import Which, full, refused
from commonward.apps.studies.table_words import bin_name, brief, pool_name, said, without_empty


def add_to(studies: typer.Typer) -> None:
    studies.command("result")(result)


def result(
    data: Data,
    study: Which,
    features: Annotated[
        bool, typer.Option("--features", help="Print the numbers as lines for [logistic.features] of a study file.")
    ] = False,
    lang: Language = "en",
    as_json: AsJson = False,
) -> None:
    """Print the tables of a study that counts, or of a regression: over all sites, small cells suppressed.

    At a site, at its proposer, and at members who may view what comes out. Exit 1: there is none, or none yet.
    """
    node = ControlClient(node_settings.load(data), timeout_s=120.0)
    wanted = full(node, study)
    found = node.get(f"/studies/{wanted}/tables")
    if found["statistics"] is None and found["regression"] is None:
        refused(
            f"study {wanted[:12]} has no tables here: it neither counts nor regresses, its last round is not final, "
            "or this member may not see them; `commonward study show` tells which"
        )
    if as_json:
        emit(found, as_json=True, text="")
        return
    if features:
        for line in feature_lines(found["statistics"]):
            print(line)  # as it is: a file reads it
        return
    out.print(f"[bold]{plain(found['title'])}[/bold]  {wanted}")
    for each in (*_statistics(found["statistics"], lang), *_regression(found["regression"], lang)):
        out.print(each, soft_wrap=isinstance(each, str))


def feature_lines(found: Mapping[str, Any] | None) -> list[str]:
    """Of each column of numbers whose mean and deviation are shown: its range and both, as a study file has them."""
    columns = [] if found is None else found["tables"].get("columns", [])
    return [
        f"{each['name']} = {{ low = {each['range'][0]}, high = {each['range'][1]}, "
        f"mean = {each['mean']}, deviation = {each['deviation']} }}"
        for each in columns
        if each["kind"] == "numbers" and each.get("mean") is not None and float(each.get("deviation") or 0) > 0
    ]


def _statistics(found: Mapping[str, Any] | None, lang: str) -> Iterator[Table | str]:
    if found is None:
        return
    tables = found["tables"]
    yield said(lang, "agreed", said=found["said"], of=found["of"]) if found["of"] else said(lang, "own")
    if "refused" in tables:
        yield f"[red]{plain(said(lang, 'refused', why=tables['refused']))}[/red]"
        return
    if tables["rows"] is None:
        yield said(lang, "of-few")
        return
    noise = tables["noise"]
    yield f"{said(lang, 'rows')}: {tables['rows']}; {said(lang, 'sites')}: {tables['sites']}"
    yield (
        said(lang, "suppressed", most=tables["threshold"] - 1)
        if noise is None
        else said(lang, "noisy", noise=noise, twice=f"{1.96 * float(noise):.3g}")
    )
    numbers = [each for each in tables["columns"] if each["kind"] == "numbers"]
    if numbers:
        yield _numbers(numbers, tables["threshold"], lang)
    for each in tables["columns"]:
        yield from _cells(each, lang)
    for each in tables["tables"]:
        yield _crossed(without_empty(each), lang)
    for each in tables["means"]:
        yield _means(each, lang)


def _table(title: str, first: str, heads: list[str]) -> Table:
    made = Table(title=plain(title), title_justify="left")
    made.add_column(plain(first))
    for each in heads:
        made.add_column(plain(each), justify="right")
    return made


def _numbers(columns: list[Mapping[str, Any]], threshold: int, lang: str) -> Table:
    heads = ["present", "missing", "mean", "deviation", "quarter", "median", "three-quarters"]
    made = _table(said(lang, "numbers"), said(lang, "column"), [said(lang, each) for each in heads])
    for each in columns:
        missing = f"< {threshold}" if each["missing"] is None else each["missing"]
        values = ["-" if each["present"] is None else each["present"], missing]
        values += [each.get("mean") or "-", each.get("deviation") or "-"]
        values += [one["value"] or bin_name({**one, "missing": False}, lang) for one in each["quartiles"]] or ["-"] * 3
        made.add_row(plain(each["name"]), *(plain(str(one)) for one in values))
    return made


def _cells(column: Mapping[str, Any], lang: str) -> Iterator[Table]:
    if len(column["cells"]) < 2:  # all in one: nothing to tell apart
        return
    histogram = column["kind"] == "numbers"
    title = said(lang, "histogram" if histogram else "categories", name=column["name"])
    made = _table(title, said(lang, "range" if histogram else "category"), [said(lang, "count"), said(lang, "share")])
    whole = sum(each["count"] for each in column["cells"]) or 1
    for each in column["cells"]:
        name = bin_name(each, lang) if histogram else pool_name(each["categories"], lang)
        if each["count"] or not histogram:
            made.add_row(plain(name), str(each["count"]), f"{each['count'] / whole:.1%}")
    yield made


def _crossed(table: Mapping[str, Any], lang: str) -> Table:
    title = said(lang, "table", rows=table["rows"], columns=table["columns"])
    heads = [pool_name(each, lang) for each in table["column_categories"]]
    made = _table(title, f"{table['rows']} / {table['columns']}", heads)
    for name, counts in zip(table["row_categories"], table["counts"], strict=True):
        shown = [said(lang, "hidden") if each is None else str(each) for each in counts]
        made.add_row(plain(pool_name(name, lang)), *shown)
    return made


def _means(table: Mapping[str, Any], lang: str) -> Table:
    heads = [said(lang, each) for each in ("present", "mean", "deviation")]
    made = _table(said(lang, "by", of=table["of"], by=table["by"]), table["by"], heads)
    for each in table["groups"]:
        if each["present"] == 0:
            continue
        count = said(lang, "hidden") if each["present"] is None else str(each["present"])
        name = plain(pool_name(each["categories"], lang))
        made.add_row(name, count, each["mean"] or "-", each["deviation"] or "-")
    return made


def _regression(found: Mapping[str, Any] | None, lang: str) -> Iterator[Table | str]:
    if found is None:
        return
    if found.get("refused"):
        yield f"[red]{plain(said(lang, 'refused', why=found['refused']))}[/red]"
        return
    if found["rows"] is None:
        yield said(lang, "of-few")
        return
    converged = said(lang, "yes" if found["converged"] else "no")
    yield (
        f"{said(lang, 'rows')}: {found['rows']}; {said(lang, 'positive')}: {found['positive']}; "
        f"{said(lang, 'loss')}: {found['loss']}; {said(lang, 'converged')}: {converged}"
    )
    heads = [said(lang, each) for each in ("coefficient", "error", "odds", "interval", "p")]
    made = _table(said(lang, "regression"), said(lang, "feature"), heads)
    for each in found["coefficients"]:
        interval = "-" if each["low"] is None else f"{brief(each['low'])} - {brief(each['high'])}"
        value = said(lang, "hidden") if each["coefficient"] is None else brief(each["coefficient"])
        shown = [value, brief(each["error"]), brief(each["odds_ratio"]), interval]
        made.add_row(plain(each["name"] or said(lang, "intercept")), *shown, each["p"] or "-")
    yield made
    yield said(lang, "regression-note", threshold=found["threshold"])
    yield said(lang, "association")
