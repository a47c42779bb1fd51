"""Plots as inline SVG: no script, no font that must be fetched. Colours are classes of `report_style`, so that they
follow light, dark and print. Every text is escaped, and cut where it would run into another.

All plots are 360 units wide: on a telephone a unit is about a pixel, so letters stay legible there.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

__all__ = ["COLOURS", "Dot", "Series", "calibration", "forest", "lines", "marker", "short", "svg", "text"]

COLOURS: Final = 6
WIDE, HIGH = 360, 240
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 12, 40
_MANY: Final = 30
"""Points of a line that are still marked one by one."""


class Series(NamedTuple):
    """A line: (x, y) in ascending x. `dashed`: something to compare with, and not a result."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


class Dot(NamedTuple):
    """A line of a forest plot: a share with its interval; `whole`: of all together."""

    name: str
    share: float | None
    interval: tuple[float, float] | None
    whole: bool = False


def svg(width: float, height: float, label: str, body: str) -> str:
    """An image for whoever sees it, and one sentence for whoever does not."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(label)}</title>{body}</svg>'
    )


def text(x: float, y: float, said: str, *, anchor: str = "middle", size: int = 12, kind: str = "ink") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" class="{kind}">{escape(said)}</text>'
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "grid", width: float = 1, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}" stroke-width="{width}"{dashed}/>'
    )


def short(said: str, room: float, size: int = 12) -> str:
    """Cut so that it fits into `room` units at this size, by widths that no usual letter exceeds."""
    whole = 0.0
    for at, letter in enumerate(said):
        whole += size * (1.0 if ord(letter) > 0x2E7F else 0.9 if letter in "MWmw@%" else 0.66)
        if whole > room:
            kept = max(1, at - 1)
            return said[:kept] + "…"
    return said


def marker(at: int, x: float, y: float, size: float = 3.4) -> str:
    """Series differ in shape as well as in colour."""
    kind = f"f{at % COLOURS}"
    match at % 4:
        case 0:
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" class="{kind}"/>'
        case 1:
            side = f"{2 * size:.1f}"
            return f'<rect x="{x - size:.1f}" y="{y - size:.1f}" width="{side}" height="{side}" class="{kind}"/>'
        case 2:
            big = size * 1.4
            corners = [(x, y - big), (x + big, y), (x, y + big), (x - big, y)]
        case _:
            big = size * 1.3
            corners = [(x, y - big), (x + big, y + big), (x - big, y + big)]
    return f'<polygon points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in corners)}" class="{kind}"/>'


class _Frame:
    """Axes: y from `low` to `high`, x from `first` to `last`."""

    def __init__(self, low: float, high: float, first: float, last: float, height: float = HIGH) -> None:
        self.low, self.high, self.first, self.last, self.height = low, high, first, last, height

    def x(self, value: float) -> float:
        return LEFT + (value - self.first) / (self.last - self.first) * (WIDE - LEFT - RIGHT)

    def y(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return self.height - BOTTOM - (inside - self.low) / (self.high - self.low) * (self.height - TOP - BOTTOM)

    def drawn(self, across: str, up: str, ticks: Sequence[tuple[float, str]]) -> str:
        parts = []
        for step in range(5):
            value = self.low + (self.high - self.low) * step / 4
            digits = 2 if self.high - self.low <= 4 else 1
            parts.append(line(LEFT, self.y(value), WIDE - RIGHT, self.y(value)))
            parts.append(text(LEFT - 6, self.y(value) + 4, f"{value:.{digits}f}", anchor="end", size=11))
        parts += [text(self.x(at), self.height - BOTTOM + 16, said, size=11) for at, said in ticks]
        parts.append(text((LEFT + WIDE - RIGHT) / 2, self.height - 6, across, kind="soft"))
        middle = (TOP + self.height - BOTTOM) / 2
        said = escape(short(up, self.height - TOP - BOTTOM + 20))
        parts.append(
            f'<text x="12" y="{middle:.1f}" text-anchor="middle" font-size="12" class="soft" '
            f'transform="rotate(-90 12 {middle:.1f})">{said}</text>'
        )
        return "".join(parts)


def lines(label: str, across: str, up: str, series: Sequence[Series], high: float = 1.0) -> str:
    """Curves over the rounds, from 0 to `high`. Empty where there is no point."""
    every = sorted({x for each in series for x, _ in each.points})
    if not every:
        return ""
    first, last = every[0], max(every[-1], every[0] + 1)
    frame = _Frame(0.0, high, first, last)
    whole = [each for each in every if each == round(each)]
    step = max(1, -(-len(whole) // 8))
    parts = [frame.drawn(across, up, [(each, f"{each:.0f}") for each in whole[::step]])]
    for at, each in enumerate(series):
        places = [(frame.x(x), frame.y(y)) for x, y in each.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dash = ' stroke-dasharray="5 4"' if each.dashed else ""
        parts.append(f'<polyline points="{path}" fill="none" class="s{at % COLOURS}" stroke-width="2"{dash}/>')
        if not each.dashed:
            shown = places if len(places) <= _MANY else places[-1:]
            parts += [marker(at, x, y) for x, y in shown]
    return svg(WIDE, HIGH, label, "".join(parts))


def calibration(label: str, across: str, up: str, groups: Sequence[dict[str, float]]) -> str:
    """What was said against what was so, with intervals; the diagonal is a model that is right about itself."""
    frame = _Frame(0.0, 1.0, 0.0, 1.0, 300)
    parts = [frame.drawn(across, up, [(each / 4, f"{each / 4:.2f}") for each in range(5)])]
    parts.append(line(frame.x(0), frame.y(0), frame.x(1), frame.y(1), "line", 1.2, "5 4"))
    most = max((each["rows"] for each in groups), default=1)
    for each in groups:
        x = frame.x(each["said"])
        parts.append(line(x, frame.y(each["low"]), x, frame.y(each["high"]), "s0", 1.5))
        parts.append(marker(0, x, frame.y(each["was"]), 3 + 4 * (each["rows"] / most) ** 0.5))
    return svg(WIDE, 300, label, "".join(parts))


def forest(label: str, across: str, rows: Sequence[Dot]) -> str:
    """One line each: its share and interval from 0 to 1; of all together as a diamond."""
    names, high, step = 112, 12 + 26 * len(rows) + 36, 26
    left, wide = names, WIDE - names - 52

    def x_of(share: float) -> float:
        return left + share * wide

    parts = [line(x_of(each / 4), 8, x_of(each / 4), high - 34) for each in range(5)]
    parts += [text(x_of(each / 2), high - 20, f"{each / 2:g}", size=11) for each in range(3)]
    parts.append(text(left + wide / 2, high - 5, across, kind="soft"))
    for at, each in enumerate(rows):
        y = 12 + step * at + step / 2
        parts.append(text(names - 8, y + 4, short(each.name, names - 10), anchor="end"))
        if each.share is None:
            continue
        if each.interval is not None:
            parts.append(line(x_of(each.interval[0]), y, x_of(each.interval[1]), y, "s0", 2))
        parts.append(marker(2 if each.whole else 0, x_of(each.share), y, 4.2))
        parts.append(text(WIDE - 4, y + 4, f"{each.share:.3f}", anchor="end", size=11))
    return svg(WIDE, high, label, "".join(parts))
