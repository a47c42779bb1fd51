"""The eye that the slit-lamp generator draws before anything is wrong with it: sclera, vessels, iris, pupil, lids.

Proportions after Remington, "Clinical Anatomy and Physiology of the Visual System": a cornea of 11.7 mm across and
10.6 mm up, its upper and lower edge often under the lids; a pupil of 2 to 5 mm in light; an iris of radial crypts with
a collarette some 1.5 mm outside the pupil.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from commonward.adapters.images.canvas import Canvas, Plane, Point, Random, Rgb, noise, over, spokes, step

IRISES: Final[tuple[tuple[Rgb, Rgb], ...]] = (
    ((0.24, 0.13, 0.07), (0.46, 0.28, 0.15)),  # dark brown
    ((0.32, 0.18, 0.09), (0.56, 0.36, 0.18)),  # brown
    ((0.36, 0.30, 0.16), (0.58, 0.48, 0.28)),  # hazel
    ((0.28, 0.36, 0.42), (0.52, 0.60, 0.64)),  # blue-grey
)
SKINS: Final[tuple[Rgb, ...]] = ((0.90, 0.70, 0.58), (0.80, 0.58, 0.44), (0.64, 0.44, 0.32), (0.44, 0.29, 0.21))


@dataclass(frozen=True, slots=True)
class Eye:
    """One patient's eye: the same in every picture of it.

    Attributes:
        iris: dark and light of its colour.
        skin: the lids' colour.
        pupil: its radius.
        upper, lower: how far the lids stand from the cornea's centre.
        vessels: 0 (a quiet eye) to 1 (red all over).
        seed: of the textures.
    """

    iris: tuple[Rgb, Rgb]
    skin: Rgb
    pupil: float
    upper: float
    lower: float
    vessels: float
    seed: int

    @classmethod
    def born(cls, random: Random, dark: float, vessels: float) -> "Eye":
        """An eye of a population of which the share `dark` has brown irises."""
        brown = random.random() < dark
        return cls(
            iris=IRISES[int(random.integers(0, 2) if brown else random.integers(2, 4))],
            skin=SKINS[int(random.integers(0, 4) if brown else random.integers(0, 2))],
            pupil=float(random.uniform(0.22, 0.42)),
            upper=float(random.uniform(0.78, 1.10)),
            lower=float(random.uniform(0.92, 1.20)),
            vessels=vessels,
            seed=int(random.integers(0, 1 << 62)),
        )


def globe(canvas: Canvas, eye: Eye) -> Plane:
    """Sclera with its vessels, limbus, iris and pupil, as colours under even white light."""
    random = np.random.default_rng([eye.seed, 1])
    radius, angle = canvas.polar()
    picture = _sclera(canvas, eye, random, radius)
    iris = _iris(eye, random, radius, angle)
    # The limbus is no line: the cornea turns into sclera over a millimetre.
    picture = over(picture, iris, step(radius, 1.05, 0.93))
    return picture


def _sclera(canvas: Canvas, eye: Eye, random: Random, radius: Plane) -> Plane:
    mottled = noise(random, canvas.size, 6)
    white = np.stack([0.90 + 0.03 * mottled, 0.86 + 0.03 * mottled, 0.83 + 0.03 * mottled], axis=-1)
    # The globe curves away from the light.
    white = white * (1.04 - 0.16 * np.clip(radius - 1, 0, 2))[:, :, None]
    picture = white.astype(np.float32)
    # Ciliary flush: deep vessels round the limbus, as in every keratitis; conjunctival redness further out.
    flush = eye.vessels * (0.55 * np.exp(-((np.clip(radius - 1, 0, None) / 0.35) ** 2)) + 0.35)
    picture = over(picture, (0.80, 0.30, 0.27), (flush * (0.75 + 0.35 * mottled)).clip(0, 0.85).astype(np.float32))
    fine: list[tuple[list[Point], float]] = []
    wide: list[tuple[list[Point], float]] = []
    for _ in range(int(6 + 46 * eye.vessels)):
        line = _vessel(random)
        (wide if random.random() < 0.25 else fine).append((line, float(random.uniform(0.008, 0.02))))
    deep = canvas.strokes([*fine, *((points, 1.8 * width) for points, width in wide)], soft=0.006)
    return over(picture, (0.66, 0.13, 0.14), deep * np.float32(0.30 + 0.45 * eye.vessels))


def _vessel(random: Random) -> list[Point]:
    """From the fornix towards the limbus, tortuous; some stop on the way."""
    angle = float(random.uniform(0, 2 * np.pi))
    reach, end = float(random.uniform(1.6, 2.6)), float(random.uniform(1.0, 1.35))
    points = []
    for distance in np.linspace(reach, end, 14):
        angle += float(random.normal(0, 0.035))
        points.append((float(distance * np.cos(angle)), float(distance * np.sin(angle))))
    return points


def _iris(eye: Eye, random: Random, radius: Plane, angle: Plane) -> Plane:
    dark, light = (np.asarray(each, dtype=np.float32) for each in eye.iris)
    fibres = 0.6 * spokes(random, radius, angle, 90, 3) + 0.5 * spokes(random, radius, angle, 36, 6)
    collarette = np.exp(-(((radius - eye.pupil - 0.16) / 0.09) ** 2))
    tone = np.clip(0.42 + 0.30 * fibres + 0.30 * collarette - 0.10 * radius, 0, 1)
    picture = dark + (light - dark) * tone[:, :, None]
    picture *= (1 - 0.55 * step(radius, 0.80, 1.0))[:, :, None]  # the root of the iris, in shade
    edge = eye.pupil * (1 + 0.02 * np.cos(3 * angle))
    return over(picture.astype(np.float32), (0.03, 0.03, 0.035), step(radius - edge.astype(np.float32), 0.02, -0.02))


def lids(canvas: Canvas, eye: Eye, picture: Plane) -> tuple[Plane, Plane]:
    """The picture with lids and lashes over it, and what they cover (0 to 1)."""
    random = np.random.default_rng([eye.seed, 2])
    x, y = canvas.x, canvas.y
    ragged = 0.015 * noise(random, canvas.size, 9, 1)
    above = -eye.upper + 0.17 * x * x + ragged - y
    below = y - (eye.lower - 0.11 * x * x + ragged)
    skin = np.asarray(eye.skin, dtype=np.float32) * (1 + 0.10 * noise(random, canvas.size, 12))[:, :, None]
    for depth in (above, below):
        shadow = step(depth, -0.22, 0.0) * np.float32(0.35)
        picture = picture * (1 - shadow)[:, :, None]
        rim = step(depth, -0.01, 0.015)
        folded = skin * (1 - 0.18 * np.exp(-(((depth - 0.30) / 0.05) ** 2)))[:, :, None]
        picture = over(picture, folded.astype(np.float32), rim)
        wet = np.exp(-(((depth - 0.03) / 0.03) ** 2)).astype(np.float32)  # the lid's margin, pink and moist
        picture = over(picture, (0.84, 0.52, 0.47), wet * np.float32(0.65))
    picture = over(picture, (0.09, 0.06, 0.05), canvas.strokes(_lashes(eye, random), soft=0.004) * np.float32(0.85))
    return picture, step(np.maximum(above, below), -0.01, 0.02)


def _lashes(eye: Eye, random: Random) -> list[tuple[list[Point], float]]:
    found: list[tuple[list[Point], float]] = []
    for _ in range(34):
        x = float(random.uniform(-1.7, 1.7))
        y, bend = -eye.upper + 0.17 * x * x - 0.06, 0.22 * x + float(random.normal(0, 0.07))
        long = float(random.uniform(0.20, 0.42))
        bow = [(x + bend * t * t, y - long * t + 0.10 * t * (1 - t)) for t in (0.0, 0.35, 0.7, 1.0)]
        found.append((bow, 0.012))
    for _ in range(14):
        x = float(random.uniform(-1.5, 1.5))
        y, long = eye.lower - 0.11 * x * x + 0.07, float(random.uniform(0.10, 0.22))
        found.append(([(x, y), (x + 0.06 * x, y + 0.6 * long), (x + 0.16 * x, y + long)], 0.006))
    return found
