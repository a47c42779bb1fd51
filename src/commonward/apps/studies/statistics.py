"""The part of a report that shows tables: statistics of a study that counts, and the table of a regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from commonward.apps.studies import table_plots
from commonward.apps.studies.report_parts import Cell, Page, cell
from commonward.apps.studies.table_words import bin_name, brief, pool_name, said, without_empty

__all__ = ["add_tables"]


def add_tables(page: Page, study: Mapping[str, Any]) -> None:
    """Sections of what `local` holds under `statistics` and `regression`; none where it holds neither."""
    local = study.get("local") or {}
    if local.get("statistics"):
        _Statistics(page, local["statistics"]).add()
    if local.get("regression"):
        _regression(page, local["regression"])


class _Statistics:
    def __init__(self, page: Page, found: Mapping[str, Any]) -> None:
        self._page, self._found, self._tables = page, found, found["tables"]

    def _said(self, text: str, /, **given: object) -> str:
        return said(self._page.language, text, **given)

    def add(self) -> None:
        page, tables = self._page, self._tables
        parts = [page.note(self._whence())]
        if "refused" in tables:
            parts.append(f'<p class="bad">{escape(self._said("refused", why=tables["refused"]))}</p>')
        elif tables["rows"] is None:
            parts.append(page.note(self._said("of-few")))
        else:
            parts = [self._tiles(), *parts, page.note(self._rule()), *self._columns()]
            parts += [self._crossed(without_empty(each)) for each in tables["tables"]]
            parts += [self._means(each) for each in tables["means"]]
        page.section("statistics", self._said("statistics"), "".join(parts))

    def _whence(self) -> str:
        found = self._found
        return self._said("agreed", said=found["said"], of=found["of"]) if found["of"] else self._said("own")

    def _rule(self) -> str:
        noise = self._tables["noise"]
        if noise is not None:
            return self._said("noisy", noise=noise, twice=f"{1.96 * float(noise):.3g}")
        return self._said("suppressed", most=self._tables["threshold"] - 1)

    def _tiles(self) -> str:
        shown = [("rows", self._tables["rows"]), ("sites", self._tables["sites"])]
        if self._tables["noise"] is None:
            shown.append(("threshold", self._tables["threshold"]))
        tiles = "".join(
            f'<div class="tile"><span class="soft small">{escape(self._said(name))}</span><b>{value}</b></div>'
            for name, value in shown
        )
        return f'<div class="tiles">{tiles}</div>{self._page.mark}'

    def _columns(self) -> list[str]:
        page, columns = self._page, self._tables["columns"]
        numbers = [each for each in columns if each["kind"] == "numbers"]
        parts = []
        if numbers:
            heads = [self._said(each) for each in ("column", "present", "missing", "mean", "deviation")]
            heads += [self._said(each) for each in ("quarter", "median", "three-quarters")]
            table = page.table(heads, [self._summed(each) for each in numbers], caption=self._said("numbers"))
            parts.append(table + page.note(self._said("within")))
        drawn = [self._histogram(each) for each in numbers if len(each["cells"]) > 1]
        drawn += [self._categories(each) for each in columns if each["kind"] == "categories"]
        return [*parts, f'<div class="two">{"".join(drawn)}</div>']

    def _summed(self, column: Mapping[str, Any]) -> list[Cell]:
        quartiles = [each["value"] or bin_name({**each, "missing": False}, self._page.language)
                     for each in column["quartiles"]]  # fmt: skip
        few = f"< {self._tables['threshold']}"
        values = ["-" if column["present"] is None else column["present"]]
        values += [few if column["missing"] is None else column["missing"]]
        values += [column.get("mean") or "-", column.get("deviation") or "-", *(quartiles or ["-"] * 3)]
        return [cell(column["name"]), *(cell(each, numeric=True) for each in values)]

    def _histogram(self, column: Mapping[str, Any]) -> str:
        page, name = self._page, column["name"]
        heading = self._said("histogram", name=name)
        told = "; ".join(f"{bin_name(each, page.language)} {each['count']}" for each in column["cells"])
        drawn = table_plots.histogram(page.label(f"{heading}. {told}"), name, column["cells"], tuple(column["range"]))
        rows = [[cell(bin_name(each, page.language)), cell(each["count"], numeric=True)] for each in column["cells"]]
        table = page.table([self._said("range"), self._said("count")], rows)
        return page.figure(heading, drawn, table=table, note=self._said("histogram-note", name=name))

    def _categories(self, column: Mapping[str, Any]) -> str:
        whole = sum(each["count"] for each in column["cells"]) or 1
        rows = [
            [
                cell(pool_name(each["categories"], self._page.language)),
                cell(each["count"], numeric=True),
                cell(f"{each['count'] / whole:.1%}", numeric=True),
            ]
            for each in column["cells"]
        ]
        heads = [self._said(each) for each in ("category", "count", "share")]
        return f"<div>{self._page.table(heads, rows, caption=self._said('categories', name=column['name']))}</div>"

    def _crossed(self, table: Mapping[str, Any]) -> str:
        language = self._page.language
        heads = [f"{table['rows']} \\ {table['columns']}"]
        heads += [pool_name(each, language) for each in table["column_categories"]]
        rows = [
            [cell(pool_name(each, language)), *(self._count(count) for count in counts)]
            for each, counts in zip(table["row_categories"], table["counts"], strict=True)
        ]
        caption = self._said("table", rows=table["rows"], columns=table["columns"])
        return self._page.table(heads, rows, caption=caption)

    def _count(self, count: int | None) -> Cell:
        return cell(self._said("hidden") if count is None else count, numeric=True)

    def _means(self, table: Mapping[str, Any]) -> str:
        heads = [table["by"], *(self._said(each) for each in ("present", "mean", "deviation"))]
        rows = [
            [
                cell(pool_name(each["categories"], self._page.language)),
                self._count(each["present"]),
                cell(each["mean"] or "-", numeric=True),
                cell(each["deviation"] or "-", numeric=True),
            ]
            for each in table["groups"]
            if each["present"] != 0
        ]
        return self._page.table(heads, rows, caption=self._said("by", of=table["of"], by=table["by"]))


def _regression(page: Page, found: Mapping[str, Any]) -> None:
    def text(name: str, /, **given: object) -> str:
        return said(page.language, name, **given)

    if found.get("refused"):
        body = f'<p class="bad">{escape(text("refused", why=found["refused"]))}</p>'
        page.section("regression", text("regression"), body)
        return
    if found["rows"] is None:
        page.section("regression", text("regression"), page.note(text("of-few")))
        return
    outcome = found["outcome"]
    is_so = f"> {outcome['above']}" if "above" in outcome else ", ".join(str(each) for each in outcome["positive"])
    facts = [
        (text("outcome"), f"{outcome['name']} {is_so}"), (text("rows"), str(found["rows"])),
        (text("positive"), str(found["positive"])), (text("loss"), found["loss"]),
        (text("converged"), text("yes" if found["converged"] else "no")),
    ]  # fmt: skip
    listed = "".join(f"<li>{escape(name)}: {escape(value)}</li>" for name, value in facts)
    heads = [text(each) for each in ("feature", "coefficient", "error", "odds", "interval", "p")]
    rows = [_coefficient(each, page.language) for each in found["coefficients"]]
    table = page.table(heads, rows, caption=text("regression"), marked=True)
    intervals = _intervals(found["coefficients"])
    told = "; ".join(f"{name} {value:.3g} ({page.range((low, high))})" for name, value, low, high in intervals)
    drawn = table_plots.odds(page.label(f"{text('forest')}. {told}"), intervals)
    body = f'<ul class="facts">{listed}</ul>{table}'
    body += page.figure(text("forest"), drawn) if drawn else ""
    body += page.note(text("regression-note", threshold=found["threshold"])) + page.note(text("association"))
    page.section("regression", text("regression"), body)


def _coefficient(each: Mapping[str, Any], language: str) -> list[Cell]:
    interval = "-" if each["low"] is None else f"{brief(each['low'])} - {brief(each['high'])}"
    value = said(language, "hidden") if each["coefficient"] is None else brief(each["coefficient"])
    shown = [value, brief(each["error"]), brief(each["odds_ratio"]), interval, each["p"] or "-"]
    name = each["name"] or said(language, "intercept")
    return [cell(name), *(cell(value, numeric=True) for value in shown)]


def _intervals(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, float, float]]:
    return [
        (each["name"], float(each["odds_ratio"]), float(each["low"]), float(each["high"]))
        for each in rows
        if each["name"] and each["low"] is not None and each["high"] is not None and each["odds_ratio"] is not None
    ]
