"""Pieces of a report's page. What comes in is text and is escaped, unless a name says that it is HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from commonward.apps.studies.plots import Series, line, marker
from commonward.apps.studies.report_style import POLICY, STYLE
from commonward.apps.studies.words import Text

__all__ = ["Cell", "Page", "best_of", "cell", "document", "names_of", "number", "share"]


class Cell(NamedTuple):
    """One cell of a table. `html` is HTML already."""

    html: str
    numeric: bool = False


def cell(said: object, *, numeric: bool = False) -> Cell:
    return Cell(escape(str(said)), numeric)


def number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def share(value: float) -> str:
    return f"{value:.0%}"


def best_of(local: dict[str, Any]) -> dict[str, Any]:
    """What the last model that was judged does, at all sites together if that is known, else here."""
    for where in ("all", "own"):
        found = local.get(where) or {}
        if found.get(""):
            return {**found[""], "where": where, "home": found.get("home")}
    return {}


def names_of(study: dict[str, Any], best: dict[str, Any]) -> list[str]:
    """The classes in the order of the confusion matrix: as the learner names them, or by the label of two."""
    count = len(best.get("truth") or ())
    named = [str(each) for each in study["learner"].get("classes") or ()]
    if len(named) == count:
        return named
    label = study.get("label")
    if count == 2 and label:
        return [f"{label} = 0", f"{label} > 0"]
    return [str(at) for at in range(count)]


class Page:
    """One report in one language: its sections, in their order, and whether its figures must say SYNTHETIC."""

    def __init__(self, text: Text, language: str, *, synthetic: bool) -> None:
        self.text, self.language, self.synthetic = text, language, synthetic
        self.sections: list[tuple[str, str]] = []
        self._html: list[str] = []

    @property
    def mark(self) -> str:
        """Beside every figure of records that a program made. HTML."""
        return f' <span class="mark">{escape(self.text("synthetic"))}</span>' if self.synthetic else ""

    def sentences(self, said: Sequence[str]) -> str:
        """One after the other: Chinese ones need no space."""
        return ("" if self.language == "zh" else " ").join(said)

    def label(self, said: str) -> str:
        """The words of an image, for whoever does not see the mark beside it."""
        return f"{self.text('synthetic')}: {said}" if self.synthetic else said

    def range(self, interval: Sequence[float], digits: int = 3) -> str:
        """0.711 to 0.867"""
        return self.text("range", low=number(interval[0], digits), high=number(interval[1], digits))

    def ranged(self, value: float | None, interval: Sequence[float] | None) -> str:
        """0.800 (0.711 to 0.867)"""
        return number(value) if interval is None else f"{number(value)} ({self.range(interval)})"

    def band(self, said: str | None) -> str:
        """A band of counts as the ledger shows them ("50 to 99", "500 or more")."""
        if said is None:
            return "-"
        low, between, high = said.partition(" to ")
        if between:
            return self.text("range", low=low, high=high)
        return self.text("or-more", low=low.removesuffix(" or more")) if said.endswith(" or more") else said

    def section(self, name: str, heading: str, html: str, kind: str = "") -> None:
        self.sections.append((name, heading))
        shown = f' class="{kind}"' if kind else ""
        self._html.append(
            f'<section id="{name}"{shown} aria-labelledby="{name}-h"><h2 id="{name}-h">{escape(heading)}</h2>{html}'
            "</section>"
        )

    def raw(self, html: str) -> None:
        self._html.append(html)

    def banner(self) -> str:
        """That the records are no real patients'; nothing where they are. HTML."""
        if not self.synthetic:
            return ""
        return f'<p class="banner" role="note">{escape(self.text("synthetic-banner"))}</p>'

    def body(self) -> str:
        return "".join(self._html)

    def note(self, said: str) -> str:
        return f'<p class="soft small">{escape(said)}</p>'

    def figure(
        self, heading: str, drawn: str, *, legend: str = "", table: str = "", note: str = "", marked: bool = True
    ) -> str:
        """A plot with its heading, its legend, its numbers, and the mark. All but `heading` and `note` are HTML."""
        mark = self.mark if marked else ""
        behind = f"<details><summary>{escape(self.text('numbers'))}</summary>{table}</details>" if table else ""
        below = self.note(note) if note else ""
        return (
            f"<figure><figcaption><h3>{escape(heading)}</h3>{mark}</figcaption>{drawn}{legend}{behind}{below}</figure>"
        )

    def legend(self, series: Sequence[Series]) -> str:
        """Names of lines with a piece of each."""
        rows = []
        for at, each in enumerate(series):
            stroke = f"s{at % 6}"
            piece = line(1, 7, 25, 7, stroke, 2, "5 4" if each.dashed else "")
            piece += "" if each.dashed else marker(at, 13, 7)
            last = f" {each.points[-1][1]:.3f}" if each.points else ""
            rows.append(
                f'<li><svg viewBox="0 0 26 14" aria-hidden="true">{piece}</svg>{escape(each.name)}<b>{last}</b></li>'
            )
        return f'<ul class="legend">{"".join(rows)}</ul>'

    def table(
        self,
        heads: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        *,
        caption: str = "",
        marked: bool = False,
        label: str = "",
    ) -> str:
        """The first cell of a row names it. On a telephone each row becomes a block of its own."""
        many = len(heads) > 3
        head = "".join(
            f'<th scope="col"{_numeric(at, rows)}>{escape(each)}</th>' for at, each in enumerate(heads)
        )  # fmt: skip
        body = []
        for row in rows:
            cells = [f'<th scope="row">{row[0].html}</th>']
            for said, each in zip(heads[1:], row[1:], strict=True):
                kind = ' class="n"' if each.numeric else ""
                cells.append(f'<td{kind} data-head="{escape(said)}"><span>{each.html}</span></td>')
            body.append(f"<tr>{''.join(cells)}</tr>")
        mark = self.mark if marked else ""
        titled = f"<caption>{escape(caption)}{mark}</caption>" if caption or mark else ""
        kind = ' class="stack"' if many else ""
        return self.scrolls(
            f"<table{kind}>{titled}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>",
            label or caption or heads[0],
        )

    def scrolls(self, html: str, label: str, kind: str = "") -> str:
        """What may be wider than a telephone: it scrolls by itself, by keyboard too."""
        return f'<div class="wide{kind}" role="region" tabindex="0" aria-label="{escape(label)}">{html}</div>'

    def series_table(self, across: str, series: Sequence[Series]) -> str:
        """The numbers of lines, one row for each x."""
        every = sorted({x for each in series for x, _ in each.points})
        held = [dict(each.points) for each in series]
        rows = [
            [cell(f"{x:g}"), *(cell(number(points.get(x)), numeric=True) for points in held)] for x in every
        ]  # fmt: skip
        return self.table([across, *(each.name for each in series)], rows)

    def told(self, series: Sequence[Series]) -> str:
        """Lines in words: where each starts and ends."""
        return "; ".join(
            self.text("from-to", name=each.name, first=number(each.points[0][1]), start=f"{each.points[0][0]:g}",
                      last=number(each.points[-1][1]), end=f"{each.points[-1][0]:g}")
            for each in series if each.points
        )  # fmt: skip


def document(page: Page, title: str, head: str) -> str:
    """The whole file: what stands above the sections (`head`, HTML), the contents, the sections. It needs nothing else,
    and says so itself."""
    links = "".join(f'<li><a href="#{name}">{escape(heading)}</a></li>' for name, heading in page.sections)
    contents = f'<nav aria-label="{escape(page.text("contents"))}"><ul>{links}</ul></nav>'
    return (
        f'<!doctype html>\n<html lang="{"zh-CN" if page.language == "zh" else "en"}"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{escape(page.label(title))}</title><style>{STYLE}</style></head><body><main>"
        f"{head}{contents}{page.body()}</main></body></html>\n"
    )


def _numeric(at: int, rows: Sequence[Sequence[Cell]]) -> str:
    return ' class="n"' if rows and at and rows[0][at].numeric else ""
