"""Small cells: which counts may be shown so that nobody can be counted down to a few patients, nor subtracted out.

A cell of 1 up to below the threshold is small. 0 is shown: it counts nobody (and may still say something of a group,
as "all of them" does: that no threshold hides; noise does). Hiding a small cell alone would be idle where the total
is shown, so it goes together with others:

    of one column   small cells are pooled with others until the pool is no small cell; the pool's count is shown. So
                    every count of one column that is shown is 0 or at least the threshold, and exact.
    of two columns  pools against pools. Around small cells a rectangle of rows and columns is hidden, wide enough that
                    each small cell could as well be the threshold or more: its hidden row and its hidden column each
                    add up to that much. Whoever subtracts what is shown from the margins learns those two sums, and
                    by Frechet's bounds nothing more: the rest of a hidden rectangle is any table with its margins.

Tables of one study share no cells but their margins, which are shown; what three tables of two columns together say of
one of three is not looked at. Two studies of nearly the same rows can be subtracted: that is what the ethics roles and
the privacy budget are for.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

Group: TypeAlias = tuple[int, ...]
"""Places of the cells that are shown as one."""

_ENOUGH: Final = 2


def is_small(count: int, threshold: int) -> bool:
    return 0 < count < threshold


def pooled(counts: Sequence[int], threshold: int) -> tuple[Group, ...]:
    """Groups of the cells of one column of categories, each 0 or at least the threshold, in the order of their first.

    All in one group where no other way is left; the caller shows nothing where even the total is small.
    """
    small = [at for at, count in enumerate(counts) if is_small(count, threshold)]
    if not small:
        return tuple((at,) for at in range(len(counts)))
    pool = list(small)
    spare = sorted((at for at, count in enumerate(counts) if count >= threshold), key=lambda at: (counts[at], at))
    while _told(pool, counts, threshold):
        if not spare:
            return (tuple(range(len(counts))),)
        pool.append(spare.pop(0))
    rest = [(at,) for at in range(len(counts)) if at not in pool]
    return tuple(sorted([*rest, tuple(sorted(pool))]))


def _told(pool: Sequence[int], counts: Sequence[int], threshold: int) -> bool:
    """Whether the pool's sum is small, or tells its cells to who knows how pools are made: none is 0, and as long as
    all are small, none passes threshold - 1."""
    total, size = sum(counts[at] for at in pool), len(pool)
    if total < threshold or size < _ENOUGH:
        return True
    all_small = all(counts[at] < threshold for at in pool)
    return all_small and (total == size or total == size * (threshold - 1))


def merged(counts: Sequence[int], threshold: int) -> tuple[Group, ...]:
    """Groups of neighbouring cells, for a histogram: each 0 or at least the threshold.

    Cells are taken from the left until they are enough; what is left over at the end joins the last group.
    """
    groups: list[list[int]] = []
    at = 0
    while at < len(counts):
        group, total = [at], counts[at]
        while is_small(total, threshold) and group[-1] + 1 < len(counts):
            group.append(group[-1] + 1)
            total += counts[group[-1]]
        at = group[-1] + 1
        if is_small(total, threshold):
            while groups:  # back to the last that holds somebody; zeros on the way join
                group = [*groups.pop(), *group]
                if sum(counts[each] for each in group) >= threshold:
                    break
        groups.append(group)
    return tuple(tuple(group) for group in groups)


def merged_with_missing(counts: Sequence[int], missing: int, threshold: int) -> tuple[tuple[Group, ...], int | None]:
    """As `merged`, and which group the missing rows are counted into: None where they are shown by themselves.

    All in one group (0) where too few values are there to show any.
    """
    groups = merged(counts, threshold)
    sums = [sum(counts[at] for at in group) for group in groups]
    if any(is_small(total, threshold) for total in sums):
        return (tuple(range(len(counts))),), 0
    if not is_small(missing, threshold):
        return groups, None
    holding = [at for at, total in enumerate(sums) if total]
    if not holding:
        return (tuple(range(len(counts))),), 0
    return groups, min(holding, key=lambda at: (sums[at], at))


def hidden(table: Sequence[Sequence[int]], threshold: int) -> tuple[tuple[bool, ...], ...]:
    """Which cells of a table of pooled columns are hidden: none, or a rectangle of some rows and some columns.

    Args:
        table: its margins are 0 or at least the threshold, and shown.
    """
    height, width = len(table), len(table[0])
    small = [(i, j) for i in range(height) for j in range(width) if is_small(table[i][j], threshold)]
    rows, columns = {i for i, _ in small}, {j for _, j in small}
    while True:
        thin_row = next((i for i, _ in small if sum(table[i][j] for j in columns) < threshold), None)
        thin_column = next((j for _, j in small if sum(table[i][j] for i in rows) < threshold), None)
        if thin_row is not None:
            columns.add(_next([table[thin_row][j] for j in range(width)], columns))
        elif thin_column is not None:
            rows.add(_next([table[i][thin_column] for i in range(height)], rows))
        else:
            break
    return tuple(tuple(i in rows and j in columns for j in range(width)) for i in range(height))


def _next(counts: Sequence[int], taken: set[int]) -> int:
    """Of the cells that hold somebody and are not hidden yet, the smallest. One is left: the margin is enough."""
    return min((at for at, count in enumerate(counts) if count and at not in taken), key=lambda at: (counts[at], at))


def hidden_groups(present: Sequence[int], threshold: int) -> frozenset[int]:
    """Groups whose mean is not shown: those of too few values, and others until the hidden ones together are enough.

    The mean of all is shown, so that of one hidden group could be worked out; that of all hidden ones is of as many
    values as the threshold asks.
    """
    gone = [at for at, count in enumerate(present) if is_small(count, threshold)]
    spare = sorted((at for at, count in enumerate(present) if count >= threshold), key=lambda at: (present[at], at))
    while gone and sum(present[at] for at in gone) < threshold and spare:
        gone.append(spare.pop(0))
    return frozenset(gone)
