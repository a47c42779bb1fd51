"""Two plots of tables: a histogram whose bins may differ in width, and odds ratios with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import log
from typing import Any, Final

from commonward.apps.studies.plots import line, marker, short, svg, text

__all__ = ["histogram", "odds"]

_WIDE, _HIGH = 360, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 14, 14, 38
_TICKS: Final = 7
_ROW, _NAMES = 24, 120
_FAR: Final = log(100.0)
_MARKS: Final = (0.01, 0.1, 0.5, 1.0, 2.0, 10.0, 100.0)


def histogram(label: str, across: str, cells: Sequence[Mapping[str, Any]], ends: tuple[str, str]) -> str:
    """Areas are counts. Bins without an end reach to the end of the declared range; those beyond it are not drawn."""
    low, high = float(ends[0]), float(ends[1])
    bars = []
    for each in cells:
        start = low if each["from"] is None else float(each["from"])
        end = high if each["to"] is None else float(each["to"])
        if end > start:
            bars.append((start, end, each["count"] / (end - start), each["count"]))
    most = max((height for *_, height, _ in bars), default=0.0)
    if not most or high <= low:
        return ""

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDE - _LEFT - _RIGHT)

    floor = _HIGH - _BOTTOM
    parts = []
    for start, end, height, count in bars:
        tall = height / most * (floor - _TOP - 8)
        parts.append(
            f'<rect x="{x(start):.1f}" y="{floor - tall:.1f}" width="{max(0.5, x(end) - x(start) - 1):.1f}" '
            f'height="{tall:.1f}" class="f0"><title>{count}</title></rect>'
        )
        if len(bars) <= _TICKS * 2 and count:
            parts.append(text((x(start) + x(end)) / 2, floor - tall - 3, str(count), size=10))
    edges = sorted({low, high, *(start for start, *_ in bars)})
    step = max(1, -(-len(edges) // _TICKS))
    parts += [text(x(each), floor + 15, f"{each:g}", size=11) for each in edges[::step]]
    parts.append(line(_LEFT, floor, _WIDE - _RIGHT, floor, "line"))
    parts.append(text((_LEFT + _WIDE - _RIGHT) / 2, _HIGH - 5, short(across, _WIDE - _LEFT), kind="soft"))
    return svg(_WIDE, _HIGH, label, "".join(parts))


def odds(label: str, rows: Sequence[tuple[str, float, float, float]]) -> str:
    """(name, odds ratio, low, high) on a scale of logarithms from 1/100 to 100; what is beyond ends at the edge."""
    if not rows:
        return ""
    spread = max(abs(log(max(each, 1e-9))) for row in rows for each in row[1:])
    reach = min(_FAR, max(log(2.2), spread * 1.1))
    middle, half = _NAMES + (_WIDE - _NAMES - _RIGHT) / 2, (_WIDE - _NAMES - _RIGHT) / 2

    def x(value: float) -> float:
        return middle + max(-1.0, min(1.0, log(max(value, 1e-9)) / reach)) * half

    high = _TOP + _ROW * len(rows) + 26
    parts = [line(x(1.0), _TOP - 6, x(1.0), high - 24, "line", dash="4 4")]
    shown = [each for each in _MARKS if abs(log(each)) <= reach]
    parts += [text(x(each), high - 8, f"{each:g}", size=11, kind="soft") for each in shown]
    for at, (name, value, low, top) in enumerate(rows):
        y = _TOP + _ROW * at + _ROW / 2
        parts.append(text(_NAMES - 8, y + 4, short(name, _NAMES - 12), anchor="end"))
        parts.append(line(x(low), y, x(top), y, "s0", 2))
        parts.append(f"<g><title>{escape(f'{name}: {value:.3g} ({low:.3g} - {top:.3g})')}</title>")
        parts.append(f"{marker(0, x(value), y, 4)}</g>")
    return svg(_WIDE, high, label, "".join(parts))
