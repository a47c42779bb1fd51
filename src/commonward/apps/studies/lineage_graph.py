"""The graph from consent to model, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence

from commonward.apps.studies.plots import COLOURS, short, svg, text

__all__ = ["lineage"]

_BOX, _GAP, _HIGH, _STEP, _TOP = 150, 40, 46, 60, 40


def lineage(
    label: str,
    columns: Sequence[tuple[str, Sequence[tuple[str, str]]]],
    arrows: Sequence[tuple[int, int, int, int]],
) -> str:
    """Boxes in columns from left to right, joined by lines.

    Args:
        label: the sentence for whoever does not see it.
        columns: heading, and boxes as (name, what stands under it).
        arrows: (column, box, column, box) from left to right.
    """
    tallest = max((len(boxes) for _, boxes in columns), default=1)
    width, height = len(columns) * (_BOX + _GAP) - _GAP + 24, _TOP + tallest * _STEP + 8

    def place(column: int, box: int) -> tuple[float, float]:
        count = len(columns[column][1])
        return 12 + column * (_BOX + _GAP), _TOP + (tallest - count) * _STEP / 2 + box * _STEP

    parts = []
    for one, a, other, b in arrows:
        (x1, y1), (x2, y2) = place(one, a), place(other, b)
        start, middle, from_y, to_y = x1 + _BOX, (x1 + _BOX + x2) / 2, y1 + _HIGH / 2, y2 + _HIGH / 2
        parts.append(
            f'<path d="M{start:.1f} {from_y:.1f} C{middle:.1f} {from_y:.1f} {middle:.1f} {to_y:.1f} '
            f'{x2:.1f} {to_y:.1f}" fill="none" class="line" stroke-width="1.2"/>'
        )
    for column, (heading, boxes) in enumerate(columns):
        parts.append(text(12 + column * (_BOX + _GAP) + _BOX / 2, 20, short(heading, _BOX), kind="soft"))
        for box, (name, under) in enumerate(boxes):
            x, y = place(column, box)
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{_BOX}" height="{_HIGH}" rx="6" class="box s{column % COLOURS}" '
                f'stroke-width="1.6"/>'
            )
            parts.append(text(x + _BOX / 2, y + 19, short(name, _BOX - 10)))
            parts.append(text(x + _BOX / 2, y + 36, short(under, _BOX - 8, 11), size=11, kind="soft"))
    return svg(width, height, label, "".join(parts))
