"""Plots as inline SVG: no script, no style sheet of others, no font that must be fetched. Every text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final, NamedTuple

__all__ = ["COLOURS", "Series", "bars", "calibration", "confusion", "lineage", "lines"]

COLOURS: Final = ("#1f6f8b", "#c2571a", "#4f7d3a", "#7a4e9c", "#a33b4f", "#5b6770")
_INK, _SOFT, _GRID = "#22303a", "#5b6770", "#dde3e6"
_WIDE, _HIGH = 520, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 36, 40


class Series(NamedTuple):
    """A line: (x, y) in ascending x."""

    name: str
    points: Sequence[tuple[float, float]]


def _svg(width: int, height: int, title: str, body: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>{body}</svg>'
    )


def _text(x: float, y: float, said: str, *, anchor: str = "middle", size: int = 12, fill: str = _INK) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{fill}">{escape(said)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = _GRID, width: float = 1, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"{dashed}/>'
    )


def _frame(low: float, high: float, across: str, up: str) -> str:
    """Axes of a plot whose y goes from `low` to `high`."""
    parts = []
    for step in range(5):
        value = low + (high - low) * step / 4
        y = _y(value, low, high)
        parts += [_line(_LEFT, y, _WIDE - _RIGHT, y), _text(_LEFT - 6, y + 4, f"{value:.2f}", anchor="end", size=11)]
    parts.append(_text((_LEFT + _WIDE - _RIGHT) / 2, _HIGH - 6, across, size=12, fill=_SOFT))
    middle = (_TOP + _HIGH - _BOTTOM) / 2
    parts.append(
        f'<text x="14" y="{middle:.1f}" text-anchor="middle" font-size="12" fill="{_SOFT}" '
        f'transform="rotate(-90 14 {middle:.1f})">{escape(up)}</text>'
    )
    return "".join(parts)


def _y(value: float, low: float, high: float) -> float:
    return _HIGH - _BOTTOM - (value - low) / (high - low) * (_HIGH - _TOP - _BOTTOM)


def lines(title: str, across: str, up: str, series: Sequence[Series], low: float = 0.0, high: float = 1.0) -> str:
    """Curves over the rounds; each ends with its name and last value."""
    every = [x for each in series for x, _ in each.points]
    if not every:
        return ""
    first, last = min(every), max(max(every), min(every) + 1)

    def x_of(x: float) -> float:
        return _LEFT + (x - first) / (last - first) * (_WIDE - _LEFT - _RIGHT)

    parts = [_frame(low, high, across, up)]
    ticks = sorted({round(x) for x in every})
    shown = ticks[:: max(1, len(ticks) // 10)]
    parts += [_text(x_of(x), _HIGH - _BOTTOM + 16, str(x), size=11) for x in shown]
    for at, each in enumerate(series):
        colour = COLOURS[at % len(COLOURS)]
        places = [(x_of(x), _y(min(max(y, low), high), low, high)) for x, y in each.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        x, y = _LEFT + 8 + 152 * (at % 3), 6 + 14 * (at // 3)
        parts.append(f'<rect x="{x}" y="{y}" width="10" height="10" fill="{colour}"/>')
        said = f"{each.name} {each.points[-1][1]:.3f}" if each.points else each.name
        parts.append(_text(x + 16, y + 9, said, anchor="start"))
    return _svg(_WIDE, _HIGH, title, "".join(parts))


def calibration(title: str, across: str, up: str, groups: Sequence[dict[str, float]]) -> str:
    """What was said against what was so, with intervals; the diagonal is a model that is right about itself."""

    def x_of(x: float) -> float:
        return _LEFT + x * (_WIDE - _LEFT - _RIGHT)

    parts = [_frame(0, 1, across, up), _line(x_of(0), _y(0, 0, 1), x_of(1), _y(1, 0, 1), _SOFT, 1.2, "5 4")]
    parts += [_text(x_of(each / 4), _HIGH - _BOTTOM + 16, f"{each / 4:.2f}", size=11) for each in range(5)]
    most = max((each["rows"] for each in groups), default=1)
    for each in groups:
        x = x_of(each["said"])
        parts.append(_line(x, _y(each["low"], 0, 1), x, _y(each["high"], 0, 1), COLOURS[0], 1.5))
        size = 3 + 5 * (each["rows"] / most) ** 0.5
        parts.append(f'<circle cx="{x:.1f}" cy="{_y(each["was"], 0, 1):.1f}" r="{size:.1f}" fill="{COLOURS[0]}"/>')
    return _svg(_WIDE, _HIGH, title, "".join(parts))


def confusion(title: str, truth: str, guess: str, grid: Sequence[Sequence[int]]) -> str:
    """Rows are what was so, columns what was said; a field is as dark as its share of its row."""
    side, left, top = 74, 96, 54
    width, height = left + side * len(grid) + 16, top + side * len(grid) + 16
    parts = [_text(left + side * len(grid) / 2, 18, guess, fill=_SOFT)]
    parts.append(
        f'<text x="18" y="{top + side * len(grid) / 2:.1f}" text-anchor="middle" font-size="12" fill="{_SOFT}" '
        f'transform="rotate(-90 18 {top + side * len(grid) / 2:.1f})">{escape(truth)}</text>'
    )
    for at, row in enumerate(grid):
        whole = sum(row) or 1
        parts.append(_text(left - 12, top + side * at + side / 2 + 4, str(at), anchor="end"))
        parts.append(_text(left + side * at + side / 2, top - 10, str(at)))
        for column, count in enumerate(row):
            share = count / whole
            x, y = left + side * column, top + side * at
            colour = COLOURS[0] if at == column else COLOURS[1]
            parts.append(
                f'<rect x="{x}" y="{y}" width="{side - 4}" height="{side - 4}" rx="4" fill="{colour}" '
                f'fill-opacity="{0.08 + 0.8 * share:.2f}"/>'
            )
            ink = "#ffffff" if share > 0.55 else _INK
            parts.append(_text(x + side / 2 - 2, y + side / 2, str(count), size=16, fill=ink))
            parts.append(_text(x + side / 2 - 2, y + side / 2 + 18, f"{share:.0%}", size=11, fill=ink))
    return _svg(width, height, title, "".join(parts))


def bars(title: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """Horizontal bars: name, share of the longest from 0 to 1, and what stands behind it."""
    high, left = 26, 150
    parts = []
    for at, (name, share, said) in enumerate(rows):
        y = 8 + high * at
        wide = max(1.0, min(1.0, share) * (_WIDE - left - 130))
        parts.append(_text(left - 10, y + 15, name, anchor="end"))
        parts.append(
            f'<rect x="{left}" y="{y + 2}" width="{wide:.1f}" height="{high - 8}" rx="3" fill="{COLOURS[0]}"/>'
        )
        parts.append(_text(left + wide + 8, y + 15, said, anchor="start", fill=_SOFT))
    return _svg(_WIDE, 16 + high * len(rows), title, "".join(parts))


def lineage(title: str, columns: Sequence[tuple[str, Sequence[tuple[str, str]]]], arrows: Any) -> str:
    """Boxes in columns from left to right, joined by lines.

    Args:
        columns: heading, and boxes as (name, what stands under it).
        arrows: (column, box, column, box) from left to right.
    """
    wide, gap, high, step, top = 148, 42, 46, 60, 40
    tallest = max((len(boxes) for _, boxes in columns), default=1)
    width, height = len(columns) * (wide + gap) - gap + 24, top + tallest * step + 12

    def place(column: int, box: int) -> tuple[float, float]:
        count = len(columns[column][1])
        return 12 + column * (wide + gap), top + (tallest - count) * step / 2 + box * step

    parts = []
    for one, a, other, b in arrows:
        (x1, y1), (x2, y2) = place(one, a), place(other, b)
        start, end, middle = x1 + wide, x2, (x1 + wide + x2) / 2
        parts.append(
            f'<path d="M{start:.1f} {y1 + high / 2:.1f} C{middle:.1f} {y1 + high / 2:.1f} {middle:.1f} '
            f'{y2 + high / 2:.1f} {end:.1f} {y2 + high / 2:.1f}" fill="none" stroke="{_SOFT}" stroke-width="1.3"/>'
        )
    for column, (heading, boxes) in enumerate(columns):
        parts.append(_text(12 + column * (wide + gap) + wide / 2, 20, heading, fill=_SOFT))
        for box, (name, under) in enumerate(boxes):
            x, y = place(column, box)
            colour = COLOURS[column % len(COLOURS)]
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide}" height="{high}" rx="6" fill="#ffffff" '
                f'stroke="{colour}" stroke-width="1.6"/>'
            )
            parts.append(_text(x + wide / 2, y + 19, name[:22], size=12))
            parts.append(_text(x + wide / 2, y + 36, under[:26], size=10, fill=_SOFT))
    return _svg(width, height, title, "".join(parts))
