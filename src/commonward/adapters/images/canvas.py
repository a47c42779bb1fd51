"""What the slit-lamp generator draws with: smooth noise, lines, soft edges and layers. Arrays are float32 in 0 to 1.

Positions are in units of the cornea's radius, with the origin at its centre, x to the right and y down: a lesion keeps
its proportions whatever the picture's size. A cornea is about 11.7 mm wide, so one unit is nearly 6 mm.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Plane: TypeAlias = NDArray[np.float32]
"""(size, size), or (size, size, 3) where it says colours."""

Rgb: TypeAlias = tuple[float, float, float]
Point: TypeAlias = tuple[float, float]
Random: TypeAlias = np.random.Generator

_FINE: Final = 2  # lines are drawn this many times larger, then shrunk


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """The frame: which point of the eye each pixel shows.

    Attributes:
        size: pixels of each side.
        x, y: (size, size), in corneal radii.
        scale: pixels of one corneal radius.
        centre: the cornea's centre in pixels.
    """

    size: int
    x: Plane
    y: Plane
    scale: float
    centre: Point

    @classmethod
    def of(cls, size: int, scale: float, centre: Point) -> "Canvas":
        line = np.arange(size, dtype=np.float32)
        x = np.broadcast_to((line - centre[0]) / scale, (size, size)).astype(np.float32)
        y = np.broadcast_to(((line - centre[1]) / scale)[:, None], (size, size)).astype(np.float32)
        return cls(size, x, y, scale, centre)

    def polar(self, at: Point = (0.0, 0.0)) -> tuple[Plane, Plane]:
        """Distance from a point, and the angle round it (-pi to pi)."""
        dx, dy = self.x - np.float32(at[0]), self.y - np.float32(at[1])
        return np.hypot(dx, dy), np.arctan2(dy, dx)

    def strokes(self, lines: Iterable[tuple[Sequence[Point], float]], soft: float = 0.0) -> Plane:
        """Coverage by lines (points, width), all in corneal radii; `soft` blurs them. A line of one point is a dot."""
        side = self.size * _FINE
        image = Image.new("L", (side, side), 0)
        draw = ImageDraw.Draw(image)
        for points, width in lines:
            placed = [self._placed(each) for each in points]
            wide = width * self.scale * _FINE
            if len(placed) > 1:
                draw.line(placed, fill=255, width=max(round(wide), 1), joint="curve")
            for px, py in (placed[0], placed[-1]) if wide > 2 else ():
                draw.ellipse((px - wide / 2, py - wide / 2, px + wide / 2, py + wide / 2), fill=255)
        small = image.resize((self.size, self.size), Image.Resampling.BOX)
        if soft:
            small = small.filter(ImageFilter.GaussianBlur(soft * self.scale))
        return np.asarray(small, dtype=np.float32) / np.float32(255)

    def _placed(self, point: Point) -> Point:
        return (
            (self.centre[0] + point[0] * self.scale) * _FINE,
            (self.centre[1] + point[1] * self.scale) * _FINE,
        )


def step(values: Plane, start: float, end: float) -> Plane:
    """0 before `start`, 1 after `end`, smooth between; falling where start > end."""
    t = np.clip((values - np.float32(start)) / np.float32(end - start), 0, 1)
    smooth: Plane = t * t * (np.float32(3) - np.float32(2) * t)
    return smooth


@lru_cache(maxsize=64)
def _interpolation(size: int, cells: int) -> Plane:
    """(size, cells + 1): weights of smooth interpolation between lattice points."""
    position = np.linspace(0, cells, size, endpoint=False, dtype=np.float32)
    left = position.astype(np.int64)
    t = position - left
    t = t * t * (3 - 2 * t)
    weights = np.zeros((size, cells + 1), dtype=np.float32)
    weights[np.arange(size), left] = 1 - t
    weights[np.arange(size), left + 1] = t
    return weights


def noise(random: Random, size: int, cells: int, octaves: int = 3) -> Plane:
    """Smooth noise of about -1 to 1, with features of size / cells pixels and finer."""
    total = np.zeros((size, size), dtype=np.float32)
    share = 1.0
    for octave in range(octaves):
        many = min(cells << octave, size)
        lattice = random.uniform(-1, 1, (many + 1, many + 1)).astype(np.float32)
        weights = _interpolation(size, many)
        total += np.float32(share) * (weights @ lattice @ weights.T)
        share /= 2
    return total


def spokes(random: Random, radius: Plane, angle: Plane, around: int, rings: int) -> Plane:
    """Noise in polar coordinates, about -1 to 1: `around` features a turn, `rings` a unit of radius."""
    last = int(radius.max() * rings) + 2
    lattice = random.uniform(-1, 1, (last + 1, around)).astype(np.float32)
    a = (angle / np.float32(2 * np.pi) + np.float32(0.5)) * around
    b = radius * rings
    a0, b0 = np.floor(a).astype(np.int64), np.floor(b).astype(np.int64)
    s, t = a - a0, b - b0
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    a0 %= around
    a1 = (a0 + 1) % around
    inner = lattice[b0, a0] * (1 - s) + lattice[b0, a1] * s
    outer = lattice[b0 + 1, a0] * (1 - s) + lattice[b0 + 1, a1] * s
    mixed: Plane = (inner * (1 - t) + outer * t).astype(np.float32)
    return mixed


def wobble(random: Random, angle: Plane, waves: range, roughness: float = 1.0) -> Plane:
    """A closed outline's deviation by angle, about -1 to 1. A smaller roughness makes it smoother."""
    total = np.zeros_like(angle)
    for count in waves:
        weight = roughness / count if roughness < 1 else 1 / count**0.7
        total += np.float32(weight * random.normal()) * np.cos(count * angle + np.float32(random.uniform(0, 2 * np.pi)))
    return total


def over(picture: Plane, colour: Rgb | Plane, cover: Plane) -> Plane:
    """`picture` (colours) under a layer of one colour, or of colours, as opaque as `cover`."""
    layer = colour if isinstance(colour, np.ndarray) else np.asarray(colour, dtype=np.float32)
    mixed: Plane = picture + (layer - picture) * cover[:, :, None]
    return mixed


def blurred(picture: Any, pixels: float) -> Plane:
    """Gaussian blur of colours, of this many pixels."""
    if pixels <= 0:
        return np.asarray(picture, dtype=np.float32)
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(pixels)), dtype=np.float32) / np.float32(255)
