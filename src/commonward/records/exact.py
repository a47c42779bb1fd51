"""Integer arithmetic that the rules share: nothing here rounds but `divide`, and it rounds one way.

Every function takes and gives int64, or Python's unbounded integers, so that the order of additions cannot matter and
every processor gives the same bytes. Arrays are walked in pieces that fit a processor's cache.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from commonward.records.model import Integers

PIECE: Final = 1 << 15
"""Elements walked at a time: 256 KiB of int64."""

_LOW: Final = 16
_MASK: Final = (1 << _LOW) - 1


def pieces(size: int) -> Iterator[slice]:
    """Slices of at most `PIECE` elements that cover `size`."""
    for start in range(0, size, PIECE):
        yield slice(start, min(start + PIECE, size))


def divide(sums: Integers, count: int) -> Integers:
    """(2 S + N) // (2 N): the nearest integer to S / N, halves upwards. |S| <= 2^32 N and 0 < N < 2^30."""
    return np.floor_divide(np.add(np.multiply(sums, 2), count), 2 * count)


def divide_one(total: int, count: int) -> int:
    """`divide` for one number of any size."""
    return (2 * total + count) // (2 * count)


def weighted_sum(arrays: Sequence[Integers], weights: Sequence[int]) -> Integers:
    """The sum of weight * array, flat. The caller has shown that it cannot pass 2^63."""
    flat = [array.reshape(-1) for array in arrays]
    total = np.empty(flat[0].size, np.int64)
    room = np.empty(min(PIECE, total.size), np.int64)
    for piece in pieces(total.size):
        into, product = total[piece], room[: piece.stop - piece.start]
        np.multiply(flat[0][piece], weights[0], out=into)
        for array, weight in zip(flat[1:], weights[1:], strict=True):
            np.multiply(array[piece], weight, out=product)
            np.add(into, product, out=into)
    return total


def sum_of_squares(array: Integers) -> int:
    """Exactly. |array| <= 2^33; the squares are added as three sums of products of 16-bit halves in int64.

    With high = |x| >> 16 <= 2^17 and low < 2^16, each product is at most 2^34, so a piece cannot overflow.
    """
    flat = array.reshape(-1)
    high_high = high_low = low_low = 0
    for piece in pieces(flat.size):
        size = np.abs(flat[piece])
        high, low = np.right_shift(size, _LOW), np.bitwise_and(size, _MASK)
        high_high += _product(high, high)
        high_low += _product(high, low)
        low_low += _product(low, low)
    return (high_high << 2 * _LOW) + (high_low << _LOW + 1) + low_low


def _product(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> int:
    return int(np.multiply(one, other).sum())


def median_of(values: Sequence[int]) -> int:
    """The middle one; of an even number, the middle two's `divide_one` by two."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else divide_one(ordered[middle - 1] + ordered[middle], 2)
