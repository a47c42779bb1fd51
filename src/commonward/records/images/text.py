"""Burnt-in text: names and numbers that a camera wrote into the pixels, found before the picture goes anywhere.

The method, simple and stated: text is a row of small, sharply bounded shapes of one brightness and like height. In
luminance, red and blue, what differs from the mean of its neighbourhood, and by at least `CONTRAST` from something
within two pixels, is ink. Connected ink of a letter's size and proportions is a letter. `LETTERS` or more letters on
one line, close together, of like height and like brightness, are text.

It does not read, and it misses: very large or slanted writing, faint writing, one or two letters. A hospital whose
cameras write names must switch that off or mask the corner; this catches what slipped through. Miss and false-alarm
rates as measured stand in docs/keratitis.md.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from commonward.records.images.photograph import Photograph, Pixels, luminance, shrunk

SIDE: Final = 640  # a longer picture is looked at this large; text of 1.2 % of its height and more remains readable
CONTRAST: Final = 60
LETTERS: Final = 4
LEAST, GREATEST = 6, 48  # height of a letter in pixels
ALIKE: Final = 30  # spread of the letters' mean brightness


@dataclass(frozen=True, slots=True)
class Letter:
    """A connected shape that could be a letter: its box in pixels (top, left, bottom and right inclusive), its tone."""

    top: int
    left: int
    bottom: int
    right: int
    tone: float

    @property
    def height(self) -> int:
        return self.bottom - self.top + 1

    @property
    def width(self) -> int:
        return self.right - self.left + 1


def text_lines(photograph: Photograph) -> list[list[Letter]]:
    """What looks like lines of writing, in pixels of the picture as shrunk to 640; empty when there is none."""
    found = []
    for plane in _planes(photograph.pixels):
        for sign in (1, -1):
            found += _lines(_letters(plane, _ink(plane, sign)))
    return found


def _planes(pixels: Pixels) -> list[NDArray[np.int64]]:
    """Luminance, red and blue: yellow or green on white skin is as bright as the skin, but not in blue or in red."""
    planes = [luminance(pixels), pixels[:, :, 0].astype(np.int64), pixels[:, :, 2].astype(np.int64)]
    height, width = planes[0].shape
    longest = max(height, width)
    if longest <= SIDE:
        return planes
    return [shrunk(each, max(height * SIDE // longest, 1), max(width * SIDE // longest, 1)) for each in planes]


def has_text(photograph: Photograph) -> bool:
    """Whether any line of writing was found."""
    return bool(text_lines(photograph))


def _ink(plane: NDArray[np.int64], sign: int) -> NDArray[np.bool_]:
    """Pixels that stand out from the mean round them, brighter (sign 1) or darker (-1)."""
    reach = 12
    padded = np.pad(plane, reach + 1, mode="edge").cumsum(axis=0).cumsum(axis=1)
    wide = 2 * reach + 1
    sums = padded[wide:, wide:] - padded[:-wide, wide:] - padded[wide:, :-wide] + padded[:-wide, :-wide]
    means = sums[: plane.shape[0], : plane.shape[1]] // (wide * wide)
    return np.asarray(sign * (plane - means) >= CONTRAST * 3 // 4) & _sharp(plane, sign)


def _sharp(plane: NDArray[np.int64], sign: int) -> NDArray[np.bool_]:
    """Brighter (darker) by CONTRAST than the darkest (brightest) within two pixels: ink has an edge."""
    signed = sign * plane
    padded = np.pad(signed, 2, mode="edge")
    least = signed
    for dy in range(5):
        for dx in range(5):
            least = np.minimum(least, padded[dy : dy + plane.shape[0], dx : dx + plane.shape[1]])
    return np.asarray(signed - least >= CONTRAST)


def _letters(plane: NDArray[np.int64], ink: NDArray[np.bool_]) -> list[Letter]:
    """Connected ink (by sides and corners) of a letter's size: not a dot, not a line, not a blot."""
    found = []
    for rows, lefts, rights in _components(ink):
        top, bottom, left, right = rows.min(), rows.max(), lefts.min(), rights.max()
        height, width = bottom - top + 1, right - left + 1
        area = int((rights - lefts + 1).sum())
        if not LEAST <= height <= GREATEST or not 0.1 * height <= width <= 1.6 * height or area < 0.15 * height * width:
            continue
        tone = sum(int(plane[y, a : b + 1].sum()) for y, a, b in zip(rows, lefts, rights, strict=True)) / area
        found.append(Letter(int(top), int(left), int(bottom), int(right), tone))
    return found


def _components(ink: NDArray[np.bool_]) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Runs of ink (row, first, last) joined where they touch: union-find over runs, so a picture costs milliseconds."""
    edges = np.diff(np.pad(ink, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    ends = ends - 1
    leader = list(range(len(rows)))

    def top(at: int) -> int:
        while leader[at] != at:
            leader[at] = leader[leader[at]]
            at = leader[at]
        return at

    first_of = np.searchsorted(rows, np.arange(ink.shape[0] + 1))
    for y in range(1, ink.shape[0]):
        above, here, end = int(first_of[y - 1]), int(first_of[y]), int(first_of[y + 1])
        stop = here
        while above < stop and here < end:
            if starts[above] <= ends[here] + 1 and starts[here] <= ends[above] + 1:
                leader[top(here)] = top(above)
            if ends[above] < ends[here]:
                above += 1
            else:
                here += 1
    groups: dict[int, list[int]] = {}
    for at in range(len(rows)):
        groups.setdefault(top(at), []).append(at)
    return [(rows[each], starts[each], ends[each]) for each in map(np.asarray, groups.values())]


def _lines(letters: list[Letter]) -> list[list[Letter]]:
    """Rows of at least LETTERS letters: each next one begins soon after the last ends, on the same base line."""
    ordered = sorted(letters, key=lambda each: each.left)
    taken: set[int] = set()
    found = []
    for start in range(len(ordered)):
        if start in taken:
            continue
        line, members = [ordered[start]], [start]
        for at in range(start + 1, len(ordered)):
            last, letter = line[-1], ordered[at]
            if letter.left - last.right > 1.5 * max(last.height, letter.height):
                break
            if at not in taken and _follows(last, letter):
                line.append(letter)
                members.append(at)
        if len(line) >= LETTERS and np.ptp([each.tone for each in line]) <= 2 * ALIKE:
            found.append(line)
            taken.update(members)
    return found


def _follows(last: Letter, letter: Letter) -> bool:
    tall = max(last.height, letter.height)
    return (
        letter.left > last.left + last.width // 2
        and abs(letter.bottom - last.bottom) <= 0.15 * tall + 1
        and min(last.height, letter.height) >= 0.6 * tall
        and abs(letter.tone - last.tone) <= ALIKE
    )
